package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

const notUTF8 = "a\xff"

// fillSize returns how long a message is whose frame fills a stream.
func fillSize(role frame.Role) int {
	if role == frame.Client {
		return streamBytes - 8
	}
	return streamBytes - 4
}

// fullPeer returns a connection whose peer has read nothing of a message that
// fills the stream: not a byte more can be written.
func fullPeer(t *testing.T, role frame.Role, o *Options) (c *Conn, p *peer, filling string) {
	c, p = newPeer(t, role, o)
	filling = letters(fillSize(role))
	require.NoError(t, c.Write(t.Context(), Binary, []byte(filling)))
	return c, p, filling
}

// counted is a transport that counts what is written to it.
type counted struct {
	*stream
	mu     sync.Mutex
	writes []int
}

func (c *counted) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writes = append(c.writes, len(p))
	c.mu.Unlock()
	return c.stream.Write(p)
}

// take returns the lengths of the writes since the last call.
func (c *counted) take() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.writes
	c.writes = nil
	return w
}

func countedPeer(t *testing.T, role frame.Role, o *Options) (*Conn, *peer, *counted) {
	ours, theirs := streamPair()
	if role == frame.Server {
		ours, theirs = theirs, ours
	}
	transport := &counted{stream: ours}
	c, p := peerOver(t, transport, theirs, role, o)
	return c, p, transport
}

func TestWriteSizes(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		for _, n := range []int{0, 1, 125, 126, 4096, largeBytes - 1, largeBytes, batchBytes, 65535, 65536, 1 << 20} {
			for _, mt := range []MessageType{Text, Binary} {
				want := letters(n)
				payload := []byte(want)
				done := startErr(func() error { return c.Write(t.Context(), mt, payload) })
				p.expect(frame.Opcode(mt), want)
				require.NoError(t, (<-done).err)
				require.True(t, want == string(payload), "the payload was changed")
			}
		}
		require.True(t, p.quiet())
	})
}

func TestWriteType(t *testing.T) {
	c, p := newPeer(t, frame.Client, nil)
	for _, mt := range []MessageType{0, 3, MessageType(frame.OpPing), MessageType(frame.OpClose)} {
		require.ErrorContains(t, c.Write(t.Context(), mt, nil), "neither Text nor Binary")
		require.ErrorContains(t, c.Send(mt, nil), "neither Text nor Binary")
		_, err := c.Writer(t.Context(), mt)
		require.ErrorContains(t, err, "neither Text nor Binary")
	}
	require.NoError(t, c.Write(t.Context(), Text, nil))
	p.expect(frame.OpText, "")
}

// Any number of goroutines write: every message arrives whole and once, and
// those of one goroutine in order.
func TestWriteConcurrent(t *testing.T) {
	const writers, each = 100, 20
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		bubble(t, role.String(), func(t *testing.T) {
			sender, receiver := Pipe(&Options{Overflow: Block}, &Options{Overflow: Block})
			if role == frame.Server {
				sender, receiver = receiver, sender
			}
			defer sender.CloseNow()
			defer receiver.CloseNow()
			var wg sync.WaitGroup
			for w := range writers {
				ctx := t.Context()
				if w%2 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithCancel(ctx)
					defer cancel()
				}
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(uint64(w), 1))
					for i := range each {
						m := fmt.Appendf(nil, "%d %d ", w, i)
						m = append(m, letters(rnd.IntN([]int{10, 300, 20000}[rnd.IntN(3)]))...)
						switch rnd.IntN(4) {
						case 0, 1:
							assert.NoError(t, sender.Write(ctx, Text, m))
						case 2:
							assert.NoError(t, sender.Send(Text, m))
						case 3:
							mw, err := sender.Writer(ctx, Text)
							if assert.NoError(t, err) {
								_, err = mw.Write(m)
								assert.NoError(t, err)
								assert.NoError(t, mw.Close())
							}
						}
					}
				})
			}
			next := make([]int, writers)
			for range writers * each {
				_, m, err := receiver.Read(t.Context())
				require.NoError(t, err)
				var w, i int
				var text string
				_, err = fmt.Sscan(string(m)+" -", &w, &i, &text)
				require.NoError(t, err)
				require.Equal(t, next[w], i, "writer %d", w)
				next[w]++
				require.True(t, text == "-" || text == letters(len(text)), "%.50q", m)
			}
			wg.Wait()
		})
	}
}

