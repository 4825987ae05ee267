package frame

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/testdata/capture"
)

var bothRoles = []Role{Client, Server}

// received is what a peer sends and how it ends. All frames but the last are
// accepted, and so is the last if err is nil.
type received struct {
	section string // of RFC 6455 if it is not said otherwise
	name    string
	roles   []Role // of the endpoint that receives; nil for both
	r       Receiver
	frames  []wire
	err     *ProtocolError
	text    string // of the error
	at      int    // bytes of the last frame's payload that are taken before the error is seen, the bad one with them
}

// stream is the frames as the peer of an endpoint of this role sends them.
// failing is how many bytes an endpoint needs to see the error.
func (test received) stream(t testing.TB, role Role) (stream []byte, failing int) {
	for _, w := range test.frames {
		var size int
		failing = len(stream)
		stream, size = w.encode(t, stream, role.Peer())
		failing += size + test.at
	}
	return stream, failing
}

// receiver is the endpoint of this role.
func (test received) receiver(role Role) Receiver {
	r := test.r
	r.Role = role
	return r
}

// receivedTests are the rules about frames that come, by section.
var receivedTests = slices.Concat(maskTests(), headerTests(), fragmentTests(), controlTests(), textTests(), limitTests())

func maskTests() (tests []received) {
	const unmasked = "websocket: frame from client is not masked (RFC 6455, section 5.1)"
	const masked = "websocket: frame from server is masked (RFC 6455, section 5.1)"
	for _, w := range []struct {
		name   string
		frames []wire
	}{
		{"text", []wire{whole(OpText, "Hello")}},
		{"empty binary", []wire{whole(OpBinary, "")}},
		{"first fragment", []wire{first(OpText, "Hel")}},
		{"continuation", []wire{first(OpText, "Hel"), last("lo")}},
		{"ping", []wire{whole(OpPing, "Hello")}},
		{"pong", []wire{whole(OpPong, "")}},
		{"close", []wire{whole(OpClose, "\x03\xe8")}},
		{"control frame inside a message", []wire{first(OpText, "Hel"), whole(OpPing, "")}},
		// A frame breaks two rules: what it is is told first.
		{"control frame that is too long", []wire{whole(OpPing, strings.Repeat("x", 126))}},
		{"continuation of nothing", []wire{last("x")}},
	} {
		frames := slices.Clone(w.frames)
		frames[len(frames)-1].unlike = true
		tests = append(tests,
			received{section: "5.1", name: "unmasked " + w.name, roles: []Role{Server}, frames: frames, err: ErrUnmasked, text: unmasked},
			received{section: "5.1", name: "masked " + w.name, roles: []Role{Client}, frames: frames, err: ErrMasked, text: masked},
		)
	}
	return tests
}

