package conn

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/handshake"
)

// doorway is a listener whose connections come from the test.
type doorway struct {
	next    chan net.Conn
	errs    chan error // for Accept to return
	closing sync.Once
	closed  chan struct{}
}

func newDoorway() *doorway {
	return &doorway{next: make(chan net.Conn), errs: make(chan error), closed: make(chan struct{})}
}

func (d *doorway) Accept() (net.Conn, error) {
	var err error
	select {
	case nc := <-d.next:
		return nc, nil
	case err = <-d.errs:
	case <-d.closed:
		err = net.ErrClosed
	}
	return nil, &net.OpError{Op: "accept", Net: "pipe", Err: err}
}

func (d *doorway) Close() error {
	d.closing.Do(func() { close(d.closed) })
	return nil
}

func (d *doorway) Addr() net.Addr { return streamAddr("server") }

// enter connects through the doorway and returns both ends.
func (d *doorway) enter() (client, server *stream) {
	client, server = streamPair()
	d.next <- server
	return client, server
}

// place is a path from a listener to the connection's function.
type place struct {
	name      string
	http, tls bool
}

var places = []place{
	{"Handler", true, false},
	{"Handler over TLS", true, true},
	{"Serve", false, false},
	{"Serve over TLS", false, true},
}

// everyPlace runs f in a bubble for every place.
func everyPlace(t *testing.T, f func(t *testing.T, p place)) {
	certificate(t)
	for _, p := range places {
		bubble(t, p.name, func(t *testing.T) { f(t, p) })
	}
}

// serve serves f on a listener until the test ends.
func (p place) serve(t testing.TB, ln net.Listener, f func(context.Context, *Conn) error, o *AcceptOptions) {
	if p.http {
		p.serveHTTP(t, ln, Handler(f, o))
		return
	}
	if p.tls {
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	}
	untilClosed(t, ln, func() error { return Serve(ln, f, o) })
}

// serveHTTP serves h on a listener until the test ends.
func (p place) serveHTTP(t testing.TB, ln net.Listener, h http.Handler) {
	s := &http.Server{
		Handler:  h,
		ErrorLog: log.New(io.Discard, "", 0),
		// None of these is for what follows an opening handshake.
		ReadTimeout: time.Second, ReadHeaderTimeout: time.Second, WriteTimeout: time.Second, IdleTimeout: time.Second,
	}
	if p.tls {
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	}
	untilClosed(t, ln, func() error { return s.Serve(ln) })
}

func untilClosed(t testing.TB, ln net.Listener, serve func() error) {
	done := make(chan error, 1)
	go func() { done <- serve() }()
	t.Cleanup(func() {
		ln.Close()
		require.ErrorIs(t, <-done, net.ErrClosed)
	})
}

// start serves f until the test ends and returns how to connect to it.
func (p place) start(t testing.TB, f func(context.Context, *Conn) error, o *AcceptOptions) (connect func() *peer) {
	d := newDoorway()
	p.serve(t, d, f, o)
	return func() *peer {
		client, _ := d.enter()
		return p.peer(t, client)
	}
}

// peer returns the client at the other end of a connection to the place.
func (p place) peer(t testing.TB, nc net.Conn) *peer {
	if p.tls {
		nc = tls.Client(nc, trust(t))
	}
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, nc: nc, role: frame.Client, recv: frame.Receiver{Role: frame.Client}}
}

// httptestCertificate is the certificate that httptest brings along.
var httptestCertificate = sync.OnceValue(func() tls.Certificate {
	d := newDoorway()
	s := &httptest.Server{Listener: d, Config: &http.Server{}}
	s.StartTLS()
	defer s.Close()
	return s.TLS.Certificates[0]
})

// certificate returns a server's certificate. The first call is not to be made
// in a bubble.
func certificate(t testing.TB) tls.Certificate { return httptestCertificate() }

