package conn_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// The limits of the connections in the table.
const (
	strictMessage   = 70_000
	strictFragments = 8
)

// strictRow is what a peer sends after the opening handshake, after which it
// sends nothing more and leaves the stream open, and what it gets.
type strictRow struct {
	section string
	name    string
	send    []raw
	want    []came          // before the Close frame
	code    frame.CloseCode // of the Close frame
	reason  string          // that the peer gave, if it closed
	err     error           // the rule that was broken; nil if the peer closed
	mirror  error           // the rule for a client, if it is another
}

func strictRows() []strictRow {
	var rows []strictRow
	section := ""
	add := func(r strictRow) {
		r.section = section
		rows = append(rows, r)
	}
	broken := func(err error, name string, send ...raw) {
		var pe *frame.ProtocolError
		errors.As(err, &pe)
		add(strictRow{name: name, send: send, code: pe.Code, err: err})
	}
	closed := func(code frame.CloseCode, name string, send ...raw) {
		add(strictRow{name: name, send: send, code: code})
	}
	text := func(s string) came { return came{frame.OpText, s} }
	code := func(c int) string { return string([]byte{byte(c >> 8), byte(c)}) }
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	// The length in two and in eight bytes.
	long := func(n int) string { return string([]byte{126, byte(n >> 8), byte(n)}) }
	longer := func(n uint64) string { return string(binary.BigEndian.AppendUint64([]byte{127}, n)) }

	section = "5.1 Masking"
	for _, r := range []raw{{b0: 0x81, payload: "a"}, {b0: 0x82}, {b0: 0x89}, {b0: 0x8A, payload: "a"}, {b0: 0x88, payload: code(1000)}, {b0: 0x81, length: longer(1 << 40)}} {
		r.flip = true
		add(strictRow{name: fmt.Sprintf("first byte %#x, length %d", r.b0, len(r.payload)), send: []raw{r}, code: 1002, err: frame.ErrUnmasked, mirror: frame.ErrMasked})
	}
	add(strictRow{name: "the second frame", send: []raw{{b0: 0x81, payload: "a"}, {b0: 0x81, payload: "b", flip: true}}, want: []came{text("a")}, code: 1002, err: frame.ErrUnmasked, mirror: frame.ErrMasked})
	add(strictRow{name: "the second fragment", send: []raw{{b0: 0x01, payload: "a"}, {b0: 0x80, payload: "b", flip: true}}, code: 1002, err: frame.ErrUnmasked, mirror: frame.ErrMasked})

	section = "5.2 Reserved bits"
	for _, rsv := range []byte{0x40, 0x20, 0x10, 0x70} {
		for _, b0 := range []byte{0x81, 0x82, 0x01, 0x88, 0x89, 0x8A} {
			broken(frame.ErrReservedBits, fmt.Sprintf("first byte %#x", b0|rsv), raw{b0: b0 | rsv})
		}
		broken(frame.ErrReservedBits, fmt.Sprintf("continuation with %#x", rsv), raw{b0: 0x01, payload: "a"}, raw{b0: 0x80 | rsv, payload: "b"})
	}

	section = "5.2 Opcodes"
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		broken(frame.ErrReservedOpcode, fmt.Sprintf("opcode %#x", op), raw{b0: 0x80 | op, payload: "a"})
		broken(frame.ErrReservedOpcode, fmt.Sprintf("opcode %#x, not the last fragment", op), raw{b0: op})
		broken(frame.ErrReservedOpcode, fmt.Sprintf("opcode %#x inside a message", op), raw{b0: 0x01, payload: "a"}, raw{b0: 0x80 | op})
	}

	section = "5.2 Length"
	for _, n := range []int{0, 1, 125} {
		broken(frame.ErrLengthNotMinimal, fmt.Sprintf("%d in 16 bits", n), raw{b0: 0x82, length: long(n), payload: zeros(n)})
	}
	for _, n := range []int{0, 125, 126, 65535} {
		broken(frame.ErrLengthNotMinimal, fmt.Sprintf("%d in 64 bits", n), raw{b0: 0x82, length: longer(uint64(n)), payload: zeros(n)})
	}
	broken(frame.ErrLengthNotMinimal, "of a Ping", raw{b0: 0x89, length: long(5), payload: "hello"})
	for _, n := range []uint64{1 << 63, 1<<63 + 5, 1<<64 - 1} {
		broken(frame.ErrLengthTopBit, fmt.Sprintf("%#x", n), raw{b0: 0x82, length: longer(n)})
	}

	section = "5.4 Fragmentation"
	broken(frame.ErrContinuation, "continuation first", raw{b0: 0x80, payload: "a"})
	broken(frame.ErrContinuation, "continuation first, not the last", raw{b0: 0x00, payload: "a"})
	broken(frame.ErrContinuation, "continuation first, empty", raw{b0: 0x80})
	add(strictRow{name: "continuation after a message", send: []raw{{b0: 0x81, payload: "a"}, {b0: 0x80, payload: "b"}}, want: []came{text("a")}, code: 1002, err: frame.ErrContinuation})
	add(strictRow{name: "continuation after a fragmented message", send: []raw{{b0: 0x01, payload: "a"}, {b0: 0x80, payload: "b"}, {b0: 0x80}}, want: []came{text("ab")}, code: 1002, err: frame.ErrContinuation})
	for _, b0 := range []byte{0x81, 0x01, 0x82, 0x02} {
		broken(frame.ErrInterleaved, fmt.Sprintf("first byte %#x inside a message", b0), raw{b0: 0x01, payload: "a"}, raw{b0: b0, payload: "b"})
	}
	add(strictRow{name: "inside a message, behind a Ping", send: []raw{{b0: 0x02}, {b0: 0x89}, {b0: 0x82}}, want: []came{{frame.OpPong, ""}}, code: 1002, err: frame.ErrInterleaved})
	add(strictRow{name: "Ping and Pong inside a message are fine", send: []raw{{b0: 0x01, payload: "a"}, {b0: 0x8A, payload: "x"}, {b0: 0x00}, {b0: 0x80, payload: "b"}, {b0: 0x88}}, want: []came{text("ab")}, code: frame.CloseNoStatus})
	closed(1000, "Close inside a message", raw{b0: 0x01, payload: "a"}, raw{b0: 0x88, payload: code(1000)})

	section = "5.5 Control frames"
	for _, b0 := range []byte{0x08, 0x09, 0x0A} {
		broken(frame.ErrControlFragmented, fmt.Sprintf("first byte %#x", b0), raw{b0: b0})
		broken(frame.ErrControlFragmented, fmt.Sprintf("first byte %#x inside a message", b0), raw{b0: 0x02}, raw{b0: b0})
		broken(frame.ErrControlTooLong, fmt.Sprintf("first byte %#x, 126 bytes announced", b0|0x80), raw{b0: b0 | 0x80, length: long(126)})
		broken(frame.ErrControlTooLong, fmt.Sprintf("first byte %#x, 126 bytes", b0|0x80), raw{b0: b0 | 0x80, payload: code(1000) + zeros(124)})
		broken(frame.ErrControlTooLong, fmt.Sprintf("first byte %#x, 65536 bytes announced", b0|0x80), raw{b0: b0 | 0x80, length: longer(65536)})
	}

	section = "5.5.1 Close"
	broken(frame.ErrCloseLength, "payload of one byte", raw{b0: 0x88, payload: "\x03"})
	closed(frame.CloseNoStatus, "no payload", raw{b0: 0x88})
	add(strictRow{name: "with a reason", send: []raw{{b0: 0x88, payload: code(1000) + "bye, до свидания"}}, code: 1000, reason: "bye, до свидания"})
	add(strictRow{name: "with the longest reason", send: []raw{{b0: 0x88, payload: code(4000) + strings.Repeat("x", 123)}}, code: 4000, reason: strings.Repeat("x", 123)})
	add(strictRow{name: "messages before it are answered first", send: []raw{{b0: 0x81, payload: "a"}, {b0: 0x01, payload: "b"}, {b0: 0x80, payload: "c"}, {b0: 0x81}, {b0: 0x88, payload: code(1001)}}, want: []came{text("a"), text("bc"), text("")}, code: 1001})
	closed(1000, "a message after it is ignored", raw{b0: 0x88, payload: code(1000)}, raw{b0: 0x81, payload: "a"})
	closed(1000, "a second Close frame after it is ignored", raw{b0: 0x88, payload: code(1000)}, raw{b0: 0x88, payload: code(1001)})
	closed(1000, "half a frame after it is ignored", raw{b0: 0x88, payload: code(1000)}, raw{b0: 0x82, length: long(1000)})
	closed(1000, "a broken frame after it is ignored", raw{b0: 0x88, payload: code(1000)}, raw{b0: 0xFF, flip: true})
	add(strictRow{name: "a Ping right before it is answered", send: []raw{{b0: 0x89, payload: "x"}, {b0: 0x88}}, want: []came{{frame.OpPong, "x"}}, code: frame.CloseNoStatus})

	section = "7.4 Close codes"
	for _, c := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 32768, 65535} {
		broken(frame.ErrCloseCode, fmt.Sprint(c), raw{b0: 0x88, payload: code(c)})
	}
	broken(frame.ErrCloseCode, "1005 with a reason", raw{b0: 0x88, payload: code(1005) + "bye"})
	for _, c := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		closed(frame.CloseCode(c), fmt.Sprint(c), raw{b0: 0x88, payload: code(c)})
	}

	section = "7.1.7 Messages before a broken frame"
	add(strictRow{name: "are answered first", send: []raw{{b0: 0x81, payload: "a"}, {b0: 0x81, payload: "b"}, {b0: 0x83}}, want: []came{text("a"), text("b")}, code: 1002, err: frame.ErrReservedOpcode})
	add(strictRow{name: "large ones, too", send: []raw{{b0: 0x81, payload: strings.Repeat("a", 40_000)}, {b0: 0x81, payload: "b"}, {b0: 0x81, payload: "\xff"}}, want: []came{text(strings.Repeat("a", 40_000)), text("b")}, code: 1007, err: frame.ErrText})
	add(strictRow{name: "a hundred", send: append(slices.Repeat([]raw{{b0: 0x81, payload: "a"}}, 100), raw{b0: 0x81, payload: "a", length: long(1)}), want: slices.Repeat([]came{text("a")}, 100), code: 1002, err: frame.ErrLengthNotMinimal})
	add(strictRow{name: "what comes behind it is ignored", send: []raw{{b0: 0x83}, {b0: 0x81, payload: "a"}, {b0: 0x88, payload: code(1000)}}, code: 1002, err: frame.ErrReservedOpcode})
	add(strictRow{name: "a Ping right before it is answered", send: []raw{{b0: 0x89, payload: "x"}, {b0: 0x83}}, want: []came{{frame.OpPong, "x"}}, code: 1002, err: frame.ErrReservedOpcode})

	section = "8.1 UTF-8"
	for _, bad := range []struct{ name, text string }{
		{"a byte that is never used", "\xff"},
		{"a stray continuation byte", "\x80"},
		{"overlong in two bytes", "\xc0\xaf"},
		{"overlong in three bytes", "\xe0\x80\xaf"},
		{"overlong in four bytes", "\xf0\x80\x80\xaf"},
		{"surrogate", "\xed\xa0\x80"},
		{"over U+10FFFF", "\xf4\x90\x80\x80"},
		{"cut short by another character", "\xe2\x82a"},
	} {
		broken(frame.ErrText, bad.name, raw{b0: 0x81, payload: "abc" + bad.text})
		broken(frame.ErrText, bad.name+", in a fragment that is not the last", raw{b0: 0x01, payload: "abc" + bad.text})
		broken(frame.ErrText, bad.name+", in the second fragment", raw{b0: 0x01, payload: "abc"}, raw{b0: 0x00, payload: bad.text})
		broken(frame.ErrText, bad.name+", in an unfinished frame", raw{b0: 0x81, payload: "abc" + bad.text, length: long(60_000)})
		broken(frame.ErrText, bad.name+", in an unfinished fragment", raw{b0: 0x01, payload: "abc"}, raw{b0: 0x80, payload: bad.text, length: "\x50"})
		broken(frame.ErrCloseReason, bad.name+", in a reason", raw{b0: 0x88, payload: code(1000) + "abc" + bad.text})
	}
	// The first impossible byte, without the rest of the character.
	for _, start := range []string{"\xc0", "\xc1", "\xe0\x80", "\xed\xa0", "\xf0\x8f", "\xf4\x90", "\xf5"} {
		broken(frame.ErrText, fmt.Sprintf("%x is the start of nothing", start), raw{b0: 0x81, payload: start, length: "\x50"})
		broken(frame.ErrText, fmt.Sprintf("%x is the start of nothing, over two fragments", start), raw{b0: 0x01, payload: start[:len(start)-1]}, raw{b0: 0x00, payload: start[len(start)-1:], length: "\x50"})
	}
	broken(frame.ErrText, "ends inside a character", raw{b0: 0x81, payload: "abc\xe2\x82"})
	broken(frame.ErrText, "ends inside a character, with an empty fragment", raw{b0: 0x01, payload: "abc\xe2\x82"}, raw{b0: 0x80})
	broken(frame.ErrCloseReason, "a reason that ends inside a character", raw{b0: 0x88, payload: code(1000) + "\xe2\x82"})
	add(strictRow{name: "a character over three fragments is fine", send: []raw{{b0: 0x01, payload: "\xe2"}, {b0: 0x00, payload: "\x82"}, {b0: 0x80, payload: "\xac"}, {b0: 0x88}}, want: []came{text("€")}, code: frame.CloseNoStatus})
	add(strictRow{name: "binary is not checked", send: []raw{{b0: 0x82, payload: "\xff\x80"}, {b0: 0x88}}, want: []came{{frame.OpBinary, "\xff\x80"}}, code: frame.CloseNoStatus})

	section = "10.4 Limits"
	for _, n := range []uint64{strictMessage + 1, 1 << 31, 1 << 32, 1 << 62, 1<<63 - 1} {
		broken(frame.ErrMessageTooBig, fmt.Sprintf("%d bytes announced", n), raw{b0: 0x82, length: longer(n)})
	}
	broken(frame.ErrMessageTooBig, "over two fragments", raw{b0: 0x02, payload: zeros(strictMessage)}, raw{b0: 0x80, length: "\x01"})
	broken(frame.ErrMessageTooBig, "overflow over two fragments", raw{b0: 0x02, payload: "a"}, raw{b0: 0x80, length: longer(1<<63 - 1)})
	add(strictRow{name: "a message of the limit is fine", send: []raw{{b0: 0x82, payload: zeros(strictMessage)}, {b0: 0x88}}, want: []came{{frame.OpBinary, zeros(strictMessage)}}, code: frame.CloseNoStatus})
	add(strictRow{name: "a message of the limit in two fragments is fine", send: []raw{{b0: 0x02, payload: zeros(strictMessage - 1)}, {b0: 0x80, payload: "\x00"}, {b0: 0x88}}, want: []came{{frame.OpBinary, zeros(strictMessage)}}, code: frame.CloseNoStatus})
	empty := append([]raw{{b0: 0x02}}, slices.Repeat([]raw{{b0: 0x00}}, strictFragments-1)...)
	broken(frame.ErrTooManyFragments, "empty fragments", append(empty[:len(empty):len(empty)], raw{b0: 0x00})...)
	broken(frame.ErrTooManyFragments, "the last fragment is one too many", append(empty[:len(empty):len(empty)], raw{b0: 0x80})...)
	full := slices.Clone(empty)
	full[len(full)-1].b0 = 0x80
	add(strictRow{name: "fragments up to the limit are fine, and Pings are none", send: slices.Concat(full[:1], []raw{{b0: 0x8A}, {b0: 0x8A}}, full[1:], full, []raw{{b0: 0x88}}), want: []came{{frame.OpBinary, ""}, {frame.OpBinary, ""}}, code: frame.CloseNoStatus})
	return rows
}

