package frame

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"rfc6455/mask"
)

// decoder reads a stream of frames with ParseHeader and Receiver, as an endpoint
// does, in pieces of any length. It holds them to what they promise about
// errors and limits on the way.
type decoder struct {
	t testing.TB
	r Receiver

	pending []byte  // bytes of a header that is not whole
	inside  bool    // a header came, its payload has not
	under   Header  // of the frame under way, or of the one that was refused
	body    []byte  // its payload, as much of it as has come
	message int64   // bytes of payload of the message so far
	frames  int     // frames of the message so far
	events  []event // the frames that were whole
	err     error   // sticky
}

// event is a whole frame.
type event struct {
	Header
	Payload string // unmasked
}

// write takes the next bytes of the stream. It returns the error that ended it.
func (d *decoder) write(p []byte) error {
	d.pending = append(d.pending, p...)
	for d.err == nil {
		if !d.inside {
			h, n, err := ParseHeader(d.pending)
			if err == nil && n == 0 {
				return nil
			}
			before := d.r
			if err == nil {
				err = d.r.Next(h)
			}
			if err != nil {
				require.Equal(d.t, before, d.r, "a refusal changes nothing")
				d.err = err
				break
			}
			d.pending = d.pending[n:]
			d.begin(h)
			continue
		}
		n := min(d.r.Left(), int64(len(d.pending)))
		piece := d.pending[:n:n]
		d.pending = d.pending[n:]
		d.payload(piece)
		if d.inside && d.err == nil {
			return nil
		}
	}
	return d.err
}

func (d *decoder) begin(h Header) {
	d.inside = true
	d.under, d.body = h, nil
	require.Equal(d.t, h.Length, d.r.Left())
	if h.Opcode.IsControl() {
		require.LessOrEqual(d.t, h.Length, int64(MaxControl))
		return
	}
	if h.Opcode != OpContinuation {
		d.message, d.frames = 0, 0
		op, compressed := d.r.Message()
		require.Equal(d.t, h.Opcode, op)
		require.Equal(d.t, h.RSV&RSV1 != 0, compressed)
	}
	require.Equal(d.t, !h.Fin, d.r.Open())
	d.frames++
	if limit := d.r.FragmentLimit; limit > 0 {
		require.LessOrEqual(d.t, d.frames, limit)
	}
	if limit := d.r.FrameLimit; limit > 0 {
		require.LessOrEqual(d.t, h.Length, limit)
	}
}

func (d *decoder) payload(p []byte) {
	before, masked := d.r, bytes.Clone(p)
	if err := d.r.Payload(p); err != nil {
		require.Equal(d.t, before, d.r, "a refusal changes nothing")
		unmask(masked, before, len(d.body))
		require.Equal(d.t, masked, p, "also text that is refused is unmasked")
		d.err = err
		return
	}
	d.body = append(d.body, p...)
	if left := d.under.Length - int64(len(d.body)); left != d.r.Left() {
		require.Equal(d.t, left, d.r.Left())
	}
	if !d.under.Opcode.IsControl() {
		d.message += int64(len(p))
		if limit := d.r.MessageLimit; limit > 0 && d.message > limit {
			require.LessOrEqual(d.t, d.message, limit)
		}
	}
	if d.r.Left() > 0 {
		return
	}
	if d.under.Opcode == OpClose {
		if _, _, err := ParseClose(d.body); err != nil {
			d.err = err
			return
		}
	}
	d.events = append(d.events, event{d.under, string(d.body)})
	d.inside = false
}

// unmask is the formula of RFC 6455, section 5.3, for a piece of a payload.
func unmask(p []byte, r Receiver, at int) {
	if r.Role == Client {
		return
	}
	for i := range p {
		p[i] ^= r.key[(at+i)%4]
	}
}

// decode gives a stream to a new decoder in pieces that end at ends, which grow.
func decode(t testing.TB, r Receiver, stream []byte, ends ...int) *decoder {
	d := &decoder{t: t, r: r}
	start := 0
	for _, end := range append(ends[:len(ends):len(ends)], len(stream)) {
		d.write(stream[start:end])
		start = end
	}
	return d
}

// requireSame fails the test unless both decoders came to the same end. How much
// of the last payload a decoder saw is not compared if it refused it: that is
// where the pieces differ.
func requireSame(t testing.TB, want, got *decoder, ends ...int) {
	t.Helper()
	if len(want.events) != len(got.events) || want.inside != got.inside || want.err == nil && want.r != got.r {
		require.Fail(t, "another end", "in pieces that end at %v: %+v instead of %+v", ends, got, want)
	}
	for i := range want.events {
		if want.events[i] != got.events[i] {
			require.Equal(t, want.events[i], got.events[i], "in pieces that end at %v", ends)
		}
	}
	if want.err == nil {
		require.NoError(t, got.err, "in pieces that end at %v", ends)
		return
	}
	require.EqualError(t, got.err, want.err.Error(), "in pieces that end at %v", ends)
	require.Same(t, ruleOf(t, want.err), ruleOf(t, got.err))
}

