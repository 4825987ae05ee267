//go:build linux

package interop

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// reverseProxy is a program that stands in front of servers.
type reverseProxy struct {
	name    string
	config  string // the template
	ready   string // what it says when it listens, if it says anything
	command func(path, dir, config string) []string
	version *regexp.Regexp // in what -v prints

	noServer int // the status when the server behind it is not there
	request  []string
	response []string // how lines of the heads look that it passes on
}

var reverseProxies = []reverseProxy{
	{
		name: "nginx", config: "nginx.conf", ready: "start worker process ",
		command: func(path, dir, config string) []string {
			return []string{path, "-p", dir, "-c", config, "-e", "stderr"}
		},
		version:  regexp.MustCompile(`nginx/(\S+)`),
		noServer: http.StatusBadGateway,
		request:  []string{"Upgrade: websocket", "Connection: upgrade"},
		response: []string{"Connection: upgrade", "Upgrade: websocket"},
	},
	{
		name: "haproxy", config: "haproxy.cfg",
		command: func(path, dir, config string) []string {
			return []string{path, "-db", "-f", config}
		},
		version:  regexp.MustCompile(`version (\S+)`),
		noServer: http.StatusServiceUnavailable,
		request:  []string{"upgrade: websocket", "connection: Upgrade", "sec-websocket-version: 13"},
		response: []string{"upgrade: websocket", "connection: Upgrade"},
	},
}

// How long a connection through the proxy may be idle, on two of its paths.
const (
	shortIdle = 300 * time.Millisecond
	longIdle  = 2 * time.Second
)

// TestReverseProxies has our client talk to our servers through proxies that
// others wrote.
func TestReverseProxies(t *testing.T) {
	for _, rp := range reverseProxies {
		t.Run(rp.name, func(t *testing.T) {
			t.Parallel()
			path := find(t, rp.name, "reverse proxy")
			p := newPeer(rp.name, "reverse proxy")
			p.is(versionOf(path, "-v", rp.version))
			front := rp.start(t, path)
			for _, scheme := range []string{"ws", "wss"} {
				t.Run(scheme, func(t *testing.T) { front.pass(t, p, scheme) })
			}
			front.idle(t, p)
			front.lost(t, p)
		})
	}
}

// versionOf returns what a program says that its version is.
func versionOf(path, flag string, pattern *regexp.Regexp) string {
	out, _ := exec.Command(path, flag).CombinedOutput()
	if found := pattern.FindSubmatch(out); found != nil {
		return string(found[1])
	}
	return "unknown"
}

// front is a reverse proxy that runs, with our servers behind it.
type front struct {
	reverseProxy
	process *process
	addr    map[string]string // by scheme
	cert    certificate
	ours    *ours
	records *recorder // of what reaches a server
}

// start runs the proxy and the servers.
func (rp reverseProxy) start(t *testing.T, path string) *front {
	t.Helper()
	f := &front{reverseProxy: rp, cert: newCertificate(t), records: &recorder{Listener: listen(t)}}
	f.ours = newOurs(t, listen(t), false, nil)
	server := newOurs(t, f.records, true, nil)
	host := func(rawURL string) string {
		u, err := url.Parse(rawURL)
		require.NoError(t, err)
		return u.Host
	}
	values := map[string]any{
		"root":     os.Geteuid() == 0,
		"cert":     f.cert.cert,
		"key":      f.cert.key,
		"both":     f.cert.both,
		"echo":     host(echoServer(t)),
		"raw":      host(echoServer(t, "-raw")),
		"ours":     host(f.ours.url),
		"recorded": host(server.url),
		"nowhere":  refusing(t),
		"short":    fmt.Sprint(shortIdle.Milliseconds(), "ms"),
		"long":     fmt.Sprint(longIdle.Milliseconds(), "ms"),
	}
	f.process, f.addr = startOn(t, []string{"ws", "wss"}, rp.ready, func(addr map[string]string) []string {
		values["plain"], values["tls"] = addr["ws"], addr["wss"]
		dir := t.TempDir()
		return rp.command(path, dir, fill(t, rp.config, dir, values))
	})
	return f
}

// fill writes a configuration into dir, and returns the file's name.
func fill(t *testing.T, name, dir string, values map[string]any) string {
	t.Helper()
	tmpl, err := template.New(name).Option("missingkey=error").ParseFiles(name)
	require.NoError(t, err)
	file, err := os.Create(filepath.Join(dir, name))
	require.NoError(t, err)
	require.NoError(t, tmpl.Execute(file, values))
	require.NoError(t, file.Close())
	return file.Name()
}

// url returns that of a path at the proxy.
func (f *front) url(scheme, path string) string { return scheme + "://" + f.addr[scheme] + path }