func headerTests() (tests []received) {
	bits := func(name string, agreed uint8, op string, bits string, frames ...wire) {
		test := received{section: "5.2", name: name, r: Receiver{RSV: agreed}, frames: frames}
		if op != "" {
			test.err = ErrReservedBits
			test.text = "websocket: reserved bits " + bits + " are set in a " + op + " frame, no extension was agreed that allows it (RFC 6455, section 5.2)"
		}
		tests = append(tests, test)
	}
	for _, op := range []Opcode{OpText, OpBinary, OpClose, OpPing, OpPong} {
		for rsv := RSV3; rsv <= RSV1|RSV2|RSV3; rsv++ {
			bits(fmt.Sprintf("RSV %03b on %s", rsv, op), 0, op.String(), fmt.Sprintf("%03b", rsv), whole(op, "").rsv(rsv))
		}
	}
	for _, op := range []Opcode{OpText, OpBinary} {
		bits("agreed RSV1 on "+op.String(), RSV1, "", "", whole(op, "\xff").rsv(RSV1))
		bits("agreed RSV1 on no bytes of "+op.String(), RSV1, "", "", whole(op, "").rsv(RSV1))
		bits("agreed RSV1 on a first fragment of "+op.String(), RSV1, "", "", first(op, "\xff").rsv(RSV1), middle(""), last("\xff"))
		bits("agreed RSV1 not set on "+op.String(), RSV1, "", "", whole(op, "a"), whole(op, "b").rsv(RSV1), whole(op, "c"))
		bits("RSV2 beside agreed RSV1 on "+op.String(), RSV1, op.String(), "110", whole(op, "").rsv(RSV1|RSV2))
		bits("RSV3 where RSV1 is agreed on "+op.String(), RSV1, op.String(), "001", whole(op, "").rsv(RSV3))
		bits("all agreed on "+op.String(), 7, "", "", whole(op, "a").rsv(7), whole(op, "b").rsv(RSV2))
	}
	bits("RSV2 on a continuation", 0, "continuation", "010", first(OpText, "a"), last("b").rsv(RSV2))
	bits("agreed RSV1 on a continuation", RSV1, "continuation", "100", first(OpText, "a").rsv(RSV1), last("b").rsv(RSV1))
	bits("agreed RSV1 on a continuation alone", RSV1, "continuation", "100", first(OpText, "a"), last("b").rsv(RSV1))
	bits("agreed RSV1 on a ping", RSV1, "ping", "100", whole(OpPing, "").rsv(RSV1))
	bits("agreed RSV1 on a pong", 7, "pong", "100", whole(OpPong, "").rsv(RSV1))
	bits("agreed RSV1 on a close", RSV1, "close", "100", whole(OpClose, "").rsv(RSV1))
	bits("agreed RSV1 on a ping inside a message", RSV1, "ping", "100", first(OpText, "a").rsv(RSV1), whole(OpPing, "").rsv(RSV1))

	for op := Opcode(0); op < 16; op++ {
		if op >= 3 && op <= 7 || op >= 11 {
			text := fmt.Sprintf("websocket: opcode 0x%x is reserved (RFC 6455, section 5.2)", uint8(op))
			tests = append(tests,
				received{section: "5.2", name: "opcode " + op.String(), frames: []wire{whole(op, "")}, err: ErrReservedOpcode, text: text},
				received{section: "5.2", name: "opcode " + op.String() + " inside a message, with a fault in all else", frames: []wire{
					first(OpText, "a"), {Header: Header{Opcode: op, RSV: 7, Length: 1 << 40}, unlike: true},
				}, err: ErrReservedOpcode, text: text},
			)
		}
	}

	length := func(name, raw string, err *ProtocolError, text string) {
		for _, w := range []wire{whole(OpBinary, ""), whole(OpPing, ""), whole(OpContinuation, ""), whole(0x3, "")} {
			w.raw = raw
			tests = append(tests, received{section: "5.2", name: name + " in a frame of " + w.Opcode.String(), frames: []wire{whole(OpText, "a"), w}, err: err, text: text})
		}
	}
	length("125 in 16 bits", "7e 00 7d", ErrLengthNotMinimal, "websocket: payload length is not encoded in its shortest form (RFC 6455, section 5.2)")
	length("65535 in 64 bits", "7f 00 00 00 00 00 00 ff ff", ErrLengthNotMinimal, "websocket: payload length is not encoded in its shortest form (RFC 6455, section 5.2)")
	length("2^63", "7f 80 00 00 00 00 00 00 00", ErrLengthTopBit, "websocket: 64-bit payload length has its top bit set (RFC 6455, section 5.2)")

	for _, n := range []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 64, 125, 126, 127, 128, 65535, 65536} {
		tests = append(tests, received{section: "5.2", name: fmt.Sprintf("%d bytes", n), frames: []wire{whole(OpBinary, strings.Repeat("\xa5", n)), whole(OpPong, "")}})
	}
	for _, n := range []int64{1<<31 - 1, 1 << 31, 1 << 62, 1<<63 - 1} {
		tests = append(tests, received{section: "5.2", name: fmt.Sprintf("%d bytes, a few of them", n), frames: []wire{whole(OpBinary, "abcde").announce(n)}})
	}
	return tests
}

