package conn

import (
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

func TestStats(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		require.Zero(t, c.Stats())
		mask := int64(0)
		if role == frame.Client {
			mask = 4
		}
		var want Stats
		check := func(what string) {
			t.Helper()
			synctest.Wait()
			require.Equal(t, want, c.Stats(), what)
		}

		require.NoError(t, c.Write(t.Context(), Text, make([]byte, 10)))
		want.MessagesWritten++
		want.BytesWritten += 2 + mask + 10
		check("Write")
		require.NoError(t, c.Send(Text, make([]byte, 200)))
		want.MessagesWritten++
		want.BytesWritten += 4 + mask + 200
		check("Send")
		w, err := c.Writer(t.Context(), Binary)
		require.NoError(t, err)
		_, err = w.Write(make([]byte, 4096))
		require.NoError(t, err)
		want.BytesWritten += 4 + mask + 4096
		check("a fragment is no message")
		require.NoError(t, w.Close())
		want.MessagesWritten++
		want.BytesWritten += 2 + mask
		check("Writer")
		startPing(t.Context(), c)
		want.BytesWritten += 2 + mask + 8
		check("Ping")

		wire := append(p.frame(false, frame.OpText, "ab"), p.frame(true, frame.OpContinuation, "c")...)
		wire = append(wire, p.whole(frame.OpPing, "")...)
		wire = append(wire, p.whole(frame.OpBinary, "")...)
		p.write(wire, p.whole(frame.OpText, letters(1000)))
		want.BytesRead += int64(len(wire) + len(p.whole(frame.OpText, letters(1000))))
		for range 2 {
			_, _, err := c.Read(t.Context())
			require.NoError(t, err)
		}
		_, r, err := c.Reader(t.Context())
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, r)
		require.NoError(t, err)
		read := startRead(t.Context(), c) // the counts are brought up to date before it waits
		want.MessagesRead = 3
		want.BytesWritten += 2 + mask // the Pong
		check("reads")
		require.True(t, pending(read))
	})
}