// check asserts what a peer got, and what the connection's function saw.
func (row *strictRow) check(t *testing.T, role frame.Role, before []came, code frame.CloseCode, reason string, err error) {
	t.Helper()
	require.Equal(t, len(row.want), len(before), "frames before the Close frame: %.300v", before)
	for i, want := range row.want {
		require.Equal(t, want.op, before[i].op, "frame %d", i)
		require.True(t, want.payload == before[i].payload, "frame %d: %.60q", i, before[i].payload)
	}
	require.Equal(t, row.code, code, "reason %q", reason)

	if row.err == nil {
		require.Empty(t, reason, "the answer has no reason of its own")
		var ce *conn.CloseError
		require.ErrorAs(t, err, &ce)
		require.Equal(t, conn.CloseError{Code: row.code, Reason: row.reason, Remote: true}, *ce)
		require.ErrorIs(t, err, net.ErrClosed)
		clean := row.code == 1000 || row.code == 1001 || row.code == 1005
		require.Equal(t, clean, errors.Is(err, io.EOF))
		return
	}
	rule := row.err
	if role == frame.Client && row.mirror != nil {
		rule = row.mirror
	}
	require.ErrorIs(t, err, rule)
	require.NotErrorIs(t, err, net.ErrClosed)
	require.NotErrorIs(t, err, io.EOF)
	require.Equal(t, row.code == 1009, errors.Is(err, conn.ErrMessageTooBig))
	var pe *frame.ProtocolError
	require.ErrorAs(t, err, &pe)
	require.Equal(t, row.code, pe.Code)
	require.Equal(t, pe.Reason, reason, "the peer is told what the function sees")
}

