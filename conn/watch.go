package conn

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// watch interrupts the blocked I/O of one direction when a context ends. It
// keeps its registration with a context that is used again, which is the usual
// case, so that a call with a cancellable context allocates nothing.
type watch struct {
	mu     sync.Mutex
	done   <-chan struct{} // of the context it is registered with
	stop   func() bool
	last   <-chan struct{} // of the call before
	keep   bool            // the context was used twice in a row
	active bool            // I/O is under way,
	under  <-chan struct{} // under this context; nil: none that can end
	fired  bool            // the deadline was set
	wanted bool            // interrupt was called and not heeded yet
}

// watches are made when the first of them is needed: they are not, where contexts
// end with the connection.
type watches struct{ read, write watch }

// watching returns both, made if they were not.
func (c *Conn) watching() *watches {
	w := c.watches.Load()
	if w == nil {
		w = new(watches)
		if !c.watches.CompareAndSwap(nil, w) {
			w = c.watches.Load()
		}
	}
	return w
}

// What is told between those who write, never to the application.
var (
	errInterrupted = errors.New("interrupted")
	errNotBegun    = errors.New("interrupted before it began")
	errHandOver    = errors.New("somebody else must go on")
)

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// begin arms w for I/O under ctx. If ctx has ended, it returns its error and w
// is not armed.
func (w *watch) begin(c *Conn, ctx context.Context) error {
	done := ctx.Done()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done != done {
		w.unregister()
		w.done = done
		w.stop = context.AfterFunc(ctx, func() { w.fire(c, ctx) })
	}
	w.keep = w.last == done
	w.last = done
	w.active = true
	w.under = done
	// After active was set: had the context ended before, fire may have run and
	// found nothing to interrupt.
	if err := ctx.Err(); err != nil {
		w.active, w.under = false, nil
		w.unregister()
		return err
	}
	return nil
}

// fire interrupts the I/O if it is still under way for that context. It cannot
// hit a later call: it holds the lock, and end clears the deadline under it.
func (w *watch) fire(c *Conn, ctx context.Context) {
	w.mu.Lock()
	hit := w.active && w.under == ctx.Done()
	if hit && c.deadlines() != nil {
		w.fired = true
		w.set(c, longAgo)
	}
	w.mu.Unlock()
	if hit && c.deadlines() == nil {
		// Nothing else ends a blocked call on such a transport.
		c.end(ctx.Err(), ctx.Err(), false)
	}
}

// interrupt interrupts the write that is under way, or the next one that looks
// out for it.
func (w *watch) interrupt(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted = true
	if w.active && c.deadlines() != nil {
		w.fired = true
		w.set(c, longAgo)
	}
}

// write writes what waits. It returns errInterrupted if that was interrupted
// because ctx ended, which may be nil, or by interrupt, and errNotBegun if that
// came before.
func (w *watch) write(c *Conn, ctx context.Context) (n int, err error) {
	if ctx != nil && c.watched(ctx) {
		if err := w.begin(c, ctx); err != nil {
			return 0, errNotBegun
		}
	}
	w.mu.Lock()
	w.active = true
	wanted := w.wanted
	w.wanted = false
	w.mu.Unlock()
	if wanted {
		w.end(c)
		return 0, errNotBegun
	}
	n, err = c.writeOut()
	w.mu.Lock()
	fired := w.fired
	w.wanted = false // whoever is busy looks at all that were cancelled
	w.mu.Unlock()
	w.end(c)
	if fired && errors.Is(err, os.ErrDeadlineExceeded) {
		return n, errInterrupted
	}
	return n, err
}

// end disarms w.
func (w *watch) end(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active, w.under = false, nil
	if w.fired {
		w.fired = false
		w.set(c, time.Time{})
	}
	if !w.keep {
		w.unregister()
	}
}

// release drops the registration, at the end of the connection.
func (w *watch) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = nil
	if !w.active {
		w.unregister()
	}
	w.keep = false
}

// unregister leaves the context. Under mu.
func (w *watch) unregister() {
	if w.stop != nil {
		w.stop()
	}
	w.done, w.stop = nil, nil
}

func (w *watch) set(c *Conn, t time.Time) {
	if w == &c.watches.Load().read {
		c.deadlines().SetReadDeadline(t)
	} else {
		c.deadlines().SetWriteDeadline(t)
	}
}
