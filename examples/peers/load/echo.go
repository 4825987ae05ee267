package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what a load is.
type Options struct {
	Addr string // of the server, in 127.0.0.0/8
	// Conns is the number of connections: of subscribers in a Broadcast, at the
	// same time in Handshakes.
	Conns int
	Op    Opcode
	Size  int // of a payload in bytes
	// Depth is the number of messages in flight: of each connection in an Echo,
	// of the publisher in a Broadcast. 0 is 1.
	Depth int
	// Raw says that the server is no WebSocket server: bytes come back as they
	// were sent.
	Raw bool
	// Spin has the load ask for events again and again instead of sleeping, for a
	// load that has a processor of its own. A sleeping processor takes long to
	// wake, in virtual machines above all, and it is the server that waits then
	// and pays for waking it.
	Spin bool
	// Patience is how long the server may do nothing. 0 is 20 s.
	Patience time.Duration
}

// Result is what came back in one Run.
type Result struct {
	Count   int64 // messages, deliveries or handshakes
	Elapsed time.Duration
	Latency Histogram // from the write to the whole answer
}

// Echo is a load of messages that come back.
type Echo struct {
	s      *Stream
	depth  int
	poller *poller
	conns  []echoConn
	buf    []byte
	begun  bool

	patience time.Duration
}

// echoConn is one connection of an Echo.
type echoConn struct {
	fd     int
	in     reader
	next   int       // message in s that the next batch begins with
	out    []byte    // what is left to write of this batch
	left   int       // answers that are missing of this batch
	origin time.Time // when this batch was written
}

// NewEcho connects.
func NewEcho(o Options) (*Echo, error) {
	depth := max(o.Depth, 1)
	// Three batches, so that neighbours differ.
	return newEcho(o, NewStream(o.Op, o.Size, 3*depth, o.Raw), depth)
}

func newEcho(o Options, s *Stream, depth int) (*Echo, error) {
	t, err := newTarget(o, "/echo")
	if err != nil {
		return nil, err
	}
	fds, err := t.dialAll(o.Conns, nil)
	if err != nil {
		return nil, err
	}
	e := &Echo{s: s, depth: depth, buf: make([]byte, 256<<10), patience: t.patience}
	for i, fd := range fds {
		// They do not all send the same at the same time.
		c := echoConn{fd: fd, in: reader{s: s}, next: i * depth % len(s.outEnd)}
		if c.next > 0 {
			c.in.message = s.due[c.next-1]
			c.in.pos = s.inEnd[c.in.message-1]
		}
		e.conns = append(e.conns, c)
	}
	if e.poller, err = newPoller(o.Spin); err != nil {
		closeAll(fds)
		return nil, err
	}
	for i, fd := range fds {
		if err := e.poller.add(fd, i); err != nil {
			e.Close()
			return nil, err
		}
	}
	return e, nil
}

// Close ends the connections, without a closing handshake.
func (e *Echo) Close() {
	for _, c := range e.conns {
		unix.Close(c.fd)
	}
	e.poller.close()
}

// Run sends and receives for a time, or longer, until a message has come back.
// It leaves what is in flight for the next Run; after an error there is none.
func (e *Echo) Run(d time.Duration) (*Result, error) { return e.run(d, 1) }

// RunCount is Run until a number of messages have come back, or a few more.
func (e *Echo) RunCount(n int64) (*Result, error) { return e.run(0, n) }

func (e *Echo) run(d time.Duration, count int64) (*Result, error) {
	r := new(Result)
	if !e.begun {
		e.begun = true
		for i := range e.conns {
			if err := e.begin(&e.conns[i], time.Now()); err != nil {
				return nil, err
			}
		}
	}
	err := e.poller.run(d, count, e.patience, r, func(i int) error { return e.handle(&e.conns[i], r) })
	return r, err
}

// handle does what can be done on a connection.
func (e *Echo) handle(c *echoConn, r *Result) error {
	for {
		if len(c.out) > 0 {
			if err := c.flush(); err != nil {
				return err
			}
		}
		n, err := read(c.fd, e.buf)
		if err != nil {
			return err
		}
		messages, err := c.in.check(e.buf[:n])
		if err != nil {
			return err
		}
		if messages > c.left {
			return fmt.Errorf("load: more answers than messages")
		}
		c.left -= messages
		r.Count += int64(messages)
		if messages > 0 {
			now := time.Now()
			r.Latency.add(now.Sub(c.origin), messages)
			if c.left == 0 {
				// There is nothing left to read.
				return e.begin(c, now)
			}
		}
		// Less than there was room for: more will make an event of its own.
		if n < len(e.buf) {
			return nil
		}
	}
}

// begin writes the next batch.
func (e *Echo) begin(c *echoConn, now time.Time) error {
	start, answered := 0, 0
	if c.next > 0 {
		start, answered = e.s.outEnd[c.next-1], e.s.due[c.next-1]
	}
	// The number of messages is a multiple of depth.
	c.next += e.depth
	c.out = e.s.out[start:e.s.outEnd[c.next-1]]
	c.left = e.s.due[c.next-1] - answered
	c.next %= len(e.s.outEnd)
	c.origin = now
	return c.flush()
}

// flush writes what there is room for.
func (c *echoConn) flush() error {
	n, err := write(c.fd, c.out)
	c.out = c.out[n:]
	return err
}
