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

// A context that ends while a proxy does its part.
func TestDialProxyCancel(t *testing.T) {
	certificate(t)
	for _, proxy := range []string{"http://proxy.test", "https://proxy.test", "socks5://proxy.test:80"} {
		for _, scheme := range []string{"ws", "wss"} {
			bubble(t, proxy[:5]+", "+scheme, func(t *testing.T) {
				ended := make(chan time.Time, 1)
				silent := func(nc net.Conn) {
					io.Copy(io.Discard, nc)
					ended <- time.Now()
				}
				w := &world{t: t, at: map[string]func(net.Conn){"proxy.test:80": silent, "proxy.test:443": underTLS(t, silent)}}
				hc := w.client()
				hc.Transport.(*http.Transport).Proxy = through(t, proxy)
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
