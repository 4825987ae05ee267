package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
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
	c, refusal, err := a.handshake(newIncoming(nc, a))
	if refusal != nil {
		a.refuse(nc, refusal)
		err = refusal
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	a.leave()
	return c, nil
}

// Serve accepts connections from ln, answers their opening handshakes, and calls
// f for each connection as [Handler] does, in a goroutine of its own. It returns
// when ln fails for good: to stop it, close ln, and use a [Tracker] to close the
// connections. The error is net.ErrClosed then. A connection costs no more
// memory than it must: there is no net/http server behind it.
//
// With Pings ([Options.Keepalive]) TCP's own keepalive is of no use: a listener
// of net.ListenConfig{KeepAlive: -1} saves four system calls a connection.
func Serve(ln net.Listener, f func(ctx context.Context, c *Conn) error, o *AcceptOptions) error {
	a := newAcceptor(o)
	switch ln.(type) {
	case *net.TCPListener, *net.UnixListener:
		a.fresh = true
	}
	next := make(chan net.Conn, 64)
	defer close(next)
	for range runtime.GOMAXPROCS(0) {
		go a.work(next, f)
	}
	var wait time.Duration
	for {
		nc, err := ln.Accept()
		if err == nil {
			wait = 0
			next <- nc
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

// work does opening handshakes, one after the other: on a stack that has grown
// already, and without a goroutine for each. One that has to wait makes way for
// another worker; one that runs foreign code, as CheckOrigin is, gets a goroutine
// of its own.
func (a *acceptor) work(next <-chan net.Conn, f func(ctx context.Context, c *Conn) error) {
	// A listener of another kind may return connections whose methods wait.
	foreign := !a.fresh || a.server.CheckOrigin != nil
	replaced := false
	makeWay := func() {
		replaced = true
		go a.work(next, f)
	}
	for nc := range next {
		o := newIncoming(nc, a)
		if foreign {
			go a.serve(o, f)
			continue
		}
		o.makeWay = makeWay
		if a.serve(o, f); replaced {
			return
		}
	}
}

// serve handles one connection of Serve.
func (a *acceptor) serve(o *incoming, f func(ctx context.Context, c *Conn) error) {
	nc, handedOn := o.nc, false
	defer func() { a.recovered(recover(), nc, handedOn) }()
	c, refusal, err := a.handshake(o)
	if handedOn = err == nil; !handedOn {
		return
	}
	if refusal == nil {
		go c.run(f) // not on the stack that the handshake has grown
		return
	}
	go func() {
		defer func() { a.recovered(recover(), nc, false) }()
		a.refuse(nc, refusal) // which waits, too
	}()
}

// recovered ends what a goroutine did for nc, which it closes, unless others have
// it, after runtime.Goexit, too. As under net/http, a panic with the value v, in
// CheckOrigin for instance, ends one connection, not the process. Those in f do not
// come here.
func (a *acceptor) recovered(v any, nc net.Conn, handedOn bool) {
	if v != nil {
		a.options.logPanic("the opening handshake", nc.RemoteAddr(), v)
	}
	if !handedOn {
		nc.Close()
	}
}

// refuse answers an opening handshake with a refusal and waits until the peer has
// seen that. nc is to be closed then.
func (a *acceptor) refuse(nc net.Conn, refusal *handshake.Error) {
	a.logRefusal(nc.RemoteAddr().String(), refusal)
	nc.SetDeadline(time.Now().Add(time.Second)) // that of the handshake may be over
	if _, err := nc.Write(refusal.AppendResponse(nil)); err == nil {
		hangUpSlowly(nc)
	}
}

// hangUpSlowly lets the peer read the response before the connection is closed:
// closing a TCP connection with unread bytes resets it. The deadline is set.
func hangUpSlowly(nc net.Conn) {
	if hc, ok := nc.(interface{ CloseWrite() error }); ok {
		hc.CloseWrite()
		io.Copy(io.Discard, io.LimitReader(nc, maxReadBuffer))
	}
}

// handshake reads the request and, if it is accepted, writes the response. o is
// over then. With a connection, the tracker has been entered.
func (a *acceptor) handshake(o *incoming) (c *Conn, refusal *handshake.Error, err error) {
	defer o.free()
	nc := o.nc
	if !a.fresh {
		nc.SetDeadline(time.Time{}) // of whatever was done on it before
	}
	r, refusal, err := o.request(a.server.CheckOrigin == nil)
	if refusal != nil || err != nil {
		return nil, refusal, err
	}
	r.RemoteAddr = address(nc.RemoteAddr())
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
	if err := o.respond(agreement); err != nil {
		return nil, nil, lost(err)
	}
	o.unguard() // before anybody else may set a deadline
	by := opened{text: o.text, raw: o.raw, early: o.come()}
	made := o.conn
	if made == nil {
		made, by.request = new(Conn), r
	}
	made.setUp(context.Background(), nc, frame.Server, agreement, a.options, by)
	return made, nil, nil
}