// A context that ends before the first byte of the message is on the wire takes
// the message back.
func TestWriteContextBefore(t *testing.T) {
	small, large := letters(100), letters(100000)
	for _, message := range []string{small, large} {
		t.Run(fmt.Sprint(len(message)), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p, filling := fullPeer(t, role, nil)
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				require.Equal(t, context.Canceled, c.Write(ended, Text, []byte(message)))

				// In the transport's hands.
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				before := time.Now()
				require.Equal(t, context.DeadlineExceeded, c.Write(ctx, Text, []byte(message)))
				require.Equal(t, time.Second, time.Since(before))

				// Behind another writer.
				first := startErr(func() error { return c.Write(t.Context(), Text, []byte("first")) })
				synctest.Wait()
				ctx, cancel = context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.Equal(t, context.DeadlineExceeded, c.Write(ctx, Text, []byte(message)))
				require.True(t, pending(first))

				p.expect(frame.OpBinary, filling)
				p.expect(frame.OpText, "first")
				require.NoError(t, (<-first).err)
				require.NoError(t, c.Write(t.Context(), Text, []byte("next")))
				p.expect(frame.OpText, "next")
				require.Equal(t, int64(3), c.Stats().MessagesWritten)
			})
		})
	}
}

// A context that ends when part of the message is on the wire fails the
// connection.
func TestWriteContextAfter(t *testing.T) {
	for _, size := range []int{100, 100000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p, _ := fullPeer(t, role, nil)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				done := startErr(func() error { return c.Write(ctx, Text, []byte(letters(size))) })
				synctest.Wait()
				_, err := p.nc.Read(make([]byte, 50)) // lets 50 bytes of it out
				require.NoError(t, err)
				err = (<-done).err
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.NotEqual(t, context.DeadlineExceeded, err, "it says that the connection failed")
				require.Equal(t, err, c.Write(t.Context(), Text, nil))
				require.Equal(t, err, c.Send(Text, nil))
				_, rerr := c.Ping(t.Context())
				require.Equal(t, err, rerr)
				_, _, rerr = c.Read(t.Context())
				require.Equal(t, err, rerr)
				require.Equal(t, err, context.Cause(c.Context()))
				rest, err := io.ReadAll(p.nc)
				require.NoError(t, err)
				require.Len(t, rest, streamBytes, "nothing comes behind the torn frame")
			})
		})
	}
}

// The context counts as well for a message that leaves together with others of
// which something is on the wire.
func TestWriteContextInBatch(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p, _ := fullPeer(t, role, nil)
		first := startErr(func() error { return c.Write(t.Context(), Text, []byte("first")) })
		synctest.Wait()
		second := startErr(func() error { return c.Write(context.Background(), Text, []byte(letters(1000))) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		third := startErr(func() error { return c.Write(ctx, Text, []byte("third")) })
		synctest.Wait()
		fourth := startErr(func() error { return c.Write(t.Context(), Text, []byte("fourth")) })
		synctest.Wait()
		// Lets the first out and a part of the second.
		b := make([]byte, 100)
		_, err := io.ReadFull(p.nc, b)
		require.NoError(t, err)
		p.buf = append(p.buf, b...)
		r := <-third
		require.Equal(t, context.DeadlineExceeded, r.err)
		require.Equal(t, time.Second, r.at.Sub(begin))
		for _, want := range []string{letters(fillSize(role)), "first", letters(1000), "fourth"} {
			_, got, err := p.next()
			require.NoError(t, err)
			require.True(t, want == got, "%.20q", got)
		}
		for _, done := range []<-chan result{first, second, fourth} {
			require.NoError(t, (<-done).err)
		}
	})
}

// And for one whose writer writes what stands before it, or waits to begin a
// Writer's message.
func TestWriteContextWhileLeading(t *testing.T) {
	for _, kind := range []string{"Write", "Writer"} {
		t.Run(kind, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p, _ := fullPeer(t, role, nil)
				first := startErr(func() error { return c.Write(t.Context(), Text, []byte("first")) })
				synctest.Wait()
				require.NoError(t, c.Send(Text, []byte(letters(50000))))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				begin := time.Now()
				leader := startErr(func() error {
					if kind == "Write" {
						return c.Write(ctx, Text, []byte("second"))
					}
					_, err := c.Writer(ctx, Text)
					return err
				})
				synctest.Wait()
				last := startErr(func() error { return c.Write(t.Context(), Text, []byte("last")) })
				synctest.Wait()
				// Lets the first out and a part of what was sent.
				b := make([]byte, 100)
				_, err := io.ReadFull(p.nc, b)
				require.NoError(t, err)
				p.buf = append(p.buf, b...)
				r := <-leader
				require.Equal(t, context.DeadlineExceeded, r.err)
				require.Equal(t, time.Second, r.at.Sub(begin))
				for _, want := range []string{letters(fillSize(role)), "first", letters(50000), "last"} {
					_, got, err := p.next()
					require.NoError(t, err)
					require.True(t, want == got, "%.20q", got)
				}
				require.NoError(t, (<-first).err)
				require.NoError(t, (<-last).err)
			})
		})
	}
}