func fragmentTests() []received {
	ok := func(name string, frames ...wire) received {
		return received{section: "5.4", name: name, frames: frames}
	}
	bad := func(err *ProtocolError, text, name string, frames ...wire) received {
		return received{section: "5.4", name: name, frames: frames, err: err, text: "websocket: " + text + " (RFC 6455, section 5.4)"}
	}
	const alone, inside = "continuation frame without a message to continue", "new data frame inside a fragmented message"
	return []received{
		ok("nothing"),
		ok("one frame", whole(OpText, "Hello")),
		ok("two fragments", first(OpText, "Hel"), last("lo")),
		ok("five fragments", first(OpBinary, "a"), middle("b"), middle("c"), middle("d"), last("e")),
		ok("empty fragments", first(OpBinary, ""), middle(""), last("")),
		ok("one message after another", first(OpText, "a"), last("b"), whole(OpBinary, "\xff"), first(OpBinary, "\xff"), last("\xff"), whole(OpText, "c")),
		ok("control frames between fragments", whole(OpPing, "1"), first(OpText, "Hel"), whole(OpPing, "2"), whole(OpPong, ""), middle(""), whole(OpPong, "3"), last("lo"), whole(OpPing, "")),
		ok("close inside a message", first(OpText, "Hel"), whole(OpClose, "\x03\xe8")),
		ok("a message that does not end", first(OpText, "Hel"), middle("lo")),

		bad(ErrContinuation, alone, "continuation first", last("a")),
		bad(ErrContinuation, alone, "unfinished continuation first", middle("a")),
		bad(ErrContinuation, alone, "continuation after a whole message", whole(OpText, "a"), last("b")),
		bad(ErrContinuation, alone, "continuation after the last fragment", first(OpText, "a"), last("b"), last("c")),
		bad(ErrContinuation, alone, "continuation after a ping", whole(OpPing, "a"), last("b")),
		bad(ErrContinuation, alone, "continuation of no bytes", last("")),
		bad(ErrInterleaved, inside, "text inside a text", first(OpText, "a"), whole(OpText, "b")),
		bad(ErrInterleaved, inside, "unfinished text inside a text", first(OpText, "a"), first(OpText, "b")),
		bad(ErrInterleaved, inside, "binary inside a text", first(OpText, "a"), middle("b"), whole(OpBinary, "c")),
		bad(ErrInterleaved, inside, "text inside a binary, after a ping", first(OpBinary, "a"), whole(OpPing, ""), whole(OpText, "")),
	}
}

func controlTests() []received {
	ok := func(name string, frames ...wire) received {
		return received{section: "5.5", name: name, frames: frames}
	}
	bad := func(section string, err *ProtocolError, text, name string, frames ...wire) received {
		return received{section: section, name: name, frames: frames, err: err, text: "websocket: " + text + " (RFC 6455, section " + section + ")"}
	}
	var tests []received
	for _, op := range []Opcode{OpClose, OpPing, OpPong} {
		payload := "\x03\xe8" + strings.Repeat("x", 123)
		const fragmented, after = "control frame is fragmented", "frame after the Close frame"
		tests = append(tests,
			ok("empty "+op.String(), whole(op, "")),
			ok("longest "+op.String(), whole(op, payload)),
			bad("5.5", ErrControlFragmented, fragmented, "fragmented "+op.String(), first(op, "\x03\xe8")),
			bad("5.5", ErrControlFragmented, fragmented, "fragmented "+op.String()+" inside a message", first(OpText, "a"), first(op, "")),
			bad("5.5", ErrControlFragmented, fragmented, "fragmented "+op.String()+" that is too long", first(op, payload+"x")),
			bad("5.5", ErrControlTooLong, "control frame is 126 bytes long, at most 125 are allowed", op.String()+" of 126 bytes", whole(op, payload+"x")),
			bad("5.5", ErrControlTooLong, "control frame is 65536 bytes long, at most 125 are allowed", op.String()+" of 65536 bytes", whole(op, "").announce(65536)),
			bad("5.5", ErrControlTooLong, "control frame is 9223372036854775807 bytes long, at most 125 are allowed", op.String()+" of 2^63-1 bytes", first(OpText, "a"), whole(op, "").announce(math.MaxInt64)),
			bad("5.5.1", ErrClosed, after, op.String()+" after a close", whole(OpClose, ""), whole(op, "")),
		)
	}
	const after = "frame after the Close frame"
	tests = append(tests,
		ok("many of them", slices.Repeat([]wire{whole(OpPing, "a"), whole(OpPong, "b")}, 20)...),
		ok("bytes that are not UTF-8 in ping and pong", first(OpText, "é"[:1]), whole(OpPing, "\xff"), whole(OpPong, "\xff"), last("é"[1:])),

		bad("5.5.1", ErrClosed, after, "text after a close", whole(OpClose, "\x03\xe8"), whole(OpText, "")),
		bad("5.5.1", ErrClosed, after, "continuation after a close", first(OpText, "a"), whole(OpClose, "\x03\xe8"), last("b")),
		bad("5.5.1", ErrClosed, after, "anything after a close", whole(OpClose, "\x03\xe8"), wire{Header: Header{Opcode: 0xf, RSV: 7, Length: 1 << 40}, unlike: true}),
	)
	for _, test := range closePayloads {
		row := received{section: test.section, name: "close payload: " + test.name, frames: []wire{whole(OpClose, test.payload)}, err: test.err, text: test.text}
		if test.err != nil {
			row.at = len(test.payload)
		}
		tests = append(tests, row)
	}
	return tests
}

