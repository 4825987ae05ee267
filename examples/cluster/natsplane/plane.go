// Package natsplane carries the messages of groups between processes over NATS:
// it is a [group.Backplane].
//
//	plane, err := natsplane.New("nats://127.0.0.1:4222", nil)
//	layer := &group.Layer{Backplane: plane}
//	go layer.Run(ctx)
//
// A group is a subject, of a prefix and one token: a full stop, which separates
// the tokens of NATS and may stand anywhere in a group's name, is written as a
// slash, which cannot be in one. The servers of a URL with commas are one cluster;
// a process that loses one of them goes on with another.
//
// Nothing is stored: what is sent while a process is cut off is lost to it, and
// Receive tells of a gap in all groups when it has connected and subscribed again.
// When messages came faster than they were received, and some were dropped, it
// tells of a gap in their groups, behind the messages that had come before.
package natsplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"rfc6455/conn/group"
	"rfc6455/examples/cluster/seal"
)

// Options says how messages travel. The zero value is right for a NATS of one's
// own; nil is the zero value.
type Options struct {
	// Prefix is the first tokens of each subject. The default is "group".
	Prefix string
	// Keys, if set, seals messages.
	Keys *seal.Keys
	// Offline has Subscribe succeed while there is no connection: members join
	// then, and have their group within this process until Receive tells of a gap.
	// Otherwise it fails, and so does group.Layer.Add.
	Offline bool
	// Timeout bounds connecting, and Publish. The default is 2 s.
	Timeout time.Duration
	// Keepalive is the time between two PINGs; a connection is given up when two
	// of them have no answer. The default is 3 s.
	Keepalive time.Duration
	// MaxWait bounds the random time between two attempts to connect. The default
	// is 2 s.
	MaxWait time.Duration
	// Pending is how many messages wait for Receive at most; what comes then is
	// dropped. The default is 65536.
	Pending int
	// Logger, if set, is told when the connection is lost and found.
	Logger *slog.Logger
}

// Plane is a Backplane over NATS. All methods may be called from any goroutine,
// Receive by one at a time. Close it when nothing uses it any more.
type Plane struct {
	o        Options
	nc       *nats.Conn
	messages chan *nats.Msg

	mu   sync.Mutex
	subs map[string]*subscription
	gaps chan []string // of which Receive has to tell: one list or none
}

// subscription is a group from Subscribe to Unsubscribe.
type subscription struct {
	sub     *nats.Subscription
	on      int64 // the connection that it was confirmed on; -1: none so far
	dropped int   // messages, of which Receive has told
}

var _ group.Backplane = (*Plane)(nil)

// ErrOffline: there is no connection to NATS.
var ErrOffline = errors.New("natsplane: there is no connection to NATS")