// Whatever moment contexts end at: what was taken back does not arrive, and what
// was written does, whole, once and in order, unless a message was cut off.
func TestWriteContextRandom(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		survived, cancelled := 0, 0
		for seed := range uint64(100) {
			c, p, _ := fullPeer(t, role, nil)
			var mu sync.Mutex
			results := map[string]error{}
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(seed, uint64(w)))
					for i := range 6 {
						m := fmt.Sprintf("%d %d %s", w, i, letters(1+rnd.IntN(30)))
						ctx, cancel := context.WithCancel(t.Context())
						if rnd.IntN(3) == 0 {
							ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(50))*time.Millisecond)
						}
						err := writeSomehow(ctx, c, rnd.IntN(6), m)
						cancel()
						mu.Lock()
						results[m] = err
						mu.Unlock()
					}
				})
			}
			received := map[string]bool{}
			drained := startErr(func() error { return drain(p, seed, received) })
			wg.Wait()
			// It goes behind everything else.
			alive := c.Write(t.Context(), Binary, nil) == nil
			c.CloseNow()
			<-drained
			if alive {
				survived++
			}
			for m, err := range results {
				switch {
				case err == context.DeadlineExceeded, err == context.Canceled, errors.Is(err, frame.ErrText):
					cancelled++
					require.False(t, received[m], "seed %d: %q was refused (%v)", seed, m, err)
				case alive:
					require.NoError(t, err)
					require.True(t, received[m], "seed %d: %q was lost", seed, m)
				}
			}
		}
		t.Logf("%d of 100 connections survived, %d messages were taken back", survived, cancelled)
		require.Greater(t, survived, 20)
		require.Greater(t, cancelled, 100)
	})
}

// writeSomehow writes a message in one of the ways there are, with something
// else before it.
func writeSomehow(ctx context.Context, c *Conn, way int, m string) error {
	switch way {
	case 0:
		go c.Ping(ctx) // nobody answers
	case 1:
		return c.Write(ctx, Text, []byte(m+notUTF8))
	case 2, 3:
		w, err := c.Writer(ctx, Text)
		if err != nil {
			return err
		}
		io.WriteString(w, m)
		return w.Close()
	case 4:
		return c.Send(Text, []byte(m))
	}
	return c.Write(ctx, Text, []byte(m))
}

// drain reads what the connection sends, a little at a time, and puts the
// messages into received.
func drain(p *peer, seed uint64, received map[string]bool) error {
	rnd := rand.New(rand.NewPCG(seed, 100))
	last := map[int]int{}
	for {
		<-time.After(time.Duration(rnd.IntN(10)) * time.Millisecond)
		b := make([]byte, 1+rnd.IntN([]int{40, 4000}[rnd.IntN(2)]))
		n, err := p.nc.Read(b)
		if err != nil {
			return err
		}
		p.buf = append(p.buf, b[:n]...)
		for {
			h, n, _ := frame.ParseHeader(p.buf)
			if n == 0 || len(p.buf) < n+int(h.Length) {
				break
			}
			h, m, _ := p.next()
			var w, i int
			if _, err := fmt.Sscan(m, &w, &i); h.Opcode != frame.OpText || err != nil {
				continue
			}
			if received[m] || i < last[w] || !h.Fin {
				return fmt.Errorf("%q came twice, out of order or in fragments", m)
			}
			received[m], last[w] = true, i
		}
	}
}

