package conn

import (
	"time"

	"rfc6455/frame"
)

// Overflow says what [Conn.Send] does when a connection's queue is full.
type Overflow uint8

const (
	// CloseSlow closes the connection with 1013; Send returns [ErrSlowPeer].
	CloseSlow Overflow = iota
	// DropNewest drops the message; Send returns [ErrQueueFull].
	DropNewest
	// DropOldest drops the messages that have waited longest until there is
	// room; Send returns nil.
	DropOldest
	// Block makes Send wait for room, or for the end of the connection.
	Block
)

// entry is something that waits to be written.
type entry struct {
	prev, next *entry
	list       *list // nil once taken

	kind    entryKind
	op      frame.Opcode
	fin     bool
	payload []byte // of a waiter, whose caller keeps it unchanged; of Send: the whole frame, unless late
	rsv     uint8
	late    bool // payload is compressed when its frame is made

	// Send only.
	frame *buffer       // where payload stands; nil if it is not this entry's alone
	size  int           // of the payload in bytes
	key   string        // a later message with this key replaces this one
	at    time.Duration // when it was queued

	// While taken, under mu.
	begin, end int          // where the frame is in out, and tail behind it
	before     frame.Sender // as it was before the frame
	traced     int          // index of the frame in traced
	cancelled  error        // its writer's context has ended

	// Waiters only. A value is sent when the entry may lead, once at most, and
	// one when it is done; of an owned one, which the connection sends to its end
	// though its writer's context has ended, also when that happens.
	ready chan verdict
	owned bool
}

type entryKind uint8

const (
	kindQueued entryKind = iota // a message of Send
	kindFrame                   // a frame whose writer waits
	kindTurn                    // a Writer that waits to begin its message
)

// verdict is what a waiter is told.
type verdict struct {
	lead  bool // nobody writes: write what waits, your entry too
	begun bool // it goes on without you
	err   error
}

// list is a doubly linked list of entries.
type list struct {
	head, tail *entry
	messages   int   // entries of Send
	bytes      int64 // their payload
}

func (l *list) push(e *entry) {
	e.list, e.prev, e.next = l, l.tail, nil
	if l.tail == nil {
		l.head = e
	} else {
		l.tail.next = e
	}
	l.tail = e
	if e.kind == kindQueued {
		l.messages++
		l.bytes += int64(e.size)
	}
}

func (l *list) remove(e *entry) {
	if e.prev == nil {
		l.head = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.tail = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.list, e.prev, e.next = nil, nil, nil
	if e.kind == kindQueued {
		l.messages--
		l.bytes -= int64(e.size)
	}
}

// fits reports whether a message of size bytes may wait as well. One message is
// always let in: a limit on bytes must not make a message unsendable.
func (l *list) fits(size int, messages int, bytes int64) bool {
	if l.messages == 0 {
		return true
	}
	if messages > 0 && l.messages >= messages {
		return false
	}
	return bytes <= 0 || l.bytes+int64(size) <= bytes
}

// oldest returns the message of Send that has waited longest.
func (l *list) oldest() *entry {
	for e := l.head; e != nil; e = e.next {
		if e.kind == kindQueued {
			return e
		}
	}
	return nil
}

// keyed returns the waiting message with this key.
func (l *list) keyed(key string) *entry {
	for e := l.head; e != nil; e = e.next {
		if e.kind == kindQueued && e.key == key {
			return e
		}
	}
	return nil
}

// waiter returns the first entry whose writer waits.
func (l *list) waiter() *entry {
	for e := l.head; e != nil; e = e.next {
		if e.ready != nil {
			return e
		}
	}
	return nil
}

// replace puts e where old is.
func (l *list) replace(old, e *entry) {
	l.push(e)
	if next := old.next; next != e {
		// Move e from the end to where old is.
		l.tail = e.prev
		l.tail.next = nil
		e.prev, e.next = old, next
		old.next, next.prev = e, e
	}
	l.remove(old)
}
