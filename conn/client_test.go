package conn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/handshake"
	"rfc6455/mask"
)

// opening is a way to open a connection from this end.
type opening struct {
	name      string
	dial, tls bool
}

var openings = []opening{
	{"Dial", true, false},
	{"Dial over TLS", true, true},
	{"Client", false, false},
	{"Client over TLS", false, true},
}

// everyOpening runs f in a bubble for every way.
func everyOpening(t *testing.T, f func(t *testing.T, way opening)) {
	certificate(t)
	for _, way := range openings {
		bubble(t, way.name, func(t *testing.T) { f(t, way) })
	}
}

// on opens a connection on ours. The server gets theirs, under TLS where it
// belongs, in a goroutine of its own, and theirs is closed after it.
func (way opening) on(ctx context.Context, t testing.TB, ours, theirs net.Conn, o *DialOptions, server func(nc net.Conn)) (*Conn, *http.Response, error) {
	t.Helper()
	if o == nil {
		o = &DialOptions{}
	}
	url := "ws://user:password@example.com/chat?token=secret"
	if way.tls {
		url = "wss" + url[2:]
		theirs = tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	}
	go func() {
		defer theirs.Close()
		server(theirs)
	}()
	if !way.dial {
		if way.tls {
			ours = tls.Client(ours, trust(t))
		}
		c, err := Client(ctx, ours, url, o)
		return c, nil, err
	}
	with := *o
	hc := &http.Client{}
	if o.HTTPClient != nil {
		*hc = *o.HTTPClient
	}
	hc.Transport = &http.Transport{
		DialContext:     func(context.Context, string, string) (net.Conn, error) { return ours, nil },
		TLSClientConfig: trust(t),
	}
	with.HTTPClient = hc
	return Dial(ctx, url, &with)
}

// open opens a connection in memory.
func (way opening) open(ctx context.Context, t testing.TB, o *DialOptions, server func(nc net.Conn)) (*Conn, *http.Response, error) {
	t.Helper()
	ours, theirs := streamPair()
	return way.on(ctx, t, ours, theirs, o, server)
}

// peerOn opens a connection on ours and returns it and the server's end. The
// server sends the first piece of behind with its response, the others after it.
func (way opening) peerOn(t testing.TB, ours, theirs net.Conn, o *DialOptions, behind ...string) (*Conn, *peer) {
	t.Helper()
	ready, done := make(chan *peer, 1), make(chan struct{})
	t.Cleanup(func() { close(done) })
	c, _, err := way.on(t.Context(), t, ours, theirs, o, func(nc net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(nc))
		if !assert.NoError(t, err) {
			return
		}
		ready <- &peer{t: t, nc: nc, role: frame.Server, recv: frame.Receiver{Role: frame.Server}}
		for i, b := range append(behind, "") {
			if i == 0 {
				b = accepting(r) + b
			}
			io.WriteString(nc, b) // the client may be gone
		}
		<-done
	})
	require.NoError(t, err)
	t.Cleanup(func() { c.CloseNow() })
	return c, <-ready
}

// openPeer is peerOn in memory.
func (way opening) openPeer(t testing.TB, o *DialOptions, behind ...string) (*Conn, *peer) {
	t.Helper()
	ours, theirs := streamPair()
	return way.peerOn(t, ours, theirs, o, behind...)
}

// accepting is the response that accepts the handshake of r, with further header
// fields.
func accepting(r *http.Request, fields ...string) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + handshake.AcceptKey(r.Header.Get("Sec-WebSocket-Key")) + "\r\n" +
		strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// answering returns a server that gives each connection the response that f
// returns, and echoes messages if that is a 101.
func answering(f func(r *http.Request) string) func(nc net.Conn) {
	return func(nc net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(nc))
		if err != nil {
			return // the client has given up
		}
		response := f(r)
		if _, err := io.WriteString(nc, response); err == nil && strings.HasPrefix(response, "HTTP/1.1 101") {
			c := New(nc, frame.Server, nil, &Options{Keepalive: -1})
			defer c.CloseNow()
			serveEcho(context.Background(), c)
		}
	}
}

// welcoming is the server that accepts every handshake and echoes messages.
var welcoming = answering(func(r *http.Request) string { return accepting(r) })

// talk lets a server echo messages, and closes the connection.
func talk(t testing.TB, c *Conn) {
	t.Helper()
	for _, m := range []struct {
		t MessageType
		p string
	}{{Text, ""}, {Text, "hello"}, {Binary, letters(100)}, {Text, letters(5_000)}, {Binary, letters(200_000)}} {
		written := startErr(func() error { return c.Write(t.Context(), m.t, []byte(m.p)) })
		mt, p, err := c.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, m.t, mt)
		require.True(t, m.p == string(p), "%d bytes", len(m.p))
		require.NoError(t, (<-written).err)
	}
	require.NoError(t, c.Close(frame.CloseNormal, ""))
}

// forgetful is a net.Conn that has no deadlines.
type forgetful struct{ net.Conn }

var errNoDeadlines = errors.New("deadlines are not supported here")

func (forgetful) SetDeadline(time.Time) error      { return errNoDeadlines }
func (forgetful) SetReadDeadline(time.Time) error  { return errNoDeadlines }
func (forgetful) SetWriteDeadline(time.Time) error { return errNoDeadlines }