// run sends the row over an open connection and checks what comes back and what
// the connection's function then returns.
func (row *strictRow) run(t *testing.T, w *wire, ended <-chan error) {
	w.send(row.send...)
	before, code, reason := w.readClose()
	if w.role == frame.Client {
		w.expectEnd()
	}
	w.nc.Close()
	row.check(t, w.role.Peer(), before, code, reason, soon(t, ended))
}

var strictOptions = conn.Options{ReadLimit: strictMessage, FragmentLimit: strictFragments}

func TestStrictServer(t *testing.T) {
	for _, way := range ways {
		for _, reader := range readers {
			if reader.name != "Read" && way.name != "ServeTCP" && way.name != "HandlerTLS" {
				continue // once with and once without the raw transport
			}
			t.Run(way.name+"/"+reader.name, func(t *testing.T) {
				ended := make(chan error, 1)
				h := way.start(t, func(ctx context.Context, c *conn.Conn) error {
					err := echo(ctx, c, reader.name)
					ended <- err
					return err
				}, &conn.AcceptOptions{Options: strictOptions})
				for _, row := range strictRows() {
					t.Run(row.section+"/"+row.name, func(t *testing.T) {
						row.run(t, h.open(t, "/"), ended)
					})
				}
			})
		}
	}
}

func TestStrictClient(t *testing.T) {
	for _, reader := range readers {
		t.Run(reader.name, func(t *testing.T) {
			for _, row := range strictRows() {
				t.Run(row.section+"/"+row.name, func(t *testing.T) {
					ours, theirs := pair(t)
					c := conn.New(ours, frame.Client, nil, &strictOptions)
					ended := make(chan error, 1)
					go func() { ended <- echo(context.Background(), c, reader.name) }()
					row.run(t, newWire(t, theirs, frame.Server), ended)
				})
			}
		})
	}
}

