package conn

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

// Each handshake has its own time, whatever others begin and end meanwhile.
func TestOverdue(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		const (
			n     = 30
			every = 700 * time.Millisecond
			after = 10 * time.Second
		)
		o := overdue{after: after}
		begin := time.Now()
		attempts := make([]guarded, n)
		ends := make([]time.Duration, n)        // when end is called, if ever
		interrupted := make([]time.Duration, n) // when the read was, if ever
		var all sync.WaitGroup
		for i := range attempts {
			server, client := net.Pipe()
			o.begin(&attempts[i], server)
			all.Go(func() {
				if _, err := server.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
					interrupted[i] = time.Since(begin)
					o.end(&attempts[i])
					_, err = server.Read(make([]byte, 1)) // it may go on
					require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
				}
				o.end(&attempts[i]) // once more is no harm
			})
			if i%3 > 0 {
				ends[i] = time.Since(begin) + time.Duration(i%7)*1900*time.Millisecond + 1
				time.AfterFunc(ends[i]-time.Since(begin), func() { o.end(&attempts[i]) })
			}
			time.AfterFunc(2*n*every, func() { client.Close() })
			<-time.After(every)
		}
		all.Wait()
		count := 0
		for i, at := range interrupted {
			over := time.Duration(i)*every + after
			if ends[i] == 0 || ends[i] > over {
				require.Equal(t, over, at)
				count++
			} else {
				require.Zero(t, at)
			}
		}
		require.Greater(t, count, n/3)
		require.Less(t, count, n)
		require.Nil(t, o.first)
		require.Nil(t, o.last)
	})
}

// stuckConn's SetDeadline blocks until the end.
type stuckConn struct {
	net.Conn
	end chan struct{}
}

func (c stuckConn) SetDeadline(time.Time) error { <-c.end; return nil }

// A transport that cannot be interrupted holds nobody up but itself.
func TestOverdueStuck(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		o := overdue{after: time.Second}
		stuck := stuckConn{end: make(chan struct{})}
		var first, second guarded
		o.begin(&first, stuck)
		server, client := net.Pipe()
		defer client.Close()
		o.begin(&second, server)
		_, err := server.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		o.end(&second)
		var third guarded
		o.begin(&third, server)
		o.end(&third)
		close(stuck.end)
		o.end(&first)
	})
}

// What was used in a test with fake time can be used outside, and the other way
// round.
func TestTimersInAndOutOfBubbles(t *testing.T) {
	o := overdue{after: time.Minute}
	corking := (&Options{Keepalive: -1}).resolved()
	use := func(t *testing.T) {
		var one guarded
		server, client := net.Pipe()
		defer client.Close()
		o.begin(&one, server)
		o.end(&one)
		c := newConn(t.Context(), server, frame.Server, nil, corking, opened{})
		c.mu.Lock()
		c.cork()
		c.mu.Unlock()
		c.CloseNow()
		for gone := false; !gone; {
			<-time.After(corkTime)
			corking.corks.mu.Lock()
			gone = corking.corks.timer == nil
			corking.corks.mu.Unlock()
		}
	}
	bubble(t, "in", use)
	t.Run("out", use)
	bubble(t, "in again", use)
}
