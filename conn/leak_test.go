package conn

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/handshake"
)

// leaver is a client that leaves a server in one of the states that a connection
// can be left in.
type leaver struct {
	name string
	path string
	// leave gets a connection, after the opening handshake if there is a path, and
	// returns when it is in the state; the connection is dropped then.
	leave func(t testing.TB, nc net.Conn, r *bufio.Reader)
}

// fromClient returns frames of a client.
func fromClient(h ...frame.Header) (b []byte) {
	for _, h := range h {
		h.Masked = true
		b = frame.AppendHeader(b, h)
	}
	return b
}

func leavesBehind(b []byte) func(testing.TB, net.Conn, *bufio.Reader) {
	return func(t testing.TB, nc net.Conn, _ *bufio.Reader) {
		_, err := nc.Write(b)
		assert.NoError(t, err)
	}
}

var leavers = []leaver{
	{"connected", "", leavesBehind(nil)},
	{"in the handshake", "", leavesBehind([]byte("GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: web"))},
	{"refused", "", leavesBehind([]byte("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"))},
	{"idle", "/echo", leavesBehind(nil)},
	{"in a header", "/echo", leavesBehind([]byte{0x82})},
	{"in a frame", "/echo", leavesBehind(append(fromClient(frame.Header{Fin: true, Opcode: frame.OpBinary, Length: 100000}), "some of it"...))},
	{"in a message", "/echo", leavesBehind(fromClient(frame.Header{Opcode: frame.OpText}))},
	{"after a message", "/echo", leavesBehind(fromClient(frame.Header{Fin: true, Opcode: frame.OpText}))},
	{"not reading", "/flood", leavesBehind(nil)},
	{"not reading, to the end", "/flood", func(t testing.TB, nc net.Conn, r *bufio.Reader) {
		for {
			if _, err := nc.Write(make([]byte, 10000)); err != nil {
				return // the server has given up
			}
		}
	}},
	{"closing, not waiting", "/echo", leavesBehind(fromClient(frame.Header{Fin: true, Opcode: frame.OpClose}))},
	{"closing, to the end", "/echo", func(t testing.TB, nc net.Conn, r *bufio.Reader) {
		leavesBehind(fromClient(frame.Header{Fin: true, Opcode: frame.OpClose}))(t, nc, r)
		for {
			if _, err := r.ReadByte(); err != nil {
				return
			}
		}
	}},
	{"closed by the server, not answering", "/close", func(t testing.TB, nc net.Conn, r *bufio.Reader) {
		r.ReadByte()
	}},
	{"after an error", "/echo", leavesBehind([]byte{0x83, 0x80, 0, 0, 0, 0})},
	{"after an error, sending on", "/echo", leavesBehind(append([]byte{0x83, 0x80, 0, 0, 0, 0}, make([]byte, 50000)...))},
	{"in the handler", "/stay", leavesBehind(nil)},
	{"in a panic", "/panic", leavesBehind(nil)},
}

// server takes what leavers do to it, and is stopped by the returned function.
func leakServer(t *testing.T, raw bool) (addr string, stop func()) {
	f := func(ctx context.Context, c *Conn) error {
		switch c.Request().URL.Path {
		case "/flood":
			for {
				if err := c.Write(ctx, Binary, make([]byte, 100000)); err != nil {
					return err
				}
			}
		case "/close":
			return nil
		case "/stay":
			go c.Read(ctx)
			<-ctx.Done()
			return nil
		case "/panic":
			panic("on purpose")
		}
		for m, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			c.Send(m.Type, m.Data)
		}
		return nil
	}
	const short = 300 * time.Millisecond
	var tracker Tracker
	o := &AcceptOptions{HandshakeTimeout: time.Minute, Options: Options{
		CloseTimeout: short, WriteTimeout: short, Keepalive: short, KeepaliveTimeout: short, Tracker: &tracker,
		Logger: slog.New(slog.DiscardHandler),
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	hs := &http.Server{Handler: Handler(f, o), ReadHeaderTimeout: time.Minute}
	go func() {
		if raw {
			served <- Serve(ln, f, o)
		} else {
			served <- hs.Serve(ln)
		}
	}()
	return ln.Addr().String(), func() {
		ln.Close()
		hs.Close()
		<-served
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, tracker.Shutdown(ctx))
		require.Zero(t, tracker.Len())
	}
}

// visit leaves count connections behind, in every state.
func visit(t *testing.T, addr string, count int) {
	var wg sync.WaitGroup
	limit := make(chan struct{}, 50)
	for i := range count {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			l := leavers[i%len(leavers)]
			nc, err := net.Dial("tcp", addr)
			if !assert.NoError(t, err) {
				return
			}
			defer nc.Close()
			if i/len(leavers)%2 == 0 {
				nc.(*net.TCPConn).SetLinger(0) // a reset instead of an end
			}
			r := bufio.NewReader(nc)
			if l.path != "" {
				client := &handshake.Client{}
				req, err := client.Request("ws://" + addr + l.path)
				if !assert.NoError(t, err) || !assert.NoError(t, req.Write(nc)) {
					return
				}
				resp, err := http.ReadResponse(r, req)
				if !assert.NoError(t, err, l.name) {
					return
				}
				_, err = client.Check(req, resp)
				assert.NoError(t, err, l.name)
			}
			l.leave(t, nc, r)
		})
	}
	wg.Wait()
}

// TestNothingLeft opens 1,000 connections each way and drops them in every
// state: no goroutine, descriptor or memory may be left of them.
func TestNothingLeft(t *testing.T) {
	for _, raw := range []bool{false, true} {
		t.Run(fmt.Sprint("raw=", raw), func(t *testing.T) {
			visitAndStop := func(count int) {
				addr, stop := leakServer(t, raw)
				visit(t, addr, count)
				stop()
			}
			visitAndStop(len(leavers)) // what is made once
			goroutines, files, heap := runtime.NumGoroutine(), descriptors(t), heapInUse()
			visitAndStop(1000)
			assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+1 }, time.Minute, 10*time.Millisecond) // one is Eventually's
			if runtime.NumGoroutine() > goroutines {
				var b strings.Builder
				pprof.Lookup("goroutine").WriteTo(&b, 1)
				require.LessOrEqual(t, runtime.NumGoroutine(), goroutines, b.String())
			}
			assert.LessOrEqual(t, descriptors(t), files)
			assert.Less(t, heapInUse(), heap+1<<20, "a connection leaves less than a KiB")
		})
	}
}

// descriptors returns the number of open files, where that can be known.
func descriptors(t *testing.T) int {
	if runtime.GOOS != "linux" {
		return 0
	}
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

func heapInUse() uint64 {
	for range 3 {
		runtime.GC() // pools are emptied by the second
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
