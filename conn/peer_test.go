package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/mask"
)

// peer is the other end of a connection under test, on the bare stream: it
// sends what the test tells it to, right or wrong, and holds every frame that
// comes against the rules.
type peer struct {
	t    testing.TB
	nc   net.Conn
	role frame.Role
	recv frame.Receiver
	buf  []byte // came and was not looked at
}

// newPeer returns a connection of the given role in memory, and its peer.
func newPeer(t testing.TB, role frame.Role, o *Options) (*Conn, *peer) {
	ours, theirs := streamPair()
	if role == frame.Server {
		ours, theirs = theirs, ours
	}
	return peerOver(t, ours, theirs, role, o)
}

// peerOver returns a connection of the given role on ours, and its peer.
func peerOver(t testing.TB, ours io.ReadWriteCloser, theirs net.Conn, role frame.Role, o *Options) (*Conn, *peer) {
	c := New(ours, role, nil, o)
	t.Cleanup(func() {
		c.CloseNow()
		theirs.Close()
	})
	return c, &peer{t: t, nc: theirs, role: role.Peer(), recv: frame.Receiver{Role: role.Peer()}}
}

// header returns a header that announces length bytes. A client's has a key
// without a zero byte, so that no masked byte is right by chance.
func (p *peer) header(fin bool, op frame.Opcode, length int64) frame.Header {
	h := frame.Header{Fin: fin, Opcode: op, Length: length}
	if p.role == frame.Client {
		h.Masked, h.Key = true, mask.Key{0x37, 0xfa, 0x21, 0x3d}
	}
	return h
}

// frame returns a frame.
func (p *peer) frame(fin bool, op frame.Opcode, payload string) []byte {
	return frame.AppendFrame(nil, p.header(fin, op, 0), []byte(payload))
}

// whole returns a frame that is not a fragment.
func (p *peer) whole(op frame.Opcode, payload string) []byte { return p.frame(true, op, payload) }

// close returns a Close frame.
func (p *peer) close(code frame.CloseCode, reason string) []byte {
	return p.whole(frame.OpClose, string(frame.AppendClose(nil, code, reason)))
}

// write writes all pieces with one call.
func (p *peer) write(pieces ...[]byte) {
	p.t.Helper()
	_, err := p.nc.Write(bytes.Join(pieces, nil))
	require.NoError(p.t, err)
}

// send writes a frame that is not a fragment.
func (p *peer) send(op frame.Opcode, payload string) {
	p.t.Helper()
	p.write(p.whole(op, payload))
}

// next returns the next frame with its payload unmasked, or the error of the
// stream.
func (p *peer) next() (frame.Header, string, error) {
	p.t.Helper()
	for {
		h, n, err := frame.ParseHeader(p.buf)
		require.NoError(p.t, err)
		if end := n + int(h.Length); n > 0 && end <= len(p.buf) {
			payload := p.buf[n:end]
			require.NoError(p.t, p.recv.Next(h))
			require.NoError(p.t, p.recv.Payload(payload))
			p.buf = p.buf[end:]
			return h, string(payload), nil
		}
		if err := p.fill(); err != nil {
			return frame.Header{}, "", err
		}
	}
}

// fill reads from the stream once.
func (p *peer) fill() error {
	b := make([]byte, 64<<10)
	n, err := p.nc.Read(b)
	p.buf = append(p.buf, b[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// expect reads the next frame, which must be this one.
func (p *peer) expect(op frame.Opcode, payload string) {
	p.t.Helper()
	h, got, err := p.next()
	require.NoError(p.t, err)
	require.Equal(p.t, op, h.Opcode, "payload %.60q", got)
	require.True(p.t, h.Fin)
	require.Equal(p.t, len(payload), len(got))
	require.True(p.t, payload == got, "payload %.60q, want %.60q", got, payload)
}

// expectClose reads the next frame, which must be a Close frame with this code
// and any reason, and returns the reason.
func (p *peer) expectClose(code frame.CloseCode) string {
	p.t.Helper()
	h, payload, err := p.next()
	require.NoError(p.t, err)
	require.Equal(p.t, frame.OpClose, h.Opcode, "payload %.60q", payload)
	got, reason, err := frame.ParseClose([]byte(payload))
	require.NoError(p.t, err)
	require.Equal(p.t, code, got, "reason %q", reason)
	return reason
}

// expectEnd reads the end of the stream.
func (p *peer) expectEnd() {
	p.t.Helper()
	h, payload, err := p.next()
	require.ErrorIs(p.t, err, io.EOF, "%v frame %.60q", h.Opcode, payload)
	require.Empty(p.t, p.buf)
}

// quiet reports whether nothing has come that was not looked at. It needs a
// bubble, and a peer of newPeer.
func (p *peer) quiet() bool {
	synctest.Wait()
	h := p.nc.(*stream).in
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(p.buf) == 0 && len(h.data) == 0
}

// bubble runs f in a synctest bubble: in fake time.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// bothRoles runs f in a bubble for a connection of either role.
func bothRoles(t *testing.T, f func(t *testing.T, role frame.Role)) {
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		bubble(t, role.String(), func(t *testing.T) { f(t, role) })
	}
}

// result is what a call in another goroutine returned, and when.
type result struct {
	text string
	err  error
	at   time.Time
}

// start runs f in a goroutine.
func start(f func() (string, error)) <-chan result {
	done := make(chan result, 1)
	go func() {
		text, err := f()
		done <- result{text, err, time.Now()}
	}()
	return done
}

// startRead reads one message in a goroutine.
func startRead(ctx context.Context, c *Conn) <-chan result {
	return start(func() (string, error) {
		_, p, err := c.Read(ctx)
		return string(p), err
	})
}

// startErr runs f in a goroutine.
func startErr(f func() error) <-chan result {
	return start(func() (string, error) { return "", f() })
}

// pending reports whether a call in another goroutine has not returned though
// everybody waits.
func pending(done <-chan result) bool {
	synctest.Wait()
	return len(done) == 0
}

// readAll reads messages until one cannot be read.
func readAll(c *Conn) (messages []string, err error) {
	for {
		_, p, err := c.Read(context.Background())
		if err != nil {
			return messages, err
		}
		messages = append(messages, string(p))
	}
}

// letters returns n bytes of text; pieces of it nearby differ.
func letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte((i+i/26+i/676)%26)
	}
	return string(b)
}

// errTest is an error of a transport.
var errTest = errors.New("the cable is cut")