func textTests() []received {
	ok := func(name string, frames ...wire) received {
		return received{section: "8.1", name: name, frames: frames}
	}
	const bad, cut = "websocket: text message is not UTF-8 (RFC 6455, section 8.1)", "websocket: text message ends inside a UTF-8 sequence (RFC 6455, section 8.1)"
	not := func(at int, text, name string, frames ...wire) received {
		return received{section: "8.1", name: name, frames: frames, err: ErrText, text: text, at: at}
	}
	ping := whole(OpPing, "\xff")
	return []received{
		ok("empty", whole(OpText, "")),
		ok("every length of character", whole(OpText, "aé世🌍")),
		ok("U+10FFFF, the characters around the surrogates, NUL", whole(OpText, "\U0010ffff\ud7ff\ue000\x00")),
		ok("two bytes over two frames", first(OpText, "\xc3"), last("\xa9")),
		ok("three bytes over three frames", first(OpText, "\xe4"), middle("\xb8"), last("\x96")),
		ok("four bytes over four frames and control frames", first(OpText, "\xf0"), ping, middle("\x9f"), middle(""), ping, whole(OpPong, "\xf0"), middle("\x8c"), last("\x8d")),
		ok("the empty last frame comes after a whole character", first(OpText, "\xc3"), middle("\xa9"), last("")),
		ok("inside a character at the end of a frame, not of the message", first(OpText, "\xf0\x9f")),
		ok("binary of any bytes", whole(OpBinary, "\xff\xc3"), first(OpBinary, "\xc3"), last("\xff")),
		ok("text after a binary that ends like a part of a character", whole(OpBinary, "\xc3"), whole(OpText, "a")),
		ok("text after text", first(OpText, "\xc3"), last("\xa9"), whole(OpText, "é"), whole(OpText, "a")),
		{section: "RFC 7692, 6", name: "compressed text is not looked at, the next one is", r: Receiver{RSV: RSV1}, frames: []wire{
			whole(OpText, "\xff").rsv(RSV1), first(OpText, "\xc3").rsv(RSV1), ping, last("\xff"), whole(OpText, "é"), whole(OpText, "a\xff"),
		}, err: ErrText, text: bad, at: 2},
		{section: "RFC 7692, 6", name: "RSV2 alone does not mean compressed", r: Receiver{RSV: RSV2}, frames: []wire{
			whole(OpText, "\xff").rsv(RSV2),
		}, err: ErrText, text: bad, at: 1},

		not(1, bad, "FF", whole(OpText, "\xff")),
		not(6, bad, "after some that is", whole(OpText, "Hello\xffHello")),
		not(2, bad, "surrogate, at its second byte", whole(OpText, "\xed\xa0\x80")),
		not(2, bad, "past U+10FFFF, at its second byte", whole(OpText, "\xf4\x90\x80\x80")),
		not(1, bad, "overlong in two bytes, at the first", whole(OpText, "\xc0\xaf")),
		not(2, bad, "overlong in three bytes, at the second", whole(OpText, "\xe0\x80\xaf")),
		not(3, bad, "in a frame that goes on", whole(OpText, "ab\xff").announce(1000)),
		not(3, bad, "in a frame of 2^63-1 bytes", whole(OpText, "ab\xff").announce(math.MaxInt64)),
		not(3, bad, "in the first fragment", first(OpText, "ab\xff")),
		not(1, bad, "in a later fragment", first(OpText, "ab"), middle("c"), middle("\x80")),
		not(1, bad, "in a later fragment, after part of a character", first(OpText, "a\xe4"), ping, last("b")),
		not(2, bad, "in a later fragment, at the last of a character", first(OpText, "\xf0\x9f"), last("\x8c\xff\x8d")),
		not(4, bad, "in the second message", whole(OpText, "Hello"), whole(OpText, "Hel\x80")),
		not(2, bad, "in the middle of a long frame", whole(OpText, "a\xff"+strings.Repeat("x", 500))),
		not(501, bad, "at the end of a long frame", whole(OpText, strings.Repeat("x", 500)+"\xff")),

		not(1, cut, "ends inside a character", whole(OpText, "\xc3")),
		not(4, cut, "ends inside a character, one byte short", whole(OpText, "a\xf0\x9f\x8c")),
		not(1, cut, "ends inside a character over two frames", first(OpText, "\xf0\x9f"), last("\x8c")),
		not(0, cut, "ends inside a character, with an empty frame", first(OpText, "\xf0\x9f"), last("")),
		not(0, cut, "ends inside a character, with an empty frame after a ping", first(OpText, "a\xc3"), middle(""), ping, last("")),
	}
}

