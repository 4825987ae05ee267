package conn

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// httpProxy is a proxy that makes tunnels.
type httpProxy struct {
	dial        func(ctx context.Context, network, addr string) (net.Conn, error)
	credentials string // that it wants, if any

	mu    sync.Mutex
	asked []*http.Request
}

func (p *httpProxy) serve(nc net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(nc))
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, r)
	p.mu.Unlock()
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.credentials))
	switch {
	case r.Method != http.MethodConnect:
		io.WriteString(nc, "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
		return
	case p.credentials != "" && r.Header.Get("Proxy-Authorization") != want:
		io.WriteString(nc, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 8\r\n\r\nSign in.")
		return
	}
	target, err := p.dial(context.Background(), "tcp", r.Host)
	if err != nil {
		io.WriteString(nc, "HTTP/1.1 502 Bad Gateway\r\n\r\n"+r.Host+" cannot be reached.\n")
		return
	}
	io.WriteString(nc, "HTTP/1.1 200 Connection Established\r\nVia: test\r\n\r\n")
	relay(nc, target)
}

// relay carries bytes both ways until one end is closed.
func relay(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			io.Copy(way[0], way[1])
			way[0].Close()
			way[1].Close()
		})
	}
	wg.Wait()
}

// socksProxy is a SOCKS proxy. (RFC 1928 and RFC 1929)
type socksProxy struct {
	dial        func(ctx context.Context, network, addr string) (net.Conn, error)
	credentials string // that it wants, if any

	mu    sync.Mutex
	asked []string // by address
}

func (p *socksProxy) serve(nc net.Conn) {
	// Fields are read one by one, so that nothing behind them is.
	bytes := func(n byte) []byte {
		b := make([]byte, n)
		io.ReadFull(nc, b)
		return b
	}
	if bytes(1)[0] != 5 {
		return
	}
	methods := bytes(bytes(1)[0])
	method := byte(0)
	if p.credentials != "" {
		method = 2
	}
	if !strings.Contains(string(methods), string([]byte{method})) {
		nc.Write([]byte{5, 0xFF})
		return
	}
	nc.Write([]byte{5, method})
	if method == 2 {
		bytes(1)
		user := string(bytes(bytes(1)[0]))
		password := string(bytes(bytes(1)[0]))
		if user+":"+password != p.credentials {
			nc.Write([]byte{1, 1})
			return
		}
		nc.Write([]byte{1, 0})
	}
	var host string
	switch head := bytes(4); head[3] {
	case 1:
		host = net.IP(bytes(4)).String()
	case 3:
		host = string(bytes(bytes(1)[0]))
	case 4:
		host = net.IP(bytes(16)).String()
	}
	port := bytes(2)
	addr := net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1])))
	p.mu.Lock()
	p.asked = append(p.asked, addr)
	p.mu.Unlock()
	target, err := p.dial(context.Background(), "tcp", addr)
	if err != nil {
		nc.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	nc.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
	relay(nc, target)
}

// through returns a Proxy function.
func through(t testing.TB, proxy string) func(*http.Request) (*url.URL, error) {
	u, err := url.Parse(proxy)
	require.NoError(t, err)
	return http.ProxyURL(u)
}

