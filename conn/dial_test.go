package conn

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
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
)

// world is a network in memory: what answers at an address is a function, which
// gets its end of each connection and is done with it when it returns.
type world struct {
	t  testing.TB
	at map[string]func(nc net.Conn)

	mu     sync.Mutex
	dialed []string
}

var errRefused = errors.New("connection refused")

// dial is a DialContext.
func (w *world) dial(_ context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.dialed = append(w.dialed, addr)
	w.mu.Unlock()
	serve := w.at[addr]
	if serve == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errRefused}
	}
	ours, theirs := streamPair()
	go func() {
		defer theirs.Close()
		serve(theirs)
	}()
	return ours, nil
}

// transport returns a Transport in the world.
func (w *world) transport() *http.Transport {
	return &http.Transport{DialContext: w.dial, TLSClientConfig: trust(w.t)}
}

func (w *world) client() *http.Client { return &http.Client{Transport: w.transport()} }

// underTLS puts TLS on what answers at an address.
func underTLS(t testing.TB, serve func(nc net.Conn)) func(nc net.Conn) {
	return func(nc net.Conn) {
		tc := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
		defer tc.Close()
		serve(tc)
	}
}

// httpServer starts a server that echoes messages.
func httpServer(t testing.TB, start func(*httptest.Server)) *httptest.Server {
	s := httptest.NewUnstartedServer(Handler(serveEcho, &AcceptOptions{Options: Options{Keepalive: -1}}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(s)
	t.Cleanup(s.Close)
	return s
}

// TestDialSchemes has real servers.
func TestDialSchemes(t *testing.T) {
	type server = httptest.Server
	plain := func(s *server) { s.Start() }
	secure := func(s *server) { s.StartTLS() }
	both := func(s *server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	}
	unix := func(s *server) {
		var err error
		s.Listener.Close()
		s.Listener, err = net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		require.NoError(t, err)
		s.Start()
	}
	set := func(f func(tr *http.Transport)) func(*server) *http.Transport {
		return func(s *server) *http.Transport {
			tr := &http.Transport{}
			if s.TLS != nil {
				tr = s.Client().Transport.(*http.Transport).Clone()
			}
			f(tr)
			return tr
		}
	}
	nothing := set(func(*http.Transport) {})
	h2 := []string{"h2", "http/1.1"}
	tests := []struct {
		name      string
		scheme    string
		start     func(*server)
		transport func(*server) *http.Transport
		nc        net.Conn // of this type
	}{
		{"ws", "ws", plain, nothing, &net.TCPConn{}},
		{"http", "http", plain, nothing, &net.TCPConn{}},
		{"ws, default client", "ws", plain, nil, &net.TCPConn{}},
		{"ws, keep-alives", "ws", plain, set(func(tr *http.Transport) { tr.MaxIdleConns, tr.MaxConnsPerHost = 1, 1 }), &net.TCPConn{}},
		{"wss", "wss", secure, nothing, &tls.Conn{}},
		{"https", "https", secure, nothing, &tls.Conn{}},
		{"wss, HTTP/2 server", "wss", both, nothing, &tls.Conn{}},
		{"wss, HTTP/2 server, NextProtos", "wss", both, set(func(tr *http.Transport) { tr.TLSClientConfig.NextProtos = h2 }), &tls.Conn{}},
		{"wss, HTTP/2 server, NextProtos h2 alone", "wss", both, set(func(tr *http.Transport) { tr.TLSClientConfig.NextProtos = h2[:1] }), &tls.Conn{}},
		{"wss, HTTP/2 server, ForceAttemptHTTP2", "wss", both, set(func(tr *http.Transport) { tr.ForceAttemptHTTP2 = true }), &tls.Conn{}},
		{"wss, HTTP/2 server, both", "wss", both, set(func(tr *http.Transport) {
			tr.ForceAttemptHTTP2, tr.TLSClientConfig.NextProtos = true, h2
		}), &tls.Conn{}},
		{"wss, HTTP/2 server, Protocols", "wss", both, set(func(tr *http.Transport) {
			tr.Protocols = new(http.Protocols)
			tr.Protocols.SetHTTP2(true)
		}), &tls.Conn{}},
		{"wss, HTTP/2 server, used", "wss", both, func(s *server) *http.Transport {
			_, err := s.Client().Get(s.URL)
			require.NoError(t, err)
			return s.Client().Transport.(*http.Transport)
		}, &tls.Conn{}},
		{"wss, DialTLSContext", "wss", both, func(s *server) *http.Transport {
			return &http.Transport{DialTLSContext: (&tls.Dialer{Config: trust(t)}).DialContext}
		}, &tls.Conn{}},
		{"ws, Dial", "ws", plain, set(func(tr *http.Transport) { tr.Dial = net.Dial }), &net.TCPConn{}},
		{"unix", "ws", unix, func(s *server) *http.Transport {
			return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", s.Listener.Addr().String())
			}}
		}, &net.UnixConn{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := httpServer(t, test.start)
			host := s.Listener.Addr().String()
			if s.Listener.Addr().Network() == "unix" {
				host = "somewhere"
			}
			o := &DialOptions{HTTPClient: &http.Client{}}
			if test.transport == nil {
				o = nil
			} else {
				o.HTTPClient.Transport = test.transport(s)
			}
			for range 2 {
				c, resp, err := Dial(t.Context(), test.scheme+"://"+host+"/", o)
				require.NoError(t, err)
				defer c.CloseNow()
				require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
				require.IsType(t, test.nc, c.nc)
				_, secure := c.nc.(*tls.Conn)
				require.Equal(t, !secure, c.vectored, "the connection itself")
				if runtime.GOOS == "linux" {
					require.Equal(t, !secure, c.raw != nil, "the raw transport")
				}
				require.Equal(t, s.Listener.Addr().String(), c.RemoteAddr().String())
				if tc, ok := c.nc.(*tls.Conn); ok {
					require.Empty(t, tc.ConnectionState().NegotiatedProtocol)
				}
				talk(t, c)
			}
		})
	}
}