func TestOpening(t *testing.T) {
	type key struct{}
	everyOpening(t, func(t *testing.T, way opening) {
		asked := make(chan *http.Request, 1)
		ctx := context.WithValue(t.Context(), key{}, "a value")
		o := &DialOptions{
			Subprotocols: []string{"v2.chat", "v1.chat"},
			Origin:       "https://example.com",
			Header:       http.Header{"X-Extra": {"1", "2"}, "Host": {"chat.example.com"}, "User-Agent": {"test"}},
		}
		c, resp, err := way.open(ctx, t, o, answering(func(r *http.Request) string {
			asked <- r
			return accepting(r, "Sec-WebSocket-Protocol: v1.chat", "X-Answer: yes")
		}))
		require.NoError(t, err)
		defer c.CloseNow()
		r := <-asked
		require.Equal(t, "GET", r.Method)
		require.Equal(t, "/chat?token=secret", r.RequestURI)
		require.Equal(t, "HTTP/1.1", r.Proto)
		require.Equal(t, "chat.example.com", r.Host)
		key0 := r.Header.Get("Sec-WebSocket-Key")
		require.Len(t, key0, 24)
		require.Equal(t, http.Header{
			"Connection":             {"Upgrade"},
			"Upgrade":                {"websocket"},
			"Sec-Websocket-Version":  {"13"},
			"Sec-Websocket-Key":      {key0},
			"Sec-Websocket-Protocol": {"v2.chat, v1.chat"},
			"Origin":                 {"https://example.com"},
			"X-Extra":                {"1", "2"},
			"User-Agent":             {"test"},
			"Authorization":          {"Basic dXNlcjpwYXNzd29yZA=="},
		}, r.Header)

		require.Equal(t, "v1.chat", c.Subprotocol())
		require.Equal(t, frame.Client, c.Role())
		require.Equal(t, streamAddr("server"), c.RemoteAddr())
		require.Equal(t, streamAddr("client"), c.LocalAddr())
		require.Equal(t, "a value", c.Context().Value(key{}))
		require.Equal(t, "/chat", c.Request().URL.Path)
		require.Equal(t, key0, c.Request().Header.Get("Sec-WebSocket-Key"))
		if way.dial {
			require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			require.Equal(t, "yes", resp.Header.Get("X-Answer"))
			require.Equal(t, way.tls, resp.TLS != nil)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Empty(t, body)
		}
		talk(t, c)
		require.ErrorAs(t, context.Cause(c.Context()), new(*CloseError))
	})
}

// TestClientTransports has real connections, and those that net.Pipe makes.
func TestClientTransports(t *testing.T) {
	tests := []struct {
		name    string
		connect func(t *testing.T) (ours, theirs net.Conn)
		tls     bool
		real    bool // of the raw transport
	}{
		{"net.Pipe", func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() }, false, false},
		{"net.Pipe, TLS", func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() }, true, false},
		{"TCP", func(t *testing.T) (net.Conn, net.Conn) { return socketPair(t, "tcp", "127.0.0.1:0") }, false, true},
		{"TCP, TLS", func(t *testing.T) (net.Conn, net.Conn) { return socketPair(t, "tcp", "127.0.0.1:0") }, true, false},
		{"unix", func(t *testing.T) (net.Conn, net.Conn) {
			return socketPair(t, "unix", filepath.Join(t.TempDir(), "s"))
		}, false, true},
		{"without deadlines", func(t *testing.T) (net.Conn, net.Conn) {
			ours, theirs := net.Pipe()
			return forgetful{ours}, theirs
		}, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ours, theirs := test.connect(t)
			c, _, err := opening{tls: test.tls}.on(t.Context(), t, ours, theirs, nil, welcoming)
			require.NoError(t, err)
			defer c.CloseNow()
			require.Equal(t, test.real, c.vectored)
			if runtime.GOOS == "linux" {
				require.Equal(t, test.real, c.raw != nil)
			}
			require.Equal(t, ours.RemoteAddr(), c.RemoteAddr())
			require.Equal(t, ours.LocalAddr(), c.LocalAddr())
			talk(t, c)
		})
	}
}

// socketPair returns both ends of a connection.
func socketPair(t testing.TB, network, addr string) (client, server net.Conn) {
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	defer ln.Close()
	client, err = net.Dial(network, ln.Addr().String())
	require.NoError(t, err)
	server, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}

// A URL that is none, or options that cannot be meant, send nothing; nc is closed
// all the same.
func TestClientMisuse(t *testing.T) {
	tests := []struct {
		name, url string
		o         DialOptions
		text      string
	}{
		{"scheme", "ftp://user:p4ss@example.com/", DialOptions{}, `scheme "ftp"`},
		{"no URL", "http://user:p4ss@[::1/", DialOptions{}, "cannot be parsed"},
		{"no host", "ws:///chat", DialOptions{}, "no host"},
		{"fragment", "ws://user:p4ss@example.com/#x", DialOptions{}, "fragment"},
		{"subprotocol", "ws://example.com/", DialOptions{Subprotocols: []string{"a b"}}, `Subprotocols: "a b"`},
		{"header", "ws://example.com/", DialOptions{Header: http.Header{"Upgrade": {"x"}}}, `Header: "Upgrade"`},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			ours, theirs := streamPair()
			c, err := Client(t.Context(), ours, test.url, &test.o)
			require.Nil(t, c)
			require.ErrorContains(t, err, test.text)
			require.True(t, strings.HasPrefix(err.Error(), "websocket: "), err)
			require.NotContains(t, err.Error(), "user")
			require.NotContains(t, err.Error(), "p4ss")
			sent, rerr := io.ReadAll(theirs)
			require.NoError(t, rerr, "the end of the stream")
			require.Empty(t, sent)

			c, resp, derr := Dial(t.Context(), test.url, &test.o)
			require.Nil(t, c)
			require.Nil(t, resp)
			require.Equal(t, err, derr)
		})
	}
}

// Responses with 1xx before the one that counts are skipped.
// (RFC 9110, section 15.2)
func TestOpeningInterim(t *testing.T) {
	everyOpening(t, func(t *testing.T, way opening) {
		c, _, err := way.open(t.Context(), t, nil, answering(func(r *http.Request) string {
			return "HTTP/1.1 101 Switching Protocols\r\n\r\n"[:0] +
				"HTTP/1.1 100 Continue\r\n\r\n" +
				"HTTP/1.1 102 Processing\r\n\r\n" +
				"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n" +
				accepting(r)
		}))
		require.NoError(t, err)
		c.CloseNow()
	})
}