func limitTests() []received {
	ok := func(name string, r Receiver, frames ...wire) received {
		return received{section: "10.4", name: name, r: r, frames: frames}
	}
	bad := func(err *ProtocolError, text, name string, r Receiver, frames ...wire) received {
		return received{section: "10.4", name: name, r: r, frames: frames, err: err, text: "websocket: " + text}
	}
	size := func(text, name string, r Receiver, frames ...wire) received {
		return bad(ErrMessageTooBig, text, name, r, frames...)
	}
	count := func(text, name string, r Receiver, frames ...wire) received {
		return bad(ErrTooManyFragments, text, name, r, frames...)
	}
	ping := whole(OpPing, strings.Repeat("p", 125))
	message, frame, fragments := Receiver{MessageLimit: 10}, Receiver{FrameLimit: 10}, Receiver{FragmentLimit: 3}
	none := Receiver{MessageLimit: -1, FrameLimit: -1, FragmentLimit: -1}
	return []received{
		ok("message at its limit", message, whole(OpText, "0123456789"), whole(OpBinary, "0123456789")),
		ok("message at its limit in fragments", message, first(OpText, "012"), middle("345"), ping, middle("678"), last("9"), whole(OpText, "0123456789")),
		ok("empty fragments at the limit", message, first(OpText, "0123456789"), middle(""), last("")),
		ok("limit of one byte", Receiver{MessageLimit: 1}, whole(OpText, "a"), first(OpText, ""), last("b"), whole(OpText, "")),
		size("message of at least 11 bytes is over the limit of 10", "message over its limit", message, whole(OpText, "0123456789a")),
		size("message of at least 11 bytes is over the limit of 10", "announced, not one byte sent", message, whole(OpBinary, "").announce(11)),
		size("message of at least 11 bytes is over the limit of 10", "message over its limit in its last fragment", message, first(OpText, "012345"), ping, middle("6789"), last("a")),
		size("message of at least 11 bytes is over the limit of 10", "message over its limit in a fragment that is not the last", message, first(OpText, ""), middle("0123456789a")),
		size("message of at least 11 bytes is over the limit of 10", "second message over its limit", message, whole(OpText, "0123456789"), first(OpText, "0"), last("123456789a")),
		size("message of at least 9223372036854775807 bytes is over the limit of 10", "2^63-1", message, whole(OpText, "").announce(math.MaxInt64)),
		size("message of at least 9223372036854775809 bytes is over the limit of 10", "2^63-1 after two bytes", message, first(OpText, "ab"), last("").announce(math.MaxInt64)),
		size("message of at least 9223372036854775808 bytes is over the limit of 9223372036854775807", "2^63-1 after one byte, without a limit", Receiver{}, first(OpText, "a"), last("").announce(math.MaxInt64)),
		size("message of at least 9223372036854775808 bytes is over the limit of 9223372036854775807", "2^63-1 after one byte, with the highest limit", Receiver{MessageLimit: math.MaxInt64}, first(OpBinary, "a"), last("").announce(math.MaxInt64)),
		ok("2^63-2 after one byte, without a limit", none, first(OpBinary, "a"), last("bcd").announce(math.MaxInt64-1)),

		ok("frame at its limit", frame, first(OpBinary, "0123456789"), middle("0123456789"), ping, last("0123456789"), whole(OpText, "0123456789")),
		size("frame of 11 bytes is over the limit of 10", "frame over its limit", frame, whole(OpText, "0123456789a")),
		size("frame of 11 bytes is over the limit of 10", "later frame over its limit", frame, first(OpText, "0"), last("0123456789a")),
		size("frame of 9223372036854775807 bytes is over the limit of 10", "frame of 2^63-1", frame, first(OpBinary, "").announce(math.MaxInt64)),
		size("frame of 11 bytes is over the limit of 10", "frame and message over their limits", Receiver{FrameLimit: 10, MessageLimit: 5}, whole(OpText, "").announce(11)),

		ok("fragments at their limit", fragments, first(OpText, "a"), middle("b"), last("c"), first(OpText, ""), middle(""), last("")),
		ok("control frames do not count", fragments, first(OpText, "a"), ping, ping, middle("b"), ping, ping, last("c")),
		ok("one frame at a time", Receiver{FragmentLimit: 1}, whole(OpText, "a"), whole(OpBinary, "b"), whole(OpText, "")),
		ok("the count begins anew", fragments, first(OpText, "a"), last("b"), first(OpText, "c"), middle("d"), last("e")),
		ok("no limit", none, slices.Concat([]wire{first(OpText, "a")}, slices.Repeat([]wire{middle("")}, 100), []wire{last("b")})...),
		count("message has more than 3 fragments", "a fragment over the limit", fragments, first(OpText, "a"), middle("b"), middle("c"), last("d")),
		count("message has more than 3 fragments", "an empty fragment over the limit", fragments, first(OpText, ""), middle(""), ping, middle(""), middle("")),
		count("message has more than 1 fragments", "a second fragment", Receiver{FragmentLimit: 1}, first(OpText, "a"), last("b")),
		count("message has more than 1 fragments", "count and size over their limits", Receiver{FragmentLimit: 1, MessageLimit: 1}, first(OpText, "a"), last("b")),
	}
}

