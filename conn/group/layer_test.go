package group

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// bubble runs f in a synctest bubble: in fake time.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// startErr runs f in a goroutine.
func startErr(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// listener is a connection in memory whose client notes what comes.
type listener struct {
	client, server *conn.Conn

	mu       sync.Mutex
	messages []string
}

// listen returns a listener. o are the options of the server, and of the client
// with respect to compression.
func listen(t testing.TB, o *conn.Options) *listener {
	var co conn.Options
	if o != nil {
		co.Compression = o.Compression
	}
	m := &listener{}
	m.client, m.server = conn.Pipe(&co, o)
	for _, c := range []*conn.Conn{m.client, m.server} {
		go func() {
			for {
				typ, p, err := c.Read(context.Background())
				if err != nil {
					return
				}
				text := string(p)
				if typ != conn.Text {
					text = typ.String() + " " + text
				}
				m.mu.Lock()
				m.messages = append(m.messages, text)
				m.mu.Unlock()
			}
		}()
	}
	t.Cleanup(func() {
		m.client.CloseNow()
		m.server.CloseNow()
	})
	return m
}

// heard returns what came since the last time, once nothing more comes.
func (m *listener) heard() []string {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	messages := m.messages
	m.messages = nil
	return messages
}

// deaf is a transport that takes no byte.
type deaf struct {
	closed chan struct{}
	once   sync.Once
}

func (d *deaf) Read([]byte) (int, error) {
	<-d.closed
	return 0, io.EOF
}

func (d *deaf) Write([]byte) (int, error) {
	<-d.closed
	return 0, net.ErrClosed
}

func (d *deaf) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// slow returns a connection whose peer takes nothing.
func slow(t testing.TB, o *conn.Options) *conn.Conn {
	c := conn.New(&deaf{closed: make(chan struct{})}, frame.Server, nil, o)
	t.Cleanup(func() { c.CloseNow() })
	return c
}

// requireEmpty holds that nothing is left in a Layer.
func requireEmpty(t testing.TB, l *Layer) {
	t.Helper()
	require.Empty(t, l.Groups())
	for i := range l.members.groups {
		requireNoSets(t, &l.members.groups[i])
	}
	for i := range l.members.owners {
		requireNoSets(t, &l.members.owners[i])
	}
	if l.subs != nil {
		l.subs.mu.Lock()
		defer l.subs.mu.Unlock()
		require.Empty(t, l.subs.all)
	}
}

func requireNoSets[K, V comparable](t testing.TB, s *shard[K, V]) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.sets)
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"a", "Z", "0", ".", "_", "-", "chat.room-1_A", strings.Repeat("x", 99),
	} {
		require.NoError(t, CheckName(name), name)
	}
	var l Layer
	c, s := conn.Pipe(nil, nil)
	defer c.CloseNow()
	defer s.CloseNow()
	for _, name := range []string{
		"", " ", "a b", "a/b", "a:b", "a\x00", "\n", "ä", "房间", "a\xff", "*", "a?", "[", strings.Repeat("x", 100), strings.Repeat("ä", 1000),
	} {
		for _, err := range []error{
			CheckName(name),
			l.Add(t.Context(), name, s),
			l.Send(t.Context(), name, conn.Text, nil),
			l.SendExcept(t.Context(), name, conn.Text, nil, s),
			l.SendHere(name, conn.Text, nil),
		} {
			require.Error(t, err, "%.120q", name)
			require.ErrorContains(t, err, "1 to 99 of the characters A-Z a-z 0-9 . _ -")
			require.Less(t, len(err.Error()), 200)
			require.NotContains(t, err.Error(), "\n")
		}
		l.Discard(name, s)
		require.Zero(t, l.Len(name))
		require.Empty(t, l.Members(name))
	}
	require.Zero(t, l.Stats())
	requireEmpty(t, &l)
}

func TestMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Layer
		require.Zero(t, l.Len("a"))
		require.Empty(t, l.Groups())
		require.Empty(t, l.Members("a"))
		l.Discard("a", listen(t, nil).server)

		one, two := listen(t, nil).server, listen(t, nil).server
		require.NoError(t, l.Add(t.Context(), "a", one))
		require.NoError(t, l.Add(t.Context(), "a", one))
		require.NoError(t, l.Add(t.Context(), "a", two))
		require.NoError(t, l.Add(t.Context(), "b", two))
		require.Equal(t, 2, l.Len("a"))
		require.Equal(t, 1, l.Len("b"))
		require.ElementsMatch(t, []string{"a", "b"}, l.Groups())
		require.ElementsMatch(t, []*conn.Conn{one, two}, l.Members("a"))
		require.Equal(t, []*conn.Conn{two}, l.Members("b"))

		l.Discard("b", one)
		require.Equal(t, 1, l.Len("b"))
		l.Discard("a", one)
		l.Discard("a", one)
		require.Equal(t, []*conn.Conn{two}, l.Members("a"))
		l.Discard("a", two)
		require.Equal(t, []string{"b"}, l.Groups())

		require.NoError(t, l.Add(t.Context(), "a", one))
		require.Equal(t, []*conn.Conn{one}, l.Members("a"))
		one.CloseNow()
		two.CloseNow()
		synctest.Wait()
		requireEmpty(t, &l)
		l.Discard("a", one)
	})
}

func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Layer
		one, two, other := listen(t, nil), listen(t, nil), listen(t, nil)
		require.NoError(t, l.Send(t.Context(), "room", conn.Text, []byte("nobody")))
		require.Equal(t, Stats{Sent: 1}, l.Stats())
		require.NoError(t, l.Add(t.Context(), "room", one.server))
		require.NoError(t, l.Add(t.Context(), "room", two.server))
		require.NoError(t, l.Add(t.Context(), "other", other.server))

		p := []byte("hello")
		require.NoError(t, l.Send(t.Context(), "room", conn.Text, p))
		copy(p, "reuse") // p is the caller's again
		require.NoError(t, l.SendExcept(t.Context(), "room", conn.Text, []byte("from one"), one.server))
		require.NoError(t, l.SendExcept(t.Context(), "room", conn.Text, []byte("from elsewhere"), other.server))
		require.NoError(t, l.SendHere("room", conn.Binary, []byte{0xff}))
		require.NoError(t, l.Send(t.Context(), "room", conn.Text, nil))
		require.Equal(t, []string{"hello", "from elsewhere", "binary \xff", ""}, one.heard())
		require.Equal(t, []string{"hello", "from one", "from elsewhere", "binary \xff", ""}, two.heard())
		require.Empty(t, other.heard())
		require.Equal(t, Stats{Sent: 6, Delivered: 9}, l.Stats())

		l.Discard("room", one.server)
		require.NoError(t, l.Send(t.Context(), "room", conn.Text, []byte("bye")))
		require.Empty(t, one.heard())
		require.Equal(t, []string{"bye"}, two.heard())

		before := l.Stats()
		require.ErrorIs(t, l.Send(t.Context(), "room", conn.Text, []byte("\xff")), frame.ErrText)
		require.Error(t, l.Send(t.Context(), "room", 9, []byte("ping")))
		require.Error(t, l.Send(t.Context(), "room", 0, nil))
		require.Empty(t, two.heard())
		require.Equal(t, before, l.Stats())
	})
	// With no other process there is nothing that the context could end.
	bubble(t, "context", func(t *testing.T) {
		var l Layer
		m := listen(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, l.Add(ctx, "room", m.server))
		require.NoError(t, l.Send(ctx, "room", conn.Text, []byte("hello")))
		require.Equal(t, []string{"hello"}, m.heard())
	})
	// Members that are clients: each frame has its own key.
	bubble(t, "clients", func(t *testing.T) {
		var l Layer
		one, two := listen(t, nil), listen(t, nil)
		require.NoError(t, l.Add(t.Context(), "room", one.client))
		require.NoError(t, l.Add(t.Context(), "room", two.server))
		require.NoError(t, l.Send(t.Context(), "room", conn.Text, []byte("hello")))
		require.Equal(t, []string{"hello"}, one.heard())
		require.Equal(t, []string{"hello"}, two.heard())
	})
	bubble(t, "compressed", func(t *testing.T) {
		var l Layer
		text := strings.Repeat("to be compressed, ", 500)
		all := []*listener{
			listen(t, nil),
			listen(t, &conn.Options{Compression: &conn.Compression{}}),
			listen(t, &conn.Options{Compression: &conn.Compression{}}),
			listen(t, &conn.Options{Compression: &conn.Compression{Level: 9}}),
			listen(t, &conn.Options{Compression: &conn.Compression{Takeover: true}}),
		}
		for _, m := range all {
			require.NoError(t, l.Add(t.Context(), "room", m.server))
		}
		for range 3 {
			require.NoError(t, l.Send(t.Context(), "room", conn.Text, []byte(text)))
		}
		for i, m := range all {
			require.Equal(t, []string{text, text, text}, m.heard())
			if i > 0 {
				require.Less(t, m.server.Stats().BytesWritten, int64(len(text)/2))
			}
		}
	})
}

