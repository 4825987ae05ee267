package conn

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/frame/deflate"
	"rfc6455/handshake"
)

// prose returns text of n bytes that compresses, another one for each seed.
func prose(n int, seed uint64) string {
	rnd := rand.New(rand.NewPCG(seed, 7))
	words := strings.Fields("the quick brown fox jumps over a lazy dog Ελληνικά 你好 🙂 and then once more {\"user\":\"alice\"}")
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[rnd.IntN(len(words))])
		b.WriteByte(' ')
	}
	return strings.ToValidUTF8(b.String()[:n], "~")
}

// The sizes that a message may have on its way through buffers and windows.
var compressedSizes = []int{0, 1, 511, 512, 600, 5_000, 40_000, 120_000}

// Every combination of settings, both ways, by every way to read and to write.
func TestCompression(t *testing.T) {
	writes := map[string]func(ctx context.Context, c *Conn, t MessageType, p []byte) error{
		"Write": func(ctx context.Context, c *Conn, t MessageType, p []byte) error { return c.Write(ctx, t, p) },
		"Send":  func(_ context.Context, c *Conn, t MessageType, p []byte) error { return c.Send(t, p) },
		"SendPrepared": func(_ context.Context, c *Conn, t MessageType, p []byte) error {
			m, err := Prepare(t, p)
			if err != nil {
				return err
			}
			return c.SendPrepared(m)
		},
		"Writer": func(ctx context.Context, c *Conn, t MessageType, p []byte) error {
			w, err := c.Writer(ctx, t)
			if err != nil {
				return err
			}
			for len(p) > 0 {
				n := min(len(p), 1000)
				if _, err := w.Write(p[:n]); err != nil {
					return err
				}
				p = p[n:]
			}
			return w.Close()
		},
		"NetConn": func(_ context.Context, c *Conn, t MessageType, p []byte) error {
			_, err := c.writeOwned(c.Context(), t, p)
			return err
		},
	}
	reads := map[string]func(c *Conn) (MessageType, []byte, error){
		"Read":     func(c *Conn) (MessageType, []byte, error) { return c.Read(c.Context()) },
		"ReadInto": func(c *Conn) (MessageType, []byte, error) { return c.ReadInto(c.Context(), make([]byte, 700)) },
		"Messages": func(c *Conn) (MessageType, []byte, error) {
			for m, err := range c.Messages(c.Context()) {
				return m.Type, bytes.Clone(m.Data), err
			}
			return 0, nil, io.EOF
		},
		"Reader": func(c *Conn) (MessageType, []byte, error) {
			t, r, err := c.Reader(c.Context())
			if err != nil {
				return 0, nil, err
			}
			p, err := io.ReadAll(r)
			return t, p, err
		},
	}
	for _, takeover := range []bool{false, true} {
		for _, terms := range []handshake.Deflate{
			{},
			{ServerNoContextTakeover: true},
			{ClientNoContextTakeover: true},
			{ServerMaxWindowBits: 9, ClientMaxWindowBits: 10},
			{ServerMaxWindowBits: 8, ClientMaxWindowBits: 8, ServerNoContextTakeover: true, ClientNoContextTakeover: true},
		} {
			o := &Options{Compression: &Compression{Takeover: takeover, Deflate: terms}, QueueMessages: -1, QueueBytes: -1}
			for writeBy, write := range writes {
				for readBy, read := range reads {
					bubble(t, fmt.Sprintf("takeover=%v/%+v/%s/%s", takeover, terms, writeBy, readBy), func(t *testing.T) {
						client, server := Pipe(o, o)
						require.NotNil(t, client.compressor)
						require.NotNil(t, server.compressor)
						for _, way := range [][2]*Conn{{client, server}, {server, client}} {
							var wrote sync.WaitGroup
							wrote.Go(func() {
								for i, size := range compressedSizes {
									assert.NoError(t, write(way[0].Context(), way[0], Text, []byte(prose(size, uint64(i)))))
									assert.NoError(t, write(way[0].Context(), way[0], Binary.Uncompressed(), []byte(prose(size, uint64(i)))))
								}
							})
							for i, size := range compressedSizes {
								for _, want := range []MessageType{Text, Binary} {
									got, p, err := read(way[1])
									require.NoError(t, err)
									require.Equal(t, want, got)
									require.True(t, prose(size, uint64(i)) == string(p), "message of %d bytes", size)
								}
							}
							wrote.Wait()
							sum := 0
							for _, size := range compressedSizes {
								sum += 2 * size
							}
							synctest.Wait()
							require.EqualValues(t, 2*len(compressedSizes), way[0].Stats().MessagesWritten)
							if writeBy != "Writer" {
								require.Less(t, way[0].Stats().BytesWritten, int64(sum)*3/4, "it compresses")
							}
						}
						client.CloseNow()
						server.CloseNow()
					})
				}
			}
		}
	}
}

