//go:build linux

package interop

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// python is Debian's, which has the modules of Debian's packages.
const python = "/usr/bin/python3"

// library is one that others wrote, with a program of this directory as server
// and one as client.
type library struct {
	name     string
	server   string
	client   string
	compress string                                 // a client as well
	command  func(t *testing.T, role string) string // what runs the programs

	// What its API lets a server do.
	fragments bool
	tellsPing bool
	bareClose bool // a Close frame without code
	noStatus  int  // what it shows for a Close frame without code

	// What its API lets it do about compression.
	terms        bool // ask for parameters
	uncompressed bool // send a message as it is
	window       int  // the smallest one to compress with, in bits

	cases int // of its client, without refusals
}

var libraries = []library{
	{
		name: "Node ws", server: "echo_ws.mjs", client: "client_ws.mjs", compress: "compress_ws.mjs", command: node,
		fragments: true, tellsPing: true, bareClose: true, noStatus: 1005, cases: 28,
		terms: true, uncompressed: true, window: 8,
	},
	{
		name: "Python websockets", server: "echo_websockets.py", client: "client_websockets.py", compress: "compress_websockets.py", command: module("websockets"),
		fragments: true, noStatus: 1005, cases: 27,
		terms: true, window: 9,
	},
	{
		name: "Python aiohttp", server: "echo_aiohttp.py", client: "client_aiohttp.py", compress: "compress_aiohttp.py", command: module("aiohttp"),
		tellsPing: true, noStatus: 0, cases: 26,
		window: 9,
	},
}

// node returns Node.js, if ws is there too.
func node(t *testing.T, role string) string {
	path := find(t, "node", role)
	if _, err := os.Stat("node_modules/ws/package.json"); err != nil {
		missing(t, "Node ws", role, "no ws: npm install --no-save --no-package-lock in testdata/interop")
	}
	return path
}

// module returns a function that returns Python, if it has a module.
func module(name string) func(t *testing.T, role string) string {
	return func(t *testing.T, role string) string {
		if err := exec.Command(python, "-c", "import "+name).Run(); err != nil {
			missing(t, "Python "+name, role, python+" has no module "+name)
		}
		return python
	}
}

// serve runs a server program. It returns the base of its URLs.
func (l library) serve(t *testing.T, command, scheme string, args ...string) (p *process, base, version string) {
	p = start(t, command, append([]string{l.server}, args...)...)
	e := p.event(t, "listening", "")
	return p, fmt.Sprintf("%s://127.0.0.1:%d/", scheme, e.Port), e.Version
}

// TestServers has our client talk to servers that others wrote.
func TestServers(t *testing.T) {
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			command := l.command(t, "server")
			p := newPeer(l.name, "server")
			server, base, version := l.serve(t, command, "ws")
			p.is(version)
			l.talk(t, p, server, base)

			p.run(t, "server dies", func(t *testing.T) {
				c := dial(t, base+"echo", nil)
				ended := reading(t, c)
				require.NoError(t, server.cmd.Process.Kill())
				requireLost(t, <-ended)
			})
			t.Run("TLS", func(t *testing.T) {
				cert := newCertificate(t)
				_, base, _ := l.serve(t, command, "wss", cert.cert, cert.key)
				p.echo(t, dial(t, base+"echo", cert.trusting()), messages())
				p.run(t, "certificate unknown", func(t *testing.T) {
					_, _, err := conn.Dial(bounded(t), base+"echo", nil)
					require.ErrorContains(t, err, "certificate")
				})
			})
		})
	}
}