// Each sender's messages come in order, to each member, while members come and
// go.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Layer
		o := &conn.Options{QueueMessages: -1}
		all := []*listener{listen(t, o), listen(t, o), listen(t, o)}
		for _, m := range all {
			require.NoError(t, l.Add(t.Context(), "room", m.server))
		}
		var wg sync.WaitGroup
		for sender := range 4 {
			wg.Go(func() {
				visitor := listen(t, o)
				for i := range 200 {
					assert.NoError(t, l.Send(t.Context(), "room", conn.Text, fmt.Appendf(nil, "%d %03d", sender, i)))
					if i%2 == 0 {
						assert.NoError(t, l.Add(t.Context(), "room", visitor.server))
					} else {
						l.Discard("room", visitor.server)
					}
				}
			})
		}
		wg.Wait()
		for _, m := range all {
			heard := m.heard()
			require.Len(t, heard, 4*200)
			slices.SortStableFunc(heard, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
			require.True(t, slices.IsSorted(heard))
		}
	})
}

// A member leaves all its groups when its connection ends, whatever ended it.
func TestEnds(t *testing.T) {
	var tracker conn.Tracker
	for _, test := range []struct {
		name string
		o    conn.Options
		end  func(t *testing.T, c *conn.Conn, peer net.Conn)
		read bool // the peer takes what is sent
	}{
		{name: "Close", read: true, end: func(t *testing.T, c *conn.Conn, _ net.Conn) {
			c.Close(frame.CloseNormal, "")
		}},
		{name: "Close, no answer", end: func(t *testing.T, c *conn.Conn, _ net.Conn) {
			c.Close(frame.CloseNormal, "")
		}},
		{name: "CloseNow", end: func(t *testing.T, c *conn.Conn, _ net.Conn) { c.CloseNow() }},
		{name: "the peer closes", read: true, end: func(t *testing.T, _ *conn.Conn, peer net.Conn) {
			peer.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8})
		}},
		{name: "the peer is gone", end: func(t *testing.T, _ *conn.Conn, peer net.Conn) { peer.Close() }},
		{name: "the peer is gone inside a frame", end: func(t *testing.T, _ *conn.Conn, peer net.Conn) {
			peer.Write([]byte{0x82, 0xfe})
			peer.Close()
		}},
		{name: "the peer is gone when it is written to", end: func(t *testing.T, c *conn.Conn, peer net.Conn) {
			peer.Close()
			c.Send(conn.Text, nil)
		}},
		{name: "protocol error", read: true, end: func(t *testing.T, _ *conn.Conn, peer net.Conn) {
			peer.Write([]byte{0x82, 0x00})
		}},
		{name: "protocol error, peer takes nothing", end: func(t *testing.T, _ *conn.Conn, peer net.Conn) {
			peer.Write([]byte{0x82, 0x00})
		}},
		{name: "keepalive", read: true, end: func(*testing.T, *conn.Conn, net.Conn) {}},
		{name: "write timeout", end: func(t *testing.T, c *conn.Conn, _ net.Conn) { c.Send(conn.Text, nil) }},
		{name: "Tracker", read: true, o: conn.Options{Tracker: &tracker}, end: func(t *testing.T, _ *conn.Conn, _ net.Conn) {
			tracker.Shutdown(t.Context())
		}},
		{name: "too slow", o: conn.Options{QueueMessages: 1}, end: func(t *testing.T, c *conn.Conn, _ net.Conn) {
			for range 5 {
				c.Send(conn.Text, nil)
			}
		}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			tracker = conn.Tracker{}
			var b broker
			l, p := process(t, &b)
			ours, theirs := net.Pipe()
			c := conn.New(ours, frame.Server, nil, &test.o)
			defer c.CloseNow()
			defer theirs.Close()
			for i := range 10 {
				require.NoError(t, l.Add(t.Context(), fmt.Sprint(i), c))
			}
			other := listen(t, nil)
			require.NoError(t, l.Add(t.Context(), "0", other.server))
			go c.Read(context.Background())
			if test.read {
				go io.Copy(io.Discard, theirs)
			}
			test.end(t, c, theirs)
			<-time.After(2 * time.Minute)
			require.Error(t, context.Cause(c.Context()))
			require.Equal(t, []string{"0"}, l.Groups())
			require.Equal(t, []*conn.Conn{other.server}, l.Members("0"))
			require.Equal(t, []string{"0"}, p.subscribed())

			require.ErrorIs(t, l.Add(t.Context(), "0", c), context.Cause(c.Context()))
			require.Error(t, l.Add(t.Context(), "new", c))
			l.Discard("0", c)
			require.Equal(t, []*conn.Conn{other.server}, l.Members("0"))
			other.server.CloseNow()
			synctest.Wait()
			requireEmpty(t, l)
		})
	}
}

