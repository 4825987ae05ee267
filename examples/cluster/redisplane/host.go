package redisplane

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// host is one Redis host: what this process asked it for, and the connection
// that receives.
type host struct {
	// Constant.
	name   string
	o      *Options
	with   *redis.Options
	client *redis.Client // that publishes

	mu   sync.Mutex
	subs map[string]*subscription // by group
	link *link                    // subscribed to what is in subs, or about to; nil while there is none
	// down is why the last attempt to connect failed, and nil after one that did
	// not, or before the first. downed is closed if and only if it is not nil.
	down   error
	downed chan struct{}
}

// subscription is a group from Subscribe to Unsubscribe.
type subscription struct {
	// settled says that Subscribe has returned, or is about to: what does not come
	// from now on is a gap. It is closed once, under mu.
	settled chan struct{}
	early   bool // settled without Redis, which has not confirmed it since; under mu
}

func (s *subscription) isSettled() bool {
	select {
	case <-s.settled:
		return true
	default:
		return false
	}
}

func newHost(name string, with *redis.Options, o *Options) *host {
	return &host{
		name: name, o: o, with: with, client: redis.NewClient(with),
		subs: make(map[string]*subscription), downed: make(chan struct{}),
	}
}

func (h *host) unreachable() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down
}

func (h *host) subscribe(ctx context.Context, group string) error {
	s := &subscription{settled: make(chan struct{})}
	h.mu.Lock()
	h.subs[group] = s
	l, downed := h.link, h.downed
	if l != nil {
		l.owed[group]++
	}
	h.mu.Unlock()
	if l != nil {
		l.write("subscribe", group)
	} // else the next one begins with it

	err := h.await(ctx, s, downed)
	if err == nil {
		return nil
	}
	h.unsubscribe(group)
	return err
}

// await waits until a subscription is settled, and is an error if it will not be.
func (h *host) await(ctx context.Context, s *subscription, downed chan struct{}) error {
	for {
		select {
		case <-s.settled:
			return nil
		case <-downed:
		case <-ctx.Done():
		}
		h.mu.Lock()
		switch {
		case s.isSettled(): // just now
			h.mu.Unlock()
			return nil
		case ctx.Err() != nil:
			h.mu.Unlock()
			return ctx.Err()
		case h.down == nil: // up again already
			downed = h.downed
			h.mu.Unlock()
		case h.o.Offline:
			s.early = true
			close(s.settled)
			h.mu.Unlock()
			return nil
		default:
			defer h.mu.Unlock()
			return h.down
		}
	}
}

func (h *host) unsubscribe(group string) {
	h.mu.Lock()
	delete(h.subs, group)
	l := h.link
	h.mu.Unlock()
	if l != nil {
		l.write("unsubscribe", group)
	}
}

// receive keeps a connection until ctx ends.
func (h *host) receive(ctx context.Context, deliver func(string, []byte), gap func(...string)) {
	failures := 0
	for ctx.Err() == nil {
		begun := time.Now()
		up, err := h.serve(ctx, deliver, gap)
		h.ended(ctx, up, err)
		if up && time.Since(begun) > h.o.MaxWait {
			failures = 0 // at once
			continue
		}
		// Not all processes come back at the same moment, nor does one come too
		// often to a host that cuts it off each time.
		limit := h.o.MaxWait
		if failures < 10 {
			limit = min(limit, 50*time.Millisecond<<failures)
		}
		failures++
		select {
		case <-time.After(rand.N(limit) + 1):
		case <-ctx.Done():
		}
	}
	h.forget()
}

// serve makes a connection, subscribes to everything, and receives until the
// connection is lost. up says that it got so far.
func (h *host) serve(ctx context.Context, deliver func(string, []byte), gap func(...string)) (up bool, err error) {
	l, err := h.open(ctx)
	if err != nil {
		return false, err
	}
	defer l.close()
	for {
		if !up && len(l.owed) == 0 { // which is of this goroutine until it is up
			var more, fewer, gaps []string
			if more, fewer, gaps, up = h.next(l); up && len(gaps) > 0 {
				gap(gaps...)
			}
			l.write("subscribe", more...)
			l.write("unsubscribe", fewer...)
		}
		group, m, err := l.receive(ctx)
		if err != nil {
			return up, err
		}
		if group == "" || !h.wants(group) {
			continue
		}
		opened, err := h.o.Keys.Open(group, m)
		if err != nil {
			h.warn("redisplane: a message cannot be opened", "group", group, "error", err)
			continue
		}
		deliver(group, opened)
	}
}

// batch is how many groups one command names at most: the answers to it are read
// before the next.
const batch = 500

// next returns to which groups a new link is to be subscribed, and to which not
// any more. If there are none of both the link is up, and takes what comes from
// now on; gaps are the groups of which something may have been lost.
func (h *host) next(l *link) (more, fewer, gaps []string, up bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for group, s := range h.subs {
		if lost, ok := l.has[group]; ok {
			if !s.isSettled() {
				close(s.settled)
			} else if lost || s.early {
				gaps = append(gaps, group)
			}
		} else if len(more) < batch {
			l.has[group] = s.isSettled()
			l.owed[group]++
			more = append(more, group)
		}
	}
	for group := range l.has {
		if h.subs[group] == nil {
			delete(l.has, group)
			fewer = append(fewer, group)
		}
	}
	if len(more)+len(fewer) > 0 {
		return more, fewer, nil, false
	}
	for _, group := range gaps {
		h.subs[group].early = false
	}
	h.link = l
	if was := h.up(); was != nil && h.o.Logger != nil {
		h.o.Logger.Info("redisplane: a host is there again", "host", h.name)
	}
	return nil, nil, gaps, true
}

func (h *host) wants(group string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.subs[group] != nil
}

// ended says that there is no connection any more. If it was never up, whoever
// waits for the host learns of it.
func (h *host) ended(ctx context.Context, up bool, err error) {
	h.mu.Lock()
	h.link = nil
	known := h.down != nil
	if !up && ctx.Err() == nil {
		h.down = err
		if !known {
			close(h.downed)
		}
	}
	h.mu.Unlock()
	if ctx.Err() == nil && (up || !known) {
		h.warn("redisplane: no connection to a host", "host", h.name, "error", err)
	}
}

// forget says that nothing is known of the host: Receive has returned.
func (h *host) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.up()
}

// up says that the host is not down. Under mu.
func (h *host) up() (was error) {
	was = h.down
	if was != nil {
		h.down, h.downed = nil, make(chan struct{})
	}
	return was
}

func (h *host) warn(text string, args ...any) {
	if h.o.Logger != nil {
		h.o.Logger.Warn(text, args...)
	}
}
