package conn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/handshake"
)

func TestBackoffNext(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	almost := math.Nextafter(1, 0)
	tests := []struct {
		name    string
		o       *DialOptions
		attempt int // before this one
		random  float64
		asked   time.Duration
		want    time.Duration
	}{
		{"defaults, least", nil, 0, 0, 0, 0},
		{"defaults, half", nil, 0, 0.5, 0, 2500 * ms},
		{"defaults, most", nil, 0, almost, 0, 5*s - 1},
		{"second, least", nil, 1, 0, 0, 5 * s},
		{"second, half", nil, 1, 0.5, 0, 7500 * ms},
		{"second, most", nil, 1, almost, 0, 10*s - 1},
		{"third, least", nil, 2, 0, 0, 10 * s},
		{"third, most", nil, 2, almost, 0, 20*s - 1},
		{"fourth, least", nil, 3, 0, 0, 20 * s},
		{"fourth, most", nil, 3, almost, 0, 40*s - 1},
		{"fifth, least", nil, 4, 0, 0, 30 * s},
		{"fifth, most", nil, 4, almost, 0, 60*s - 1},
		{"sixth, most", nil, 5, almost, 0, 60*s - 1},
		{"millionth, least", nil, 1e6, 0, 0, 30 * s},
		{"millionth, most", nil, 1e6, almost, 0, 60*s - 1},
		{"asked for less", nil, 1, 0, 3 * s, 5 * s},
		{"asked for more", nil, 1, 0, 13 * s, 13 * s},
		{"asked for the most", nil, 0, 0, 60 * s, 60 * s},
		{"asked for too much", nil, 0, 0, 61 * s, 60 * s},
		{"asked for ever", nil, 0, 0, math.MaxInt64, 60 * s},
		{"other limits, first", &DialOptions{RedialWait: 100 * ms, RedialMaxWait: 350 * ms}, 0, 0.5, 0, 50 * ms},
		{"other limits, second", &DialOptions{RedialWait: 100 * ms, RedialMaxWait: 350 * ms}, 1, 0.5, 0, 150 * ms},
		{"other limits, fourth", &DialOptions{RedialWait: 100 * ms, RedialMaxWait: 350 * ms}, 3, 0, 0, 175 * ms},
		{"first over the most", &DialOptions{RedialWait: time.Hour, RedialMaxWait: s}, 0, 0.5, 0, 500 * ms},
		{"first over the most, then", &DialOptions{RedialWait: time.Hour, RedialMaxWait: s}, 7, 0.5, 0, 750 * ms},
		{"no wait", &DialOptions{RedialWait: -1}, 0, almost, 0, 0},
		{"no wait, then", &DialOptions{RedialWait: -1}, 100, almost, 0, 0},
		{"no wait, asked", &DialOptions{RedialWait: -1}, 0, almost, 7 * s, 7 * s},
		{"no limit", &DialOptions{RedialMaxWait: -1}, 0, 0.5, 0, 2500 * ms},
		{"no limit, then", &DialOptions{RedialMaxWait: -1}, 10, 0, 0, 512 * 5 * s},
		{"no limit, asked", &DialOptions{RedialMaxWait: -1}, 0, 0, 1000 * time.Hour, 1000 * time.Hour},
		{"no limit, at last", &DialOptions{RedialMaxWait: -1}, 1000, 0, 0, math.MaxInt64 / 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackoff(tt.o)
			b.attempt = tt.attempt
			require.Equal(t, tt.want, b.next(tt.random, tt.asked))
			require.Equal(t, tt.attempt+1, b.attempt)
		})
	}
	t.Run("no limit, most", func(t *testing.T) {
		b := newBackoff(&DialOptions{RedialMaxWait: -1})
		for range 1000 {
			require.GreaterOrEqual(t, b.next(almost, 0), 4*s)
		}
	})
}