// Whatever deadlines a connection comes with, and whatever the handshake needs of
// them, none is left.
func TestOpeningDeadlines(t *testing.T) {
	for _, before := range []time.Duration{-time.Hour, time.Second, time.Hour} {
		everyOpening(t, func(t *testing.T, way opening) {
			ours, theirs := streamPair()
			if !way.dial {
				ours.SetDeadline(time.Now().Add(before))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			c, _, err := way.on(ctx, t, ours, theirs, &DialOptions{Options: Options{Keepalive: -1}}, welcoming)
			require.NoError(t, err)
			defer c.CloseNow()
			readBy, writeBy := ours.deadlines()
			require.Zero(t, readBy)
			require.Zero(t, writeBy)
			<-time.After(2 * time.Hour)
			cancel()
			synctest.Wait()
			talk(t, c)
		})
	}
}

// slowServers never come to the end of an opening handshake.
var slowServers = []struct {
	name   string
	behind string // the first part of the response
	tls    bool   // the TLS handshake is never over
	drip   string // what follows, every second
}{
	{name: "never answers"},
	{name: "never answers under TLS", tls: true},
	{name: "half a status line", behind: "HTTP/1.1 10"},
	{name: "half a header", behind: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: web"},
	{name: "a header without end", behind: "HTTP/1.1 101 Switching Protocols\r\n", drip: "X: y\r\n"},
	{name: "hints without end", drip: "HTTP/1.1 103 Early Hints\r\n\r\n"},
	{name: "a redirect's body", behind: "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 100\r\n\r\n"},
}

// isClosed reports whether Close was called.
func (s *stream) isClosed() bool {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	return s.in.gone
}

// drips is a server that reads all and answers slowly.
func drips(first, drip string) func(nc net.Conn) {
	return func(nc net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(nc))
		if err != nil {
			return
		}
		first := strings.ReplaceAll(first, "<accept>", handshake.AcceptKey(r.Header.Get("Sec-WebSocket-Key")))
		io.WriteString(nc, first)
		if drip == "" {
			io.Copy(io.Discard, nc)
			return
		}
		for err == nil {
			<-time.After(time.Second)
			_, err = io.WriteString(nc, drip)
		}
	}
}

func TestOpeningTimeout(t *testing.T) {
	limits := []struct {
		name   string
		limit  func(ctx context.Context, o *DialOptions) (context.Context, context.CancelFunc)
		dial   bool // for Dial alone
		after  time.Duration
		err    error
		option string
	}{
		{"default", func(ctx context.Context, o *DialOptions) (context.Context, context.CancelFunc) {
			return context.WithCancel(ctx)
		}, false, 10 * time.Second, context.DeadlineExceeded, "took longer than 10s (DialOptions.HandshakeTimeout)"},
		{"small", func(ctx context.Context, o *DialOptions) (context.Context, context.CancelFunc) {
			o.HandshakeTimeout = 20 * time.Millisecond
			return context.WithCancel(ctx)
		}, false, 20 * time.Millisecond, context.DeadlineExceeded, "took longer than 20ms (DialOptions.HandshakeTimeout)"},
		{"none, a deadline", func(ctx context.Context, o *DialOptions) (context.Context, context.CancelFunc) {
			o.HandshakeTimeout = -1
			return context.WithTimeout(ctx, time.Minute)
		}, false, time.Minute, context.DeadlineExceeded, "context deadline exceeded"},
		{"an early deadline", func(ctx context.Context, o *DialOptions) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, 5*time.Second, errTest)
		}, false, 5 * time.Second, context.DeadlineExceeded, "context deadline exceeded"},
		{"cancelled", func(ctx context.Context, o *DialOptions) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(3*time.Second, func() { cancel(errTest) })
			return ctx, func() { cancel(nil) }
		}, false, 3 * time.Second, context.Canceled, "context canceled"},
		{"cancelled before", func(ctx context.Context, o *DialOptions) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, false, 0, context.Canceled, "context canceled"},
		{"http.Client's", func(ctx context.Context, o *DialOptions) (context.Context, context.CancelFunc) {
			o.HTTPClient = &http.Client{Timeout: 4 * time.Second}
			return context.WithCancel(ctx)
		}, true, 4 * time.Second, context.DeadlineExceeded, "context deadline exceeded"},
		{"http.Client's is longer", func(ctx context.Context, o *DialOptions) (context.Context, context.CancelFunc) {
			o.HTTPClient = &http.Client{Timeout: time.Minute}
			return context.WithCancel(ctx)
		}, true, 10 * time.Second, context.DeadlineExceeded, "took longer than 10s (DialOptions.HandshakeTimeout)"},
	}
	everyOpening(t, func(t *testing.T, way opening) {
		for _, server := range slowServers {
			for _, limit := range limits {
				if server.tls && !way.tls || !way.dial && (limit.dial || strings.Contains(server.name, "redirect")) {
					continue
				}
				name := server.name + ", " + limit.name
				var o DialOptions
				begin := time.Now()
				ctx, cancel := limit.limit(t.Context(), &o)
				ours, theirs := streamPair()
				var c *Conn
				var resp *http.Response
				var err error
				if server.tls {
					// TLS here alone.
					go io.Copy(io.Discard, theirs)
					silent, _ := streamPair()
					c, resp, err = way.on(ctx, t, ours, silent, &o, func(net.Conn) {})
				} else {
					c, resp, err = way.on(ctx, t, ours, theirs, &o, drips(server.behind, server.drip))
				}
				cancel()
				require.Nil(t, c, name)
				require.Nil(t, resp, name)
				require.Equal(t, limit.after, time.Since(begin), "%s: %v", name, err)
				require.ErrorIs(t, err, limit.err, name)
				requireDialError(t, err, limit.option)
				var ne net.Error
				require.Equal(t, limit.err == context.DeadlineExceeded, errors.As(err, &ne) && ne.Timeout(), name)
				synctest.Wait()
				assert.Equal(t, limit.after > 0 || !way.dial, ours.isClosed(), name)
				ours.Close()
				theirs.Close()
				<-time.After(time.Second) // the other end ends
			}
		}
	})
}

// requireDialError holds err to the form of errors of Dial and Client to
// example.com.
func requireDialError(t testing.TB, err error, text string) {
	t.Helper()
	require.ErrorContains(t, err, text)
	require.Regexp(t, `^websocket: no connection to wss?://[a-z0-9.]+(:\d+)?: `, err.Error())
	requireDiscreet(t, err)
}

// requireDiscreet looks for what must not be told.
func requireDiscreet(t testing.TB, err error) {
	t.Helper()
	for _, secret := range []string{"password", "secret", "token", "dXNlcjpwYXNzd29yZA", "Get ", "GET "} {
		require.NotContains(t, err.Error(), secret)
	}
	require.Equal(t, 1, strings.Count(err.Error(), "websocket: "), err)
}