// The server closes the stream for good, also when the peer does not: it gets
// the end of the stream first, and loses the connection a little later.
func TestStrictPeerStays(t *testing.T) {
	for _, way := range ways {
		for _, send := range []raw{{b0: 0x83}, {b0: 0x88}} {
			t.Run(fmt.Sprintf("%s/%#x", way.name, send.b0), func(t *testing.T) {
				ended := make(chan error, 1)
				h := way.start(t, func(ctx context.Context, c *conn.Conn) error {
					err := echo(ctx, c, "Read")
					ended <- err
					return err
				}, &conn.AcceptOptions{Options: conn.Options{CloseTimeout: 20 * time.Millisecond}})
				w := h.open(t, "/")
				w.send(send)
				w.readClose()
				w.expectEnd()
				require.Error(t, soon(t, ended))
				for {
					if _, err := w.nc.Write(make([]byte, 1<<10)); err != nil {
						require.False(t, isTimeout(err), "the server has not closed the connection: %v", err)
						break
					}
				}
			})
		}
	}
}

// A peer that goes on sending after its Close frame gets the answer to it, and a
// stream that ends.
func TestStrictMuchAfterClose(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			ended := make(chan error, 1)
			h := way.start(t, func(ctx context.Context, c *conn.Conn) error {
				err := echo(ctx, c, "Read")
				ended <- err
				return err
			}, nil)
			w := h.open(t, "/")
			b := appendRaw(nil, frame.Client, raw{b0: 0x88, payload: "\x03\xe8"})
			for range 100 {
				b = appendRaw(b, frame.Client, raw{b0: 0x82, payload: strings.Repeat("x", 10_000)})
			}
			go w.write(b)
			before, code, _ := w.readClose()
			require.Empty(t, before)
			require.Equal(t, frame.CloseNormal, code)
			_, err := w.next()
			require.True(t, err == io.EOF || reset(err), "%v", err)
			var ce *conn.CloseError
			require.ErrorAs(t, soon(t, ended), &ce)
		})
	}
}

