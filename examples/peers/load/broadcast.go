package load

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Broadcast is a load of messages from one publisher to many subscribers.
type Broadcast struct {
	s           *Stream
	poller      *poller
	pub         int // descriptor
	subscribers []subscriber
	buf         []byte
	patience    time.Duration

	out       []byte      // what is left to write
	published int         // messages
	got       []int       // subscribers that have message i%len(got)
	origins   []time.Time // when message i%len(origins) was written
	done      int         // messages that all subscribers have; done <= published <= done+len(got)
}

// subscriber is one connection on /sub.
type subscriber struct {
	fd int
	in reader
}

// NewBroadcast connects o.Conns subscribers and a publisher, which has o.Depth
// messages under way: it sends the next one when the last subscriber has the
// oldest.
func NewBroadcast(o Options) (*Broadcast, error) {
	depth := max(o.Depth, 1)
	t, err := newTarget(o, "/sub")
	if err != nil {
		return nil, err
	}
	b := &Broadcast{
		s: NewStream(o.Op, o.Size, 3*depth, o.Raw), buf: make([]byte, 256<<10), pub: -1,
		got: make([]int, depth), origins: make([]time.Time, depth), patience: t.patience,
	}
	if b.poller, err = newPoller(o.Spin); err != nil {
		return nil, err
	}
	fds, err := t.dialAll(o.Conns, nil)
	for i, fd := range fds {
		b.subscribers = append(b.subscribers, subscriber{fd: fd, in: reader{s: b.s}})
		if err == nil {
			err = b.poller.add(fd, i)
		}
	}
	if err == nil {
		t.request = request(o.Addr, "/pub")
		b.pub, err = t.dial()
	}
	if err == nil {
		err = b.poller.add(b.pub, len(fds))
	}
	if err == nil {
		err = b.join(t)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Close ends the connections, without a closing handshake.
func (b *Broadcast) Close() {
	for _, s := range b.subscribers {
		unix.Close(s.fd)
	}
	if b.pub >= 0 {
		unix.Close(b.pub)
	}
	b.poller.close()
}

// join has every subscriber's message come back: a server may answer the
// handshake before it has taken note of the subscriber.
func (b *Broadcast) join(t *target) error {
	for _, s := range b.subscribers {
		if err := t.writeAll(s.fd, b.s.out[:b.s.outEnd[0]]); err != nil {
			return err
		}
		in := reader{s: b.s}
		for in.count == 0 {
			n, err := t.readSome(s.fd, b.buf)
			if err != nil {
				return err
			}
			if _, err := in.check(b.buf[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Run publishes for a time, or longer, until there was a delivery. It leaves what
// is under way for the next Run; after an error there is none.
func (b *Broadcast) Run(d time.Duration) (*Result, error) {
	r := new(Result)
	if err := b.publish(time.Now()); err != nil {
		return nil, err
	}
	err := b.poller.run(d, 1, b.patience, r, func(i int) error { return b.handle(i, r) })
	return r, err
}

// publish writes messages until enough are under way.
func (b *Broadcast) publish(now time.Time) error {
	if len(b.out) > 0 {
		return b.flush()
	}
	for b.published < b.done+len(b.got) {
		i := b.published % len(b.s.outEnd)
		start := 0
		if i > 0 {
			start = b.s.outEnd[i-1]
		}
		b.out = append(b.out, b.s.out[start:b.s.outEnd[i]]...)
		b.got[b.published%len(b.got)] = 0
		b.origins[b.published%len(b.got)] = now
		b.published++
	}
	return b.flush()
}

func (b *Broadcast) flush() error {
	n, err := write(b.pub, b.out)
	b.out = b.out[:copy(b.out, b.out[n:])]
	return err
}

// handle does what can be done on a connection.
func (b *Broadcast) handle(i int, r *Result) error {
	if i == len(b.subscribers) {
		n, err := read(b.pub, b.buf)
		if err == nil && n > 0 {
			err = errors.New("load: the publisher got something")
		}
		if err == nil && len(b.out) > 0 {
			err = b.flush()
		}
		return err
	}
	s := &b.subscribers[i]
	for {
		n, err := read(s.fd, b.buf)
		if err != nil {
			return err
		}
		before := s.in.count
		messages, err := s.in.check(b.buf[:n])
		if err != nil {
			return err
		}
		if s.in.count > b.published {
			return errors.New("load: more deliveries than messages")
		}
		if messages > 0 {
			now := time.Now()
			r.Count += int64(messages)
			for m := before; m < s.in.count; m++ {
				r.Latency.add(now.Sub(b.origins[m%len(b.got)]), 1)
				b.got[m%len(b.got)]++
			}
			for b.done < b.published && b.got[b.done%len(b.got)] == len(b.subscribers) {
				b.done++
			}
			if b.done+len(b.got) > b.published {
				if err := b.publish(now); err != nil {
					return err
				}
			}
		}
		if n < len(b.buf) {
			return nil
		}
	}
}
