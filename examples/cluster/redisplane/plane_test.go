//go:build unix

package redisplane

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/examples/cluster/brokers"
	"rfc6455/examples/cluster/seal"
)

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 60 * time.Second

// bounded returns a context that lives as long as the test's patience.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// process is a Plane that receives, as a process has one.
type process struct {
	*Plane
	got  chan string // "group: message"
	gaps chan string // groups
}

// start returns a Plane over hosts that receives until the test ends.
func start(t *testing.T, o Options, hosts ...*brokers.Broker) *process {
	t.Helper()
	p := idle(t, o, hosts...)
	p.run(t)
	return p
}

// idle is start without receiving.
func idle(t *testing.T, o Options, hosts ...*brokers.Broker) *process {
	t.Helper()
	urls := make([]string, len(hosts))
	for i, b := range hosts {
		urls[i] = b.URL
	}
	o.Keepalive = cmp.Or(o.Keepalive, patience) // on a busy machine nobody is given up
	o.Timeout = cmp.Or(o.Timeout, patience)
	o.MaxWait = 100 * time.Millisecond
	plane, err := New(urls, &o)
	require.NoError(t, err)
	t.Cleanup(func() { plane.Close() })
	return &process{plane, make(chan string, 1<<16), make(chan string, 1<<16)}
}

// run receives until the returned function is called, or the test ends.
func (p *process) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Receive(ctx, func(group string, m []byte) { p.got <- group + ": " + string(m) }, func(groups ...string) {
			assert.NotEmpty(t, groups)
			for _, group := range groups {
				p.gaps <- group
			}
		})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	})
	t.Cleanup(stop)
	return stop
}

func (p *process) subscribe(t *testing.T, groups ...string) {
	t.Helper()
	for _, group := range groups {
		require.NoError(t, p.Subscribe(bounded(t), group))
	}
}

func (p *process) publish(t *testing.T, group, m string) {
	t.Helper()
	require.NoError(t, p.Publish(bounded(t), group, []byte(m)))
}

// next returns what comes next from a channel.
func next(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-bounded(t).Done():
		require.Fail(t, "nothing comes")
		return ""
	}
}

// hasGaps waits for gaps of exactly these groups, in any order.
func (p *process) hasGaps(t *testing.T, groups ...string) {
	t.Helper()
	var got []string
	for range groups {
		got = append(got, next(t, p.gaps))
	}
	require.ElementsMatch(t, groups, got)
}

// client returns a client of a broker of its own.
func client(t *testing.T, b *brokers.Broker) *redis.Client {
	o, err := redis.ParseURL(b.URL)
	require.NoError(t, err)
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// subscribers waits until a channel has so many.
func subscribers(t *testing.T, c *redis.Client, channel string, n int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		got, err := c.PubSubNumSub(t.Context(), channel).Result()
		return err == nil && got[channel] == n
	}, patience, 10*time.Millisecond)
}

// publishing publishes until Redis takes it: a connection may be from before.
func (p *process) publishing(t *testing.T, group, m string) {
	t.Helper()
	require.Eventually(t, func() bool { return p.Publish(t.Context(), group, []byte(m)) == nil }, patience, 10*time.Millisecond)
}

func TestDelivery(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	var all []*process
	for range 3 {
		p := start(t, Options{}, b)
		p.subscribe(t, "room", "other")
		all = append(all, p)
	}
	const each = 200
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() {
			for n := range each {
				assert.NoError(t, p.Publish(bounded(t), "room", fmt.Appendf(nil, "%d %03d", i, n)))
			}
		})
	}
	wg.Wait()
	all[0].publish(t, "other", "\x00\xff binary \r\n")
	all[0].publish(t, "nobody", "is here")
	for _, p := range all {
		var got []string
		for range 3 * each {
			got = append(got, next(t, p.got))
		}
		slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(a[:7], b[:7]) })
		require.True(t, slices.IsSorted(got), "in the order of each sender")
		require.Len(t, slices.Compact(got), 3*each, "each once")
		require.Equal(t, "other: \x00\xff binary \r\n", next(t, p.got))
		require.Empty(t, p.got)
		require.Empty(t, p.gaps)
	}
}