// Every row for both roles: the frames that come out, the error and the byte at
// which it is seen, and all of that again for every truncation and in pieces.
func TestReceiver(t *testing.T) {
	for _, test := range receivedTests {
		for _, role := range bothRoles {
			if test.roles != nil && !slices.Contains(test.roles, role) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s/%s", test.section, test.name, role), func(t *testing.T) {
				random := rand.New(rand.NewPCG(6455, uint64(len(test.name))))
				stream, failing := test.stream(t, role)
				r := test.receiver(role)

				d := decode(t, r, stream)
				wanted := test.frames
				if test.err == nil {
					require.NoError(t, d.err)
				} else {
					require.Same(t, test.err, ruleOf(t, d.err))
					require.EqualError(t, d.err, test.text)
					wanted = wanted[:len(wanted)-1]
				}
				for i, w := range wanted {
					if int64(len(w.payload)) < w.Length {
						require.True(t, d.inside, "the rest has not come")
						require.Equal(t, w.payload, string(d.body))
						wanted = wanted[:i]
					}
				}
				require.Len(t, d.events, len(wanted))
				for i, w := range wanted {
					h := w.Header
					h.Length, h.Masked = int64(len(w.payload)), role == Server
					if h.Masked {
						h.Key = rfcKey
					}
					require.Equal(t, event{h, w.payload}, d.events[i])
				}

				requirePieces(t, d, r, stream, random)
				truncations(len(stream), random, func(n int) {
					requireSame(t, d, decode(t, r, stream, n), n)
				})
				if test.err != nil {
					byByte := &decoder{t: t, r: r}
					for i := range stream {
						if err := byByte.write(stream[i : i+1]); err != nil {
							require.Equal(t, failing, i+1, "the error is seen at another byte")
							break
						}
					}
					stream = stream[:failing-1]
				}
				truncations(len(stream), random, func(n int) {
					require.NoError(t, decode(t, r, stream[:n]).err, "cut after %d bytes", n)
				})
			})
		}
	}
}

