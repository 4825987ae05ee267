//go:build unix

package natsplane

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
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

// start returns a Plane that receives until the test ends.
func start(t *testing.T, o Options, b *brokers.Broker) *process {
	t.Helper()
	p := idle(t, o, b)
	p.run(t, nil)
	return p
}

// idle is start without receiving.
func idle(t *testing.T, o Options, b *brokers.Broker) *process {
	t.Helper()
	o.Keepalive = cmp.Or(o.Keepalive, patience) // on a busy machine nobody is given up
	o.Timeout = cmp.Or(o.Timeout, patience)
	o.MaxWait = 100 * time.Millisecond
	plane, err := New(b.URL, &o)
	require.NoError(t, err)
	t.Cleanup(func() { plane.Close() })
	return &process{plane, make(chan string, 1<<16), make(chan string, 1<<16)}
}

// run receives until the test ends. Each message waits for gate, if there is one.
func (p *process) run(t *testing.T, gate <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Receive(ctx, func(group string, m []byte) {
			if gate != nil {
				<-gate
			}
			p.got <- group + ": " + string(m)
		}, func(groups ...string) {
			assert.NotEmpty(t, groups)
			for _, group := range groups {
				p.gaps <- group
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	})
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

// online waits until a process has a connection, or has none.
func (p *process) online(t *testing.T, want bool) {
	t.Helper()
	require.Eventually(t, func() bool { return p.nc.IsConnected() == want }, patience, 10*time.Millisecond)
}

func TestDelivery(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.NATS(t)
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
	for i, p := range all {
		var got []string
		for range 2 * each { // a Plane does not hear itself
			got = append(got, next(t, p.got))
		}
		slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(a[:7], b[:7]) })
		require.True(t, slices.IsSorted(got), "in the order of each sender")
		require.Len(t, slices.Compact(got), 2*each, "each once")
		all[(i+1)%3].publish(t, "other", "\x00\xff binary \r\n")
		require.Equal(t, "other: \x00\xff binary \r\n", next(t, p.got))
		require.NoError(t, p.Unsubscribe(bounded(t), "other"))
		require.NoError(t, p.flush(bounded(t)))
	}
	for _, p := range all {
		for len(p.got) > 0 {
			require.Equal(t, "other: \x00\xff binary \r\n", next(t, p.got))
		}
		require.Empty(t, p.gaps)
	}
}

// Groups whose names NATS would read as something else are kept apart.
func TestNames(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.NATS(t)
	here, there := start(t, Options{Prefix: "chat.v1"}, b), start(t, Options{Prefix: "chat.v1"}, b)
	elsewhere := start(t, Options{Prefix: "chat"}, b)
	names := []string{"a", "a.b", "a..b", ".", "..", ".a", "a.", "-", "_", "A", strings.Repeat(".", 99), "v1.a"}
	there.subscribe(t, names...)
	elsewhere.subscribe(t, names...)
	for _, name := range names {
		here.publish(t, name, "hello "+name)
		require.Equal(t, name+": hello "+name, next(t, there.got))
	}
	require.Empty(t, elsewhere.got)
}

func TestSubject(t *testing.T) {
	p := &Plane{o: Options{Prefix: "group"}}
	for group, want := range map[string]string{
		"a": "group.a", "a.b": "group.a/b", ".": "group./", "a..b": "group.a//b", "group.a": "group.group/a", "_-": "group._-",
	} {
		require.Equal(t, want, p.subject(group))
		require.Equal(t, group, p.group(want))
		require.Equal(t, 2, len(strings.Split(want, ".")), "one token")
	}
}

