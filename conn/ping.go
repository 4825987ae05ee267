package conn

import (
	"context"
	"encoding/binary"
	"time"

	"rfc6455/frame"
)

// pingWaiter waits for the Pong to one Ping.
type pingWaiter struct {
	number uint64
	sent   time.Duration
	rtt    time.Duration
	done   chan error
}

// Ping sends a Ping and waits for its Pong. It returns how long that took. Some
// goroutine must be reading meanwhile: it is the reader that sees the Pong.
// When ctx ends, Ping returns its error and the connection goes on. Any number
// of Pings may be under way; a Pong to a later one answers the earlier ones
// too. (RFC 6455, sections 5.5.2 and 5.5.3)
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	if err := c.mayBegin(ctx); err != nil {
		return 0, err
	}
	c.mu.Lock()
	if err := c.refuseWrite(); err != nil {
		c.mu.Unlock()
		return 0, err
	}
	w := &pingWaiter{sent: c.now(), done: make(chan error, 1)}
	payload := c.nextPing()
	w.number = c.pingNumber
	x := c.needExtra()
	x.pings = append(x.pings, w)
	e := c.newWaiter(kindFrame, frame.OpPing, true, packed{payload: payload})
	c.urgent.push(e)
	err := c.await(ctx, e)
	if err == nil {
		select {
		case err = <-w.done:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		c.mu.Lock()
		for i, p := range c.pings {
			if p == w {
				c.pings = append(c.pings[:i], c.pings[i+1:]...)
				break
			}
		}
		c.mu.Unlock()
		return 0, err
	}
	return w.rtt, nil
}

// nextPing returns the payload of a new Ping: its number. Under mu.
func (c *Conn) nextPing() []byte {
	c.pingNumber++
	return binary.BigEndian.AppendUint64(nil, c.pingNumber)
}

// failPings tells all who wait for a Pong that none will come. Under mu.
func (c *Conn) failPings(err error) {
	if len(c.pings) > 0 {
		for _, p := range c.pings {
			p.done <- err // which nobody has sent to before
		}
		c.pings = nil
	}
}

// ponged deals with a Pong. One that nobody asked for means nothing.
// (RFC 6455, section 5.5.3)
func (c *Conn) ponged(payload []byte) {
	if len(payload) != 8 {
		return
	}
	number := binary.BigEndian.Uint64(payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	if number > c.pingNumber || len(c.pings) == 0 {
		return
	}
	kept := c.pings[:0]
	for _, p := range c.pings {
		if p.number <= number {
			p.rtt = c.now() - p.sent
			p.done <- nil
		} else {
			kept = append(kept, p)
		}
	}
	c.pings = kept
}