// cancelling is a net.Conn that has its context end just when deadlines are
// cleared.
type cancelling struct {
	net.Conn
	cancel context.CancelFunc
}

func (c cancelling) SetDeadline(t time.Time) error {
	if t.IsZero() {
		c.cancel()
		synctest.Wait() // for whoever the end of the context wakes
	}
	return c.Conn.SetDeadline(t)
}

// A context that ends while the handshake begins is not forgotten.
func TestClientCancelAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := streamPair()
		defer theirs.Close()
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Client(ctx, cancelling{ours, cancel}, "ws://example.com/", &DialOptions{HandshakeTimeout: time.Hour})
		require.ErrorIs(t, err, context.Canceled)
	})
}

// A connection without deadlines is closed when the context ends, with which
// nothing else could end the handshake.
func TestClientCancelWithoutDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, reads := range []bool{false, true} { // the peer, which never answers
			ours, theirs := net.Pipe()
			defer theirs.Close()
			if reads {
				go io.Copy(io.Discard, theirs)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := Client(ctx, forgetful{ours}, "ws://example.com/", &DialOptions{HandshakeTimeout: time.Hour})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = ours.Write([]byte{0})
			require.Error(t, err, "it is closed")
		}
	})
}

// A context that ends when all is over changes nothing, nor does the time that
// an http.Client has.
func TestOpeningOutlivesContext(t *testing.T) {
	everyOpening(t, func(t *testing.T, way opening) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		c, _, err := way.open(ctx, t, &DialOptions{
			HTTPClient:       &http.Client{Timeout: 5 * time.Second},
			HandshakeTimeout: 6 * time.Second,
			Options:          Options{Keepalive: -1},
		}, welcoming)
		require.NoError(t, err)
		reading := startRead(t.Context(), c)
		require.True(t, pending(reading))
		<-time.After(time.Minute)
		cancel()
		require.True(t, pending(reading))
		require.NoError(t, c.Context().Err())
		_, has := c.Context().Deadline()
		require.False(t, has)
		require.NoError(t, c.Write(t.Context(), Text, []byte("hello")))
		require.Equal(t, result{"hello", nil, time.Now()}, <-reading)
		talk(t, c)
	})
}

// A context that ends at any time during the handshake either stops it or is too
// late, and never harms the connection.
func TestOpeningCancelRandom(t *testing.T) {
	everyOpening(t, func(t *testing.T, way opening) {
		opened := 0
		for i := range 50 {
			ctx, cancel := context.WithCancel(t.Context())
			ours, theirs := streamPair()
			c, _, err := way.on(ctx, t, ours, theirs, nil, func(nc net.Conn) {
				go func() {
					for range 4 * i {
						runtime.Gosched()
					}
					cancel()
				}()
				welcoming(nc)
			})
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				ours.Close() // Dial may not have come as far as to take it
				continue
			}
			opened++
			<-ctx.Done()
			require.NoError(t, c.Write(t.Context(), Text, []byte("hello")))
			_, p, err := c.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, "hello", string(p))
			c.CloseNow()
		}
		t.Log(opened, "were opened")
	})
}

// strictResponse is what a server answers the opening handshake with.
type strictResponse struct {
	section  string
	name     string
	response func(r *http.Request) string
	endless  string // what the server then sends without end
	status   int    // of the *handshake.ResponseError; 0: there is none
	text     string // in the error; "": the connection is opened
	is       error
}

