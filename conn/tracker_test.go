package conn

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

// openingRequest returns a request that is an opening handshake.
func openingRequest() *http.Request {
	r := httptest.NewRequest("GET", "http://example.com/", nil)
	for name, value := range map[string]string{
		"Connection":            "Upgrade",
		"Upgrade":               "websocket",
		"Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key":     "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		r.Header.Set(name, value)
	}
	return r
}

// answerClose reads until the Close frame, answers it and returns its code and
// when it came.
func (p *peer) answerClose() (code frame.CloseCode, at time.Time) {
	for {
		h, payload, err := p.next()
		if err != nil {
			return frame.CloseAbnormal, time.Now()
		}
		if h.Opcode == frame.OpClose {
			code, _, _ := frame.ParseClose([]byte(payload))
			at := time.Now()
			p.write(p.whole(frame.OpClose, payload))
			p.nc.Close()
			return code, at
		}
	}
}

func TestTrackerLen(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var tracker Tracker
		o := &Options{Tracker: &tracker}
		require.Zero(t, tracker.Len())
		a, _ := newPeer(t, frame.Client, o)
		b, p := newPeer(t, frame.Server, o)
		require.Equal(t, 2, tracker.Len())
		a.CloseNow()
		require.Equal(t, 1, tracker.Len())
		p.nc.Close()
		require.Equal(t, 1, tracker.Len())
		readAll(b)
		require.Zero(t, tracker.Len())
	})
}

func TestTrackerShutdown(t *testing.T) {
	const n = 200
	for _, tt := range []struct {
		name  string
		drain time.Duration
	}{{"at once", 0}, {"spread", 10 * time.Second}} {
		bubble(t, tt.name, func(t *testing.T) {
			tracker := Tracker{Drain: tt.drain}
			closed := make(chan time.Time, n)
			for i := range n {
				c, p := newPeer(t, frame.Role(i%2), &Options{Tracker: &tracker})
				if i%4 < 2 {
					go readAll(c)
				}
				go func() {
					code, at := p.answerClose()
					if code != frame.CloseGoingAway {
						t.Errorf("code %d", code)
					}
					closed <- at
				}()
			}
			begin := time.Now()
			require.NoError(t, tracker.Shutdown(t.Context()))
			require.Zero(t, tracker.Len())
			thirds := map[int]int{}
			var last time.Duration
			for range n {
				after := (<-closed).Sub(begin)
				last = max(last, after)
				if tt.drain > 0 {
					thirds[int(3*after/tt.drain)]++
				}
			}
			require.Equal(t, last, time.Since(begin), "it returns with the last one")
			if tt.drain == 0 {
				require.Zero(t, last)
				return
			}
			// 200 moments of which each third gets less than 30 have a chance of
			// about 1e-8.
			require.Len(t, thirds, 3)
			for _, count := range thirds {
				require.Greater(t, count, 30)
			}
		})
	}
}

// When its context ends, Shutdown closes what is left without a handshake.
func TestTrackerShutdownContext(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var tracker Tracker
		o := &Options{Tracker: &tracker, CloseTimeout: time.Hour}
		a, p := newPeer(t, frame.Server, o)
		b, _, _ := fullPeer(t, frame.Client, o)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		require.Equal(t, context.DeadlineExceeded, tracker.Shutdown(ctx))
		require.Equal(t, 3*time.Second, time.Since(begin))
		require.Zero(t, tracker.Len())
		require.Equal(t, errCloseNow, context.Cause(a.Context()))
		require.Equal(t, errCloseNow, context.Cause(b.Context()))
		p.expectClose(frame.CloseGoingAway)
		p.expectEnd()
		synctest.Wait()
		require.NoError(t, tracker.Shutdown(t.Context()), "nothing is left")
	})
}

// Shutdown waits for the functions of Handler and Serve.
func TestTrackerShutdownHandlers(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var tracker Tracker
		c, p := newPeer(t, frame.Server, &Options{Tracker: &tracker})
		require.True(t, tracker.enter())
		go c.run(func(ctx context.Context, c *Conn) error {
			_, err := readAll(c)
			<-time.After(7 * time.Second) // tidies up
			return err
		})
		go p.answerClose()
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, tracker.Shutdown(t.Context()))
		require.Equal(t, 7*time.Second, time.Since(begin))
	})
}

// During and after Shutdown, handshakes are refused, and a connection whose
// handshake was accepted just before is closed.
func TestTrackerRefuses(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var tracker Tracker
		a := newAcceptor(&AcceptOptions{Options: Options{Tracker: &tracker}})
		request := openingRequest()
		_, refusal := a.check(request)
		require.Nil(t, refusal)
		a.leave()

		require.NoError(t, tracker.Shutdown(t.Context()))
		_, refusal = a.check(request)
		require.Equal(t, http.StatusServiceUnavailable, refusal.Status)
		require.ErrorIs(t, refusal, ErrShutdown)

		_, p := newPeer(t, frame.Server, a.options)
		code, _ := p.answerClose()
		require.Equal(t, frame.CloseGoingAway, code)
		synctest.Wait()
		require.Zero(t, tracker.Len())
	})
}

