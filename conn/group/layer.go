package group

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"rfc6455/conn"
)

// Layer knows which connections are in which groups and sends messages to them.
// The zero value serves one process; its exported fields are set before the
// first call and stay. All methods may be called from any goroutine.
type Layer struct {
	// Backplane, if set, joins the groups of this process with those of others.
	// Run must be running then.
	Backplane Backplane
	// Gap, if set, is called when messages of a group from other processes may
	// have been lost, once for each group with members here. It may call Send, or
	// SendHere to tell the members.
	Gap func(group string)
	// Logger, if set, is told of what the Backplane could not do.
	Logger *slog.Logger

	once    sync.Once
	id      [16]byte // of this process, in its messages
	members *members[*conn.Conn]
	subs    *subscriptions // nil without a Backplane
	running atomic.Bool

	sent, delivered, dropped, received atomic.Int64
}

var errName = errors.New("group: a group's name is 1 to 99 of the characters A-Z a-z 0-9 . _ -")

// CheckName returns an error for what cannot be the name of a group: a name is 1
// to 99 of the characters A-Z, a-z, 0-9, full stop, underscore and hyphen.
func CheckName(group string) error {
	ok := 1 <= len(group) && len(group) <= 99
	for i := 0; i < len(group) && ok; i++ {
		c := group[i]
		ok = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if ok {
		return nil
	}
	if len(group) > 99 {
		return fmt.Errorf("%w: %q... has %d", errName, group[:20], len(group))
	}
	return fmt.Errorf("%w: not %q", errName, group)
}

func (l *Layer) init() {
	l.once.Do(func() {
		rand.Read(l.id[:])
		l.members = newMembers[*conn.Conn]()
		if l.Backplane != nil {
			l.subs = &subscriptions{backplane: l.Backplane, warn: l.warn, all: make(map[string]*subscription)}
		}
	})
}

// Add puts a connection into a group, where it stays until Discard or its end.
// Adding it twice is harmless. With a Backplane it returns when messages of other
// processes come, too, or with an error if they do not; ctx bounds that. After an
// error it has not put the connection into the group.
func (l *Layer) Add(ctx context.Context, group string, c *conn.Conn) error {
	if err := CheckName(group); err != nil {
		return err
	}
	l.init()
	if err := context.Cause(c.Context()); err != nil {
		return overError(err)
	}
	// Every membership holds its group's subscription once.
	if l.subs != nil {
		if err := l.subs.hold(ctx, c.Context(), group); err != nil {
			if over := context.Cause(c.Context()); over != nil {
				return overError(over)
			}
			return fmt.Errorf("group: %s is not joined with other processes: %w", group, err)
		}
	}
	added, unknown := l.members.add(group, c)
	if !added {
		l.release(group)
	}
	if unknown {
		context.AfterFunc(c.Context(), func() { l.leave(c) })
	}
	if err := context.Cause(c.Context()); err != nil {
		return overError(err) // and it leaves, or has left
	}
	return nil
}

func overError(err error) error { return fmt.Errorf("group: the connection is over: %w", err) }

// leave takes a connection that has ended out of all its groups.
func (l *Layer) leave(c *conn.Conn) {
	for _, group := range l.members.forget(c) {
		l.release(group)
	}
}

// Discard takes a connection out of a group. A message that is being sent at
// that moment may still reach it. It is harmless if the connection is not there.
func (l *Layer) Discard(group string, c *conn.Conn) {
	l.init()
	if l.members.remove(group, c) {
		l.release(group)
	}
}

func (l *Layer) release(group string) {
	if l.subs != nil {
		l.subs.release(group)
	}
}

// Send sends a message to all members of a group, in all processes. It never
// waits for a member: each has the queue of [conn.Conn.Send] with its policy, and
// what a full queue costs is counted, not an error. p is copied, and is encoded
// and compressed once. The messages of one goroutine reach each member in order.
//
// The error says that the name is wrong, that a text message is not UTF-8, or
// that the Backplane could not publish, which ctx bounds: the members in this
// process have got the message then.
func (l *Layer) Send(ctx context.Context, group string, t conn.MessageType, p []byte) error {
	return l.SendExcept(ctx, group, t, p, nil)
}

// SendExcept is Send for all members but one, the sender for instance.
func (l *Layer) SendExcept(ctx context.Context, group string, t conn.MessageType, p []byte, except *conn.Conn) error {
	if err := l.send(group, t, p, except); err != nil {
		return err
	}
	if l.Backplane == nil {
		return nil
	}
	b := append(make([]byte, 0, envelopeHeader+len(p)), envelopeVersion)
	b = append(b, l.id[:]...)
	b = append(b, byte(t))
	b = append(b, p...)
	if err := l.Backplane.Publish(ctx, group, b); err != nil {
		return fmt.Errorf("group: message to %s did not reach other processes: %w", group, err)
	}
	return nil
}

// SendHere is Send to the members in this process alone.
func (l *Layer) SendHere(group string, t conn.MessageType, p []byte) error {
	return l.send(group, t, p, nil)
}

func (l *Layer) send(group string, t conn.MessageType, p []byte, except *conn.Conn) error {
	if err := CheckName(group); err != nil {
		return err
	}
	m, err := conn.Prepare(t, p)
	if err != nil {
		return err
	}
	l.init()
	l.sent.Add(1)
	l.deliver(group, m, except)
	return nil
}

// snapshots lends the memory for the members of a group while they are sent a
// message.
var snapshots = sync.Pool{New: func() any { return new([]*conn.Conn) }}

// deliver queues a message for the members in this process.
func (l *Layer) deliver(group string, m *conn.Prepared, except *conn.Conn) {
	snapshot := snapshots.Get().(*[]*conn.Conn)
	all := l.members.of((*snapshot)[:0], group)
	delivered, dropped := int64(0), int64(0)
	for _, c := range all {
		if c == except {
			continue
		}
		if c.SendPrepared(m) == nil {
			delivered++
		} else {
			dropped++
		}
	}
	clear(all)
	*snapshot = all[:0]
	snapshots.Put(snapshot)
	l.delivered.Add(delivered)
	l.dropped.Add(dropped)
}

// Len returns how many members a group has in this process.
func (l *Layer) Len(group string) int {
	l.init()
	return l.members.size(group)
}

// Groups returns the groups that have members in this process, in no order.
func (l *Layer) Groups() []string {
	l.init()
	return l.members.names()
}

// Members returns the members of a group in this process, in no order.
func (l *Layer) Members(group string) []*conn.Conn {
	l.init()
	return l.members.of(nil, group)
}

// Stats are counts since the beginning.
type Stats struct {
	Sent      int64 // messages given to Send here
	Received  int64 // messages of other processes
	Delivered int64 // messages queued for a member
	Dropped   int64 // messages that a member's queue did not take, or whose connection was over
}

// Stats returns the counts so far. What DropOldest and a maximum age drop later
// is in the Stats of the connections.
func (l *Layer) Stats() Stats {
	return Stats{
		Sent:      l.sent.Load(),
		Received:  l.received.Load(),
		Delivered: l.delivered.Load(),
		Dropped:   l.dropped.Load(),
	}
}

// Run receives what other processes send, until ctx ends or the Backplane cannot
// go on, whose error it returns; it may be called again then. Without a Backplane
// it waits for ctx.
func (l *Layer) Run(ctx context.Context) error {
	l.init()
	if l.Backplane == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	if !l.running.CompareAndSwap(false, true) {
		return errors.New("group: Run is running already")
	}
	defer l.running.Store(false)
	return l.Backplane.Receive(ctx, l.receive, l.gap)
}

// receive delivers a message of another process.
func (l *Layer) receive(group string, b []byte) {
	if len(b) < envelopeHeader || b[0] != envelopeVersion {
		l.warn("group: a message on the backplane has another form", "group", group, "bytes", len(b))
		return
	}
	if [16]byte(b[1:17]) == l.id {
		return
	}
	m, err := conn.Prepare(conn.MessageType(b[17]), b[envelopeHeader:])
	if err != nil {
		l.warn("group: a message on the backplane cannot be sent", "group", group, "error", err)
		return
	}
	l.received.Add(1)
	l.deliver(group, m, nil)
}

func (l *Layer) gap(groups ...string) {
	if l.Gap == nil {
		return
	}
	if len(groups) == 0 {
		groups = l.members.names()
	}
	for _, group := range groups {
		if l.members.size(group) > 0 {
			l.Gap(group)
		}
	}
}

func (l *Layer) warn(text string, args ...any) {
	if l.Logger != nil {
		l.Logger.Warn(text, args...)
	}
}
