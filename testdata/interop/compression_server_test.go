//go:build linux

package interop

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

// TestCompressionServers has our client compress with servers that others wrote.
func TestCompressionServers(t *testing.T) {
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			command := l.command(t, "server")
			p := newPeer(l.name, "server, compressing")
			server, base, version := l.serve(t, command, "ws")
			p.is(version)
			for _, tt := range l.compressionCases("server") {
				t.Run(tt.name, func(t *testing.T) { l.compressWithServer(t, p, server, base, tt) })
			}
		})
	}
}

func (l library) compressWithServer(t *testing.T, p *peer, server *process, base string, tt compressionCase) {
	var frames compressedFrames
	id := newID()
	query := url.Values{"id": {id}}
	if l.terms {
		text, err := json.Marshal(tt.theirs)
		require.NoError(t, err)
		query.Set("terms", string(text))
	}
	c, resp := dialResponse(t, base+"compress?"+query.Encode(), &conn.DialOptions{Options: tt.options(&frames)})
	agreed := tt.agreed()

	p.run(t, "terms", func(t *testing.T) {
		e := server.event(t, "opened", id)
		require.NotNil(t, e.Agreed)
		answer := answered(t, resp.Header.Values("Sec-WebSocket-Extensions"))
		if l.terms {
			require.Equal(t, agreed, e.Agreed.whole())
			require.Equal(t, agreed, answer.whole())
		} else {
			require.Equal(t, agreed.of("server"), *e.Agreed)
			require.Equal(t, agreed.of("server"), answer.whole().of("server"))
		}
	})
	p.run(t, "50 in a row", func(t *testing.T) {
		ctx := bounded(t)
		for i := range inARow {
			require.NoError(t, c.Write(ctx, conn.Text, chat(i)))
		}
		for i := range inARow {
			_, data, err := c.Read(ctx)
			require.NoError(t, err)
			require.Equal(t, string(chat(i)), string(data))
		}
		require.EqualValues(t, inARow, frames.sent.Load())
		requireTakeover(t, &frames.sent, &frames.sentBytes, tt.takeover && !agreed.ClientNoContextTakeover, agreed.ClientMaxWindowBits)
		requireTakeover(t, &frames.received, &frames.receivedBytes, !agreed.ServerNoContextTakeover, agreed.ServerMaxWindowBits)
	})
	list := compressible()
	p.run(t, "all sizes", func(t *testing.T) {
		ctx := bounded(t)
		for _, m := range list {
			wrote := make(chan error, 1)
			go func() { wrote <- c.Write(ctx, m.mt, m.data) }()
			mt, data, err := c.Read(ctx)
			require.NoError(t, err, "%s", m.name)
			require.NoError(t, <-wrote)
			require.Equal(t, m.mt.String(), mt.String())
			require.True(t, string(m.data) == string(data), "%s: %d bytes came back", m.name, len(data))
		}
		require.NoError(t, c.Close(frame.CloseNormal, ""))
		require.Equal(t, int(frame.CloseNormal), server.event(t, "closed", id).Code)
	})
	p.run(t, "compressed both ways", func(t *testing.T) {
		sent, received, fragments := inARow, 0, 0
		for _, m := range list {
			if tt.packs(m) {
				sent++
			}
		}
		for i := range inARow + len(list) {
			switch {
			case l.uncompressed && i%4 == 3:
			case l.fragments && i%2 == 1:
				fragments += 2
				fallthrough
			default:
				received++
			}
		}
		assert.EqualValues(t, sent, frames.sent.Load())
		assert.EqualValues(t, received, frames.received.Load())
		assert.GreaterOrEqual(t, frames.fragments.Load(), int64(fragments))
	})
}

// answered reads the parameters of permessage-deflate in a server's answer.
func answered(t *testing.T, header []string) terms {
	t.Helper()
	require.Len(t, header, 1)
	var d terms
	name, params, _ := strings.Cut(header[0], ";")
	require.Equal(t, "permessage-deflate", strings.TrimSpace(name))
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		bits, _ := strconv.Atoi(value)
		switch name {
		case "":
		case "server_no_context_takeover":
			d.ServerNoContextTakeover = true
		case "client_no_context_takeover":
			d.ClientNoContextTakeover = true
		case "server_max_window_bits":
			d.ServerMaxWindowBits = bits
		case "client_max_window_bits":
			d.ClientMaxWindowBits = bits
		default:
			require.Fail(t, "unknown parameter", "%s", header[0])
		}
	}
	return d
}