// trust returns a client's configuration for the certificate, which is valid in
// fake time, too.
func trust(t testing.TB) *tls.Config {
	c, err := x509.ParseCertificate(certificate(t).Certificate[0])
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(c)
	return &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// asking is an opening handshake with further header fields.
func asking(path string, fields ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// response reads a response and its body.
func (p *peer) response() (*http.Response, string) {
	p.t.Helper()
	br := bufio.NewReader(p.nc)
	r, err := http.ReadResponse(br, nil)
	require.NoError(p.t, err)
	if r.StatusCode == http.StatusSwitchingProtocols {
		p.buf, _ = br.Peek(br.Buffered())
		return r, ""
	}
	body, err := io.ReadAll(r.Body)
	require.NoError(p.t, err)
	require.Zero(p.t, br.Buffered(), "there is one response")
	return r, string(body)
}

// accepted reads the response that opens the connection.
func (p *peer) accepted() {
	p.t.Helper()
	r, body := p.response()
	require.Equal(p.t, http.StatusSwitchingProtocols, r.StatusCode, body)
	require.Equal(p.t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", r.Header.Get("Sec-WebSocket-Accept"))
}

// refused reads a refusal and returns its body.
func (p *peer) refused(status int) string {
	p.t.Helper()
	r, body := p.response()
	require.Equal(p.t, status, r.StatusCode, body)
	require.True(p.t, r.Close)
	return body
}

// open does the opening handshake.
func (p *peer) open(path string, fields ...string) *peer {
	p.t.Helper()
	p.write([]byte(asking(path, fields...)))
	p.accepted()
	return p
}

// hello lets the connection echo a message.
func (p *peer) hello() {
	p.t.Helper()
	p.send(frame.OpText, "hello")
	p.expect(frame.OpText, "hello")
}

// serveEcho echoes until the connection ends.
func serveEcho(ctx context.Context, c *Conn) error {
	for m, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		c.Write(ctx, m.Type, m.Data)
	}
	return nil
}

// logbook keeps what is logged, a line each, without the time; of a stack it
// says that there was one.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// logger returns a logger that writes into the logbook.
func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch {
		case a.Key == slog.TimeKey:
			return slog.Attr{}
		case a.Key == "stack" && strings.Contains(a.Value.String(), "panic("):
			return slog.String(a.Key, "of the panic")
		}
		return a
	}}))
}

// asDefault has what is logged without a Logger come here until the test ends.
func (l *logbook) asDefault(t *testing.T) {
	logger, out, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(l.logger())
	t.Cleanup(func() {
		slog.SetDefault(logger)
		log.SetOutput(out)
		log.SetFlags(flags)
	})
}

// take returns the lines since the last call.
func (l *logbook) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return strings.Split(strings.TrimSuffix(l.text.String(), "\n"), "\n")
}

