package conn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"rfc6455/frame"
	"rfc6455/handshake"
)

// Accept answers the opening handshake in an http.Handler and takes the
// connection over from net/http. The connection does not end when the handler
// returns: who accepts it closes it, or uses [Handler], which does.
//
// On an error the response has been written, with a status and a body that name
// the reason, and the handler just returns. The error is a [*handshake.Error]
// if the request was refused. (RFC 6455, section 4.2)
func Accept(w http.ResponseWriter, r *http.Request, o *AcceptOptions) (*Conn, error) {
	a := newAcceptor(o)
	c, err := a.accept(w, r)
	if err == nil {
		a.leave()
	}
	return c, err
}

// Handler returns an http.Handler that accepts connections and calls f for
// each, in the goroutine of the request, or in one of its own with
// [AcceptOptions.Detached]. ctx is the connection's Context. When f returns, the
// connection is closed: with 1000 for nil, with its code and reason for a
// [*CloseError] that f made, with 1001 for [ErrShutdown], and with 1011 for any
// other error, which the peer does not see, and for a panic, which is logged, if
// it is not http.ErrAbortHandler, and ends this connection alone. An error that
// ended the connection already, as those of Read do, is fine to return.
func Handler(f func(ctx context.Context, c *Conn) error, o *AcceptOptions) http.Handler {
	a := newAcceptor(o)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := a.accept(w, r)
		switch {
		case err != nil:
		case a.detached:
			go c.run(f)
		default:
			c.run(f)
		}
	})
}

// run calls f and closes the connection with what it returns. The tracker was
// entered before.
func (c *Conn) run(f func(ctx context.Context, c *Conn) error) {
	if t := c.o.Tracker; t != nil {
		defer t.leave()
	}
	code, reason := frame.CloseInternalError, ""
	defer func() {
		if v := recover(); v != nil {
			c.o.logPanic("a connection's function", c.RemoteAddr(), v)
		}
		c.Close(code, reason) // after runtime.Goexit, too
	}()
	code, reason = c.codeFor(f(c.Context(), c))
}

// logPanic logs a panic, but for http.ErrAbortHandler, as net/http does: also
// without a Logger. A deferred function calls it.
func (o *Options) logPanic(where string, remote net.Addr, v any) {
	l := o.Logger
	if l == nil {
		l = slog.Default()
	}
	if v != http.ErrAbortHandler {
		l.Error("websocket: panic in "+where, "remote", remote, "panic", v, "stack", string(debug.Stack()))
	}
}

// codeFor returns what a connection is closed with after its function returned
// err.
func (c *Conn) codeFor(err error) (frame.CloseCode, string) {
	var ce *CloseError
	switch {
	case err == nil:
		return frame.CloseNormal, ""
	case errors.As(err, &ce) && (ce.Code == frame.CloseNoStatus || ce.Code.Sendable()):
		return ce.Code, ce.Reason
	case errors.Is(err, ErrShutdown), errors.Is(err, http.ErrServerClosed):
		return frame.CloseGoingAway, ""
	}
	if l := c.o.Logger; l != nil && c.sticky() == nil {
		l.Error("websocket: a connection's function failed", "remote", c.RemoteAddr(), "error", err)
	}
	return frame.CloseInternalError, ""
}

// check is the part of the opening handshake that is the same on every path.
// Unless it refuses, the tracker has been entered.
func (a *acceptor) check(r *http.Request) (*handshake.Agreement, *handshake.Error) {
	agreement, err := a.server.Check(r)
	if err == nil {
		if t := a.options.Tracker; t != nil && !t.enter() {
			return nil, &handshake.Error{Status: http.StatusServiceUnavailable, Err: ErrShutdown}
		}
		return agreement, nil
	}
	var refusal *handshake.Error
	if !errors.As(err, &refusal) {
		refusal = &handshake.Error{Status: http.StatusInternalServerError, Err: err}
	}
	return nil, refusal
}

// leave ends what check began.
func (a *acceptor) leave() {
	if t := a.options.Tracker; t != nil {
		t.leave()
	}
}

// logRefusal logs a refusal that is about to be sent.
func (a *acceptor) logRefusal(remote string, refusal *handshake.Error) {
	if l := a.options.Logger; l != nil {
		l.Warn("websocket: opening handshake refused", "remote", remote, "status", refusal.Status, "error", refusal.Err)
	}
}

// accept is Accept. With a connection, the tracker has been entered.
func (a *acceptor) accept(w http.ResponseWriter, r *http.Request) (c *Conn, err error) {
	agreement, refusal := a.check(r)
	if refusal != nil {
		a.logRefusal(r.RemoteAddr, refusal)
		refuse(w, refusal)
		return nil, refusal
	}
	defer func() {
		if c == nil {
			a.leave() // after a panic, too
		}
	}()
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		if errors.Is(err, http.ErrNotSupported) {
			// Middleware that wraps w hides its Hijack method, unless it has Unwrap.
			err = fmt.Errorf("websocket: %T cannot be hijacked: a middleware's http.ResponseWriter needs a method Unwrap() http.ResponseWriter: %w", innermost(w), err)
		} else {
			err = fmt.Errorf("websocket: net/http does not give the connection away: %w", err)
		}
		if l := a.options.Logger; l != nil {
			l.Error("websocket: opening handshake failed", "remote", r.RemoteAddr, "error", err)
		}
		refuse(w, &handshake.Error{Status: http.StatusInternalServerError, Err: err})
		return nil, err
	}
	// Frames may have come in the same segment as the request.
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	if r.Context().Value(http.ServerContextKey) == nil {
		// A server's timeouts are for requests, not for what follows. That of net/http
		// has cleared them.
		nc.SetDeadline(time.Time{})
	}
	raw := rawConn(nc)
	if err := a.overdue.writeAll(nc, raw, agreement.AppendResponse(nil)); err != nil {
		nc.Close()
		return nil, lost(err)
	}
	by := opened{request: r, raw: raw, early: early}
	return newConn(context.WithoutCancel(r.Context()), nc, frame.Server, agreement, a.options, by), nil
}

// innermost returns the one that hides what it wraps, if anything.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = u.Unwrap()
	}
}

// keepRequest keeps what Request returns. The body and what belongs to net/http
// would pin buffers.
func (c *Conn) keepRequest(r *http.Request) {
	kept := r.WithContext(c.Context())
	kept.Body = http.NoBody
	kept.GetBody = nil
	kept.Response = nil
	kept.MultipartForm = nil
	c.request.Store(kept)
}

// refuse writes a refusal as the response.
func refuse(w http.ResponseWriter, e *handshake.Error) {
	h := w.Header()
	for name, values := range e.Header {
		h[name] = values
	}
	// What follows on this connection might be frames. net/http closes it if the
	// first Connection field is this and nothing else.
	connection := []string{"close"}
	if e.Header.Get("Upgrade") != "" {
		connection = append(connection, "Upgrade")
	}
	h["Connection"] = connection
	http.Error(w, strings.TrimSuffix(e.Body(), "\n"), e.Status) // which ends the line
}
