package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/handshake"
	"rfc6455/testdata/capture"
)

// answerer is a replay that waits for an opening handshake. In what it gives,
// <accept> stands for the answer to the key. It heeds its read deadline.
type answerer struct {
	replay
	wait  sync.Mutex // guards the rest
	asked chan struct{}
	ask   []byte // the request
	late  bool
}

func newAnswerer(in []byte, pieces func() int) *answerer {
	return &answerer{replay: replay{in: in, pieces: pieces}, asked: make(chan struct{})}
}

var keyField = regexp.MustCompile(`(?i)Sec-WebSocket-Key: (\S+)\r\n`)

func (a *answerer) Write(p []byte) (int, error) {
	a.wait.Lock()
	defer a.wait.Unlock()
	select {
	case <-a.asked:
		return a.replay.Write(p)
	default:
	}
	a.ask = append(a.ask, p...)
	if bytes.HasSuffix(a.ask, []byte("\r\n\r\n")) {
		key := keyField.FindSubmatch(a.ask)[1]
		a.in = bytes.ReplaceAll(a.in, []byte("<accept>"), []byte(handshake.AcceptKey(string(key))))
		close(a.asked)
	}
	return len(p), nil
}

func (a *answerer) Read(p []byte) (int, error) {
	<-a.asked
	a.wait.Lock()
	late := a.late
	a.wait.Unlock()
	if late {
		return 0, os.ErrDeadlineExceeded
	}
	return a.replay.Read(p)
}

func (a *answerer) SetReadDeadline(t time.Time) error {
	a.wait.Lock()
	defer a.wait.Unlock()
	a.late = !t.IsZero() && time.Until(t) <= 0
	return nil
}

// keyless returns the text of an error without what may be of a key: each attempt
// has its own.
func keyless(err error) string { return base64Runs.ReplaceAllString(err.Error(), "x") }

var base64Runs = regexp.MustCompile(`[A-Za-z0-9+/=]+`)

// serverStreams returns what a server might send after its 101; for clients, see
// streams.
func serverStreams(t testing.TB) (all [][]byte) {
	for _, name := range capture.Names(".s2c") {
		s, err := capture.Read(name)
		require.NoError(t, err)
		_, frames := s.Handshake()
		all = append(all, frames)
	}
	server := &peer{role: frame.Server}
	for _, frames := range [][]byte{
		nil,
		server.whole(frame.OpText, "text"),
		server.whole(frame.OpBinary, letters(200)),
		server.whole(frame.OpPing, "ping"),
		append(server.frame(false, frame.OpText, "\xe2"), server.frame(true, frame.OpContinuation, "\x82\xac")...),
		append(server.frame(false, frame.OpText, "a"), server.close(frame.CloseNormal, "bye")...),
		server.close(frame.CloseGoingAway, strings.Repeat("x", 123)),
		{0x81, 0x85, 1, 2, 3, 4, 'h', 'e', 'l', 'l', 'o'}, // masked
		{0xC1, 0}, {0x83, 0}, {0x09, 0}, {0x80, 0}, {1, 0, 0x81, 0}, // reserved, fragments
		{0x82, 126, 0, 1, 'x'}, {0x82, 127, 0x80, 0, 0, 0, 0, 0, 0}, // lengths
		{0x82, 127, 0x7F, 0, 0, 0, 0, 0, 0, 0}, {0x81, 2, 0xED, 0xA0},
		{0x88, 1, 3}, {0x88, 2, 3, 0xEE}, {0x88, 3, 3, 0xE8, 0xFF},
	} {
		all = append(all, append(server.whole(frame.OpText, "before"), frames...), frames)
	}
	return all
}