func TestServerRefuses(t *testing.T) {
	whole := asking("/")
	const h = "Host: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	long := func(n int) string { return asking("/", "X: "+strings.Repeat("x", n-len(asking("/", "X: ")))) }
	for _, tt := range []struct {
		name   string
		o      AcceptOptions
		send   string
		status int
		body   []string
		after  time.Duration
	}{
		// In time.
		{name: "nothing comes", status: 408, body: []string{"within 10s", "AcceptOptions.HandshakeTimeout"}, after: 10 * time.Second},
		{name: "half of it comes", send: whole[:40], status: 408, body: []string{"within 10s"}, after: 10 * time.Second},
		{name: "all but the last byte comes", send: whole[:len(whole)-1], status: 408, after: 10 * time.Second},
		{name: "a shorter time", o: AcceptOptions{HandshakeTimeout: 50 * time.Millisecond}, send: "GET", status: 408, body: []string{"within 50ms"}, after: 50 * time.Millisecond},
		{name: "garbage is refused at once", o: AcceptOptions{HandshakeTimeout: -1}, send: "hello\r\n", status: 400},

		// Size.
		{name: "a byte too long", send: long(16<<10 + 1), status: 431, body: []string{"16384 bytes", "AcceptOptions.HandshakeBytes"}},
		{name: "much too long", send: long(60_000), status: 431, body: []string{"16384 bytes"}},
		{name: "long line without an end", send: "GET /" + strings.Repeat("x", 20_000), status: 431, body: []string{"16384 bytes"}},
		{name: "header without an end", send: "GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 5_000), status: 431, body: []string{"16384 bytes"}},
		{name: "a lower limit", o: AcceptOptions{HandshakeBytes: 300}, send: long(301), status: 431, body: []string{"300 bytes"}},

		// What is no HTTP/1.1 request.
		{name: "words", send: "hello\r\n\r\n", status: 400, body: []string{"no HTTP request", `"hello"`}},
		{name: "empty line", send: "\r\n\r\n", status: 400, body: []string{"no HTTP request"}},
		{name: "TLS", send: "\x16\x03\x01\x00\x05\x01\x00\x00\x01\n\n", status: 400, body: []string{"no HTTP request", `"\x16\x03\x01`}},
		{name: "HTTP/2", send: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 400, body: []string{"HTTP/2.0", "HTTP/1.1"}},
		{name: "no version", send: "GET /\r\n" + h + "\r\n", status: 400, body: []string{`"GET /"`}},
		{name: "another version", send: "GET / HTTP/9\r\n" + h + "\r\n", status: 400, body: []string{`"HTTP/9"`}},
		{name: "HTTP/1.0", send: "GET / HTTP/1.0\r\n" + h + "\r\n", status: 400, body: []string{`"HTTP/1.0"`, "HTTP/1.1"}},
		{name: "method no token", send: "G(T / HTTP/1.1\r\n" + h + "\r\n", status: 400, body: []string{`"G(T"`}},
		{name: "empty request target", send: "GET  HTTP/1.1\r\n" + h + "\r\n", status: 400, body: []string{"no HTTP request", "empty url"}},
		{name: "empty request target of HTTP/0.0", send: "0  HTTP/0.0\r\n\r\n", status: 400, body: []string{"no HTTP request", "empty url"}},
		{name: "relative request target", send: asking("chat"), status: 400, body: []string{`"chat"`}},
		{name: "fragment escaped badly", send: asking("/%zz"), status: 400, body: []string{`"/%zz"`, `"%zz"`}},
		{name: "space in the request target", send: asking("/a b"), status: 400, body: []string{`"b HTTP/1.1"`}},
		{name: "control character in the request target", send: asking("/a\x01"), status: 400, body: []string{`"/a\x01"`}},
		{name: "authority-form", send: "CONNECT example.com:80 HTTP/1.1\r\n" + h + "\r\n", status: 405, body: []string{`"CONNECT"`}},
		{name: "asterisk-form", send: "OPTIONS * HTTP/1.1\r\n" + h + "\r\n", status: 405, body: []string{`"OPTIONS"`}},
		{name: "header field without a colon", send: asking("/", "nonsense\x1b"), status: 400, body: []string{`"nonsense\x1b"`}},
		{name: "space before a colon", send: asking("/", "X : y"), status: 400, body: []string{"no HTTP request", `"X "`}},
		{name: "space in a field name", send: asking("/", "X y: z"), status: 400, body: []string{`"X y"`}},
		{name: "space before the colon of Upgrade", send: strings.Replace(whole, "Upgrade:", "Upgrade :", 1), status: 400, body: []string{`"Upgrade "`}},
		{name: "NUL in a value", send: asking("/", "X: y", "X: a\x00b"), status: 400, body: []string{"no HTTP request", `"X: a\x00b"`}},
		{name: "CR in a value", send: asking("/", "X: a\rb"), status: 400, body: []string{`"X: a\rb"`}},
		{name: "DEL in a value", send: asking("/", "X: a\x7fb"), status: 400, body: []string{`"X: a\x7fb"`}},
		{name: "Host no host", send: strings.Replace(whole, "example.com", "example.com/a", 1), status: 400, body: []string{`malformed Host "example.com/a"`}},
		{name: "space in Host", send: strings.Replace(whole, "example.com", "a b", 1), status: 400, body: []string{`malformed Host "a b"`}},
		{name: "long Host", send: strings.Replace(whole, "example.com", strings.Repeat("<", 10_000), 1), status: 400, body: []string{`malformed Host "<<<`}},
		{name: "no Host", send: strings.Replace(whole, "Host: example.com\r\n", "", 1), status: 400, body: []string{"Host is missing"}},
		{name: "two Hosts", send: asking("/", "Host: example.org"), status: 400, body: []string{"too many Host"}},

		// Bodies.
		{name: "a body, not here yet", send: asking("/", "Content-Length: 1000"), status: 400, body: []string{"has a body"}},
		{name: "a body after Expect", send: asking("/", "Content-Length: 3", "Expect: 100-continue"), status: 400, body: []string{"has a body"}},
		{name: "chunks", send: asking("/", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n", status: 400, body: []string{"has a body"}},
		{name: "negative Content-Length", send: asking("/", "Content-Length: -1"), status: 400, body: []string{`"-1"`}},
		{name: "huge Content-Length", send: asking("/", "Content-Length: 99999999999999999999"), status: 400, body: []string{"Content-Length"}},
		{name: "two Content-Lengths", send: asking("/", "Content-Length: 0", "Content-Length: 3") + "abc", status: 400, body: []string{"Content-Length"}},
		{name: "unknown Transfer-Encoding", send: asking("/", "Transfer-Encoding: gzip"), status: 400, body: []string{`"gzip"`}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			client, server := streamPair()
			p := place{}.peer(t, client)
			begin := time.Now()
			go p.nc.Write([]byte(tt.send))
			opened := startErr(func() error {
				c, err := Server(server, &tt.o)
				require.Nil(t, c)
				return err
			})
			r, body := p.response()
			require.Equal(t, tt.status, r.StatusCode, body)
			for _, text := range tt.body {
				require.Contains(t, body, text)
			}
			require.Equal(t, tt.after, time.Since(begin))
			p.expectEnd()
			p.nc.Close()
			got := <-opened
			var refusal *handshake.Error
			require.ErrorAs(t, got.err, &refusal)
			require.Equal(t, tt.status, refusal.Status)
			require.Equal(t, refusal.Body(), body)
			require.Equal(t, tt.status == 408, errors.Is(got.err, os.ErrDeadlineExceeded))
			require.True(t, server.in.gone, "the connection is closed")
		})
	}
}

func TestServerAccepts(t *testing.T) {
	whole := asking("/")
	long := func(n int) string { return asking("/", "X: "+strings.Repeat("x", n-len(asking("/", "X: ")))) }
	for _, tt := range []struct {
		name string
		o    AcceptOptions
		send string
		url  string // "/" if empty
		host string // "example.com" if empty
	}{
		{name: "the limit", send: long(16 << 10)},
		{name: "its own limit", o: AcceptOptions{HandshakeBytes: 400}, send: long(400)},
		{name: "no limit", o: AcceptOptions{HandshakeBytes: -1}, send: long(200_000)},
		{name: "query", send: asking("/a/b?c=d&e"), url: "/a/b?c=d&e"},
		{name: "origin-form like a host", send: asking("//example.org/"), url: "//example.org/"},
		// Host is ignored then. (RFC 9112, section 3.2.2)
		{name: "absolute-form", send: asking("http://example.org:81/chat"), url: "http://example.org:81/chat", host: "example.org:81"},
		{name: "ws absolute-form", send: asking("ws://example.com/chat"), url: "ws://example.com/chat"},
		{name: "Content-Length of 0", send: asking("/", "Content-Length: 0")},
		{name: "folded line", send: asking("/", "X: a", " b")},
		{name: "lines end in LF", send: strings.ReplaceAll(whole, "\r\n", "\n")},
		{name: "tab and any letters in a value", send: asking("/", "X: a\tb\xff\u00e9")},
		{name: "IPv6 host", send: strings.Replace(whole, "example.com", "[::1]:8080", 1), host: "[::1]:8080"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			client, server := streamPair()
			p := place{}.peer(t, client)
			go p.nc.Write([]byte(tt.send))
			opened := make(chan *Conn, 1)
			go func() {
				c, err := Server(server, &tt.o)
				require.NoError(t, err)
				opened <- c
			}()
			p.accepted()
			c := <-opened
			defer c.CloseNow()
			if tt.url == "" {
				tt.url = "/"
			}
			if tt.host == "" {
				tt.host = "example.com"
			}
			require.Equal(t, tt.url, c.Request().RequestURI)
			require.Equal(t, tt.url, c.Request().URL.String())
			require.Equal(t, tt.host, c.Request().Host)
		})
	}
}

// A client may take its time up to the limit, byte by byte, and however long it
// likes if there is none.
func TestServerSlowly(t *testing.T) {
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		pause   time.Duration
		refused time.Duration // when; 0: it is not
	}{
		{"in time", 0, 40 * time.Millisecond, 0},
		{"a byte a second", 0, time.Second, 10 * time.Second},
		{"a longer time", time.Hour, time.Second, 0},
		{"any time", -1, time.Hour, 0},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			client, server := streamPair()
			p := place{}.peer(t, client)
			begin := time.Now()
			opened := startErr(func() error {
				c, err := Server(server, &AcceptOptions{HandshakeTimeout: tt.timeout, Options: Options{Keepalive: -1}})
				if err == nil {
					go c.run(serveEcho)
				}
				return err
			})
			written := make(chan bool)
			defer func() { <-written }()
			go func() {
				defer close(written)
				for _, b := range []byte(asking("/")) {
					<-time.After(tt.pause)
					if _, err := client.Write([]byte{b}); err != nil {
						return
					}
				}
			}()
			if tt.refused > 0 {
				p.refused(408)
				require.Equal(t, tt.refused, time.Since(begin))
				p.nc.Close()
				require.ErrorIs(t, (<-opened).err, os.ErrDeadlineExceeded)
				return
			}
			p.accepted()
			require.NoError(t, (<-opened).err)
			p.hello()
		})
	}
}

