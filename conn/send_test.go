package conn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

// stuckPeer returns a connection whose peer reads nothing: a message of Send is
// under way already, so that the next ones stay in the queue. take reads them
// all, without those two.
func stuckPeer(t *testing.T, role frame.Role, o *Options) (c *Conn, p *peer, take func() []string) {
	c, p, filling := fullPeer(t, role, o)
	require.NoError(t, c.Send(Text, []byte("under way")))
	synctest.Wait()
	require.Zero(t, c.Stats().Queued)
	<-time.After(burstTime)
	return c, p, func() (messages []string) {
		p.expect(frame.OpBinary, filling)
		p.expect(frame.OpText, "under way")
		for !p.quiet() {
			h, payload, err := p.next()
			require.NoError(t, err)
			if h.Opcode == frame.OpClose {
				code, _, err := frame.ParseClose([]byte(payload))
				require.NoError(t, err)
				payload = fmt.Sprintf("close %d", code)
			}
			messages = append(messages, payload)
		}
		return messages
	}
}

// sends sends one message after the other and returns the errors.
func sends(c *Conn, messages ...string) (errs []error) {
	for _, m := range messages {
		errs = append(errs, c.Send(Text, []byte(m)))
	}
	return errs
}

// Messages of Send and Write leave in the order of the calls.
func TestSendOrder(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		done := startErr(func() error {
			for i := range 200 {
				m := fmt.Append(nil, i, " ", letters(i*100))
				var err error
				if i%3 == 0 {
					err = c.Write(t.Context(), Text, m)
				} else {
					err = c.Send(Text, m)
				}
				if err != nil {
					return err
				}
				clear(m) // Send has a copy
			}
			return nil
		})
		for i := range 200 {
			p.expect(frame.OpText, fmt.Sprint(i, " ", letters(i*100)))
		}
		require.NoError(t, (<-done).err)
	})
}

func TestSendOverflow(t *testing.T) {
	full := []error{nil, nil, nil}
	tests := []struct {
		name    string
		o       Options
		send    []string
		errs    []error
		want    []string
		dropped int64
	}{
		{"close, fits", Options{QueueMessages: 3}, []string{"a", "b", "c"}, full, []string{"a", "b", "c"}, 0},
		{"close", Options{QueueMessages: 3}, []string{"a", "b", "c", "d", "e"}, append(full, ErrSlowPeer, ErrSlowPeer), []string{"close 1013"}, 4},
		{"drop newest", Options{QueueMessages: 3, Overflow: DropNewest}, []string{"a", "b", "c", "d", "e"}, append(full, ErrQueueFull, ErrQueueFull), []string{"a", "b", "c"}, 2},
		{"drop oldest", Options{QueueMessages: 3, Overflow: DropOldest}, []string{"a", "b", "c", "d", "e"}, append(full, nil, nil), []string{"c", "d", "e"}, 2},
		{"bytes", Options{QueueBytes: 10, Overflow: DropNewest}, []string{"aaaaa", "bbbbb", "c", ""}, append(full[:2:2], ErrQueueFull, nil), []string{"aaaaa", "bbbbb", ""}, 1},
		{"bytes, drop oldest", Options{QueueBytes: 10, Overflow: DropOldest}, []string{"aaa", "bbb", "ccc", "dddd"}, append(full, nil), []string{"bbb", "ccc", "dddd"}, 1},
		{"bytes, drop several", Options{QueueBytes: 10, Overflow: DropOldest}, []string{"aaa", "bbb", "ccc", "dddddddddd"}, append(full, nil), []string{"dddddddddd"}, 3},
		{"one over the bytes is let in", Options{QueueBytes: 10, Overflow: DropNewest}, []string{"aaaaaaaaaaaaaaa", "b"}, []error{nil, ErrQueueFull}, []string{"aaaaaaaaaaaaaaa"}, 1},
		{"one over the bytes replaces all", Options{QueueBytes: 10, Overflow: DropOldest}, []string{"a", "b", "ccccccccccccccc"}, full, []string{"ccccccccccccccc"}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, _, take := stuckPeer(t, role, &tt.o)
				require.Equal(t, tt.errs, sends(c, tt.send...))
				require.Equal(t, tt.dropped, c.Stats().Dropped)
				require.Equal(t, tt.want, take())
				require.Zero(t, c.Stats().Queued)
				require.Zero(t, c.Stats().QueuedBytes)
			})
		})
	}
}

