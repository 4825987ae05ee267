package conn

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

// countedContext counts who waits for its end.
type countedContext struct {
	context.Context
	mu                  sync.Mutex
	registered, stopped int
}

// Value hides what would let context.AfterFunc pass c by.
func (c *countedContext) Value(any) any { return nil }

// AfterFunc is what context.AfterFunc uses.
func (c *countedContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	c.registered++
	c.mu.Unlock()
	stopf := context.AfterFunc(c.Context, f)
	return func() bool {
		c.mu.Lock()
		c.stopped++
		c.mu.Unlock()
		return stopf()
	}
}

func (c *countedContext) counts() [2]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return [2]int{c.registered, c.stopped}
}

func countContext(t *testing.T) *countedContext {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &countedContext{Context: ctx}
}

// A context that is used again stays registered; one that is not is left at
// once; and the end of the connection leaves all.
func TestWatchRegistration(t *testing.T) {
	calls := []struct {
		name string
		call func(ctx context.Context, c *Conn, p *peer) error
	}{
		{"Read", func(ctx context.Context, c *Conn, p *peer) error {
			p.send(frame.OpText, "x")
			_, _, err := c.Read(ctx)
			return err
		}},
		{"Write", func(ctx context.Context, c *Conn, p *peer) error {
			err := c.Write(ctx, Text, []byte("x"))
			p.expect(frame.OpText, "x")
			return err
		}},
	}
	for _, tt := range calls {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				again := countContext(t)
				for i := range 10 {
					require.NoError(t, tt.call(again, c, p))
					switch i {
					case 0:
						require.Equal(t, [2]int{1, 1}, again.counts(), "it may have been the only call")
					default:
						require.Equal(t, [2]int{2, 1}, again.counts())
					}
				}
				once := countContext(t)
				require.NoError(t, tt.call(once, c, p))
				require.Equal(t, [2]int{1, 1}, once.counts())
				require.Equal(t, [2]int{2, 2}, again.counts())

				// A registration that was kept for another call does not hit this one.
				for range 3 {
					require.NoError(t, tt.call(again, c, p))
				}
				require.Equal(t, [2]int{4, 3}, again.counts())
				require.NoError(t, tt.call(t.Context(), c, p))
				require.Equal(t, [2]int{4, 4}, again.counts())
				for range 3 {
					require.NoError(t, tt.call(again, c, p))
				}
				p.nc.Close()
				readAll(c)
				require.Equal(t, [2]int{6, 6}, again.counts())
			})
		})
	}
}

// A context that ends between two calls, or after the last one, interrupts
// nothing.
func TestWatchBetweenCalls(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			p.send(frame.OpText, "x")
			_, _, err := c.Read(ctx)
			require.NoError(t, err)
			require.NoError(t, c.Write(ctx, Text, []byte("x")))
		}
		cancel()
		synctest.Wait()
		done := startRead(t.Context(), c)
		require.True(t, pending(done))
		require.NoError(t, c.Write(t.Context(), Text, []byte("x")))
		p.send(frame.OpText, "later")
		r := <-done
		require.NoError(t, r.err)
		require.Equal(t, "later", r.text)
	})
}

// The context of a read does not interrupt a write, and the other way round.
func TestWatchDirections(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p, filling := fullPeer(t, role, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		write := startErr(func() error { return c.Write(t.Context(), Text, []byte("x")) })
		_, _, err := c.Read(ctx)
		require.Equal(t, context.DeadlineExceeded, err)
		require.True(t, pending(write))
		read := startRead(t.Context(), c)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, c.Write(ctx, Text, []byte("y")))
		require.True(t, pending(read))
		p.expect(frame.OpBinary, filling)
		p.expect(frame.OpText, "x")
		require.NoError(t, (<-write).err)
		p.send(frame.OpText, "z")
		require.Equal(t, "z", (<-read).text)
	})
}

// A context that outlives the connections it was used with keeps none of them.
func TestWatchReleased(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for name, end := range map[string]func(c, other *Conn){
		"CloseNow":      func(c, _ *Conn) { c.CloseNow() },
		"Close":         func(c, _ *Conn) { c.Close(frame.CloseNormal, "") },
		"peer is gone":  func(c, other *Conn) { other.CloseNow(); c.Read(ctx) },
		"broken frames": func(c, other *Conn) { other.nc.Write([]byte{0xFF, 0xFF, 0xFF}); c.Read(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			kept := func() weak.Pointer[Conn] {
				c, other := Pipe(nil, nil)
				for range 3 {
					require.NoError(t, other.Write(ctx, Text, []byte("message")))
					_, _, err := c.Read(ctx)
					require.NoError(t, err)
					require.NoError(t, c.Write(ctx, Text, []byte("message")))
				}
				go other.CloseNow()
				end(c, other)
				return weak.Make(c)
			}()
			require.Eventually(t, func() bool {
				runtime.GC()
				return kept.Value() == nil
			}, time.Minute, time.Millisecond)
		})
	}
}