func TestDialProxies(t *testing.T) {
	certificate(t)
	type key struct{}
	tests := []struct {
		name  string
		proxy string
		want  string // the credentials that the proxy wants
		set   func(t *testing.T, tr *http.Transport)
		// The header that the proxy sees beside User-Agent, and the target's name.
		header http.Header
	}{
		{name: "http", proxy: "http://proxy.test:3128"},
		{name: "http, no port", proxy: "http://proxy.test"},
		{name: "http, credentials", proxy: "http://me:p%40ss@proxy.test:3128", want: "me:p@ss"},
		{name: "http, a name alone", proxy: "http://me@proxy.test:3128", want: "me:"},
		{name: "http, credentials nobody wants", proxy: "http://me:word@proxy.test:3128", header: http.Header{"Proxy-Authorization": {"Basic bWU6d29yZA=="}}},
		{name: "https", proxy: "https://proxy.test:3129"},
		{name: "https, no port", proxy: "https://proxy.test"},
		{name: "https, credentials", proxy: "https://me:word@proxy.test:3129", want: "me:word"},
		{name: "https, NextProtos", proxy: "https://proxy.test:3129", set: func(t *testing.T, tr *http.Transport) {
			tr.TLSClientConfig.NextProtos = []string{"h2", "http/1.1"}
			tr.ForceAttemptHTTP2 = true
		}},
		{name: "https, DialTLSContext", proxy: "https://proxy.test:3129", set: func(t *testing.T, tr *http.Transport) {
			dial := tr.DialContext
			tr.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				assert.Equal(t, "proxy.test:3129", addr)
				nc, err := dial(ctx, network, addr)
				return tls.Client(nc, trust(t)), err
			}
		}},
		{name: "https, DialTLS", proxy: "https://proxy.test:3129", set: func(t *testing.T, tr *http.Transport) {
			dial := tr.DialContext
			tr.DialTLS = func(network, addr string) (net.Conn, error) {
				assert.Equal(t, "proxy.test:3129", addr)
				nc, err := dial(t.Context(), network, addr)
				return tls.Client(nc, trust(t)), err
			}
		}},
		{name: "http, DialTLSContext is not for it", proxy: "http://proxy.test:3128", set: func(t *testing.T, tr *http.Transport) {
			tr.DialTLSContext = func(context.Context, string, string) (net.Conn, error) { return nil, errTest }
		}},
		{name: "http, Dial", proxy: "http://proxy.test:3128", set: func(t *testing.T, tr *http.Transport) {
			dial := tr.DialContext
			tr.DialContext = nil
			tr.Dial = func(network, addr string) (net.Conn, error) { return dial(t.Context(), network, addr) }
		}},
		{name: "http, ProxyConnectHeader", proxy: "http://me:word@proxy.test:3128", want: "me:word", set: func(t *testing.T, tr *http.Transport) {
			tr.ProxyConnectHeader = http.Header{"X-Extra": {"1", "2"}}
		}, header: http.Header{"X-Extra": {"1", "2"}}},
		{name: "http, GetProxyConnectHeader", proxy: "http://proxy.test:3128", set: func(t *testing.T, tr *http.Transport) {
			tr.ProxyConnectHeader = http.Header{"X-Other": {"no"}}
			tr.GetProxyConnectHeader = func(ctx context.Context, proxy *url.URL, target string) (http.Header, error) {
				assert.Equal(t, "a value", ctx.Value(key{}))
				assert.Equal(t, "http://proxy.test:3128", proxy.String())
				return http.Header{"X-Target": {strings.Split(target, ":")[0]}}, nil
			}
		}, header: http.Header{"X-Target": {"a.test"}}},
		{name: "https, OnProxyConnectResponse", proxy: "https://proxy.test:3129", set: func(t *testing.T, tr *http.Transport) {
			called := 0
			tr.OnProxyConnectResponse = func(ctx context.Context, proxy *url.URL, r *http.Request, resp *http.Response) error {
				assert.Equal(t, "a value", ctx.Value(key{}))
				assert.Equal(t, "https://proxy.test:3129", proxy.String())
				assert.Equal(t, "CONNECT", r.Method)
				assert.Equal(t, "200 Connection Established", resp.Status)
				assert.Equal(t, "test", resp.Header.Get("Via"))
				called++
				return nil
			}
			t.Cleanup(func() { assert.Equal(t, 1, called) })
		}},
		{name: "socks5", proxy: "socks5://socks.test:1080"},
		{name: "socks5, no port", proxy: "socks5://socks.test"},
		{name: "socks5h", proxy: "socks5h://socks.test:1080"},
		{name: "socks5, credentials", proxy: "socks5://me:word@socks.test:1080", want: "me:word"},
	}
	for _, test := range tests {
		for _, scheme := range []string{"ws", "wss"} {
			bubble(t, test.name+", "+scheme, func(t *testing.T) {
				w := &world{t: t}
				var seen http.Header
				server := answering(func(r *http.Request) string {
					seen = r.Header
					return accepting(r)
				})
				p := &httpProxy{dial: w.dial, credentials: test.want}
				socks := &socksProxy{dial: w.dial, credentials: test.want}
				w.at = map[string]func(net.Conn){
					"a.test:80": server, "a.test:443": underTLS(t, server),
					"proxy.test:80": p.serve, "proxy.test:3128": p.serve,
					"proxy.test:443": underTLS(t, p.serve), "proxy.test:3129": underTLS(t, p.serve),
					"socks.test:1080": socks.serve,
				}
				hc := w.client()
				tr := hc.Transport.(*http.Transport)
				tr.Proxy = through(t, test.proxy)
				if test.set != nil {
					test.set(t, tr)
				}
				ctx := context.WithValue(t.Context(), key{}, "a value")
				c, _, err := Dial(ctx, scheme+"://a.test/chat?token=secret", &DialOptions{HTTPClient: hc})
				require.NoError(t, err)
				defer c.CloseNow()
				target := map[string]string{"ws": "a.test:80", "wss": "a.test:443"}[scheme]
				require.Len(t, w.dialed, 2)
				require.NotEqual(t, target, w.dialed[0])
				require.Equal(t, target, w.dialed[1])
				if strings.HasPrefix(test.name, "socks") {
					require.Equal(t, []string{target}, socks.asked)
				} else {
					require.Len(t, p.asked, 1)
					r := p.asked[0]
					require.Equal(t, target, r.RequestURI)
					require.Equal(t, target, r.Host)
					r.Header.Del("User-Agent")
					if test.want != "" {
						require.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte(test.want)), r.Header.Get("Proxy-Authorization"))
						r.Header.Del("Proxy-Authorization")
					}
					if test.header == nil {
						test.header = http.Header{}
					}
					require.Equal(t, test.header, r.Header, "the proxy is told no more than that")
				}
				require.Empty(t, seen["Proxy-Authorization"])
				require.Empty(t, seen["X-Extra"])
				if scheme == "ws" && !strings.HasPrefix(test.name, "https") {
					require.IsType(t, &stream{}, c.nc)
				} else {
					require.IsType(t, &tls.Conn{}, c.nc)
				}
				talk(t, c)
			})
		}
	}
}

