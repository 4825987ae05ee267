//go:build linux

package interop

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// clientConfig is what a client program gets.
type clientConfig struct {
	Echo     string          `json:"echo"`
	Scripted string          `json:"scripted"`
	CA       string          `json:"ca"`
	Deflate  bool            `json:"deflate"`
	Closings []clientClosing `json:"closings"`
	Refusals []clientRefusal `json:"refusals"`
}

type clientClosing struct {
	ID     string `json:"id"`
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

type clientRefusal struct {
	Path   string `json:"path"`
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// TestClients has clients that others wrote talk to our servers.
func TestClients(t *testing.T) {
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			command := l.command(t, "client")
			p := newPeer(l.name, "client")
			cert := newCertificate(t)
			for _, tt := range []struct {
				name    string
				raw     bool
				cert    *certificate
				deflate bool
			}{
				{"net http", false, nil, true},
				{"raw", true, nil, true},
				{"net http TLS", false, &cert, true},
				{"raw TLS", true, &cert, true},
				{"no compression offered", true, nil, false},
			} {
				t.Run(tt.name, func(t *testing.T) {
					var args []string
					if tt.raw {
						args = append(args, "-raw")
					}
					config := clientConfig{Deflate: tt.deflate}
					if tt.cert != nil {
						args = append(args, "-cert", cert.cert, "-key", cert.key)
						config.CA = cert.cert
					}
					config.Echo = echoServer(t, args...)
					server := newOurs(t, listen(t), tt.raw, tt.cert)
					config.Scripted = server.url
					config.Refusals = []clientRefusal{{"refuse", 403, "refused, as asked"}}
					if !tt.raw {
						config.Refusals = append(config.Refusals, clientRefusal{"unauthorized", 401, "who are you?"})
					}
					for _, closing := range closings {
						config.Closings = append(config.Closings, clientClosing{newID(), int(closing.code), closing.reason})
					}
					l.visit(t, p, command, config)
					for i, closing := range closings {
						requireClosed(t, server.ended(t, config.Closings[i].ID), closing.code, closing.reason)
					}
				})
			}
		})
	}
}

// visit runs the client program. Each of its cases becomes one of p.
func (l library) visit(t *testing.T, p *peer, command string, config clientConfig) {
	t.Helper()
	cases := 0
	events(t, command, l.client, config, func(e event) {
		switch e.Event {
		case "version":
			p.is(e.Version)
		case "case":
			cases++
			p.run(t, e.Name, func(t *testing.T) { require.True(t, e.OK, "%s", e.Detail) })
			if e.Name == "extensions" {
				want := "none"
				if config.Deflate {
					want = "permessage-deflate"
				}
				assert.Equal(t, want, e.Detail, "what was agreed on")
			}
		}
	})
	assert.Equal(t, l.cases+len(config.Refusals), cases, "cases of %s", l.client)
}

// events runs a client program, whose argument is config in JSON, and calls f for
// each event until it is done.
func events(t *testing.T, command, program string, config any, f func(e event)) {
	t.Helper()
	text, err := json.Marshal(config)
	require.NoError(t, err)
	client := start(t, command, program, string(text))
	timeout := time.After(patience)
	for seen, done := 0, false; !done; {
		lines, ok := client.next(seen, timeout)
		require.True(t, ok, "%s does not come to its end", program)
		seen += len(lines)
		for _, line := range lines {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				continue // a warning
			}
			f(e)
			done = done || e.Event == "done"
		}
	}
}