// The user's Transport is not used and not changed: it goes on with HTTP/2.
func TestDialTransportUnchanged(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			return
		}
		Handler(serveEcho, nil).ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	tr := s.Client().Transport.(*http.Transport)
	reused := func() (reused bool) {
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
		}), "GET", s.URL, nil)
		require.NoError(t, err)
		resp, err := s.Client().Do(r)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 2, resp.ProtoMajor)
		return reused
	}
	require.False(t, reused())
	before := *s.Client()
	c, _, err := Dial(t.Context(), s.URL, &DialOptions{HTTPClient: s.Client()})
	require.NoError(t, err)
	talk(t, c)
	_, _, err = Dial(t.Context(), s.URL+"/%", &DialOptions{HTTPClient: s.Client()})
	require.Error(t, err)
	require.Equal(t, before.Timeout, s.Client().Timeout)
	require.Nil(t, s.Client().CheckRedirect)
	require.Same(t, tr, s.Client().Transport)
	require.False(t, tr.DisableKeepAlives)
	require.False(t, tr.DisableCompression)
	require.Nil(t, tr.Protocols)
	require.Zero(t, tr.MaxResponseHeaderBytes)
	require.True(t, reused(), "its connections are still there")

	def := http.DefaultTransport.(*http.Transport)
	plain := httpServer(t, (*httptest.Server).Start)
	c, _, err = Dial(t.Context(), plain.URL, nil)
	require.NoError(t, err)
	talk(t, c)
	require.Equal(t, http.Client{}, *http.DefaultClient)
	require.True(t, def.ForceAttemptHTTP2)
	require.False(t, def.DisableKeepAlives)
	require.Nil(t, def.Protocols)
	require.Zero(t, def.MaxResponseHeaderBytes)
	require.NotNil(t, def.Proxy)
}

