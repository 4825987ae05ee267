package frame

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/mask"
	"rfc6455/testdata/capture"
)

// sendOp is a call of Sender.Append.
type sendOp struct {
	op      Opcode
	fin     bool
	rsv     uint8
	payload string
}

// pair is a Sender and, at the other end, the Receiver of its peer.
type pair struct {
	t    testing.TB
	s    Sender
	peer decoder
	keys map[mask.Key]bool
}

// newPair returns the pair of a sender of this role.
func newPair(t testing.TB, role Role, rsv uint8) *pair {
	return &pair{
		t:    t,
		s:    Sender{Role: role, RSV: rsv},
		peer: decoder{t: t, r: Receiver{Role: role.Peer(), RSV: rsv}},
		keys: make(map[mask.Key]bool),
	}
}

// append makes the call. What is sent the peer must take, as the frame that was
// meant; what is refused the peer must refuse by the same rule, and the Sender
// must be as it was.
func (p *pair) append(o sendOp) error {
	before, payload := p.s, []byte(o.payload)
	dst, err := p.s.Append([]byte("before"), o.op, o.fin, o.rsv, payload)
	require.Equal(p.t, o.payload, string(payload), "the caller's payload")
	dst, ok := bytes.CutPrefix(dst, []byte("before"))
	require.True(p.t, ok)

	if err != nil {
		require.Empty(p.t, dst)
		require.Equal(p.t, before, p.s, "a refusal changes nothing")
		refused := p.peer
		refused.events = nil
		theirs := refused.write(p.encode(o))
		require.Error(p.t, theirs, "only the sender refuses it: %v", err)
		require.Same(p.t, ruleOf(p.t, theirs), ruleOf(p.t, err))
		if !errors.Is(err, ErrText) { // the sender's says what to do instead
			require.EqualError(p.t, err, theirs.Error())
		}
		return err
	}

	require.NoError(p.t, p.peer.write(dst))
	sent := p.peer.events[len(p.peer.events)-1]
	want := Header{Fin: o.fin, RSV: o.rsv, Opcode: o.op, Length: int64(len(o.payload))}
	if p.s.Role == Client {
		want.Masked, want.Key = true, sent.Key
	}
	p.keys[sent.Key] = true
	require.Equal(p.t, event{want, o.payload}, sent)
	require.Equal(p.t, p.s.Open(), p.peer.r.Open())
	require.Equal(p.t, o.op == OpClose, p.s.Closed())
	return nil
}

// encode returns the frame as a sender without rules would send it.
func (p *pair) encode(o sendOp) []byte {
	h := Header{Fin: o.fin, RSV: o.rsv, Opcode: o.op, Masked: p.s.Role == Client, Key: rfcKey}
	return AppendFrame(nil, h, []byte(o.payload))
}

// The examples of RFC 6455, section 5.7, as a server and as a client send them.
func TestSenderExamples(t *testing.T) {
	s := Sender{Role: Server}
	var got []byte
	for _, o := range []sendOp{
		{OpText, true, 0, "Hello"},
		{OpText, false, 0, "Hel"},
		{OpContinuation, true, 0, "lo"},
		{OpPing, true, 0, "Hello"},
	} {
		var err error
		got, err = s.Append(got, o.op, o.fin, o.rsv, []byte(o.payload))
		require.NoError(t, err)
	}
	require.Equal(t, unhex(t, "81 05 48 65 6c 6c 6f  01 03 48 65 6c  80 02 6c 6f  89 05 48 65 6c 6c 6f"), got)

	// A client's key is its own choice; with the one of the example the frame is
	// the example's.
	s = Sender{Role: Client}
	for op, want := range map[Opcode]string{
		OpText: "81 85 37 fa 21 3d 7f 9f 4d 51 58",
		OpPong: "8a 85 37 fa 21 3d 7f 9f 4d 51 58",
	} {
		h, err := s.Next(op, true, 0, []byte("Hello"))
		require.NoError(t, err)
		h.Key = rfcKey
		require.Equal(t, unhex(t, want), AppendFrame(nil, h, []byte("Hello")))
	}
}

