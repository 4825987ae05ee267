package conn_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

// scripted is a net.Conn whose other end has sent everything already, in pieces
// that single reads return, and takes whatever is written.
type scripted struct {
	mu     sync.Mutex
	pieces [][]byte
	reads  int
	out    []byte
	closed bool
	onRead func() // called before a read returns bytes
}

func (s *scripted) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	s.reads++
	for len(s.pieces) > 0 && len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	if s.onRead != nil {
		s.mu.Unlock()
		s.onRead()
		s.mu.Lock()
	}
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

func (s *scripted) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *scripted) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "us", Net: "unix"} }
func (s *scripted) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "them", Net: "unix"} }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// cut cuts a stream into pieces of the sizes that size returns.
func cut(stream []byte, size func() int) (pieces [][]byte) {
	stream = append([]byte(nil), stream...) // reading unmasks in place, perhaps
	for len(stream) > 0 {
		n := min(size(), len(stream))
		pieces = append(pieces, stream[:n])
		stream = stream[n:]
	}
	return pieces
}

// sent returns the frames that a connection of the given role wrote, which must
// be legal and whole.
func sent(t testing.TB, s *scripted, role frame.Role) (frames []came) {
	t.Helper()
	s.mu.Lock()
	b := append([]byte(nil), s.out...)
	s.mu.Unlock()
	return parsed(t, b, role)
}

// parsed returns the frames in what a connection of the given role wrote.
func parsed(t testing.TB, b []byte, role frame.Role) (frames []came) {
	t.Helper()
	recv := frame.Receiver{Role: role.Peer()}
	for len(b) > 0 {
		h, n, err := frame.ParseHeader(b)
		require.NoError(t, err)
		require.NotZero(t, n, "half a header: %x", b)
		require.NoError(t, recv.Next(h))
		require.GreaterOrEqual(t, int64(len(b)-n), h.Length, "half a frame: %v", h)
		payload := b[n : n+int(h.Length)]
		require.NoError(t, recv.Payload(payload))
		frames = append(frames, came{h.Opcode, string(payload)})
		b = b[n+int(h.Length):]
	}
	return frames
}

// messages reads messages until one cannot be read.
func messages(c *conn.Conn) (all []came, err error) {
	for {
		t, p, err := c.Read(context.Background())
		if err != nil {
			return all, err
		}
		all = append(all, came{frame.Opcode(t), string(p)})
	}
}
