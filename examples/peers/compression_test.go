package peers_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/examples/peers"
	"rfc6455/frame/deflate"
)

// compressing are echo servers that compress, at each library's own level, from
// 512 bytes on if it has a threshold.
var compressing = []struct {
	name     string
	takeover bool
	handler  func() http.Handler
}{
	{"rfc6455", false, func() http.Handler { return ours(&conn.Compression{}) }},
	{"rfc6455", true, func() http.Handler { return ours(&conn.Compression{Takeover: true}) }},
	{"gorilla", false, func() http.Handler {
		upgrader := gorilla.Upgrader{EnableCompression: true}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer c.Close()
			for {
				t, p, err := c.ReadMessage()
				if err != nil || c.WriteMessage(t, p) != nil {
					return
				}
			}
		})
	}},
	{"gws", false, func() http.Handler { return theGWS(false) }},
	{"gws", true, func() http.Handler { return theGWS(true) }},
	{"coder", false, func() http.Handler { return theCoder(websocket.CompressionNoContextTakeover) }},
	{"coder", true, func() http.Handler { return theCoder(websocket.CompressionContextTakeover) }},
}

func ours(z *conn.Compression) http.Handler {
	return conn.Handler(func(ctx context.Context, c *conn.Conn) error {
		for m, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			if err := c.Write(ctx, m.Type, m.Data); err != nil {
				return err
			}
		}
		return nil
	}, &conn.AcceptOptions{Options: conn.Options{Compression: z}})
}

type gwsEcho struct{ gws.BuiltinEventHandler }

func (gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	c.WriteMessage(m.Opcode, m.Bytes())
}

func theGWS(takeover bool) http.Handler {
	upgrader := gws.NewUpgrader(gwsEcho{}, &gws.ServerOption{
		PermessageDeflate: gws.PermessageDeflate{Enabled: true, ServerContextTakeover: takeover, ClientContextTakeover: takeover},
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := upgrader.Upgrade(w, r); err == nil {
			c.ReadLoop()
		}
	})
}

func theCoder(mode websocket.CompressionMode) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: mode})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(peers.Limit)
		for {
			t, p, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), t, p) != nil {
				return
			}
		}
	})
}

// client sends frames that were compressed before, and does not inflate what
// comes back, so that its own work does not count.
type client struct {
	nc net.Conn
	br *bufio.Reader
}

func dialCompressing(tb testing.TB, h http.Handler, takeover bool) *client {
	s := httptest.NewServer(h)
	nc, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(tb, err)
	tb.Cleanup(func() {
		nc.Close()
		s.Close()
	})
	offer := "permessage-deflate"
	if !takeover {
		offer += "; server_no_context_takeover; client_no_context_takeover"
	}
	fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: %s\r\n\r\n", s.Listener.Addr(), offer)
	br := bufio.NewReaderSize(nc, 64<<10)
	resp, err := http.ReadResponse(br, nil)
	require.NoError(tb, err)
	require.Equal(tb, http.StatusSwitchingProtocols, resp.StatusCode)
	answer := resp.Header.Get("Sec-WebSocket-Extensions")
	require.True(tb, strings.HasPrefix(answer, "permessage-deflate"), "%q", answer)
	require.Equal(tb, !takeover, strings.Contains(answer, "server_no_context_takeover"), "%q", answer)
	return &client{nc, br}
}

// next reads a message, in however many frames, appends its payload to dst, and
// returns how long it was on the wire and whether it is compressed.
func (c *client) next(dst []byte) (payload []byte, wire int, compressed bool, err error) {
	for {
		var h [2]byte
		if _, err := io.ReadFull(c.br, h[:]); err != nil {
			return nil, 0, false, err
		}
		length, size := int(h[1]), 2
		if length >= 126 {
			var long [8]byte
			n := map[int]int{126: 2, 127: 8}[length]
			if n == 0 {
				return nil, 0, false, fmt.Errorf("a server's frame begins % x", h)
			}
			if _, err := io.ReadFull(c.br, long[8-n:]); err != nil {
				return nil, 0, false, err
			}
			length, size = int(binary.BigEndian.Uint64(long[:])), 2+n
		}
		wire += size + length
		compressed = compressed || h[0]&0x40 != 0
		begin := len(dst)
		dst = append(dst, make([]byte, length)...)
		if _, err := io.ReadFull(c.br, dst[begin:]); err != nil {
			return nil, 0, false, err
		}
		if h[0]&0x80 != 0 {
			return dst, wire, compressed, nil
		}
	}
}