// pass goes through what must pass a proxy unharmed.
func (f *front) pass(t *testing.T, p *peer, scheme string) {
	for _, server := range []string{"echo", "raw"} {
		t.Run(server, func(t *testing.T) {
			c := dial(t, f.url(scheme, "/"+server+"/"), f.cert.trusting())
			p.echo(t, c, messages())
			p.fragments(t, c)
			p.ping(t, c)
			p.pipeline(t, c)
			p.writers(t, c)
			require.NoError(t, c.Close(frame.CloseNormal, ""))
		})
	}
	f.ours.through(t, p, f.url(scheme, "/ours/"), f.cert.trusting())
	p.run(t, "heads", func(t *testing.T) {
		answers := &recorder{}
		o := f.cert.trusting()
		o.HTTPClient.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return answers.record(new(net.Dialer).DialContext(ctx, network, addr))
		}
		id := newID()
		c := dial(t, f.url(scheme, "/recorded/echo?id="+id), o)
		require.NoError(t, c.Close(frame.CloseNormal, ""))
		request := f.records.head(t, "id="+id+" HTTP/1.1\r\n")
		for _, line := range f.request {
			assert.Contains(t, request, "\r\n"+line+"\r\n")
		}
		if scheme == "ws" { // the other is secret
			response := answers.head(t, "HTTP/1.1 101 ")
			for _, line := range f.response {
				assert.Contains(t, response, "\r\n"+line+"\r\n")
			}
		}
	})
	p.run(t, "no server behind it", func(t *testing.T) {
		_, _, err := conn.Dial(bounded(t), f.url(scheme, "/nowhere/"), f.cert.trusting())
		var refused *handshake.ResponseError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, f.noServer, refused.Status)
		require.NotEmpty(t, refused.Body)
	})
}

// through goes to the server on a way that base and o describe.
func (s *ours) through(t *testing.T, p *peer, base string, o *conn.DialOptions) {
	p.run(t, "ping from us", func(t *testing.T) {
		c := dial(t, base+"ping", o)
		_, data, err := c.Read(bounded(t))
		require.NoError(t, err)
		require.Equal(t, "pong came", string(data))
	})
	for _, closing := range closings {
		code := uint16(closing.code)
		p.run(t, fmt.Sprint("close ", code, " by the client"), func(t *testing.T) {
			id := newID()
			c := dial(t, base+"echo?id="+id, o)
			require.NoError(t, c.Close(closing.code, closing.reason))
			requireClosed(t, s.ended(t, id), closing.code, closing.reason)
		})
		p.run(t, fmt.Sprint("close ", code, " by the server"), func(t *testing.T) {
			query := url.Values{"code": {fmt.Sprint(code)}, "reason": {closing.reason}}
			c := dial(t, base+"close?"+query.Encode(), o)
			_, _, err := c.Read(bounded(t))
			requireClosed(t, err, closing.code, closing.reason)
		})
	}
	p.run(t, "end without close by the client", func(t *testing.T) {
		id := newID()
		c := dial(t, base+"echo?id="+id, o)
		require.NoError(t, c.CloseNow())
		requireLost(t, s.ended(t, id))
	})
	p.run(t, "end without close by the server", func(t *testing.T) {
		c := dial(t, base+"kill", o)
		_, _, err := c.Read(bounded(t))
		requireLost(t, err)
	})
	p.run(t, "subprotocol", func(t *testing.T) {
		with := *o
		with.Subprotocols = []string{"other", "chat.v1"}
		require.Equal(t, "chat.v1", dial(t, base+"echo", &with).Subprotocol())
	})
	p.run(t, "refused", func(t *testing.T) {
		_, _, err := conn.Dial(bounded(t), base+"refuse", o)
		var refused *handshake.ResponseError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, http.StatusForbidden, refused.Status)
		require.Contains(t, string(refused.Body), "refused, as asked")
	})
}

// idle holds connections on which nobody speaks.
func (f *front) idle(t *testing.T, p *peer) {
	p.run(t, "idle for longer than it allows", func(t *testing.T) {
		id := newID()
		c := dial(t, f.url("ws", "/short/echo?id="+id), nil)
		_, _, err := c.Read(bounded(t))
		requireLost(t, err)
		requireLost(t, f.ours.ended(t, id))
	})
	p.run(t, "idle with keepalive", func(t *testing.T) {
		const every = longIdle / 20
		pongs := make(chan struct{}, 1000)
		c := dial(t, f.url("ws", "/long/echo"), &conn.DialOptions{Options: conn.Options{
			Keepalive:        every,
			KeepaliveTimeout: -1, // a slow machine is not a lost peer
			Trace: &conn.Trace{Received: func(_ *conn.Conn, h frame.Header, _ []byte) {
				if h.Opcode == frame.OpPong {
					pongs <- struct{}{}
				}
			}},
		}})
		ctx := bounded(t)
		read := make(chan error, 1)
		go func() {
			_, _, err := c.Read(ctx)
			read <- err
		}()
		for range longIdle/every + 5 {
			select {
			case <-pongs:
			case err := <-read:
				require.NoError(t, err)
			}
		}
		require.NoError(t, c.Write(ctx, conn.Text, []byte("still there?")))
		require.NoError(t, <-read)
		require.NoError(t, c.Close(frame.CloseNormal, ""))
	})
}

// lost stops the proxy while connections go through it.
func (f *front) lost(t *testing.T, p *peer) {
	p.run(t, "proxy stopped", func(t *testing.T) {
		ended := map[string]<-chan error{}
		for _, scheme := range []string{"ws", "wss"} {
			id := newID()
			c := dial(t, f.url(scheme, "/ours/echo?id="+id), f.cert.trusting())
			ended[id] = reading(t, c)
		}
		require.NoError(t, f.process.cmd.Process.Signal(syscall.SIGTERM))
		for id, err := range ended {
			requireLost(t, <-err)
			requireLost(t, f.ours.ended(t, id))
		}
		<-f.process.exited
		_, _, err := conn.Dial(bounded(t), f.url("ws", "/ours/echo"), nil)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.True(t, strings.HasPrefix(err.Error(), "websocket: no connection to ws://"+f.addr["ws"]), "%v", err)
	})
}