// roundTripper is a user's RoundTripper.
type roundTripper func(r *http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestDialRoundTripper(t *testing.T) {
	w := &world{t: t, at: map[string]func(net.Conn){"a.test:80": welcoming, "open.test:80": answering(func(r *http.Request) string {
		if r.Header.Get("Authorization") == "" {
			return "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
		}
		return accepting(r)
	})}}
	base := w.transport()
	// withoutTrace sends a request whose context has no trace.
	withoutTrace := func(r *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(r.WithContext(context.Background()))
		if resp != nil {
			resp.Request = r
		}
		return resp, err
	}
	certificate(t)
	tests := []struct {
		name string
		url  string
		rt   roundTripper
		text string // of the error
		addr net.Addr
	}{
		{name: "wraps a Transport", url: "ws://a.test/", addr: streamAddr("server"), rt: base.RoundTrip},
		{name: "changes the request", url: "ws://open.test/", addr: streamAddr("server"), rt: func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer x")
			return base.RoundTrip(r)
		}},
		{name: "tries twice", url: "ws://open.test/", addr: streamAddr("server"), rt: func(r *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(r)
			if err != nil || resp.StatusCode != http.StatusUnauthorized {
				return resp, err
			}
			resp.Body.Close()
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer x")
			return base.RoundTrip(r)
		}},
		{name: "without GotConn", url: "ws://a.test/", rt: withoutTrace},
		{name: "without GotConn, wss", url: "wss://a.test/", rt: withoutTrace},
		{name: "its response has no request", url: "ws://a.test/", addr: streamAddr("server"), rt: func(r *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(r)
			if resp != nil {
				resp.Request = nil
			}
			return resp, err
		}},
		{name: "its refusal has no request and no header", url: "ws://a.test/", text: "404 Not Found", rt: func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 404}, nil
		}},
		{name: "its 101 has no header", url: "ws://a.test/", text: "server's Upgrade is missing", rt: func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 101}, nil
		}},
		{name: "a body that cannot be written", url: "ws://a.test/", text: "the Transport of DialOptions.HTTPClient gave a response whose body is a struct { io.ReadCloser }, which cannot be written to", rt: func(r *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(r)
			if resp != nil {
				resp.Body = struct{ io.ReadCloser }{resp.Body}
			}
			return resp, err
		}},
		{name: "no body", url: "ws://a.test/", text: "which cannot be written to", rt: func(r *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(r)
			if resp != nil {
				resp.Body.Close()
				resp.Body = nil
			}
			return resp, err
		}},
		{name: "an error", url: "ws://a.test/", text: errTest.Error(), rt: func(r *http.Request) (*http.Response, error) { return nil, errTest }},
		{name: "neither", url: "ws://a.test/", text: "nil *Response with a nil error", rt: func(r *http.Request) (*http.Response, error) { return nil, nil }},
	}
	w.at["a.test:443"] = underTLS(t, welcoming)
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			c, resp, err := Dial(t.Context(), test.url, &DialOptions{HTTPClient: &http.Client{Transport: test.rt}})
			base.CloseIdleConnections()
			if test.text != "" {
				require.ErrorContains(t, err, test.text)
				require.Nil(t, c)
				return
			}
			require.NoError(t, err)
			require.Equal(t, 101, resp.StatusCode)
			require.Equal(t, test.addr, c.RemoteAddr())
			require.NotNil(t, c.Request())
			talk(t, c)
		})
	}
}

// A connection without deadlines is good enough, as it is for New: that of a
// tunnel through SSH, for instance.
func TestDialNoDeadlines(t *testing.T) {
	hello := string(frame.AppendFrame(nil, frame.Header{Fin: true, Opcode: frame.OpText}, []byte("hello")))
	for _, behind := range []string{"", hello, hello[:1], hello + hello[:3]} {
		bubble(t, fmt.Sprint(len(behind)), func(t *testing.T) {
			sent := make(chan struct{})
			w := &world{t: t, at: map[string]func(net.Conn){"a.test:80": func(nc net.Conn) {
				r, err := http.ReadRequest(bufio.NewReader(nc))
				if !assert.NoError(t, err) {
					return
				}
				io.WriteString(nc, accepting(r)+behind)
				<-sent
				io.WriteString(nc, (hello + hello)[len(behind):])
				serveEcho(context.Background(), New(nc, frame.Server, nil, nil))
			}}}
			tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := w.dial(ctx, network, addr)
				return forgetful{nc}, err
			}}
			c, _, err := Dial(t.Context(), "ws://a.test/", &DialOptions{HTTPClient: &http.Client{Transport: tr}})
			close(sent)
			require.NoError(t, err)
			for range 2 {
				_, p, err := c.Read(t.Context())
				require.NoError(t, err)
				require.Equal(t, "hello", string(p))
			}
			talk(t, c)
		})
	}
}

