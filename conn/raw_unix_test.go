//go:build unix

package conn

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

// A connection that waits drops its request, and makes it again when it is asked
// for it. Whoever holds it finds the same.
func TestRequestAgain(t *testing.T) {
	check := func(*http.Request) error { return nil }
	for _, tt := range []struct {
		name    string
		o       *AcceptOptions
		fields  string
		dropped bool
	}{
		{"plain", nil, "X: 1\r\nx: 2\r\n", true},
		{"with CheckOrigin, which may have changed it", &AcceptOptions{CheckOrigin: check}, "", false},
		{"that net/http had to read", nil, "X: \xFC\r\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer ln.Close()
			client, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			defer client.Close()
			server, err := ln.Accept()
			require.NoError(t, err)
			_, err = client.Write([]byte("GET /room?a=1 HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + tt.fields + "\r\n"))
			require.NoError(t, err)
			c, err := Server(server, tt.o)
			require.NoError(t, err)
			defer c.CloseNow()
			first := c.Request()
			require.Same(t, first, c.Request())
			require.Equal(t, client.LocalAddr().String(), first.RemoteAddr)
			read := startErr(func() error { _, _, err := c.Read(c.Context()); return err })
			for c.waiting.Load() == 0 {
				runtime.Gosched()
			}
			again := c.Request()
			require.Equal(t, tt.dropped, first != again)
			require.Equal(t, first, again)
			require.Equal(t, c.Context(), again.Context())
			client.Close()
			require.Error(t, (<-read).err)
			require.Same(t, again, c.Request(), "as long as it is held")
			runtime.KeepAlive(again)
			again = nil
			runtime.GC()
			require.Equal(t, first, c.Request())
		})
	}
}

// The time of a write goes on when a frame is cut out of its batch, or else those
// who give up could keep a peer that reads nothing.
func TestWriteTimeoutGoesOn(t *testing.T) {
	peer, nc := socketPair(t, "unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, nc.(*net.UnixConn).SetWriteBuffer(4096))
	c := New(nc, frame.Server, nil, &Options{WriteTimeout: time.Hour})
	defer c.CloseNow()
	require.NotNil(t, c.raw)
	filling := startErr(func() error { return c.Write(t.Context(), Binary, make([]byte, 1<<20)) })
	writing := func() (since time.Duration, entries int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for e := c.taken.head; e != nil; e = e.next {
			entries++
		}
		return c.writeStart, entries
	}
	for since, _ := writing(); since == 0; since, _ = writing() {
		runtime.Gosched()
	}
	// While that is under way, these gather for one batch.
	var cancels []context.CancelFunc
	var writes []<-chan result
	for range 6 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cancels = append(cancels, cancel)
		writes = append(writes, startErr(func() error { return c.Write(ctx, Binary, make([]byte, 10<<10)) }))
		for queued(c) < len(writes) {
			runtime.Gosched()
		}
	}
	got := make([]byte, 2000)
	for _, entries := writing(); entries < len(writes); _, entries = writing() {
		_, err := peer.Read(got)
		require.NoError(t, err)
	}
	require.NoError(t, (<-filling).err)
	// The socket takes the first of the batch, and no more.
	begin := time.Duration(0)
	for begin == 0 {
		begin, _ = writing()
		runtime.Gosched()
	}
	for i := len(writes) - 1; i > 2; i-- {
		cancels[i]()
		require.ErrorIs(t, (<-writes[i]).err, context.Canceled)
		since, _ := writing()
		require.Equal(t, begin, since)
	}
}

// queued returns how many writes wait for their turn.
func queued(c *Conn) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.queue.head; e != nil; e = e.next {
		n++
	}
	return n
}

// Peers that keep an opening handshake waiting hold up nobody else's, however many
// they are.
func TestServeMakesWay(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for _, tt := range []struct {
		name string
		sent string
		o    *AcceptOptions
	}{
		{"nothing sent", "", &AcceptOptions{HandshakeTimeout: -1}},
		{"not all sent", request[:len(request)-1], &AcceptOptions{HandshakeTimeout: -1}},
		{"refusal not taken", request[:40] + "\r\n", &AcceptOptions{HandshakeTimeout: -1}},
		{"response not taken", request, &AcceptOptions{
			HandshakeTimeout: -1,
			Header:           http.Header{"X-Long": {strings.Repeat("x", 16<<20)}}, // more than a socket holds
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			served := startErr(func() error { return Serve(ln, serveEcho, tt.o) })
			dial := func(sent string) net.Conn {
				nc, err := net.Dial("tcp", ln.Addr().String())
				require.NoError(t, err)
				t.Cleanup(func() { nc.Close() })
				_, err = nc.Write([]byte(sent))
				require.NoError(t, err)
				return nc
			}
			for range 4*runtime.GOMAXPROCS(0) + 4 {
				dial(tt.sent)
			}
			honest := dial(request)
			honest.SetDeadline(time.Now().Add(time.Minute))
			start := make([]byte, 12)
			_, err = io.ReadFull(honest, start)
			require.NoError(t, err)
			require.Equal(t, "HTTP/1.1 101", string(start))
			ln.Close()
			require.ErrorIs(t, (<-served).err, net.ErrClosed)
		})
	}
}