// Subscribe has been confirmed when it returns, and Unsubscribe ends it.
func TestSubscribe(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	p, c := start(t, Options{Prefix: "x:"}, b), client(t, b)
	for range 100 {
		p.subscribe(t, "room")
		n, err := c.Publish(t.Context(), "x:room", "hello").Result()
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		require.Equal(t, "room: hello", next(t, p.got))
		require.NoError(t, p.Unsubscribe(bounded(t), "room"))
	}
	subscribers(t, c, "x:room", 0)
	require.Empty(t, p.gaps)
}

// A Subscribe that returned an error has changed nothing.
func TestSubscribeEnds(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	c := client(t, b)
	t.Run("before anything is received", func(t *testing.T) {
		p := idle(t, Options{Offline: true}, b)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, p.Subscribe(ctx, "room"), context.DeadlineExceeded)
		p.run(t)
		p.subscribe(t, "other") // goes the same way
		subscribers(t, c, "group:room", 0)
	})
	t.Run("while Redis does not answer", func(t *testing.T) {
		p := start(t, Options{}, b)
		p.subscribe(t, "first")
		b.Stop(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := p.Subscribe(ctx, "room")
		b.Continue(t)
		require.Error(t, err)
		p.subscribe(t, "room")
		subscribers(t, c, "group:room", 1)
		require.NoError(t, p.Unsubscribe(bounded(t), "room"))
		subscribers(t, c, "group:room", 0)
	})
}

// Redis is killed and comes back: what is published meanwhile fails at once, and
// then everything is as it was, but for what was missed.
func TestRestart(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	strict, lenient := start(t, Options{}, b), start(t, Options{Offline: true}, b)
	strict.subscribe(t, "room", "quiet")
	lenient.subscribe(t, "room")
	for range 3 {
		b.Kill(t)
		for _, p := range []*process{strict, lenient} {
			require.Eventually(t, func() bool { _, err := p.Reach("room"); return err != nil }, patience, 10*time.Millisecond)
			begun := time.Now()
			for range 100 {
				require.Error(t, p.Publish(bounded(t), "room", []byte("lost")))
			}
			require.Less(t, time.Since(begun), patience/2)
		}
		require.Error(t, strict.Subscribe(bounded(t), "new"))
		require.NoError(t, lenient.Subscribe(bounded(t), "new"))
		require.NoError(t, lenient.Subscribe(bounded(t), "gone"))
		require.NoError(t, lenient.Unsubscribe(bounded(t), "gone"))

		b.Restart(t)
		strict.hasGaps(t, "room", "quiet")
		lenient.hasGaps(t, "room", "new")
		strict.publishing(t, "room", "again")
		strict.publish(t, "new", "news")
		require.Equal(t, "room: again", next(t, strict.got))
		require.Equal(t, "room: again", next(t, lenient.got))
		require.Equal(t, "new: news", next(t, lenient.got))
		require.NoError(t, lenient.Unsubscribe(bounded(t), "new"))
		c := client(t, b)
		subscribers(t, c, "group:new", 0)
		subscribers(t, c, "group:gone", 0)
	}
	require.Empty(t, strict.got)
	require.Empty(t, strict.gaps)
	require.Empty(t, lenient.gaps)
}

// A Subscribe gives up waiting for Redis at the moment at which its group is
// subscribed to: what came between is a gap.
func TestOfflineWhileConnecting(t *testing.T) {
	h := newHost("host", &redis.Options{}, &Options{Offline: true})
	defer h.client.Close()
	h.ended(t.Context(), false, assert.AnError)
	early, late := &subscription{settled: make(chan struct{})}, &subscription{settled: make(chan struct{})}
	h.subs["early"], h.subs["late"] = early, late
	l := &link{h: h, has: map[string]bool{}, owed: map[string]int{}}
	more, fewer, _, up := h.next(l)
	require.ElementsMatch(t, []string{"early", "late"}, more)
	require.Empty(t, fewer)
	require.False(t, up)

	require.NoError(t, h.await(t.Context(), early, h.downed))
	l.confirmed("early")
	l.confirmed("late")
	_, _, gaps, up := h.next(l)
	require.True(t, up)
	require.Equal(t, []string{"early"}, gaps)
	require.NoError(t, h.await(t.Context(), late, h.downed))

	l = &link{h: h, has: map[string]bool{}, owed: map[string]int{}}
	h.next(l)
	_, _, gaps, _ = h.next(l)
	require.ElementsMatch(t, []string{"early", "late"}, gaps, "and with the next one both")
}