func strictResponses() (rows []strictResponse) {
	section := ""
	add := func(row strictResponse) {
		row.section = section
		rows = append(rows, row)
	}
	// A 101 in which a line is replaced.
	instead := func(name, old, new, text string) {
		add(strictResponse{name: name, status: 101, text: text, response: func(r *http.Request) string {
			s := accepting(r)
			return strings.Replace(s, strings.ReplaceAll(old, "<accept>", handshake.AcceptKey(r.Header.Get("Sec-WebSocket-Key"))), new, 1)
		}})
	}
	behind := func(name, field, text string) {
		add(strictResponse{name: name, status: 101, text: text, response: func(r *http.Request) string { return accepting(r, field) }})
	}
	text := func(s string) func(*http.Request) string { return func(*http.Request) string { return s } }
	const status, upgrade, connection, accept = "HTTP/1.1 101 Switching Protocols\r\n", "Upgrade: websocket\r\n", "Connection: Upgrade\r\n", "Sec-WebSocket-Accept: <accept>\r\n"

	section = "4.1 Status"
	for _, code := range []int{200, 201, 204, 206, 304, 400, 401, 403, 404, 407, 409, 426, 429, 500, 502, 503, 999} {
		add(strictResponse{
			name: fmt.Sprint(code), status: code, text: fmt.Sprintf("server answered the opening handshake with %d", code),
			response: text(fmt.Sprintf("HTTP/1.1 %d Text\r\nContent-Length: 0\r\n\r\n", code)),
		})
	}
	instead("200 with the header of a 101", "101 Switching Protocols", "200 OK", "with 200 OK")
	rows[len(rows)-1].status = 200
	add(strictResponse{name: "302 without a Location", status: 302, text: "with 302 Found", response: text("HTTP/1.1 302 Found\r\n\r\n")})
	instead("HTTP/1.0", "HTTP/1.1", "HTTP/1.0", "server's response is HTTP/1.0, which has no 101 (RFC 9110, section 15.2)")
	instead("HTTP/1.0, kept alive", "HTTP/1.1 101 Switching Protocols", "HTTP/1.0 101 Switching Protocols\r\nConnection: keep-alive", "HTTP/1.0")
	instead("another reason", "Switching Protocols", "Web Socket Protocol Handshake", "")
	instead("no reason", " Switching Protocols", "", "")

	section = "4.1 Upgrade"
	instead("missing", upgrade, "", "server's Upgrade is missing (RFC 6455, section 4.1)")
	instead("empty", "Upgrade: websocket", "Upgrade: ", "server's Upgrade is \"\"")
	instead("another", "Upgrade: websocket", "Upgrade: h2c", `server's Upgrade is "h2c", it must be "websocket"`)
	instead("two", "Upgrade: websocket", "Upgrade: websocket, h2c", `server's Upgrade is "websocket, h2c"`)
	instead("with a version", "Upgrade: websocket", "Upgrade: websocket/13", `server's Upgrade is "websocket/13"`)
	instead("an empty one first", "Upgrade: websocket", "Upgrade:\r\nUpgrade: websocket", "server's first Upgrade is empty")
	instead("in other letters", "Upgrade: websocket", "Upgrade: WebSocket", "")

	section = "4.1 Connection"
	instead("missing", connection, "", "server's Connection is missing (RFC 6455, section 4.1)")
	instead("another", connection, "Connection: keep-alive\r\n", `server's Connection is "keep-alive", it must have "Upgrade"`)
	instead("a list", connection, "Connection: keep-alive, upgrade\r\n", "")
	instead("two fields", connection, "Connection: keep-alive\r\nConnection: Upgrade\r\n", "")
	// net/http does not tell what else is there.
	instead("closed", connection, "Connection: close, Upgrade\r\n", `server's Connection is "close", it must have "Upgrade"`)

	section = "4.1 Sec-WebSocket-Accept"
	instead("missing", accept, "", "server's Sec-WebSocket-Accept is missing (RFC 6455, section 4.1)")
	instead("empty", accept, "Sec-WebSocket-Accept:\r\n", `server's Sec-WebSocket-Accept is "", which is not the answer to the key of this request`)
	instead("of another key", accept, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", `server's Sec-WebSocket-Accept is "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", which is not`)
	instead("twice", accept, accept+accept, "") // below
	rows[len(rows)-1] = strictResponse{section: section, name: "twice", status: 101, text: "server sent more than one Sec-WebSocket-Accept (RFC 6455, section 11.3.3)", response: func(r *http.Request) string {
		return accepting(r, "Sec-WebSocket-Accept: "+handshake.AcceptKey(r.Header.Get("Sec-WebSocket-Key")))
	}}
	add(strictResponse{name: "the key itself", status: 101, text: "server's Sec-WebSocket-Accept is", response: func(r *http.Request) string {
		key := r.Header.Get("Sec-WebSocket-Key")
		return strings.Replace(accepting(r), handshake.AcceptKey(key), key, 1)
	}})
	add(strictResponse{name: "in other letters", status: 101, text: "server's Sec-WebSocket-Accept is", response: func(r *http.Request) string {
		accept := handshake.AcceptKey(r.Header.Get("Sec-WebSocket-Key"))
		return strings.Replace(accepting(r), accept, strings.ToUpper(accept[:26])+strings.ToLower(accept[26:]), 1)
	}})
	instead("in a header by another name", "Sec-WebSocket-Accept", "Sec-WebSocket-Key", "server's Sec-WebSocket-Accept is missing")
	instead("name in other letters", "Sec-WebSocket-Accept", "sec-websocket-accept", "")

	section = "4.1 Subprotocol"
	behind("chosen", "Sec-WebSocket-Protocol: b", "")
	behind("not offered", "Sec-WebSocket-Protocol: d", `server chose subprotocol "d", which was not offered (RFC 6455, section 4.1)`)
	behind("in other letters", "Sec-WebSocket-Protocol: A", `server chose subprotocol "A"`)
	behind("empty", "Sec-WebSocket-Protocol:", `server chose subprotocol ""`)
	behind("a list", "Sec-WebSocket-Protocol: a, b", `server chose subprotocol "a, b"`)
	behind("two fields", "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a", "server sent more than one Sec-WebSocket-Protocol (RFC 6455, section 11.3.4)")

	section = "4.1 Extensions"
	behind("not offered", "Sec-WebSocket-Extensions: permessage-deflate", `server chose extension "permessage-deflate", which was not offered (RFC 6455, section 4.1)`)
	behind("unknown", "Sec-WebSocket-Extensions: foo; bar=1", `server chose extension "foo"`)
	behind("malformed", "Sec-WebSocket-Extensions: ;;", "Sec-WebSocket-Extensions")
	behind("none", "X-Sec-WebSocket-Extensions: permessage-deflate", "")

	section = "HTTP"
	add(strictResponse{name: "nothing", response: text(""), text: "the server ended the stream before its response", is: io.ErrUnexpectedEOF})
	add(strictResponse{name: "half a line", response: text("HTTP/1.1 101 Swi"), text: "unexpected EOF", is: io.ErrUnexpectedEOF})
	add(strictResponse{name: "half a header", response: text(status + upgrade), text: "unexpected EOF", is: io.ErrUnexpectedEOF})
	add(strictResponse{name: "another protocol", response: text("SSH-2.0-OpenSSH_9.9\r\n"), text: "malformed HTTP"})
	add(strictResponse{name: "another version", response: text("HTTP/9 101 OK\r\n\r\n"), text: "malformed HTTP"})
	add(strictResponse{name: "frames at once", response: text("\x81\x05hello\r\n"), text: "malformed HTTP"})
	add(strictResponse{name: "a page", response: text("<html>\r\n<body>token\r\n"), text: "malformed HTTP"})
	add(strictResponse{name: "a header that is none", response: text(status + "no colon\r\n\r\n"), text: "malformed MIME header"})
	add(strictResponse{name: "a control character", response: text(status + "X\x00: y\r\n\r\n"), text: "malformed MIME header"})
	add(strictResponse{name: "two lengths", response: text("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), text: "Content-Length"})
	behind("a length", "Content-Length: 5", "")
	behind("chunks", "Transfer-Encoding: chunked", "")

	section = "10.4 Limits"
	add(strictResponse{name: "one long field", response: text(status + "X: " + strings.Repeat("x", 20_000) + "\r\n\r\n"), text: "16384 bytes"})
	add(strictResponse{name: "many fields", response: text(status + strings.Repeat("X: y\r\n", 4_000) + "\r\n"), text: "16384 bytes"})
	add(strictResponse{name: "a status line without end", response: text("HTTP/1.1 200 "), endless: "x", text: "16384 bytes"})
	add(strictResponse{name: "a field without end", response: text(status + "X: "), endless: "x", text: "16384 bytes"})
	add(strictResponse{name: "fields without end", response: text(status), endless: "X: y\r\n", text: "16384 bytes"})
	add(strictResponse{name: "hints without end", response: text(""), endless: "HTTP/1.1 103 Early Hints\r\n\r\n", text: "16384 bytes"})
	behind("a large header", "X: "+strings.Repeat("x", 15_000), "")
	return rows
}

func TestOpeningStrict(t *testing.T) {
	rows := strictResponses()
	everyOpening(t, func(t *testing.T, way opening) {
		for _, row := range rows {
			name := row.section + ": " + row.name
			ended := make(chan struct{})
			c, resp, err := way.open(t.Context(), t, &DialOptions{Subprotocols: []string{"a", "b"}}, func(nc net.Conn) {
				defer close(ended)
				r, err := http.ReadRequest(bufio.NewReader(nc))
				if !assert.NoError(t, err, name) {
					return
				}
				for _, err = io.WriteString(nc, row.response(r)); err == nil && row.endless != ""; {
					_, err = io.WriteString(nc, strings.Repeat(row.endless, 100))
				}
				if row.status == 0 {
					return // the end of the stream
				}
				// Nothing is sent to a server that has not accepted.
				var rest []byte
				if row.text != "" {
					rest, _ = io.ReadAll(nc)
				}
				assert.Empty(t, rest, name)
			})
			if row.text == "" {
				require.NoError(t, err, name)
				c.CloseNow()
				<-ended
				continue
			}
			if c != nil {
				c.CloseNow()
			}
			require.ErrorContains(t, err, row.text, name)
			requireDiscreet(t, err)
			if row.is != nil {
				require.ErrorIs(t, err, row.is, name)
			}
			require.NotErrorIs(t, err, io.EOF, name)
			require.NotErrorIs(t, err, net.ErrClosed, name)
			refusal, refused := errors.AsType[*handshake.ResponseError](err)
			require.Equal(t, row.status != 0, refused, name)
			if refused {
				require.Equal(t, row.status, refusal.Status, name)
			} else {
				require.Nil(t, resp, name)
				requireDialError(t, err, row.text)
			}
			if row.text == "16384 bytes" {
				require.ErrorContains(t, err, "(DialOptions.HandshakeBytes)", name)
			}
			if refused && way.dial {
				require.Equal(t, row.status, resp.StatusCode, name)
				require.Equal(t, resp.Header, refusal.Header, name)
			}
			<-ended
		}
	})
}

// The limit of the header is the user's, and what comes behind the header does
// not count.
func TestOpeningHandshakeBytes(t *testing.T) {
	everyOpening(t, func(t *testing.T, way opening) {
		for _, test := range []struct {
			bytes, header int
			ok            bool
		}{{200, 100, false}, {1_000, 500, true}, {1_000, 1_000, false}, {100_000, 90_000, true}, {100_000, 100_000, false}, {-1, 1_000_000, true}} {
			behind := string(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.OpText}, []byte(letters(3_000))))
			c, _, err := way.open(t.Context(), t, &DialOptions{HandshakeBytes: test.bytes}, func(nc net.Conn) {
				r, err := http.ReadRequest(bufio.NewReader(nc))
				if assert.NoError(t, err) {
					io.WriteString(nc, accepting(r, "X: "+strings.Repeat("x", test.header))+behind)
					io.Copy(io.Discard, nc)
				}
			})
			if !test.ok {
				requireDialError(t, err, fmt.Sprintf("%d bytes", test.bytes))
				require.ErrorContains(t, err, "(DialOptions.HandshakeBytes)")
				continue
			}
			require.NoError(t, err, test)
			_, p, err := c.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, letters(3_000), string(p))
			c.CloseNow()
		}
	})
}

func TestOpeningRefused(t *testing.T) {
	body := letters(5_000)
	chunked := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(s), s) }
	tests := []struct {
		name    string
		fields  string
		body    string
		endless string
		open    bool // the server leaves the stream open and sends no more
		want    string
	}{
		{name: "no body", fields: "Content-Length: 0\r\n"},
		{name: "a short body", fields: "Content-Length: 9\r\n", body: "Not you.\n", want: "Not you.\n"},
		{name: "a short body, kept alive", fields: "Content-Length: 9\r\n", body: "Not you.\n", open: true, want: "Not you.\n"},
		{name: "up to the end of the stream", body: "Not you.\n", want: "Not you.\n"},
		{name: "chunked", fields: "Transfer-Encoding: chunked\r\n", body: chunked("Not you.\n"), want: "Not you.\n"},
		{name: "1024 bytes", fields: "Content-Length: 1024\r\n", body: body[:1024], want: body[:1024]},
		{name: "a long body", fields: "Content-Length: 5000\r\n", body: body, want: body[:1024]},
		{name: "a long body, kept alive", fields: "Content-Length: 5000\r\n", body: body, open: true, want: body[:1024]},
		{name: "a long chunked body", fields: "Transfer-Encoding: chunked\r\n", body: chunked(body), want: body[:1024]},
		{name: "a long chunked body without its end", fields: "Transfer-Encoding: chunked\r\n", body: chunked(body)[:2_000], open: true, want: body[:1024]},
		{name: "cut off", fields: "Content-Length: 5000\r\n", body: body[:10], want: body[:10]},
		{name: "not cut off yet", fields: "Content-Length: 5000\r\n", body: body[:1024], open: true, want: body[:1024]},
		{name: "slow", fields: "Content-Length: 5000\r\n", body: body[:10], open: true, want: body[:10]},
		{name: "endless", endless: "x", want: strings.Repeat("x", 1024)},
		{name: "endless, announced", fields: "Content-Length: 9223372036854775807\r\n", endless: "x", want: strings.Repeat("x", 1024)},
		{name: "endless, in chunks", fields: "Transfer-Encoding: chunked\r\n", endless: "1\r\nx\r\n", want: strings.Repeat("x", 1024)},
		{name: "packed", fields: "Content-Encoding: gzip\r\nContent-Length: 4\r\n", body: "\x1f\x8b\xff\x00", want: "\x1f\x8b\xff\x00"},
	}
	everyOpening(t, func(t *testing.T, way opening) {
		for _, test := range tests {
			for _, limit := range []int{0, -1} {
				begin := time.Now()
				c, resp, err := way.open(t.Context(), t, &DialOptions{HandshakeBytes: limit}, func(nc net.Conn) {
					_, err := http.ReadRequest(bufio.NewReader(nc))
					if !assert.NoError(t, err) {
						return
					}
					for _, err = io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\nX-Reason: test\r\n"+test.fields+"\r\n"+test.body); err == nil && test.endless != ""; {
						_, err = io.WriteString(nc, strings.Repeat(test.endless, 1_000))
					}
					if test.open {
						io.Copy(io.Discard, nc)
					}
				})
				require.Nil(t, c)
				refusal, ok := errors.AsType[*handshake.ResponseError](err)
				require.True(t, ok, "%s: %v", test.name, err)
				require.Equal(t, http.StatusForbidden, refusal.Status)
				require.Equal(t, "test", refusal.Header.Get("X-Reason"))
				require.Equal(t, test.want, string(refusal.Body), test.name)
				require.ErrorContains(t, err, "websocket: server answered the opening handshake with 403 Forbidden")
				require.Less(t, len(err.Error()), 1_000)
				if test.want == "Not you.\n" {
					require.ErrorContains(t, err, `: "Not you."`)
				}
				if way.dial {
					require.NotNil(t, resp)
					require.Equal(t, http.StatusForbidden, resp.StatusCode)
					got, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					require.Equal(t, test.want, string(got), test.name)
					require.NoError(t, resp.Body.Close())
				}
				if test.name == "slow" {
					require.Equal(t, 10*time.Second, time.Since(begin), "it is waited for, but not for ever")
				} else {
					require.Zero(t, time.Since(begin), test.name)
				}
				synctest.Wait()
			}
		}
	})
}