func TestStrictPings(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			h := way.start(t, func(ctx context.Context, c *conn.Conn) error { return echo(ctx, c, "Read") }, nil)
			w := h.open(t, "/")

			for _, payload := range []string{"", "a", strings.Repeat("p", 125), "\xff\x00"} {
				w.send(raw{b0: 0x89, payload: payload})
				w.expect(came{frame.OpPong, payload})
			}
			w.send(raw{b0: 0x8A, payload: "not asked for"}, raw{b0: 0x8A})

			// Between fragments, before the message is whole.
			w.send(raw{b0: 0x01, payload: "a"}, raw{b0: 0x89, payload: "between"})
			w.expect(came{frame.OpPong, "between"})
			w.send(raw{b0: 0x80, payload: "b"})
			w.expect(came{frame.OpText, "ab"})

			// Ten thousand in one go. Whatever of them is answered is in order, and
			// the last one is.
			var flood []byte
			for i := range 10_000 {
				flood = appendRaw(flood, frame.Client, raw{b0: 0x89, payload: fmt.Sprintf("%0125d", i)})
			}
			go w.write(flood)
			for last := ""; last != fmt.Sprintf("%0125d", 9_999); {
				pong, err := w.next()
				require.NoError(t, err)
				require.Equal(t, frame.OpPong, pong.op)
				require.Len(t, pong.payload, 125)
				require.Greater(t, pong.payload, last)
				last = pong.payload
			}
			w.send(raw{b0: 0x88})
			w.expect(came{frame.OpClose, ""})
			w.expectEnd()
		})
	}
}

