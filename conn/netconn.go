package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"rfc6455/frame"
)

// NetConn returns the connection as a net.Conn, a stream of bytes without
// message boundaries, for protocols that are made for TCP. The peer must use
// messages as a stream, too.
//
// Each Write sends one message of type t, or several if it is longer than 32 KiB,
// which any peer takes; the messages that come, which must be of type t as well,
// are read one after the other. One of the other type fails the connection with
// 1003. Writes of several goroutines do not mix.
//
// Read returns io.EOF when the peer has closed the connection with 1000, 1001 or
// without a code. After any other end, and in Write, the error is the
// connection's: after a Close of this side a [*CloseError], which is
// net.ErrClosed.
//
// Deadlines are those of net.Conn: a call that runs out of time returns
// os.ErrDeadlineExceeded, and the connection goes on with the next deadline. A
// message of which a part is on the wire already is sent to its end
// nevertheless: the length that Write returns beside the error counts all of it,
// and nothing of a message that had not begun, which is not sent. (Over TLS, a
// message counts as begun once its turn has come.) Only a deadline that is set
// while a Write without one is blocked fails the connection, and on a transport
// without deadlines, see [New], one that ends a Read does. Options.WriteTimeout
// still holds.
//
// Close closes the connection with 1000, in a closing handshake that
// Options.CloseTimeout bounds. Nobody else may read from the connection; Write,
// Send and Ping go on as usual. Ping and Close frames are dealt with while a Read
// is under way. All methods may be called from any goroutine.
func (c *Conn) NetConn(t MessageType) net.Conn {
	n := &netConn{c: c, t: t, reading: make(chan struct{}, 1), writing: make(chan struct{}, 1)}
	n.readBy.init(c.Context())
	n.writeBy.init(c.Context())
	return n
}

// streamMessage is the longest message that a stream sends.
const streamMessage = 32 << 10

// netConn implements net.Conn.
type netConn struct {
	c               *Conn
	t               MessageType
	readBy, writeBy deadline

	reading chan struct{} // held by who reads
	message *messageReader
	writing chan struct{} // held by who writes
}

// Read implements net.Conn.
func (n *netConn) Read(p []byte) (int, error) {
	ctx, _ := n.readBy.get()
	if len(p) == 0 {
		return 0, n.readError(ctx, nil)
	}
	if err := take(ctx, n.reading); err != nil {
		return 0, n.readError(ctx, err)
	}
	defer func() { <-n.reading }()
	k, err := n.read(ctx, p)
	if err == errOtherType {
		n.c.Close(frame.CloseUnsupportedData, fmt.Sprintf("this stream takes %v messages", n.t))
		err = n.c.sticky()
	}
	if err != nil {
		return 0, n.readError(ctx, err)
	}
	return k, nil
}

// errOtherType is between read and Read alone.
var errOtherType = errors.New("a message of the other type")

// read returns bytes of a message. It keeps the reader's turn from one to the
// next: a Close must not drop what has come for this Read.
func (n *netConn) read(ctx context.Context, p []byte) (int, error) {
	if err := n.c.takeReader(ctx); err != nil {
		return 0, err
	}
	defer n.c.leaveReader()
	for {
		if n.message == nil {
			t, r, err := n.c.nextReader(ctx)
			if err != nil {
				return 0, err
			}
			if t != n.t {
				return 0, errOtherType
			}
			n.message = r
		}
		k, err := n.message.next(p)
		if err != io.EOF {
			return k, err
		}
		n.message = nil // An empty message, or the end of one.
	}
}

// take takes a turn, unless ctx has ended or does so before.
func take(ctx context.Context, turn chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Write implements net.Conn.
func (n *netConn) Write(p []byte) (int, error) {
	ctx, set := n.writeBy.get()
	if err := take(ctx, n.writing); err != nil {
		return 0, n.error(ctx, err)
	}
	defer func() { <-n.writing }()
	written := 0
	for {
		m := n.piece(p[written:])
		var k int
		var err error
		if set {
			k, err = n.c.writeOwned(ctx, n.t, m)
		} else if err = n.c.Write(ctx, n.t, m); err == nil {
			k = len(m)
		}
		written += k
		if err != nil {
			return written, n.error(ctx, err)
		}
		if written == len(p) {
			return written, nil
		}
	}
}

// piece returns what of p goes into one message. Text is not cut inside a
// character.
func (n *netConn) piece(p []byte) []byte {
	if len(p) <= streamMessage {
		return p
	}
	end := streamMessage
	if n.t == Text {
		for end > streamMessage-utf8.UTFMax && !utf8.RuneStart(p[end]) {
			end--
		}
	}
	return p[:end]
}

// error returns what a net.Conn says for an error of the connection under ctx.
func (n *netConn) error(ctx context.Context, err error) error {
	if sticky := n.c.sticky(); sticky != nil {
		return sticky
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// readError is error for Read, which knows an end that nothing is wrong with.
func (n *netConn) readError(ctx context.Context, err error) error {
	err = n.error(ctx, err)
	if ce, ok := errors.AsType[*CloseError](err); ok && ce.Remote && ce.Is(io.EOF) {
		return io.EOF
	}
	return err
}

// Close implements net.Conn.
func (n *netConn) Close() error {
	err := n.c.Close(frame.CloseNormal, "")
	n.readBy.set(time.Time{})
	n.writeBy.set(time.Time{})
	return err
}

// LocalAddr implements net.Conn.
func (n *netConn) LocalAddr() net.Addr { return orNowhere(n.c.LocalAddr()) }

// RemoteAddr implements net.Conn.
func (n *netConn) RemoteAddr() net.Addr { return orNowhere(n.c.RemoteAddr()) }

// SetDeadline implements net.Conn.
func (n *netConn) SetDeadline(t time.Time) error {
	n.SetReadDeadline(t)
	return n.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (n *netConn) SetReadDeadline(t time.Time) error {
	if err := n.c.sticky(); err != nil {
		return err
	}
	n.readBy.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (n *netConn) SetWriteDeadline(t time.Time) error {
	if err := n.c.sticky(); err != nil {
		return err
	}
	n.writeBy.set(t)
	return nil
}

// orNowhere returns a, or the address of a transport that has none.
func orNowhere(a net.Addr) net.Addr {
	if a == nil {
		return streamAddr("unknown")
	}
	return a
}

// deadline is a point in time, which can be moved, as contexts: one that is
// used until it ends.
type deadline struct {
	parent context.Context

	mu     sync.Mutex
	ctx    context.Context
	cancel context.CancelFunc
	timer  *time.Timer // nil: none is set
	isSet  bool
}

func (d *deadline) init(parent context.Context) {
	d.parent = parent
	d.ctx, d.cancel = context.WithCancel(parent)
}

// get returns the context of a call that begins now, and whether a deadline is
// set.
func (d *deadline) get() (context.Context, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ctx, d.isSet
}

// set moves the deadline to t; the zero time is none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.ctx.Done() // it fired, for the deadline that was
	}
	d.timer = nil
	if d.ctx.Err() != nil {
		d.ctx, d.cancel = context.WithCancel(d.parent)
	}
	d.isSet = !t.IsZero()
	if !d.isSet {
		return
	}
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, d.cancel)
	} else {
		d.cancel()
	}
}
