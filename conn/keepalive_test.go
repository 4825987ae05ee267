package conn

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

func TestKeepalive(t *testing.T) {
	const s = time.Second
	type step struct {
		now, silence, parked time.Duration
		ping, dead           bool
		next                 time.Duration
	}
	tests := []struct {
		name  string
		o     Options
		steps []step
	}{
		{"silence", Options{Keepalive: 30 * s, KeepaliveTimeout: 20 * s}, []step{
			{29 * s, 1, 1, false, false, 30*s + 1},
			{30*s + 1, 1, 1, true, false, 50*s + 1},
			{40 * s, 1, 1, false, false, 50*s + 1},
			{50*s + 1, 1, 1, false, true, 50*s + 1 + grace},
		}},
		{"a Pong, with a time-out longer than the interval", Options{Keepalive: 10 * s, KeepaliveTimeout: 30 * s}, []step{
			{10*s + 1, 1, 1, true, false, 20*s + 1},
			{20*s + 1, 10*s + 2, 10*s + 2, false, false, 20*s + 2},
			{20*s + 2, 10*s + 2, 10*s + 2, true, false, 30*s + 2},
			{30*s + 2, 20*s + 3, 20*s + 3, false, false, 30*s + 3},
		}},
		{"silence, with a time-out longer than the interval", Options{Keepalive: 10 * s, KeepaliveTimeout: 30 * s}, []step{
			{10*s + 1, 1, 1, true, false, 20*s + 1},
			{20*s + 1, 1, 1, false, false, 40*s + 1},
			{40*s + 1, 1, 1, false, true, 40*s + 1 + grace},
		}},
		{"a byte after the Ping", Options{Keepalive: 30 * s, KeepaliveTimeout: 20 * s}, []step{
			{30*s + 1, 1, 1, true, false, 50*s + 1},
			{50*s + 1, 31 * s, 31 * s, false, false, 61 * s},
			{61 * s, 31 * s, 31 * s, true, false, 81 * s},
			{81 * s, 31 * s, 31 * s, false, true, 81*s + grace},
		}},
		{"bytes all the time", Options{Keepalive: 30 * s, KeepaliveTimeout: 20 * s}, []step{
			{30*s + 1, 30 * s, 30 * s, false, false, 60 * s},
			{60 * s, 59 * s, 59 * s, false, false, 89 * s},
			{89 * s, 89*s - 1, 89*s - 1, false, false, 119*s - 1},
		}},
		{"a byte at the moment of the Ping", Options{Keepalive: 30 * s, KeepaliveTimeout: 20 * s}, []step{
			{30*s + 1, 1, 1, true, false, 50*s + 1},
			{50*s + 1, 30*s + 1, 30*s + 1, false, false, 60*s + 1},
			{60*s + 1, 30*s + 1, 30*s + 1, true, false, 80*s + 1},
			{80*s + 1, 30*s + 1, 30*s + 1, false, true, 80*s + 1 + grace},
		}},
		{"nobody reads", Options{Keepalive: 30 * s, KeepaliveTimeout: 20 * s}, []step{
			{30*s + 1, 0, 0, true, false, 60*s + 1},
			{50*s + 1, 0, 0, false, false, 80*s + 1},
			{60*s + 1, 0, 0, true, false, 90*s + 1},
			{1000 * s, 0, 0, true, false, 1030 * s},
		}},
		{"somebody reads again", Options{Keepalive: 30 * s, KeepaliveTimeout: 20 * s}, []step{
			{30*s + 1, 0, 0, true, false, 60*s + 1},
			{60*s + 1, 40 * s, 40 * s, false, false, 70 * s},
			{70 * s, 40 * s, 40 * s, true, false, 90 * s},
			{90 * s, 40 * s, 40 * s, false, true, 90*s + grace},
		}},
		{"a read that has only just begun", Options{Keepalive: 30 * s, KeepaliveTimeout: 20 * s}, []step{
			{30 * s, 1 * s, 1 * s, false, false, 31 * s},
			{31 * s, 1 * s, 1 * s, true, false, 51 * s},
			{51 * s, 1 * s, 51 * s, false, false, 51*s + grace},
			{51*s + grace, 1 * s, 51 * s, false, true, 51*s + 2*grace},
		}},
		{"no Pings", Options{KeepaliveTimeout: 20 * s}, []step{
			{1000 * s, 1, 1, false, false, 0},
			{1000 * s, 0, 0, false, false, 0},
		}},
		{"never lost", Options{Keepalive: 30 * s}, []step{
			{30*s + 1, 1, 1, true, false, 60*s + 1},
			{60*s + 1, 1, 1, true, false, 90*s + 1},
			{90 * s, 1, 1, false, false, 90*s + 1},
			{90*s + 1, 1, 1, true, false, 120*s + 1},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var k keepalive
			require.Equal(t, map[bool]time.Duration{true: tt.o.Keepalive + 1}[tt.o.Keepalive > 0], k.next(&tt.o, 1))
			for i, step := range tt.steps {
				ping, dead := k.check(&tt.o, step.now, step.silence, step.parked)
				require.Equal(t, step.ping, ping, "step %d: ping", i)
				require.Equal(t, step.dead, dead, "step %d: dead", i)
				require.Equal(t, step.next, k.next(&tt.o, step.now), "step %d: next", i)
			}
		})
	}
}

// expectPing reads the next frame, which must be a Ping, and returns its
// payload.
func (p *peer) expectPing() string {
	p.t.Helper()
	h, payload, err := p.next()
	require.NoError(p.t, err)
	require.Equal(p.t, frame.OpPing, h.Opcode)
	return payload
}