// requirePieces decodes a stream byte by byte and in random pieces, and fails the
// test unless every time the end is that of want.
func requirePieces(t testing.TB, want *decoder, r Receiver, stream []byte, random *rand.Rand) {
	t.Helper()
	single := make([]int, len(stream))
	for i := range single {
		single[i] = i
	}
	requireSame(t, want, decode(t, r, stream, single...), single...)
	for range 10 {
		ends := randomEnds(random, len(stream))
		requireSame(t, want, decode(t, r, stream, ends...), ends...)
	}
}

// truncations calls f with every length from 0 to n, or, if they are many, with
// those near both ends and some others.
func truncations(n int, random *rand.Rand, f func(n int)) {
	for cut := 0; cut <= n; cut++ {
		f(cut)
		if cut > 300 && cut < n-20 {
			cut = min(cut+random.IntN(n/20+1), n-20)
		}
	}
}

// randomEnds cuts n bytes into pieces of random lengths, 0 among them.
func randomEnds(random *rand.Rand, n int) (ends []int) {
	most := 1 + random.IntN(n+1)
	for at := 0; at < n && len(ends) < 1000; {
		at += random.IntN(min(n-at, most) + 1)
		ends = append(ends, at)
	}
	return ends
}

// wire is a frame as a peer might send it, well or badly.
type wire struct {
	Header
	payload string
	unlike  bool   // masked if the sender must not, unmasked if it must
	raw     string // if not empty, stands in place of the length byte and what follows, in hexadecimal
}

func first(op Opcode, payload string) wire {
	return wire{Header: Header{Opcode: op}, payload: payload}
}

func whole(op Opcode, payload string) wire {
	return wire{Header: Header{Opcode: op, Fin: true}, payload: payload}
}

func middle(payload string) wire { return first(OpContinuation, payload) }
func last(payload string) wire   { return whole(OpContinuation, payload) }

// rsv sets reserved bits.
func (w wire) rsv(bits uint8) wire {
	w.RSV = bits
	return w
}

// announce makes the header promise n bytes.
func (w wire) announce(n int64) wire {
	w.Length = n
	return w
}

// encode appends the frame as an endpoint of this role sends it. Its size
// without the payload is size.
func (w wire) encode(t testing.TB, dst []byte, role Role) (stream []byte, size int) {
	start := len(dst)
	if w.raw != "" {
		w.Length = 0
		dst = append(AppendHeader(dst, w.Header)[:start+1], unhex(t, w.raw)...)
		if role == Client {
			dst[start+1] |= maskBit
		}
		return dst, len(dst) - start
	}
	h := w.Header
	h.Length = max(h.Length, int64(len(w.payload)))
	h.Masked = (role == Client) != w.unlike
	if h.Masked {
		h.Key = rfcKey
	}
	dst = AppendHeader(dst, h)
	size = len(dst) - start
	dst = append(dst, w.payload...)
	if h.Masked {
		mask.XOR(dst[start+size:], h.Key, 0)
	}
	return dst, size
}

// requireObedient fails the test unless frames that were accepted are what
// RFC 6455 lets the peer send to r, as far as one can see from them.
func requireObedient(t testing.TB, r Receiver, events []event) {
	var opcode Opcode // of the message under way
	var parts []string
	var size int64
	var compressed bool
	for i, e := range events {
		require.Equal(t, r.Role == Server, e.Masked)
		require.Len(t, e.Payload, int(e.Length))
		switch e.Opcode {
		case OpClose:
			require.Equal(t, len(events)-1, i, "Close is the last frame")
			fallthrough
		case OpPing, OpPong:
			require.True(t, e.Fin)
			require.Zero(t, e.RSV)
			require.LessOrEqual(t, len(e.Payload), 125)
			continue
		case OpContinuation:
			require.NotEmpty(t, parts)
			require.Zero(t, e.RSV)
		case OpText, OpBinary:
			require.Empty(t, parts)
			require.Zero(t, e.RSV&^r.RSV)
			opcode, compressed, size = e.Opcode, e.RSV&4 != 0, 0
		default:
			require.Fail(t, "a reserved opcode", "%+v", e)
		}
		parts = append(parts, e.Payload)
		size += e.Length
		if r.FrameLimit > 0 {
			require.LessOrEqual(t, e.Length, r.FrameLimit)
		}
		if r.FragmentLimit > 0 {
			require.LessOrEqual(t, len(parts), r.FragmentLimit)
		}
		if r.MessageLimit > 0 {
			require.LessOrEqual(t, size, r.MessageLimit)
		}
		if e.Fin {
			require.True(t, opcode != OpText || compressed || utf8.ValidString(strings.Join(parts, "")))
			parts = nil
		}
	}
}
