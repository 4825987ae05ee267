package conn

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

func startPing(ctx context.Context, c *Conn) <-chan result {
	return start(func() (string, error) {
		d, err := c.Ping(ctx)
		return d.String(), err
	})
}

// pingsUnderWay returns how many calls of Ping wait for their Pong.
func (c *Conn) pingsUnderWay() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pings)
}

func TestPing(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		go readAll(c)
		seen := map[string]bool{}
		for i := range 5 {
			done := startPing(t.Context(), c)
			payload := p.expectPing()
			require.False(t, seen[payload], "each Ping is another")
			seen[payload] = true
			rtt := time.Duration(i) * 70 * time.Millisecond
			<-time.After(rtt)
			p.send(frame.OpPong, payload)
			r := <-done
			require.NoError(t, r.err)
			require.Equal(t, rtt.String(), r.text)
		}
	})
}

// A Pong answers the Pings before it as well. (RFC 6455, section 5.5.3)
func TestPingMany(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		go readAll(c)
		var pings []<-chan result
		var payloads []string
		for range 5 {
			pings = append(pings, startPing(t.Context(), c))
			payloads = append(payloads, p.expectPing())
			<-time.After(time.Second)
		}
		p.send(frame.OpPong, payloads[2])
		require.True(t, pending(pings[3]))
		require.True(t, pending(pings[4]))
		for i, want := range []string{"5s", "4s", "3s"} {
			r := <-pings[i]
			require.NoError(t, r.err)
			require.Equal(t, want, r.text)
		}
		p.send(frame.OpPong, payloads[4])
		for i, want := range []string{"2s", "1s"} {
			r := <-pings[3+i]
			require.NoError(t, r.err)
			require.Equal(t, want, r.text)
		}
		require.Zero(t, c.pingsUnderWay())
	})
}

// A Pong that nobody asked for means nothing.
func TestPongUnasked(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		go readAll(c)
		done := startPing(t.Context(), c)
		payload := p.expectPing()
		for _, other := range []string{"", "x", "\xff\xff\xff\xff\xff\xff\xff\xff", payload + "x", payload[1:]} {
			p.send(frame.OpPong, other)
		}
		require.True(t, pending(done))
		p.send(frame.OpPong, payload)
		require.NoError(t, (<-done).err)
		p.send(frame.OpPong, payload)
		synctest.Wait()
		require.NoError(t, c.sticky())
	})
}

func TestPingContext(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		go readAll(c)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Ping(ended)
		require.Equal(t, context.Canceled, err)
		require.True(t, p.quiet())

		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.Ping(ctx)
		require.Equal(t, context.DeadlineExceeded, err)
		require.Equal(t, time.Second, time.Since(begin))
		require.Zero(t, c.pingsUnderWay())
		late := p.expectPing()
		done := startPing(t.Context(), c)
		payload := p.expectPing()
		p.send(frame.OpPong, late)
		require.True(t, pending(done))
		p.send(frame.OpPong, payload)
		require.NoError(t, (<-done).err)
	})
	bothRoles(t, func(t *testing.T, role frame.Role) {
		// Before it is on the wire.
		c, p, filling := fullPeer(t, role, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Ping(ctx)
		require.Equal(t, context.DeadlineExceeded, err)
		require.Zero(t, c.pingsUnderWay())
		p.expect(frame.OpBinary, filling)
		require.NoError(t, c.Write(t.Context(), Text, []byte("next")))
		p.expect(frame.OpText, "next")
		require.Equal(t, int64(2), c.Stats().MessagesWritten)
	})
}

func TestPingEnd(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		go readAll(c)
		done := startPing(t.Context(), c)
		p.expectPing()
		p.nc.Close()
		err := (<-done).err
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		_, again := c.Ping(t.Context())
		require.Equal(t, err, again)
	})
}

// The peer's Pings are answered with their payload. (RFC 6455, section 5.5.2)
func TestPong(t *testing.T) {
	eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
		c, p := newPeer(t, role, nil)
		done := start(func() (string, error) {
			_, got, err := read(t.Context(), c)
			return got, err
		})
		for _, n := range []int{0, 1, 8, 125} {
			p.send(frame.OpPing, letters(n))
			p.expect(frame.OpPong, letters(n))
		}
		p.send(frame.OpText, "message")
		r := <-done
		require.NoError(t, r.err)
		require.Equal(t, "message", r.text)
	})
}

// pongs reads the Pongs that have come or come while they are read, and returns
// how many there are and the last one's payload.
func (p *peer) pongs() (n int, last string) {
	p.t.Helper()
	for !p.quiet() {
		h, payload, err := p.next()
		require.NoError(p.t, err)
		require.Equal(p.t, frame.OpPong, h.Opcode)
		require.Greater(p.t, payload, last)
		n, last = n+1, payload
	}
	return n, last
}

// A flood of Pings is answered with the newest of those that came together.
func TestPingFlood(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		for _, reads := range []bool{true, false} {
			c, p := newPeer(t, role, nil)
			filling := letters(fillSize(role))
			if !reads {
				require.NoError(t, c.Write(t.Context(), Binary, []byte(filling)))
			}
			go readAll(c)
			synctest.Wait()
			var wire []byte
			for i := range 400 {
				wire = append(wire, p.whole(frame.OpPing, fmt.Sprintf("%0125d", i))...)
			}
			p.write(wire)
			synctest.Wait()
			if !reads {
				p.expect(frame.OpBinary, filling)
			}
			n, last := p.pongs()
			require.Equal(t, fmt.Sprintf("%0125d", 399), last)
			require.Less(t, n, 20)
		}
	})
}