func TestWriteNotUTF8(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		for _, bad := range []string{"\xff", "abc\xc3", "\xed\xa0\x80", letters(30000) + "\x80"} {
			require.ErrorIs(t, c.Write(t.Context(), Text, []byte(bad)), frame.ErrText)
			require.ErrorIs(t, c.Send(Text, []byte(bad)), frame.ErrText)
			w, err := c.Writer(t.Context(), Text)
			require.NoError(t, err)
			io.WriteString(w, bad)
			require.ErrorIs(t, w.Close(), frame.ErrText)
		}
		require.True(t, p.quiet())
		require.Zero(t, c.Stats().MessagesWritten)
		require.NoError(t, c.Write(t.Context(), Binary, []byte(notUTF8)))
		p.expect(frame.OpBinary, notUTF8)
		require.NoError(t, c.Send(Text, []byte("after")))
		p.expect(frame.OpText, "after")
	})
}

// The same behind another writer, who is told nothing of it.
func TestWriteNotUTF8Waiting(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p, filling := fullPeer(t, role, nil)
		first := startErr(func() error { return c.Write(t.Context(), Text, []byte("first")) })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		bad := startErr(func() error { return c.Write(ctx, Text, []byte(notUTF8)) })
		synctest.Wait()
		last := startErr(func() error { return c.Write(t.Context(), Text, []byte("last")) })
		require.True(t, pending(last))
		p.expect(frame.OpBinary, filling)
		p.expect(frame.OpText, "first")
		p.expect(frame.OpText, "last")
		require.NoError(t, (<-first).err)
		require.ErrorIs(t, (<-bad).err, frame.ErrText)
		require.NoError(t, (<-last).err)
	})
}

func TestWriteTimeout(t *testing.T) {
	calls := []struct {
		name string
		call func(c *Conn) error
	}{
		{"Write", func(c *Conn) error { return c.Write(context.Background(), Text, []byte("a")) }},
		{"large Write", func(c *Conn) error { return c.Write(context.Background(), Text, make([]byte, 1<<20)) }},
		{"Ping", func(c *Conn) error { _, err := c.Ping(context.Background()); return err }},
		{"Send", func(c *Conn) error {
			if err := c.Send(Text, []byte("a")); err != nil {
				return err
			}
			<-c.Context().Done()
			return context.Cause(c.Context())
		}},
	}
	for _, tt := range calls {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, _, _ := fullPeer(t, role, nil)
				read := startRead(t.Context(), c)
				synctest.Wait()
				before := time.Now()
				err := tt.call(c)
				require.Equal(t, errWriteTimeout, err)
				require.Equal(t, 10*time.Second, time.Since(before))
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.ErrorContains(t, err, "Options.WriteTimeout")
				require.Equal(t, err, (<-read).err)
			})
		})
	}
	bubble(t, "none", func(t *testing.T) {
		c, p, filling := fullPeer(t, frame.Server, &Options{WriteTimeout: -1})
		done := startErr(func() error { return c.Write(t.Context(), Text, []byte("late")) })
		<-time.After(24 * time.Hour)
		require.True(t, pending(done))
		p.expect(frame.OpBinary, filling)
		for {
			h, _, err := p.next()
			require.NoError(t, err)
			if h.Opcode == frame.OpText {
				break
			}
		}
		require.NoError(t, (<-done).err)
	})
	bubble(t, "begins anew with every message", func(t *testing.T) {
		c, p := newPeer(t, frame.Server, &Options{Keepalive: -1})
		for range 10 {
			done := startErr(func() error { return c.Write(t.Context(), Binary, make([]byte, 100000)) })
			<-time.After(9 * time.Second)
			h, _, err := p.next()
			require.NoError(t, err)
			require.Equal(t, int64(100000), h.Length)
			require.NoError(t, (<-done).err)
		}
	})
}

// echo answers n messages, or all there are, with what reply makes of them.
func echo(c *Conn, n int, reply func(c *Conn, m Message) error) <-chan result {
	return startErr(func() error {
		for m, err := range c.Messages(context.Background()) {
			if err != nil {
				return err
			}
			if err := reply(c, m); err != nil {
				return err
			}
			if n--; n == 0 {
				break
			}
		}
		return nil
	})
}

func replyWrite(c *Conn, m Message) error { return c.Write(context.Background(), m.Type, m.Data) }
func replySend(c *Conn, m Message) error  { return c.Send(m.Type, m.Data) }

// Answers to messages that came in one segment leave in one write.
func TestCorkPipelined(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply func(*Conn, Message) error
	}{{"Write", replyWrite}, {"Send", replySend}} {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p, transport := countedPeer(t, role, nil)
				echo(c, -1, tt.reply)
				synctest.Wait()
				for range 3 {
					var wire []byte
					for i := range 20 {
						wire = append(wire, p.whole(frame.OpText, fmt.Sprint(i))...)
					}
					p.write(wire)
					synctest.Wait()
					require.Len(t, transport.take(), 1)
					for i := range 20 {
						p.expect(frame.OpText, fmt.Sprint(i))
					}
				}
			})
		})
	}
}