// talk goes through all that a server can do.
func (l library) talk(t *testing.T, p *peer, server *process, base string) {
	id := newID()
	c, resp := dialResponse(t, base+"echo?id="+id, nil)
	assert.Empty(t, resp.Header.Values("Sec-WebSocket-Extensions"), "nobody asked for any")
	p.echo(t, c, messages())
	p.fragments(t, c)
	p.ping(t, c)
	if l.tellsPing {
		server.event(t, "ping", id)
	}
	p.pipeline(t, c)
	p.writers(t, c)
	require.NoError(t, c.Close(frame.CloseNormal, ""))

	if l.fragments {
		t.Run("fragments from it", func(t *testing.T) {
			fragments, pings := 0, 0
			c := dial(t, base+"fragments", &conn.DialOptions{Options: conn.Options{Trace: &conn.Trace{
				Received: func(_ *conn.Conn, h frame.Header, _ []byte) {
					switch h.Opcode {
					case frame.OpContinuation:
						fragments++
					case frame.OpPing:
						pings++
					}
				},
			}}})
			// An empty message has no halves.
			list := slices.DeleteFunc(messages(), func(m message) bool { return len(m.data) == 0 })
			p.echo(t, c, list)
			assert.GreaterOrEqual(t, fragments, 2*len(list))
			assert.Equal(t, len(list), pings)
		})
	}
	p.run(t, "ping from it", func(t *testing.T) {
		c := dial(t, base+"ping", nil)
		_, data, err := c.Read(bounded(t))
		require.NoError(t, err)
		require.Regexp(t, "^pong from ", string(data))
	})
	for _, closing := range closings {
		p.run(t, fmt.Sprint("close ", closing.code, " to it"), func(t *testing.T) {
			id := newID()
			c := dial(t, base+"echo?id="+id, nil)
			require.NoError(t, c.Close(closing.code, closing.reason))
			e := server.event(t, "closed", id)
			require.Equal(t, int(closing.code), e.Code)
			require.Equal(t, closing.reason, e.Reason)
		})
		p.run(t, fmt.Sprint("close ", closing.code, " from it"), func(t *testing.T) {
			id := newID()
			query := url.Values{"id": {id}, "code": {fmt.Sprint(uint16(closing.code))}, "reason": {closing.reason}}
			c := dial(t, base+"close?"+query.Encode(), nil)
			_, _, err := c.Read(bounded(t))
			requireClosed(t, err, closing.code, closing.reason)
			require.Equal(t, int(closing.code), server.event(t, "closed", id).Code, "the code comes back")
		})
	}
	p.run(t, "close without code to it", func(t *testing.T) {
		id := newID()
		c := dial(t, base+"echo?id="+id, nil)
		require.NoError(t, c.Close(frame.CloseNoStatus, ""))
		require.Equal(t, l.noStatus, server.event(t, "closed", id).Code)
	})
	if l.bareClose {
		p.run(t, "close without code from it", func(t *testing.T) {
			_, _, err := dial(t, base+"close", nil).Read(bounded(t))
			requireClosed(t, err, frame.CloseNoStatus, "")
		})
	}
	p.run(t, "end without close from it", func(t *testing.T) {
		c, _, err := conn.Dial(bounded(t), base+"kill", nil)
		if err != nil {
			require.ErrorContains(t, err, "no connection to") // it was faster than its own answer
			return
		}
		defer c.CloseNow()
		_, _, err = c.Read(bounded(t))
		requireLost(t, err)
	})
	p.run(t, "end without close to it", func(t *testing.T) {
		id := newID()
		c := dial(t, base+"echo?id="+id, nil)
		require.NoError(t, c.CloseNow())
		require.Equal(t, 1006, server.event(t, "closed", id).Code)
	})
	for _, tt := range []struct {
		name    string
		offered []string
		want    string
	}{
		{"subprotocol", []string{"other", "chat.v1"}, "chat.v1"},
		{"subprotocol not offered", nil, ""},
		{"subprotocol unknown", []string{"other"}, ""},
	} {
		p.run(t, tt.name, func(t *testing.T) {
			c := dial(t, base+"echo", &conn.DialOptions{Subprotocols: tt.offered})
			require.Equal(t, tt.want, c.Subprotocol())
			require.NoError(t, c.Close(frame.CloseNormal, ""))
		})
	}
	p.run(t, "refused", func(t *testing.T) {
		_, resp, err := conn.Dial(bounded(t), base+"refuse", nil)
		var refused *handshake.ResponseError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, 401, refused.Status)
		require.Equal(t, "Basic realm=interop", refused.Header.Get("WWW-Authenticate"))
		require.Equal(t, "who are you?\n", string(refused.Body))
		require.Equal(t, 401, resp.StatusCode)
	})
	p.run(t, "redirected", func(t *testing.T) {
		c := dial(t, base+"moved", nil)
		require.True(t, strings.HasSuffix(c.Request().URL.Path, "/echo"), "%v", c.Request().URL)
		require.NoError(t, c.Close(frame.CloseNormal, ""))
	})
}
