package group

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
)

// broker carries messages between planes, in memory and in fake time.
type broker struct {
	mu     sync.Mutex
	planes []*plane
}

// plane is one process's way to a broker: a Backplane that is as slow and as
// faulty as a test wants, and that holds its Layer to the rules.
type plane struct {
	t *testing.T
	b *broker

	// Constant. op is publish, subscribe or unsubscribe.
	delay func(op, group string) time.Duration
	fail  func(op, group string) error

	// Under b.mu.
	subs   map[string]bool // what the broker sends here
	asked  map[string]bool // what was asked for: Subscribe without Unsubscribe
	busy   map[string]bool // a call is under way
	calls  []string        // of Subscribe and Unsubscribe
	down   bool            // cut off from the broker
	events chan func(deliver func(string, []byte), gap func(...string))
}

func (b *broker) plane(t *testing.T) *plane {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &plane{
		t: t, b: b,
		delay:  func(op, group string) time.Duration { return 0 },
		fail:   func(op, group string) error { return nil },
		subs:   make(map[string]bool),
		asked:  make(map[string]bool),
		busy:   make(map[string]bool),
		events: make(chan func(func(string, []byte), func(...string)), 1<<16),
	}
	b.planes = append(b.planes, p)
	return p
}

// wait takes the time that a call takes, and returns its error.
func (p *plane) wait(ctx context.Context, op, group string) error {
	if d := p.delay(op, group); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return p.fail(op, group)
}

func (p *plane) Publish(ctx context.Context, group string, m []byte) error {
	if err := p.wait(ctx, "publish", group); err != nil {
		return err
	}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if p.down {
		return errCut
	}
	m = bytes.Clone(m)
	for _, q := range p.b.planes {
		if q.subs[group] && !q.down {
			q.events <- func(deliver func(string, []byte), _ func(...string)) { deliver(group, m) }
		}
	}
	return nil
}

func (p *plane) Subscribe(ctx context.Context, group string) error {
	p.begin("subscribe", group)
	err := p.wait(ctx, "subscribe", group)
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.busy[group] = false
	if err != nil {
		delete(p.asked, group)
		return err
	}
	p.subs[group] = true
	return nil
}

func (p *plane) Unsubscribe(ctx context.Context, group string) error {
	p.begin("unsubscribe", group)
	err := p.wait(ctx, "unsubscribe", group)
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.busy[group] = false
	if err == nil {
		delete(p.subs, group)
	}
	return err
}

// begin notes a call and holds it against the rules.
func (p *plane) begin(op, group string) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.calls = append(p.calls, op+" "+group)
	assert.False(p.t, p.busy[group], "%s of %s while another call is under way", op, group)
	p.busy[group] = true
	if op == "subscribe" {
		assert.False(p.t, p.asked[group], "%s of %s twice", op, group)
		p.asked[group] = true
		return
	}
	assert.True(p.t, p.asked[group] || p.subs[group], "%s of %s, which is not subscribed to", op, group)
	delete(p.asked, group)
}

func (p *plane) Receive(ctx context.Context, deliver func(string, []byte), gap func(...string)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case f := <-p.events:
			if f == nil {
				return errCut
			}
			f(deliver, gap)
		}
	}
}

// cut loses the way to the broker, and what is sent meanwhile.
func (p *plane) cut() {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.down = true
}

// mend finds it again. groups are those of which it tells that they had a gap.
func (p *plane) mend(groups ...string) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.down = false
	p.events <- func(_ func(string, []byte), gap func(...string)) { gap(groups...) }
}

// subscribed returns the groups whose messages the broker sends to a plane.
func (p *plane) subscribed() []string {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	groups := []string{}
	for group := range p.subs {
		groups = append(groups, group)
	}
	slices.Sort(groups)
	return groups
}

// log returns the calls of Subscribe and Unsubscribe since the last log.
func (p *plane) log() []string {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	calls := p.calls
	p.calls = nil
	return calls
}

var errCut = errors.New("the cable is cut")

// process returns a Layer that runs on a plane until the test ends.
func process(t *testing.T, b *broker) (*Layer, *plane) {
	p := b.plane(t)
	l := &Layer{Backplane: p}
	run(t, l)
	return l, p
}

// run runs a Layer until the test ends.
func run(t *testing.T, l *Layer) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		<-time.After(time.Minute) // what is under way comes to its end
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
	})
}