// It does not wait for more than 16 KiB.
func TestCorkBytes(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p, transport := countedPeer(t, role, nil)
		answer := []byte(letters(1000))
		echo(c, -1, func(c *Conn, m Message) error { return c.Write(context.Background(), Binary, answer) })
		synctest.Wait()
		p.write(bytes.Repeat(p.whole(frame.OpText, "x"), 60))
		synctest.Wait()
		size := len(frame.AppendHeader(nil, frame.Header{Masked: role == frame.Client, Length: 1000})) + 1000
		full := (corkBytes + size - 1) / size
		want := []int{full * size, full * size, full * size, (60 - 3*full) * size}
		require.Equal(t, want, transport.take())
	})
}

// An answer whose application does not come back to read leaves after a
// millisecond.
func TestCorkTime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply func(*Conn, Message) error
	}{{"Write", replyWrite}, {"Send", replySend}} {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				p.write(p.whole(frame.OpText, "one"), p.whole(frame.OpText, "two"))
				begin := time.Now()
				done := echo(c, -1, func(c *Conn, m Message) error {
					err := tt.reply(c, m)
					<-time.After(time.Second)
					return err
				})
				p.expect(frame.OpText, "one")
				require.Equal(t, corkTime, time.Since(begin))
				p.expect(frame.OpText, "two")
				require.Equal(t, time.Second, time.Since(begin))
				require.True(t, pending(done))
				c.CloseNow()
				<-done
			})
		})
	}
}

// A message that came alone is answered at once: nothing is held back that
// nothing follows.
func TestCorkPingPong(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p, transport := countedPeer(t, role, nil)
		done := echo(c, -1, func(c *Conn, m Message) error {
			err := replyWrite(c, m)
			<-time.After(time.Second)
			return err
		})
		for i := range 10 {
			begin := time.Now()
			p.send(frame.OpText, fmt.Sprint(i))
			p.expect(frame.OpText, fmt.Sprint(i))
			require.Zero(t, time.Since(begin))
			require.Len(t, transport.take(), 1)
			<-time.After(2 * time.Second)
		}
		// A message of which only a part has come does not hold the answer back.
		begin := time.Now()
		p.write(p.whole(frame.OpText, "whole"), p.whole(frame.OpText, "half")[:3])
		p.expect(frame.OpText, "whole")
		require.Zero(t, time.Since(begin))
		c.CloseNow()
		<-done
	})
}

// The Pong for a Ping that came together with a message leaves within a
// millisecond though the application does not come back to read.
func TestCorkPong(t *testing.T) {
	ways := []struct {
		name string
		read func(c *Conn) error
	}{
		{"Read", func(c *Conn) error { _, _, err := c.Read(context.Background()); return err }},
		{"Messages", func(c *Conn) error {
			for _, err := range c.Messages(context.Background()) {
				return err
			}
			return io.EOF
		}},
		{"Reader", func(c *Conn) error { _, _, err := c.Reader(context.Background()); return err }},
		{"Reader's Read", func(c *Conn) error {
			_, r, err := c.Reader(context.Background())
			if err == nil {
				_, err = io.ReadFull(r, make([]byte, 3))
			}
			return err
		}},
	}
	for _, tt := range ways {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				p.write(p.whole(frame.OpPing, "before"), p.frame(false, frame.OpText, "ab"),
					p.whole(frame.OpPing, "inside"), p.frame(true, frame.OpContinuation, "c"),
					p.whole(frame.OpText, "next"))
				begin := time.Now()
				require.NoError(t, tt.read(c))
				h, payload, err := p.next()
				require.NoError(t, err)
				require.Equal(t, frame.OpPong, h.Opcode)
				require.LessOrEqual(t, time.Since(begin), corkTime)
				if payload == "before" {
					// A Reader has not come to the second one.
					require.Equal(t, "Reader", tt.name)
					return
				}
				require.Equal(t, "inside", payload, "the newest Ping is answered")
				require.True(t, p.quiet())
			})
		})
	}
}

