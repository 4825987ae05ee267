// Package presence knows who is in which room over all processes that share a
// Redis: it is a rooms.Presence. It also knows there which tickets have been used.
//
// # In Redis
//
// A room has an entry for each connection, which its process refreshes while the
// connection lives. An entry that is not refreshed expires, so that the members of
// a process that died leave, at the latest after [Options.TTL] and a third: every
// process with members in the room looks for such entries when it refreshes its
// own, and the one that finds them tells the room. Small scripts make each change
// at once, so that exactly one process learns that a name is the first or the last
// one. The keys of a room expire when nobody refreshes them.
//
// # Without Redis
//
// Nothing fails, and nothing waits longer than Options.Timeout. While Redis is out
// of reach, those present are the members of this process, and it tells of its own
// changes alone. When Redis is there again, even if it has lost everything, each
// process puts its members back, at once after [Redis.Refresh], and tells of those
// who were not there.
//
// Names are not sealed: whoever can read Redis sees who is in which room.
package presence

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"rfc6455/examples/chat/rooms"
)

//go:embed change.lua
var changeSource string

//go:embed present.lua
var presentSource string

var (
	change  = redis.NewScript(changeSource)
	present = redis.NewScript(presentSource)
)

// Options says how entries are kept. The zero value is right for production; nil
// is the zero value.
type Options struct {
	// Prefix comes before each key. The default is "presence:".
	Prefix string
	// TTL is how long an entry lives without being refreshed, which it is three
	// times as often. The default is 30 s.
	TTL time.Duration
	// Timeout bounds each call. The default is 1 s.
	Timeout time.Duration
	// Logger, if set, is told of what could not be done.
	Logger *slog.Logger
}

// Redis is a rooms.Presence and a rooms.Tickets. Its methods may be called from
// any goroutine.
type Redis struct {
	o     Options
	reach func(room string) (*redis.Client, error)
	wake  chan struct{} // see Refresh

	mu    sync.Mutex
	rooms map[string]*room // those with members of this process
}

// room is what this process knows of a room: its own members.
type room struct {
	names map[string]string // by id
	// refreshing, if not nil, is closed when the entries that were there at some
	// moment are all written: who leaves meanwhile would be put back.
	refreshing chan struct{}
}

var (
	_ rooms.Presence = (*Redis)(nil)
	_ rooms.Tickets  = (*Redis)(nil)
)

// New returns a Redis over whichever host reach returns for a room, by a client
// that minds the deadlines of contexts (ContextTimeoutEnabled). reach returns
// an error at once if the host is known to be out of reach; Reach of a
// redisplane.Plane does.
func New(reach func(room string) (*redis.Client, error), o *Options) *Redis {
	p := &Redis{reach: reach, wake: make(chan struct{}, 1), rooms: make(map[string]*room)}
	if o != nil {
		p.o = *o
	}
	p.o.Prefix = cmp.Or(p.o.Prefix, "presence:")
	p.o.TTL = cmp.Or(p.o.TTL, 30*time.Second)
	p.o.Timeout = cmp.Or(p.o.Timeout, time.Second)
	return p
}

// Join says that a connection has come into a room.
func (p *Redis) Join(ctx context.Context, roomName, name, id string) rooms.Change {
	p.mu.Lock()
	r := p.rooms[roomName]
	if r == nil {
		r = &room{names: make(map[string]string)}
		p.rooms[roomName] = r
	}
	first := !r.has(name)
	r.names[id] = name
	p.mu.Unlock()

	c, err := p.change(ctx, roomName, "join", entry(id, name))
	if err != nil && first {
		c.Joined = []string{name}
	}
	return c
}

// Leave says that one has gone.
func (p *Redis) Leave(ctx context.Context, roomName, name, id string) rooms.Change {
	p.mu.Lock()
	r := p.rooms[roomName]
	delete(r.names, id)
	last := !r.has(name)
	if len(r.names) == 0 {
		delete(p.rooms, roomName)
	}
	refreshing := r.refreshing
	p.mu.Unlock()

	if refreshing != nil {
		waiting, cancel := context.WithTimeout(ctx, p.o.Timeout)
		select {
		case <-refreshing:
		case <-waiting.Done():
		}
		cancel()
	}
	c, err := p.change(ctx, roomName, "leave", entry(id, name))
	if err != nil && last {
		c.Left = []string{name} // its entry expires
	}
	return c
}

// has reports whether a name is there. Under mu.
func (r *room) has(name string) bool {
	for _, n := range r.names {
		if n == name {
			return true
		}
	}
	return false
}