// A Role that is neither is a client, as everywhere in the package.
func TestReceiverUnknownRole(t *testing.T) {
	r := Receiver{Role: 7}
	require.ErrorIs(t, r.Next(Header{Opcode: OpText, Fin: true, Masked: true}), ErrMasked)
	require.NoError(t, r.Next(Header{Opcode: OpText, Fin: true}))
}

// A header that did not come from ParseHeader.
func TestReceiverHeaderOutOfRange(t *testing.T) {
	for _, length := range []int64{-1, math.MinInt64} {
		for op := range Opcode(16) {
			r := Receiver{FrameLimit: 10, MessageLimit: 10, RSV: RSV1}
			before := r
			err := r.Next(Header{Fin: true, Opcode: op, Length: length})
			require.Equal(t, ErrLengthTopBit, err, "%s of %d bytes", op, length)
			require.Equal(t, before, r)
		}
	}
	var r Receiver
	require.EqualError(t, r.Next(Header{Fin: true, Opcode: 0x10}), "websocket: opcode 0x10 is reserved (RFC 6455, section 5.2)")
	require.EqualError(t, r.Next(Header{Fin: true, Opcode: OpText, RSV: 8}), "websocket: reserved bits 1000 are set in a text frame, no extension was agreed that allows it (RFC 6455, section 5.2)")
	require.Equal(t, Receiver{}, r)
}

// Sizes that no test could send: the sum of what was announced is kept from
// passing 2^63-1, whatever the limit.
func TestReceiverSizeOverflow(t *testing.T) {
	const most = math.MaxInt64
	for _, test := range []struct{ size, length, limit int64 }{
		{1 << 62, 1 << 62, 0},
		{1 << 62, 1 << 62, -1},
		{1 << 62, 1 << 62, most},
		{most, 1, 0},
		{most, most, 0},
		{1, most, most},
		{1 << 62, most, 1<<62 + 1},
	} {
		r := Receiver{MessageLimit: test.limit, open: true, message: OpBinary, size: test.size, fragments: 1}
		before := r
		err := r.Next(Header{Opcode: OpContinuation, Length: test.length})
		require.Same(t, ErrMessageTooBig, ruleOf(t, err))
		require.ErrorContains(t, err, fmt.Sprintf("of at least %d bytes", uint64(test.size)+uint64(test.length)))
		require.Equal(t, before, r)

		fits := most - test.size
		if test.limit > 0 {
			fits = test.limit - test.size
		}
		require.NoError(t, r.Next(Header{Opcode: OpContinuation, Length: fits}))
		require.NoError(t, r.Payload(nil))
		require.Equal(t, fits, r.Left())
	}
}

// The state that an endpoint asks for, over a message in three frames with a
// Ping in it.
func TestReceiverState(t *testing.T) {
	r := Receiver{Role: Client, RSV: RSV1}
	next := func(h Header, open bool) {
		t.Helper()
		require.NoError(t, r.Next(h))
		require.Equal(t, h.Length, r.Left())
		require.Equal(t, open, r.Open())
		for left := h.Length; left > 0; left-- {
			require.Equal(t, left, r.Left())
			require.NoError(t, r.Payload([]byte("x")))
		}
		require.NoError(t, r.Payload(nil))
		require.Zero(t, r.Left())
	}
	message := func(want Opcode, compressed bool) {
		t.Helper()
		op, c := r.Message()
		require.Equal(t, want, op)
		require.Equal(t, compressed, c)
	}
	require.Zero(t, r.Left())
	require.False(t, r.Open())

	next(Header{Opcode: OpText, RSV: RSV1, Length: 3}, true)
	message(OpText, true)
	next(Header{Opcode: OpContinuation}, true)
	next(Header{Fin: true, Opcode: OpPing, Length: 2}, true)
	message(OpText, true)
	next(Header{Fin: true, Opcode: OpContinuation, Length: 1}, false)
	message(OpText, true)
	next(Header{Fin: true, Opcode: OpBinary}, false)
	message(OpBinary, false)
}