func TestBackoffLived(t *testing.T) {
	b := newBackoff(nil)
	for range 3 {
		b.next(0, 0)
	}
	b.lived(0)
	b.lived(5 * time.Second)
	require.Equal(t, 3, b.attempt)
	b.lived(5*time.Second + 1)
	require.Equal(t, 0, b.attempt)
	require.Equal(t, 2500*time.Millisecond, b.next(0.5, 0))
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.UTC)
	tests := []struct {
		name   string
		values []string
		want   time.Duration
	}{
		{"none", nil, 0},
		{"empty", []string{""}, 0},
		{"zero", []string{"0"}, 0},
		{"seconds", []string{"120"}, 2 * time.Minute},
		{"leading zero", []string{"007"}, 7 * time.Second},
		{"two", []string{"3", "4"}, 3 * time.Second},
		{"negative", []string{"-3"}, 0},
		{"sign", []string{"+3"}, 0},
		{"fraction", []string{"1.5"}, 0},
		{"words", []string{"soon"}, 0},
		{"date", []string{"Sun, 01 Mar 2026 12:00:30 GMT"}, 29500 * time.Millisecond},
		{"date of RFC 850", []string{"Sunday, 01-Mar-26 12:00:30 GMT"}, 29500 * time.Millisecond},
		{"date of asctime", []string{"Sun Mar  1 12:00:30 2026"}, 29500 * time.Millisecond},
		{"past date", []string{"Sun, 01 Mar 2026 11:59:30 GMT"}, 0},
		{"far date", []string{"Fri, 31 Dec 9999 23:59:59 GMT"}, math.MaxInt64},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := &http.Response{Header: http.Header{"Retry-After": tt.values}}
			require.Equal(t, tt.want, retryAfter(resp, now))
		})
	}
	for _, long := range []string{"4294967295", "4294967296", "9223372036", "9223372037", "18446744073709551616", strings.Repeat("9", 100)} {
		resp := &http.Response{Header: http.Header{"Retry-After": {long}}}
		require.Greater(t, retryAfter(resp, now), 100*365*24*time.Hour, long)
	}
	require.Zero(t, retryAfter(nil, now))
}

// village is a network in memory with one server, on which an attempt to connect
// goes as the test says.
type village struct {
	t testing.TB

	mu    sync.Mutex
	dials []time.Time
	plan  []attempt // the last one is for all further attempts
}

// attempt is what becomes of an attempt to connect. An error is that of
// dialing.
type attempt func(ctx context.Context, server net.Conn) error

func (v *village) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	v.mu.Lock()
	i := len(v.dials)
	v.dials = append(v.dials, time.Now())
	a := v.plan[min(i, len(v.plan)-1)]
	v.mu.Unlock()
	client, server := streamPair()
	if err := a(ctx, server); err != nil {
		return nil, err
	}
	return client, nil
}

// count returns how many attempts there were.
func (v *village) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.dials)
}

// last returns when the last attempt was.
func (v *village) last() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.dials[len(v.dials)-1]
}

// newVillage returns a network, and options to dial in it.
func newVillage(t testing.TB, plan ...attempt) (*village, *DialOptions) {
	v := &village{t: t, plan: plan}
	return v, &DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{DialContext: v.dial}}}
}

// accepts does the opening handshake and calls f.
func accepts(f func(c *Conn)) attempt {
	return func(_ context.Context, nc net.Conn) error {
		go func() {
			if c, err := Server(nc, nil); err == nil {
				f(c)
				c.CloseNow()
			}
		}()
		return nil
	}
}

// closesAfter closes the connection with 1012 after a time.
func closesAfter(d time.Duration) attempt {
	return accepts(func(c *Conn) {
		if d > 0 {
			<-time.After(d)
		}
		c.Close(frame.CloseServiceRestart, "restarting")
	})
}

// answers reads the request and answers it.
func answers(response string) attempt {
	return func(_ context.Context, nc net.Conn) error {
		go func() {
			defer nc.Close()
			if _, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
				io.WriteString(nc, response)
			}
		}()
		return nil
	}
}

// refuses answers with a status and further header fields.
func refuses(status int, fields ...string) attempt {
	return answers(fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Length: 3\r\n%s\r\nno\n",
		status, http.StatusText(status), strings.Join(append(fields, ""), "\r\n")))
}

// unreachable is an attempt without a connection.
func unreachable(context.Context, net.Conn) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// silent never answers.
func silent(_ context.Context, nc net.Conn) error {
	go func() {
		io.Copy(io.Discard, nc)
		nc.Close()
	}()
	return nil
}

// losses ranges over Redial until there were n errors or the loop ends. It reads
// from each connection to its end.
func losses(ctx context.Context, o *DialOptions, n int) (errs []error) {
	for c, err := range Redial(ctx, "ws://example.com/feed", o) {
		if err == nil {
			readAll(c)
			continue
		}
		if errs = append(errs, err); len(errs) == n {
			break
		}
	}
	return errs
}