// Each rule about what may be sent, for both roles. before is accepted, then the
// last one is refused.
func TestSenderRefuses(t *testing.T) {
	const notText = "websocket: text message is not UTF-8: it must be sent as binary (RFC 6455, section 8.1)"
	long := strings.Repeat("x", 126)
	tests := []struct {
		section, name string
		rsv           uint8 // agreed
		before        []sendOp
		op            sendOp
		err           *ProtocolError
		text          string
	}{
		{"5.2", "reserved data opcode", 0, nil, sendOp{0x3, true, 0, ""},
			ErrReservedOpcode, "websocket: opcode 0x3 is reserved (RFC 6455, section 5.2)"},
		{"5.2", "reserved control opcode", 0, nil, sendOp{0xb, true, 0, ""},
			ErrReservedOpcode, "websocket: opcode 0xb is reserved (RFC 6455, section 5.2)"},
		{"5.2", "RSV1 not agreed", 0, nil, sendOp{OpText, true, RSV1, ""},
			ErrReservedBits, "websocket: reserved bits 100 are set in a text frame, no extension was agreed that allows it (RFC 6455, section 5.2)"},
		{"5.2", "RSV2 beside RSV1", RSV1, nil, sendOp{OpBinary, true, RSV1 | RSV2, ""},
			ErrReservedBits, "websocket: reserved bits 110 are set in a binary frame, no extension was agreed that allows it (RFC 6455, section 5.2)"},
		{"5.2", "RSV1 on a continuation", RSV1, []sendOp{{OpText, false, RSV1, "a"}}, sendOp{OpContinuation, true, RSV1, ""},
			ErrReservedBits, "websocket: reserved bits 100 are set in a continuation frame, no extension was agreed that allows it (RFC 6455, section 5.2)"},
		{"5.2", "RSV1 on a ping", RSV1, nil, sendOp{OpPing, true, RSV1, ""},
			ErrReservedBits, "websocket: reserved bits 100 are set in a ping frame, no extension was agreed that allows it (RFC 6455, section 5.2)"},
		{"5.4", "continuation first", 0, nil, sendOp{OpContinuation, true, 0, "a"},
			ErrContinuation, "websocket: continuation frame without a message to continue (RFC 6455, section 5.4)"},
		{"5.4", "continuation after the last", 0, []sendOp{{OpText, false, 0, "a"}, {OpContinuation, true, 0, "b"}}, sendOp{OpContinuation, false, 0, "c"},
			ErrContinuation, "websocket: continuation frame without a message to continue (RFC 6455, section 5.4)"},
		{"5.4", "binary inside a text", 0, []sendOp{{OpText, false, 0, "a"}, {OpPing, true, 0, ""}}, sendOp{OpBinary, true, 0, ""},
			ErrInterleaved, "websocket: new data frame inside a fragmented message (RFC 6455, section 5.4)"},
		{"5.5", "fragmented ping", 0, nil, sendOp{OpPing, false, 0, ""},
			ErrControlFragmented, "websocket: control frame is fragmented (RFC 6455, section 5.5)"},
		{"5.5", "fragmented close", 0, nil, sendOp{OpClose, false, 0, ""},
			ErrControlFragmented, "websocket: control frame is fragmented (RFC 6455, section 5.5)"},
		{"5.5", "long pong", 0, nil, sendOp{OpPong, true, 0, long},
			ErrControlTooLong, "websocket: control frame is 126 bytes long, at most 125 are allowed (RFC 6455, section 5.5)"},
		{"5.5", "long close", 0, nil, sendOp{OpClose, true, 0, "\x03\xe8" + long[2:]},
			ErrControlTooLong, "websocket: control frame is 126 bytes long, at most 125 are allowed (RFC 6455, section 5.5)"},
		{"5.5.1", "close of one byte", 0, nil, sendOp{OpClose, true, 0, "\x03"},
			ErrCloseLength, "websocket: Close frame with a payload of one byte (RFC 6455, section 5.5.1)"},
		{"5.5.1", "text after a close", 0, []sendOp{{OpClose, true, 0, ""}}, sendOp{OpText, true, 0, ""},
			ErrClosed, "websocket: frame after the Close frame (RFC 6455, section 5.5.1)"},
		{"5.5.1", "continuation after a close", 0, []sendOp{{OpText, false, 0, "a"}, {OpClose, true, 0, "\x03\xe8bye"}}, sendOp{OpContinuation, true, 0, ""},
			ErrClosed, "websocket: frame after the Close frame (RFC 6455, section 5.5.1)"},
		{"5.5.1", "pong after a close", 0, []sendOp{{OpClose, true, 0, "\x03\xe8"}}, sendOp{OpPong, true, 0, ""},
			ErrClosed, "websocket: frame after the Close frame (RFC 6455, section 5.5.1)"},
		{"5.5.1", "close after a close", 0, []sendOp{{OpClose, true, 0, "\x03\xe8"}}, sendOp{OpClose, true, 0, "\x03\xe8"},
			ErrClosed, "websocket: frame after the Close frame (RFC 6455, section 5.5.1)"},
		{"7.4", "close with 1005", 0, nil, sendOp{OpClose, true, 0, "\x03\xed"},
			ErrCloseCode, "websocket: close code 1005 must not be sent (RFC 6455, section 7.4)"},
		{"8.1", "close with a reason not UTF-8", 0, nil, sendOp{OpClose, true, 0, "\x03\xe8\xff"},
			ErrCloseReason, "websocket: close reason is not UTF-8 (RFC 6455, section 8.1)"},
		{"8.1", "text not UTF-8", 0, nil, sendOp{OpText, true, 0, "a\xff"}, ErrText, notText},
		{"8.1", "text ends inside a character", 0, nil, sendOp{OpText, true, 0, "a\xc3"}, ErrText, notText},
		{"8.1", "fragment not UTF-8", 0, []sendOp{{OpText, false, 0, "a\xe4"}}, sendOp{OpContinuation, false, 0, "b"}, ErrText, notText},
		{"8.1", "empty last fragment inside a character", 0, []sendOp{{OpText, false, 0, "a\xe4"}, {OpContinuation, false, 0, "\xb8"}}, sendOp{OpContinuation, true, 0, ""}, ErrText, notText},
		{"8.1", "uncompressed text after compressed", RSV1, []sendOp{{OpText, true, RSV1, "\xff"}}, sendOp{OpText, true, 0, "\xff"}, ErrText, notText},
	}
	for _, test := range tests {
		for _, role := range bothRoles {
			t.Run(fmt.Sprintf("%s/%s/%s", test.section, test.name, role), func(t *testing.T) {
				p := newPair(t, role, test.rsv)
				for _, o := range test.before {
					require.NoError(t, p.append(o))
				}
				before := p.s
				err := p.append(test.op)
				require.Same(t, test.err, ruleOf(t, err))
				require.EqualError(t, err, test.text)

				h, err := p.s.Next(test.op.op, test.op.fin, test.op.rsv, []byte(test.op.payload))
				require.EqualError(t, err, test.text, "Next refuses what Append does")
				require.Zero(t, h)
				require.Equal(t, before, p.s)

				dst := []byte("before")
				got, err := p.s.Append(dst, test.op.op, test.op.fin, test.op.rsv, []byte(test.op.payload))
				require.Error(t, err)
				require.Equal(t, dst, got)
			})
		}
	}
}