// A client that ends the stream before the request is whole gets no response.
func TestServerCutOff(t *testing.T) {
	whole := asking("/chat", "Origin: http://example.com")
	for i := range len(whole) {
		nc := &replay{in: []byte(whole[:i])}
		c, err := Server(nc, nil)
		require.Nil(t, c)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%q", whole[:i])
		require.Zero(t, nc.written(t).Len(), "%q", whole[:i])
	}
	nc := &replay{in: []byte(whole)}
	c, err := Server(nc, nil)
	require.NoError(t, err)
	c.CloseNow()
}

// A refused client that neither reads on nor goes away is left after a second.
func TestServerRefusedStays(t *testing.T) {
	for _, flood := range []bool{false, true} {
		name := map[bool]string{false: "silent", true: "flooding"}[flood]
		bubble(t, name, func(t *testing.T) {
			client, server := streamPair()
			p := place{}.peer(t, client)
			begin := time.Now()
			opened := startErr(func() error {
				_, err := Server(server, nil)
				return err
			})
			p.write([]byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"))
			if flood {
				var err error
				for err == nil {
					_, err = client.Write(make([]byte, 1000))
				}
				require.ErrorIs(t, err, io.ErrClosedPipe)
			}
			got := <-opened
			require.ErrorIs(t, got.err, handshake.ErrNotWebSocket)
			require.LessOrEqual(t, got.at.Sub(begin), time.Second)
			p.refused(http.StatusUpgradeRequired)
		})
	}
}

// Over TLS, HandshakeTimeout is for TLS's handshake, too.
func TestServeTLSHandshake(t *testing.T) {
	certificate(t)
	serve := place{tls: true}
	bubble(t, "nothing comes", func(t *testing.T) {
		d := newDoorway()
		serve.serve(t, d, serveEcho, nil)
		client, _ := d.enter()
		defer client.Close()
		begin := time.Now()
		_, err := client.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		require.Equal(t, 10*time.Second, time.Since(begin))
	})
	bubble(t, "HTTP comes", func(t *testing.T) {
		d := newDoorway()
		serve.serve(t, d, serveEcho, nil)
		client, _ := d.enter()
		defer client.Close()
		begin := time.Now()
		_, err := client.Write([]byte(asking("/")))
		require.NoError(t, err)
		_, err = io.ReadAll(client)
		require.NoError(t, err)
		require.Zero(t, time.Since(begin))
	})
	bubble(t, "no request comes", func(t *testing.T) {
		p := serve.start(t, serveEcho, nil)()
		require.NoError(t, p.nc.(*tls.Conn).Handshake())
		begin := time.Now()
		p.refused(408)
		require.Equal(t, 10*time.Second, time.Since(begin))
	})
}

// A second request in the same segment is what the first one says it is: frames.
func TestServerPipelined(t *testing.T) {
	everyPlace(t, func(t *testing.T, at place) {
		p := at.start(t, serveEcho, nil)()
		p.write([]byte(asking("/") + asking("/")))
		p.accepted()
		p.expectClose(frame.CloseProtocolError)
		p.expectEnd()
	})
}

// Refusals have the last word: what follows is no request, and reaches nobody.
func TestServerPipelinedRefused(t *testing.T) {
	everyPlace(t, func(t *testing.T, at place) {
		p := at.start(t, func(context.Context, *Conn) error {
			t.Error("the second request was accepted")
			return nil
		}, nil)()
		p.write([]byte(asking("/", "Origin: http://example.org") + asking("/")))
		p.refused(http.StatusForbidden)
		p.expectEnd()
	})
}

func TestServeAcceptErrors(t *testing.T) {
	full := os.NewSyscallError("accept", syscall.EMFILE)
	bubble(t, "temporary", func(t *testing.T) {
		var book logbook
		d := newDoorway()
		place{}.serve(t, d, serveEcho, &AcceptOptions{Options: Options{Logger: book.logger()}})
		last := time.Now()
		fails := func() time.Duration {
			d.errs <- full // taken when the wait after the one before is over
			waited := time.Since(last)
			last = time.Now()
			return waited
		}
		require.Zero(t, fails())
		for _, want := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000} {
			require.Equal(t, want*time.Millisecond, fails())
		}
		client, _ := d.enter()
		require.Equal(t, time.Second, time.Since(last))
		place{}.peer(t, client).open("/").hello()

		// It begins anew.
		last = time.Now()
		require.Zero(t, fails())
		require.Equal(t, 5*time.Millisecond, fails())
		synctest.Wait()
		lines := book.take()
		require.Len(t, lines, 14)
		require.Equal(t, `level=ERROR msg="websocket: accepting a connection failed" error="accept pipe: accept: too many open files" wait=5ms`, lines[0])
		require.Contains(t, lines[11], `wait=1s`)
		require.Contains(t, lines[12], `wait=5ms`)
	})
	bubble(t, "temporary, then closed", func(t *testing.T) {
		d := newDoorway()
		done := startErr(func() error { return Serve(d, serveEcho, nil) })
		d.errs <- full
		d.Close()
		require.ErrorIs(t, (<-done).err, net.ErrClosed)
	})
	bubble(t, "for good", func(t *testing.T) {
		d := newDoorway()
		done := startErr(func() error { return Serve(d, serveEcho, nil) })
		client, _ := d.enter()
		p := place{}.peer(t, client).open("/")
		d.errs <- errTest
		got := <-done
		require.ErrorIs(t, got.err, errTest)
		require.IsType(t, &net.OpError{}, got.err, "as Accept returned it")
		p.hello() // goes on
	})
	bubble(t, "closed", func(t *testing.T) {
		d := newDoorway()
		done := startErr(func() error { return Serve(d, serveEcho, nil) })
		client, _ := d.enter()
		p := place{}.peer(t, client).open("/")
		d.Close()
		require.ErrorIs(t, (<-done).err, net.ErrClosed)
		p.hello() // goes on
	})
}

