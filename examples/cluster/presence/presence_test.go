//go:build unix

package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/examples/chat/rooms"
	"rfc6455/examples/cluster/brokers"
)

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 60 * time.Second

// long is a time to live that no test outlasts.
const long = time.Hour

// process is the presence of one process.
type process struct {
	*Redis
	client *redis.Client
	told   chan string // by Run, as "room: +joined -left"
	see    func(rooms.Change)
	stop   func()
}

var errDown = errors.New("the cable is cut")

// start returns the presence of a process. Its entries are refreshed three times
// in ttl, and when it is told to.
func start(t *testing.T, b *brokers.Broker, ttl time.Duration) *process {
	t.Helper()
	o, err := redis.ParseURL(b.URL)
	require.NoError(t, err)
	o.MaxRetries, o.DialerRetries, o.ContextTimeoutEnabled = -1, 1, true
	p := &process{client: redis.NewClient(o), told: make(chan string, 1<<16)}
	p.Redis = New(func(string) (*redis.Client, error) { return p.client, nil }, &Options{TTL: ttl, Timeout: patience})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, func(room string, c rooms.Change) {
			if s := says(c); s != "" {
				p.told <- room + ":" + s
			}
			if p.see != nil {
				p.see(c)
			}
		})
	}()
	p.stop = sync.OnceFunc(func() {
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
		p.client.Close()
	})
	t.Cleanup(p.stop)
	return p
}

// says returns a change as " +joined -left".
func says(c rooms.Change) (s string) {
	slices.Sort(c.Joined)
	slices.Sort(c.Left)
	for _, name := range c.Joined {
		s += " +" + name
	}
	for _, name := range c.Left {
		s += " -" + name
	}
	return s
}

func (p *process) join(t *testing.T, room, name, id string) string {
	return says(p.Join(t.Context(), room, name, id))
}

func (p *process) leave(t *testing.T, room, name, id string) string {
	return says(p.Leave(t.Context(), room, name, id))
}

func (p *process) names(t *testing.T, room string) []string {
	names, _ := p.Present(t.Context(), room)
	return names
}

// next returns what Run tells next.
func (p *process) next(t *testing.T) string {
	t.Helper()
	select {
	case s := <-p.told:
		return s
	case <-time.After(patience):
		require.Fail(t, "nothing is told")
		return ""
	}
}

// A name is there while one of its connections is, wherever.
func TestJoinLeave(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	here, there := start(t, b, long), start(t, b, long)
	last := int64(0)
	for _, step := range []struct {
		p          *process
		what       func(*process, *testing.T, string, string, string) string
		room, name string
		id         string
		want       string
		present    []string
	}{
		{here, (*process).join, "one", "bob", "1", " +bob", []string{"bob"}},
		{there, (*process).join, "one", "ada", "2", " +ada", []string{"ada", "bob"}},
		{there, (*process).join, "one", "bob", "3", "", []string{"ada", "bob"}},
		{there, (*process).join, "two", "a:b +c", "4", " +a:b +c", []string{"a:b +c"}},
		{here, (*process).leave, "one", "bob", "1", "", []string{"ada", "bob"}},
		{there, (*process).leave, "one", "bob", "3", " -bob", []string{"ada"}},
		{there, (*process).leave, "one", "ada", "2", " -ada", nil},
		{there, (*process).leave, "two", "a:b +c", "4", " -a:b +c", nil},
		{here, (*process).join, "one", "ada", "5", " +ada", []string{"ada"}},
	} {
		require.Equal(t, step.want, step.what(step.p, t, step.room, step.name, step.id), "%+v", step)
		for _, p := range []*process{here, there} {
			require.Equal(t, step.present, p.names(t, step.room), "%+v", step)
		}
		if step.room == "one" && step.want != "" {
			_, order := here.Present(t.Context(), "one")
			require.Greater(t, order, last)
			last = order
		}
	}
	ttl, err := here.client.PTTL(t.Context(), "presence:{one}").Result()
	require.NoError(t, err)
	require.Positive(t, ttl, "nothing stays for ever")
}