// More bytes than the frame has left are the caller's fault, and must not leave
// the Receiver with less than nothing to come.
func TestReceiverPayloadTooLong(t *testing.T) {
	r := Receiver{Role: Client}
	require.NoError(t, r.Next(Header{Fin: true, Opcode: OpBinary, Length: 2}))
	require.NoError(t, r.Payload(make([]byte, 5)))
	require.Zero(t, r.Left())
}

func TestReceiverAllocs(t *testing.T) {
	for _, role := range bothRoles {
		stream, _ := received{frames: []wire{
			first(OpText, "a\xc3"), whole(OpPing, "b"), middle(""), last("\xa9"), whole(OpBinary, strings.Repeat("x", 300)), whole(OpPong, ""), whole(OpText, "世界"),
		}}.stream(t, role)
		masked := slices.Clone(stream)
		r := Receiver{Role: role, MessageLimit: 1 << 20, FrameLimit: 1 << 20, FragmentLimit: 10}
		requireNoAllocs(t, func() {
			rest := stream
			copy(rest, masked)
			for len(rest) > 0 {
				h, n, err := ParseHeader(rest)
				if err == nil {
					err = r.Next(h)
				}
				rest = rest[n:]
				if err == nil {
					err = r.Payload(rest[:h.Length])
				}
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[h.Length:]
			}
		})
	}
}

// FuzzReceiver gives any bytes to an endpoint with any limits. However they are
// cut, the frames and the error are the same, the error is a documented one, and
// what came out obeys the RFC, by other code than Receiver's.
func FuzzReceiver(f *testing.F) {
	for i, test := range receivedTests {
		for _, role := range bothRoles {
			stream, _ := test.stream(f, role)
			f.Add(stream, role == Server, test.r.RSV, test.r.FrameLimit, test.r.MessageLimit, int8(test.r.FragmentLimit), uint64(i))
		}
	}
	for _, name := range capture.Names("") {
		f.Add(captured(f, name), strings.HasSuffix(name, ".c2s"), RSV1, int64(0), int64(1<<20), int8(100), uint64(1))
	}
	f.Fuzz(func(t *testing.T, stream []byte, server bool, rsv uint8, frame, message int64, fragments int8, seed uint64) {
		r := Receiver{RSV: rsv & 7, FrameLimit: frame, MessageLimit: message, FragmentLimit: int(fragments)}
		if server {
			r.Role = Server
		}
		random := rand.New(rand.NewPCG(seed, 0))
		d := decode(t, r, stream)
		if d.err != nil {
			ruleOf(t, d.err)
		}
		requireObedient(t, r, d.events)

		requirePieces(t, d, r, stream, random)
	})
}

func BenchmarkReceiver(b *testing.B) {
	for _, role := range bothRoles {
		for _, size := range []int{16, 128, 4096} {
			b.Run(fmt.Sprintf("role=%s/size=%d", role, size), func(b *testing.B) {
				stream, n := received{frames: []wire{whole(OpText, strings.Repeat("x", size))}}.stream(b, role)
				h, _, err := ParseHeader(stream)
				require.NoError(b, err)
				// A key that changes nothing, so that the text stays text.
				h.Key = [4]byte{}
				payload := []byte(strings.Repeat("x", len(stream)-n))
				r := Receiver{Role: role, MessageLimit: 1 << 20, FragmentLimit: 4096}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if r.Next(h) != nil || r.Payload(payload) != nil {
						b.Fatal("a valid frame was refused")
					}
				}
			})
		}
	}
}