// Whatever CheckOrigin does, it ends one connection.
func TestServeCheckOrigin(t *testing.T) {
	for _, tt := range []struct {
		name  string
		check func()
		line  string // for Serve; net/http writes its own
	}{
		{"panic", func() { panic("on purpose") }, `level=ERROR msg="websocket: panic in the opening handshake" remote=client panic="on purpose" stack="of the panic"`},
		{"panic with an error", func() { panic(errTest) }, `level=ERROR msg="websocket: panic in the opening handshake" remote=client panic="the cable is cut" stack="of the panic"`},
		{"http.ErrAbortHandler", func() { panic(http.ErrAbortHandler) }, ""},
		{"runtime.Goexit", runtime.Goexit, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everyPlace(t, func(t *testing.T, at place) {
				var book logbook
				connect := at.start(t, serveEcho, &AcceptOptions{
					CheckOrigin: func(r *http.Request) error {
						if r.URL.Path == "/bad" {
							tt.check()
						}
						return nil
					},
					Options: Options{Logger: book.logger()},
				})
				before := connect().open("/")
				bad := connect()
				bad.write([]byte(asking("/bad")))
				bad.expectEnd()
				synctest.Wait()
				if !at.http {
					require.Equal(t, []string{tt.line}, book.take())
				}
				before.hello()
				connect().open("/").hello()
			})
		})
	}
}

