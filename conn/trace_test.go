package conn

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

// tracer collects what a Trace is shown, as lines.
type tracer struct {
	mu             sync.Mutex
	received, sent []string
}

func (tr *tracer) trace() *Trace {
	line := func(lines *[]string) func(*Conn, frame.Header, []byte) {
		return func(c *Conn, h frame.Header, start []byte) {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			fin := ""
			if !h.Fin {
				fin = " not fin"
			}
			if len(start) > 10 {
				start = start[:10]
			}
			*lines = append(*lines, fmt.Sprintf("%v%s %d %q", h.Opcode, fin, h.Length, start))
		}
	}
	return &Trace{Received: line(&tr.received), Sent: line(&tr.sent)}
}

// take returns the lines since the last call.
func (tr *tracer) take() (received, sent []string) {
	synctest.Wait()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	received, sent = tr.received, tr.sent
	tr.received, tr.sent = nil, nil
	return received, sent
}

func TestTraceSent(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		var tr tracer
		c, p := newPeer(t, role, &Options{Trace: tr.trace()})
		go readAll(c)
		go io.Copy(io.Discard, p.nc)
		require.NoError(t, c.Write(t.Context(), Text, []byte("written")))
		require.NoError(t, c.Write(t.Context(), Binary, []byte(letters(100000))))
		require.NoError(t, c.Send(Text, []byte("sent")))
		synctest.Wait()
		require.NoError(t, c.Send(Binary, []byte(letters(20000))))
		synctest.Wait()
		w, err := c.Writer(t.Context(), Text)
		require.NoError(t, err)
		_, err = w.Write([]byte(letters(5000)))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.ErrorIs(t, c.Write(t.Context(), Text, []byte(notUTF8)), frame.ErrText)
		startPing(t.Context(), c)
		synctest.Wait()
		p.send(frame.OpPing, "pong")
		synctest.Wait()
		go c.Close(frame.CloseNormal, "bye")
		received, sent := tr.take()
		require.Equal(t, []string{`ping 4 "pong"`}, received)
		require.Equal(t, []string{
			`text 7 "written"`,
			`binary 100000 "abcdefghij"`,
			`text 4 "sent"`,
			`binary 20000 "abcdefghij"`,
			`text not fin 4096 "abcdefghij"`,
			fmt.Sprintf("continuation 904 %q", letters(5000)[4096:4106]),
			`ping 8 "\x00\x00\x00\x00\x00\x00\x00\x01"`,
			`pong 4 "pong"`,
			`close 5 "\x03\xe8bye"`,
		}, sent)
	})
}

// A frame that was taken back was not sent.
func TestTraceTakenBack(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		var tr tracer
		c, p, filling := fullPeer(t, role, &Options{Trace: tr.trace()})
		_, sent := tr.take()
		require.Len(t, sent, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, c.Write(ctx, Text, []byte("alone")))

		first := startErr(func() error { return c.Write(t.Context(), Text, []byte("first")) })
		synctest.Wait()
		second := startErr(func() error { return c.Write(t.Context(), Text, []byte(letters(1000))) })
		synctest.Wait()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		third := startErr(func() error { return c.Write(ctx, Text, []byte("third")) })
		synctest.Wait()
		fourth := startErr(func() error { return c.Write(t.Context(), Text, []byte("fourth")) })
		synctest.Wait()
		b := make([]byte, 100)
		_, err := io.ReadFull(p.nc, b)
		require.NoError(t, err)
		p.buf = append(p.buf, b...)
		require.Error(t, (<-third).err)
		p.expect(frame.OpBinary, filling)
		require.NoError(t, (<-first).err)
		require.NoError(t, (<-second).err)
		require.NoError(t, (<-fourth).err)
		_, sent = tr.take()
		require.Equal(t, []string{`text 5 "first"`, `text 1000 "abcdefghij"`, `text 6 "fourth"`}, sent)
	})
}

// A Reader that is asked for single bytes shows no more, so that way is left out.
func TestTraceReceived(t *testing.T) {
	for _, r := range readers[:4] {
		t.Run(r.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) { testTraceReceived(t, role, r.read) })
		})
	}
}

func testTraceReceived(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
	var tr tracer
	c, p := newPeer(t, role, &Options{Trace: tr.trace()})
	go func() {
		p.nc.Write(p.whole(frame.OpText, "whole"))
		p.nc.Write(p.whole(frame.OpBinary, ""))
		p.nc.Write(append(p.frame(false, frame.OpText, "first"), p.whole(frame.OpPing, "ping")...))
		p.nc.Write(append(p.frame(true, frame.OpContinuation, "last"), p.whole(frame.OpPong, "pong")...))
		p.nc.Write(p.whole(frame.OpBinary, letters(100000)))
		p.nc.Write(p.close(frame.CloseGoingAway, ""))
		p.nc.Close()
	}()
	for range 4 {
		_, _, err := read(t.Context(), c)
		require.NoError(t, err)
	}
	_, _, err := read(t.Context(), c)
	require.ErrorIs(t, err, io.EOF)
	received, _ := tr.take()
	require.Equal(t, []string{
		`text 5 "whole"`,
		`binary 0 ""`,
		`text not fin 5 "first"`,
		`ping 4 "ping"`,
		`continuation 4 "last"`,
		`pong 4 "pong"`,
		`binary 100000 "abcdefghij"`,
		`close 2 "\x03\xe9"`,
	}, received)
}