// A send never waits for a member that takes nothing, and never fails for it.
func TestSlowMember(t *testing.T) {
	const count = 10
	for _, test := range []struct {
		name      string
		o         conn.Options
		delivered int64
		dropped   int64 // by the Layer's count
		queued    int   // of the last message, in the end; -1: the connection is over
	}{
		// One message is on its way already and no longer in the queue.
		{"CloseSlow", conn.Options{QueueMessages: 3}, 1 + 3, count - 4, -1},
		{"DropNewest", conn.Options{QueueMessages: 3, Overflow: conn.DropNewest}, 1 + 3, count - 4, 3},
		{"DropOldest", conn.Options{QueueMessages: 3, Overflow: conn.DropOldest}, count, 0, 3},
		{"Block", conn.Options{QueueMessages: 3, Overflow: conn.Block}, 1 + 3, count - 4, 3},
		{"bytes", conn.Options{QueueBytes: 1 << 10, Overflow: conn.DropNewest}, 1 + 2, count - 3, 2},
		{"no limit", conn.Options{QueueMessages: -1, QueueBytes: -1}, count, 0, count - 1},
	} {
		bubble(t, test.name, func(t *testing.T) {
			var l Layer
			o := test.o
			o.WriteTimeout, o.CloseTimeout = -1, time.Second
			c, fast := slow(t, &o), listen(t, nil)
			require.NoError(t, l.Add(t.Context(), "room", c))
			require.NoError(t, l.Add(t.Context(), "room", fast.server))
			before := time.Now()
			var want []string
			for i := range count {
				text := fmt.Sprintf("%0500d", i)
				want = append(want, text)
				require.NoError(t, l.Send(t.Context(), "room", conn.Text, []byte(text)))
				synctest.Wait()
				if i == 0 {
					<-time.After(10 * time.Millisecond) // it is no burst that is merely ahead of the writer
					before = time.Now()
				}
			}
			require.Zero(t, time.Since(before))
			require.Equal(t, want, fast.heard())
			require.Equal(t, Stats{Sent: count, Delivered: count + test.delivered, Dropped: test.dropped}, l.Stats())
			if test.queued >= 0 {
				require.Equal(t, test.queued, c.Stats().Queued)
				require.Equal(t, 2, l.Len("room"))
				return
			}
			<-time.After(time.Minute)
			require.ErrorIs(t, context.Cause(c.Context()), conn.ErrSlowPeer)
			require.Equal(t, []*conn.Conn{fast.server}, l.Members("room"))
		})
	}
	bubble(t, "maximum age", func(t *testing.T) {
		var l Layer
		ours, theirs := net.Pipe()
		c := conn.New(ours, frame.Server, nil, &conn.Options{QueueMaxAge: time.Second, WriteTimeout: -1})
		defer c.CloseNow()
		defer theirs.Close()
		require.NoError(t, l.Add(t.Context(), "room", c))
		for _, text := range []string{"under way", "old", "old, too"} {
			require.NoError(t, l.Send(t.Context(), "room", conn.Text, []byte(text)))
			synctest.Wait()
		}
		<-time.After(2 * time.Second)
		require.NoError(t, l.Send(t.Context(), "room", conn.Text, []byte("new")))
		got := make([]byte, 100)
		var read []byte
		for range 2 {
			n, err := theirs.Read(got)
			require.NoError(t, err)
			read = append(read, got[:n]...)
			synctest.Wait()
		}
		require.Equal(t, "\x81\x09under way\x81\x03new", string(read))
		require.EqualValues(t, 2, c.Stats().Dropped)
		require.Equal(t, Stats{Sent: 4, Delivered: 4}, l.Stats())
	})
}