// A client that is slow with its opening handshake, or never comes to it, keeps
// nobody waiting.
func TestServeSlowHandshake(t *testing.T) {
	everyPlace(t, func(t *testing.T, at place) {
		d := newDoorway()
		checking := make(chan struct{})
		at.serve(t, d, serveEcho, &AcceptOptions{CheckOrigin: func(r *http.Request) error {
			if r.URL.Path == "/slow" {
				<-checking
			}
			return nil
		}})
		begin := time.Now()
		for range 10 {
			client, _ := d.enter()
			defer client.Close()
		}
		client, _ := d.enter()
		half := at.peer(t, client)
		half.write([]byte(asking("/")[:50]))
		client, _ = d.enter()
		slow := at.peer(t, client)
		slow.write([]byte(asking("/slow")))
		synctest.Wait()

		client, _ = d.enter()
		at.peer(t, client).open("/").hello()
		half.write([]byte(asking("/")[50:]))
		half.accepted()
		half.hello()
		close(checking)
		slow.accepted()
		slow.hello()
		require.Zero(t, time.Since(begin))
	})
}

// The time that CheckOrigin takes counts, and the connection does not stay half
// open.
func TestServerCheckOriginTooSlow(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		client, server := streamPair()
		p := place{}.peer(t, client)
		p.write([]byte(asking("/")))
		c, err := Server(server, &AcceptOptions{CheckOrigin: func(*http.Request) error {
			<-time.After(11 * time.Second)
			return nil
		}})
		require.Nil(t, c)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		p.expectEnd()
	})
}