// requireWait checks that err says that there is a wait for attempt, whose length
// is in the documented range, and returns it.
func requireWait(t testing.TB, err error, attempt int) *RedialError {
	t.Helper()
	re, ok := err.(*RedialError)
	require.True(t, ok, "%T: %v", err, err)
	require.Equal(t, attempt, re.Attempt)
	low, high := time.Duration(0), 5*time.Second
	if attempt > 1 {
		high = min(5*time.Second<<(attempt-1), time.Minute)
		low = high / 2
	}
	require.GreaterOrEqual(t, re.Wait, low, "attempt %d", attempt)
	require.LessOrEqual(t, re.Wait, high, "attempt %d", attempt)
	return re
}

// The first attempt is made at once. A loss is told, with its reason and the wait
// for the next attempt, which is made then.
func TestRedial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, o := newVillage(t, accepts(func(c *Conn) {
			c.Write(t.Context(), Text, []byte("news from "+c.Request().URL.Path))
			<-time.After(10 * time.Second)
			c.Close(frame.CloseServiceRestart, "restarting")
		}))
		begin := time.Now()
		conns, errs := 0, 0
		for c, err := range Redial(t.Context(), "ws://example.com/feed", o) {
			if conns == errs {
				// A connection's turn.
				require.NoError(t, err)
				require.Equal(t, begin, v.last())
				conns++
				require.Equal(t, conns, v.count())
				messages, err := readAll(c)
				require.Equal(t, []string{"news from /feed"}, messages)
				require.ErrorIs(t, err, net.ErrClosed)
				require.Equal(t, begin.Add(10*time.Second), time.Now())
				continue
			}
			require.Nil(t, c)
			errs++
			re := requireWait(t, err, 1)
			require.Equal(t, &CloseError{Code: frame.CloseServiceRestart, Reason: "restarting", Remote: true}, re.Err)
			require.ErrorIs(t, err, net.ErrClosed)
			_, ok := errors.AsType[*CloseError](err)
			require.True(t, ok)
			require.Equal(t, fmt.Sprintf(`websocket: connection closed by peer: 1012 (service restart): "restarting"; attempt 1 in %v`, re.Wait.Round(10*time.Millisecond)), err.Error())
			if errs == 20 {
				break
			}
			begin = time.Now().Add(re.Wait)
		}
		require.Equal(t, 20, errs)
		require.Equal(t, 20, conns)
	})
}

// The waits of many clients: each in its range, all over it, and no two
// sequences alike.
func TestRedialWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, attempts = 100, 8
		waits := make([][]time.Duration, attempts)
		for range clients {
			v, o := newVillage(t, unreachable)
			begin := time.Now()
			errs := losses(t.Context(), o, attempts)
			require.Len(t, errs, attempts)
			for i, err := range errs {
				re := requireWait(t, err, i+1)
				require.ErrorIs(t, err, syscall.ECONNREFUSED)
				waits[i] = append(waits[i], re.Wait)
				require.Equal(t, begin, v.dials[i])
				begin = begin.Add(re.Wait)
			}
			require.Equal(t, attempts, v.count())
		}
		for i, all := range waits {
			slices.Sort(all)
			high := min(5*time.Second<<i, time.Minute)
			low := high / 2
			if i == 0 {
				low = 0
			}
			require.Less(t, all[0], low+(high-low)/4, "attempt %d", i+1)
			require.Greater(t, all[clients-1], high-(high-low)/4, "attempt %d", i+1)
			require.Len(t, slices.Compact(all), clients)
		}
	})
}

