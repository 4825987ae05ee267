package conn

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"rfc6455/frame"
	"rfc6455/handshake"
)

// Pipe returns both ends of a connection in memory, for tests: the opening
// handshake is over, and with Compression on both sides that is agreed on. It works inside a testing/synctest bubble: a blocked call
// is durably blocked. Each direction holds 64 KiB, as the buffers of a network
// would; then writes wait for the peer to read.
func Pipe(client, server *Options) (c, s *Conn) {
	cc, sc := streamPair()
	co, so := client.resolved(), server.resolved()
	ca, sa := agree(co, so)
	c = newConn(context.Background(), cc, frame.Client, ca, co, opened{})
	s = newConn(context.Background(), sc, frame.Server, sa, so, opened{})
	return c, s
}

// agree does the opening handshake in memory, for the extension's sake.
func agree(client, server *Options) (c, s *handshake.Agreement) {
	offer := handshake.Client{Deflate: client.Compression.terms()}
	req, err := offer.Request("ws://pipe/")
	if err != nil {
		return nil, nil
	}
	accept := handshake.Server{Deflate: server.Compression.terms()}
	if s, err = accept.Check(req); err != nil {
		return nil, nil
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(s.AppendResponse(nil))), req)
	if err != nil {
		return nil, nil
	}
	if c, err = offer.Check(req, resp); err != nil {
		return nil, nil
	}
	return c, s
}

// streamBytes is what one direction of a stream holds.
const streamBytes = 64 << 10

// half is one direction of a stream in memory.
type half struct {
	mu   sync.Mutex
	cond sync.Cond
	data []byte // written and not read, at most streamBytes
	eof  bool   // the writer is done
	gone bool   // the reader is gone

	readBy, writeBy       time.Time // deadlines
	readTimer, writeTimer *time.Timer
}

func newHalf() *half {
	h := &half{}
	h.cond.L = &h.mu
	return h
}

// stream is one end of a stream in memory. It is a net.Conn.
type stream struct {
	in, out *half
	name    string
	closing sync.Once
}

// streamPair returns the two ends of a stream.
func streamPair() (client, server *stream) {
	a, b := newHalf(), newHalf()
	return &stream{in: a, out: b, name: "client"}, &stream{in: b, out: a, name: "server"}
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	h := s.in
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.gone:
			return 0, net.ErrClosed
		case passed(h.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(h.data) > 0:
			n := copy(p, h.data)
			h.data = append(h.data[:0], h.data[n:]...)
			h.cond.Broadcast()
			return n, nil
		case h.eof:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		h.cond.Wait()
	}
}

// Write implements net.Conn.
func (s *stream) Write(p []byte) (int, error) {
	h := s.out
	h.mu.Lock()
	defer h.mu.Unlock()
	total := 0
	for {
		switch {
		case h.eof:
			return total, net.ErrClosed
		case h.gone:
			return total, io.ErrClosedPipe
		case passed(h.writeBy):
			return total, os.ErrDeadlineExceeded
		}
		if n := min(len(p), streamBytes-len(h.data)); n > 0 {
			h.data = append(h.data, p[:n]...)
			p = p[n:]
			total += n
			h.cond.Broadcast()
		}
		if len(p) == 0 {
			return total, nil
		}
		h.cond.Wait()
	}
}

// passed reports whether a deadline is over.
func passed(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}

// CloseWrite ends the stream to the peer, who can still be read from.
func (s *stream) CloseWrite() error {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	s.out.eof = true
	s.out.cond.Broadcast()
	return nil
}

// Close implements net.Conn.
func (s *stream) Close() error {
	s.closing.Do(func() {
		s.CloseWrite()
		s.SetDeadline(time.Time{})
		s.in.mu.Lock()
		defer s.in.mu.Unlock()
		s.in.gone = true
		s.in.data = nil
		s.in.cond.Broadcast()
	})
	return nil
}

// SetDeadline implements net.Conn.
func (s *stream) SetDeadline(t time.Time) error {
	s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *stream) SetReadDeadline(t time.Time) error {
	return s.in.setDeadline(&s.in.readBy, &s.in.readTimer, t)
}

// SetWriteDeadline implements net.Conn.
func (s *stream) SetWriteDeadline(t time.Time) error {
	return s.out.setDeadline(&s.out.writeBy, &s.out.writeTimer, t)
}

func (h *half) setDeadline(by *time.Time, timer **time.Timer, t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	*by = t
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	if d := time.Until(t); !t.IsZero() && d > 0 {
		*timer = time.AfterFunc(d, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.cond.Broadcast()
		})
	}
	h.cond.Broadcast()
	return nil
}

// LocalAddr implements net.Conn.
func (s *stream) LocalAddr() net.Addr { return streamAddr(s.name) }

// RemoteAddr implements net.Conn.
func (s *stream) RemoteAddr() net.Addr {
	if s.name == "client" {
		return streamAddr("server")
	}
	return streamAddr("client")
}

// streamAddr is the address of an end of a stream in memory.
type streamAddr string

func (streamAddr) Network() string  { return "pipe" }
func (a streamAddr) String() string { return string(a) }