// A deadline that was set before, for a handshake of TLS perhaps, is not the
// connection's.
func TestServerClearsDeadlines(t *testing.T) {
	for _, serve := range []bool{false, true} {
		bubble(t, fmt.Sprintf("Serve=%v", serve), func(t *testing.T) {
			ours, theirs := net.Pipe()
			require.NoError(t, theirs.SetDeadline(time.Now().Add(time.Second)))
			opened := make(chan *Conn, 1)
			if serve {
				ln := &oneListener{nc: theirs, end: make(chan struct{})}
				done := startErr(func() error {
					return Serve(ln, func(ctx context.Context, c *Conn) error {
						opened <- c
						<-ctx.Done()
						return nil
					}, nil)
				})
				defer func() { close(ln.end); <-done }()
			} else {
				go func() {
					c, err := Server(theirs, nil)
					assert.NoError(t, err)
					opened <- c
				}()
			}
			require.NoError(t, openingRequest().Write(ours))
			_, err := http.ReadResponse(bufio.NewReader(ours), nil)
			require.NoError(t, err)
			c := <-opened
			read := startErr(func() error { _, _, err := c.Read(t.Context()); return err })
			<-time.After(2 * time.Second)
			require.True(t, pending(read))
			c.CloseNow()
			<-read
		})
	}
}

// oneListener accepts nc, and then nothing until the end.
type oneListener struct {
	net.Listener
	nc  net.Conn
	end chan struct{}
}

func (l *oneListener) Accept() (nc net.Conn, err error) {
	if nc, l.nc = l.nc, nil; nc == nil {
		<-l.end
		return nil, net.ErrClosed
	}
	return nc, nil
}

// A handshake that panics after it was accepted does not keep Shutdown.
func TestServePanicInWrite(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var tracker Tracker
		var book logbook
		ours, theirs := net.Pipe()
		a := newAcceptor(&AcceptOptions{Options: Options{Tracker: &tracker, Logger: book.logger()}})
		go a.serve(newIncoming(panickingWriter{theirs}, a), serveEcho)
		require.NoError(t, openingRequest().Write(ours))
		synctest.Wait()
		require.Contains(t, book.take()[0], "panic in the opening handshake")
		require.NoError(t, tracker.Shutdown(t.Context()))
	})
}

type panickingWriter struct{ net.Conn }

func (panickingWriter) Write([]byte) (int, error) { panic("on purpose") }