// A peer that sends Pings and never reads cannot make the server queue Pongs: one
// is on its way, until the peer is lost.
func TestStrictPingsUnread(t *testing.T) {
	nc := &deaf{
		input: appendRaw(nil, frame.Client, slices.Repeat([]raw{{b0: 0x89, payload: strings.Repeat("p", 125)}}, 100)...),
		gone:  make(chan struct{}),
	}
	c := conn.New(nc, frame.Server, nil, &conn.Options{WriteTimeout: 50 * time.Millisecond})
	require.ErrorIs(t, echo(context.Background(), c, "Read"), os.ErrDeadlineExceeded)
	require.Equal(t, int64(1), nc.writes.Load())
	require.LessOrEqual(t, nc.longest.Load(), int64(127))
}

// deaf is a peer that sends the same bytes again and again and never reads.
type deaf struct {
	scripted
	input           []byte
	next            int
	writes, longest atomic.Int64
	closing         sync.Once
	gone            chan struct{}
}

func (d *deaf) Read(p []byte) (int, error) {
	select {
	case <-d.gone:
		return 0, net.ErrClosed
	default:
	}
	n := copy(p, d.input[d.next:])
	d.next = (d.next + n) % len(d.input)
	return n, nil
}

func (d *deaf) Write(p []byte) (int, error) {
	d.writes.Add(1)
	d.longest.Store(max(d.longest.Load(), int64(len(p))))
	<-d.gone
	return 0, net.ErrClosed
}

func (d *deaf) Close() error {
	d.closing.Do(func() { close(d.gone) })
	return nil
}

// Pongs are bounded by reads: one read may bring any number of Pings, and is
// answered once.
func TestStrictPongsPerRead(t *testing.T) {
	nc := &scripted{}
	pings := appendRaw(nil, frame.Client, slices.Repeat([]raw{{b0: 0x89, payload: "x"}}, 10_000)...)
	for p := range slices.Chunk(pings, 10_001) {
		nc.pieces = append(nc.pieces, p)
	}
	_, err := messages(conn.New(nc, frame.Server, nil, nil))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.LessOrEqual(t, len(sent(t, nc, frame.Server)), nc.reads)
	require.Greater(t, nc.reads, 1)
}

// A connection that another goroutine ends while bytes are on their way to the
// reader is over, whatever they are.
func TestStrictEndedMeanwhile(t *testing.T) {
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		for _, send := range []raw{{b0: 0x88, payload: "\x03\xe8"}, {b0: 0x83}, {b0: 0x89}, {b0: 0x01}, {b0: 0x81, length: "\x05"}} {
			t.Run(fmt.Sprintf("%v/%#x", role, send.b0), func(t *testing.T) {
				nc := &scripted{pieces: [][]byte{appendRaw(nil, role.Peer(), send)}}
				c := conn.New(nc, role, nil, nil)
				nc.onRead = func() { c.CloseNow() }
				ended := make(chan error, 1)
				go func() { ended <- echo(context.Background(), c, "Read") }()
				err := soon(t, ended)
				require.ErrorIs(t, err, net.ErrClosed)
				require.Equal(t, err, context.Cause(c.Context()))
				require.Empty(t, sent(t, nc, role))
				require.Equal(t, err, c.Close(frame.CloseNormal, ""))
			})
		}
	}
}

// Nothing is allocated for bytes that are only announced.
func TestStrictAnnounced(t *testing.T) {
	for _, reader := range readers {
		t.Run(reader.name, func(t *testing.T) {
			announce := appendRaw(nil, frame.Client, raw{b0: 0x82, length: "\x7f\x00\x00\x00\x10\x00\x00\x00\x00", payload: "a"})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			const rounds = 20
			for range rounds {
				nc := &scripted{pieces: cut(announce, func() int { return len(announce) })}
				c := conn.New(nc, frame.Server, nil, &conn.Options{ReadLimit: -1})
				require.ErrorIs(t, echo(context.Background(), c, reader.name), io.ErrUnexpectedEOF)
			}
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(rounds*(256<<10)))
		})
	}
}