// The server is killed and comes back: what is published meanwhile fails at once,
// and then everything is as it was, but for what was missed.
func TestRestart(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.NATS(t)
	strict, lenient := start(t, Options{}, b), start(t, Options{Offline: true}, b)
	strict.subscribe(t, "room", "quiet")
	lenient.subscribe(t, "room")
	for range 3 {
		b.Kill(t)
		for _, p := range []*process{strict, lenient} {
			p.online(t, false)
			for range 100 {
				require.ErrorIs(t, p.Publish(bounded(t), "room", []byte("lost")), ErrOffline)
			}
		}
		require.ErrorIs(t, strict.Subscribe(bounded(t), "new"), ErrOffline)
		require.NoError(t, lenient.Subscribe(bounded(t), "new"))
		require.NoError(t, lenient.Subscribe(bounded(t), "gone"))
		require.NoError(t, lenient.Unsubscribe(bounded(t), "gone"))

		b.Restart(t)
		strict.hasGaps(t, "room", "quiet")
		lenient.hasGaps(t, "room", "new")
		strict.publish(t, "gone", "to nobody")
		strict.publish(t, "new", "news")
		require.Equal(t, "new: news", next(t, lenient.got))
		strict.publish(t, "room", "again")
		require.Equal(t, "room: again", next(t, lenient.got))
		lenient.publish(t, "new", "to nobody")
		lenient.publish(t, "room", "again")
		require.Equal(t, "room: again", next(t, strict.got))
		require.NoError(t, lenient.Unsubscribe(bounded(t), "new"))
	}
	require.Empty(t, strict.gaps)
	require.Empty(t, lenient.gaps)
}

// There is no server at first.
func TestLateServer(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.NATS(t)
	b.Kill(t)
	strict, lenient := start(t, Options{}, b), start(t, Options{Offline: true}, b)
	require.ErrorIs(t, strict.Subscribe(bounded(t), "room"), ErrOffline)
	require.NoError(t, lenient.Subscribe(bounded(t), "room"))
	b.Restart(t)
	lenient.hasGaps(t, "room")
	strict.online(t, true)
	strict.subscribe(t, "room")
	lenient.publish(t, "room", "hello")
	require.Equal(t, "room: hello", next(t, strict.got))
	strict.publish(t, "room", "hello")
	require.Equal(t, "room: hello", next(t, lenient.got))
	require.Empty(t, strict.gaps)
}

// The server does not answer, and its connections stay open.
func TestDeadPeer(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.NATS(t)
	p := start(t, Options{Timeout: 200 * time.Millisecond, Keepalive: 100 * time.Millisecond}, b)
	other := start(t, Options{}, b)
	for p.Subscribe(bounded(t), "room") != nil {
		// Even a server that is well may take longer than that.
	}
	b.Stop(t)
	require.Error(t, p.Publish(bounded(t), "room", []byte("lost")))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Error(t, other.Subscribe(ctx, "room"))
	p.online(t, false)
	b.Continue(t)
	p.hasGaps(t, "room")
	require.Eventually(t, func() bool { return other.Publish(t.Context(), "room", []byte("again")) == nil }, patience, 10*time.Millisecond)
	require.Equal(t, "room: again", next(t, p.got))
	require.Empty(t, other.got, "its Subscribe has failed")
}

// What is not received in time is dropped, and that is a gap.
func TestSlowConsumer(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.NATS(t)
	slow, other := idle(t, Options{Pending: 3}, b), start(t, Options{}, b)
	gate := make(chan struct{})
	slow.run(t, gate)
	slow.subscribe(t, "room", "quiet")
	for n := range 10 {
		other.publish(t, "room", fmt.Sprint(n))
	}
	require.NoError(t, slow.flush(bounded(t)), "everything has come, or been dropped")
	close(gate)
	require.Equal(t, "room", next(t, slow.gaps))
	require.Equal(t, "room: 0", next(t, slow.got))
	other.publish(t, "quiet", "the end")
	for next(t, slow.got) != "quiet: the end" {
	}
	require.Empty(t, slow.gaps)
}