// New returns a Plane over the servers at these URLs, with commas between them. It
// connects in the background, and goes on trying.
func New(urls string, o *Options) (*Plane, error) {
	p := &Plane{subs: make(map[string]*subscription), gaps: make(chan []string, 1)}
	if o != nil {
		p.o = *o
	}
	p.o.Prefix = cmp.Or(p.o.Prefix, "group")
	p.o.Timeout = cmp.Or(p.o.Timeout, 2*time.Second)
	p.o.Keepalive = cmp.Or(p.o.Keepalive, 3*time.Second)
	p.o.MaxWait = cmp.Or(p.o.MaxWait, 2*time.Second)
	p.o.Pending = cmp.Or(p.o.Pending, 65536)
	p.messages = make(chan *nats.Msg, p.o.Pending)
	if err := checkPrefix(p.o.Prefix); err != nil {
		return nil, err
	}
	made := make(chan struct{}) // handlers may be called before Connect returns
	connected := func(*nats.Conn) {
		<-made
		p.connected()
	}
	nc, err := nats.Connect(urls,
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(p.o.MaxWait/2),
		nats.ReconnectJitter(p.o.MaxWait/2, p.o.MaxWait/2),
		nats.Timeout(p.o.Timeout),
		nats.PingInterval(p.o.Keepalive),
		nats.MaxPingsOutstanding(2),
		nats.ReconnectBufSize(-1), // what is sent while it is away fails at once
		nats.NoEcho(),             // a Layer knows its own messages
		nats.ConnectHandler(connected),
		nats.ReconnectHandler(connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { p.warn("natsplane: no connection", "error", err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			p.warn("natsplane: an error of the connection", "error", err)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("natsplane: %w", err)
	}
	p.nc = nc
	close(made)
	return p, nil
}

// Close closes the connection. It is called after Receive has returned.
func (p *Plane) Close() error {
	p.nc.Close()
	return nil
}

// checkPrefix returns an error for what cannot be the beginning of a subject.
func checkPrefix(prefix string) error {
	for token := range strings.SplitSeq(prefix, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t\r\n") {
			return fmt.Errorf("natsplane: the prefix %q is no subject", prefix)
		}
	}
	return nil
}

// subject returns that of a group.
func (p *Plane) subject(group string) string {
	return p.o.Prefix + "." + strings.ReplaceAll(group, ".", "/")
}

// group returns the one of a subject.
func (p *Plane) group(subject string) string {
	return strings.ReplaceAll(strings.TrimPrefix(subject, p.o.Prefix+"."), "/", ".")
}

// Publish returns when the server has got a message. It fails at once while there
// is no connection, and otherwise after Options.Timeout; a message that failed
// then may have been sent.
func (p *Plane) Publish(ctx context.Context, group string, m []byte) error {
	if !p.nc.IsConnected() {
		return ErrOffline
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	if err := p.nc.Publish(p.subject(group), p.o.Keys.Seal(group, m)); err != nil {
		return err
	}
	return p.nc.FlushWithContext(ctx)
}

// Subscribe returns when the server has confirmed that the messages of a group
// come: see Options.Offline for what it does without one.
func (p *Plane) Subscribe(ctx context.Context, group string) error {
	on := p.connection()
	sub, err := p.nc.ChanSubscribe(p.subject(group), p.messages)
	if err != nil {
		return err
	}
	// From here on, each new connection begins with it.
	if err := p.flush(ctx); err != nil {
		if err != ErrOffline || !p.o.Offline {
			sub.Unsubscribe()
			return err
		}
		on = -1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subs[group] = &subscription{sub: sub, on: on}
	return nil
}

// connection returns a number of the connection, which is larger for later ones.
func (p *Plane) connection() int64 { return int64(p.nc.Stats().Reconnects) }

// flush waits until the server has read everything that it was sent, and returns
// ErrOffline as soon as there is no connection.
func (p *Plane) flush(ctx context.Context) error {
	for p.nc.IsConnected() {
		// A wait that began while the connection was lost would have no end.
		flushing, cancel := context.WithTimeout(ctx, p.o.Timeout)
		err := p.nc.FlushWithContext(flushing)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return ErrOffline
}

// Unsubscribe ends that. It never fails: a connection that is lost has no
// subscriptions, and the next one leaves this one out.
func (p *Plane) Unsubscribe(_ context.Context, group string) error {
	p.mu.Lock()
	sub := p.subs[group]
	delete(p.subs, group)
	p.mu.Unlock()
	if sub != nil {
		sub.sub.Unsubscribe()
	}
	return nil
}

// connected is called when there is a connection, which has been told what to
// subscribe to.
func (p *Plane) connected() {
	if p.flush(context.Background()) != nil {
		return // lost again: the next one tells
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	on := p.connection()
	var groups []string
	for group, s := range p.subs {
		if s.on < on {
			s.on = on
			groups = append(groups, group)
		}
	}
	p.lost(groups)
}

// lost has Receive tell of a gap in these groups. Under mu.
func (p *Plane) lost(groups []string) {
	select {
	case before := <-p.gaps: // it has not been told yet
		groups = append(before, groups...)
	default:
	}
	if len(groups) > 0 {
		p.gaps <- groups
	}
}

// dropped returns the groups of which more messages have been dropped than it has
// told before. An error of NATS would not do: there is none for what is dropped
// after it, until the group has another message that is not.
func (p *Plane) dropped() (groups []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for group, s := range p.subs {
		if n, err := s.sub.Dropped(); err == nil && n > s.dropped {
			s.dropped = n
			groups = append(groups, group)
		}
	}
	return groups
}

// Receive is as [group.Backplane] says. It returns when ctx ends, and when the
// Plane is closed.
func (p *Plane) Receive(ctx context.Context, deliver func(group string, m []byte), gap func(groups ...string)) error {
	closed := p.nc.StatusChanged(nats.CLOSED)
	defer p.nc.RemoveStatusListener(closed)
	// behind is how many messages are received before the dropped ones are counted:
	// those that were there when some may have been dropped. If it is negative, none
	// have been since they were counted.
	behind := len(p.messages)
	for !p.nc.IsClosed() {
		if behind == 0 {
			if groups := p.dropped(); len(groups) > 0 {
				gap(groups...)
			}
			behind = -1
		}
		select {
		case m := <-p.messages:
			// Messages are dropped only while the channel is full, and it is full until
			// one is received: then all places but one are still taken.
			if n := len(p.messages); behind > 0 {
				behind--
			} else if n >= cap(p.messages)-1 {
				behind = n
			}
			group := p.group(m.Subject)
			if b, err := p.o.Keys.Open(group, m.Data); err == nil {
				deliver(group, b)
			} else {
				p.warn("natsplane: a message cannot be opened", "group", group, "error", err)
			}
		case groups := <-p.gaps:
			gap(groups...)
		case <-closed:
			return nats.ErrConnectionClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nats.ErrConnectionClosed
}

func (p *Plane) warn(text string, args ...any) {
	if p.o.Logger != nil {
		p.o.Logger.Warn(text, args...)
	}
}