// Writers that wait for one another are combined: the one whose turn comes
// takes along what the others want to write.
func TestWriteCombined(t *testing.T) {
	for _, cancellable := range []bool{false, true} {
		t.Run(fmt.Sprintf("cancellable=%v", cancellable), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p, transport := countedPeer(t, role, nil)
				filling := letters(fillSize(role))
				require.NoError(t, c.Write(t.Context(), Binary, []byte(filling)))
				first := startErr(func() error { return c.Write(t.Context(), Text, []byte("first")) })
				synctest.Wait()
				transport.take()
				const n = 200
				var wg sync.WaitGroup
				for i := range n {
					wg.Go(func() {
						ctx := context.Background()
						if cancellable {
							var cancel context.CancelFunc
							ctx, cancel = context.WithCancel(ctx)
							defer cancel()
						}
						assert.NoError(t, c.Write(ctx, Text, fmt.Append(nil, i)))
					})
				}
				synctest.Wait()
				p.expect(frame.OpBinary, filling)
				p.expect(frame.OpText, "first")
				require.NoError(t, (<-first).err)
				wg.Wait()
				writes := transport.take()
				require.LessOrEqual(t, len(writes), 2, "%v", writes)
				for range n {
					h, _, err := p.next()
					require.NoError(t, err)
					require.Equal(t, frame.OpText, h.Opcode)
				}
			})
		})
	}
}

func TestWriterFragments(t *testing.T) {
	type fragment struct {
		op   frame.Opcode
		fin  bool
		size int
	}
	first, more, whole := frame.OpText, frame.OpContinuation, frame.OpText
	tests := []struct {
		name   string
		writes []int
		want   []fragment
	}{
		{"nothing", nil, []fragment{{whole, true, 0}}},
		{"an empty write", []int{0}, []fragment{{whole, true, 0}}},
		{"small ones gather", []int{1, 10, 100}, []fragment{{whole, true, 111}}},
		{"one under the buffer", []int{4000, 95}, []fragment{{whole, true, 4095}}},
		{"the buffer", []int{4000, 96}, []fragment{{first, false, 4096}, {more, true, 0}}},
		{"one over the buffer", []int{4000, 97}, []fragment{{first, false, 4096}, {more, true, 1}}},
		{"a large one", []int{largeBytes}, []fragment{{first, false, largeBytes}, {more, true, 0}}},
		{"large ones", []int{100000, 20000, 1}, []fragment{{first, false, 100000}, {more, false, 20000}, {more, true, 1}}},
		{"a large one behind a small one", []int{96, 34000}, []fragment{{first, false, 4096}, {more, false, 30000}, {more, true, 0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				var want strings.Builder
				done := startErr(func() error {
					w, err := c.Writer(t.Context(), Text)
					if err != nil {
						return err
					}
					for i, n := range tt.writes {
						b := []byte(strings.Repeat(string(rune('a'+i)), n))
						want.Write(b)
						if k, err := w.Write(b); err != nil || k != n {
							return fmt.Errorf("wrote %d of %d: %w", k, n, err)
						}
						if string(b) != strings.Repeat(string(rune('a'+i)), n) {
							return errors.New("the bytes were changed")
						}
					}
					return w.Close()
				})
				var got []fragment
				var text string
				for len(got) == 0 || !got[len(got)-1].fin {
					h, payload, err := p.next()
					require.NoError(t, err)
					got = append(got, fragment{h.Opcode, h.Fin, len(payload)})
					text += payload
				}
				require.NoError(t, (<-done).err)
				require.Equal(t, tt.want, got)
				require.True(t, want.String() == text)
				require.Equal(t, int64(1), c.Stats().MessagesWritten)
				require.True(t, p.quiet())
			})
		})
	}
}

