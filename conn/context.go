package conn

import (
	"context"
	"time"
)

// connContext is a Conn as the context that lives as long. Most connections end
// before anybody waits for that, so the one of package context that others derive
// theirs from is made when it is asked for.
type connContext Conn

// madeContext is what a connContext stands for.
type madeContext struct {
	context.Context
	cancel context.CancelCauseFunc
}

// Context returns a context that lives as long as the connection and has the
// values of the request's context, but not its end: to end connections from
// outside there are Close and [Tracker]. Its cause (context.Cause) is the error
// that ended the connection. Passing it to the methods of this connection costs
// nothing.
func (c *Conn) Context() context.Context { return (*connContext)(c) }

// Deadline implements context.Context: the end is not known.
func (x *connContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (x *connContext) Done() <-chan struct{} { return x.make().Done() }

// Err implements context.Context.
func (x *connContext) Err() error {
	m := x.made.Load()
	if m == nil {
		if !x.over.Load() {
			return nil
		}
		m = x.make() // which ends it, so that Done and the cause agree
	}
	return m.Err()
}

// Value implements context.Context. Package context finds the made one by a value,
// too.
func (x *connContext) Value(key any) any { return x.make().Value(key) }

// String keeps fmt from looking into the Conn.
func (x *connContext) String() string { return "conn.Context" }

// make returns what x stands for. It takes no lock: package context calls it under
// that of a watch.
func (x *connContext) make() *madeContext {
	m := x.made.Load()
	if m == nil {
		m = new(madeContext)
		m.Context, m.cancel = context.WithCancelCause(x.parent)
		if !x.made.CompareAndSwap(nil, m) {
			m = x.made.Load()
		}
	}
	if x.over.Load() {
		m.cancel(x.err) // which was set before, and for good
	}
	return m
}

// endContext ends the context, after the connection has ended with err.
func (c *Conn) endContext(err error) {
	if m := c.made.Load(); m != nil {
		m.cancel(err)
	}
}

// isOwn reports whether ctx is c's.
func (c *Conn) isOwn(ctx context.Context) bool {
	x, ok := ctx.(*connContext)
	return ok && x == (*connContext)(c)
}

// watched reports whether ctx can end before the connection does.
func (c *Conn) watched(ctx context.Context) bool {
	if c.isOwn(ctx) {
		return false
	}
	done := ctx.Done()
	if done == nil {
		return false
	}
	m := c.made.Load()
	return m == nil || done != m.Done()
}
