package conn

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"rfc6455/frame"
	"bytes"
	"testing/synctest"
)

func TestSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := Pipe(nil, nil)
		ctx := context.Background()
		go func() {
			for m, err := range s.Messages(ctx) {
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Write(ctx, m.Type, m.Data); err != nil {
					t.Error(err)
				}
			}
			t.Log("server messages over", s.sticky())
		}()
		for _, n := range []int{0, 1, 125, 126, 4000, 5000, 65535, 65536, 1 << 20} {
			p := bytes.Repeat([]byte("a"), n)
			go func() { require.NoError(t, c.Write(ctx, Text, p)) }()
			mt, q, err := c.Read(ctx)
			require.NoError(t, err)
			require.Equal(t, Text, mt)
			require.Equal(t, len(p), len(q))
			require.Equal(t, p, q)
		}
		go func() {
			_, _, err := c.Read(ctx)
			t.Log("client read:", err)
		}()
		d, err := c.Ping(ctx)
		require.NoError(t, err)
		t.Log("ping", d)
		require.NoError(t, c.Send(Binary, []byte("x")))
		require.NoError(t, c.Close(frame.CloseNormal, "bye"))
		_, _, err = s.Read(ctx)
		t.Log(err)
		require.True(t, errors.Is(err, io.EOF))
		_, _, err = c.Read(ctx)
		t.Log(err)
	})
}