// The waits begin anew after a connection that lived longer than RedialWait, and
// go on growing after one that did not.
func TestRedialReset(t *testing.T) {
	tests := []struct {
		name string
		last attempt
		want int
	}{
		{"lived", closesAfter(5*time.Second + 1), 1},
		{"lived long", closesAfter(time.Hour), 1},
		{"did not live", closesAfter(0), 5},
		{"lived exactly that", closesAfter(5 * time.Second), 5},
		{"lived less", closesAfter(5*time.Second - 1), 5},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			v, o := newVillage(t, closesAfter(0), unreachable, closesAfter(time.Second), refuses(503), tt.last)
			errs := losses(t.Context(), o, 6)
			for i, err := range errs[:4] {
				requireWait(t, err, i+1)
			}
			re := requireWait(t, errs[4], tt.want)
			requireWait(t, errs[5], map[int]int{1: 1, 5: 6}[tt.want])
			require.Equal(t, 6, v.count())
			require.Equal(t, v.dials[5].Sub(v.dials[4]) > re.Wait, tt.name != "did not live")
		})
	}
	// The time that its closing handshake takes does not count.
	bubble(t, "did not close", func(t *testing.T) {
		v, o := newVillage(t, accepts(func(c *Conn) { <-time.After(2 * time.Minute) }))
		o.CloseTimeout = time.Minute
		begin := time.Now()
		var errs []error
		for c, err := range Redial(t.Context(), "ws://example.com/", o) {
			if err == nil {
				require.NotNil(t, c)
				continue // to the end of the body
			}
			if errs = append(errs, err); len(errs) == 3 {
				break
			}
		}
		for i, err := range errs {
			re := requireWait(t, err, i+1)
			require.Equal(t, &CloseError{Code: frame.CloseNormal}, re.Err)
		}
		require.Equal(t, 3, v.count())
		require.Greater(t, time.Since(begin), 3*time.Minute)
		<-time.After(2 * time.Minute) // the last server's
	})
	// Options of one's own.
	bubble(t, "RedialWait", func(t *testing.T) {
		_, o := newVillage(t, unreachable, closesAfter(time.Second), unreachable, closesAfter(time.Second+1))
		o.RedialWait, o.RedialMaxWait = time.Second, 2*time.Second
		errs := losses(t.Context(), o, 4)
		for i, want := range []int{1, 2, 3, 1} {
			re := errs[i].(*RedialError)
			require.Equal(t, want, re.Attempt)
			require.LessOrEqual(t, re.Wait, 2*time.Second)
		}
	})
	// None at all.
	bubble(t, "no RedialWait", func(t *testing.T) {
		v, o := newVillage(t, unreachable, closesAfter(0))
		o.RedialWait = -1
		begin := time.Now()
		for _, err := range losses(t.Context(), o, 10) {
			require.Zero(t, err.(*RedialError).Wait)
		}
		require.Equal(t, 10, v.count())
		require.Less(t, time.Since(begin), time.Microsecond)
	})
}

func TestRedialRetryAfter(t *testing.T) {
	tests := []struct {
		name   string
		status int
		value  func() string
		want   time.Duration // at least, and exactly if more than 5 s
	}{
		{"seconds", 503, func() string { return "17" }, 17 * time.Second},
		{"seconds of 429", 429, func() string { return "17" }, 17 * time.Second},
		{"date", 503, func() string { return time.Now().Add(23 * time.Second).UTC().Format(http.TimeFormat) }, 23 * time.Second},
		{"capped", 503, func() string { return "86400" }, time.Minute},
		{"capped date", 503, func() string { return time.Now().Add(24 * time.Hour).UTC().Format(http.TimeFormat) }, time.Minute},
		{"immense", 503, func() string { return "100000000000000000000000" }, time.Minute},
		{"less than the wait", 503, func() string { return "0" }, 0},
		{"past", 503, func() string { return time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat) }, 0},
		{"nonsense", 503, func() string { return "later" }, 0},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			v, o := newVillage(t, refuses(tt.status, "Retry-After: "+tt.value()), unreachable)
			errs := losses(t.Context(), o, 2)
			re := errs[0].(*RedialError)
			require.Equal(t, 1, re.Attempt)
			if tt.want > 5*time.Second {
				require.Equal(t, tt.want, re.Wait)
			} else {
				require.LessOrEqual(t, re.Wait, 5*time.Second)
			}
			require.Equal(t, re.Wait, v.dials[1].Sub(v.dials[0]))
			requireWait(t, errs[1], 2) // as if it had not been asked
		})
	}
	// In a response that is no refusal it means nothing.
	bubble(t, "accepted", func(t *testing.T) {
		_, o := newVillage(t, func(_ context.Context, nc net.Conn) error {
			go func() {
				c, err := Server(nc, &AcceptOptions{Header: http.Header{"Retry-After": {"30"}}})
				if err == nil {
					c.Close(frame.CloseGoingAway, "")
				}
			}()
			return nil
		})
		errs := losses(t.Context(), o, 1)
		requireWait(t, errs[0], 1)
	})
}