// An open Writer's message holds other messages back; control frames pass.
func TestWriterHoldsOthersBack(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		go c.Read(t.Context())
		w, err := c.Writer(t.Context(), Text)
		require.NoError(t, err)
		_, err = w.Write(make([]byte, 4096))
		require.NoError(t, err)
		h, _, err := p.next()
		require.NoError(t, err)
		require.False(t, h.Fin)

		write := startErr(func() error { return c.Write(t.Context(), Text, []byte("written")) })
		synctest.Wait()
		require.NoError(t, c.Send(Text, []byte("sent")))
		var second io.WriteCloser
		writer := startErr(func() (err error) { second, err = c.Writer(t.Context(), Binary); return err })
		synctest.Wait()
		last := startErr(func() error { return c.Write(t.Context(), Text, []byte("last")) })
		require.True(t, pending(write))
		require.True(t, pending(writer))
		require.True(t, p.quiet())

		ping := startErr(func() error { _, err := c.Ping(t.Context()); return err })
		h, payload, err := p.next()
		require.NoError(t, err)
		require.Equal(t, frame.OpPing, h.Opcode)
		p.send(frame.OpPong, payload)
		require.NoError(t, (<-ping).err)
		p.send(frame.OpPing, "and back")
		p.expect(frame.OpPong, "and back")

		require.NoError(t, w.Close())
		h, _, err = p.next()
		require.NoError(t, err)
		require.Equal(t, frame.OpContinuation, h.Opcode)
		require.True(t, h.Fin)
		p.expect(frame.OpText, "written")
		p.expect(frame.OpText, "sent")
		require.NoError(t, (<-write).err)
		require.NoError(t, (<-writer).err)
		require.True(t, pending(last))
		require.NoError(t, second.Close())
		p.expect(frame.OpBinary, "")
		p.expect(frame.OpText, "last")
		require.NoError(t, (<-last).err)
	})
}

// Close passes an open Writer's message, which is lost, and what waits behind it
// with it: nothing follows a Close frame. (RFC 6455, section 5.5.1)
func TestWriterClosePasses(t *testing.T) {
	for _, begun := range []bool{false, true} {
		t.Run(fmt.Sprintf("begun=%v", begun), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				w, err := c.Writer(t.Context(), Text)
				require.NoError(t, err)
				if begun {
					_, err = w.Write(make([]byte, 4096))
					require.NoError(t, err)
					_, _, err = p.next()
					require.NoError(t, err)
				}
				write := startErr(func() error { return c.Write(t.Context(), Text, []byte("written")) })
				synctest.Wait()
				require.NoError(t, c.Send(Text, []byte("sent")))
				closed := startErr(func() error { return c.Close(frame.CloseNormal, "") })
				p.expectClose(frame.CloseNormal)
				ce, ok := errors.AsType[*CloseError]((<-write).err)
				require.True(t, ok)
				require.Equal(t, frame.CloseNormal, ce.Code)
				require.ErrorAs(t, w.Close(), &ce)
				_, err = w.Write([]byte("x"))
				require.Error(t, err)
				require.True(t, p.quiet(), "nothing follows the Close frame")
				p.write(p.close(frame.CloseNormal, ""))
				p.nc.(*stream).CloseWrite()
				require.NoError(t, (<-closed).err)
				require.Zero(t, c.Stats().Queued)
			})
		})
	}
}

func TestWriterContext(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		ctx, cancel := context.WithCancel(t.Context())
		w, err := c.Writer(ctx, Text)
		require.NoError(t, err)
		_, err = io.WriteString(w, "never sent")
		require.NoError(t, err)
		waiting := startErr(func() error { return c.Write(t.Context(), Text, []byte("waited")) })
		require.True(t, pending(waiting))

		// Another Writer's context ends while it waits for its turn.
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err = c.Writer(short, Text)
		require.Equal(t, context.DeadlineExceeded, err)

		cancel()
		_, err = c.Writer(ctx, Text)
		require.Equal(t, context.Canceled, err)
		require.Equal(t, context.Canceled, w.Close())
		require.NoError(t, (<-waiting).err)
		p.expect(frame.OpText, "waited")
		require.NoError(t, c.Write(t.Context(), Text, []byte("next")))
		p.expect(frame.OpText, "next")
		require.True(t, p.quiet())
	})
}

// A message of which a fragment was sent cannot be taken back: the connection
// is closed.
func TestWriterAbandoned(t *testing.T) {
	tests := []struct {
		name string
		end  func(w io.WriteCloser, cancel func()) error
		want error
	}{
		{"context", func(w io.WriteCloser, cancel func()) error { cancel(); return w.Close() }, context.Canceled},
		{"not UTF-8", func(w io.WriteCloser, cancel func()) error {
			io.WriteString(w, notUTF8)
			return w.Close()
		}, frame.ErrText},
		{"ends inside a character", func(w io.WriteCloser, cancel func()) error {
			io.WriteString(w, "\xe2\x82")
			return w.Close()
		}, frame.ErrText},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w, err := c.Writer(ctx, Text)
				require.NoError(t, err)
				_, err = w.Write(make([]byte, 4096))
				require.NoError(t, err)
				_, _, err = p.next()
				require.NoError(t, err)
				err = tt.end(w, cancel)
				require.ErrorIs(t, err, tt.want)
				require.Equal(t, err, w.Close(), "again")
				p.expectClose(frame.CloseInternalError)
				p.write(p.close(frame.CloseInternalError, ""))
				p.nc.(*stream).CloseWrite()
				_, _, err = c.Read(t.Context())
				require.ErrorIs(t, err, tt.want)
				require.Equal(t, err, c.Write(t.Context(), Text, nil))
			})
		})
	}
}