// Each loss is told of behind what had come before it, in order: also one after
// another one was told of, and one after which nothing comes.
func TestLossAfterLoss(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.NATS(t)
	slow, other := idle(t, Options{Pending: 3}, b), start(t, Options{}, b)
	slow.subscribe(t, "room", "quiet")
	n := 0
	publish := func(groups ...string) {
		for _, group := range groups {
			other.publish(t, group, fmt.Sprint(n))
			n++
		}
		require.NoError(t, slow.flush(bounded(t)), "everything has come, or been dropped")
	}
	ctx, cancel := context.WithCancel(context.Background())
	events, goOn, ended := make(chan string), make(chan struct{}), make(chan error, 1)
	event := func(text string) {
		select {
		case events <- text:
		case <-ctx.Done():
			return
		}
		select {
		case <-goOn:
		case <-ctx.Done():
		}
	}
	publish("room", "room", "room", "room", "room") // 3 and 4 are dropped
	go func() {
		ended <- slow.Receive(ctx, func(group string, m []byte) {
			event(group + ": " + string(m))
		}, func(groups ...string) {
			slices.Sort(groups)
			event("gap: " + strings.Join(groups, " "))
		})
	}()
	t.Cleanup(func() {
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	})
	for _, tt := range []struct {
		event     string
		meanwhile []string // what is published before Receive goes on
	}{
		{"room: 0", []string{"room", "room"}}, // 6 is dropped
		{"room: 1", []string{"room"}},
		{"room: 2", []string{"room", "room"}},             // 9 is dropped
		{"gap: room", []string{"room", "quiet", "quiet"}}, // while the queue is full: all are dropped
		{"room: 5", nil},
		{"room: 7", nil},
		{"room: 8", nil},
		{"gap: quiet room", []string{"room", "room", "room", "quiet"}}, // 16 is dropped
		{"room: 13", nil},
		{"room: 14", nil},
		{"room: 15", nil},
		{"gap: quiet", []string{"room"}},
		{"room: 17", []string{"quiet"}},
		{"quiet: 18", nil},
	} {
		require.Equal(t, tt.event, next(t, events))
		publish(tt.meanwhile...)
		goOn <- struct{}{}
	}
}

// A loss is told of by the Receive that comes to it, if the one before has ended.
func TestLossBetweenTwo(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.NATS(t)
	slow, other := idle(t, Options{Pending: 3}, b), start(t, Options{}, b)
	slow.subscribe(t, "room")
	for n := range 5 {
		other.publish(t, "room", fmt.Sprint(n))
	}
	require.NoError(t, slow.flush(bounded(t)), "everything has come, or been dropped")
	var got []string
	for len(got) < 4 {
		ctx, cancel := context.WithCancel(bounded(t))
		err := slow.Receive(ctx, func(_ string, m []byte) {
			got = append(got, string(m))
			cancel()
		}, func(groups ...string) {
			got = append(got, "gap: "+strings.Join(groups, " "))
			cancel()
		})
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Equal(t, []string{"0", "1", "2", "gap: room"}, got)
}

func TestSealed(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.NATS(t)
	keys, err := seal.New(bytes.Repeat([]byte{1}, 32))
	require.NoError(t, err)
	here, there, open := start(t, Options{Keys: keys}, b), start(t, Options{Keys: keys}, b), start(t, Options{}, b)
	for _, p := range []*process{there, open} {
		p.subscribe(t, "room", "other")
	}
	here.publish(t, "room", "a secret")
	require.Equal(t, "room: a secret", next(t, there.got))
	travels := next(t, open.got)
	require.NotContains(t, travels, "secret")
	open.publish(t, "other", strings.TrimPrefix(travels, "room: "))
	open.publish(t, "other", "not sealed")
	here.publish(t, "other", "the end")
	require.Equal(t, "other: the end", next(t, there.got), "and nothing before it")
}

// Receive ends with the connection.
func TestClose(t *testing.T) {
	brokers.NoLeaks(t)
	p := idle(t, Options{Offline: true}, brokers.NATS(t))
	ended := make(chan error, 1)
	go func() { ended <- p.Receive(t.Context(), nil, nil) }()
	p.subscribe(t, "room")
	require.NoError(t, p.Close())
	require.ErrorIs(t, <-ended, nats.ErrConnectionClosed)
	require.Error(t, p.Subscribe(t.Context(), "other"))
	require.Error(t, p.Publish(t.Context(), "other", nil))
	require.ErrorIs(t, p.Receive(t.Context(), nil, nil), nats.ErrConnectionClosed)
}

func TestNew(t *testing.T) {
	for _, prefix := range []string{".", "a.", ".a", "a..b", "*", "a.>", "a b", "a\n"} {
		_, err := New("nats://127.0.0.1:1", &Options{Prefix: prefix})
		require.ErrorContains(t, err, "is no subject", prefix)
	}
}