// Each row that Receiver has for both roles is sent by its peer: all that is
// accepted there is sent, and what is refused there is not, by the same rule.
func TestSenderMirrorsReceiver(t *testing.T) {
	for _, test := range receivedTests {
		if limited := (Receiver{RSV: test.r.RSV}) != test.r; limited || test.roles != nil {
			continue
		}
		sends := true
		for _, w := range test.frames {
			// Sender has no way to say these.
			sends = sends && w.raw == "" && w.Length <= int64(len(w.payload))
		}
		if !sends {
			continue
		}
		for _, role := range bothRoles {
			t.Run(fmt.Sprintf("%s/%s/%s", test.section, test.name, role), func(t *testing.T) {
				p := newPair(t, role, test.r.RSV)
				for i, w := range test.frames {
					err := p.append(sendOp{w.Opcode, w.Fin, w.RSV, w.payload})
					if test.err == nil || i < len(test.frames)-1 {
						require.NoError(t, err)
					} else {
						require.Same(t, test.err, ruleOf(t, err))
					}
				}
			})
		}
	}
}

// Sequences of calls at random, most of them right. pair.append has the checks.
func TestSenderRandom(t *testing.T) {
	texts := []string{"", "Hello", "é", "\xc3", "\xa9", "世界", "\xe4", "\xb8", "\x96", "\xff", strings.Repeat("x", 125), strings.Repeat("x", 126), strings.Repeat("é", 40_000)}
	closes := []string{"", "\x03", "\x03\xe8", "\x03\xe8bye", "\x03\xed", "\x0f\xa0\xff"}
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(6455, seed))
		p := newPair(t, bothRoles[seed%2], uint8(random.IntN(8)))
		accepted := 0
		for range 100 {
			o := sendOp{op: Opcode(random.IntN(3)), fin: random.IntN(2) == 0, payload: texts[random.IntN(len(texts))]}
			switch random.IntN(40) {
			case 0:
				o.op = Opcode(random.IntN(20))
			case 1, 2, 3:
				o.op, o.fin = OpPing, random.IntN(5) > 0
			case 4, 5, 6:
				o.op, o.fin = OpPong, random.IntN(5) > 0
			case 7:
				o.op, o.fin, o.payload = OpClose, true, closes[random.IntN(len(closes))]
			case 8, 9, 10, 11, 12:
				o.rsv = uint8(random.IntN(8))
			}
			if o.op > 0xf {
				continue // does not fit a header
			}
			if p.append(o) == nil {
				accepted++
			}
		}
		if p.s.Role == Server {
			require.LessOrEqual(t, len(p.keys), 1, "no key")
		} else {
			// Two keys of 32 bits may be equal by chance.
			require.GreaterOrEqual(t, len(p.keys), accepted-1, "a key for each frame")
		}
	}
}