// compressedFrame returns a client's frame of text, compressed by compress/flate.
func compressedFrame(tb testing.TB, text []byte) []byte {
	var z bytes.Buffer
	w, err := flate.NewWriter(&z, 6)
	require.NoError(tb, err)
	w.Write(text)
	require.NoError(tb, w.Flush())
	p := bytes.TrimSuffix(z.Bytes(), []byte{0, 0, 0xFF, 0xFF})
	b := []byte{0xC1}
	switch {
	case len(p) < 126:
		b = append(b, 0x80|byte(len(p)))
	case len(p) < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(len(p)))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(len(p)))
	}
	key := [4]byte{1, 2, 3, 4}
	b = append(b, key[:]...)
	for i, c := range p {
		b = append(b, c^key[i%4])
	}
	return b
}

// chat returns messages of so many bytes in JSON, each of one or more records, and
// so many that they come round again when no window has them any more.
func chat(size int) (messages [][]byte) {
	words := strings.Fields("the room is open and who was there before will see that she has said it to all of them in time for tea which nobody had asked about until now")
	rnd := rand.New(rand.NewPCG(1, uint64(size)))
	for range max(64, 512<<10/size) {
		var b []byte
		for len(b) < size {
			b = fmt.Appendf(b, `{"type":"message","id":"%016x","room":"room-%d","user":{"id":%d,"name":"user%d"},"text":"`, rnd.Uint64(), rnd.IntN(10), rnd.IntN(1000), rnd.IntN(200))
			for range 3 + rnd.IntN(25) {
				b = append(append(b, words[rnd.IntN(len(words))]...), ' ')
			}
			b = append(b, `"},`...)
		}
		messages = append(messages, b[:size])
	}
	return messages
}

// What a compressing server sends back inflates to what it was sent.
func TestCompressing(t *testing.T) {
	for _, l := range compressing {
		t.Run(fmt.Sprintf("lib=%s/takeover=%v", l.name, l.takeover), func(t *testing.T) {
			c := dialCompressing(t, l.handler(), l.takeover)
			d := &deflate.Decompressor{Takeover: l.takeover}
			for _, size := range []int{1, 600, 4096, 65536} {
				for _, text := range chat(size)[:8] {
					_, err := c.nc.Write(compressedFrame(t, text))
					require.NoError(t, err)
					got, _, compressed, err := c.next(nil)
					require.NoError(t, err)
					if compressed {
						out, n, err := d.Append(nil, got, size)
						require.NoError(t, err)
						require.Equal(t, len(got), n)
						require.NoError(t, d.End())
						got = out
					} else {
						require.Less(t, size, 512)
					}
					require.Equal(t, string(text), string(got))
				}
			}
		})
	}
}

// BenchmarkCompressedEcho is one compressed message there and back over TCP: the
// server inflates and compresses. The ratio is that of messages to what the
// server sends for them, headers included.
func BenchmarkCompressedEcho(b *testing.B) {
	for _, size := range []int{128, 512, 2048, 65536} {
		messages := chat(size)
		frames := make([][]byte, len(messages))
		for i, m := range messages {
			frames[i] = compressedFrame(b, m)
		}
		for _, l := range compressing {
			b.Run(fmt.Sprintf("size=%d/takeover=%v/lib=%s", size, l.takeover, l.name), func(b *testing.B) {
				c := dialCompressing(b, l.handler(), l.takeover)
				var buf []byte
				wire, plain := 0, 0
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for i := 0; b.Loop(); i++ {
					if _, err := c.nc.Write(frames[i%len(frames)]); err != nil {
						b.Fatal(err)
					}
					got, n, _, err := c.next(buf[:0])
					if err != nil {
						b.Fatal(err)
					}
					buf, wire, plain = got, wire+n, plain+size
				}
				b.ReportMetric(float64(plain)/float64(wire), "ratio")
			})
		}
	}
}