func TestDialTrace(t *testing.T) {
	s := httpServer(t, (*httptest.Server).StartTLS)
	var mu sync.Mutex
	var steps []string
	step := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, name)
	}
	var got net.Conn
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GetConn:              func(string) { step("GetConn") },
		ConnectStart:         func(string, string) { step("ConnectStart") },
		ConnectDone:          func(_, _ string, err error) { step(fmt.Sprint("ConnectDone ", err)) },
		TLSHandshakeStart:    func() { step("TLSHandshakeStart") },
		TLSHandshakeDone:     func(_ tls.ConnectionState, err error) { step(fmt.Sprint("TLSHandshakeDone ", err)) },
		GotConn:              func(info httptrace.GotConnInfo) { got = info.Conn; step("GotConn") },
		WroteRequest:         func(info httptrace.WroteRequestInfo) { step(fmt.Sprint("WroteRequest ", info.Err)) },
		GotFirstResponseByte: func() { step("GotFirstResponseByte") },
	})
	c, _, err := Dial(ctx, "wss"+s.URL[5:], &DialOptions{HTTPClient: s.Client()})
	require.NoError(t, err)
	defer c.CloseNow()
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{
		"GetConn", "ConnectStart", "ConnectDone <nil>", "TLSHandshakeStart", "TLSHandshakeDone <nil>", "GotConn",
		"WroteRequest <nil>", "GotFirstResponseByte",
	}, steps)
	require.Same(t, c.nc, got)
}

func TestDialCookies(t *testing.T) {
	certificate(t)
	synctest.Test(t, func(t *testing.T) {
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		var cookies []string
		answer := answering(func(r *http.Request) string {
			cookies = append(cookies, r.Header.Get("Cookie"))
			switch r.URL.Path {
			case "/login":
				return "HTTP/1.1 302 Found\r\nSet-Cookie: session=1; Path=/\r\nLocation: /chat\r\n\r\n"
			case "/away":
				return "HTTP/1.1 302 Found\r\nLocation: ws://b.test/\r\n\r\n"
			case "/no":
				return "HTTP/1.1 403 Forbidden\r\nSet-Cookie: refused=1; Path=/no\r\n\r\n"
			}
			return accepting(r, "Set-Cookie: seen=1; Path=/", "Set-Cookie: safe=1; Path=/; Secure")
		})
		w := &world{t: t, at: map[string]func(net.Conn){"a.test:80": answer, "b.test:80": answer, "a.test:443": underTLS(t, answer)}}
		hc := w.client()
		hc.Jar = jar
		dial := func(url string, header ...string) error {
			o := &DialOptions{HTTPClient: hc}
			if len(header) > 0 {
				o.Header = http.Header{"Cookie": header}
			}
			c, _, err := Dial(t.Context(), url, o)
			if err == nil {
				talk(t, c)
			}
			return err
		}
		require.NoError(t, dial("ws://a.test/login"))
		require.NoError(t, dial("ws://a.test/chat"))
		require.NoError(t, dial("ws://a.test/chat", "own=1"))
		require.NoError(t, dial("wss://a.test/chat"))
		require.NoError(t, dial("wss://a.test/chat"))
		require.NoError(t, dial("ws://a.test/away", "own=1"))
		require.Error(t, dial("ws://a.test/no"))
		require.Error(t, dial("ws://a.test/no"))
		require.Equal(t, []string{
			"", "session=1", // redirected
			"session=1; seen=1",
			"own=1; session=1; seen=1",
			"session=1; seen=1; safe=1",
			"session=1; seen=1; safe=1",
			"own=1; session=1; seen=1", "", // redirected
			"session=1; seen=1",
			"refused=1; session=1; seen=1",
		}, cookies)
		u, err := url.Parse("https://a.test/")
		require.NoError(t, err)
		require.Len(t, jar.Cookies(u), 3)
	})
}

// asked is what a server was asked on the way through redirects.
type asked struct {
	url        string
	credential string // Authorization, Cookie
}

