package conn

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/handshake"
	"rfc6455/testdata/capture"
)

// replay is a transport that gives what was recorded, in pieces, and then ends;
// it keeps what is written to it.
type replay struct {
	in     []byte
	pieces func() int // how much the next read gives at most; nil: all

	mu     sync.Mutex
	out    bytes.Buffer
	closed bool
}

// written returns what was written, once the transport was closed.
func (r *replay) written(t testing.TB) *bytes.Buffer {
	r.mu.Lock()
	defer r.mu.Unlock()
	require.True(t, r.closed, "the transport was closed")
	return &r.out
}

// randomly returns the sizes of random pieces, small ones above all.
func randomly(seed uint64) func() int {
	rnd := rand.New(rand.NewPCG(seed, seed))
	return func() int { return 1 + rnd.IntN(1+rnd.IntN(200)) }
}

func (r *replay) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, net.ErrClosed
	}
	if len(r.in) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(r.in))
	if r.pieces != nil {
		n = min(n, r.pieces())
	}
	copy(p, r.in[:n])
	r.in = r.in[n:]
	return n, nil
}

func (r *replay) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, net.ErrClosed
	}
	return r.out.Write(p)
}

func (r *replay) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}

func (r *replay) LocalAddr() net.Addr              { return streamAddr("server") }
func (r *replay) RemoteAddr() net.Addr             { return streamAddr("client") }
func (r *replay) SetDeadline(time.Time) error      { return nil }
func (r *replay) SetReadDeadline(time.Time) error  { return nil }
func (r *replay) SetWriteDeadline(time.Time) error { return nil }

// heard is what an application got from a connection.
type heard struct {
	Types    []MessageType
	Messages []string
	Err      error
}

// hear reads all messages of c with one of the reading methods, echoes them, and
// then holds the error to what is documented.
func hear(t testing.TB, c *Conn, method uint8) (h heard) {
	ctx := context.Background()
	got := func(mt MessageType, p []byte) {
		h.Types = append(h.Types, mt)
		h.Messages = append(h.Messages, string(p))
		c.Write(ctx, mt, p) // the peer may be gone
	}
	switch method % 4 {
	case 0:
		for h.Err == nil {
			var mt MessageType
			var p []byte
			if mt, p, h.Err = c.Read(ctx); h.Err == nil {
				require.LessOrEqual(t, cap(p), max(firstRoom, 2*len(p)), "memory grows with what came")
				got(mt, p)
			}
		}
	case 1:
		buf := make([]byte, 100)
		for h.Err == nil {
			var mt MessageType
			var p []byte
			if mt, p, h.Err = c.ReadInto(ctx, buf); h.Err == nil {
				got(mt, p)
			}
		}
	case 2:
		for m, err := range c.Messages(ctx) {
			if err == nil {
				got(m.Type, m.Data)
			}
		}
		_, _, h.Err = c.Read(ctx)
	case 3:
		for h.Err == nil {
			var mt MessageType
			var r io.Reader
			if mt, r, h.Err = c.Reader(ctx); h.Err == nil {
				var p []byte
				if p, h.Err = io.ReadAll(r); h.Err == nil {
					got(mt, p)
				}
			}
		}
	}
	var closed *CloseError
	var broken *frame.ProtocolError
	if !errors.As(h.Err, &closed) && !errors.As(h.Err, &broken) && !errors.Is(h.Err, io.ErrUnexpectedEOF) {
		require.Fail(t, "undocumented error", "%v", h.Err)
	}
	_, _, again := c.Read(ctx)
	require.Equal(t, h.Err, again, "the error is sticky")
	require.Equal(t, h.Err, context.Cause(c.Context()))
	require.Error(t, c.Write(ctx, Binary, nil))
	return h
}

// legal holds what an endpoint wrote against the rules of its peer, and returns
// the frames.
func legal(t testing.TB, role frame.Role, out []byte) (frames []frame.Header, last []byte) {
	recv := frame.Receiver{Role: role.Peer(), RSV: frame.RSV1}
	for len(out) > 0 {
		h, n, err := frame.ParseHeader(out)
		require.NoError(t, err)
		require.NotZero(t, n, "a header is cut off")
		require.NoError(t, recv.Next(h))
		require.LessOrEqual(t, h.Length, int64(len(out)-n), "a payload is cut off")
		last = out[n : n+int(h.Length)]
		require.NoError(t, recv.Payload(last))
		if h.Opcode == frame.OpClose {
			_, _, err := frame.ParseClose(last)
			require.NoError(t, err)
		}
		frames = append(frames, h)
		out = out[n+int(h.Length):]
	}
	return frames, last
}

