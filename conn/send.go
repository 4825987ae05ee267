package conn

import (
	"sync"
	"time"

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
	e, err := c.newQueued(t, p)
	if err != nil {
		return err
	}
	return c.enqueue(key, e, c.o.Overflow)
}

// enqueue lets a message wait for its turn. policy is that for a full queue.
func (c *Conn) enqueue(key string, e *entry, policy Overflow) error {
	e.key = key
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
			fits := c.queue.messages == 1 || c.o.QueueBytes == 0 || c.queue.bytes-int64(old.size)+int64(e.size) <= c.o.QueueBytes
			if fits {
				c.queue.replace(old, e)
			} else if policy == DropOldest || policy == Block {
				c.queue.remove(old) // of no use any more
			}
			if old.list == nil {
				c.stats.dropped++
				c.freeQueued(old)
			}
			if fits {
				c.mu.Unlock()
				return nil
			}
		}
	}
	for c.full(e.size) {
		switch policy {
		case DropOldest:
			old := c.queue.oldest()
			c.queue.remove(old)
			c.stats.dropped++
			c.freeQueued(old)
		case Block:
			if c.room == nil {
				c.needExtra().room = make(chan struct{})
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
			if policy == DropNewest || c.open {
				// An open Writer holds the queue up, not the peer.
				c.mu.Unlock()
				return ErrQueueFull
			}
			c.closeSlow()
			c.mu.Unlock()
			return ErrSlowPeer
		}
	}
	c.needExtra().queue.push(e)
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

// full reports whether a message of size bytes finds no room. For a moment a
// burst may be burstFactor times as many messages: they can come faster than
// whoever writes gets to run, and the peer is not slow for that. Under mu.
func (c *Conn) full(size int) bool {
	most := c.o.QueueMessages
	if c.busy && !c.open && (c.lastWrite == 0 || c.now()-c.lastWrite < burstTime) {
		most *= burstFactor
	}
	return !c.queue.fits(size, most, c.o.QueueBytes)
}

const (
	burstFactor = 16
	burstTime   = 5 * time.Millisecond // since the last write began or ended
)

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
func (c *Conn) newQueued(t MessageType, p []byte) (*entry, error) {
	op, err := t.opcode()
	if err != nil {
		return nil, err
	}
	m := c.pack(t, p)
	defer m.free()
	if m.late {
		b := getBuffer(len(p))
		return newEntry(op, packed{payload: b.b[:copy(b.b, p)], late: true, buf: b}, len(p)), nil
	}
	return c.newFrame(op, m)
}

// newFrame returns an entry with the whole frame of a message.
func (c *Conn) newFrame(op frame.Opcode, m packed) (*entry, error) {
	// A message in one frame leaves a Sender as it is, so any will do.
	s := frame.Sender{Role: c.role, RSV: m.rsv}
	h, err := s.Next(op, true, m.rsv, m.payload)
	if err != nil {
		return nil, err
	}
	b := getBuffer(frame.MaxHeader + len(m.payload))
	return newEntry(op, packed{payload: frame.AppendFrame(b.b[:0], h, m.payload), buf: b}, len(m.payload)), nil
}

// newEntry returns an entry with m, of size bytes. It owns m.buf, if there is
// one; otherwise others may use m.payload as well.
func newEntry(op frame.Opcode, m packed, size int) *entry {
	e := entries.Get().(*entry)
	e.kind, e.op, e.fin, e.size = kindQueued, op, true, size
	e.payload, e.late, e.frame = m.payload, m.late, m.buf
	return e
}

// freeQueued takes back an entry that is in no list.
func (c *Conn) freeQueued(e *entry) {
	putBuffer(e.frame)
	e.frame, e.payload, e.key = nil, nil, ""
	entries.Put(e)
}
