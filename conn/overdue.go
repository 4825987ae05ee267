package conn

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// overdue interrupts opening handshakes that take too long. All of one acceptor
// have the same time, so they are over in the order in which they began, and one
// timer does for all of them.
type overdue struct {
	after time.Duration // 0: never

	mu          sync.Mutex
	first, last *guarded
	timer       *time.Timer // nil while there is no first; never used again, for it belongs to its synctest bubble
}

// guarded is an opening handshake under way.
type guarded struct {
	nc         net.Conn
	end        time.Time
	prev, next *guarded
	listed     bool

	mu    sync.Mutex
	cut   bool // nc's deadline was set
	ended bool
}

// writeAll writes p to nc within the time. raw is that of nc, or nil. What a socket
// takes at once, as it does nearly always, needs no timer.
func (o *overdue) writeAll(nc net.Conn, raw syscall.RawConn, p []byte) error {
	n, err := writeNow(nc, raw, p)
	if p = p[n:]; len(p) == 0 || err != nil {
		return err
	}
	t := new(guarded)
	o.begin(t, nc)
	_, err = nc.Write(p)
	o.end(t)
	return err
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
	o.timer = time.AfterFunc(o.after, o.interrupt)
}

// end ends what begin began, if it was not ended before.
func (o *overdue) end(t *guarded) {
	if o.after == 0 {
		return
	}
	o.mu.Lock()
	if t.listed {
		if o.remove(t); o.first == nil {
			o.timer.Stop()
			o.timer = nil
		}
	}
	o.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut && !t.ended {
		t.nc.SetDeadline(time.Time{})
	}
	t.ended = true
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
		go t.interrupt() // foreign code, which may block
	}
	if o.first == nil {
		o.timer = nil
		return
	}
	o.timer.Reset(max(o.first.end.Sub(now), 1))
}

func (t *guarded) interrupt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.cut = true
		t.nc.SetDeadline(longAgo)
	}
}