// streams returns what a peer of a server might send, for the fuzz targets.
func streams(t testing.TB) (all [][]byte) {
	for _, name := range capture.Names(".c2s") {
		s, err := capture.Read(name)
		require.NoError(t, err)
		_, frames := s.Handshake()
		all = append(all, frames)
	}
	sender := frame.Sender{Role: frame.Client}
	add := func(frames ...func([]byte) []byte) {
		var b []byte
		for _, f := range frames {
			b = f(b)
		}
		all = append(all, b)
	}
	whole := func(op frame.Opcode, payload string) func([]byte) []byte {
		return func(b []byte) []byte {
			b, err := sender.Append(b, op, true, 0, []byte(payload))
			require.NoError(t, err)
			return b
		}
	}
	bytesOf := func(p ...byte) func([]byte) []byte {
		return func(b []byte) []byte { return append(b, p...) }
	}
	add(whole(frame.OpText, "text"), whole(frame.OpPing, "ping"), whole(frame.OpBinary, "binary"))
	add(whole(frame.OpText, "before"), bytesOf(0x81, 0x01, 'x'))                  // not masked
	add(whole(frame.OpText, "before"), bytesOf(0xC1, 0x80, 0, 0, 0, 0))           // RSV1
	add(bytesOf(0x83, 0x80, 0, 0, 0, 0))                                          // reserved opcode
	add(bytesOf(0x09, 0x80, 0, 0, 0, 0))                                          // fragmented Ping
	add(bytesOf(0x80, 0x80, 0, 0, 0, 0))                                          // nothing to continue
	add(bytesOf(0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0))                  // inside a message
	add(bytesOf(0x82, 0xFE, 0, 1, 0, 0, 0, 0, 'x'))                               // not minimal
	add(bytesOf(0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4))               // top bit
	add(bytesOf(0x82, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4))               // 2^63 - 2^56 bytes
	add(bytesOf(0x81, 0x82, 0, 0, 0, 0, 0xED, 0xA0))                              // surrogate
	add(bytesOf(0x88, 0x81, 0, 0, 0, 0, 1), whole(frame.OpText, "after"))         // Close of one byte
	add(bytesOf(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xEE), whole(frame.OpText, "more")) // 1006

	compressed := func(op frame.Opcode, payload string) func([]byte) []byte {
		return func(b []byte) []byte {
			h := frame.Header{Fin: true, RSV: frame.RSV1, Opcode: op, Masked: true}
			return frame.AppendFrame(b, h, []byte(payload))
		}
	}
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	add(compressed(frame.OpText, hello), compressed(frame.OpText, "\xf2\x00\x11\x00\x00"))
	add(compressed(frame.OpText, hello), whole(frame.OpText, "plain"), compressed(frame.OpBinary, ""))
	add(compressed(frame.OpText, deflated(t, prose(3000, 1))), compressed(frame.OpBinary, deflated(t, prose(3000, 1))))
	add(compressed(frame.OpBinary, deflated(t, strings.Repeat("x", 100_000))))
	return all
}

func FuzzServerConn(f *testing.F) {
	for i, s := range streams(f) {
		f.Add(s, uint8(i), uint16(0), uint64(i), uint8(0))
		f.Add(s, uint8(i+1), uint16(200), uint64(i), uint8(0))
		f.Add(s, uint8(i+1), uint16(i%2*1000), uint64(i), uint8(1+i%3))
	}
	f.Fuzz(func(t *testing.T, in []byte, method uint8, limit uint16, seed uint64, compression uint8) {
		o := &Options{ReadLimit: int64(limit), FragmentLimit: 8, Compression: &Compression{Threshold: 50}}
		if limit == 0 {
			o.ReadLimit = 1 << 20
		}
		agreement := &handshake.Agreement{}
		switch compression % 4 {
		case 1:
			agreement.Deflate = &handshake.Deflate{}
		case 2:
			agreement.Deflate = &handshake.Deflate{ServerNoContextTakeover: true, ClientNoContextTakeover: true}
		case 3:
			agreement.Deflate = &handshake.Deflate{ServerMaxWindowBits: 9, ClientMaxWindowBits: 8}
			o.Compression.Takeover = true
		}
		listen := func(method uint8, pieces func() int) heard {
			nc := &replay{in: bytes.Clone(in), pieces: pieces}
			h := hear(t, New(nc, frame.Server, agreement, o), method)
			frames, _ := legal(t, frame.Server, nc.written(t).Bytes())
			if errors.Is(h.Err, io.ErrUnexpectedEOF) {
				return h // nobody is there any more
			}
			require.NotEmpty(t, frames)
			require.Equal(t, frame.OpClose, frames[len(frames)-1].Opcode, "a Close frame is last")
			return h
		}
		whole := listen(method, nil)
		pieces := listen(method>>2, randomly(seed))
		require.Equal(t, whole.Types, pieces.Types)
		require.Equal(t, whole.Messages, pieces.Messages)
		require.Equal(t, whole.Err.Error(), pieces.Err.Error())
	})
}

func FuzzServerHandshake(f *testing.F) {
	for _, name := range capture.Names(".c2s") {
		s, err := capture.Read(name)
		require.NoError(f, err)
		f.Add(s.Bytes(), uint64(0))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint64(1))
	f.Add([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), uint64(2))
	f.Add(bytes.Repeat([]byte("GET / HTTP/1.1\r\nX: y\r\n"), 100), uint64(3))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		o := &AcceptOptions{Origins: []string{"*"}, HandshakeBytes: 2000, Options: Options{ReadLimit: 1000}}
		nc := &replay{in: in}
		if seed > 0 {
			nc.pieces = randomly(seed)
		}
		c, err := Server(nc, o)
		if err == nil {
			hear(t, c, uint8(seed))
		}
		out := nc.written(t)
		if out.Len() == 0 {
			var refused *handshake.Error
			require.False(t, errors.As(err, &refused), "a refusal is written")
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			return
		}
		resp, rerr := http.ReadResponse(bufio.NewReader(out), nil)
		require.NoError(t, rerr)
		if err == nil {
			require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			return
		}
		var refused *handshake.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, refused.Status, resp.StatusCode)
		body, rerr := io.ReadAll(resp.Body)
		require.NoError(t, rerr)
		require.Equal(t, refused.Body(), string(body))
	})
}