// slowly has the calls of an operation take a time.
func (p *plane) slowly(op string, d time.Duration) {
	delay := p.delay
	p.delay = func(o, group string) time.Duration {
		if o == op {
			return d
		}
		return delay(o, group)
	}
}

// failing has the next calls of an operation fail.
func (p *plane) failing(op string, times int) {
	fail := p.fail
	p.fail = func(o, group string) error {
		if o != op {
			return fail(o, group)
		}
		p.b.mu.Lock()
		defer p.b.mu.Unlock()
		if times == 0 {
			return nil
		}
		times--
		return errCut
	}
}

func TestBackplane(t *testing.T) {
	bubble(t, "each once", func(t *testing.T) {
		var b broker
		var layers []*Layer
		var all []*listener
		for range 3 {
			l, _ := process(t, &b)
			for range 2 {
				m := listen(t, nil)
				require.NoError(t, l.Add(t.Context(), "room", m.server))
				all = append(all, m)
			}
			layers = append(layers, l)
		}
		for i, l := range layers {
			require.NoError(t, l.Send(t.Context(), "room", conn.Text, fmt.Append(nil, "from ", i)))
			synctest.Wait()
		}
		for _, m := range all {
			require.Equal(t, []string{"from 0", "from 1", "from 2"}, m.heard())
		}
		for _, l := range layers {
			require.Equal(t, Stats{Sent: 1, Received: 2, Delivered: 6}, l.Stats())
		}
	})
	bubble(t, "the type stays", func(t *testing.T) {
		var b broker
		here, _ := process(t, &b)
		there, _ := process(t, &b)
		m := listen(t, nil)
		require.NoError(t, there.Add(t.Context(), "room", m.server))
		require.NoError(t, here.Send(t.Context(), "room", conn.Binary, []byte{0xff}))
		require.NoError(t, here.Send(t.Context(), "room", conn.Text, nil))
		require.NoError(t, here.Send(t.Context(), "room", conn.Text.Uncompressed(), []byte("x")))
		synctest.Wait()
		require.Equal(t, []string{"binary \xff", "", "x"}, m.heard())
	})
	bubble(t, "the sender gets nothing", func(t *testing.T) {
		var b broker
		here, _ := process(t, &b)
		there, _ := process(t, &b)
		sender, neighbour, far := listen(t, nil), listen(t, nil), listen(t, nil)
		require.NoError(t, here.Add(t.Context(), "room", sender.server))
		require.NoError(t, here.Add(t.Context(), "room", neighbour.server))
		require.NoError(t, there.Add(t.Context(), "room", far.server))
		require.NoError(t, here.SendExcept(t.Context(), "room", conn.Text, []byte("hello"), sender.server))
		require.NoError(t, here.SendHere("room", conn.Text, []byte("here")))
		synctest.Wait()
		require.Equal(t, []string{"here"}, sender.heard())
		require.Equal(t, []string{"hello", "here"}, neighbour.heard())
		require.Equal(t, []string{"hello"}, far.heard())
	})
	bubble(t, "in order", func(t *testing.T) {
		var b broker
		here, _ := process(t, &b)
		there, _ := process(t, &b)
		near, far := listen(t, &conn.Options{QueueMessages: -1}), listen(t, &conn.Options{QueueMessages: -1})
		require.NoError(t, here.Add(t.Context(), "room", near.server))
		require.NoError(t, there.Add(t.Context(), "room", far.server))
		var wg sync.WaitGroup
		for sender := range 4 {
			wg.Go(func() {
				for i := range 100 {
					assert.NoError(t, here.Send(t.Context(), "room", conn.Text, fmt.Appendf(nil, "%d %03d", sender, i)))
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		for _, m := range []*listener{near, far} {
			heard := m.heard()
			require.Len(t, heard, 400)
			slices.SortStableFunc(heard, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
			require.True(t, slices.IsSorted(heard))
		}
	})
}

func TestPublishFails(t *testing.T) {
	bubble(t, "error", func(t *testing.T) {
		var b broker
		here, p := process(t, &b)
		m := listen(t, nil)
		require.NoError(t, here.Add(t.Context(), "room", m.server))
		p.failing("publish", 1)
		err := here.Send(t.Context(), "room", conn.Text, []byte("hello"))
		require.ErrorIs(t, err, errCut)
		require.ErrorContains(t, err, "room")
		require.NoError(t, here.Send(t.Context(), "room", conn.Text, []byte("again")))
		synctest.Wait()
		require.Equal(t, []string{"hello", "again"}, m.heard())
	})
	bubble(t, "time", func(t *testing.T) {
		var b broker
		here, p := process(t, &b)
		m := listen(t, nil)
		require.NoError(t, here.Add(t.Context(), "room", m.server))
		p.slowly("publish", time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		before := time.Now()
		require.ErrorIs(t, here.Send(ctx, "room", conn.Text, []byte("hello")), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(before))
		require.Equal(t, []string{"hello"}, m.heard())
	})
	bubble(t, "refused before", func(t *testing.T) {
		var b broker
		here, _ := process(t, &b)
		there, _ := process(t, &b)
		m := listen(t, nil)
		require.NoError(t, there.Add(t.Context(), "room", m.server))
		require.Error(t, here.Send(t.Context(), "room", conn.Text, []byte("\xff")))
		require.Error(t, here.Send(t.Context(), "r m", conn.Text, nil))
		synctest.Wait()
		require.Empty(t, m.heard())
	})
}

// Whatever stands on a backplane, a process must not fall over it.
func TestForeignMessages(t *testing.T) {
	ours := append([]byte{envelopeVersion}, "another process."...)
	for _, test := range []struct {
		name string
		m    []byte
		want []string
		warn string
	}{
		{"nothing", nil, nil, "another form"},
		{"one byte", []byte{1}, nil, "another form"},
		{"short", ours, nil, "another form"},
		{"another version", slices.Concat([]byte{2}, ours[1:], []byte("\x01hello")), nil, "another form"},
		{"no type", slices.Concat(ours, []byte("\x00hello")), nil, "cannot be sent"},
		{"another type", slices.Concat(ours, []byte("\x08hello")), nil, "cannot be sent"},
		{"not UTF-8", slices.Concat(ours, []byte("\x01\xff")), nil, "cannot be sent"},
		{"empty text", slices.Concat(ours, []byte("\x01")), []string{""}, ""},
		{"text", slices.Concat(ours, []byte("\x01hello")), []string{"hello"}, ""},
		{"binary", slices.Concat(ours, []byte("\x02\xff")), []string{"binary \xff"}, ""},
		{"a chat about JSON", []byte(`{"type": "chat.message"}`), nil, "another form"},
	} {
		bubble(t, test.name, func(t *testing.T) {
			var b broker
			var log bytes.Buffer
			p := b.plane(t)
			l := &Layer{Backplane: p, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			run(t, l)
			m := listen(t, nil)
			require.NoError(t, l.Add(t.Context(), "room", m.server))
			foreign := b.plane(t)
			require.NoError(t, foreign.Publish(t.Context(), "room", test.m))
			synctest.Wait()
			require.Equal(t, test.want, m.heard())
			require.EqualValues(t, len(test.want), l.Stats().Received)
			require.Contains(t, log.String(), test.warn)
			if test.warn == "" {
				require.Empty(t, log.String())
			}
		})
	}
}

func TestGap(t *testing.T) {
	for _, test := range []struct {
		name  string
		named []string
		want  []string
	}{
		{"all", nil, []string{"a", "b"}},
		{"named", []string{"b"}, []string{"b"}},
		{"named, without members", []string{"b", "c", "d"}, []string{"b"}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			var b broker
			here, _ := process(t, &b)
			p := b.plane(t)
			var gaps []string
			there := &Layer{Backplane: p}
			there.Gap = func(group string) {
				gaps = append(gaps, group)
				assert.NoError(t, there.SendHere(group, conn.Text, []byte("gap")))
			}
			run(t, there)
			m, gone := listen(t, nil), listen(t, nil)
			require.NoError(t, there.Add(t.Context(), "a", m.server))
			require.NoError(t, there.Add(t.Context(), "b", m.server))
			require.NoError(t, there.Add(t.Context(), "c", gone.server))
			gone.server.CloseNow()
			synctest.Wait()

			require.NoError(t, here.Send(t.Context(), "b", conn.Text, []byte("before")))
			synctest.Wait()
			p.cut()
			require.NoError(t, here.Send(t.Context(), "b", conn.Text, []byte("lost")))
			synctest.Wait()
			p.mend(test.named...)
			synctest.Wait()
			require.NoError(t, here.Send(t.Context(), "b", conn.Text, []byte("after")))
			synctest.Wait()
			slices.Sort(gaps)
			require.Equal(t, test.want, gaps)
			want := append([]string{"before"}, slices.Repeat([]string{"gap"}, len(gaps))...)
			require.Equal(t, append(want, "after"), m.heard())
		})
	}
	bubble(t, "nobody asked", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		require.NoError(t, l.Add(t.Context(), "a", listen(t, nil).server))
		p.mend()
		synctest.Wait()
	})
}

func TestRun(t *testing.T) {
	bubble(t, "without a Backplane", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, new(Layer).Run(ctx), context.DeadlineExceeded)
	})
	bubble(t, "the Backplane gives up", func(t *testing.T) {
		var b broker
		here, _ := process(t, &b)
		p := b.plane(t)
		there := &Layer{Backplane: p}
		m := listen(t, nil)
		require.NoError(t, there.Add(t.Context(), "room", m.server))
		p.events <- nil
		require.ErrorIs(t, there.Run(t.Context()), errCut)
		require.NoError(t, here.Send(t.Context(), "room", conn.Text, []byte("hello")))
		synctest.Wait()
		require.Empty(t, m.heard())
		run(t, there)
		synctest.Wait()
		require.Equal(t, []string{"hello"}, m.heard())
	})
	bubble(t, "twice", func(t *testing.T) {
		var b broker
		l, _ := process(t, &b)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorContains(t, l.Run(ctx), "already")
	})
}

func TestSubscriptions(t *testing.T) {
	const s = time.Second
	bubble(t, "one for all members", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		one, two := listen(t, nil), listen(t, nil)
		require.NoError(t, l.Add(t.Context(), "room", one.server))
		require.NoError(t, l.Add(t.Context(), "room", one.server))
		require.NoError(t, l.Add(t.Context(), "room", two.server))
		require.Equal(t, []string{"subscribe room"}, p.log())
		l.Discard("room", one.server)
		l.Discard("room", one.server)
		l.Discard("other", two.server)
		synctest.Wait()
		require.Empty(t, p.log())
		l.Discard("room", two.server)
		synctest.Wait()
		require.Equal(t, []string{"unsubscribe room"}, p.log())
		require.NoError(t, l.Add(t.Context(), "room", two.server))
		two.server.CloseNow()
		one.server.CloseNow()
		synctest.Wait()
		require.Equal(t, []string{"subscribe room", "unsubscribe room"}, p.log())
		requireEmpty(t, l)
	})
	bubble(t, "several wait for one", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.slowly("subscribe", 3*s)
		before := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			m := listen(t, nil)
			wg.Go(func() {
				assert.NoError(t, l.Add(t.Context(), "room", m.server))
				assert.Equal(t, 3*s, time.Since(before))
			})
		}
		wg.Wait()
		require.Equal(t, 10, l.Len("room"))
		require.Equal(t, []string{"subscribe room"}, p.log())
		require.Equal(t, []string{"room"}, p.subscribed())
	})
	bubble(t, "another group does not wait", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.delay = func(op, group string) time.Duration {
			if group == "slow" {
				return 5 * s
			}
			return 0
		}
		m := listen(t, nil)
		slow := startErr(func() error { return l.Add(t.Context(), "slow", m.server) })
		before := time.Now()
		require.NoError(t, l.Add(t.Context(), "fast", m.server))
		require.NoError(t, l.Send(t.Context(), "fast", conn.Text, []byte("x")))
		require.Zero(t, time.Since(before))
		require.NoError(t, <-slow)
	})
	bubble(t, "refused", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.slowly("subscribe", s)
		p.failing("subscribe", 1)
		m, other := listen(t, nil), listen(t, nil)
		done := startErr(func() error { return l.Add(t.Context(), "room", other.server) })
		err := l.Add(t.Context(), "room", m.server)
		require.ErrorIs(t, err, errCut)
		require.ErrorContains(t, err, "room")
		require.ErrorIs(t, <-done, errCut)
		require.Zero(t, l.Len("room"))
		require.NoError(t, l.Send(t.Context(), "room", conn.Text, []byte("x")))
		require.NoError(t, l.Add(t.Context(), "room", m.server))
		require.Equal(t, []string{"subscribe room", "subscribe room"}, p.log())
		require.Equal(t, 1, l.Len("room"))
		synctest.Wait()
		require.Empty(t, m.heard())
		m.server.CloseNow()
		other.server.CloseNow()
		synctest.Wait()
		<-time.After(s)
		requireEmpty(t, l)
	})
	bubble(t, "the Backplane does not answer", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.slowly("subscribe", time.Hour)
		m := listen(t, nil)
		before := time.Now()
		require.ErrorIs(t, l.Add(t.Context(), "room", m.server), context.DeadlineExceeded)
		require.Equal(t, backplaneTimeout, time.Since(before))
		m.server.CloseNow()
		synctest.Wait()
		requireEmpty(t, l)
		require.Empty(t, p.subscribed())
	})
	bubble(t, "the context of Add ends", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.slowly("subscribe", 3*s)
		ctx, cancel := context.WithTimeout(t.Context(), s)
		defer cancel()
		m, patient := listen(t, nil), listen(t, nil)
		require.ErrorIs(t, l.Add(ctx, "room", m.server), context.DeadlineExceeded)
		require.Zero(t, l.Len("room"))
		require.NoError(t, l.Add(t.Context(), "room", patient.server))
		require.ErrorIs(t, l.Add(ctx, "never", m.server), context.DeadlineExceeded)
		ctx, cancel = context.WithTimeout(t.Context(), s)
		defer cancel()
		require.ErrorIs(t, l.Add(ctx, "other", m.server), context.DeadlineExceeded)
		<-time.After(10 * s)
		require.Equal(t, []string{"room"}, p.subscribed())
		require.Equal(t, []string{"subscribe room", "subscribe other", "unsubscribe other"}, p.log())
		require.Equal(t, []string{"room"}, l.Groups())
	})
	bubble(t, "the context of Add ends as Subscribe does", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.slowly("subscribe", s) // so that both wait for the same call
		m, patient := listen(t, nil), listen(t, nil)
		for i := range 100 {
			var want error
			if i%2 == 0 {
				want = errCut
				p.failing("subscribe", 1)
			}
			ctx := lateContext{t.Context(), make(chan struct{})}
			done := startErr(func() error { return l.Add(ctx, "room", m.server) })
			require.ErrorIs(t, l.Add(t.Context(), "room", patient.server), want)
			close(ctx.looked)
			require.ErrorIs(t, <-done, want)
			require.Equal(t, want == nil, slices.Contains(l.Members("room"), m.server))
			l.Discard("room", m.server)
			l.Discard("room", patient.server)
			synctest.Wait()
			require.Empty(t, p.subscribed())
			require.Empty(t, l.subs.all)
		}
	})
	bubble(t, "the connection ends as Subscribe does", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		for range 100 {
			m := listen(t, nil)
			p.fail = func(op, group string) error { return m.server.CloseNow() }
			err := l.Add(t.Context(), "room", m.server)
			require.ErrorIs(t, err, context.Cause(m.server.Context()))
			synctest.Wait()
			require.Empty(t, p.subscribed())
			requireEmpty(t, l)
		}
	})
	bubble(t, "one Add of two fails", func(t *testing.T) {
		for _, first := range []bool{true, false} {
			var b broker
			l, p := process(t, &b)
			p.slowly("subscribe", 3*s)
			short, cancel := context.WithTimeout(t.Context(), s)
			defer cancel()
			m := listen(t, nil)
			ctxs := []context.Context{t.Context(), short}
			if first {
				slices.Reverse(ctxs)
			}
			one := startErr(func() error { return l.Add(ctxs[0], "room", m.server) })
			synctest.Wait()
			two := startErr(func() error { return l.Add(ctxs[1], "room", m.server) })
			errs := []error{<-one, <-two}
			if first {
				slices.Reverse(errs)
			}
			require.NoError(t, errs[0])
			require.ErrorIs(t, errs[1], context.DeadlineExceeded)
			require.Equal(t, 1, l.Len("room"), "the Add that returned nil counts")
			require.Equal(t, []string{"room"}, p.subscribed())

			// It is there, so this has nothing to wait for.
			cancel()
			require.NoError(t, l.Add(short, "room", m.server))
			require.Equal(t, 1, l.Len("room"))
		}
	})
	bubble(t, "Discard during Add", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.slowly("subscribe", s)
		m := listen(t, nil)
		done := startErr(func() error { return l.Add(t.Context(), "room", m.server) })
		synctest.Wait()
		l.Discard("room", m.server)
		require.NoError(t, <-done)
		require.Equal(t, []string{"subscribe room"}, p.log())
		l.Discard("room", m.server)
		synctest.Wait()
		require.Zero(t, l.Len("room"))
		require.Empty(t, p.subscribed())
	})
	bubble(t, "the connection ends during Add", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.slowly("subscribe", 3*s)
		m := listen(t, nil)
		before := time.Now()
		time.AfterFunc(s, func() { m.server.CloseNow() })
		require.Error(t, l.Add(t.Context(), "room", m.server))
		require.Equal(t, s, time.Since(before))
		<-time.After(10 * s)
		require.Equal(t, []string{"subscribe room", "unsubscribe room"}, p.log())
		require.Empty(t, p.subscribed())
		requireEmpty(t, l)
	})
	bubble(t, "Add while the last one leaves", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.slowly("unsubscribe", 3*s)
		m := listen(t, nil)
		require.NoError(t, l.Add(t.Context(), "room", m.server))
		l.Discard("room", m.server)
		synctest.Wait()
		before := time.Now()
		require.NoError(t, l.Add(t.Context(), "room", m.server))
		require.Equal(t, 3*s, time.Since(before))
		require.Equal(t, []string{"subscribe room", "unsubscribe room", "subscribe room"}, p.log())
		require.Equal(t, []string{"room"}, p.subscribed())
	})
	bubble(t, "Unsubscribe fails", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.failing("unsubscribe", 3)
		m := listen(t, nil)
		require.NoError(t, l.Add(t.Context(), "room", m.server))
		m.server.CloseNow()
		<-time.After(time.Minute)
		require.Equal(t, append([]string{"subscribe room"}, slices.Repeat([]string{"unsubscribe room"}, 4)...), p.log())
		require.Empty(t, p.subscribed())
		requireEmpty(t, l)
	})
	bubble(t, "Unsubscribe fails, and a member comes", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.failing("unsubscribe", 1)
		m := listen(t, nil)
		require.NoError(t, l.Add(t.Context(), "room", m.server))
		l.Discard("room", m.server)
		synctest.Wait()
		before := time.Now()
		require.NoError(t, l.Add(t.Context(), "room", m.server))
		require.Zero(t, time.Since(before))
		<-time.After(time.Minute)
		require.Equal(t, []string{"subscribe room", "unsubscribe room", "subscribe room"}, p.log())
		require.Equal(t, []string{"room"}, p.subscribed())
	})
	bubble(t, "a member comes, then Unsubscribe fails", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.slowly("unsubscribe", 3*s)
		p.failing("unsubscribe", 1)
		m := listen(t, nil)
		require.NoError(t, l.Add(t.Context(), "room", m.server))
		l.Discard("room", m.server)
		before := time.Now()
		<-time.After(s)
		require.NoError(t, l.Add(t.Context(), "room", m.server))
		require.Equal(t, 3*s, time.Since(before))
		require.Equal(t, []string{"subscribe room", "unsubscribe room", "subscribe room"}, p.log())
		require.Equal(t, []string{"room"}, p.subscribed())
	})
	bubble(t, "Unsubscribe fails, and Subscribe after it", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.failing("unsubscribe", 1)
		m := listen(t, nil)
		require.NoError(t, l.Add(t.Context(), "room", m.server))
		l.Discard("room", m.server)
		synctest.Wait()
		p.failing("subscribe", 1)
		require.ErrorIs(t, l.Add(t.Context(), "room", m.server), errCut)
		synctest.Wait()
		require.Equal(t, []string{"subscribe room", "unsubscribe room", "subscribe room", "unsubscribe room"}, p.log())
		require.Empty(t, p.subscribed())
	})
	bubble(t, "Unsubscribe always fails", func(t *testing.T) {
		var b broker
		l, p := process(t, &b)
		p.failing("unsubscribe", -1)
		m := listen(t, nil)
		require.NoError(t, l.Add(t.Context(), "room", m.server))
		m.server.CloseNow()
		<-time.After(time.Hour)
		requireEmpty(t, l)
		require.Less(t, len(p.log()), 20)
	})
}