func TestDialRedirects(t *testing.T) {
	certificate(t)
	const both = "Basic dXNlcjpwYXNzd29yZA==, session=1"
	tests := []struct {
		name   string
		url    string            // default ws://a.test/
		status int               // default 302
		to     map[string]string // Location by scheme and host and path
		want   []asked           // the last one accepts
		text   string            // of the error; there is no connection
	}{
		{name: "301", status: 301, to: map[string]string{"http://a.test/": "/two"}, want: []asked{{"http://a.test/", both}, {"http://a.test/two", both}}},
		{name: "302", status: 302, to: map[string]string{"http://a.test/": "/two"}, want: []asked{{"http://a.test/", both}, {"http://a.test/two", both}}},
		{name: "303", status: 303, to: map[string]string{"http://a.test/": "/two"}, want: []asked{{"http://a.test/", both}, {"http://a.test/two", both}}},
		{name: "307", status: 307, to: map[string]string{"http://a.test/": "/two"}, want: []asked{{"http://a.test/", both}, {"http://a.test/two", both}}},
		{name: "308", status: 308, to: map[string]string{"http://a.test/": "/two"}, want: []asked{{"http://a.test/", both}, {"http://a.test/two", both}}},
		{name: "300 is none", status: 300, to: map[string]string{"http://a.test/": "/two"}, want: []asked{{"http://a.test/", both}}, text: "300 Multiple Choices"},
		{name: "304 is none", status: 304, to: map[string]string{"http://a.test/": "/two"}, want: []asked{{"http://a.test/", both}}, text: "304 Not Modified"},
		{name: "a query", to: map[string]string{"http://a.test/": "two?x=y"}, want: []asked{{"http://a.test/", both}, {"http://a.test/two?x=y", both}}},
		{name: "other letters", to: map[string]string{"http://a.test/": "ws://A.test/two"}, want: []asked{{"http://a.test/", both}, {"http://A.test/two", ", "}}},
		{name: "ws", to: map[string]string{"http://a.test/": "ws://b.test/"}, want: []asked{{"http://a.test/", both}, {"http://b.test/", ", "}}},
		{name: "http", to: map[string]string{"http://a.test/": "http://b.test/"}, want: []asked{{"http://a.test/", both}, {"http://b.test/", ", "}}},
		{name: "no scheme", to: map[string]string{"http://a.test/": "//b.test/"}, want: []asked{{"http://a.test/", both}, {"http://b.test/", ", "}}},
		{name: "a subdomain", to: map[string]string{"http://a.test/": "ws://sub.a.test/"}, want: []asked{{"http://a.test/", both}, {"http://sub.a.test/", ", "}}},
		{name: "another port", to: map[string]string{"http://a.test/": "ws://a.test:81/"}, want: []asked{{"http://a.test/", both}, {"http://a.test:81/", ", "}}},
		{name: "from ws to wss", to: map[string]string{"http://a.test/": "wss://a.test/"}, want: []asked{{"http://a.test/", both}, {"https://a.test/", ", "}}},
		{name: "from http to https", url: "http://user:password@a.test/", to: map[string]string{"http://a.test/": "https://a.test/"}, want: []asked{{"http://a.test/", both}, {"https://a.test/", ", "}}},
		{name: "from wss to wss", url: "wss://user:password@a.test/", to: map[string]string{"https://a.test/": "wss://b.test/"}, want: []asked{{"https://a.test/", both}, {"https://b.test/", ", "}}},
		{name: "within wss", url: "wss://user:password@a.test/", to: map[string]string{"https://a.test/": "/two"}, want: []asked{{"https://a.test/", both}, {"https://a.test/two", both}}},
		{name: "away and back", to: map[string]string{"http://a.test/": "ws://b.test/", "http://b.test/": "ws://a.test/two"}, want: []asked{{"http://a.test/", both}, {"http://b.test/", ", "}, {"http://a.test/two", ", "}}},
		{name: "away, further and back", to: map[string]string{"http://a.test/": "ws://sub.a.test/", "http://sub.a.test/": "/two", "http://sub.a.test/two": "ws://a.test/two"}, want: []asked{{"http://a.test/", both}, {"http://sub.a.test/", ", "}, {"http://sub.a.test/two", ", "}, {"http://a.test/two", ", "}}},
		{name: "credentials in the Location", to: map[string]string{"http://a.test/": "ws://other:word@b.test/"}, want: []asked{{"http://a.test/", both}, {"http://b.test/", "Basic b3RoZXI6d29yZA==, "}}},
		{name: "from wss to ws", url: "wss://user:password@a.test/", to: map[string]string{"https://a.test/": "ws://a.test/"}, want: []asked{{"https://a.test/", both}}, text: "redirected from wss to ws, which is not followed"},
		{name: "from https to http", url: "https://user:password@a.test/", to: map[string]string{"https://a.test/": "http://a.test/"}, want: []asked{{"https://a.test/", both}}, text: "redirected from wss to ws, which is not followed"},
		{name: "from ws to wss to ws", to: map[string]string{"http://a.test/": "wss://a.test/", "https://a.test/": "ws://a.test/two"}, want: []asked{{"http://a.test/", both}, {"https://a.test/", ", "}}, text: "redirected from wss to ws, which is not followed"},
		{name: "another scheme", to: map[string]string{"http://a.test/": "ftp://a.test/?token=secret"}, want: []asked{{"http://a.test/", both}}, text: `unsupported protocol scheme "ftp"`},
		{name: "no host", to: map[string]string{"http://a.test/": "ws:///?token=secret"}, want: []asked{{"http://a.test/", both}}, text: "no Host"},
		{name: "no Location", to: map[string]string{"http://a.test/": "-"}, want: []asked{{"http://a.test/", both}}, text: "server answered the opening handshake with 302 Found"},
		{name: "no URL", to: map[string]string{"http://a.test/": "ws://user:password@[::1/?token=secret"}, want: []asked{{"http://a.test/", both}}, text: "redirected, to a Location that is no URL"},
		{name: "nobody there", to: map[string]string{"http://a.test/": "ws://nobody.test/?token=secret"}, want: []asked{{"http://a.test/", both}}, text: "connection refused"},
		{name: "in circles", to: map[string]string{"http://a.test/": "/"}, want: func() (all []asked) {
			for range 10 {
				all = append(all, asked{"http://a.test/", both})
			}
			return all
		}(), text: "stopped after 10 redirects"},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			var was []asked
			keys := make(map[string]bool)
			answer := func(scheme string) func(net.Conn) {
				return answering(func(r *http.Request) string {
					at := scheme + "://" + r.Host + r.RequestURI
					was = append(was, asked{at, r.Header.Get("Authorization") + ", " + r.Header.Get("Cookie")})
					assert.Empty(t, r.Header["Referer"])
					assert.Equal(t, []string{"websocket"}, r.Header["Upgrade"])
					assert.Equal(t, []string{"a, b"}, r.Header["Sec-Websocket-Protocol"])
					assert.Equal(t, []string{"yes"}, r.Header["X-Extra"])
					assert.Equal(t, "GET", r.Method)
					key := r.Header.Get("Sec-WebSocket-Key")
					assert.Len(t, key, 24)
					assert.False(t, keys[key], "a key comes again")
					keys[key] = true
					location, ok := test.to[at]
					if !ok {
						return accepting(r, "Sec-WebSocket-Protocol: b")
					}
					if location != "-" {
						location = "Location: " + location + "\r\n"
					} else {
						location = ""
					}
					status := test.status
					if status == 0 {
						status = 302
					}
					return fmt.Sprintf("HTTP/1.1 %d %s\r\n%sContent-Length: 5\r\n\r\nthere", status, http.StatusText(status), location)
				})
			}
			w := &world{t: t, at: map[string]func(net.Conn){}}
			for _, host := range []string{"a.test", "A.test", "b.test", "sub.a.test"} {
				w.at[host+":80"] = answer("http")
				w.at[host+":443"] = underTLS(t, answer("https"))
			}
			w.at["a.test:81"] = answer("http")
			u := test.url
			if u == "" {
				u = "ws://user:password@a.test/"
			}
			c, resp, err := Dial(t.Context(), u, &DialOptions{
				HTTPClient:   w.client(),
				Subprotocols: []string{"a", "b"},
				Header:       http.Header{"Cookie": {"session=1"}, "X-Extra": {"yes"}},
			})
			if test.text == "" {
				require.NoError(t, err)
				require.Equal(t, 101, resp.StatusCode)
				require.Equal(t, "b", c.Subprotocol())
				last := test.want[len(test.want)-1]
				require.Equal(t, last.url, strings.Replace(c.Request().URL.String(), "other:word@", "", 1))
				talk(t, c)
			} else {
				if c != nil {
					c.CloseNow()
				}
				require.ErrorContains(t, err, test.text)
				requireDiscreet(t, err)
				if strings.HasPrefix(test.text, "redirected from") || strings.HasPrefix(test.text, "stopped") || strings.HasPrefix(test.text, "server answered") {
					require.NotNil(t, resp)
					require.Equal(t, 302, resp.StatusCode)
				}
				if resp != nil {
					_, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
				}
			}
			require.Equal(t, test.want, was)
		})
	}
}