func TestWriterAfterClose(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		w, err := c.Writer(t.Context(), Binary)
		require.NoError(t, err)
		_, err = io.WriteString(w, "all")
		require.NoError(t, err)
		require.NoError(t, w.Close())
		_, err = io.WriteString(w, "more")
		require.Equal(t, errWriterClosed, err)
		require.NoError(t, w.Close())
		p.expect(frame.OpBinary, "all")
		require.True(t, p.quiet())
	})
}

// A character may be cut by the fragments' ends.
func TestWriterUTF8AcrossFragments(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		w, err := c.Writer(t.Context(), Text)
		require.NoError(t, err)
		text := strings.Repeat("€", 4096)
		for i := range text {
			_, err := io.WriteString(w, text[i:min(i+3, len(text))])
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		var got string
		for range 3 {
			_, payload, err := p.next()
			require.NoError(t, err)
			got += payload
		}
		h, payload, err := p.next()
		require.NoError(t, err)
		require.True(t, h.Fin)
		require.True(t, text == got+payload)
	})
}

// After a write error, the messages that came before can still be read.
func TestReadAfterWriteError(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		p.write(p.whole(frame.OpText, "one"), p.whole(frame.OpText, "two"), p.close(frame.CloseServiceRestart, "back soon"))
		p.nc.Close()
		err := c.Write(t.Context(), Text, []byte("x"))
		require.ErrorIs(t, err, io.ErrClosedPipe)
		got, err := readAll(c)
		require.Equal(t, []string{"one", "two"}, got)
		ce, ok := errors.AsType[*CloseError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, &CloseError{Code: frame.CloseServiceRestart, Reason: "back soon", Remote: true}, ce)
	})
}

// A Writer whose context has ended holds nobody up, also when it is not touched
// any more.
func TestWriterForgotten(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		ctx, cancel := context.WithCancel(t.Context())
		w, err := c.Writer(ctx, Text)
		require.NoError(t, err)
		_, err = io.WriteString(w, "not enough for a fragment")
		require.NoError(t, err)
		waiting := startErr(func() error { return c.Write(t.Context(), Text, []byte("next")) })
		require.True(t, pending(waiting))
		require.NoError(t, c.Send(Text, []byte("and next")))
		cancel()
		p.expect(frame.OpText, "next")
		p.expect(frame.OpText, "and next")
		require.NoError(t, (<-waiting).err)
		require.ErrorIs(t, w.Close(), context.Canceled)
		_, err = io.WriteString(w, "more")
		require.Error(t, err)
		require.NoError(t, c.Write(t.Context(), Text, nil), "nothing of it is left")
		p.expect(frame.OpText, "")

		ctx, cancel = context.WithCancel(t.Context())
		w, err = c.Writer(ctx, Binary)
		require.NoError(t, err)
		_, err = w.Write(make([]byte, 5000))
		require.NoError(t, err)
		waiting = startErr(func() error { return c.Write(t.Context(), Text, []byte("never")) })
		require.True(t, pending(waiting))
		cancel()
		h, _, err := p.next()
		require.NoError(t, err)
		require.False(t, h.Fin)
		p.expectClose(frame.CloseInternalError)
		require.ErrorIs(t, (<-waiting).err, context.Canceled)
		require.Error(t, w.Close())
	})
}

// A write that was cut off has failed the connection: its error says so, stays,
// and there is no closing handshake to wait for.
func TestWriteCutOff(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, _ := newPeer(t, role, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Write(ctx, Binary, make([]byte, 1<<20))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, net.ErrClosed)
		begin := time.Now()
		require.Equal(t, err, c.Close(frame.CloseNormal, ""))
		require.Zero(t, time.Since(begin))
		require.Equal(t, err, context.Cause(c.Context()))
		require.Equal(t, err, c.Write(t.Context(), Text, nil))
		_, _, rerr := c.Read(t.Context())
		require.Equal(t, err, rerr)
	})
}