// What comes in the same segment as the 101 is not lost.
func TestOpeningEarly(t *testing.T) {
	var many []byte
	var messages []string
	for i := 0; len(many) < 200<<10; i++ {
		messages = append(messages, letters(37*i))
		many = frame.AppendFrame(many, frame.Header{Fin: true, Opcode: frame.OpText}, []byte(messages[i]))
	}
	large := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.OpBinary}, []byte(letters(200<<10)))
	hello := string(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.OpText}, []byte("hello")))
	type row struct {
		name     string
		stream   string
		with     int // how much of it comes with the 101
		messages []string
	}
	var rows []row
	for i := range len(hello) + 1 {
		rows = append(rows, row{fmt.Sprintf("%d bytes of a message", i), hello, i, []string{"hello"}})
	}
	for _, i := range []int{1_000, 3_000, 3_900, 3_950, 4_000, 4_096, 5_000, 8_192, 16_384, 20_000, 65_536, 100_000, len(many)} {
		rows = append(rows, row{fmt.Sprintf("%d bytes of many messages", i), string(many), i, messages})
	}
	for _, i := range []int{1, 9, 10, 11, 4_096, 16_384, 100_000, len(large)} {
		rows = append(rows, row{fmt.Sprintf("%d bytes of a large message", i), string(large), i, []string{letters(200 << 10)}})
	}
	check := func(t *testing.T, way opening, ours, theirs net.Conn, row row) {
		c, _ := way.peerOn(t, ours, theirs, nil, row.stream[:row.with], row.stream[row.with:])
		for _, want := range row.messages {
			_, got, err := c.Read(t.Context())
			require.NoError(t, err, row.name)
			require.True(t, want == string(got), "%s: %d bytes, want %d", row.name, len(got), len(want))
		}
		c.CloseNow()
	}
	everyOpening(t, func(t *testing.T, way opening) {
		for _, row := range rows {
			ours, theirs := streamPair()
			check(t, way, ours, theirs, row)
		}
	})
	for _, way := range openings {
		t.Run(way.name+", TCP", func(t *testing.T) {
			for _, row := range rows {
				ours, theirs := socketPair(t, "tcp", "127.0.0.1:0")
				check(t, way, ours, theirs, row)
			}
		})
	}
}