// A Proxy function that decides for each request, as http.ProxyFromEnvironment
// does. It is asked once for each.
func TestDialProxyFunc(t *testing.T) {
	certificate(t)
	bubble(t, "memory", func(t *testing.T) {
		w := &world{t: t}
		server := answering(func(r *http.Request) string {
			if r.URL.Path == "/away" {
				return "HTTP/1.1 302 Found\r\nLocation: wss://b.test/\r\n\r\n"
			}
			return accepting(r)
		})
		p, q := &httpProxy{dial: w.dial}, &httpProxy{dial: w.dial}
		w.at = map[string]func(net.Conn){
			"a.test:80": server, "b.test:443": underTLS(t, server), "local.test:80": server,
			"p.test:3128": p.serve, "q.test:3128": q.serve,
		}
		hc := w.client()
		var decided []string
		hc.Transport.(*http.Transport).Proxy = func(r *http.Request) (*url.URL, error) {
			decided = append(decided, r.URL.Scheme+"://"+r.URL.Host)
			switch {
			case r.URL.Host == "no.test":
				return nil, errTest
			case r.URL.Host == "local.test":
				return nil, nil
			case r.URL.Scheme == "https":
				return url.Parse("http://q.test:3128")
			}
			return url.Parse("http://p.test:3128")
		}
		for _, u := range []string{"ws://a.test/", "wss://b.test/", "ws://local.test/", "ws://a.test/away"} {
			c, _, err := Dial(t.Context(), u, &DialOptions{HTTPClient: hc})
			require.NoError(t, err)
			talk(t, c)
		}
		_, _, err := Dial(t.Context(), "ws://no.test/", &DialOptions{HTTPClient: hc})
		require.ErrorIs(t, err, errTest)
		require.Equal(t, []string{"http://a.test", "https://b.test", "http://local.test", "http://a.test", "https://b.test", "http://no.test"}, decided)
		require.Equal(t, []string{
			"p.test:3128", "a.test:80", "q.test:3128", "b.test:443", "local.test:80",
			"p.test:3128", "a.test:80", "q.test:3128", "b.test:443",
		}, w.dialed)
	})
}