// Of many who come and go at once, whoever came has gone exactly as often.
func TestAtOnce(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	var mu sync.Mutex
	count := map[string]int{}
	see := func(c rooms.Change) {
		mu.Lock()
		defer mu.Unlock()
		for _, name := range c.Joined {
			count[name]++
		}
		for _, name := range c.Left {
			count[name]--
		}
	}
	var wg sync.WaitGroup
	processes := []*process{start(t, b, long), start(t, b, long)}
	for i, p := range processes {
		p.see = see
		for n := range 20 {
			wg.Go(func() {
				name, id := fmt.Sprint("name-", n%5), fmt.Sprint(i, "-", n)
				for range 20 {
					see(p.Join(t.Context(), "room", name, id))
					p.Refresh()
					see(p.Leave(t.Context(), "room", name, id))
				}
			})
		}
	}
	wg.Wait()
	for _, p := range processes {
		p.stop()
	}
	require.Len(t, count, 5)
	for name, n := range count {
		assert.Zero(t, n, name)
	}
	p := start(t, b, long)
	require.Empty(t, p.names(t, "room"))
	left, err := p.client.Exists(t.Context(), "presence:{room}", "presence:{room}:names").Result()
	require.NoError(t, err)
	require.Zero(t, left)
}

// The members of a process that died leave when their entries expire, and one of
// the others tells of it, once.
func TestProcessDies(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	dies, one, two := start(t, b, time.Second), start(t, b, long), start(t, b, long)
	dies.join(t, "room", "ada", "1")
	dies.join(t, "room", "bob", "2")
	dies.join(t, "empty", "ada", "3")
	one.join(t, "room", "carl", "4")
	two.join(t, "room", "bob", "5") // there twice
	dies.stop()
	var told []string
	require.Eventually(t, func() bool {
		one.Refresh()
		two.Refresh()
		for _, p := range []*process{one, two} {
			for len(p.told) > 0 {
				told = append(told, p.next(t))
			}
		}
		return len(told) > 0
	}, patience, 10*time.Millisecond)
	for _, p := range []*process{one, two} {
		require.Equal(t, []string{"bob", "carl"}, p.names(t, "room"))
		p.stop()
		for len(p.told) > 0 {
			told = append(told, p.next(t))
		}
	}
	require.Equal(t, []string{"room: -ada"}, told)

	// A room without anybody goes as a whole.
	p := start(t, b, long)
	require.Eventually(t, func() bool {
		n, err := p.client.Exists(t.Context(), "presence:{empty}", "presence:{empty}:names", "presence:{empty}:order").Result()
		return err == nil && n == 0
	}, patience, 10*time.Millisecond)
}

// Somebody who comes back before his old entry has been swept was never away.
func TestComesBack(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	dies, other := start(t, b, time.Second), start(t, b, long)
	other.join(t, "room", "bob", "1")
	dies.join(t, "room", "ada", "2")
	dies.stop()
	o, err := redis.ParseURL(b.URL)
	require.NoError(t, err)
	c := redis.NewClient(o)
	defer c.Close()
	require.Eventually(t, func() bool {
		at, err := c.ZScore(t.Context(), "presence:{room}", "2:ada").Result()
		now := c.Time(t.Context()).Val()
		return err == nil && float64(now.UnixMilli()) > at
	}, patience, 10*time.Millisecond, "it expires")
	require.Equal(t, "", other.join(t, "room", "ada", "3"))
	require.Equal(t, []string{"ada", "bob"}, other.names(t, "room"))
	require.Equal(t, " -ada", other.leave(t, "room", "ada", "3"))
}

