package conn

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

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
		request := httptest.NewRequest("GET", "http://example.com/", nil)
		for name, value := range map[string]string{
			"Connection":            "Upgrade",
			"Upgrade":               "websocket",
			"Sec-WebSocket-Version": "13",
			"Sec-WebSocket-Key":     "dGhlIHNhbXBsZSBub25jZQ==",
		} {
			request.Header.Set(name, value)
		}
		_, refusal := a.check(request)
		require.Nil(t, refusal)

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