// A server that ends the stream right behind its 101.
func TestOpeningThenTheEnd(t *testing.T) {
	server := &peer{role: frame.Server}
	tests := []struct {
		name   string
		behind []byte
		check  func(t *testing.T, err error)
	}{
		{"nothing", nil, func(t *testing.T, err error) { require.ErrorIs(t, err, io.ErrUnexpectedEOF) }},
		{"half a frame", server.whole(frame.OpText, "hello")[:3], func(t *testing.T, err error) { require.ErrorIs(t, err, io.ErrUnexpectedEOF) }},
		{"a Close frame", server.close(frame.CloseGoingAway, "bye"), func(t *testing.T, err error) {
			require.Equal(t, &CloseError{Code: frame.CloseGoingAway, Reason: "bye", Remote: true}, err)
		}},
		{"a frame that is wrong", []byte{0x83, 0}, func(t *testing.T, err error) { require.ErrorIs(t, err, frame.ErrReservedOpcode) }},
	}
	open := func(t *testing.T, way opening, ours, theirs net.Conn, behind []byte) *Conn {
		c, _, err := way.on(t.Context(), t, ours, theirs, nil, func(nc net.Conn) {
			r, err := http.ReadRequest(bufio.NewReader(nc))
			if assert.NoError(t, err) {
				io.WriteString(nc, accepting(r)+string(behind))
			}
		})
		require.NoError(t, err)
		return c
	}
	for _, test := range tests {
		everyOpening(t, func(t *testing.T, way opening) {
			ours, theirs := streamPair()
			_, err := readAll(open(t, way, ours, theirs, test.behind))
			test.check(t, err)
		})
		for _, way := range openings {
			t.Run(way.name+", TCP/"+test.name, func(t *testing.T) {
				ours, theirs := socketPair(t, "tcp", "127.0.0.1:0")
				_, err := readAll(open(t, way, ours, theirs, test.behind))
				test.check(t, err)
			})
		}
	}
}