// FuzzClientConn has a server that sends anything after its 101, or instead of
// it. Dial and Client come to the same, however the bytes are cut.
func FuzzClientConn(f *testing.F) {
	request, err := http.NewRequest("GET", "http://example.com/", nil)
	require.NoError(f, err)
	accept := handshake.AcceptKey("")
	response := strings.Replace(accepting(request, "Sec-WebSocket-Protocol: chat"), accept, "<accept>", 1)
	for i, s := range serverStreams(f) {
		f.Add(s, false, uint8(i), uint16(0), uint64(i))
		f.Add(s, false, uint8(i+1), uint16(200), uint64(i))
	}
	for i, row := range strictResponses() {
		s := strings.ReplaceAll(row.response(request), accept, "<accept>") + row.endless
		f.Add([]byte(s), true, uint8(i), uint16(100), uint64(i))
	}
	for i, name := range capture.Names(".s2c") {
		s, err := capture.Read(name)
		require.NoError(f, err)
		head, _ := s.Handshake()
		head = regexp.MustCompile(`(?i)(sec-websocket-accept: )\S+`).ReplaceAll(head, []byte("$1<accept>"))
		f.Add(append(head, "\x81\x05hello"...), true, uint8(i), uint16(0), uint64(i))
	}
	f.Fuzz(func(t *testing.T, in []byte, instead bool, method uint8, limit uint16, seed uint64) {
		if len(in) > 100_000 {
			return
		}
		if !instead {
			in = append([]byte(response), in...)
		}
		o := &DialOptions{
			Subprotocols:     []string{"chat"},
			HandshakeBytes:   2_000,
			HandshakeTimeout: -1,
			Options:          Options{ReadLimit: int64(limit), FragmentLimit: 8},
		}
		if limit == 0 {
			o.ReadLimit = -1
		}
		open := func(dial bool, method uint8, pieces func() int) (h heard, err error) {
			nc := newAnswerer(bytes.Clone(in), pieces)
			var c *Conn
			if dial {
				with := *o
				with.HTTPClient = &http.Client{
					Transport:     &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nc, nil }},
					CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
				}
				var resp *http.Response
				c, resp, err = Dial(context.Background(), "ws://example.com/?token", &with)
				if refusal, ok := errors.AsType[*handshake.ResponseError](err); ok {
					body, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					require.Equal(t, string(refusal.Body), string(body))
				}
			} else {
				c, err = Client(context.Background(), nc, "ws://example.com/?token", o)
			}
			if err != nil {
				require.Nil(t, c)
				require.Empty(t, nc.out.Bytes(), "nothing is sent behind the request")
				require.True(t, strings.HasPrefix(err.Error(), "websocket: "), err)
				require.Less(t, len(err.Error()), 20_000)
				if refusal, ok := errors.AsType[*handshake.ResponseError](err); ok {
					require.LessOrEqual(t, len(refusal.Body), bodyBytes)
				} else {
					require.Contains(t, err.Error(), "websocket: no connection to ws://example.com: ")
				}
				require.NotErrorIs(t, err, io.EOF)
				if !dial {
					nc.written(t) // closed
				}
				return heard{}, err
			}
			require.Contains(t, []string{"", "chat"}, c.Subprotocol())
			h = hear(t, c, method)
			frames, _ := legal(t, frame.Client, nc.written(t).Bytes())
			if !errors.Is(h.Err, io.ErrUnexpectedEOF) {
				require.NotEmpty(t, frames)
				require.Equal(t, frame.OpClose, frames[len(frames)-1].Opcode, "a Close frame is last")
			}
			for _, f := range frames {
				require.True(t, f.Masked)
			}
			return h, nil
		}
		want, wantErr := open(false, method, nil)
		for _, dial := range []bool{false, true} {
			for _, pieces := range []func() int{nil, randomly(seed)} {
				got, err := open(dial, method>>2, pieces)
				require.Equal(t, wantErr == nil, err == nil, "%v, and then %v", wantErr, err)
				if err != nil {
					refusal, ok := errors.AsType[*handshake.ResponseError](err)
					if wantRefusal, wanted := errors.AsType[*handshake.ResponseError](wantErr); ok && wanted {
						require.Equal(t, keyless(wantRefusal), keyless(refusal))
						require.Equal(t, wantRefusal.Status, refusal.Status)
					} else if !dial {
						require.Equal(t, wanted, ok)
					}
					continue
				}
				require.Equal(t, want.Types, got.Types)
				require.Equal(t, want.Messages, got.Messages)
				require.Equal(t, want.Err.Error(), got.Err.Error())
			}
		}
	})
}