func TestSendDefaults(t *testing.T) {
	bubble(t, "messages", func(t *testing.T) {
		c, _, _ := stuckPeer(t, frame.Server, &Options{Overflow: DropNewest})
		for range 64 {
			require.NoError(t, c.Send(Text, nil))
		}
		require.Equal(t, ErrQueueFull, c.Send(Text, nil))
		require.Equal(t, 64, c.Stats().Queued)
	})
	bubble(t, "bytes", func(t *testing.T) {
		c, _, _ := stuckPeer(t, frame.Server, &Options{Overflow: DropNewest})
		for range 16 {
			require.NoError(t, c.Send(Text, make([]byte, 1<<16)))
		}
		require.Equal(t, ErrQueueFull, c.Send(Text, make([]byte, 1)))
		require.Equal(t, int64(1<<20), c.Stats().QueuedBytes)
	})
	bubble(t, "none", func(t *testing.T) {
		c, _, _ := stuckPeer(t, frame.Server, &Options{QueueMessages: -1, QueueBytes: -1})
		for range 1000 {
			require.NoError(t, c.Send(Text, make([]byte, 10000)))
		}
		require.Equal(t, 1000, c.Stats().Queued)
		require.Equal(t, int64(10000*1000), c.Stats().QueuedBytes)
	})
}

// A slow peer is closed with 1013, and if it does not even take that, lost after
// CloseTimeout.
func TestSendCloseSlow(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p, take := stuckPeer(t, role, &Options{QueueMessages: 1})
		require.Equal(t, []error{nil, ErrSlowPeer}, sends(c, "a", "b"))
		require.Equal(t, ErrSlowPeer, c.Write(t.Context(), Text, nil))
		require.Equal(t, []string{"close 1013"}, take())
		p.write(p.close(frame.CloseTryAgainLater, ""))
		p.nc.(*stream).CloseWrite()
		_, _, err := c.Read(t.Context())
		require.Equal(t, ErrSlowPeer, err)
		require.Equal(t, ErrSlowPeer, context.Cause(c.Context()))
		require.NoError(t, c.Close(frame.CloseNormal, ""), "both Close frames were exchanged")
	})
	bubble(t, "takes nothing", func(t *testing.T) {
		c, _, _ := stuckPeer(t, frame.Server, &Options{QueueMessages: 1})
		begin := time.Now()
		require.Equal(t, []error{nil, ErrSlowPeer}, sends(c, "a", "b"))
		<-c.Context().Done()
		require.Equal(t, 5*time.Second, time.Since(begin))
		require.Equal(t, ErrSlowPeer, context.Cause(c.Context()))
		require.ErrorIs(t, c.Close(frame.CloseNormal, ""), os.ErrDeadlineExceeded)
	})
}

func TestSendBlock(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, _, take := stuckPeer(t, role, &Options{QueueMessages: 2, Overflow: Block})
		done := startErr(func() error { return errors.Join(sends(c, "a", "b", "c", "d", "e", "f")...) })
		require.True(t, pending(done))
		require.Equal(t, 2, c.Stats().Queued)
		require.Equal(t, []string{"a", "b", "c", "d", "e", "f"}, take())
		require.NoError(t, (<-done).err)
		require.Zero(t, c.Stats().Dropped)
	})
	ends := []struct {
		name string
		end  func(c *Conn) error
		want func(err error) bool
		wait time.Duration
	}{
		{"CloseNow", (*Conn).CloseNow, func(err error) bool { return err == errCloseNow }, 0},
		{"Close", func(c *Conn) error { return c.Close(frame.CloseNormal, "") }, func(err error) bool {
			_, ok := errors.AsType[*CloseError](err)
			return ok
		}, 5 * time.Second},
		{"write timeout", func(*Conn) error { return nil }, func(err error) bool { return err == errWriteTimeout }, 10 * time.Second},
	}
	for _, tt := range ends {
		bubble(t, "until "+tt.name, func(t *testing.T) {
			c, _, _ := stuckPeer(t, frame.Server, &Options{QueueMessages: 1, Overflow: Block})
			begin := time.Now()
			require.NoError(t, c.Send(Text, nil))
			var blocked []<-chan result
			for range 5 {
				blocked = append(blocked, startErr(func() error { return c.Send(Text, nil) }))
			}
			require.True(t, pending(blocked[0]))
			tt.end(c)
			for _, done := range blocked {
				r := <-done
				require.True(t, tt.want(r.err), "%v", r.err)
				require.LessOrEqual(t, r.at.Sub(begin), tt.wait)
			}
		})
	}
}