func TestKeepaliveLost(t *testing.T) {
	for _, tt := range []struct {
		name       string
		o          *Options
		ping, lost time.Duration
	}{
		{"default", nil, 30 * time.Second, 60 * time.Second},
		{"other times", &Options{Keepalive: time.Minute, KeepaliveTimeout: time.Second}, time.Minute, time.Minute + time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
				c, p := newPeer(t, role, tt.o)
				begin := time.Now()
				done := start(func() (string, error) {
					_, got, err := read(t.Context(), c)
					return got, err
				})
				p.expectPing()
				require.Equal(t, tt.ping, time.Since(begin))
				r := <-done
				require.Equal(t, tt.lost, r.at.Sub(begin))
				require.Equal(t, errKeepalive, r.err)
				require.ErrorIs(t, r.err, os.ErrDeadlineExceeded)
				require.ErrorContains(t, r.err, "Options.Keepalive")
				p.expectEnd() // no Close frame
				requireOver(t, c, errKeepalive)
				require.Equal(t, errKeepalive, c.Close(frame.CloseNormal, ""))
			})
		})
	}
}

// Any byte from the peer is a sign of life, be it a part of a header.
func TestKeepaliveAnyByte(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		done := startRead(t.Context(), c)
		f := p.whole(frame.OpText, letters(300))
		for _, b := range f[:100] {
			<-time.After(29 * time.Second)
			p.write([]byte{b})
		}
		require.True(t, p.quiet(), "no Ping is needed")
		begin := time.Now()
		p.expectPing()
		require.Equal(t, 30*time.Second, time.Since(begin))
		<-time.After(29 * time.Second)
		p.write(f[100:101])
		require.True(t, pending(done))
		begin = time.Now()
		p.expectPing()
		require.Equal(t, 30*time.Second, time.Since(begin))
		p.write(f[101:])
		require.NoError(t, (<-done).err)
	})
}

// While one long message is being written no Ping can leave, and a peer that
// takes it slowly is not silent for want of an answer.
func TestKeepaliveSlowUpload(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, &Options{WriteTimeout: -1})
		done := startRead(t.Context(), c)
		wrote := startErr(func() error { return c.Write(t.Context(), Binary, make([]byte, 1<<20)) })
		b := make([]byte, 64<<10)
		for left := len(frame.AppendHeader(nil, frame.Header{Length: 1 << 20, Masked: role == frame.Client})) + 1<<20; left > 0; {
			<-time.After(10 * time.Second)
			n, err := p.nc.Read(b[:min(len(b), left)])
			require.NoError(t, err)
			left -= n
		}
		require.NoError(t, (<-wrote).err)
		require.True(t, pending(done))
		p.expectPing()
		require.Equal(t, errKeepalive, (<-done).err)
	})
}

// An application that does not read holds the peer's bytes back itself.
func TestKeepaliveNotReading(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		p.send(frame.OpText, "first")
		_, _, err := c.Read(t.Context())
		require.NoError(t, err)
		pings := startErr(func() error {
			for range 10 {
				p.expectPing()
			}
			return nil
		})
		<-time.After(10 * time.Minute)
		require.NoError(t, c.sticky())
		require.False(t, pending(pings), "proxies on the way see life")
		p.send(frame.OpText, "second")
		_, got, err := c.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, "second", string(got))
		// From now on it reads again.
		begin := time.Now()
		_, _, err = c.Read(t.Context())
		require.Equal(t, errKeepalive, err)
		require.LessOrEqual(t, time.Since(begin), 2*time.Minute)
		require.GreaterOrEqual(t, time.Since(begin), time.Minute)
	})
}

// Reads with short contexts see the same silence as one long read.
func TestKeepaliveInterruptedReads(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		begin := time.Now()
		done := startErr(func() error {
			for {
				ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
				_, _, err := c.Read(ctx)
				cancel()
				if err != context.DeadlineExceeded {
					return err
				}
			}
		})
		p.expectPing()
		require.Equal(t, 30*time.Second, time.Since(begin))
		r := <-done
		require.Equal(t, errKeepalive, r.err)
		require.Equal(t, 60*time.Second, r.at.Sub(begin))
	})
}

func TestKeepaliveNone(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, &Options{Keepalive: -1})
		done := startRead(t.Context(), c)
		<-time.After(24 * time.Hour)
		require.True(t, pending(done))
		require.True(t, p.quiet())
	})
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, &Options{KeepaliveTimeout: -1})
		done := startRead(t.Context(), c)
		begin := time.Now()
		for i := range 100 {
			p.expectPing()
			require.Equal(t, time.Duration(i+1)*30*time.Second, time.Since(begin))
		}
		require.True(t, pending(done))
	})
}

// Two ends that say nothing keep each other alive.
func TestKeepaliveBothEnds(t *testing.T) {
	bubble(t, "pipe", func(t *testing.T) {
		client, server := Pipe(nil, nil)
		first, second := startRead(t.Context(), client), startRead(t.Context(), server)
		<-time.After(24 * time.Hour)
		require.True(t, pending(first))
		require.True(t, pending(second))
		require.NoError(t, client.Close(frame.CloseNormal, ""))
		require.ErrorAs(t, (<-second).err, new(*CloseError))
	})
}

// While the closing handshake is under way, its own time counts.
func TestKeepaliveClosing(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, &Options{CloseTimeout: 10 * time.Minute})
		<-time.After(29 * time.Second)
		done := startErr(func() error { return c.Close(frame.CloseNormal, "") })
		p.expectClose(frame.CloseNormal)
		<-time.After(5 * time.Minute)
		require.True(t, pending(done))
		require.True(t, p.quiet(), "nothing follows the Close frame")
		synctest.Wait()
	})
}
