package conn

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestContextEnds asks a connection's context for everything at all times before
// and after the end: what it is made of is made late.
func TestContextEnds(t *testing.T) {
	asks := []struct {
		name  string
		early func(ctx context.Context) context.Context // returns one that ends as well
		made  bool
	}{
		{"never", func(ctx context.Context) context.Context { return ctx }, false},
		{"Err", func(ctx context.Context) context.Context { require.NoError(t, ctx.Err()); return ctx }, false},
		{"Deadline", func(ctx context.Context) context.Context {
			_, ok := ctx.Deadline()
			require.False(t, ok)
			return ctx
		}, false},
		{"String", func(ctx context.Context) context.Context {
			require.Equal(t, "conn.Context", fmt.Sprint(ctx))
			return ctx
		}, false},
		{"Done", func(ctx context.Context) context.Context { ctx.Done(); return ctx }, true},
		{"Value", func(ctx context.Context) context.Context { require.Nil(t, ctx.Value("key")); return ctx }, true},
		{"Cause", func(ctx context.Context) context.Context { require.NoError(t, context.Cause(ctx)); return ctx }, false},
		{"child", func(ctx context.Context) context.Context {
			child, cancel := context.WithCancel(ctx)
			t.Cleanup(cancel)
			return child
		}, true},
		{"child with a value", func(ctx context.Context) context.Context { return context.WithValue(ctx, "key", 1) }, false},
	}
	for _, ask := range asks {
		t.Run(ask.name, func(t *testing.T) {
			c, peer := Pipe(nil, nil)
			defer peer.CloseNow()
			ctx := ask.early(c.Context())
			require.Equal(t, ask.made, c.made.Load() != nil)
			c.CloseNow()
			if ask.made {
				<-ctx.Done()
			}
			require.Equal(t, context.Canceled, ctx.Err())
			select {
			case <-ctx.Done():
			default:
				require.Fail(t, "Done is open after Err")
			}
			require.Equal(t, errCloseNow, context.Cause(ctx))
			require.Equal(t, errCloseNow, context.Cause(c.Context()))
			late, cancel := context.WithCancel(ctx)
			defer cancel()
			require.Equal(t, errCloseNow, context.Cause(late))
		})
	}
}

// TestContextAskedAtTheEnd has the end come while another goroutine asks.
func TestContextAskedAtTheEnd(t *testing.T) {
	for range 1000 {
		c, peer := Pipe(nil, nil)
		asked := make(chan error)
		go func() {
			<-c.Context().Done()
			asked <- context.Cause(c.Context())
		}()
		c.CloseNow()
		require.Equal(t, errCloseNow, <-asked)
		peer.CloseNow()
	}
}

// TestContextIsNotMadeInVain holds that a connection's life needs none but its own.
func TestContextIsNotMadeInVain(t *testing.T) {
	c, s := Pipe(nil, nil)
	echoed := make(chan error)
	go func() {
		for m, err := range s.Messages(s.Context()) {
			if err == nil {
				err = s.Write(s.Context(), m.Type, m.Data)
			}
			if err != nil {
				echoed <- err
				return
			}
		}
		echoed <- nil
	}()
	require.NoError(t, c.Write(t.Context(), Text, []byte("hello")))
	_, p, err := c.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "hello", string(p))
	c.CloseNow()
	require.ErrorIs(t, <-echoed, errEndOfStream)
	require.Nil(t, s.made.Load())
	require.Nil(t, c.made.Load())
}

// mergedContext ends by itself, and has the values of another.
type mergedContext struct {
	context.Context
	done  chan struct{}
	asked func()
}

func (x *mergedContext) Done() <-chan struct{} { return x.done }
func (x *mergedContext) Err() error            { return nil }
func (x *mergedContext) Value(key any) any {
	x.asked()
	return x.Context.Value(key)
}

// TestContextAskedUnderLocks has package context ask for a connection's context
// while a watch of the connection is locked, and the connection beside it.
func TestContextAskedUnderLocks(t *testing.T) {
	bubble(t, "in memory", func(t *testing.T) {
		c, s := Pipe(nil, nil)
		defer c.CloseNow()
		ctx := &mergedContext{Context: s.Context(), done: make(chan struct{})}
		ctx.asked = func() {
			require.False(t, s.watching().write.mu.TryLock(), "the watch is locked")
			s.mu.Lock() // as another writer may have it, who waits for the watch
			defer s.mu.Unlock()
			ctx.Context.Done()
		}
		require.NoError(t, s.Write(ctx, Text, []byte("hello")))
		require.NotNil(t, s.made.Load())
		s.CloseNow()
		require.Equal(t, errCloseNow, context.Cause(s.Context()))
	})
}

// TestContextWhileEnding looks between the two steps of the end.
func TestContextWhileEnding(t *testing.T) {
	c, peer := Pipe(nil, nil)
	defer peer.CloseNow()
	defer c.CloseNow()
	early, cancel := context.WithCancel(peer.Context())
	defer cancel()
	for _, c := range []*Conn{c, peer} {
		c.mu.Lock()
		c.err = errKeepalive
		c.over.Store(true)
		c.mu.Unlock()
		ctx := c.Context()
		first := ctx.Err()
		<-ctx.Done()
		require.Equal(t, context.Canceled, ctx.Err())
		require.Equal(t, errKeepalive, context.Cause(ctx))
		if c != peer {
			require.Equal(t, context.Canceled, first)
		}
	}
	<-early.Done()
}