// A message of an HTTP handler, for instance, leaves at once.
func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b broker
		here, _ := process(t, &b)
		there, _ := process(t, &b)
		near, far := listen(t, nil), listen(t, nil)
		require.NoError(t, here.Add(t.Context(), "news", near.server))
		require.NoError(t, there.Add(t.Context(), "news", far.server))
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := io.ReadAll(r.Body)
			if err == nil {
				err = here.Send(r.Context(), "news", conn.Text, p)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
		before := time.Now()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("POST", "/news", strings.NewReader("hello")))
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, []string{"hello"}, near.heard())
		require.Equal(t, []string{"hello"}, far.heard())
		require.Zero(t, time.Since(before))
	})
}

// sink is a transport that takes everything, and from which nothing comes.
type sink struct {
	closed chan struct{}
	once   sync.Once
}

func (s *sink) Read([]byte) (int, error) {
	<-s.closed
	return 0, io.EOF
}

func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

func (s *sink) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// crowd returns connections over sinks, which compress if the options say so.
func crowd(t testing.TB, count int, o *conn.Options) []*conn.Conn {
	conns := make([]*conn.Conn, count)
	for i := range conns {
		conns[i] = over(&sink{closed: make(chan struct{})}, o)
	}
	t.Cleanup(func() {
		for _, c := range conns {
			c.CloseNow()
		}
	})
	return conns
}

// over returns the server's end of a connection, which compresses if the options
// say so.
func over(rwc io.ReadWriteCloser, o *conn.Options) *conn.Conn {
	var a handshake.Agreement
	if o != nil && o.Compression != nil {
		a.Deflate = &handshake.Deflate{}
	}
	return conn.New(rwc, frame.Server, &a, o)
}

// patient are the options of a connection that is sent more than it can take.
func patient() *conn.Options {
	return &conn.Options{Keepalive: -1, WriteTimeout: -1, QueueMessages: -1, QueueBytes: -1}
}

// drained waits until nothing is queued.
func drained(conns []*conn.Conn) {
	for _, c := range conns {
		for c.Stats().Queued > 0 {
			runtime.Gosched()
		}
	}
}