// lateContext is a context that has ended, which is seen late.
type lateContext struct {
	context.Context
	looked chan struct{}
}

func (c lateContext) Done() <-chan struct{} {
	<-c.looked
	return c.looked
}

func (c lateContext) Err() error { return context.Canceled }

// Connections of several processes come, go and end at random, over a broker that
// is slow and fails at random. Afterwards everything must be as if it had not.
func TestBackplaneChurn(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, fmt.Sprint("slow/seed=", seed), func(t *testing.T) { churn(t, seed, true, 15) })
		bubble(t, fmt.Sprint("fast/seed=", seed), func(t *testing.T) { churn(t, seed, false, 100) })
	}
}

func churn(t *testing.T, seed uint64, slow bool, rounds int) {
	var b broker
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 6455))
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	calm := false
	groups := []string{"a", "b", "c"}
	var layers []*Layer
	var planes []*plane
	for range 3 {
		p := b.plane(t)
		p.delay = func(op, group string) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			if calm || !slow || rnd.IntN(3) == 0 {
				return 0
			}
			if rnd.IntN(30) == 0 {
				return 2 * backplaneTimeout
			}
			return time.Duration(rnd.Int64N(int64(2 * time.Second)))
		}
		p.fail = func(op, group string) error {
			mu.Lock()
			defer mu.Unlock()
			if !calm && rnd.IntN(5) == 0 {
				return errCut
			}
			return nil
		}
		l := &Layer{Backplane: p, Gap: func(string) {}}
		run(t, l)
		layers, planes = append(layers, l), append(planes, p)
	}

	// Each connection knows where it must be in the end.
	type state struct {
		m     *listener
		layer *Layer
		in    map[string]bool
		over  bool
	}
	var states []*state
	var wg sync.WaitGroup
	for i := range 12 {
		s := &state{listen(t, nil), layers[i%3], map[string]bool{}, false}
		states = append(states, s)
		wg.Go(func() {
			for range rounds {
				group := groups[roll(3)]
				switch roll(10) {
				case 0, 1, 2, 3:
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(roll(5000))*time.Millisecond)
					// Twice at the same time, now and then.
					extra := startErr(func() error {
						if roll(3) > 0 {
							return errCut
						}
						return s.layer.Add(t.Context(), group, s.m.server)
					})
					err := s.layer.Add(ctx, group, s.m.server)
					if err2 := <-extra; err == nil || err2 == nil {
						s.in[group] = true
					}
					cancel()
				case 4, 5, 6:
					s.layer.Discard(group, s.m.server)
					s.in[group] = false
				case 7, 8:
					s.layer.Send(t.Context(), group, conn.Text, []byte("noise"))
				case 9:
					<-time.After(time.Duration(roll(3000)) * time.Millisecond)
				}
			}
			if roll(4) == 0 {
				s.over = true
				s.m.server.CloseNow()
				clear(s.in)
			}
		})
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for range 5 {
			<-time.After(time.Duration(roll(3000)) * time.Millisecond)
			p := planes[roll(3)]
			p.cut()
			<-time.After(time.Second)
			p.mend()
		}
	}()
	wg.Wait()
	mu.Lock()
	calm = true
	mu.Unlock()
	<-time.After(5 * time.Minute)

	for i, l := range layers {
		want := []string{}
		for _, group := range groups {
			n := 0
			for _, s := range states {
				if s.layer == l && s.in[group] {
					n++
				}
			}
			require.Equal(t, n, l.Len(group), "%s in process %d", group, i)
			if n > 0 {
				want = append(want, group)
			}
		}
		require.Equal(t, want, planes[i].subscribed(), "process %d", i)
	}
	for _, s := range states {
		s.m.heard()
	}
	for i, l := range layers {
		for _, group := range groups {
			require.NoError(t, l.Send(t.Context(), group, conn.Text, fmt.Append(nil, group, i)))
		}
	}
	synctest.Wait()
	for i, s := range states {
		var want []string
		for _, group := range groups {
			for j := range layers {
				if s.in[group] {
					want = append(want, fmt.Sprint(group, j))
				}
			}
		}
		heard := s.m.heard()
		slices.Sort(heard)
		require.Equal(t, want, heard, "connection %d", i)
		s.m.server.CloseNow()
	}
	<-time.After(5 * time.Minute)
	for i, l := range layers {
		requireEmpty(t, l)
		require.Empty(t, planes[i].subscribed())
	}
}