// A message with the key of one that waits takes its place.
func TestSendKeyed(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, _, take := stuckPeer(t, role, &Options{QueueMessages: 4, Overflow: DropNewest})
		for _, m := range []string{"a 1", "- 1", "b 1", "a 2", "- 2", "b 2", "a 3"} {
			key, _, _ := strings.Cut(m, " ")
			require.NoError(t, c.SendKeyed(strings.Trim(key, "-"), Text, []byte(m)))
		}
		require.Equal(t, int64(3), c.Stats().Dropped)
		require.Equal(t, 4, c.Stats().Queued)
		require.Equal(t, int64(12), c.Stats().QueuedBytes)
		require.Equal(t, ErrQueueFull, c.SendKeyed("c", Text, nil))
		require.NoError(t, c.SendKeyed("b", Text, []byte("b 4")), "no more wait than before")
		require.Equal(t, []string{"a 3", "- 1", "b 4", "- 2"}, take())
		require.Equal(t, int64(1+1+4), c.Stats().MessagesWritten)

		require.NoError(t, c.SendKeyed("a", Text, []byte("once more")))
		require.Equal(t, int64(5), c.Stats().Dropped, "a message that left is not replaced")
	})
}

func TestSendMaxAge(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, _, take := stuckPeer(t, role, &Options{QueueMaxAge: time.Second})
		require.NoError(t, c.SendKeyed("k", Text, []byte("replaced")))
		require.NoError(t, c.Send(Text, []byte("too old")))
		<-time.After(time.Nanosecond)
		require.NoError(t, c.Send(Text, []byte("just not too old")))
		<-time.After(time.Second / 2)
		require.NoError(t, c.SendKeyed("k", Text, []byte("replacement")))
		require.NoError(t, c.Send(Text, []byte("young")))
		<-time.After(time.Second / 2)
		require.Equal(t, []string{"replacement", "just not too old", "young"}, take())
		require.Equal(t, int64(2), c.Stats().Dropped)
	})
}

// So it is where a message is compressed only when its turn has come.
func TestSendMaxAgeTakeover(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		o := &Options{QueueMaxAge: time.Second, WriteTimeout: -1, Keepalive: -1, Compression: &Compression{Takeover: true, Threshold: 1}}
		client, server := Pipe(o, o)
		filling := startErr(func() error {
			return client.Write(context.Background(), Binary.Uncompressed(), make([]byte, 1<<20))
		})
		synctest.Wait()
		require.NoError(t, client.Send(Text, []byte("too old")))
		<-time.After(time.Nanosecond)
		require.NoError(t, client.Send(Text, []byte("not too old")))
		<-time.After(time.Second)
		_, _, err := server.Read(server.Context())
		require.NoError(t, err)
		require.NoError(t, (<-filling).err)
		_, p, err := server.Read(server.Context())
		require.NoError(t, err)
		require.Equal(t, "not too old", string(p))
		require.Equal(t, int64(1), client.Stats().Dropped)
		client.CloseNow()
		server.CloseNow()
	})
}

// A peer that never reads costs its queue and what is under way, until the write
// timeout.
func TestSendPeerNeverReads(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, _, _ := stuckPeer(t, role, &Options{Overflow: DropOldest})
		begin := time.Now()
		over := startErr(func() error { <-c.Context().Done(); return nil })
		for i := 0; ; i++ {
			err := c.Send(Binary, make([]byte, 30000))
			if err != nil {
				require.Equal(t, errWriteTimeout, err)
				break
			}
			require.LessOrEqual(t, c.Stats().QueuedBytes, int64(1<<20))
			require.Equal(t, min(i+1, 1<<20/30000), c.Stats().Queued)
			<-time.After(10 * time.Millisecond)
		}
		require.Equal(t, 10*time.Second-burstTime, (<-over).at.Sub(begin))
		require.Zero(t, c.Stats().Queued)
		require.Zero(t, c.Stats().QueuedBytes)
	})
}