// TestDialProxySockets has real servers and proxies.
func TestDialProxySockets(t *testing.T) {
	plain := httpServer(t, (*httptest.Server).Start)
	secure := httpServer(t, (*httptest.Server).StartTLS)
	dial := new(net.Dialer).DialContext
	listen := func(serve func(net.Conn)) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() {
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
		})
		t.Cleanup(func() {
			ln.Close()
			wg.Wait()
		})
		return ln.Addr().String()
	}
	httpAddr := listen((&httpProxy{dial: dial}).serve)
	httpsAddr := listen(underTLS(t, (&httpProxy{dial: dial, credentials: "me:word"}).serve))
	socksAddr := listen((&socksProxy{dial: dial, credentials: "me:word"}).serve)
	for _, proxy := range []string{"http://" + httpAddr, "https://me:word@" + httpsAddr, "socks5://me:word@" + socksAddr} {
		for _, s := range []*httptest.Server{plain, secure} {
			t.Run(proxy[:5]+" "+s.URL[:5], func(t *testing.T) {
				tr := &http.Transport{Proxy: through(t, proxy), TLSClientConfig: trust(t)}
				c, _, err := Dial(t.Context(), s.URL, &DialOptions{HTTPClient: &http.Client{Transport: tr}})
				require.NoError(t, err)
				u, err := url.Parse(proxy)
				require.NoError(t, err)
				require.Equal(t, u.Host, c.RemoteAddr().String())
				_, secure := c.nc.(*tls.Conn)
				require.Equal(t, s.TLS != nil || strings.HasPrefix(proxy, "https"), secure)
				if !secure {
					require.IsType(t, &net.TCPConn{}, c.nc)
					require.Equal(t, runtime.GOOS == "linux", runtime.GOOS == "linux" && c.raw != nil)
				}
				talk(t, c)
			})
		}
	}
}

// Bytes that come with the 101 through a tunnel are not lost either.
func TestDialProxyEarly(t *testing.T) {
	certificate(t)
	server := &peer{role: 1}
	for _, scheme := range []string{"ws", "wss"} {
		for _, n := range []int{1, 100, 5_000, 200_000} {
			bubble(t, fmt.Sprintf("%s, %d bytes", scheme, n), func(t *testing.T) {
				w := &world{t: t}
				answer := func(nc net.Conn) {
					r, err := http.ReadRequest(bufio.NewReader(nc))
					if assert.NoError(t, err) {
						io.WriteString(nc, accepting(r)+string(server.whole(2, letters(n))))
					}
				}
				p := &httpProxy{dial: w.dial}
				w.at = map[string]func(net.Conn){"a.test:80": answer, "a.test:443": underTLS(t, answer), "proxy.test:80": p.serve}
				hc := w.client()
				hc.Transport.(*http.Transport).Proxy = through(t, "http://proxy.test")
				c, _, err := Dial(t.Context(), scheme+"://a.test/", &DialOptions{HTTPClient: hc})
				require.NoError(t, err)
				_, m, err := c.Read(t.Context())
				require.NoError(t, err)
				require.True(t, letters(n) == string(m))
				_, _, err = c.Read(t.Context())
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			})
		}
	}
}

func TestDialProxyTrace(t *testing.T) {
	certificate(t)
	for _, scheme := range []string{"ws", "wss"} {
		bubble(t, scheme, func(t *testing.T) {
			w := &world{t: t}
			p := &httpProxy{dial: w.dial}
			w.at = map[string]func(net.Conn){"a.test:80": welcoming, "a.test:443": underTLS(t, welcoming), "proxy.test:443": underTLS(t, p.serve)}
			hc := w.client()
			hc.Transport.(*http.Transport).Proxy = through(t, "https://proxy.test")
			var steps []string
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				TLSHandshakeStart: func() { steps = append(steps, "start") },
				TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { steps = append(steps, fmt.Sprint("done ", err)) },
				GotConn:           func(httptrace.GotConnInfo) { steps = append(steps, "GotConn") },
			})
			c, _, err := Dial(ctx, scheme+"://a.test/", &DialOptions{HTTPClient: hc})
			require.NoError(t, err)
			want := []string{"start", "done <nil>", "start", "done <nil>", "GotConn"}
			if scheme == "ws" {
				want = want[2:]
			}
			require.Equal(t, want, steps)
			talk(t, c)
		})
	}
}