// A send allocates as much for many members as for few.
func TestSendAllocates(t *testing.T) {
	if race {
		t.Skip("the race detector makes pools forget")
	}
	text := []byte(strings.Repeat("hello ", 200))
	for _, test := range []struct {
		name     string
		compress *conn.Compression
	}{
		{"plain", nil},
		{"compressed", &conn.Compression{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := patient()
			o.Compression = test.compress
			for _, count := range []int{0, 1, 1000} {
				var l Layer
				conns := crowd(t, count, o)
				for _, c := range conns {
					require.NoError(t, l.Add(t.Context(), "room", c))
				}
				allocs := testing.AllocsPerRun(100, func() {
					if err := l.Send(t.Context(), "room", conn.Text, text); err != nil {
						t.Error(err)
					}
					drained(conns)
				})
				// A goroutine that was never needed before is allocated, now and
				// then.
				assert.LessOrEqual(t, allocs, 20.0, "%d members", count)
			}
		})
	}
}

// Joining and leaving leave nothing behind, however often.
func TestJoinLeaveAllocates(t *testing.T) {
	var l Layer
	conns := crowd(t, 100, patient())
	for _, c := range conns[1:] {
		require.NoError(t, l.Add(t.Context(), "room", c))
	}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if err := l.Add(t.Context(), "room", conns[0]); err != nil {
			t.Error(err)
		}
		l.Discard("room", conns[0])
	}))
}

// A message is encoded and compressed once for each form that members agreed on,
// and stands in memory once for each, however many wait for it.
func TestEncodedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Layer
		forms := []*conn.Options{
			{},
			{Compression: &conn.Compression{}},
			{Compression: &conn.Compression{Level: 9}},
		}
		const each = 100
		for range each {
			for _, o := range forms {
				o.WriteTimeout = -1
				c := over(&deaf{closed: make(chan struct{})}, o)
				defer c.CloseNow()
				require.NoError(t, l.Add(t.Context(), "room", c))
			}
		}
		const size = 100 << 10
		random := make([]byte, size/2)
		rand.NewChaCha8([32]byte{}).Read(random)
		p := fmt.Appendf(nil, "%x", random)
		var before, after runtime.MemStats
		for range 3 { // the first one is under way, and pools are filled
			require.NoError(t, l.Send(t.Context(), "room", conn.Text, p))
			synctest.Wait()
			before = after
			runtime.ReadMemStats(&after)
		}
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(20*size), "%d members", each*len(forms))
		require.EqualValues(t, 3*each*len(forms), l.Stats().Delivered)
	})
}

// Members of many groups come, speak and go at the same time.
func TestConcurrent(t *testing.T) {
	count, groups := 100_000, 10_000
	if race || testing.Short() {
		count, groups = 5_000, 500
	}
	goroutines := runtime.NumGoroutine()
	var l Layer
	conns := crowd(t, count, patient())
	var wg sync.WaitGroup
	name := func(i int) string { return fmt.Sprint("room-", i%groups) }
	const workers = 8
	for w := range workers {
		wg.Go(func() {
			for i := w; i < count; i += workers {
				c := conns[i]
				assert.NoError(t, l.Add(t.Context(), name(i), c))
				assert.NoError(t, l.Add(t.Context(), name(i+1), c))
				if i%10 == 0 {
					assert.NoError(t, l.SendExcept(t.Context(), name(i), conn.Text, []byte("hello"), c))
				}
				l.Discard(name(i+1), c)
			}
		})
	}
	wg.Wait()
	require.Len(t, l.Groups(), groups)
	for i := range groups {
		require.Equal(t, count/groups, l.Len(name(i)))
	}
	require.EqualValues(t, count/10, l.Stats().Sent)
	require.Zero(t, l.Stats().Dropped)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < count; i += workers {
				if i%10 == 0 {
					assert.NoError(t, l.SendHere(name(i), conn.Text, []byte("bye")))
				}
				conns[i].CloseNow()
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { return len(l.Groups()) == 0 }, 10*time.Second, time.Millisecond)
	requireEmpty(t, &l)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+1 }, 10*time.Second, time.Millisecond) // one is Eventually's
}
