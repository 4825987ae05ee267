package redisplane

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// link is one connection that receives. The PubSub of go-redis connects again by
// itself when it is lost, and does not tell; here it is given one connection and
// no other, so that none is lost unnoticed.
type link struct {
	h      *host
	client *redis.Client
	ps     *redis.PubSub
	nc     net.Conn    // below; closing it ends everything
	stop   func() bool // closing at the end of the context
	pinger sync.WaitGroup
	over   chan struct{} // closed by close

	// has is what it was subscribed to before it was up, and whether Subscribe had
	// returned before that. Of serve alone.
	has map[string]bool
	// owed is how many SUBSCRIBEs of a group Redis has not answered. Under h.mu.
	owed map[string]int
}

var errOnce = errors.New("redisplane: the connection is lost")

// open makes a connection.
func (h *host) open(ctx context.Context) (*link, error) {
	l := &link{h: h, over: make(chan struct{}), has: make(map[string]bool), owed: make(map[string]int)}
	with := *h.with
	with.Protocol = 2 // in which a message is an answer like any other
	dial := redis.NewDialer(&with)
	with.Dialer = func(inner context.Context, network, addr string) (net.Conn, error) {
		if l.nc != nil {
			return nil, errOnce
		}
		nc, err := dial(inner, network, addr)
		if err == nil {
			l.nc = nc
			l.stop = context.AfterFunc(ctx, func() { nc.Close() })
		}
		return nc, err
	}
	l.client = redis.NewClient(&with)
	l.ps = l.client.Subscribe(ctx)
	connecting, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	if err := l.ps.Ping(connecting); err != nil {
		l.close()
		return nil, err
	}
	l.pinger.Go(l.ping)
	return l, nil
}

// close closes the connection and waits for the goroutine that pings.
func (l *link) close() {
	close(l.over)
	if l.stop != nil {
		l.stop()
	}
	l.cut()
	l.pinger.Wait()
	l.ps.Close()
	l.client.Close()
}

// cut has receive return an error.
func (l *link) cut() {
	if l.nc != nil {
		l.nc.Close()
	}
}

// ping lets the host prove that it is there. What is read shows it: see receive.
func (l *link) ping() {
	tick := time.NewTicker(l.h.o.Keepalive)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			ctx, cancel := context.WithTimeout(context.Background(), l.h.o.Timeout)
			err := l.ps.Ping(ctx)
			cancel()
			if err != nil {
				l.cut()
				return
			}
		case <-l.over:
			return
		}
	}
}

// write sends a command for groups. What fails ends the connection, and is made
// good by the next one.
func (l *link) write(command string, groups ...string) {
	if len(groups) == 0 {
		return // which would be all of them
	}
	channels := make([]string, len(groups))
	for i, group := range groups {
		channels[i] = l.h.o.Prefix + group
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.h.o.Timeout)
	defer cancel()
	var err error
	if command == "subscribe" {
		err = l.ps.Subscribe(ctx, channels...)
	} else {
		err = l.ps.Unsubscribe(ctx, channels...)
	}
	if err != nil {
		l.cut()
	}
}

// receive returns a message, or an empty group for anything else that came.
// Nothing that was read in part is ever read on: a timeout is an end, too.
func (l *link) receive(ctx context.Context) (group string, m []byte, err error) {
	got, err := l.ps.ReceiveTimeout(ctx, 2*l.h.o.Keepalive)
	if err != nil {
		return "", nil, err
	}
	switch got := got.(type) {
	case *redis.Message:
		return strings.TrimPrefix(got.Channel, l.h.o.Prefix), []byte(got.Payload), nil
	case *redis.Subscription:
		if got.Kind == "subscribe" {
			l.confirmed(strings.TrimPrefix(got.Channel, l.h.o.Prefix))
		}
	}
	return "", nil, nil
}

// confirmed says that Redis has answered a SUBSCRIBE. If several are under way,
// there are UNSUBSCRIBEs between them, and the last one counts.
func (l *link) confirmed(group string) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	if l.owed[group]--; l.owed[group] > 0 {
		return
	}
	delete(l.owed, group)
	if s := l.h.subs[group]; s != nil && !s.isSettled() {
		close(s.settled)
	}
}