// Refusals that further attempts would not change are the last that is yielded.
func TestRedialStops(t *testing.T) {
	for _, status := range []int{400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 418, 421, 426, 431, 451, 499} {
		bubble(t, fmt.Sprint(status), func(t *testing.T) {
			v, o := newVillage(t, unreachable, refuses(status, "Retry-After: 1", "X: y"))
			errs := losses(t.Context(), o, 10)
			require.Len(t, errs, 2)
			requireWait(t, errs[0], 1)
			re, ok := errs[1].(*handshake.ResponseError)
			require.True(t, ok, "%T", errs[1])
			require.Equal(t, status, re.Status)
			require.Equal(t, "y", re.Header.Get("X"))
			require.Equal(t, "no\n", string(re.Body))
			require.Equal(t, 2, v.count())
		})
	}
}

// Whatever may change is tried again.
func TestRedialGoesOn(t *testing.T) {
	refused := func(status int) func(t *testing.T, err error) {
		return func(t *testing.T, err error) {
			re, ok := errors.AsType[*handshake.ResponseError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, status, re.Status)
		}
	}
	is := func(target error) func(t *testing.T, err error) {
		return func(t *testing.T, err error) { require.ErrorIs(t, err, target) }
	}
	tests := []struct {
		name  string
		first attempt
		check func(t *testing.T, err error)
	}{
		{"no such host", func(context.Context, net.Conn) error {
			return &net.DNSError{Err: "no such host", Name: "example.com", IsNotFound: true}
		}, func(t *testing.T, err error) {
			de, ok := errors.AsType[*net.DNSError](err)
			require.True(t, ok && de.IsNotFound)
		}},
		{"connection refused", unreachable, is(syscall.ECONNREFUSED)},
		{"connecting takes too long", func(ctx context.Context, _ net.Conn) error { <-ctx.Done(); return ctx.Err() }, is(context.DeadlineExceeded)},
		{"answering takes too long", silent, is(context.DeadlineExceeded)},
		{"hangs up", func(_ context.Context, nc net.Conn) error { return nc.Close() }, func(t *testing.T, err error) { require.ErrorContains(t, err, "no connection to") }},
		{"hangs up on the request", answers(""), is(io.ErrUnexpectedEOF)},
		{"not HTTP", answers("SSH-2.0-OpenSSH_9.6\r\n\r\n"), func(t *testing.T, err error) { require.ErrorContains(t, err, "no connection to") }},
		{"200", refuses(200), refused(200)},
		{"204", answers("HTTP/1.1 204 No Content\r\n\r\n"), refused(204)},
		{"302 without Location", refuses(302), refused(302)},
		{"304", answers("HTTP/1.1 304 Not Modified\r\n\r\n"), refused(304)},
		{"408", refuses(408), refused(408)},
		{"425", refuses(425), refused(425)},
		{"429", refuses(429), refused(429)},
		{"500", refuses(500), refused(500)},
		{"501", refuses(501), refused(501)},
		{"502", refuses(502), refused(502)},
		{"503", refuses(503), refused(503)},
		{"504", refuses(504), refused(504)},
		{"599", refuses(599), refused(599)},
		{"wrong Accept", answers("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"), refused(101)},
		{"lost at once", accepts(func(c *Conn) { c.CloseNow() }), is(io.ErrUnexpectedEOF)},
		{"breaks the protocol", accepts(func(c *Conn) { c.nc.Write([]byte{0x83, 0}) }), func(t *testing.T, err error) {
			_, ok := errors.AsType[*frame.ProtocolError](err)
			require.True(t, ok, "%v", err)
		}},
		{"closed for good reason", closesAfter(0), is(net.ErrClosed)},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			v, o := newVillage(t, tt.first, accepts(func(c *Conn) {
				c.Write(t.Context(), Text, []byte("at last"))
				readAll(c)
			}))
			errs := 0
			for c, err := range Redial(t.Context(), "ws://example.com/", o) {
				if err != nil {
					requireWait(t, err, 1)
					tt.check(t, err)
					errs++
					continue
				}
				_, p, err := c.Read(t.Context())
				if err != nil {
					continue // that of the first attempt
				}
				require.Equal(t, "at last", string(p))
				break
			}
			require.Equal(t, 1, errs)
			require.Equal(t, 2, v.count())
		})
	}
}

