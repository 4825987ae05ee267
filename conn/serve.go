package conn

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"rfc6455/frame"
	"rfc6455/handshake"
)

// Server reads the opening handshake from a bare net.Conn, a TCP, TLS or unix
// connection for instance, and answers it, without net/http's server. It takes
// at most HandshakeTimeout and HandshakeBytes. On an error the response has been
// written, if the request was one, and nc is closed; it is a [*handshake.Error]
// if the request was refused. (RFC 6455, section 4.2)
func Server(nc net.Conn, o *AcceptOptions) (*Conn, error) {
	a := newAcceptor(o)
	c, err := a.open(nc)
	if err == nil {
		a.leave()
	}
	return c, err
}

// Serve accepts connections from ln, answers their opening handshakes, and calls
// f for each connection as [Handler] does, in a goroutine of its own. It returns
// when ln fails for good: to stop it, close ln, and use a [Tracker] to close the
// connections. The error is net.ErrClosed then. A connection costs no more
// memory than it must: there is no net/http server behind it.
func Serve(ln net.Listener, f func(ctx context.Context, c *Conn) error, o *AcceptOptions) error {
	a := newAcceptor(o)
	switch ln.(type) {
	case *net.TCPListener, *net.UnixListener:
		a.fresh = true
	}
	next := make(chan net.Conn)
	defer close(next)
	var wait time.Duration
	for {
		nc, err := ln.Accept()
		if err == nil {
			wait = 0
			select {
			case next <- nc:
			default:
				go a.work(nc, next, f)
			}
			continue
		}
		var ne net.Error
		if errors.Is(err, net.ErrClosed) || !errors.As(err, &ne) || !temporary(err) {
			return err
		}
		// Out of descriptors, most likely: some will be free again.
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		if l := a.options.Logger; l != nil {
			l.Error("websocket: accepting a connection failed", "error", err, "wait", wait)
		}
		time.Sleep(wait)
	}
}

// temporary reports whether Accept may succeed later.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// work does the opening handshakes of nc and of what it is given then, until next
// is closed or enough others wait for more.
func (a *acceptor) work(nc net.Conn, next <-chan net.Conn, f func(ctx context.Context, c *Conn) error) {
	for ok := true; ok; {
		a.serve(nc, f)
		nc = nil
		if a.waiting.Add(1) > maxWaiting {
			a.waiting.Add(-1)
			return
		}
		nc, ok = <-next
		a.waiting.Add(-1)
	}
}

// maxWaiting is how many goroutines of a Serve wait for the next connection: one
// whose stack has grown already need not grow it for a handshake.
const maxWaiting = 16

// serve handles one connection of Serve.
func (a *acceptor) serve(nc net.Conn, f func(ctx context.Context, c *Conn) error) {
	opened := false
	// As under net/http, a panic in CheckOrigin ends one connection, not the
	// process. Those in f do not come here.
	defer func() {
		if v := recover(); v != nil {
			a.options.logPanic("the opening handshake", nc.RemoteAddr(), v)
		}
		if !opened {
			nc.Close() // after runtime.Goexit, too
		}
	}()
	c, err := a.open(nc)
	opened = err == nil
	if opened {
		go c.run(f) // not on the stack that the handshake has grown
	}
}

var requestReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, minReadBuffer) }}

