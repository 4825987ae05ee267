package conn

import (
	"sync"

	"rfc6455/frame"
)

var entries = sync.Pool{New: func() any { return new(entry) }}

// Send queues one message and returns. It never waits for the peer, unless the
// policy is [Block]: the message leaves when its turn comes, in order with
// those of Write. p is copied. When the queue is full, [Options.Overflow] says
// what happens: [ErrSlowPeer] and [ErrQueueFull] are the errors of that. A text
// message that is not UTF-8 is refused with [frame.ErrText].
func (c *Conn) Send(t MessageType, p []byte) error { return c.send("", t, p) }

// SendKeyed is Send for a state of which only the newest version matters, a
// price for instance: a message with the same key that still waits is replaced,
// in its place in the queue. key is not sent. An empty key is none.
func (c *Conn) SendKeyed(key string, t MessageType, p []byte) error { return c.send(key, t, p) }

func (c *Conn) send(key string, t MessageType, p []byte) error {
	op, err := t.opcode()
	if err != nil {
		return err
	}
	e, err := c.newQueued(key, op, p)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if err := c.refuseWrite(); err != nil {
		c.freeQueued(e)
		c.mu.Unlock()
		return err
	}
	if c.o.QueueMaxAge > 0 {
		e.at = c.now()
	}
	if key != "" {
		if old := c.queue.keyed(key); old != nil {
			c.queue.replace(old, e)
			c.stats.dropped++
			c.freeQueued(old)
			c.mu.Unlock()
			return nil
		}
	}
	for !c.queue.fits(e.size, c.o.QueueMessages, c.o.QueueBytes) {
		switch c.o.Overflow {
		case DropOldest:
			old := c.queue.oldest()
			c.queue.remove(old)
			c.stats.dropped++
			c.freeQueued(old)
		case Block:
			if c.room == nil {
				c.room = make(chan struct{})
			}
			room := c.room
			c.mu.Unlock()
			<-room // at the end of the connection, too
			c.mu.Lock()
			if err := c.refuseWrite(); err != nil {
				c.freeQueued(e)
				c.mu.Unlock()
				return err
			}
		default:
			c.stats.dropped++
			c.freeQueued(e)
			if c.o.Overflow == DropNewest {
				c.mu.Unlock()
				return ErrQueueFull
			}
			c.closeSlow()
			c.mu.Unlock()
			return ErrSlowPeer
		}
	}
	c.queue.push(e)
	switch {
	case c.open:
		// The end of the Writer's message lets it go.
	case c.corkable.Load() && c.queue.bytes < corkBytes:
		c.cork()
	default:
		c.startFlusher()
	}
	c.mu.Unlock()
	return nil
}

// closeSlow closes the connection of a peer that does not keep up. What it has
// not taken is dropped: it would not take the Close frame behind it either.
// Under mu.
func (c *Conn) closeSlow() {
	for e := c.queue.oldest(); e != nil; e = c.queue.oldest() {
		c.queue.remove(e)
		c.stats.dropped++
		c.freeQueued(e)
	}
	c.beginClose(ErrSlowPeer, frame.CloseTryAgainLater, "too slow: the queue of messages to you is full")
	c.startFlusher()
}

// newQueued returns an entry with the whole frame of a message, from pools.
func (c *Conn) newQueued(key string, op frame.Opcode, p []byte) (*entry, error) {
	// A message in one frame leaves a Sender as it is, so any will do.
	s := frame.Sender{Role: c.role}
	h, err := s.Next(op, true, 0, p)
	if err != nil {
		return nil, err
	}
	e := entries.Get().(*entry)
	e.kind, e.op, e.fin, e.key, e.size = kindQueued, op, true, key, len(p)
	e.frame = getBuffer(frame.MaxHeader + len(p))
	e.payload = frame.AppendFrame(e.frame.b[:0], h, p)
	return e, nil
}

// freeQueued takes back an entry that is in no list.
func (c *Conn) freeQueued(e *entry) {
	putBuffer(e.frame)
	e.frame, e.payload, e.key = nil, nil, ""
	entries.Put(e)
}