// Redis does not answer, and its connections stay open.
func TestDeadPeer(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	p := start(t, Options{Timeout: 200 * time.Millisecond, Keepalive: 200 * time.Millisecond}, b)
	for p.Subscribe(bounded(t), "room") != nil {
		// Even a host that is well may take longer than that.
	}
	b.Stop(t)
	require.Error(t, p.Publish(bounded(t), "room", []byte("lost")))
	require.Eventually(t, func() bool { _, err := p.Reach("room"); return err != nil }, patience, 10*time.Millisecond, "PING has no answer")
	b.Continue(t)
	p.hasGaps(t, "room")
	p.publishing(t, "room", "again")
	for next(t, p.got) != "room: again" {
		// "lost" may come as well: it was on its way.
	}
}

// A connection that Redis cuts off, as it does with a slow one, is made again.
func TestCutOff(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	p, c := start(t, Options{}, b), client(t, b)
	var groups []string
	for n := range 3 * batch {
		groups = append(groups, fmt.Sprint("room-", n))
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(groups, 100) {
		wg.Go(func() {
			for _, group := range part {
				assert.NoError(t, p.Subscribe(bounded(t), group))
			}
		})
	}
	wg.Wait()
	for range 3 {
		require.NoError(t, c.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err())
		p.hasGaps(t, groups...)
		for range 10 {
			group := groups[rand.IntN(len(groups))]
			p.publish(t, group, "hello")
			require.Equal(t, group+": hello", next(t, p.got))
		}
	}
	require.Empty(t, p.gaps)
}

// Groups come and go while connections break: in the end exactly what was asked
// for is subscribed to.
func TestChurn(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	p, c := start(t, Options{Offline: true}, b), client(t, b)
	done := make(chan struct{})
	cutting := make(chan int)
	go func() {
		times := 0
		for {
			select {
			case <-done:
				cutting <- times
				return
			default:
				n, err := c.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Result()
				assert.NoError(t, err)
				times += int(n)
			}
		}
	}()
	var wg sync.WaitGroup
	var want []string
	for n := range 40 {
		group := fmt.Sprint("room-", n)
		if n%2 == 0 {
			want = append(want, "group:"+group)
		}
		wg.Go(func() {
			for range 30 {
				assert.NoError(t, p.Subscribe(bounded(t), group))
				assert.NoError(t, p.Unsubscribe(bounded(t), group))
			}
			if n%2 == 0 {
				assert.NoError(t, p.Subscribe(bounded(t), group))
			}
		})
	}
	wg.Wait()
	close(done)
	assert.Positive(t, <-cutting)
	slices.Sort(want)
	require.Eventually(t, func() bool {
		got, err := c.PubSubChannels(t.Context(), "*").Result()
		slices.Sort(got)
		return err == nil && slices.Equal(want, got)
	}, patience, 10*time.Millisecond)
}

// Receive may be called again, and what came between is a gap.
func TestReceiveAgain(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	p := idle(t, Options{}, b)
	stop := p.run(t)
	p.subscribe(t, "room")
	stop()
	subscribers(t, client(t, b), "group:room", 0)
	p.publish(t, "room", "lost")
	p.run(t)
	p.hasGaps(t, "room")
	p.publish(t, "room", "hello")
	require.Equal(t, "room: hello", next(t, p.got))
}

// Each group is on one of two hosts. When one is killed, the other's do not notice.
func TestTwoHosts(t *testing.T) {
	brokers.NoLeaks(t)
	one, two := brokers.Redis(t), brokers.Redis(t)
	here, there := start(t, Options{}, one, two), start(t, Options{}, two, one)
	on := map[string][]string{}
	for n := range 40 {
		group := fmt.Sprint("room-", n)
		at := here.host(group).name
		require.Equal(t, at, there.host(group).name, "in whatever order")
		on[at] = append(on[at], group)
		there.subscribe(t, group)
	}
	ones, twos := on[one.Addr+"/0"], on[two.Addr+"/0"]
	require.NotEmpty(t, ones)
	require.NotEmpty(t, twos)
	for _, side := range []struct {
		broker *brokers.Broker
		groups []string
	}{{one, ones}, {two, twos}} {
		channels, err := client(t, side.broker).PubSubChannels(t.Context(), "*").Result()
		require.NoError(t, err)
		require.Len(t, channels, len(side.groups))
	}

	one.Kill(t)
	require.Eventually(t, func() bool { _, err := here.Reach(ones[0]); return err != nil }, patience, 10*time.Millisecond)
	for _, group := range twos {
		here.publish(t, group, "hello")
		require.Equal(t, group+": hello", next(t, there.got))
	}
	for n := 0; ; n++ {
		if group := fmt.Sprint("more-", n); here.host(group).name == two.Addr+"/0" {
			there.subscribe(t, group)
			break
		}
	}
}

// A group on a host that is not killed goes on, without a gap.
func TestOneOfTwoHostsRestarts(t *testing.T) {
	brokers.NoLeaks(t)
	one, two := brokers.Redis(t), brokers.Redis(t)
	p := start(t, Options{}, one, two)
	var ones, twos []string
	for n := 0; len(ones) < 3 || len(twos) < 3; n++ {
		group := fmt.Sprint("room-", n)
		if p.host(group).name == one.Addr+"/0" {
			ones = append(ones, group)
		} else {
			twos = append(twos, group)
		}
		p.subscribe(t, group)
	}
	one.Kill(t)
	one.Restart(t)
	p.hasGaps(t, ones...)
	for _, group := range append(ones, twos...) {
		p.publishing(t, group, "hello")
		require.Equal(t, group+": hello", next(t, p.got))
	}
	require.Empty(t, p.gaps)
}

// What travels is sealed, and what was not sealed for the group is not delivered.
func TestSealed(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	old, now := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	keys := func(all ...[]byte) *seal.Keys {
		k, err := seal.New(all...)
		require.NoError(t, err)
		return k
	}
	first, second, open := start(t, Options{Keys: keys(old, now)}, b), start(t, Options{Keys: keys(now, old)}, b), start(t, Options{}, b)
	for _, p := range []*process{first, second, open} {
		p.subscribe(t, "room", "other")
	}
	for _, p := range []*process{first, second} {
		p.publish(t, "room", "a secret")
		require.Equal(t, "room: a secret", next(t, first.got))
		require.Equal(t, "room: a secret", next(t, second.got))
		travels := next(t, open.got)
		require.NotContains(t, travels, "secret")
		// Somebody at the broker sends it elsewhere, and changes it.
		travels = strings.TrimPrefix(travels, "room: ")
		open.publish(t, "other", travels)
		open.publish(t, "room", travels[:20]+string(travels[20]^1)+travels[21:])
		open.publish(t, "room", "not sealed")
		for range 3 {
			next(t, open.got)
		}
	}
	first.publish(t, "other", "the end")
	require.Equal(t, "other: the end", next(t, first.got), "and nothing before it")
	require.Equal(t, "other: the end", next(t, second.got))
}

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name string
		urls []string
		says string
	}{
		{"none", nil, "no host"},
		{"another scheme", []string{"http://127.0.0.1"}, "host 1"},
		{"no URL", []string{"redis://127.0.0.1", "redis://:hush hush@x:y"}, "host 2"},
		{"twice", []string{"redis://127.0.0.1", "redis://:secret@127.0.0.1:6379/0"}, "named twice"},
	} {
		_, err := New(tt.urls, nil)
		require.ErrorContains(t, err, tt.says, tt.name)
		require.NotContains(t, err.Error(), "hush")
	}
	p, err := New([]string{"redis://127.0.0.1", "redis://127.0.0.1/1", "rediss://example.com", "unix:///run/redis.sock?db=2"}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"127.0.0.1:6379/0", "127.0.0.1:6379/1", "example.com:6379/0", "/run/redis.sock/2"}, p.names)
	require.NoError(t, p.Close())
}
