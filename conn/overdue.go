package conn

import (
	"net"
	"sync"
	"time"
)

// overdue interrupts opening handshakes that take too long. All of one acceptor
// have the same time, so they are over in the order in which they began, and one
// timer does for all of them, at a fifth of what deadlines cost.
type overdue struct {
	after time.Duration // 0: never

	mu          sync.Mutex
	first, last *guarded
	timer       *time.Timer // runs while there is a first; nil: was never needed
}

// guarded is an opening handshake under way.
type guarded struct {
	nc         net.Conn
	end        time.Time
	prev, next *guarded

	// At most one is set.
	listed bool
	cut    bool // nc's deadline was set
}

// begin has the reads and writes of nc fail with os.ErrDeadlineExceeded from the
// time on, until end. t is new.
func (o *overdue) begin(t *guarded, nc net.Conn) {
	if o.after == 0 {
		return
	}
	t.nc, t.end, t.listed = nc, time.Now().Add(o.after), true
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.prev = o.last; t.prev != nil {
		t.prev.next, o.last = t, t
		return
	}
	o.first, o.last = t, t
	if o.timer == nil {
		o.timer = time.AfterFunc(o.after, o.interrupt)
	} else {
		o.timer.Reset(o.after)
	}
}

// end ends what begin began, if it was not ended before.
func (o *overdue) end(t *guarded) {
	if o.after == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case t.cut:
		t.cut = false
		t.nc.SetDeadline(time.Time{})
	case t.listed:
		if o.remove(t); o.first == nil {
			o.timer.Stop()
		}
	}
}

// remove takes t out of the list. Under mu.
func (o *overdue) remove(t *guarded) {
	t.listed = false
	if t.prev == nil {
		o.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		o.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
}

// interrupt interrupts those whose time is over.
func (o *overdue) interrupt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for t := o.first; t != nil && !t.end.After(now); t = o.first {
		o.remove(t)
		t.cut = true
		t.nc.SetDeadline(longAgo)
	}
	if o.first != nil {
		o.timer.Reset(max(o.first.end.Sub(now), 1))
	}
}