func TestDialProxyErrors(t *testing.T) {
	certificate(t)
	says := func(response string) func(net.Conn) {
		return func(nc net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
				io.WriteString(nc, response)
				io.Copy(io.Discard, nc)
			}
		}
	}
	endless := func(first, more string) func(net.Conn) {
		return func(nc net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
				for _, err = io.WriteString(nc, first); err == nil; {
					_, err = io.WriteString(nc, strings.Repeat(more, 1_000))
				}
			}
		}
	}
	const named = "proxy proxy.test: "
	tests := []struct {
		name  string
		serve func(net.Conn) // at proxy.test:80
		proxy string         // default http://me:word@proxy.test
		set   func(tr *http.Transport)
		want  []string
		is    error
		after time.Duration
	}{
		{name: "407", serve: says("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 9\r\n\r\nSign in.\n"),
			want: []string{named + "it answered CONNECT <target> with \"407 Proxy Authentication Required\": \"Sign in.\""}},
		{name: "403, no body", serve: says("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), want: []string{named + "it answered CONNECT <target> with \"403 Forbidden\""}},
		{name: "502, chunked", serve: says("HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n3\r\noff\r\n0\r\n\r\n"), want: []string{named + "it answered CONNECT <target> with \"502 Bad Gateway\": \"off\""}},
		{name: "101", serve: says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), want: []string{named + "it answered CONNECT <target> with \"101 Switching Protocols\""}},
		{name: "302", serve: says("HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\nContent-Length: 0\r\n\r\n"), want: []string{named + "it answered CONNECT <target> with \"302 Found\""}},
		{name: "an endless body", serve: endless("HTTP/1.1 403 Forbidden\r\n\r\n", "x"), want: []string{named + "it answered CONNECT <target> with \"403 Forbidden\": \"xxxxx"}},
		{name: "closes", serve: func(nc net.Conn) { http.ReadRequest(bufio.NewReader(nc)) }, want: []string{named + "it ended the stream before its response: unexpected EOF"}, is: io.ErrUnexpectedEOF},
		{name: "closes at once", serve: func(nc net.Conn) {}, want: []string{named}},
		{name: "closes in its header", serve: func(nc net.Conn) {
			http.ReadRequest(bufio.NewReader(nc))
			io.WriteString(nc, "HTTP/1.1 200 OK\r\nX: y\r\n")
		}, want: []string{named + "it ended the stream before its response: unexpected EOF"}, is: io.ErrUnexpectedEOF},
		{name: "closes behind its 200", serve: func(nc net.Conn) {
			http.ReadRequest(bufio.NewReader(nc))
			io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
		}},
		{name: "garbage", serve: says("SSH-2.0-OpenSSH_9.9\r\n"), want: []string{named, "malformed HTTP response \"SSH-2.0-OpenSSH_9.9\""}},
		{name: "HTTP/2", serve: says("\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n\r\n"), want: []string{named, "malformed HTTP"}},
		{name: "a header that is none", serve: says("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), want: []string{named, "malformed MIME header"}},
		{name: "a large header", serve: says("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20_000) + "\r\n\r\n"), want: []string{named + "its response's header is over 16384 bytes (DialOptions.HandshakeBytes)"}},
		{name: "a header without end", serve: endless("HTTP/1.1 200 OK\r\n", "X: y\r\n"), want: []string{named + "its response's header is over 16384 bytes (DialOptions.HandshakeBytes)"}},
		{name: "bytes behind its 200", serve: says("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n"), want: []string{named + "it sent more than its response to CONNECT"}},
		{name: "a body behind its 200", serve: says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"), want: []string{named + "it sent more than its response to CONNECT"}},
		{name: "never answers", serve: says(""), want: []string{"took longer than 10s (DialOptions.HandshakeTimeout)"}, is: context.DeadlineExceeded, after: 10 * time.Second},
		{name: "never ends its header", serve: says("HTTP/1.1 200 OK\r\n"), want: []string{"took longer than 10s (DialOptions.HandshakeTimeout)"}, is: context.DeadlineExceeded, after: 10 * time.Second},
		{name: "never ends its body", serve: says("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nx"), want: []string{"took longer than 10s (DialOptions.HandshakeTimeout)"}, is: context.DeadlineExceeded, after: 10 * time.Second},
		{name: "takes nothing", serve: func(nc net.Conn) { <-time.After(time.Minute) }, want: []string{"took longer than 10s (DialOptions.HandshakeTimeout)"}, is: context.DeadlineExceeded, after: 10 * time.Second},
		{name: "nobody there", proxy: "http://me:word@nobody.test:8080", want: []string{"proxy nobody.test:8080: ", "connection refused"}},
		{name: "the target is not there", serve: nil, proxy: "http://me:word@far.test", want: []string{"proxy far.test: it answered CONNECT <target> with \"502 Bad Gateway\": \"<target> cannot be reached.\""}},
		{name: "https, no TLS", proxy: "https://me:word@proxy.test:80", serve: func(nc net.Conn) {
			nc.Read(make([]byte, 1_000))
			io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, want: []string{"proxy proxy.test:80: ", "does not look like a TLS handshake"}},
		{name: "https, another's certificate", proxy: "https://me:word@secure.test", set: func(tr *http.Transport) { tr.TLSClientConfig = nil }, want: []string{"proxy secure.test: ", "certificate"}},
		{name: "https, never answers", proxy: "https://me:word@proxy.test:80", serve: func(nc net.Conn) { io.Copy(io.Discard, nc) }, want: []string{"HandshakeTimeout"}, is: context.DeadlineExceeded, after: 10 * time.Second},
		{name: "GetProxyConnectHeader fails", serve: says(""), set: func(tr *http.Transport) {
			tr.GetProxyConnectHeader = func(context.Context, *url.URL, string) (http.Header, error) { return nil, errTest }
		}, want: []string{named}, is: errTest},
		{name: "OnProxyConnectResponse fails", serve: says("HTTP/1.1 200 OK\r\n\r\n"), set: func(tr *http.Transport) {
			tr.OnProxyConnectResponse = func(context.Context, *url.URL, *http.Request, *http.Response) error { return errTest }
		}, want: []string{named}, is: errTest},
		{name: "MaxResponseHeaderBytes", serve: says("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 500) + "\r\n\r\n"), set: func(tr *http.Transport) { tr.MaxResponseHeaderBytes = 300 }, want: []string{named + "its response's header is over 300 bytes"}},
		{name: "SOCKS, refuses", proxy: "socks5://other:word@socks.test", want: []string{"socks", "username/password authentication failed"}},
		{name: "SOCKS, wants credentials", proxy: "socks5://socks.test", want: []string{"socks", "no acceptable authentication methods"}},
		{name: "SOCKS, the target is not there", proxy: "socks5://me:word@socks.test", want: []string{"socks", "connection refused"}},
		{name: "SOCKS, garbage", proxy: "socks5://me:word@proxy.test:80", serve: func(nc net.Conn) {
			nc.Read(make([]byte, 100))
			io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, want: []string{"socks", "protocol version"}},
		{name: "SOCKS, never answers", proxy: "socks5://me:word@proxy.test:80", serve: func(nc net.Conn) { io.Copy(io.Discard, nc) }, want: []string{"HandshakeTimeout"}, is: context.DeadlineExceeded, after: 10 * time.Second},
		{name: "no proxy's scheme", proxy: "gopher://proxy.test:80", serve: says("HTTP/1.1 200 OK\r\n\r\n"), want: []string{`scheme "gopher"`}},
	}
	for _, test := range tests {
		for _, scheme := range []string{"ws", "wss"} {
			bubble(t, test.name+", "+scheme, func(t *testing.T) {
				w := &world{t: t}
				far := &httpProxy{dial: w.dial}
				socks := &socksProxy{dial: w.dial, credentials: "me:word"}
				w.at = map[string]func(net.Conn){
					"proxy.test:80":   test.serve,
					"far.test:80":     far.serve,
					"secure.test:443": underTLS(t, far.serve),
					"socks.test:1080": socks.serve,
				}
				hc := w.client()
				tr := hc.Transport.(*http.Transport)
				if test.proxy == "" {
					test.proxy = "http://me:word@proxy.test"
				}
				tr.Proxy = through(t, test.proxy)
				if test.set != nil {
					test.set(tr)
				}
				begin := time.Now()
				c, resp, err := Dial(t.Context(), scheme+"://user:password@a.test/chat?token=secret", &DialOptions{HTTPClient: hc})
				require.Equal(t, test.after, time.Since(begin), "%v", err)
				require.Nil(t, c)
				require.Nil(t, resp)
				target := map[string]string{"ws": "a.test:80", "wss": "a.test:443"}[scheme]
				for _, want := range test.want {
					require.ErrorContains(t, err, strings.ReplaceAll(want, "<target>", target))
				}
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
				require.NotErrorIs(t, err, io.EOF)
				if test.name != "SOCKS, refuses" { // its error has the word password
					requireDialError(t, err, "")
				}
				require.NotContains(t, strings.Replace(err.Error(), "username/password", "", 1), "word")
				require.NotContains(t, err.Error(), "bWU6")
				require.Less(t, len(err.Error()), 400)
				if test.name == "takes nothing" {
					<-time.After(time.Minute)
				}
			})
		}
	}
}

// A context that ends while a proxy does its part.
// What a CONNECT request cannot name is not sent.
func TestDialProxyTarget(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		asked := 0
		w := &world{t: t, at: map[string]func(net.Conn){"proxy.test:80": func(nc net.Conn) {
			if _, err := nc.Read(make([]byte, 1)); err == nil {
				asked++
			}
		}}}
		hc := w.client()
		hc.Transport.(*http.Transport).Proxy = through(t, "http://proxy.test")
		for _, u := range []string{"ws://[fe80::1%25a%20b]/", "wss://[fe80::1%25%20]/"} {
			_, _, err := Dial(t.Context(), u, &DialOptions{HTTPClient: hc})
			require.ErrorContains(t, err, "cannot stand in a CONNECT request")
		}
		synctest.Wait()
		require.Zero(t, asked)
	})
}

func TestDialProxyCancel(t *testing.T) {
	certificate(t)
	for _, proxy := range []string{"http://proxy.test", "https://proxy.test", "socks5://proxy.test:80"} {
		for _, scheme := range []string{"ws", "wss", "ws without deadlines"} {
			if scheme == "ws without deadlines" && strings.HasPrefix(proxy, "socks") {
				continue // net/http speaks to those, and needs deadlines
			}
			bubble(t, proxy[:5]+", "+scheme, func(t *testing.T) {
				scheme, without, _ := strings.Cut(scheme, " ")
				ended := make(chan time.Time, 1)
				silent := func(nc net.Conn) {
					io.Copy(io.Discard, nc)
					ended <- time.Now()
				}
				w := &world{t: t, at: map[string]func(net.Conn){"proxy.test:80": silent, "proxy.test:443": underTLS(t, silent)}}
				hc := w.client()
				tr := hc.Transport.(*http.Transport)
				tr.Proxy = through(t, proxy)
				if without != "" {
					dial := tr.DialContext
					tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
						nc, err := dial(ctx, network, addr)
						return forgetful{nc}, err
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				_, _, err := Dial(ctx, scheme+"://a.test/", &DialOptions{HTTPClient: hc, HandshakeTimeout: -1})
				require.ErrorIs(t, err, context.Canceled)
				var ne net.Error
				require.False(t, errors.As(err, &ne) && ne.Timeout())
				require.Equal(t, time.Now(), <-ended, "the connection to the proxy is closed at once")
			})
		}
	}
}