// While Redis is away a process knows its own members, and when it comes back
// empty, everybody puts theirs back.
func TestRedisRestarts(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	one, two := start(t, b, long), start(t, b, long)
	require.Equal(t, " +ada", one.join(t, "room", "ada", "1"))
	require.Equal(t, " +bob", two.join(t, "room", "bob", "2"))
	_, before := one.Present(t.Context(), "room")

	b.Kill(t)
	require.Equal(t, []string{"ada"}, one.names(t, "room"))
	require.Equal(t, " +carl", one.join(t, "room", "carl", "3"))
	require.Equal(t, "", one.join(t, "room", "carl", "4"))
	require.Equal(t, "", one.leave(t, "room", "carl", "4"))
	require.Equal(t, " +dora", one.join(t, "room", "dora", "5"))
	require.Equal(t, " -dora", one.leave(t, "room", "dora", "5"))
	require.Equal(t, []string{"ada", "carl"}, one.names(t, "room"))
	require.Equal(t, " -bob", two.leave(t, "room", "bob", "2"))
	require.Equal(t, " +eve", two.join(t, "room", "eve", "6"))

	b.Restart(t)
	for _, step := range []struct {
		p    *process
		want string
	}{{one, "room: +ada +carl"}, {two, "room: +eve"}} {
		require.Eventually(t, func() bool {
			step.p.Refresh() // a connection from before fails once
			return len(step.p.told) > 0
		}, patience, 10*time.Millisecond)
		require.Equal(t, step.want, step.p.next(t))
	}
	for _, p := range []*process{one, two} {
		names, order := p.Present(t.Context(), "room")
		require.Equal(t, []string{"ada", "carl", "eve"}, names)
		require.Greater(t, order, before)
	}
	require.Equal(t, " -eve", two.leave(t, "room", "eve", "6"))
}

// Redis does not answer: nobody waits longer than the timeout.
func TestRedisHangs(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	p := start(t, b, long)
	p.join(t, "room", "ada", "1")
	p.o.Timeout = 50 * time.Millisecond
	b.Stop(t)
	begun := time.Now()
	require.Equal(t, " +bob", p.join(t, "room", "bob", "2"))
	require.Equal(t, []string{"ada", "bob"}, p.names(t, "room"))
	require.Equal(t, " -bob", p.leave(t, "room", "bob", "2"))
	require.Less(t, time.Since(begun), patience/2)
	b.Continue(t)
}

// And if it is known to be out of reach, not at all.
func TestOutOfReach(t *testing.T) {
	p := process{Redis: New(func(string) (*redis.Client, error) { return nil, errDown }, nil)}
	require.Equal(t, " +ada", p.join(t, "room", "ada", "1"))
	require.Equal(t, []string{"ada"}, p.names(t, "room"))
	require.Equal(t, " -ada", p.leave(t, "room", "ada", "1"))
	require.Empty(t, p.names(t, "room"))
	_, err := p.Use(t.Context(), "ticket", time.Now(), time.Now())
	require.ErrorIs(t, err, errDown)
	require.Empty(t, p.rooms)
}

func TestTickets(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	here, there := start(t, b, long), start(t, b, long)
	now := time.Now()
	for _, step := range []struct {
		p    *process
		id   string
		want bool
	}{{here, "one", true}, {there, "one", false}, {here, "one", false}, {there, "two", true}, {here, "two", false}} {
		first, err := step.p.Use(t.Context(), step.id, now.Add(30*time.Second), now)
		require.NoError(t, err)
		require.Equal(t, step.want, first, "%+v", step)
	}
	ttl, err := here.client.PTTL(t.Context(), "presence:ticket:one").Result()
	require.NoError(t, err)
	require.Greater(t, ttl, 30*time.Second-patience)
	require.LessOrEqual(t, ttl, 90*time.Second)
	b.Kill(t)
	_, err = here.Use(t.Context(), "three", now.Add(time.Minute), now)
	require.Error(t, err)
}

// More entries than one script takes.
func TestManyMembers(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	p := start(t, b, long)
	const members = 2*batch + 1
	for n := range members {
		p.Join(t.Context(), "room", fmt.Sprint("name-", n), fmt.Sprint(n))
	}
	require.Len(t, p.names(t, "room"), members)
	require.NoError(t, p.client.FlushAll(t.Context()).Err())
	p.Refresh()
	require.Eventually(t, func() bool { return len(p.names(t, "room")) == members }, patience, 10*time.Millisecond)
}
