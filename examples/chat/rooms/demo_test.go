package rooms

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

// Each number arrives when it is sent.
func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := conn.Pipe(nil, nil)
		ended := make(chan error, 1)
		go func() { ended <- count(s.Context(), s) }()
		begun := time.Now()
		for n := range 100 {
			got := next(t, c)
			require.EqualValues(t, n+1, got.N)
			require.Equal(t, time.Duration(n)*time.Second, time.Since(begun))
		}
		require.NoError(t, c.Close(frame.CloseNormal, ""))
		require.ErrorIs(t, <-ended, io.EOF)
	})
}