func entry(id, name string) string { return id + ":" + name }

// Present returns the names in a room: those of this process while Redis is out of
// reach.
func (p *Redis) Present(ctx context.Context, roomName string) (names []string, order int64) {
	names, order, err := p.present(ctx, roomName)
	if err != nil {
		p.warn("presence: only the members of this process are known", "room", roomName, "error", err)
		p.mu.Lock()
		if r := p.rooms[roomName]; r != nil {
			names = slices.Collect(maps.Values(r.names))
		}
		p.mu.Unlock()
	}
	slices.Sort(names)
	return slices.Compact(names), order
}

// Run refreshes the entries of this process and sweeps those that have expired,
// until ctx ends.
func (p *Redis) Run(ctx context.Context, tell func(room string, c rooms.Change)) error {
	tick := time.NewTicker(p.o.TTL / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-p.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		p.mu.Lock()
		names := slices.Collect(maps.Keys(p.rooms))
		p.mu.Unlock()
		// A few at a time: a host that does not answer must not keep those of the
		// others waiting until they expire.
		var wg sync.WaitGroup
		limit := make(chan struct{}, 16)
		for _, name := range names {
			limit <- struct{}{}
			wg.Go(func() {
				defer func() { <-limit }()
				p.refresh(ctx, name, tell)
			})
		}
		wg.Wait()
	}
}

// Refresh has Run refresh everything now: Redis may have been away, and have lost
// everything.
func (p *Redis) Refresh() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// batch is how many entries one script handles at most: nobody else gets an
// answer of Redis meanwhile.
const batch = 500

// refresh refreshes the entries of a room.
func (p *Redis) refresh(ctx context.Context, roomName string, tell func(string, rooms.Change)) {
	p.mu.Lock()
	r := p.rooms[roomName]
	if r == nil {
		p.mu.Unlock()
		return
	}
	var entries []string
	for id, name := range r.names {
		entries = append(entries, entry(id, name))
	}
	done := make(chan struct{})
	r.refreshing = done
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		r.refreshing = nil
		p.mu.Unlock()
		close(done)
	}()
	for some := range slices.Chunk(entries, batch) {
		c, err := p.change(ctx, roomName, "join", some...)
		if err != nil {
			return
		}
		tell(roomName, c)
	}
}

// change runs the script of that name.
func (p *Redis) change(ctx context.Context, roomName, what string, entries ...string) (c rooms.Change, err error) {
	args := []any{p.o.TTL.Milliseconds(), what}
	for _, e := range entries {
		args = append(args, e)
	}
	reply, err := p.run(ctx, change, roomName, args...)
	if err == nil && len(reply) != 3 {
		err = errReply
	}
	if err != nil {
		p.warn("presence: a change is not known to the others", "room", roomName, "change", what, "error", err)
		return c, err
	}
	c.Joined, c.Left = texts(reply[1]), texts(reply[2])
	c.Order, err = order(reply[0])
	return c, err
}

func (p *Redis) present(ctx context.Context, roomName string) (names []string, at int64, err error) {
	reply, err := p.run(ctx, present, roomName)
	if err == nil && len(reply) != 2 {
		err = errReply
	}
	if err != nil {
		return nil, 0, err
	}
	at, err = order(reply[0])
	return texts(reply[1]), at, err
}

var errReply = errors.New("presence: Redis has answered something else")

// run runs a script on the keys of a room.
func (p *Redis) run(ctx context.Context, script *redis.Script, roomName string, args ...any) ([]any, error) {
	client, err := p.reach(roomName)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	key := p.o.Prefix + "{" + roomName + "}"
	return script.Run(ctx, client, []string{key, key + ":names", key + ":order"}, args...).Slice()
}

func order(reply any) (int64, error) {
	s, _ := reply.(string)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, errReply
	}
	return n, nil
}

// texts returns the strings of an array.
func texts(reply any) (all []string) {
	list, _ := reply.([]any)
	for _, v := range list {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// Use reports whether this is the first time, in all processes, that a ticket is
// used. It fails while Redis is out of reach: nobody is let in with it then.
func (p *Redis) Use(ctx context.Context, id string, until, now time.Time) (first bool, err error) {
	client, err := p.reach(id)
	if err != nil {
		return false, fmt.Errorf("presence: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	// A minute longer than it is good for: clocks differ.
	return client.SetNX(ctx, p.o.Prefix+"ticket:"+id, "", until.Sub(now)+time.Minute).Result()
}

func (p *Redis) warn(text string, args ...any) {
	if p.o.Logger != nil {
		p.o.Logger.Warn(text, args...)
	}
}
