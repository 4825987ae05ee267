package conn

import (
	"time"
)

// A connection has one timer, for the write timeout, the closing handshake and the
// keepalive. It is moved only when something is due before it fires; when it fires
// early, it is set again.

// arm makes the timer fire at the given time or before. Under mu.
func (c *Conn) arm(at time.Duration) {
	if c.closed || c.timerAt != 0 && c.timerAt <= at {
		return
	}
	c.timerAt = at
	// Never 0: in a testing/synctest bubble such a timer is run inside Reset,
	// which has crashed under the race detector.
	d := max(at-c.now(), 1)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.onTimer)
	} else {
		c.timer.Reset(d)
	}
}

// rearm sets the timer to what is due next. Under mu.
func (c *Conn) rearm() {
	c.timerAt = 0
	if c.closeAt > 0 {
		c.arm(c.closeAt)
	}
	if at := c.keepalive.next(c.o, c.now()); at > 0 && c.closing == nil && !c.ended {
		c.arm(at)
	}
	if c.writeStart > 0 {
		c.arm(c.writeStart + c.o.WriteTimeout)
	}
}

// stopTimer stops it for good. Under mu.
func (c *Conn) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timerAt = 0
}

// onTimer does what is due.
func (c *Conn) onTimer() {
	c.mu.Lock()
	now := c.now()
	switch {
	case c.closed:
		c.mu.Unlock()
		return
	case c.closeAt > 0 && now >= c.closeAt:
		sticky, result := c.writeErr, c.writeErr
		if c.closing != nil {
			sticky, result = c.closing.err, errCloseTimeout
		}
		c.mu.Unlock()
		c.end(sticky, result, false)
		c.hangUp()
		return
	case c.writeStart > 0 && now >= c.writeStart+c.o.WriteTimeout:
		sticky := errWriteTimeout
		if c.closing != nil {
			sticky = c.closing.err
		}
		c.mu.Unlock()
		c.end(sticky, errWriteTimeout, false)
		return
	}
	if c.closing == nil && !c.ended {
		if c.pingDue {
			// A long message is before it. The peer's time begins when it has left.
			c.keepalive.pinged = now
		}
		ping, dead := c.keepalive.check(c.o, now, time.Duration(c.waiting.Load()), time.Duration(c.parked.Load()))
		if dead {
			c.mu.Unlock()
			c.end(errKeepalive, errKeepalive, false)
			return
		}
		c.pingDue = c.pingDue || ping
	}
	write := !c.busy && !c.ended && c.pingDue
	if write {
		c.corked = false
		c.busy = true
	}
	c.rearm()
	c.mu.Unlock()
	if write {
		c.lead(nil, nil)
	}
}