// Two frames of a client with the same payload differ in their keys, whatever
// their kind. (RFC 6455, section 5.3)
func TestSenderKeys(t *testing.T) {
	s := Sender{Role: Client}
	seen := make(map[[4]mask.Key]bool)
	for range 1000 {
		var run [4]mask.Key // single keys may be equal by chance
		for i, op := range []Opcode{OpText, OpBinary, OpPing, OpPong} {
			h, err := s.Next(op, true, 0, nil)
			require.NoError(t, err)
			require.True(t, h.Masked)
			run[i] = h.Key
		}
		require.False(t, seen[run])
		seen[run] = true
	}
}

// Opcodes and reserved bits that have no place in a header: written, they would
// be another frame than the one that was checked.
func TestSenderOutOfRange(t *testing.T) {
	for _, role := range bothRoles {
		s := Sender{Role: role, RSV: RSV1}
		for op := 0x10; op <= 0xff; op++ {
			dst, err := s.Append(nil, Opcode(op), true, 0, nil)
			require.Same(t, ErrReservedOpcode, ruleOf(t, err), "%#x", op)
			require.Empty(t, dst)
		}
		for rsv := 8; rsv <= 0xff; rsv++ {
			dst, err := s.Append(nil, OpText, true, uint8(rsv), nil)
			require.Same(t, ErrReservedBits, ruleOf(t, err), "%08b", rsv)
			require.Empty(t, dst)
		}
		require.Equal(t, Sender{Role: role, RSV: RSV1}, s)
	}
}

// A Role that is neither is a client, as everywhere in the package.
func TestSenderUnknownRole(t *testing.T) {
	s := Sender{Role: 7}
	h, err := s.Next(OpText, true, 0, nil)
	require.NoError(t, err)
	require.True(t, h.Masked)
}

func TestSenderState(t *testing.T) {
	s := Sender{Role: Server}
	for _, step := range []struct {
		o            sendOp
		open, closed bool
	}{
		{sendOp{OpPing, true, 0, ""}, false, false},
		{sendOp{OpText, true, 0, "a"}, false, false},
		{sendOp{OpText, false, 0, "a"}, true, false},
		{sendOp{OpPong, true, 0, ""}, true, false},
		{sendOp{OpContinuation, false, 0, "b"}, true, false},
		{sendOp{OpContinuation, true, 0, "c"}, false, false},
		{sendOp{OpBinary, false, 0, "d"}, true, false},
		{sendOp{OpClose, true, 0, ""}, true, true},
	} {
		_, err := s.Next(step.o.op, step.o.fin, step.o.rsv, []byte(step.o.payload))
		require.NoError(t, err)
		require.Equal(t, step.open, s.Open())
		require.Equal(t, step.closed, s.Closed())
	}
}

