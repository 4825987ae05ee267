package conn_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

// patience is how long a test waits for what must happen. Nothing is made of its
// length: it ends a test that would hang.
const patience = 30 * time.Second

// raw is a frame as it stands on the wire, right or wrong. It is encoded here and
// not by package frame, so that the two check each other.
type raw struct {
	b0      byte   // FIN, reserved bits and opcode
	payload string // what is sent of the payload, unmasked
	length  string // the length as it is announced, without the mask bit; "" is that of payload
	flip    bool   // masked by a server, unmasked by a client
}

// appendRaw appends frames as the given role sends them.
func appendRaw(dst []byte, role frame.Role, frames ...raw) []byte {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	for _, f := range frames {
		length := f.length
		if n := len(f.payload); length == "" {
			switch {
			case n < 126:
				length = string([]byte{byte(n)})
			case n < 1<<16:
				length = string([]byte{126, byte(n >> 8), byte(n)})
			default:
				length = string([]byte{127, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
			}
		}
		masked := (role == frame.Client) != f.flip
		start := len(dst)
		dst = append(dst, f.b0)
		dst = append(dst, length...)
		if !masked {
			dst = append(dst, f.payload...)
			continue
		}
		dst[start+1] |= 0x80
		dst = append(dst, key[:]...)
		for i := range len(f.payload) {
			dst = append(dst, f.payload[i]^key[i%4])
		}
	}
	return dst
}

// came is a frame that came.
type came struct {
	op      frame.Opcode
	payload string
}

// wire is a peer by hand: it writes bytes and reads frames.
type wire struct {
	t    testing.TB
	nc   net.Conn
	br   *bufio.Reader
	role frame.Role     // this peer's
	recv frame.Receiver // what the connection under test may send
}

func newWire(t testing.TB, nc net.Conn, role frame.Role) *wire {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &wire{t: t, nc: nc, br: bufio.NewReader(nc), role: role, recv: frame.Receiver{Role: role}}
}

// write writes bytes. The other end may have closed the connection already.
func (w *wire) write(b []byte) {
	w.t.Helper()
	if _, err := w.nc.Write(b); err != nil {
		require.False(w.t, isTimeout(err), "writing: %v", err)
	}
}

// send writes frames at once.
func (w *wire) send(frames ...raw) {
	w.t.Helper()
	w.write(appendRaw(nil, w.role, frames...))
}

// next returns the next frame, which must be legal, or the error of the stream.
func (w *wire) next() (came, error) {
	w.t.Helper()
	var head []byte
	for {
		b, err := w.br.ReadByte()
		if err != nil {
			require.Empty(w.t, head, "the stream ended inside a header: %v", err)
			return came{}, err
		}
		head = append(head, b)
		h, n, err := frame.ParseHeader(head)
		require.NoError(w.t, err)
		if n == 0 {
			continue
		}
		require.NoError(w.t, w.recv.Next(h))
		payload := make([]byte, h.Length)
		_, err = io.ReadFull(w.br, payload)
		require.NoError(w.t, err, "in a frame of %d bytes", h.Length)
		require.NoError(w.t, w.recv.Payload(payload))
		return came{h.Opcode, string(payload)}, nil
	}
}

// expect reads frames, which must be these.
func (w *wire) expect(want ...came) {
	w.t.Helper()
	for i := range want {
		got, err := w.next()
		require.NoError(w.t, err, "instead of frame %d: %.60v", i, want[i])
		require.Equal(w.t, want[i].op, got.op, "frame %d: %.60q", i, got.payload)
		require.True(w.t, want[i].payload == got.payload, "frame %d: %.60q", i, got.payload)
	}
}

// expectEnd reads the end of the stream.
func (w *wire) expectEnd() {
	w.t.Helper()
	got, err := w.next()
	require.Equal(w.t, io.EOF, err, "%.60v", got)
}

// readClose reads up to the Close frame and returns the frames before it and its
// code and reason.
func (w *wire) readClose() (before []came, code frame.CloseCode, reason string) {
	w.t.Helper()
	for {
		got, err := w.next()
		require.NoError(w.t, err, "before the Close frame")
		if got.op != frame.OpClose {
			before = append(before, got)
			continue
		}
		code, reason, err := frame.ParseClose([]byte(got.payload))
		require.NoError(w.t, err)
		return before, code, reason
	}
}

// request is an opening handshake with further header fields; "\n" ends each.
func request(path string, fields ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// response reads a response and its body.
func (w *wire) response() (*http.Response, string) {
	w.t.Helper()
	r, err := http.ReadResponse(w.br, nil)
	require.NoError(w.t, err)
	if r.StatusCode == http.StatusSwitchingProtocols {
		return r, ""
	}
	body, err := io.ReadAll(r.Body)
	require.NoError(w.t, err)
	return r, string(body)
}

// rest reads until the stream ends.
func (w *wire) rest() (string, error) {
	rest, err := io.ReadAll(w.br)
	if err == nil {
		err = io.EOF
	}
	return string(rest), err
}

// accepted reads the response that opens the connection.
func (w *wire) accepted() *http.Response {
	w.t.Helper()
	r, body := w.response()
	require.Equal(w.t, http.StatusSwitchingProtocols, r.StatusCode, body)
	// The sample of RFC 6455, section 1.3.
	require.Equal(w.t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", r.Header.Get("Sec-WebSocket-Accept"))
	return r
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// reset reports whether err is what is left of a connection that the other end
// has closed while bytes were on their way to it.
func reset(err error) bool {
	return err != nil && !isTimeout(err)
}

// host is a server under test.
type host struct {
	network, addr string
	tls           *tls.Config
}

// dial connects to the server.
func (h *host) dial(t testing.TB) *wire {
	t.Helper()
	nc, err := h.connect()
	require.NoError(t, err)
	return newWire(t, nc, frame.Client)
}

// open connects to the server and does the opening handshake.
func (h *host) open(t testing.TB, path string, fields ...string) *wire {
	t.Helper()
	w := h.dial(t)
	w.write([]byte(request(path, fields...)))
	w.accepted()
	return w
}

func (h *host) connect() (net.Conn, error) {
	if h.tls != nil {
		return tls.Dial(h.network, h.addr, h.tls)
	}
	return net.Dial(h.network, h.addr)
}

// quiet is a log that nobody reads.
var quiet = log.New(io.Discard, "", 0)

// function is what a server calls for each connection.
type function = func(ctx context.Context, c *conn.Conn) error

// ways are the paths on which a server gets its connections.
var ways = []struct {
	name  string
	start func(t testing.TB, f function, o *conn.AcceptOptions) *host
	http  bool // net/http reads the request
}{
	{"Accept", startAccept, true},
	{"Handler", startHandler, true},
	{"HandlerTLS", startHandlerTLS, true},
	{"ServeTCP", startServeTCP, false},
	{"ServeUnix", startServeUnix, false},
	{"ServeTLS", startServeTLS, false},
}

func startAccept(t testing.TB, f function, o *conn.AcceptOptions) *host {
	return startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := conn.Accept(w, r, o)
		if err != nil {
			return
		}
		defer c.CloseNow()
		if err := f(c.Context(), c); err == nil {
			c.Close(frame.CloseNormal, "")
		}
	}))
}

func startHandler(t testing.TB, f function, o *conn.AcceptOptions) *host {
	return startHTTP(t, conn.Handler(f, o))
}

// startHTTP serves a handler. Its log is dropped: panics are part of the tests.
func startHTTP(t testing.TB, h http.Handler) *host {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = quiet
	s.Start()
	t.Cleanup(s.Close)
	return &host{network: "tcp", addr: s.Listener.Addr().String()}
}

func startHandlerTLS(t testing.TB, f function, o *conn.AcceptOptions) *host {
	s := httptest.NewUnstartedServer(conn.Handler(f, o))
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	return &host{network: "tcp", addr: s.Listener.Addr().String(), tls: trust(s)}
}

// trust returns a client's configuration for a server of httptest.
func trust(s *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

func startServeTCP(t testing.TB, f function, o *conn.AcceptOptions) *host {
	return startServe(t, listen(t, "tcp"), f, o)
}

func startServeUnix(t testing.TB, f function, o *conn.AcceptOptions) *host {
	return startServe(t, listen(t, "unix"), f, o)
}

func startServeTLS(t testing.TB, f function, o *conn.AcceptOptions) *host {
	// httptest has a certificate.
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	config := &tls.Config{Certificates: s.TLS.Certificates}
	h := startServe(t, tls.NewListener(listen(t, "tcp"), config), f, o)
	h.tls = trust(s)
	return h
}

func listen(t testing.TB, network string) net.Listener {
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	return ln
}

func startServe(t testing.TB, ln net.Listener, f function, o *conn.AcceptOptions) *host {
	done := make(chan error, 1)
	go func() { done <- conn.Serve(ln, f, o) }()
	t.Cleanup(func() {
		ln.Close()
		require.ErrorIs(t, <-done, net.ErrClosed)
	})
	return &host{network: ln.Addr().Network(), addr: ln.Addr().String()}
}

// pair returns both ends of a TCP connection.
func pair(t testing.TB) (net.Conn, net.Conn) {
	ln := listen(t, "tcp")
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	b, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, b
}

// readers are the ways to read all messages of a connection. Each calls f for
// every message until the connection ends, and returns its error.
var readers = []struct {
	name string
	read func(ctx context.Context, c *conn.Conn, f func(t conn.MessageType, p []byte)) error
}{
	{"Read", func(ctx context.Context, c *conn.Conn, f func(conn.MessageType, []byte)) error {
		for {
			t, p, err := c.Read(ctx)
			if err != nil {
				return err
			}
			f(t, p)
		}
	}},
	{"ReadInto", func(ctx context.Context, c *conn.Conn, f func(conn.MessageType, []byte)) error {
		buf := make([]byte, 0, 16)
		for {
			t, p, err := c.ReadInto(ctx, buf)
			if err != nil {
				return err
			}
			f(t, p)
			buf = p
		}
	}},
	{"Messages", func(ctx context.Context, c *conn.Conn, f func(conn.MessageType, []byte)) error {
		for m, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			f(m.Type, m.Data)
		}
		return context.Cause(c.Context())
	}},
	{"Reader", func(ctx context.Context, c *conn.Conn, f func(conn.MessageType, []byte)) error {
		for {
			t, r, err := c.Reader(ctx)
			if err != nil {
				return err
			}
			var message bytes.Buffer
			if _, err := io.CopyBuffer(struct{ io.Writer }{&message}, r, make([]byte, 7)); err != nil {
				return err
			}
			f(t, message.Bytes())
		}
	}},
}

// echo sends every message back, read in the given way, until the connection
// ends.
func echo(ctx context.Context, c *conn.Conn, reader string) error {
	for _, r := range readers {
		if r.name == reader {
			return r.read(ctx, c, func(t conn.MessageType, p []byte) { c.Write(ctx, t, p) })
		}
	}
	return errors.New("no reader " + reader)
}

// soon waits for a value.
func soon[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.FailNow(t, "waited in vain")
		panic("unreachable")
	}
}
