package load

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for descriptors, edge-triggered. An event carries an index.
type poller struct {
	fd     int
	spin   bool
	events []unix.EpollEvent
}

func newPoller(spin bool) (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("load: epoll_create1: %w", err)
	}
	return &poller{fd: fd, spin: spin, events: make([]unix.EpollEvent, 1024)}, nil
}

// add watches fd for input and room for output, under an index.
func (p *poller) add(fd, index int) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(index)}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("load: epoll_ctl: %w", err)
	}
	return nil
}

// wait returns events, none if the timeout is over.
func (p *poller) wait(timeout time.Duration) ([]unix.EpollEvent, error) {
	deadline := time.Now().Add(timeout)
	for {
		left := int(max(0, timeout+time.Millisecond-1) / time.Millisecond)
		if p.spin {
			left = 0
		}
		n, err := unix.EpollWait(p.fd, p.events, left)
		if timeout = time.Until(deadline); err == unix.EINTR || p.spin && err == nil && n == 0 && timeout > 0 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("load: epoll_wait: %w", err)
		}
		return p.events[:n], nil
	}
}

// run calls handle with the index of each event, for a time at least and until
// r.Count is at least count. The server must not do nothing for as long as
// patience.
func (p *poller) run(d time.Duration, count int64, patience time.Duration, r *Result, handle func(i int) error) error {
	start := time.Now()
	now, last := start, start // last is when something came
	for now.Sub(start) < d || r.Count < count {
		timeout := last.Add(patience).Sub(now)
		if r.Count >= count {
			timeout = min(timeout, start.Add(d).Sub(now))
		}
		events, err := p.wait(timeout)
		if err != nil {
			return err
		}
		now = time.Now()
		if len(events) > 0 {
			last = now
		} else if now.Sub(last) >= patience {
			return errPatience(patience)
		}
		for _, e := range events {
			if err := handle(int(e.Fd)); err != nil {
				return fmt.Errorf("%w (connection %d)", err, e.Fd)
			}
		}
	}
	r.Elapsed = time.Since(start)
	return nil
}

func (p *poller) close() { unix.Close(p.fd) }
