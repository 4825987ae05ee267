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

	"rfc6455/frame"
)

// NetConn returns the connection as a net.Conn, a stream of bytes without
// message boundaries, for protocols that are made for TCP. The peer must use
// messages as a stream, too.
//
// Each Write sends one message of type t; the messages that come, which must be
// of type t as well, are read one after the other. One of the other type fails
// the connection with 1003. Read returns io.EOF when the connection is closed
// with 1000, 1001 or without a code.
//
// Deadlines are those of net.Conn: a call that runs out of time returns
// os.ErrDeadlineExceeded, and the connection goes on with the next deadline. A
// message of which a part is on the wire already is sent to its end
// nevertheless, and Write then returns its whole length beside the error. (Over
// TLS, and when the deadline is set while a Write without one is blocked, the
// connection is failed.) Options.WriteTimeout still holds.
//
// Close closes the connection with 1000, in a closing handshake that
// Options.CloseTimeout bounds. Nobody else may read from the connection; Write,
// Send and Ping go on as usual. Ping and Close frames are dealt with while a Read
// is under way. All methods may be called from any goroutine.
func (c *Conn) NetConn(t MessageType) net.Conn {
	n := &netConn{c: c, t: t, reading: make(chan struct{}, 1)}
	n.readBy.init(c.ctx)
	n.writeBy.init(c.ctx)
	return n
}

// netConn implements net.Conn.
type netConn struct {
	c               *Conn
	t               MessageType
	readBy, writeBy deadline

	reading chan struct{} // held by who reads
	message *messageReader
}

// Read implements net.Conn.
func (n *netConn) Read(p []byte) (int, error) {
	ctx, _ := n.readBy.get()
	select {
	case n.reading <- struct{}{}:
		defer func() { <-n.reading }()
	case <-ctx.Done():
		return 0, n.error(ctx, ctx.Err())
	}
	for {
		if err := n.next(ctx); err != nil {
			return 0, n.error(ctx, err)
		}
		k, err := n.message.readUnder(ctx, p)
		if err == io.EOF {
			n.message = nil
			if k == 0 && len(p) > 0 {
				continue // An empty message, or the end of one.
			}
			err = nil
		}
		if err != nil {
			err = n.error(ctx, err)
		}
		return k, err
	}
}

// next makes sure that a message is under way.
func (n *netConn) next(ctx context.Context) error {
	if n.message != nil {
		return nil
	}
	t, r, err := n.c.Reader(ctx)
	if err != nil {
		return err
	}
	if t != n.t {
		reason := fmt.Sprintf("this stream takes %v messages", n.t)
		n.c.Close(frame.CloseUnsupportedData, reason)
		return n.c.sticky()
	}
	n.message = r.(*messageReader)
	return nil
}

// Write implements net.Conn.
func (n *netConn) Write(p []byte) (int, error) {
	ctx, set := n.writeBy.get()
	var k int
	var err error
	if set {
		k, err = n.c.writeOwned(ctx, n.t, p)
	} else if err = n.c.Write(ctx, n.t, p); err == nil {
		k = len(p)
	}
	if err != nil {
		err = n.error(ctx, err)
	}
	return k, err
}

// error returns what a net.Conn says for an error of the connection under ctx.
func (n *netConn) error(ctx context.Context, err error) error {
	switch sticky := n.c.sticky(); {
	case sticky == nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return os.ErrDeadlineExceeded
	case sticky != nil:
		err = sticky
	}
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return err
}

// Close implements net.Conn.
func (n *netConn) Close() error { return n.c.Close(frame.CloseNormal, "") }

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
	n.readBy.set(t)
	return n.c.sticky()
}

// SetWriteDeadline implements net.Conn.
func (n *netConn) SetWriteDeadline(t time.Time) error {
	n.writeBy.set(t)
	return n.c.sticky()
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