// A Host of the user's is for the server that he knows.
func TestDialRedirectHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts []string
		answer := answering(func(r *http.Request) string {
			hosts = append(hosts, r.Host)
			switch r.URL.Path {
			case "/":
				return "HTTP/1.1 302 Found\r\nLocation: /two\r\n\r\n"
			case "/two":
				return "HTTP/1.1 302 Found\r\nLocation: ws://b.test/three\r\n\r\n"
			}
			return accepting(r)
		})
		w := &world{t: t, at: map[string]func(net.Conn){"a.test:80": answer, "b.test:80": answer}}
		c, _, err := Dial(t.Context(), "ws://a.test/", &DialOptions{HTTPClient: w.client(), Header: http.Header{"Host": {"front.test"}}})
		require.NoError(t, err)
		talk(t, c)
		require.Equal(t, []string{"front.test", "front.test", "b.test"}, hosts)
	})
}

func TestDialCheckRedirect(t *testing.T) {
	errNo := errors.New("not there")
	tests := []struct {
		name  string
		check func(r *http.Request, via []*http.Request) error
		hops  int
		err   func(t *testing.T, resp *http.Response, err error)
	}{
		{"allows more than ten", func(*http.Request, []*http.Request) error { return nil }, 15, nil},
		{"refuses", func(r *http.Request, via []*http.Request) error {
			if len(via) == 3 {
				return errNo
			}
			return nil
		}, 15, func(t *testing.T, resp *http.Response, err error) {
			require.ErrorIs(t, err, errNo)
			require.Equal(t, "websocket: no connection to ws://a.test: not there", err.Error())
			require.Equal(t, 302, resp.StatusCode)
		}},
		{"uses the last response", func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, 15, func(t *testing.T, resp *http.Response, err error) {
			var refusal *handshake.ResponseError
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, 302, refusal.Status)
			require.Equal(t, "ws://a.test/14", refusal.Header.Get("Location"))
			require.Equal(t, "moved", string(refusal.Body))
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, "moved", string(body))
		}},
		{"changes the request", func(r *http.Request, via []*http.Request) error {
			r.Header.Set("X-Via", fmt.Sprint(len(via)))
			return nil
		}, 2, nil},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			calls := 0
			w := &world{t: t, at: map[string]func(net.Conn){"a.test:80": answering(func(r *http.Request) string {
				var n int
				fmt.Sscanf(r.URL.Path, "/%d", &n)
				if strings.HasPrefix(test.name, "changes") && calls > 0 {
					assert.Equal(t, fmt.Sprint(calls), r.Header.Get("X-Via"))
				}
				if n > 0 {
					return fmt.Sprintf("HTTP/1.1 302 Found\r\nLocation: ws://a.test/%d\r\nContent-Length: 5\r\n\r\nmoved", n-1)
				}
				return accepting(r)
			})}}
			hc := w.client()
			hc.CheckRedirect = func(r *http.Request, via []*http.Request) error {
				calls++
				assert.Len(t, via, calls)
				assert.Equal(t, "http", r.URL.Scheme)
				return test.check(r, via)
			}
			c, resp, err := Dial(t.Context(), fmt.Sprintf("ws://a.test/%d", test.hops), &DialOptions{HTTPClient: hc})
			if test.err != nil {
				require.Nil(t, c)
				test.err(t, resp, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.hops, calls)
			talk(t, c)
		})
	}
}