// compressing are options with compression on.
func compressing() *Options { return &Options{Compression: &Compression{}} }

// compressedPeer returns a connection with compression agreed on, and its peer.
func compressedPeer(t *testing.T, role frame.Role, o *Options, agreed handshake.Deflate) (*Conn, *peer) {
	c, p := newPeer(t, role, nil)
	c.CloseNow()
	p.nc.Close()
	ours, theirs := streamPair()
	if role == frame.Server {
		ours, theirs = theirs, ours
	}
	c = New(ours, role, &handshake.Agreement{Deflate: &agreed}, o)
	t.Cleanup(func() {
		c.CloseNow()
		theirs.Close()
	})
	return c, &peer{t: t, nc: theirs, role: role.Peer(), recv: frame.Receiver{Role: role.Peer(), RSV: frame.RSV1}}
}

// compressed returns a frame with RSV1.
func (p *peer) compressed(fin bool, op frame.Opcode, payload string) []byte {
	b := p.frame(fin, op, payload)
	b[0] |= 0x40
	return b
}

// deflated compresses text as a message, by the standard library.
func deflated(t testing.TB, text string) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 6)
	require.NoError(t, err)
	_, err = io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// The RFC's examples, and what else is allowed. (RFC 7692, section 7.2.3)
func TestCompressionReceived(t *testing.T) {
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	for _, tt := range []struct {
		name   string
		pieces func(p *peer) [][]byte
		want   []string
	}{
		{"7.2.3.1 one block", func(p *peer) [][]byte { return [][]byte{p.compressed(true, frame.OpText, hello)} }, []string{"Hello"}},
		{"7.2.3.1 fragments", func(p *peer) [][]byte {
			return [][]byte{p.compressed(false, frame.OpText, hello[:3]), p.frame(true, frame.OpContinuation, hello[3:])}
		}, []string{"Hello"}},
		{"7.2.3.2 shared window", func(p *peer) [][]byte {
			return [][]byte{p.compressed(true, frame.OpText, hello), p.compressed(true, frame.OpText, "\xf2\x00\x11\x00\x00")}
		}, []string{"Hello", "Hello"}},
		{"7.2.3.3 no compression", func(p *peer) [][]byte {
			return [][]byte{p.compressed(true, frame.OpText, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")}
		}, []string{"Hello"}},
		{"7.2.3.4 BFINAL", func(p *peer) [][]byte {
			return [][]byte{p.compressed(true, frame.OpText, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00")}
		}, []string{"Hello"}},
		{"7.2.3.5 two blocks", func(p *peer) [][]byte {
			return [][]byte{p.compressed(true, frame.OpText, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")}
		}, []string{"Hello"}},
		{"7.2.3.6 empty", func(p *peer) [][]byte { return [][]byte{p.compressed(true, frame.OpText, "\x00")} }, []string{""}},
		{"empty, of no bytes", func(p *peer) [][]byte { return [][]byte{p.compressed(true, frame.OpText, "")} }, []string{""}},
		{"uncompressed among them", func(p *peer) [][]byte {
			return [][]byte{p.compressed(true, frame.OpText, hello), p.whole(frame.OpText, "plain"), p.compressed(true, frame.OpText, "\xf2\x00\x11\x00\x00")}
		}, []string{"Hello", "plain", "Hello"}},
		{"control frames within", func(p *peer) [][]byte {
			return [][]byte{p.compressed(false, frame.OpText, hello[:3]), p.whole(frame.OpPong, ""), p.frame(false, frame.OpContinuation, ""), p.frame(true, frame.OpContinuation, hello[3:])}
		}, []string{"Hello"}},
	} {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			bubble(t, fmt.Sprintf("%s/%v", tt.name, role), func(t *testing.T) {
				for _, byByte := range []bool{false, true} {
					c, p := compressedPeer(t, role, nil, handshake.Deflate{})
					stream := bytes.Join(append(tt.pieces(p), p.close(frame.CloseNormal, "")), nil)
					go func() {
						if !byByte {
							p.write(stream)
							return
						}
						for i := range stream {
							p.write(stream[i : i+1])
						}
					}()
					got, err := readAll(c)
					require.ErrorIs(t, err, io.EOF)
					require.Equal(t, tt.want, got)
				}
			})
		}
	}
}

func TestCompressionRefused(t *testing.T) {
	random := make([]byte, 5000)
	for i := range random {
		random[i] = byte(rand.Uint32() | 1) // no reserved block type is needed to fail
	}
	bomb := deflated(t, strings.Repeat("\x00", 50<<20))
	for _, tt := range []struct {
		name  string
		terms handshake.Deflate
		piece func(p *peer) []byte
		code  frame.CloseCode
		is    error
		says  string
	}{
		{"reserved block type", handshake.Deflate{}, func(p *peer) []byte { return p.compressed(true, frame.OpText, "\x07") },
			frame.CloseInvalidPayload, frame.ErrCompressed, "reserved type"},
		{"cut off", handshake.Deflate{}, func(p *peer) []byte { return p.compressed(true, frame.OpText, "\xf2\x48\xcd") },
			frame.CloseInvalidPayload, frame.ErrCompressed, "ends within a block"},
		{"no earlier message to refer to", handshake.Deflate{}, func(p *peer) []byte { return p.compressed(true, frame.OpText, "\xf2\x00\x11\x00\x00") },
			frame.CloseInvalidPayload, frame.ErrCompressed, "distance"},
		{"takeover that was not agreed", handshake.Deflate{ServerNoContextTakeover: true, ClientNoContextTakeover: true}, func(p *peer) []byte {
			return append(p.compressed(true, frame.OpText, "\xf2\x48\xcd\xc9\xc9\x07\x00"), p.compressed(true, frame.OpText, "\xf2\x00\x11\x00\x00")...)
		}, frame.CloseInvalidPayload, frame.ErrCompressed, "distance"},
		{"window larger than agreed", handshake.Deflate{ServerMaxWindowBits: 8, ClientMaxWindowBits: 8}, func(p *peer) []byte {
			text := prose(300, 1)
			return p.compressed(true, frame.OpText, deflated(p.t, text+text))
		}, frame.CloseInvalidPayload, frame.ErrCompressed, "distance"},
		{"text that is not UTF-8, before its end", handshake.Deflate{}, func(p *peer) []byte {
			return p.compressed(false, frame.OpText, deflated(p.t, "abc\xff"+prose(100, 2)))
		}, frame.CloseInvalidPayload, frame.ErrText, "UTF-8"},
		{"text that ends inside a character", handshake.Deflate{}, func(p *peer) []byte {
			return p.compressed(true, frame.OpText, deflated(p.t, "abc\xe4\xbd"))
		}, frame.CloseInvalidPayload, frame.ErrText, "UTF-8"},
		{"bomb", handshake.Deflate{}, func(p *peer) []byte { return p.compressed(true, frame.OpBinary, bomb) },
			frame.CloseMessageTooBig, ErrMessageTooBig, "more than 1048576 bytes (Options.ReadLimit)"},
		{"RSV1 on a continuation", handshake.Deflate{}, func(p *peer) []byte {
			return append(p.compressed(false, frame.OpText, "\xf2"), p.compressed(true, frame.OpContinuation, "\x48")...)
		}, frame.CloseProtocolError, frame.ErrReservedBits, "continuation"},
		{"RSV1 on a Ping", handshake.Deflate{}, func(p *peer) []byte { return p.compressed(true, frame.OpPing, "") },
			frame.CloseProtocolError, frame.ErrReservedBits, "ping"},
		{"announced beyond the limit", handshake.Deflate{}, func(p *peer) []byte {
			b := frame.AppendHeader(nil, p.header(true, frame.OpText, 2<<20))
			b[0] |= 0x40
			return b
		}, frame.CloseMessageTooBig, ErrMessageTooBig, "Options.ReadLimit"},
	} {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			for _, stream := range []bool{false, true} {
				bubble(t, fmt.Sprintf("%s/%v/Reader=%v", tt.name, role, stream), func(t *testing.T) {
					c, p := compressedPeer(t, role, nil, tt.terms)
					go p.nc.Write(tt.piece(p))
					var err error
					for err == nil {
						if !stream {
							_, _, err = c.Read(c.Context())
							continue
						}
						var r io.Reader
						if _, r, err = c.Reader(c.Context()); err == nil {
							_, err = io.Copy(io.Discard, r)
						}
						c.streaming = nil
					}
					require.ErrorIs(t, err, tt.is)
					require.Contains(t, err.Error(), tt.says)
					p.expectClose(tt.code)
				})
			}
		}
	}
}

// A context that ends in the middle of a compressed message ends the call alone.
func TestCompressionInterrupted(t *testing.T) {
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		bubble(t, role.String(), func(t *testing.T) {
			c, p := compressedPeer(t, role, compressing(), handshake.Deflate{})
			text := prose(20_000, 3)
			stream := p.compressed(true, frame.OpText, deflated(t, text))
			for _, at := range []int{1, 3, 10, 100, len(stream) / 2, len(stream) - 1} {
				ctx, cancel := context.WithCancel(context.Background())
				read := startRead(ctx, c)
				p.write(stream[:at])
				synctest.Wait()
				cancel()
				require.ErrorIs(t, (<-read).err, context.Canceled)
				read = startRead(context.Background(), c)
				p.write(stream[at:])
				got := <-read
				require.NoError(t, got.err)
				require.True(t, got.text == text)
			}
		})
	}
}

// With takeover, a message that is taken back must not be referred to.
func TestCompressionTakenBack(t *testing.T) {
	bubble(t, "in memory", func(t *testing.T) {
		o := &Options{Compression: &Compression{Takeover: true, Threshold: 1}, WriteTimeout: -1, Keepalive: -1}
		client, server := Pipe(o, o)
		// Until the stream is full: what compresses badly fills it soon.
		rnd := rand.New(rand.NewPCG(1, 1))
		noise := make([]byte, 100_000)
		for i := range noise {
			noise[i] = "0123456789abcdef"[rnd.IntN(16)]
		}
		full := startErr(func() error { return client.Write(context.Background(), Binary, noise) })
		full2 := startErr(func() error { return client.Write(context.Background(), Binary, noise) })
		synctest.Wait()
		var lost, kept []<-chan result
		ctx, cancel := context.WithCancel(context.Background())
		for i := range 6 {
			lost = append(lost, startErr(func() error { return client.Write(ctx, Text, []byte(prose(400, 9))) }))
			synctest.Wait()
			kept = append(kept, startErr(func() error { return client.Write(context.Background(), Text, []byte(prose(400, 9)+fmt.Sprint(i))) }))
			synctest.Wait()
		}
		cancel()
		for _, l := range lost {
			require.ErrorIs(t, (<-l).err, context.Canceled)
		}
		var got []string
		for len(got) < 8 {
			_, p, err := server.Read(server.Context())
			require.NoError(t, err)
			if string(p) != prose(400, 9) {
				got = append(got, string(p))
			}
		}
		require.True(t, string(noise) == got[0] && string(noise) == got[1])
		for i, p := range got[2:] {
			require.Equal(t, prose(400, 9)+fmt.Sprint(i), p)
		}
		require.NoError(t, (<-full).err)
		require.NoError(t, (<-full2).err)
		for _, k := range kept {
			require.NoError(t, (<-k).err)
		}
		client.CloseNow()
		server.CloseNow()
	})
}

// A Prepared is right for each connection that it is sent on, and compressed once
// for all that agreed on the same.
func TestPrepared(t *testing.T) {
	bubble(t, "in memory", func(t *testing.T) {
		text := prose(5000, 4)
		m, err := Prepare(Text, []byte(text))
		require.NoError(t, err)
		var conns []*Conn
		for range 3 {
			for _, o := range []*Options{nil, compressing(), {Compression: &Compression{Takeover: true}}, {Compression: &Compression{Deflate: handshake.Deflate{ServerMaxWindowBits: 9}}}} {
				client, server := Pipe(o, o)
				conns = append(conns, client, server)
				for range 2 {
					require.NoError(t, client.SendPrepared(m))
					require.NoError(t, server.SendPrepared(m))
				}
			}
		}
		for _, c := range conns {
			for range 2 {
				typ, p, err := c.Read(c.Context())
				require.NoError(t, err)
				require.Equal(t, Text, typ)
				require.True(t, text == string(p))
			}
		}
		// Plain and compressed for each role, and one more window for the server.
		require.Len(t, m.forms, 5)
		for _, c := range conns {
			c.CloseNow()
		}
	})
	_, err := Prepare(Text, []byte("\xff"))
	require.ErrorIs(t, err, frame.ErrText)
	_, err = Prepare(7, nil)
	require.Error(t, err)
	c, _ := Pipe(nil, nil)
	require.Error(t, c.SendPrepared(nil))
	c.CloseNow()
}

// Without takeover an idle connection holds nothing for compression but its
// terms.
func TestCompressionIdle(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(compressor{})+unsafe.Sizeof(&compressor{}), uintptr(100))
	bubble(t, "in memory", func(t *testing.T) {
		o := compressing()
		o.Compression.Deflate = handshake.Deflate{ServerNoContextTakeover: true, ClientNoContextTakeover: true}
		client, server := Pipe(o, o)
		for _, way := range [][2]*Conn{{client, server}, {server, client}} {
			require.NoError(t, way[0].Write(t.Context(), Text, []byte(prose(2000, 1))))
			_, _, err := way[1].Read(t.Context())
			require.NoError(t, err)
			require.Nil(t, way[1].compressor.in)
			require.Nil(t, way[0].compressor.out)
		}
		client.CloseNow()
		server.CloseNow()
	})
}

// What is kept of a connection after its end, its context for instance, does not
// keep the windows.
func TestCompressionEnd(t *testing.T) {
	bubble(t, "in memory", func(t *testing.T) {
		o := compressing()
		o.Compression.Takeover = true
		client, server := Pipe(o, o)
		require.NoError(t, server.Write(t.Context(), Text, []byte(prose(2000, 1))))
		_, _, err := client.Read(t.Context())
		require.NoError(t, err)
		used := *server.compressor.out
		server.CloseNow()
		client.CloseNow()
		require.Equal(t, deflate.Compressor{Level: used.Level, Window: used.Window, Takeover: true}, *server.compressor.out)
		require.NotEqual(t, used, *server.compressor.out)
	})
}

// Close reads what still comes, also right behind a compressed message, of which
// nothing is kept without takeover.
func TestCompressionClose(t *testing.T) {
	for _, terms := range []handshake.Deflate{
		{},
		{ServerNoContextTakeover: true, ClientNoContextTakeover: true},
	} {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			bubble(t, fmt.Sprintf("%+v/%v", terms, role), func(t *testing.T) {
				o := compressing()
				o.Compression.Deflate = terms
				c, p := Pipe(o, o)
				if role == frame.Server {
					c, p = p, c
				}
				require.NoError(t, p.Write(context.Background(), Text, []byte(prose(2000, 1))))
				_, _, err := c.Read(context.Background())
				require.NoError(t, err)
				read := startRead(context.Background(), p)
				require.NoError(t, c.Close(frame.CloseNormal, ""))
				require.ErrorIs(t, (<-read).err, io.EOF)
			})
		}
	}
}

// A buffer that is just long enough is used.
func TestCompressionReadInto(t *testing.T) {
	for _, size := range []int{512, 5000, 100_000} {
		for _, stored := range []bool{false, true} { // before it is read
			bubble(t, fmt.Sprintf("size=%d/stored=%v", size, stored), func(t *testing.T) {
				client, server := Pipe(compressing(), compressing())
				want := []byte(prose(size, 1))
				for _, room := range []int{size - 1, size, size + 1} {
					write := startErr(func() error { return client.Write(context.Background(), Text, want) })
					if stored {
						synctest.Wait()
					}
					buf := make([]byte, room)
					_, got, err := server.ReadInto(context.Background(), buf)
					require.NoError(t, err)
					require.True(t, bytes.Equal(want, got))
					require.Equal(t, room >= size, &buf[0] == &got[0], "room for %d bytes", room)
					require.NoError(t, (<-write).err)
				}
				client.CloseNow()
				server.CloseNow()
			})
		}
	}
}

func TestCompressionSettings(t *testing.T) {
	bubble(t, "in memory", func(t *testing.T) {
		client, server := Pipe(compressing(), compressing())
		long := []byte(prose(511, 1))
		require.NoError(t, client.Write(context.Background(), Text, long))
		require.Greater(t, client.Stats().BytesWritten, int64(511), "below the threshold")
		_, p, err := server.Read(context.Background())
		require.NoError(t, err)
		require.Equal(t, long, p)
		err = client.Write(context.Background(), Text, bytes.Repeat([]byte{0xff}, 600))
		require.ErrorIs(t, err, frame.ErrText, "the same as without compression")
		require.ErrorIs(t, client.Send(Text, bytes.Repeat([]byte{0xff}, 600)), frame.ErrText)
		client.CloseNow()
		server.CloseNow()
	})
	require.Equal(t, deflate.DefaultLevel, (&Compression{}).resolved().Level)
	require.Equal(t, "text", Text.Uncompressed().String())
}