// AppendFrame checks nothing but takes the length from the payload, keeps what
// dst holds before and behind, and grows it once.
func TestAppendFrame(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4, 5, 63, 64, 65, 125, 126, 1000, 65535, 65536, 100_003} {
		payload := make([]byte, n)
		for i := range payload {
			payload[i] = byte(i * 7)
		}
		for _, masked := range []bool{false, true} {
			h := Header{Fin: true, Opcode: 0xf, RSV: 7, Length: 42, Masked: masked}
			want := append([]byte(nil), payload...)
			if masked {
				h.Key = rfcKey
				for i := range want {
					want[i] ^= rfcKey[i%4]
				}
			}
			h.Length = int64(n)
			want = append(AppendHeader([]byte("before"), h), want...)
			h.Length = 42

			require.Equal(t, want, AppendFrame([]byte("before"), h, payload))

			room := append(make([]byte, 0, len(want)+8), "before"...)
			behind := room[len(want) : len(want)+8]
			copy(behind, "behind..")
			got := AppendFrame(room, h, payload)
			require.Equal(t, want, got)
			require.Same(t, &room[0], &got[0], "it fits")
			require.Equal(t, "behind..", string(behind))
		}
	}
}

func TestSenderAllocs(t *testing.T) {
	hello, long := []byte("Hello, 世界"), bytes.Repeat([]byte("x"), 70_000)
	dst := make([]byte, 0, 2*len(long))
	for _, role := range bothRoles {
		t.Run(role.String(), func(t *testing.T) {
			if race && role == Client {
				t.Skip("the race detector makes mask.NewKey allocate")
			}
			s := Sender{Role: role}
			requireNoAllocs(t, func() {
				b, err := s.Append(dst, OpText, false, 0, hello)
				if err == nil {
					b, err = s.Append(b, OpPing, true, 0, hello)
				}
				if err == nil {
					b, err = s.Append(b, OpContinuation, true, 0, long)
				}
				if err == nil {
					_, err = s.Append(b, OpBinary, true, 0, hello)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// FuzzSender makes a series of calls out of bytes; pair.append has the checks.
// An operation is a byte like the first of a header, a byte with the length of
// the payload, and the payload; a length of 255 stands for 70,000 bytes more.
func FuzzSender(f *testing.F) {
	seed := func(client bool, rsv uint8, ops ...sendOp) {
		var script []byte
		for _, o := range ops {
			script = append(script, AppendHeader(nil, Header{Fin: o.fin, RSV: o.rsv, Opcode: o.op})[0], byte(len(o.payload)))
			script = append(script, o.payload...)
		}
		f.Add(client, rsv, script)
	}
	for _, test := range receivedTests {
		var ops []sendOp
		for _, w := range test.frames {
			if len(w.payload) < 255 {
				ops = append(ops, sendOp{w.Opcode, w.Fin, w.RSV, w.payload})
			}
		}
		seed(true, test.r.RSV, ops...)
		seed(false, test.r.RSV, ops...)
	}
	seed(true, 0, sendOp{OpBinary, false, 0, strings.Repeat("x", 255)}, sendOp{OpContinuation, true, 0, "y"})
	for _, name := range capture.Names("") {
		d := decode(f, Receiver{Role: Client, RSV: 7}, captured(f, name))
		var ops []sendOp
		for _, e := range d.events {
			if len(e.Payload) < 255 {
				ops = append(ops, sendOp{e.Opcode, e.Fin, e.RSV, e.Payload})
			}
		}
		if len(ops) > 0 {
			seed(true, RSV1, ops...)
		}
	}
	f.Fuzz(func(t *testing.T, client bool, rsv uint8, script []byte) {
		role := Server
		if client {
			role = Client
		}
		p := newPair(t, role, rsv&7)
		for calls := 0; len(script) >= 2 && calls < 100; calls++ {
			h, _, err := ParseHeader([]byte{script[0], 0})
			require.NoError(t, err)
			n := min(int(script[1]), len(script)-2)
			o := sendOp{h.Opcode, h.Fin, h.RSV, string(script[2 : 2+n])}
			if n == 255 {
				o.payload += strings.Repeat("z", 70_000)
			}
			script = script[2+n:]
			p.append(o)
		}
		requireObedient(t, p.peer.r, p.peer.events)
	})
}

func BenchmarkSender(b *testing.B) {
	for _, role := range bothRoles {
		for _, size := range []int{16, 128, 4096, 65536} {
			b.Run(fmt.Sprintf("role=%s/size=%d", role, size), func(b *testing.B) {
				payload := bytes.Repeat([]byte("x"), size)
				dst := make([]byte, 0, MaxHeader+size)
				s := Sender{Role: role}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Append(dst, OpText, true, 0, payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
