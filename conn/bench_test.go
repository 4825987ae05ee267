package conn_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

var benchmarkSizes = []int{125, 1 << 10, 16 << 10, 1 << 20}

// BenchmarkEcho is one message there and back over TCP. The load is not a Conn:
// it writes frames that were made before, and counts the bytes that come. With
// several in flight it writes them together and reads all answers, then the
// next.
func BenchmarkEcho(b *testing.B) {
	for _, size := range benchmarkSizes {
		for _, inflight := range []int{1, 16} {
			b.Run(fmt.Sprintf("size=%d/inflight=%d", size, inflight), func(b *testing.B) {
				load, server := pair(b)
				c := conn.New(server, frame.Server, nil, nil)
				echoed := make(chan error, 1)
				go func() { echoed <- echo(c.Context(), c, "Messages") }()
				b.Cleanup(func() {
					c.CloseNow()
					soon(b, echoed)
				})
				there := bytes.Repeat(binaryFrame(frame.Client, size), inflight)
				back := int64(inflight * len(binaryFrame(frame.Server, size)))
				read := make([]byte, min(back, 256<<10))

				// An answer may come while the rest is still written, and must then
				// be read for the rest to pass.
				write := make(chan struct{}, 1)
				defer close(write)
				go func() {
					for range write {
						load.Write(there)
					}
				}()
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for i := 0; b.Loop(); i++ {
					if i%inflight > 0 {
						continue // went with those before
					}
					if inflight > 1 {
						write <- struct{}{}
					} else if _, err := load.Write(there); err != nil {
						b.Fatal(err)
					}
					for left := back; left > 0; {
						n, err := load.Read(read[:min(left, int64(len(read)))])
						if err != nil {
							b.Fatal(err)
						}
						left -= int64(n)
					}
				}
			})
		}
	}
}

// BenchmarkRead is one message from a transport that costs nothing but a copy.
func BenchmarkRead(b *testing.B) {
	reads := []struct {
		name string
		loop func(b *testing.B, c *conn.Conn, size int)
	}{
		{"Read", func(b *testing.B, c *conn.Conn, size int) {
			for b.Loop() {
				if _, p, err := c.Read(c.Context()); err != nil || len(p) != size {
					b.Fatal(len(p), err)
				}
			}
		}},
		{"ReadInto", func(b *testing.B, c *conn.Conn, size int) {
			buf := make([]byte, size)
			for b.Loop() {
				if _, p, err := c.ReadInto(c.Context(), buf); err != nil || len(p) != size {
					b.Fatal(len(p), err)
				}
			}
		}},
		{"Messages", func(b *testing.B, c *conn.Conn, size int) {
			for m, err := range c.Messages(c.Context()) {
				if !b.Loop() {
					return
				}
				if err != nil || len(m.Data) != size {
					b.Fatal(len(m.Data), err)
				}
			}
		}},
	}
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		for _, read := range reads {
			for _, size := range benchmarkSizes {
				b.Run(fmt.Sprintf("role=%s/call=%s/size=%d", role, read.name, size), func(b *testing.B) {
					f := binaryFrame(role.Peer(), size)
					c := conn.New(&endless{b: bytes.Repeat(f, max(1, 256<<10/len(f)))}, role, nil, nil)
					defer c.CloseNow()
					b.ReportAllocs()
					b.SetBytes(int64(size))
					read.loop(b, c, size)
				})
			}
		}
	}
}

// BenchmarkWrite is one message to a transport that costs nothing.
func BenchmarkWrite(b *testing.B) {
	benchmarkWriting(b, func(c *conn.Conn, p []byte) error {
		return c.Write(c.Context(), conn.Binary, p)
	})
}

// BenchmarkSend waits for room when the queue is full, so that it measures the
// way of a message through the queue to the transport.
func BenchmarkSend(b *testing.B) {
	benchmarkWriting(b, func(c *conn.Conn, p []byte) error {
		return c.Send(conn.Binary, p)
	})
}

func benchmarkWriting(b *testing.B, write func(*conn.Conn, []byte) error) {
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		for _, size := range benchmarkSizes {
			b.Run(fmt.Sprintf("role=%s/size=%d", role, size), func(b *testing.B) {
				c := conn.New(&endless{}, role, nil, &conn.Options{Overflow: conn.Block})
				defer c.CloseNow()
				p := make([]byte, size)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					if err := write(c, p); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// browserRequest is an opening handshake with the header fields that browsers
// send.
var browserRequest = []byte(request("/chat?room=1",
	"Origin: http://example.com",
	"Pragma: no-cache",
	"Cache-Control: no-cache",
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
	"Accept-Encoding: gzip, deflate, br, zstd",
	"Accept-Language: en-GB,en;q=0.9",
	"Cookie: session=0123456789abcdef0123456789abcdef",
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"))

// BenchmarkHandshake is one opening handshake in Server, and the connection that
// comes of it.
func BenchmarkHandshake(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		c, err := conn.Server(&endless{b: browserRequest}, nil)
		if err != nil {
			b.Fatal(err)
		}
		c.CloseNow()
	}
}

// BenchmarkAccept is the same through net/http, in memory.
func BenchmarkAccept(b *testing.B) {
	ln := make(offered)
	s := &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := conn.Accept(w, r, nil); err == nil {
			c.CloseNow()
		}
	})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	b.Cleanup(func() {
		close(ln)
		require.ErrorIs(b, soon(b, served), net.ErrClosed)
	})
	response := make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		client, server := net.Pipe()
		ln <- server
		if _, err := client.Write(browserRequest); err != nil {
			b.Fatal(err)
		}
		n, err := client.Read(response)
		if err != nil || !bytes.HasPrefix(response[:n], []byte("HTTP/1.1 101 ")) {
			b.Fatalf("%q %v", response[:n], err)
		}
		if _, err := client.Read(response); err != io.EOF {
			b.Fatal(err)
		}
		client.Close()
	}
}

// binaryFrame returns a binary message as the given role sends it.
func binaryFrame(role frame.Role, size int) []byte {
	return appendRaw(nil, role, raw{b0: 0x82, payload: string(make([]byte, size))})
}

// endless is a net.Conn whose other end sends b again and again, and takes
// whatever is written.
type endless struct {
	b   []byte
	pos int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.b[e.pos:])
	e.pos = (e.pos + n) % len(e.b)
	return n, nil
}

func (e *endless) Write(p []byte) (int, error)      { return len(p), nil }
func (e *endless) Close() error                     { return nil }
func (e *endless) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "us", Net: "unix"} }
func (e *endless) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "them", Net: "unix"} }
func (e *endless) SetDeadline(time.Time) error      { return nil }
func (e *endless) SetReadDeadline(time.Time) error  { return nil }
func (e *endless) SetWriteDeadline(time.Time) error { return nil }

// offered is a listener whose connections come over a channel, until that is
// closed.
type offered chan net.Conn

func (o offered) Accept() (net.Conn, error) {
	nc, ok := <-o
	if !ok {
		return nil, net.ErrClosed
	}
	return nc, nil
}

func (o offered) Close() error   { return nil }
func (o offered) Addr() net.Addr { return &net.UnixAddr{Name: "us", Net: "unix"} }
