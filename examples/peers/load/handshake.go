package load

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Handshakes is a load of opening handshakes: connect, upgrade, close, again.
type Handshakes struct {
	t      *target
	poller *poller
	conns  []handshake
	begun  bool
}

// handshake is one connection.
type handshake struct {
	fd     int // -1: none
	sent   int
	buf    [maxResponse]byte
	got    int
	origin time.Time
}

// NewHandshakes makes ready for o.Conns handshakes at the same time.
func NewHandshakes(o Options) (*Handshakes, error) {
	t, err := newTarget(o, "/echo")
	if err != nil {
		return nil, err
	}
	h := &Handshakes{t: t, conns: make([]handshake, max(o.Conns, 1))}
	for i := range h.conns {
		h.conns[i].fd = -1
	}
	h.poller, err = newPoller(o.Spin)
	return h, err
}

// Close ends the connections.
func (h *Handshakes) Close() {
	for i := range h.conns {
		if h.conns[i].fd >= 0 {
			unix.Close(h.conns[i].fd)
		}
	}
	h.poller.close()
}

// Run shakes hands for a time, or longer, until it has done so once. It leaves
// the last ones for the next Run; after an error there is none.
func (h *Handshakes) Run(d time.Duration) (*Result, error) {
	r := new(Result)
	if !h.begun {
		h.begun = true
		for i := range h.conns {
			if err := h.begin(i, time.Now()); err != nil {
				return nil, err
			}
		}
	}
	err := h.poller.run(d, 1, h.t.patience, r, func(i int) error { return h.handle(i, r) })
	return r, err
}

// begin connects again.
func (h *Handshakes) begin(i int, now time.Time) error {
	fd, err := h.t.open()
	if err != nil {
		return err
	}
	c := &h.conns[i]
	c.fd, c.sent, c.got, c.origin = fd, 0, 0, now
	return h.poller.add(fd, i)
}

// handle does what can be done on a connection.
func (h *Handshakes) handle(i int, r *Result) error {
	c := &h.conns[i]
	if c.sent < len(h.t.request) {
		n, err := write(c.fd, h.t.request[c.sent:])
		if err != nil {
			return err
		}
		if c.sent += n; c.sent < len(h.t.request) {
			return nil
		}
	}
	n, err := read(c.fd, c.buf[c.got:])
	if err != nil {
		return err
	}
	c.got += n
	end, err := checkResponse(c.buf[:c.got])
	if err != nil || end == 0 {
		return err
	}
	if end < c.got {
		return errors.New("load: more than the response came")
	}
	unix.Close(c.fd)
	c.fd = -1
	now := time.Now()
	r.Count++
	r.Latency.add(now.Sub(c.origin), 1)
	return h.begin(i, now)
}
