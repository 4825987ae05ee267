//go:build linux

package interop

import (
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

// What the proxies ask for.
const (
	proxyUser     = "user"
	proxyPassword = "password"
)

// tunnelProxy is a program that clients go out through.
type tunnelProxy struct {
	name    string // in the table
	program string
	scheme  string // of the proxy's URL
	command func(t *testing.T, path, host, port string) []string
	version func(path string) string

	// What errors say, and what the proxy says of a connection to an address.
	noPassword, wrongPassword, noServer string
	log                                 func(addr string) string
}

var tunnelProxies = []tunnelProxy{
	{
		name: "tinyproxy", program: "tinyproxy", scheme: "http",
		command:       tinyproxy,
		version:       tinyproxyVersion,
		noPassword:    "Proxy Authentication Required",
		wrongPassword: "Unauthorized",
		noServer:      "Unable to connect",
		log:           func(addr string) string { return "CONNECT " + addr + " " },
	},
	{
		name: "tinyproxy, TLS", program: "tinyproxy", scheme: "https",
		command:       tinyproxy,
		version:       tinyproxyVersion,
		noPassword:    "Proxy Authentication Required",
		wrongPassword: "Unauthorized",
		noServer:      "Unable to connect",
		log:           func(addr string) string { return "CONNECT " + addr + " " },
	},
	{
		name: "microsocks", program: "microsocks", scheme: "socks5",
		command: func(t *testing.T, path, host, port string) []string {
			return []string{path, "-i", host, "-p", port, "-u", proxyUser, "-P", proxyPassword}
		},
		version:       debianVersion,
		noPassword:    "no acceptable authentication methods",
		wrongPassword: "username/password authentication failed",
		noServer:      "connection refused",
		log:           func(addr string) string { return "connected to " + addr },
	},
}

func tinyproxy(t *testing.T, path, host, port string) []string {
	values := map[string]any{"host": host, "port": port, "user": proxyUser, "password": proxyPassword}
	return []string{path, "-d", "-c", fill(t, "tinyproxy.conf", t.TempDir(), values)}
}

func tinyproxyVersion(path string) string {
	return versionOf(path, "-v", regexp.MustCompile(`tinyproxy (\S+)`))
}

// debianVersion returns the version of the package with a program that does not
// tell its own.
func debianVersion(path string) string {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", "microsocks").Output()
	if err != nil {
		return "unknown"
	}
	return string(out)
}

// TestTunnels has our client go through the proxies of its http.Transport.
func TestTunnels(t *testing.T) {
	for _, tp := range tunnelProxies {
		t.Run(tp.name, func(t *testing.T) {
			t.Parallel()
			path := find(t, tp.program, "tunnel")
			cert := newCertificate(t)
			proxy, at := startOn(t, []string{"proxy"}, "", func(addr map[string]string) []string {
				host, port, err := net.SplitHostPort(addr["proxy"])
				require.NoError(t, err)
				return tp.command(t, path, host, port)
			})
			via := &url.URL{Scheme: tp.scheme, Host: at["proxy"]}
			version := tp.version(path)
			if tp.scheme == "https" {
				haproxy := find(t, "haproxy", "tunnel")
				_, at = startOn(t, []string{"tls"}, "", func(addr map[string]string) []string {
					values := map[string]any{"tls": addr["tls"], "both": cert.both, "plain": via.Host}
					return []string{haproxy, "-db", "-f", fill(t, "tlsproxy.cfg", t.TempDir(), values)}
				})
				via.Host = at["tls"]
			}
			p := newPeer(tp.name, "tunnel")
			p.is(version)
			tunnel := tunnel{tp, proxy, via, cert}
			t.Run("ws", func(t *testing.T) {
				tunnel.pass(t, p, echoServer(t), newOurs(t, listen(t), false, nil), "ws://")
			})
			t.Run("wss", func(t *testing.T) {
				echo := echoServer(t, "-raw", "-cert", cert.cert, "-key", cert.key)
				tunnel.pass(t, p, echo, newOurs(t, listen(t), true, &cert), "wss://")
			})
			tunnel.lost(t, p)
		})
	}
}

// tunnel is a proxy that runs.
type tunnel struct {
	tunnelProxy
	process *process
	via     *url.URL // of the proxy
	cert    certificate
}

// options returns those of a client that goes through the tunnel, with the
// right password or with what it gets instead.
func (u tunnel) options(user *url.Userinfo) *conn.DialOptions {
	via := *u.via
	via.User = user
	transport := u.cert.transport()
	transport.Proxy = http.ProxyURL(&via)
	return &conn.DialOptions{HTTPClient: &http.Client{Transport: transport}}
}

// authorized returns the options of a client that knows the password.
func (u tunnel) authorized() *conn.DialOptions {
	return u.options(url.UserPassword(proxyUser, proxyPassword))
}

// pass goes through what must pass a tunnel unharmed, and what must not.
func (u tunnel) pass(t *testing.T, p *peer, echo string, server *ours, scheme string) {
	c := dial(t, echo, u.authorized())
	p.echo(t, c, messages())
	p.fragments(t, c)
	p.ping(t, c)
	p.pipeline(t, c)
	p.writers(t, c)
	require.NoError(t, c.Close(frame.CloseNormal, ""))
	p.run(t, "the proxy was used", func(t *testing.T) {
		there, err := url.Parse(echo)
		require.NoError(t, err)
		u.process.says(t, regexp.QuoteMeta(u.log(there.Host)))
	})
	server.through(t, p, server.url, u.authorized())

	for _, tt := range []struct {
		name string
		user *url.Userinfo
		says string
	}{
		{"no password", nil, u.noPassword},
		{"wrong password", url.UserPassword(proxyUser, "secret"), u.wrongPassword},
	} {
		p.run(t, tt.name, func(t *testing.T) {
			_, resp, err := conn.Dial(bounded(t), echo, u.options(tt.user))
			require.ErrorContains(t, err, tt.says)
			require.NotContains(t, err.Error(), "secret")
			require.Nil(t, resp, "no server was asked")
		})
	}
	p.run(t, "no server behind it", func(t *testing.T) {
		there := scheme + refusing(t)
		_, resp, err := conn.Dial(bounded(t), there, u.authorized())
		require.ErrorContains(t, err, u.noServer)
		require.True(t, strings.HasPrefix(err.Error(), "websocket: no connection to "+there), "%v", err)
		require.Nil(t, resp)
	})
}

// lost kills the proxy while a connection goes through it.
func (u tunnel) lost(t *testing.T, p *peer) {
	p.run(t, "proxy stopped", func(t *testing.T) {
		server := newOurs(t, listen(t), false, nil)
		id := newID()
		ended := reading(t, dial(t, server.url+"echo?id="+id, u.authorized()))
		require.NoError(t, u.process.cmd.Process.Signal(syscall.SIGKILL))
		requireLost(t, <-ended)
		requireLost(t, server.ended(t, id))
		<-u.process.exited
		_, _, err := conn.Dial(bounded(t), server.url, u.authorized())
		require.Error(t, err)
		require.True(t, strings.HasPrefix(err.Error(), "websocket: no connection to "), "%v", err)
	})
}
