//go:build linux

package interop

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

// compressConfig is what a client program gets that compresses.
type compressConfig struct {
	Cases []compressVisit `json:"cases"`
}

type compressVisit struct {
	Name  string `json:"name"`
	URL   string `json:"url"`
	Terms terms  `json:"terms"`
}

// TestCompressionClients has clients that others wrote compress with our servers:
// with one that has terms of its own, and with our echo program, which has none.
func TestCompressionClients(t *testing.T) {
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			command := l.command(t, "client")
			p := newPeer(l.name, "client, compressing")
			echoes := []string{echoServer(t), echoServer(t, "-raw")}
			var config compressConfig
			cases := l.compressionCases("client")
			servers := compressingServers(t, cases)
			want := map[string]compressionCase{}
			ours := map[string]*compressingServer{}
			for i, tt := range cases {
				visit := compressVisit{tt.name, servers[i].url, tt.theirs}
				config.Cases = append(config.Cases, visit)
				ours[tt.name], want[tt.name] = servers[i], tt
				if !tt.takeover && tt.ours == (terms{}) {
					visit.Name, visit.URL = "echo "+tt.name, echoes[i%len(echoes)]
					config.Cases = append(config.Cases, visit)
					want[visit.Name] = tt
				}
			}
			done := 0
			events(t, command, l.compress, config, func(e event) {
				if e.Event == "version" {
					p.is(e.Version)
				}
				if e.Event != "case" {
					return
				}
				done++
				p.run(t, e.Name, func(t *testing.T) {
					require.True(t, e.OK, "%s", e.Detail)
					require.NotNil(t, e.Agreed)
					if agreed := want[e.Name].agreed(); l.terms {
						require.Equal(t, agreed, e.Agreed.whole())
					} else {
						require.Equal(t, agreed.of("client"), *e.Agreed)
					}
					if s := ours[e.Name]; s != nil {
						s.require(t, want[e.Name], e.Compressed)
					}
				})
			})
			require.Equal(t, len(config.Cases), done)
		})
	}
}

// compressingServer is a server of this library for one connection of one case.
type compressingServer struct {
	url    string
	frames compressedFrames
	row    compressedFrames // after the messages in a row
	ended  chan error
}

// compressingServers starts a server for each case.
func compressingServers(t *testing.T, cases []compressionCase) (servers []*compressingServer) {
	t.Helper()
	ln := listen(t)
	var tracker conn.Tracker
	mux := http.NewServeMux()
	for i, tt := range cases {
		s := &compressingServer{url: fmt.Sprintf("ws://%s/%d", ln.Addr(), i), ended: make(chan error, 1)}
		servers = append(servers, s)
		o := &conn.AcceptOptions{Options: tt.options(&s.frames)}
		o.Tracker = &tracker
		mux.Handle(fmt.Sprint("/", i), conn.Handler(func(ctx context.Context, c *conn.Conn) error {
			err := s.echo(ctx, c)
			s.ended <- err
			return err
		}, o))
	}
	served := make(chan error, 1)
	go func() { served <- http.Serve(ln, mux) }()
	t.Cleanup(func() {
		ln.Close()
		<-served
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		tracker.Shutdown(ctx)
	})
	return servers
}

// echo echoes, of four messages one uncompressed and one through a Writer.
func (s *compressingServer) echo(ctx context.Context, c *conn.Conn) error {
	for i := 0; ; i++ {
		mt, data, err := c.Read(ctx)
		if err != nil {
			return err
		}
		if i == inARow {
			// The client has got all of them.
			s.row.received.Store(s.frames.received.Load() - 1)
			s.row.sent.Store(s.frames.sent.Load())
			s.row.sentBytes.Store(s.frames.sentBytes.Load())
		}
		switch i % 4 {
		case 1:
			w, err := c.Writer(ctx, mt)
			if err != nil {
				return err
			}
			half := len(data) / 2
			if _, err := w.Write(data[:half]); err != nil {
				return err
			}
			if _, err := w.Write(data[half:]); err != nil {
				return err
			}
			err = w.Close()
			if err != nil {
				return err
			}
		case 3:
			err = c.Write(ctx, mt.Uncompressed(), data)
		default:
			err = c.Write(ctx, mt, data)
		}
		if err != nil {
			return err
		}
	}
}

// require holds what the server has seen against the client's report.
func (s *compressingServer) require(t *testing.T, tt compressionCase, compressed int) {
	t.Helper()
	select {
	case err := <-s.ended:
		requireClosed(t, err, frame.CloseNormal, "")
	case <-time.After(patience):
		require.Fail(t, "our server sees no end of the connection")
	}
	agreed := tt.agreed()
	assert.EqualValues(t, compressed, s.frames.received.Load())
	assert.EqualValues(t, inARow-inARow/4, s.row.sent.Load())
	assert.Greater(t, s.frames.sent.Load(), s.row.sent.Load())
	requireTakeover(t, &s.row.sent, &s.row.sentBytes, tt.takeover && !agreed.ServerNoContextTakeover, agreed.ServerMaxWindowBits)
}