// Every row again in memory, in pieces of every size up to a few bytes and in
// seeded random ones: the same frames, the same error.
func TestStrictPieces(t *testing.T) {
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		for _, reader := range readers {
			t.Run(role.String()+"/"+reader.name, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				for _, row := range strictRows() {
					stream := appendRaw(nil, role.Peer(), row.send...)
					sizes := []func() int{
						func() int { return len(stream) },
						func() int { return 1 + random.IntN(20) },
						func() int { return 1 + random.IntN(5_000) },
					}
					if len(stream) < 1_000 {
						for n := 1; n <= 7; n++ {
							sizes = append(sizes, func() int { return n })
						}
					}
					for _, size := range sizes {
						nc := &scripted{pieces: cut(stream, size)}
						err := echo(context.Background(), conn.New(nc, role, nil, &strictOptions), reader.name)
						frames := sent(t, nc, role)
						require.NotEmpty(t, frames, row.name)
						last := frames[len(frames)-1]
						require.Equal(t, frame.OpClose, last.op, row.name)
						code, reason, closeErr := frame.ParseClose([]byte(last.payload))
						require.NoError(t, closeErr)
						row.check(t, role, frames[:len(frames)-1], code, reason, err)
					}
				}
			})
		}
	}
}

// The opening handshakes that are refused: what is sent, the status, and what the
// body must say.
func TestStrictHandshake(t *testing.T) {
	whole := request("/")
	replaced := func(old, new string) string {
		s := strings.Replace(whole, old, new, 1)
		require.NotEqual(t, whole, s, old)
		return s
	}
	const (
		key     = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
		version = "Sec-WebSocket-Version: 13\r\n"
	)
	rows := []struct {
		name    string
		request string
		status  int
		body    []string
		err     error
	}{
		{name: "POST", request: replaced("GET", "POST"), status: 405, body: []string{"method", `"POST"`, "GET"}},
		{name: "HEAD is not GET", request: replaced("GET", "PUT"), status: 405, body: []string{"method", `"PUT"`}},
		{name: "HTTP/1.0", request: replaced("HTTP/1.1", "HTTP/1.0"), status: 400, body: []string{"HTTP/1.0", "HTTP/1.1"}},
		{name: "no Upgrade", request: replaced("Upgrade: websocket\r\n", ""), status: 426, body: []string{"no Upgrade header"}, err: handshake.ErrNotWebSocket},
		{name: "another Upgrade", request: replaced("Upgrade: websocket", "Upgrade: h2c"), status: 400, body: []string{"Upgrade", `"h2c"`}},
		{name: "no Connection", request: replaced("Connection: Upgrade\r\n", ""), status: 400, body: []string{"Connection"}},
		{name: "no Upgrade in Connection", request: replaced("Connection: Upgrade", "Connection: keep-alive"), status: 400, body: []string{"Connection"}},
		{name: "no key", request: replaced(key, ""), status: 400, body: []string{"Sec-WebSocket-Key", "missing"}},
		{name: "two keys", request: replaced(key, key+key), status: 400, body: []string{"more than one Sec-WebSocket-Key"}},
		{name: "key empty", request: replaced(key, "Sec-WebSocket-Key: \r\n"), status: 400, body: []string{"Sec-WebSocket-Key"}},
		{name: "key not base64", request: replaced("Sec-WebSocket-Key: d", "Sec-WebSocket-Key: !"), status: 400, body: []string{"Sec-WebSocket-Key", "not base64"}},
		{name: "key of 15 bytes", request: replaced("ZSBub25jZQ==", "ZSBub25j"), status: 400, body: []string{"Sec-WebSocket-Key", "16"}},
		{name: "key of 17 bytes", request: replaced("ZSBub25jZQ==", "ZSBub25jZWU="), status: 400, body: []string{"Sec-WebSocket-Key", "16"}},
		{name: "no version", request: replaced(version, ""), status: 426, body: []string{"Sec-WebSocket-Version", "missing", "13"}},
		{name: "version 8", request: replaced("Version: 13", "Version: 8"), status: 426, body: []string{"Sec-WebSocket-Version", `"8"`, "13"}},
		{name: "version 14", request: replaced("Version: 13", "Version: 14"), status: 426, body: []string{"Sec-WebSocket-Version", `"14"`}},
		{name: "two versions", request: replaced(version, version+"Sec-WebSocket-Version: 8\r\n"), status: 426, body: []string{"Sec-WebSocket-Version"}},
		{name: "a body", request: replaced(version, version+"Content-Length: 3\r\n") + "abc", status: 400, body: []string{"body"}},
		{name: "a chunked body", request: replaced(version, version+"Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", status: 400, body: []string{"body"}},
		{name: "cross-origin", request: request("/", "Origin: https://evil.example"), status: 403, body: []string{`"https://evil.example"`, `"example.com"`, "Origins"}},
		{name: "origin null", request: request("/", "Origin: null"), status: 403, body: []string{`"null"`, `"example.com"`, "Origins"}},
		{name: "subprotocol no token", request: request("/", "Sec-WebSocket-Protocol: a b"), status: 400, body: []string{"Sec-WebSocket-Protocol", `"a b"`}},
		{name: "subprotocol twice", request: request("/", "Sec-WebSocket-Protocol: a, a"), status: 400, body: []string{"Sec-WebSocket-Protocol", `"a" twice`}},
		{name: "extensions malformed", request: request("/", "Sec-WebSocket-Extensions: a;;b"), status: 400, body: []string{"Sec-WebSocket-Extensions"}},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			h := way.start(t, func(ctx context.Context, c *conn.Conn) error { return echo(ctx, c, "Read") }, nil)
			for _, row := range rows {
				t.Run(row.name, func(t *testing.T) {
					w := h.dial(t)
					// What a client sends without waiting for the answer is no
					// second request.
					w.write(append([]byte(row.request), whole...))
					r, body := w.response()
					require.Equal(t, row.status, r.StatusCode, body)
					for _, want := range row.body {
						require.Contains(t, body, want)
					}
					require.True(t, r.Close, "the connection is announced to be closed")
					if row.status == 426 {
						require.Equal(t, "websocket", r.Header.Get("Upgrade"))
					}
					if strings.Contains(row.name, "version") {
						require.Equal(t, []string{"13"}, r.Header["Sec-Websocket-Version"])
					}
					if row.status == 405 {
						require.Equal(t, "GET", r.Header.Get("Allow"))
					}
					rest, err := w.rest()
					require.Empty(t, rest)
					require.True(t, err == io.EOF || reset(err), "%v", err)
				})
			}
			for _, offer := range []string{
				"foo",
				"permessage-deflate; bar",
				"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
				"permessage-deflate; server_max_window_bits=16",
				"permessage-deflate, x-webkit-deflate-frame",
			} {
				t.Run("declined: "+offer, func(t *testing.T) {
					w := h.dial(t)
					w.write([]byte(request("/", "Sec-WebSocket-Extensions: "+offer)))
					r := w.accepted()
					require.Empty(t, r.Header.Values("Sec-WebSocket-Extensions"))
					w.send(raw{b0: 0x81, payload: "a"}, raw{b0: 0x88})
					w.expect(came{frame.OpText, "a"}, came{frame.OpClose, ""})
				})
			}
			// The server itself is unharmed.
			w := h.open(t, "/")
			w.send(raw{b0: 0x81, payload: "a"})
			w.expect(came{frame.OpText, "a"})
		})
	}
}

// What the caller of Accept and Server gets is the refusal that was sent.
func TestStrictHandshakeError(t *testing.T) {
	text := strings.Replace(request("/"), "Version: 13", "Version: 8", 1)
	check := func(t *testing.T, err error) {
		var he *handshake.Error
		require.ErrorAs(t, err, &he)
		require.Equal(t, http.StatusUpgradeRequired, he.Status)
		require.Contains(t, err.Error(), `Sec-WebSocket-Version is "8"`)
	}
	t.Run("Accept", func(t *testing.T) {
		errs := make(chan error, 1)
		h := startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := conn.Accept(w, r, nil)
			if c != nil {
				err = errors.New("there is a connection")
			}
			errs <- err
		}))
		h.dial(t).write([]byte(text))
		check(t, soon(t, errs))
	})
	t.Run("Server", func(t *testing.T) {
		nc := &scripted{pieces: [][]byte{[]byte(text)}}
		c, err := conn.Server(nc, nil)
		require.Nil(t, c)
		check(t, err)
		require.True(t, nc.closed)
		require.True(t, bytes.HasPrefix(nc.out, []byte("HTTP/1.1 426 Upgrade Required\r\n")), "%s", nc.out)
	})
}
