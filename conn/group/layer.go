package group

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

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
	members *members[*member]

	mu    sync.Mutex
	conns map[*conn.Conn]*member
	subs  map[string]*subscription

	sent, delivered, dropped, received atomic.Int64
}

// member is a connection that is, or was, in a group.
type member struct {
	c *conn.Conn

	mu     sync.Mutex
	groups map[string]struct{}
	gone   bool
}

// Errors of names. See [CheckName].
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
		l.members = newMembers[*member]()
		l.conns = make(map[*conn.Conn]*member)
		l.subs = make(map[string]*subscription)
	})
}

// Add puts a connection into a group, where it stays until Discard or its end.
// Adding it twice is harmless. With a Backplane it returns when messages of other
// processes come, too, or with an error if they do not; the connection is not in
// the group then. ctx bounds that.
func (l *Layer) Add(ctx context.Context, group string, c *conn.Conn) error {
	if err := CheckName(group); err != nil {
		return err
	}
	l.init()
	m := l.member(c)
	m.mu.Lock()
	if m.gone {
		m.mu.Unlock()
		return fmt.Errorf("group: the connection is over: %w", context.Cause(c.Context()))
	}
	m.groups[group] = struct{}{}
	l.members.add(group, m)
	m.mu.Unlock()
	if l.Backplane == nil {
		return nil
	}
	if err := l.subscribed(ctx, group); err != nil {
		l.discard(group, m)
		return fmt.Errorf("group: %s is not joined with other processes: %w", group, err)
	}
	return nil
}

// member returns what is known of a connection. It is forgotten when the
// connection ends.
func (l *Layer) member(c *conn.Conn) *member {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.conns[c]
	if m == nil {
		m = &member{c: c, groups: make(map[string]struct{}, 1)}
		l.conns[c] = m
		context.AfterFunc(c.Context(), func() { l.leave(m) })
	}
	return m
}

// leave takes a connection that has ended out of all its groups.
func (l *Layer) leave(m *member) {
	l.mu.Lock()
	delete(l.conns, m.c)
	l.mu.Unlock()
	m.mu.Lock()
	m.gone = true
	groups := m.groups
	m.groups = nil
	m.mu.Unlock()
	for group := range groups {
		if _, last := l.members.remove(group, m); last {
			l.unwanted(group)
		}
	}
}

// Discard takes a connection out of a group. A message that is being sent at
// that moment may still reach it. It is harmless if the connection is not there.
func (l *Layer) Discard(group string, c *conn.Conn) {
	l.init()
	l.mu.Lock()
	m := l.conns[c]
	l.mu.Unlock()
	if m != nil {
		l.discard(group, m)
	}
}

func (l *Layer) discard(group string, m *member) {
	m.mu.Lock()
	delete(m.groups, group)
	_, last := l.members.remove(group, m)
	m.mu.Unlock()
	if last {
		l.unwanted(group)
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
var snapshots = sync.Pool{New: func() any { return new([]*member) }}

// deliver queues a message for the members in this process.
func (l *Layer) deliver(group string, m *conn.Prepared, except *conn.Conn) {
	snapshot := snapshots.Get().(*[]*member)
	all := l.members.of((*snapshot)[:0], group)
	delivered, dropped := int64(0), int64(0)
	for _, member := range all {
		if member.c == except {
			continue
		}
		if member.c.SendPrepared(m) == nil {
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
	all := l.members.of(nil, group)
	conns := make([]*conn.Conn, len(all))
	for i, m := range all {
		conns[i] = m.c
	}
	return conns
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
// go on, whose error it returns. Without a Backplane it waits for ctx.
func (l *Layer) Run(ctx context.Context) error {
	l.init()
	if l.Backplane == nil {
		<-ctx.Done()
		return ctx.Err()
	}
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

// subscription is what is being done about a group on the Backplane. It exists
// while the group is subscribed to, or somebody works on that.
type subscription struct {
	working bool          // a goroutine brings it up to date
	active  bool          // the Backplane has it
	changed chan struct{} // closed when the work is done, and made anew
	err     error         // of the last work
}

// backplaneTimeout bounds one attempt to subscribe or unsubscribe.
const backplaneTimeout = 10 * time.Second

// subscribed waits until a group with members is subscribed to.
func (l *Layer) subscribed(ctx context.Context, group string) error {
	for {
		l.mu.Lock()
		s := l.subs[group]
		if s != nil && s.active && !s.working {
			l.mu.Unlock()
			return nil
		}
		s = l.work(group)
		changed := s.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		l.mu.Lock()
		err, active := s.err, s.active
		l.mu.Unlock()
		if err != nil {
			return err
		}
		if active {
			return nil
		}
	}
}

// unwanted is called when a group has lost its last member.
func (l *Layer) unwanted(group string) {
	if l.Backplane == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.subs[group]; s != nil && !s.working {
		l.work(group)
	}
}

// work has a goroutine bring a group's subscription up to date, unless one does.
// Under mu.
func (l *Layer) work(group string) *subscription {
	s := l.subs[group]
	if s == nil {
		s = &subscription{}
		l.subs[group] = s
	}
	if !s.working {
		s.working = true
		s.changed = make(chan struct{})
		go l.update(group, s)
	}
	return s
}

// update subscribes to a group while it has members, and unsubscribes when it has
// none.
func (l *Layer) update(group string, s *subscription) {
	for {
		l.mu.Lock()
		wanted := l.members.size(group) > 0
		if wanted == s.active || s.err != nil {
			s.working = false
			if !s.active {
				delete(l.subs, group)
			}
			close(s.changed)
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), backplaneTimeout)
		var err error
		if wanted {
			err = l.Backplane.Subscribe(ctx, group)
		} else {
			err = l.Backplane.Unsubscribe(ctx, group)
		}
		cancel()
		if err != nil {
			l.warn("group: the backplane refused", "group", group, "subscribe", wanted, "error", err)
		}
		l.mu.Lock()
		if wanted {
			s.err = err
			s.active = err == nil
		} else {
			s.active = false // whatever became of it: a new member subscribes again
		}
		l.mu.Unlock()
	}
}