// open does the opening handshake on nc. With a connection, the tracker has been
// entered.
func (a *acceptor) open(nc net.Conn) (*Conn, error) {
	c, refusal, err := a.handshake(nc)
	if refusal != nil {
		a.logRefusal(nc.RemoteAddr().String(), refusal)
		nc.SetDeadline(time.Now().Add(time.Second)) // that of the handshake may be over
		if _, werr := nc.Write(refusal.AppendResponse(nil)); werr == nil {
			hangUpSlowly(nc)
		}
		err = refusal
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// hangUpSlowly lets the peer read the response before the connection is closed:
// closing a TCP connection with unread bytes resets it. The deadline is set.
func hangUpSlowly(nc net.Conn) {
	if hc, ok := nc.(interface{ CloseWrite() error }); ok {
		hc.CloseWrite()
		io.Copy(io.Discard, io.LimitReader(nc, maxReadBuffer))
	}
}

// handshake reads the request and, if it is accepted, writes the response.
func (a *acceptor) handshake(nc net.Conn) (c *Conn, refusal *handshake.Error, err error) {
	if !a.fresh {
		nc.SetDeadline(time.Time{}) // of whatever was done on it before
	}
	bounded := &struct {
		guarded
		limitReader
	}{limitReader: limitReader{r: nc, left: a.bytes}}
	a.overdue.begin(&bounded.guarded, nc)
	defer a.overdue.end(&bounded.guarded)
	limit := &bounded.limitReader
	if a.bytes == 0 {
		limit.left = 1<<31 - 1
	}
	br := requestReaders.Get().(*bufio.Reader)
	br.Reset(limit)
	defer func() {
		br.Reset(nil)
		requestReaders.Put(br)
	}()
	r, text, err := readRequest(br)
	if err != nil {
		refusal, err := a.badRequest(err, limit)
		return nil, refusal, err
	}
	if err := checkFields(r); err != nil {
		return nil, notHTTP(err), nil
	}
	r.RemoteAddr = nc.RemoteAddr().String()
	if tc, ok := nc.(*tls.Conn); ok {
		state := tc.ConnectionState()
		r.TLS = &state
	}
	agreement, refusal := a.check(r)
	if refusal != nil {
		return nil, refusal, nil
	}
	defer func() {
		if c == nil {
			a.leave() // after a panic, too
		}
	}()
	if _, err := nc.Write(agreement.AppendResponse(nil)); err != nil {
		return nil, nil, lost(err)
	}
	a.overdue.end(&bounded.guarded)
	// Frames may have come in the same segment as the request.
	early, _ := br.Peek(br.Buffered())
	if a.server.CheckOrigin != nil || r.TLS != nil {
		text = "" // it may have changed r; r.TLS is not in it
	}
	return newConn(context.Background(), nc, frame.Server, agreement, a.options, opened{r, text}, early), nil, nil
}

// badRequest says what was wrong with a request that could not be read, and
// refuses it if there is somebody to tell.
func (a *acceptor) badRequest(err error, from *limitReader) (*handshake.Error, error) {
	switch {
	case from.left == 0:
		return &handshake.Error{
			Status: http.StatusRequestHeaderFieldsTooLarge,
			Err:    fmt.Errorf("websocket: request line and header are over %d bytes (AcceptOptions.HandshakeBytes)", a.bytes),
		}, nil
	case from.err != nil && isTimeout(from.err):
		return &handshake.Error{
			Status: http.StatusRequestTimeout,
			Err:    fmt.Errorf("websocket: no whole opening handshake within %v (AcceptOptions.HandshakeTimeout): %w", a.overdue.after, from.err),
		}, nil
	case from.err != nil:
		if errors.Is(from.err, io.EOF) {
			return nil, fmt.Errorf("websocket: connection lost: the peer ended the stream before its opening handshake was whole: %w", io.ErrUnexpectedEOF)
		}
		return nil, lost(from.err)
	}
	return notHTTP(err), nil
}

// notHTTP refuses what is no HTTP request.
func notHTTP(err error) *handshake.Error {
	return &handshake.Error{
		Status: http.StatusBadRequest,
		// It quotes the peer, however much that sent.
		Err: fmt.Errorf("websocket: the opening handshake is no HTTP request: %.200v", err),
	}
}

// checkFields refuses the header fields that net/http's server refuses and
// ReadRequest does not. One it cannot see: a Host that is missing where the target
// names one. (RFC 9112, sections 3.2 and 5.1)
func checkFields(r *http.Request) error {
	for _, c := range []byte(r.Host) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!$%&'()*+,-.:;=[]_~", c) >= 0) {
			return fmt.Errorf("malformed Host %q", r.Host)
		}
	}
	for name := range r.Header {
		if strings.Contains(name, " ") {
			return fmt.Errorf("space in header field name %q", name)
		}
	}
	return nil
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// limitReader reads at most left bytes and keeps the error of r.
type limitReader struct {
	r    io.Reader
	left int
	err  error
}

func (l *limitReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if len(p) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= n
	l.err = err
	return n, err
}