// Errors tell where and why, and neither credentials nor a query.
func TestDialErrors(t *testing.T) {
	certificate(t)
	w := &world{t: t, at: map[string]func(net.Conn){
		"a.test:80": answering(func(*http.Request) string { return "" }),
		"a.test:443": func(nc net.Conn) {
			nc.Read(make([]byte, 1000))
			io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\n\r\n")
		},
		"b.test:443": func(nc net.Conn) {
			tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{certificate(t)}}).Handshake()
		},
		"c.test:443": func(nc net.Conn) { io.ReadFull(nc, make([]byte, 1)) },
		"c.test:80":  answering(func(*http.Request) string { return "HTTP/1.1 403 Forbidden\r\n\r\nno" }),
	}}
	tests := []struct {
		name, url string
		want      []string
	}{
		{"nobody there", "ws://user:password@nobody.test:81/p?token=secret", []string{"ws://nobody.test:81: ", "connection refused"}},
		{"nobody there, wss", "wss://user:password@nobody.test/p?token=secret", []string{"wss://nobody.test: ", "connection refused"}},
		{"says nothing", "ws://user:password@a.test/p?token=secret", []string{"ws://a.test: the server ended the stream before its response: unexpected EOF"}},
		{"no TLS", "wss://user:password@a.test/p?token=secret", []string{"wss://a.test: ", "HTTP response to HTTPS client"}},
		{"another's certificate", "wss://user:password@b.test/p?token=secret", []string{"wss://b.test: ", "certificate"}},
		{"hangs up in the TLS handshake", "wss://user:password@c.test/p?token=secret", []string{"wss://c.test: ", "the server ended the stream before its response: unexpected EOF"}},
		{"refuses", "ws://user:password@c.test/p?token=secret", []string{`websocket: server answered the opening handshake with 403 Forbidden: "no"`}},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			tr := w.transport()
			tr.TLSClientConfig = &tls.Config{}
			c, _, err := Dial(t.Context(), test.url, &DialOptions{HTTPClient: &http.Client{Transport: tr}})
			require.Nil(t, c)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			requireDiscreet(t, err)
			require.NotErrorIs(t, err, io.EOF)
		})
	}
}

