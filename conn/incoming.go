package conn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"

	"rfc6455/handshake"
)

// incoming is an opening handshake on a bare net.Conn, as far as it is read and
// written. Nearly always the whole request has come before it is asked for, and
// the response leaves at once: then nothing has to wait, and no timer has to bound
// how long.
type incoming struct {
	nc       net.Conn
	acceptor *acceptor
	raw      syscall.RawConn // of nc; nil if it has none
	guard    *guarded        // nil while nothing had to wait
	makeWay  func()          // called before the first wait; nil: nobody stands behind
	left     int             // how many bytes may still come
	err      error           // of the last read; sticky

	// What request has found.
	conn *Conn  // the new connection, if it has the request already
	text string // as in opened

	buf  *buffer // of minReadBuffer; nil: lent to nobody
	r, w int     // buf.b[r:w] has come and was not looked at
}

var incomings = sync.Pool{New: func() any { return new(incoming) }}

// newIncoming returns an opening handshake that nothing is known of yet.
func newIncoming(nc net.Conn, a *acceptor) *incoming {
	o := incomings.Get().(*incoming)
	o.nc, o.acceptor, o.raw, o.left = nc, a, rawConn(nc), a.bytes
	if a.bytes == 0 {
		o.left = 1<<31 - 1
	}
	o.buf = getBuffer(minReadBuffer)
	return o
}

// free ends o.
func (o *incoming) free() {
	o.unguard()
	putBuffer(o.buf)
	*o = incoming{}
	incomings.Put(o)
}

// wait notes that something is about to wait. From the first time on
// HandshakeTimeout runs.
func (o *incoming) wait() {
	if o.guard == nil {
		if o.makeWay != nil {
			o.makeWay()
		}
		o.guard = new(guarded)
		o.acceptor.overdue.begin(o.guard, o.nc)
	}
}

func (o *incoming) unguard() {
	if o.guard != nil {
		o.acceptor.overdue.end(o.guard)
		o.guard = nil
	}
}

// come returns what has come and was not looked at.
func (o *incoming) come() []byte { return o.buf.b[o.r:o.w] }

// Read implements io.Reader, for net/http.
func (o *incoming) Read(p []byte) (int, error) {
	if o.r < o.w {
		n := copy(p, o.come())
		o.r += n
		return n, nil
	}
	return o.receive(p)
}

// receive reads from nc.
func (o *incoming) receive(p []byte) (n int, err error) {
	switch {
	case o.err != nil:
		return 0, o.err
	case o.left == 0:
		return 0, io.ErrUnexpectedEOF
	}
	p = p[:min(len(p), o.left)]
	if o.guard == nil {
		n, err = readNow(o.nc, o.raw, p)
	}
	if n == 0 && err == nil {
		o.wait()
		n, err = o.nc.Read(p)
	}
	o.left -= n
	o.err = err
	return n, err
}

// respond writes the response.
func (o *incoming) respond(agreement *handshake.Agreement) error {
	p := agreement.AppendResponse(o.buf.b[o.w:o.w])
	n, err := writeNow(o.nc, o.raw, p)
	if p = p[n:]; len(p) == 0 || err != nil {
		return err
	}
	o.wait()
	_, err = o.nc.Write(p)
	return err
}

// requestReaders hold as much as an incoming.
var requestReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, minReadBuffer) }}

// request reads the request. own says that nobody but the connection will have it:
// then it is made for that at once, if it can be.
func (o *incoming) request(own bool) (*http.Request, *handshake.Error, error) {
	o.w, _ = o.receive(o.buf.b) // whose error is found again
	if r := o.plain(own); r != nil {
		return r, nil, nil
	}
	// What few clients send is left to net/http, and what comes in pieces, which it
	// may refuse before it is whole.
	br := requestReaders.Get().(*bufio.Reader)
	br.Reset(o)
	defer func() {
		br.Reset(nil)
		requestReaders.Put(br)
	}()
	if o.w > 0 {
		br.Peek(1) // takes all
		putBuffer(o.buf)
		o.buf = nil
	}
	r, err := http.ReadRequest(br)
	if err != nil {
		refusal, err := o.badRequest(err)
		return nil, refusal, err
	}
	if err := checkFields(r); err != nil {
		return nil, notHTTP(err), nil
	}
	early, _ := br.Peek(br.Buffered())
	o.buf = getBuffer(minReadBuffer)
	o.r, o.w = 0, copy(o.buf.b, early)
	return r, nil, nil
}

// plain takes the request from what has come, if it is whole and a plain one.
func (o *incoming) plain(own bool) *http.Request {
	text, end := wholeHeader(o.come())
	if end == 0 {
		return nil
	}
	ctx := context.Background()
	var c *Conn
	if own {
		c = new(Conn)
		ctx = c.Context()
	}
	r := plain(text, ctx)
	if r == nil {
		return nil
	}
	o.r = end
	if own {
		c.request.Store(r)
		o.conn, o.text = c, text
	}
	return r
}

// badRequest says what was wrong with a request that could not be read, and
// refuses it if there is somebody to tell.
func (o *incoming) badRequest(err error) (*handshake.Error, error) {
	switch {
	case o.left == 0:
		return &handshake.Error{
			Status: http.StatusRequestHeaderFieldsTooLarge,
			Err:    fmt.Errorf("websocket: request line and header are over %d bytes (AcceptOptions.HandshakeBytes)", o.acceptor.bytes),
		}, nil
	case o.err != nil && isTimeout(o.err):
		return &handshake.Error{
			Status: http.StatusRequestTimeout,
			Err:    fmt.Errorf("websocket: no whole opening handshake within %v (AcceptOptions.HandshakeTimeout): %w", o.acceptor.overdue.after, o.err),
		}, nil
	case o.err != nil:
		if errors.Is(o.err, io.EOF) {
			return nil, fmt.Errorf("websocket: connection lost: the peer ended the stream before its opening handshake was whole: %w", io.ErrUnexpectedEOF)
		}
		return nil, lost(o.err)
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
	if !isHost(r.Host) {
		return fmt.Errorf("malformed Host %q", r.Host)
	}
	for name := range r.Header {
		if strings.Contains(name, " ") {
			return fmt.Errorf("space in header field name %q", name)
		}
	}
	return nil
}

// isHost reports whether a Host has only the characters that one may have.
func isHost(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!$%&'()*+,-.:;=[]_~", c) >= 0) {
			return false
		}
	}
	return true
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
