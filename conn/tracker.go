package conn

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"rfc6455/frame"
)

// ErrShutdown: the server shuts down. A handshake during a [Tracker.Shutdown]
// is refused with it, and status 503; a function given to [Handler] may return
// it to close its connection with 1001.
var ErrShutdown = errors.New("websocket: the server is shutting down")

// Tracker knows the connections that live, so that a server can be shut down:
// net/http forgets a connection at the upgrade, and http.Server.Shutdown does not
// wait for it. Put one into [Options.Tracker] and call Shutdown beside that of the
// http.Server. The zero value is ready; after Shutdown it refuses handshakes for
// good, and closes what else is added. Its methods may be called from any goroutine.
type Tracker struct {
	// Drain is the time over which Shutdown spreads the Close frames, so that
	// not all clients connect elsewhere at the same moment. The default 0 sends
	// them all at once.
	Drain time.Duration

	mu       sync.Mutex
	conns    map[*Conn]struct{}
	handlers int // and the handshakes that were accepted but are not conns yet
	draining bool
	cut      bool          // a Shutdown's time was over
	idle     chan struct{} // closed when the last connection is gone; nil: nobody waits
}

// Len returns the number of live connections.
func (t *Tracker) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.conns)
}

// Shutdown refuses new connections with status 503, closes the live ones with
// 1001, spread over Drain, and waits until they are gone and the functions of
// [Handler] and [Serve] have returned. When ctx ends first, the connections that
// are left are closed without a handshake, and Shutdown returns ctx's error.
func (t *Tracker) Shutdown(ctx context.Context) error {
	t.mu.Lock()
	t.draining = true
	conns := make([]*Conn, 0, len(t.conns))
	for c := range t.conns {
		conns = append(conns, c)
	}
	if t.idle != nil {
		select {
		case <-t.idle:
			t.idle = nil // of an earlier Shutdown: there may be new ones
		default:
		}
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
		t.checkIdle()
	}
	idle := t.idle
	t.mu.Unlock()

	for _, c := range conns {
		if t.Drain > 0 {
			time.AfterFunc(1+rand.N(t.Drain), func() { c.Close(frame.CloseGoingAway, "") })
		} else {
			go c.Close(frame.CloseGoingAway, "")
		}
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	t.cut = true
	conns = conns[:0]
	for c := range t.conns {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.CloseNow()
	}
	return ctx.Err()
}

// checkIdle tells Shutdown when nothing is left. Under mu.
func (t *Tracker) checkIdle() {
	if t.idle == nil || len(t.conns) > 0 || t.handlers > 0 {
		return
	}
	select {
	case <-t.idle:
	default:
		close(t.idle)
	}
}

// enter has Shutdown wait until leave, and reports whether it is not too late.
func (t *Tracker) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.draining {
		t.handlers++
	}
	return !t.draining
}

// leave ends what enter began: a function of Handler or Serve has returned, or
// an accepted handshake has become a connection or failed.
func (t *Tracker) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handlers--
	t.checkIdle()
}

func (t *Tracker) add(c *Conn) {
	t.mu.Lock()
	if t.conns == nil {
		t.conns = make(map[*Conn]struct{})
	}
	t.conns[c] = struct{}{}
	draining, cut := t.draining, t.cut
	t.mu.Unlock()
	// Its handshake was accepted just before Shutdown.
	switch {
	case cut:
		c.CloseNow()
	case draining:
		go c.Close(frame.CloseGoingAway, "")
	}
}

func (t *Tracker) remove(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
	t.checkIdle()
}