// lender is an http.ResponseWriter whose connection is to be had.
type lender struct {
	http.ResponseWriter
	nc net.Conn
}

func (l lender) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return l.nc, bufio.NewReadWriter(bufio.NewReader(l.nc), bufio.NewWriter(l.nc)), nil
}

// Shutdown waits for a handshake whose response is under way, and closes what
// becomes of it.
func TestTrackerShutdownHandshake(t *testing.T) {
	f := func(ctx context.Context, c *Conn) error {
		_, err := readAll(c)
		return err
	}
	accepted := func(c *Conn, err error) {
		if err == nil {
			readAll(c)
		}
	}
	for _, tt := range []struct {
		name string
		open func(nc net.Conn, o *AcceptOptions)
		raw  bool
	}{
		{"Accept", func(nc net.Conn, o *AcceptOptions) {
			accepted(Accept(lender{httptest.NewRecorder(), nc}, openingRequest(), o))
		}, false},
		{"Handler", func(nc net.Conn, o *AcceptOptions) {
			Handler(f, o).ServeHTTP(lender{httptest.NewRecorder(), nc}, openingRequest())
		}, false},
		{"Server", func(nc net.Conn, o *AcceptOptions) { accepted(Server(nc, o)) }, true},
		{"Serve", func(nc net.Conn, o *AcceptOptions) { a := newAcceptor(o); a.serve(newIncoming(nc, a), f) }, true},
	} {
		for _, lost := range []bool{false, true} {
			bubble(t, fmt.Sprintf("%s/lost=%v", tt.name, lost), func(t *testing.T) {
				var tracker Tracker
				ours, theirs := net.Pipe() // a write ends when it is read
				go tt.open(theirs, &AcceptOptions{Options: Options{Tracker: &tracker}})
				if tt.raw {
					require.NoError(t, openingRequest().Write(ours))
				}
				synctest.Wait()
				require.Zero(t, tracker.Len())
				shutdown := startErr(func() error { return tracker.Shutdown(context.Background()) })
				synctest.Wait()
				require.Empty(t, shutdown)
				if lost {
					ours.Close()
				} else {
					br := bufio.NewReader(ours)
					resp, err := http.ReadResponse(br, nil)
					require.NoError(t, err)
					require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
					early, _ := br.Peek(br.Buffered())
					require.Empty(t, early, "net.Pipe buffers nothing")
					p := &peer{t: t, nc: ours, role: frame.Client, recv: frame.Receiver{Role: frame.Client}}
					code, _ := p.answerClose()
					require.Equal(t, frame.CloseGoingAway, code)
				}
				require.NoError(t, (<-shutdown).err)
				require.Zero(t, tracker.Len())
				require.False(t, tracker.enter())
			})
		}
	}
}

// A handshake that becomes a connection when Shutdown's time is over is cut off.
func TestTrackerShutdownTooLate(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var tracker Tracker
		ours, theirs := net.Pipe()
		h := Handler(serveEcho, &AcceptOptions{Options: Options{Tracker: &tracker}})
		go h.ServeHTTP(lender{httptest.NewRecorder(), theirs}, openingRequest())
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, tracker.Shutdown(ctx))
		br := bufio.NewReader(ours)
		_, err := http.ReadResponse(br, nil)
		require.NoError(t, err)
		_, err = br.ReadByte()
		require.Equal(t, io.EOF, err)
		require.NoError(t, tracker.Shutdown(t.Context()))
	})
}

// Every Shutdown waits, for what was added after the one before, too.
func TestTrackerShutdownAgain(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var tracker Tracker
		require.NoError(t, tracker.Shutdown(t.Context()))
		_, p := newPeer(t, frame.Server, &Options{Tracker: &tracker})
		shutdown := startErr(func() error { return tracker.Shutdown(t.Context()) })
		synctest.Wait()
		require.Empty(t, shutdown)
		code, _ := p.answerClose()
		require.Equal(t, frame.CloseGoingAway, code)
		require.NoError(t, (<-shutdown).err)
		require.Zero(t, tracker.Len())
	})
}

// Whoever is given a connection finds its request, at once.
func TestTrackerRequest(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var tracker Tracker
		requests := make(chan *http.Request, 1)
		trace := &Trace{Sent: func(c *Conn, h frame.Header, _ []byte) { requests <- c.Request() }}
		ours, theirs := net.Pipe()
		h := Handler(serveEcho, &AcceptOptions{Options: Options{Tracker: &tracker, Trace: trace}})
		go h.ServeHTTP(lender{httptest.NewRecorder(), theirs}, openingRequest())
		synctest.Wait()
		shutdown := startErr(func() error { return tracker.Shutdown(t.Context()) })
		synctest.Wait()
		_, err := http.ReadResponse(bufio.NewReader(ours), nil)
		require.NoError(t, err)
		p := &peer{t: t, nc: ours, role: frame.Client, recv: frame.Receiver{Role: frame.Client}}
		p.answerClose()
		require.NoError(t, (<-shutdown).err)
		require.Equal(t, "example.com", (<-requests).Host)
	})
}