// What is wrong with the call is said once, and nothing is dialed.
func TestRedialMisuse(t *testing.T) {
	tests := []struct {
		name string
		url  string
		o    DialOptions
	}{
		{"empty URL", "", DialOptions{}},
		{"scheme", "ftp://example.com/", DialOptions{}},
		{"no host", "ws:///path", DialOptions{}},
		{"fragment", "ws://example.com/#top", DialOptions{}},
		{"escape", "ws://example.com/%zz", DialOptions{}},
		{"header", "ws://example.com/", DialOptions{Header: http.Header{"Sec-Websocket-Key": {"x"}}}},
		{"header value", "ws://example.com/", DialOptions{Header: http.Header{"X": {"a\r\nb"}}}},
		{"subprotocol", "ws://example.com/", DialOptions{Subprotocols: []string{"a b"}}},
		{"subprotocol twice", "ws://example.com/", DialOptions{Subprotocols: []string{"a", "a"}}},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			v, o := newVillage(t, unreachable)
			tt.o.HTTPClient = o.HTTPClient
			var errs []error
			for c, err := range Redial(t.Context(), tt.url, &tt.o) {
				require.Nil(t, c)
				errs = append(errs, err)
			}
			require.Len(t, errs, 1)
			_, _, err := Dial(t.Context(), tt.url, &tt.o)
			require.Equal(t, err, errs[0])
			require.Zero(t, v.count())
		})
	}
}

