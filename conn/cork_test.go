package conn

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

// What many connections have corked leaves in time, whenever each began, and
// nothing looks after them any more when they are idle or gone.
func TestCorkMany(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		const n = 50
		o := (&Options{Keepalive: -1}).resolved()
		late := make(chan time.Duration, 1000)
		var conns []*Conn
		for i := range n {
			ours, theirs := streamPair()
			c := newConn(context.Background(), theirs, frame.Server, nil, o, opened{})
			conns = append(conns, c)
			p := &peer{t: t, nc: ours, role: frame.Client, recv: frame.Receiver{Role: frame.Client}}
			go echo(c, -1, func(c *Conn, m Message) error {
				err := replyWrite(c, m)
				if string(m.Data) == "one" {
					<-time.After(time.Duration(i+1) * 10 * time.Millisecond) // it is not back in time
				}
				return err
			})
			go func() {
				for round := range 3 {
					<-time.After(time.Duration(i*i) * 37 * time.Microsecond)
					begin := time.Now()
					p.write(p.whole(frame.OpText, "one"), p.whole(frame.OpText, "two"))
					p.expect(frame.OpText, "one")
					late <- time.Since(begin)
					p.expect(frame.OpText, "two")
					<-time.After(time.Duration(round*i) * time.Millisecond)
				}
			}()
		}
		for range 3 * n {
			require.LessOrEqual(t, <-late, corkTime)
		}
		<-time.After(time.Second)
		synctest.Wait()
		requireNone(t, o.corks)
		for _, c := range conns {
			c.CloseNow()
		}
	})
	bubble(t, "gone", func(t *testing.T) {
		c, p := newPeer(t, frame.Server, nil)
		p.write(p.whole(frame.OpText, "one"), p.whole(frame.OpText, "two"))
		for m, err := range c.Messages(t.Context()) {
			require.NoError(t, err)
			require.NoError(t, c.Write(t.Context(), m.Type, m.Data))
			require.True(t, c.corkListed)
			c.CloseNow()
			break
		}
		<-time.After(corkTime)
		synctest.Wait()
		requireNone(t, c.o.corks)
	})
}

// requireNone checks that nothing is looked after, nor kept from the garbage
// collector.
func requireNone(t *testing.T, s *corks) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Nil(t, s.timer)
	for _, list := range [][]*Conn{s.conns, s.spare} {
		for _, c := range list[:cap(list)] {
			require.Nil(t, c)
		}
	}
}
