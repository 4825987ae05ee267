package conn

import "sync/atomic"

// Stats are counts since the connection began.
type Stats struct {
	MessagesRead    int64 // given to the application; the last ones of a batch may not be counted yet
	MessagesWritten int64 // given to the transport or waiting to leave with others
	BytesRead       int64 // from the transport
	BytesWritten    int64 // to the transport
	Dropped         int64 // messages of Send that were dropped or replaced
	Queued          int   // messages of Send that wait now
	QueuedBytes     int64 // their payload
}

// counters are the numbers behind Stats.
type counters struct {
	messagesRead atomic.Int64
	bytesRead    atomic.Int64
	bytesWritten atomic.Int64

	// Under mu.
	messagesWritten int64
	dropped         int64
}

// Stats returns the counts so far. It may be called at any time.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		MessagesRead:    c.stats.messagesRead.Load(),
		MessagesWritten: c.stats.messagesWritten,
		BytesRead:       c.stats.bytesRead.Load(),
		BytesWritten:    c.stats.bytesWritten.Load(),
		Dropped:         c.stats.dropped,
		Queued:          c.queue.messages,
		QueuedBytes:     c.queue.bytes,
	}
}