// Any calls leave the queue as a slice with the same rules would be.
func TestSendModel(t *testing.T) {
	for _, policy := range []Overflow{DropNewest, DropOldest} {
		t.Run(map[Overflow]string{DropNewest: "newest", DropOldest: "oldest"}[policy], func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				type message struct{ key, text string }
				const messages, bytes = 5, 300
				for seed := range uint64(100) {
					rnd := rand.New(rand.NewPCG(seed, 5))
					c, _, take := stuckPeer(t, role, &Options{QueueMessages: messages, QueueBytes: bytes, Overflow: policy})
					var model []message
					dropped, total := 0, 0
					sum := func() (n int) {
						for _, m := range model {
							n += len(m.text)
						}
						return n
					}
					for i := range 30 {
						m := message{[]string{"", "", "a", "b"}[rnd.IntN(4)], fmt.Sprint(i, letters(rnd.IntN(150)))}
						err := c.SendKeyed(m.key, Text, []byte(m.text))
						var want error
						at := slices.IndexFunc(model, func(o message) bool { return o.key == m.key })
						if m.key == "" {
							at = -1
						}
						if at >= 0 && (len(model) == 1 || sum()-len(model[at].text)+len(m.text) <= bytes) {
							model[at] = m
							dropped++
						} else {
							if at >= 0 && policy == DropOldest {
								model = slices.Delete(model, at, at+1)
								dropped++
							}
							for want == nil && len(model) > 0 && (len(model) == messages || sum()+len(m.text) > bytes) {
								dropped++
								if policy == DropNewest {
									want = ErrQueueFull
								} else {
									model = model[1:]
								}
							}
							if want == nil {
								model = append(model, m)
							}
						}
						require.Equal(t, want, err, "seed %d, message %d", seed, i)
						s := c.Stats()
						require.Equal(t, int64(dropped), s.Dropped)
						require.Equal(t, len(model), s.Queued)
						require.Equal(t, int64(sum()), s.QueuedBytes)
						total++
					}
					var want []string
					for _, m := range model {
						want = append(want, m.text)
					}
					require.Equal(t, want, take(), "seed %d", seed)
					c.CloseNow()
				}
			})
		})
	}
}

// A burst fills the queue before anybody gets to write: a peer that reads is not
// slow for that.
func TestSendBurst(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		got := make(chan int, 1)
		go func() {
			n := 0
			for ; n < 1000; n++ {
				if _, _, err := p.next(); err != nil {
					break
				}
			}
			got <- n
		}()
		for range 1000 {
			require.NoError(t, c.Send(Text, []byte("message")))
		}
		require.Equal(t, 1000, <-got)
	})
}

// While a Writer is open the peer is not to blame for a full queue.
func TestSendDuringWriter(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, &Options{QueueMessages: 2})
		w, err := c.Writer(t.Context(), Text)
		require.NoError(t, err)
		require.Equal(t, []error{nil, nil, ErrQueueFull}, sends(c, "a", "b", "c"))
		require.NoError(t, w.Close())
		p.expect(frame.OpText, "")
		p.expect(frame.OpText, "a")
		p.expect(frame.OpText, "b")
		require.NoError(t, c.Context().Err())
	})
}

// For a moment the peer has had no time to read, and a burst finds more room; not
// more bytes, though, and not for longer.
func TestSendBurstLimit(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		stuck := func(o Options) *Conn {
			o.Overflow = DropNewest
			c, _, _ := fullPeer(t, role, &o)
			require.NoError(t, c.Send(Text, []byte("under way")))
			synctest.Wait()
			return c
		}
		c := stuck(Options{QueueMessages: 3})
		for range burstFactor * 3 {
			require.NoError(t, c.Send(Text, []byte("m")))
		}
		require.Equal(t, ErrQueueFull, c.Send(Text, nil))

		c = stuck(Options{QueueMessages: 3, QueueBytes: 1000})
		require.NoError(t, c.Send(Text, make([]byte, 1000)))
		require.Equal(t, ErrQueueFull, c.Send(Text, []byte("m")))

		c = stuck(Options{QueueMessages: 3})
		<-time.After(burstTime)
		require.Equal(t, []error{nil, nil, nil, ErrQueueFull}, sends(c, "", "", "", ""))
	})
}