// A dial that nobody waits for any more is not left behind.
func TestDialGivenUp(t *testing.T) {
	tests := []struct {
		name string
		dial func(ctx context.Context, network, addr string) (net.Conn, error)
	}{
		{"in DialContext", func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		{"in DialContext, which then succeeds", func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			ours, theirs := streamPair()
			go func() {
				io.Copy(io.Discard, theirs)
				theirs.Close()
			}()
			return ours, nil
		}},
		{"in DialContext, which does not heed its context", func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-time.After(time.Minute)
			ours, theirs := streamPair()
			go func() {
				io.Copy(io.Discard, theirs)
				theirs.Close()
			}()
			return ours, nil
		}},
		{"in the TLS handshake", func(ctx context.Context, _, _ string) (net.Conn, error) {
			ours, theirs := streamPair()
			go func() {
				io.Copy(io.Discard, theirs)
				theirs.Close()
			}()
			return ours, nil
		}},
	}
	for _, test := range tests {
		for _, scheme := range []string{"ws", "wss"} {
			bubble(t, test.name+", "+scheme, func(t *testing.T) {
				begin := time.Now()
				_, _, err := Dial(t.Context(), scheme+"://a.test/", &DialOptions{
					HTTPClient:       &http.Client{Transport: &http.Transport{DialContext: test.dial}},
					HandshakeTimeout: time.Second,
				})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "HandshakeTimeout")
				require.Equal(t, time.Second, time.Since(begin))
				<-time.After(time.Minute) // nothing is blocked after that
			})
		}
	}
}

// TestDialNothingLeft dials real servers that do all kinds of things: no goroutine
// and no descriptor may be left of it.
func TestDialNothingLeft(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	long := strings.Repeat("x", 100_000)
	served := make(chan struct{})
	serve := answering(func(r *http.Request) string {
		switch r.URL.Path {
		case "/refuse":
			return "HTTP/1.1 403 Forbidden\r\nContent-Length: 100000\r\n\r\n" + long
		case "/header":
			return "HTTP/1.1 200 OK\r\nX: " + long
		case "/accept":
			return "HTTP/1.1 200 OK\r\n\r\n"
		case "/wrong":
			return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
		case "/half":
			return "HTTP/1.1 10"
		case "/redirect":
			return "HTTP/1.1 302 Found\r\nLocation: /refuse\r\n\r\n"
		case "/back":
			return "HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/\r\n\r\n"
		case "/none":
			return "none\r\n\r\n"
		}
		return accepting(r)
	})
	go func() {
		defer close(served)
		var wg sync.WaitGroup
		defer wg.Wait()
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				serve(nc)
			})
		}
	}()
	s := httpServer(t, (*httptest.Server).StartTLS)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	deadURL := "ws://" + dead.Addr().String()
	dead.Close()
	visit := func(rounds int) {
		for range rounds {
			base := "ws://" + ln.Addr().String()
			for _, u := range []string{base + "/refuse", base + "/header", base + "/wrong", base + "/half", base + "/redirect", base + "/back", base + "/none", base + "/accept", "wss" + base[2:], deadURL, "wss" + s.URL[5:]} {
				c, _, err := Dial(t.Context(), u, nil)
				require.Error(t, err, u)
				require.Nil(t, c)
			}
			for _, hc := range []*http.Client{http.DefaultClient, s.Client()} {
				u := base
				if hc != http.DefaultClient {
					u = s.URL
				}
				c, _, err := Dial(t.Context(), u, &DialOptions{HTTPClient: hc})
				require.NoError(t, err)
				talk(t, c)
				c, _, err = Dial(t.Context(), u, &DialOptions{HTTPClient: hc})
				require.NoError(t, err)
				require.NoError(t, c.CloseNow())
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				_, _, err = Dial(ctx, u, &DialOptions{HTTPClient: hc})
				require.ErrorIs(t, err, context.Canceled)
			}
		}
	}
	visit(1) // what is made once
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	visit(10)
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+1 && descriptors(t) <= files }, time.Minute, 10*time.Millisecond) // one is Eventually's
	ln.Close()
	<-served
}