// When ctx ends, so does the loop, without an error, and nothing is left: a
// bubble waits for all goroutines in it.
func TestRedialContext(t *testing.T) {
	const url = "ws://example.com/"
	bubble(t, "before", func(t *testing.T) {
		v, o := newVillage(t, unreachable)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range Redial(ctx, url, o) {
			require.Fail(t, "nothing is to be yielded")
		}
		require.Zero(t, v.count())
	})
	bubble(t, "while waiting", func(t *testing.T) {
		v, o := newVillage(t, unreachable)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var end time.Time
		for c, err := range Redial(ctx, url, o) {
			require.Nil(t, c)
			re := err.(*RedialError)
			if re.Attempt == 3 {
				end = time.Now().Add(re.Wait / 2)
				time.AfterFunc(re.Wait/2, cancel)
			}
		}
		require.Equal(t, end, time.Now())
		require.Equal(t, 3, v.count())
	})
	bubble(t, "in the body, with an error", func(t *testing.T) {
		v, o := newVillage(t, unreachable)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		yields := 0
		for range Redial(ctx, url, o) {
			yields++
			cancel()
		}
		require.Equal(t, 1, yields)
		require.Equal(t, 1, v.count())
	})
	dialing := []struct {
		name string
		a    attempt
	}{
		{"connecting", func(ctx context.Context, _ net.Conn) error { <-ctx.Done(); return ctx.Err() }},
		{"waiting for the response", silent},
	}
	for _, tt := range dialing {
		bubble(t, "while "+tt.name, func(t *testing.T) {
			v, o := newVillage(t, tt.a)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begin := time.Now()
			for range Redial(ctx, url, o) {
				require.Fail(t, "nothing is to be yielded")
			}
			require.Equal(t, 1, v.count())
			require.Equal(t, time.Second, time.Since(begin))
		})
	}
	bubble(t, "while connected", func(t *testing.T) {
		closed := make(chan error, 1)
		v, o := newVillage(t, accepts(func(c *Conn) {
			_, err := readAll(c)
			closed <- err
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		yields := 0
		for c, err := range Redial(ctx, url, o) {
			require.NoError(t, err)
			yields++
			_, _, err = c.Read(ctx)
			require.Equal(t, context.DeadlineExceeded, err)
			require.NoError(t, c.Context().Err(), "the connection goes on")
			require.NoError(t, c.Write(t.Context(), Text, []byte("goodbye")))
		}
		require.Equal(t, 1, yields)
		require.Equal(t, 1, v.count())
		require.Equal(t, &CloseError{Code: frame.CloseNormal, Remote: true}, <-closed)
	})
}

// The connection belongs to the iteration: at its end it is closed with 1000,
// whether the loop goes on or not, and if the body has not done so itself.
func TestRedialEnds(t *testing.T) {
	tests := []struct {
		name string
		body func(c *Conn) (goOn bool)
		want *CloseError // what the server sees
	}{
		{"break", func(c *Conn) bool { return false }, &CloseError{Code: frame.CloseNormal, Remote: true}},
		{"the body's end", func(c *Conn) bool { return true }, &CloseError{Code: frame.CloseNormal, Remote: true}},
		{"closed, and break", func(c *Conn) bool { c.Close(4000, "mine"); return false }, &CloseError{Code: 4000, Reason: "mine", Remote: true}},
		{"closed", func(c *Conn) bool { c.Close(4000, "mine"); return true }, &CloseError{Code: 4000, Reason: "mine", Remote: true}},
		{"CloseNow", func(c *Conn) bool { c.CloseNow(); return true }, nil},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			closed := make(chan error, 10)
			v, o := newVillage(t, accepts(func(c *Conn) {
				_, err := readAll(c)
				closed <- err
			}))
			errs := 0
			for c, err := range Redial(t.Context(), "ws://example.com/", o) {
				if err != nil {
					errs++
					re := requireWait(t, err, 1)
					switch {
					case tt.want == nil:
						require.Equal(t, errCloseNow, re.Err)
					default:
						require.Equal(t, &CloseError{Code: tt.want.Code, Reason: tt.want.Reason}, re.Err)
					}
					break
				}
				if !tt.body(c) {
					break
				}
			}
			require.Equal(t, 1, v.count())
			err := <-closed
			if tt.want == nil {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				require.Equal(t, 1, errs)
			} else {
				require.Equal(t, tt.want, err)
			}
		})
	}
	bubble(t, "break at an error", func(t *testing.T) {
		v, o := newVillage(t, unreachable)
		begin := time.Now()
		for range Redial(t.Context(), "ws://example.com/", o) {
			break
		}
		require.Equal(t, 1, v.count())
		require.Equal(t, begin, time.Now(), "nothing was waited for")
	})
	// A body that does not come to its end closes at least the transport.
	abrupt := []struct {
		name string
		end  func()
	}{
		{"panic", func() { panic("in the body") }},
		{"Goexit", runtime.Goexit},
	}
	for _, tt := range abrupt {
		bubble(t, tt.name, func(t *testing.T) {
			closed := make(chan error, 1)
			_, o := newVillage(t, accepts(func(c *Conn) {
				_, err := readAll(c)
				closed <- err
			}))
			recovered := make(chan any, 1)
			go func() {
				defer func() { recovered <- recover() }()
				for _, err := range Redial(t.Context(), "ws://example.com/", o) {
					if err == nil {
						tt.end()
					}
				}
			}()
			want := map[string]any{"panic": "in the body", "Goexit": nil}[tt.name]
			require.Equal(t, want, <-recovered)
			require.ErrorIs(t, <-closed, io.ErrUnexpectedEOF)
		})
	}
}

// Each range over the iterator is a Redial of its own.
func TestRedialTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, o := newVillage(t, unreachable)
		seq := Redial(t.Context(), "ws://example.com/", o)
		for range 2 {
			n := 0
			for _, err := range seq {
				n++
				requireWait(t, err, n)
				if n == 3 {
					break
				}
			}
		}
		require.Equal(t, 6, v.count())
	})
}

// The connection has the values of ctx, the options are heeded, and nothing of an
// attempt that fails is left.
func TestRedialConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker := &Tracker{}
		_, o := newVillage(t, unreachable, func(_ context.Context, nc net.Conn) error {
			go func() {
				c, err := Server(nc, &AcceptOptions{Subprotocols: []string{"feed.v1"}})
				if err != nil {
					return
				}
				c.Write(context.Background(), Text, make([]byte, 11))
				readAll(c)
			}()
			return nil
		})
		o.Subprotocols = []string{"feed.v2", "feed.v1"}
		o.ReadLimit = 10
		o.Tracker = tracker
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, "value")
		for c, err := range Redial(ctx, "ws://example.com/", o) {
			if err != nil {
				if errors.Is(err, ErrMessageTooBig) {
					break
				}
				require.Zero(t, tracker.Len())
				continue
			}
			require.Equal(t, 1, tracker.Len())
			require.Equal(t, frame.Client, c.Role())
			require.Equal(t, "feed.v1", c.Subprotocol())
			require.Equal(t, "value", c.Context().Value(key{}))
			_, _, err := c.Read(ctx)
			require.ErrorIs(t, err, ErrMessageTooBig)
		}
		require.Zero(t, tracker.Len())
	})
}
