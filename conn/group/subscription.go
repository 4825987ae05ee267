package group

import (
	"context"
	"sync"
	"time"
)

// subscriptions keeps a Backplane subscribed to those groups that somebody holds.
// There is one call at a time for a group, and Subscribe and Unsubscribe take
// turns. No call is bound to the context of one who waits for it: others may wait
// as well.
type subscriptions struct {
	backplane Backplane
	warn      func(text string, args ...any)

	mu  sync.Mutex
	all map[string]*subscription
}

// subscription is what is known of a group on the Backplane. It exists while
// somebody holds it or there is something to do about it.
type subscription struct {
	held     int      // how often; if not active, all of them wait
	active   bool     // the Backplane sends its messages, and goes on while held > 0
	working  bool     // a goroutine brings it up to date
	waiting  *attempt // the next Subscribe, or the one under way; nil if nobody asked
	failures int      // of Unsubscribe: the Backplane may still send its messages
}

// attempt is a call of Subscribe that somebody waits for.
type attempt struct {
	done chan struct{} // closed when err is set
	err  error
}

const (
	// backplaneTimeout bounds one call of Subscribe or Unsubscribe.
	backplaneTimeout = 10 * time.Second
	// An Unsubscribe that fails is tried again after 1 s, 2 s, 4 s and so on; the
	// last time after a minute.
	unsubscribeRetry = time.Second
	unsubscribeTries = 7
)

// hold waits until a group is subscribed to, and keeps it so until release. The
// wait ends with ctx, or with life, whose cause is the error then. After an error
// it is not held.
func (s *subscriptions) hold(ctx, life context.Context, group string) error {
	s.mu.Lock()
	u := s.all[group]
	if u == nil {
		u = &subscription{}
		s.all[group] = u
	}
	u.held++
	if u.active {
		s.mu.Unlock()
		return nil
	}
	if u.waiting == nil {
		u.waiting = &attempt{done: make(chan struct{})}
	}
	a := u.waiting
	s.work(group, u)
	s.mu.Unlock()

	var err error
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-life.Done():
		err = context.Cause(life)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-a.done: // just now
		return a.err
	default:
	}
	u.held--
	return err
}

// release undoes one hold.
func (s *subscriptions) release(group string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.all[group]
	u.held--
	if u.held == 0 {
		s.work(group, u)
	}
}

// work has a goroutine bring a subscription up to date, unless one does. Under mu.
func (s *subscriptions) work(group string, u *subscription) {
	if !u.working {
		u.working = true
		go s.update(group, u)
	}
}

// update calls the Backplane until there is nothing left to do.
func (s *subscriptions) update(group string, u *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case u.held > 0 && !u.active:
			err := s.call("Subscribe", group, s.backplane.Subscribe)
			if err == nil {
				u.active, u.failures = true, 0
			} else {
				u.held = 0 // they learn of it
			}
			u.waiting.err = err
			close(u.waiting.done)
			u.waiting = nil
		case u.held == 0 && (u.active || u.failures > 0):
			u.active = false // who comes now waits for the next Subscribe
			if s.call("Unsubscribe", group, s.backplane.Unsubscribe) == nil {
				u.failures = 0
				continue
			}
			if u.failures++; u.failures == unsubscribeTries {
				u.failures = 0
			} else if u.held == 0 {
				u.working = false
				time.AfterFunc(unsubscribeRetry<<(u.failures-1), func() { s.again(group, u) })
				return
			}
		default:
			u.working = false
			if u.held == 0 {
				delete(s.all, group)
			}
			return
		}
	}
}

// again goes on after an Unsubscribe that failed, unless that is settled.
func (s *subscriptions) again(group string, u *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[group] == u {
		s.work(group, u)
	}
}

// call calls a method of the Backplane. Under mu, which is free meanwhile.
func (s *subscriptions) call(name, group string, f func(context.Context, string) error) error {
	s.mu.Unlock()
	defer s.mu.Lock()
	ctx, cancel := context.WithTimeout(context.Background(), backplaneTimeout)
	defer cancel()
	err := f(ctx, group)
	if err != nil {
		s.warn("group: the backplane refused", "call", name, "group", group, "error", err)
	}
	return err
}