// One broken rule of each kind after a handshake on every way: the rules
// themselves are tested on connections that New made.
func TestOpeningThenBroken(t *testing.T) {
	masked := frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.OpText, Masked: true, Key: mask.Key{1, 2, 3, 4}}, []byte("hello"))
	tests := []struct {
		name string
		send []byte
		code frame.CloseCode
		err  error // nil: the peer closed
	}{
		{"masked", masked, 1002, frame.ErrMasked},
		{"reserved bit 1", []byte{0xC1, 0}, 1002, frame.ErrReservedBits},
		{"reserved bit 3", []byte{0x91, 0}, 1002, frame.ErrReservedBits},
		{"reserved opcode", []byte{0x83, 0}, 1002, frame.ErrReservedOpcode},
		{"reserved control opcode", []byte{0x8B, 0}, 1002, frame.ErrReservedOpcode},
		{"close code 1006", []byte{0x88, 2, 0x03, 0xEE}, 1002, frame.ErrCloseCode},
		{"close with one byte", []byte{0x88, 1, 0x03}, 1002, frame.ErrCloseLength},
		{"close reason", []byte{0x88, 3, 0x03, 0xE8, 0xFF}, 1007, frame.ErrCloseReason},
		{"text", []byte{0x81, 1, 0xFF}, 1007, frame.ErrText},
		{"too large", []byte{0x82, 127, 0, 0, 0, 0, 0x40, 0, 0, 0}, 1009, frame.ErrMessageTooBig},
		{"far too large", []byte{0x82, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 1009, frame.ErrMessageTooBig},
		{"Close in the middle of a message", []byte{0x01, 1, 'a', 0x88, 2, 0x03, 0xE8}, 1000, nil},
	}
	everyOpening(t, func(t *testing.T, way opening) {
		for _, test := range tests {
			for _, together := range []bool{true, false} {
				behind := ""
				if together {
					behind = string(test.send)
				}
				c, p := way.openPeer(t, nil, behind)
				if !together {
					p.write(test.send)
				}
				_, err := readAll(c)
				if test.err == nil {
					require.Equal(t, &CloseError{Code: test.code, Remote: true}, err)
				} else {
					require.ErrorIs(t, err, test.err)
					var pe *frame.ProtocolError
					require.ErrorAs(t, err, &pe)
					require.Equal(t, test.code, pe.Code)
				}
				p.expectClose(test.code)
			}
		}
	})
}

// Nothing is allocated for a message that is only announced.
func TestOpeningAnnounced(t *testing.T) {
	announce := []byte{0x82, 127, 0, 0, 0, 0x10, 0, 0, 0, 0}
	for _, limit := range []int64{0, -1} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const rounds = 20
		for i := range rounds {
			nc := &replay{in: bytes.Clone(announce)}
			c := New(nc, frame.Client, nil, &Options{ReadLimit: limit})
			hear(t, c, uint8(i))
		}
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(rounds*(256<<10)))
	}
}

// Each frame of a client has a key of its own. (RFC 6455, section 5.3)
func TestMaskingKeys(t *testing.T) {
	everyOpening(t, func(t *testing.T, way opening) {
		c, p := way.openPeer(t, nil)
		keys := make(map[mask.Key]bool)
		zero := 0
		look := func() {
			h, _, err := p.next()
			require.NoError(t, err)
			require.True(t, h.Masked)
			require.False(t, keys[h.Key], "the key %x comes again", h.Key)
			keys[h.Key] = true
			if h.Key == (mask.Key{}) {
				zero++
			}
		}
		ctx := t.Context()
		for i := range 350 {
			require.NoError(t, c.Write(ctx, Text, []byte("the same")))
			require.NoError(t, c.Write(ctx, Binary, nil))
			look()
			look()
			require.NoError(t, c.Send(Text, []byte("the same")))
			look()
			if i%50 > 0 {
				continue
			}
			go c.Write(ctx, Binary, make([]byte, 100_000))
			look()
			w, err := c.Writer(ctx, Text)
			require.NoError(t, err)
			go func() {
				for range 3 {
					io.WriteString(w, strings.Repeat("x", 10_000))
				}
				w.Close()
			}()
			for fin := false; !fin; {
				h, _, err := p.next()
				require.NoError(t, err)
				require.False(t, keys[h.Key])
				keys[h.Key] = true
				fin = h.Fin
			}
		}
		require.Greater(t, len(keys), 1_000)
		require.LessOrEqual(t, zero, 1)
	})
}

// Nobody's payload is changed by masking, not even for a moment: others may read
// it, and write it too. The race detector sees the moment.
func TestMaskingShared(t *testing.T) {
	for _, size := range []int{1, 4_000, 64 << 10, 100_000, 1 << 20} {
		for _, way := range openings[:2] {
			t.Run(fmt.Sprintf("%s/%d bytes", way.name, size), func(t *testing.T) {
				ours, theirs := socketPair(t, "tcp", "127.0.0.1:0")
				c, _, err := way.on(t.Context(), t, ours, theirs, &DialOptions{Options: Options{Overflow: DropNewest}}, func(nc net.Conn) {
					r, err := http.ReadRequest(bufio.NewReader(nc))
					if !assert.NoError(t, err) {
						return
					}
					io.WriteString(nc, accepting(r))
					s := New(nc, frame.Server, nil, nil)
					want := letters(size)
					for m, err := range s.Messages(context.Background()) {
						if !assert.NoError(t, err) {
							break
						}
						assert.True(t, want == string(m.Data), "%d bytes", size)
					}
					s.CloseNow()
				})
				require.NoError(t, err)
				defer c.CloseNow()
				payload := []byte(letters(size))
				var writers sync.WaitGroup
				for i := range 4 {
					writers.Go(func() {
						for j := range 5 {
							var err error
							switch (i + j) % 3 {
							case 0:
								err = c.Write(t.Context(), Binary, payload)
							case 1:
								if err = c.Send(Binary, payload); err == ErrQueueFull {
									err = c.Write(t.Context(), Binary, payload)
								}
							case 2:
								var w io.WriteCloser
								if w, err = c.Writer(t.Context(), Binary); err == nil {
									_, err = w.Write(payload)
									err = errors.Join(err, w.Close())
								}
							}
							assert.NoError(t, err)
						}
					})
				}
				writers.Go(func() {
					for range 20 {
						assert.Equal(t, byte('a'), payload[0])
						bytes.Count(payload, []byte{'b'})
						runtime.Gosched()
					}
				})
				writers.Wait()
				require.NoError(t, c.Close(frame.CloseNormal, ""))
				require.True(t, letters(size) == string(payload))
			})
		}
	}
}
