package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

// readers are the ways to read a message.
var readers = []struct {
	name string
	read func(ctx context.Context, c *Conn) (MessageType, string, error)
}{
	{"Read", func(ctx context.Context, c *Conn) (MessageType, string, error) {
		mt, p, err := c.Read(ctx)
		return mt, string(p), err
	}},
	{"ReadInto", func(ctx context.Context, c *Conn) (MessageType, string, error) {
		mt, p, err := c.ReadInto(ctx, make([]byte, 3, 1000))
		return mt, string(p), err
	}},
	{"Messages", func(ctx context.Context, c *Conn) (MessageType, string, error) {
		for m, err := range c.Messages(ctx) {
			return m.Type, string(m.Data), err
		}
		return 0, "", c.sticky()
	}},
	{"Reader", func(ctx context.Context, c *Conn) (MessageType, string, error) {
		mt, r, err := c.Reader(ctx)
		if err != nil {
			return 0, "", err
		}
		p, err := io.ReadAll(r)
		return mt, string(p), err
	}},
	{"Reader byte by byte", func(ctx context.Context, c *Conn) (MessageType, string, error) {
		mt, r, err := c.Reader(ctx)
		if err != nil {
			return 0, "", err
		}
		p, err := io.ReadAll(iotest.OneByteReader(r))
		return mt, string(p), err
	}},
}

// eachReader runs f in a bubble for a connection of either role and every way
// to read.
func eachReader(t *testing.T, f func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error))) {
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) { f(t, role, r.read) })
		})
	}
}

func TestReadSizes(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 4095, 4096, 4097, 65535, 65536, 1 << 20}
	eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
		c, p := newPeer(t, role, nil)
		for _, n := range sizes {
			if n > 65536 && strings.Contains(t.Name(), "byte_by_byte") {
				continue // nothing new, and slow
			}
			for _, mt := range []MessageType{Text, Binary} {
				want := letters(n)
				// The next message stands behind it in the same write.
				sent := startErr(func() error {
					_, err := p.nc.Write(append(p.whole(frame.Opcode(mt), want), p.whole(frame.OpText, "next")...))
					return err
				})
				for _, want := range []struct {
					t MessageType
					p string
				}{{mt, want}, {Text, "next"}} {
					got, q, err := read(context.Background(), c)
					require.NoError(t, err, "%d bytes", n)
					require.Equal(t, want.t, got)
					require.Equal(t, len(want.p), len(q))
					require.True(t, want.p == q, "%d bytes", n)
				}
				require.NoError(t, (<-sent).err)
			}
		}
	})
}

// A message is the same however it is cut into frames, and whatever control
// frames stand between them.
func TestReadFragments(t *testing.T) {
	tests := []struct {
		name      string
		fragments []string
		control   bool // a Ping stands before each frame
	}{
		{"two", []string{"a", "b"}, false},
		{"with pings between", []string{"a", "b", "c"}, true},
		{"empty ones only", []string{"", "", ""}, false},
		{"an empty first", []string{"", "abc"}, true},
		{"an empty last", []string{"abc", ""}, true},
		{"a character across", []string{"\xe2", "", "\x82", "\xac"}, true},
		{"a large behind small ones", []string{"a", "b", letters(70000), "c"}, true},
		{"large ones", []string{letters(100000), letters(65536), letters(4097)}, true},
		{"as many as are allowed", strings.Split(strings.Repeat("x", defaultFragmentLimit), ""), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
				c, p := newPeer(t, role, nil)
				var wire []byte
				for i, payload := range tt.fragments {
					if tt.control {
						wire = append(wire, p.whole(frame.OpPing, "ping")...)
					}
					op := frame.OpContinuation
					if i == 0 {
						op = frame.OpText
					}
					wire = append(wire, p.frame(i == len(tt.fragments)-1, op, payload)...)
				}
				wire = append(wire, p.whole(frame.OpBinary, "next")...)
				go p.nc.Write(wire)
				mt, got, err := read(context.Background(), c)
				require.NoError(t, err)
				require.Equal(t, Text, mt)
				require.True(t, strings.Join(tt.fragments, "") == got)
				mt, got, err = read(context.Background(), c)
				require.NoError(t, err)
				require.Equal(t, Binary, mt)
				require.Equal(t, "next", got)
			})
		})
	}
}

// Many small fragments must not cost a copy of the whole message each.
func TestReadFragmentsMemory(t *testing.T) {
	for _, name := range []string{"Read", "ReadInto", "Messages"} {
		bubble(t, name, func(t *testing.T) {
			c, p := newPeer(t, frame.Client, nil)
			var wire []byte
			for i := range 4000 {
				op := frame.OpContinuation
				if i == 0 {
					op = frame.OpBinary
				}
				wire = append(wire, p.frame(i == 3999, op, letters(250))...)
			}
			for _, r := range readers {
				if r.name != name {
					continue
				}
				go p.nc.Write(wire)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, got, err := r.read(context.Background(), c)
				runtime.ReadMemStats(&after)
				require.NoError(t, err)
				require.Len(t, got, 4000*250)
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
			}
		})
	}
}

func TestReadLimit(t *testing.T) {
	big := strings.Repeat("x", 101)
	tests := []struct {
		name   string
		o      Options
		frames func(p *peer) [][]byte
		want   string // the message, or
		text   string // what is in the error
	}{
		{"exact", Options{ReadLimit: 100}, func(p *peer) [][]byte {
			return [][]byte{p.whole(frame.OpText, big[:100])}
		}, big[:100], ""},
		{"exact in fragments", Options{ReadLimit: 100}, func(p *peer) [][]byte {
			return [][]byte{p.frame(false, frame.OpText, big[:60]), p.frame(true, frame.OpContinuation, big[:40])}
		}, big[:100], ""},
		{"one over", Options{ReadLimit: 100}, func(p *peer) [][]byte {
			return [][]byte{p.whole(frame.OpText, big)}
		}, "", "101 bytes is over the limit of 100 bytes (Options.ReadLimit)"},
		{"one over in fragments", Options{ReadLimit: 100}, func(p *peer) [][]byte {
			return [][]byte{p.frame(false, frame.OpText, big[:60]), p.frame(true, frame.OpContinuation, big[:41])}
		}, "", "101 bytes is over the limit of 100 bytes (Options.ReadLimit)"},
		{"announced only", Options{ReadLimit: 100}, func(p *peer) [][]byte {
			return [][]byte{frame.AppendHeader(nil, p.header(true, frame.OpBinary, 1<<62))}
		}, "", "4611686018427387904 bytes is over the limit of 100 bytes (Options.ReadLimit)"},
		{"announced only, by default", Options{}, func(p *peer) [][]byte {
			return [][]byte{frame.AppendHeader(nil, p.header(true, frame.OpBinary, 1<<20+1))}
		}, "", "1048577 bytes is over the limit of 1048576 bytes (Options.ReadLimit)"},
		{"many small over", Options{ReadLimit: 2}, func(p *peer) [][]byte {
			return [][]byte{p.frame(false, frame.OpText, "a"), p.frame(false, frame.OpContinuation, "b"),
				p.frame(false, frame.OpContinuation, ""), p.frame(true, frame.OpContinuation, "c")}
		}, "", "3 bytes is over the limit of 2 bytes (Options.ReadLimit)"},
		{"no limit", Options{ReadLimit: -1}, func(p *peer) [][]byte {
			return [][]byte{p.whole(frame.OpText, strings.Repeat("x", 1<<20+1))}
		}, strings.Repeat("x", 1<<20+1), ""},
		{"fragments exact", Options{FragmentLimit: 3}, func(p *peer) [][]byte {
			return [][]byte{p.frame(false, frame.OpText, "a"), p.frame(false, frame.OpContinuation, ""), p.frame(true, frame.OpContinuation, "b")}
		}, "ab", ""},
		{"fragments one over", Options{FragmentLimit: 3}, func(p *peer) [][]byte {
			return [][]byte{p.frame(false, frame.OpText, "a"), p.frame(false, frame.OpContinuation, ""),
				p.frame(false, frame.OpContinuation, ""), p.frame(true, frame.OpContinuation, "")}
		}, "", "more than 3 fragments (Options.FragmentLimit)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
				c, p := newPeer(t, role, &tt.o)
				go p.nc.Write(bytes.Join(tt.frames(p), nil))
				if tt.text == "" {
					_, got, err := read(context.Background(), c)
					require.NoError(t, err)
					require.True(t, tt.want == got)
					return
				}
				done := start(func() (string, error) {
					_, got, err := read(context.Background(), c)
					return got, err
				})
				p.expectClose(frame.CloseMessageTooBig)
				p.nc.Close()
				err := (<-done).err
				require.ErrorIs(t, err, ErrMessageTooBig)
				require.ErrorContains(t, err, tt.text)
				pe, ok := errors.AsType[*frame.ProtocolError](err)
				require.True(t, ok)
				require.Equal(t, frame.CloseMessageTooBig, pe.Code)
				require.Equal(t, err, context.Cause(c.Context()))
			})
		})
	}
}

// What a peer announces costs nothing: memory grows with the bytes that come, or
// came in the message before.
func TestReadLimitMemory(t *testing.T) {
	eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
		c, p := newPeer(t, role, &Options{ReadLimit: 1 << 40})
		p.write(p.whole(frame.OpBinary, letters(50_000)))
		_, got, err := read(t.Context(), c)
		require.NoError(t, err)
		require.Len(t, got, 50_000)
		p.write(frame.AppendHeader(nil, p.header(true, frame.OpBinary, 1<<40)), []byte(letters(5000)))
		ctx, cancel := context.WithCancel(t.Context())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		done := start(func() (string, error) {
			_, got, err := read(ctx, c)
			return got, err
		})
		synctest.Wait()
		runtime.ReadMemStats(&after)
		cancel()
		require.ErrorIs(t, (<-done).err, context.Canceled)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	})
}

// A message as long as the one before is collected in memory of its size at once.
func TestReadMemoryOnce(t *testing.T) {
	const size = 1 << 20
	c, s := Pipe(nil, nil)
	defer c.CloseNow()
	defer s.CloseNow()
	message := make([]byte, size)
	var allocated [3]uint64
	for i := range allocated {
		sent := startErr(func() error { return c.Write(t.Context(), Binary, message) })
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, got, err := s.Read(t.Context())
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		require.Equal(t, message, got)
		require.NoError(t, (<-sent).err)
		allocated[i] = after.TotalAlloc - before.TotalAlloc
	}
	require.Less(t, min(allocated[1], allocated[2]), uint64(size*5/4), "in all: %v", allocated)
}

// Text is refused at its first impossible byte, though neither frame nor
// message is over. (RFC 6455, section 8.1)
func TestReadTextNotUTF8(t *testing.T) {
	tests := []struct {
		name string
		wire func(p *peer) []byte
	}{
		{"in a whole message", func(p *peer) []byte { return p.whole(frame.OpText, "a\xff") }},
		{"inside an unfinished frame", func(p *peer) []byte {
			f := p.whole(frame.OpText, "abc\xff"+letters(1000))
			return f[:len(f)-1000]
		}},
		{"inside an unfinished large frame", func(p *peer) []byte {
			f := p.whole(frame.OpText, letters(30000)+"\xff"+letters(40000))
			return f[:len(f)-40000]
		}},
		{"a surrogate's second byte", func(p *peer) []byte {
			f := p.whole(frame.OpText, "\xed\xa0\x80")
			return f[:len(f)-1]
		}},
		{"in an unfinished message", func(p *peer) []byte { return p.frame(false, frame.OpText, "a\xff") }},
		{"across fragments", func(p *peer) []byte {
			return append(p.frame(false, frame.OpText, "\xe2\x82"), p.frame(false, frame.OpContinuation, "a")...)
		}},
		{"ends inside a character", func(p *peer) []byte { return p.whole(frame.OpText, "a\xe2\x82") }},
		{"ends inside a character, in an empty fragment", func(p *peer) []byte {
			return append(p.frame(false, frame.OpText, "\xe2\x82"), p.frame(true, frame.OpContinuation, "")...)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
				c, p := newPeer(t, role, nil)
				go p.nc.Write(tt.wire(p))
				done := start(func() (string, error) {
					_, got, err := read(context.Background(), c)
					return got, err
				})
				p.expectClose(frame.CloseInvalidPayload)
				p.nc.Close()
				err := (<-done).err
				require.ErrorIs(t, err, frame.ErrText)
				_, _, again := c.Read(context.Background())
				require.Equal(t, err, again)
			})
		})
	}
}

// Binary messages are not looked at.
func TestReadBinaryAnyBytes(t *testing.T) {
	eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
		c, p := newPeer(t, role, nil)
		p.send(frame.OpBinary, "\xff\x00\xfe")
		mt, got, err := read(context.Background(), c)
		require.NoError(t, err)
		require.Equal(t, Binary, mt)
		require.Equal(t, "\xff\x00\xfe", got)
	})
}

// The caller owns what Read returned: nothing that comes later is written there.
func TestReadOwnership(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		var want []string
		var got [][]byte
		for i, n := range []int{1, 10, 500, 5000, 70000, 10, 0, 200} {
			want = append(want, strings.Repeat(string(rune('a'+i)), n))
		}
		go func() {
			var wire []byte
			for _, m := range want {
				wire = append(wire, p.whole(frame.OpText, m)...)
			}
			p.nc.Write(wire)
		}()
		for range want {
			_, q, err := c.Read(context.Background())
			require.NoError(t, err)
			got = append(got, q)
		}
		for i := range want {
			assert.True(t, want[i] == string(got[i]), "message %d", i)
			// Appending must not reach another message either.
			_ = append(got[i], "overwritten"...)
		}
		for i := range want {
			assert.True(t, want[i] == string(got[i]), "message %d", i)
		}
	})
}

func TestReadInto(t *testing.T) {
	tests := []struct {
		name   string
		size   int
		cap    int
		shared bool // the message stands in the caller's memory
	}{
		{"larger", 10, 100, true},
		{"exact", 100, 100, true},
		{"too small", 100, 99, false},
		{"none", 100, 0, false},
		{"large message", 300000, 300000, true},
		{"large message, too small", 300000, 299999, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				want := letters(tt.size)
				go p.nc.Write(p.whole(frame.OpText, want))
				buf := make([]byte, tt.cap/2, tt.cap)
				_, got, err := c.ReadInto(context.Background(), buf)
				require.NoError(t, err)
				require.True(t, want == string(got))
				require.Equal(t, tt.shared, cap(buf) > 0 && &got[0] == &buf[:1][0])
			})
		})
	}
}

// Messages' loop ends without an error after a clean end, and with it after any
// other.
func TestMessagesEnd(t *testing.T) {
	for _, tt := range []struct {
		code   frame.CloseCode
		silent bool
	}{
		{frame.CloseNormal, true},
		{frame.CloseGoingAway, true},
		{frame.CloseNoStatus, true},
		{frame.CloseProtocolError, false},
		{frame.CloseInternalError, false},
		{frame.CloseServiceRestart, false},
		{3000, false},
		{4999, false},
	} {
		t.Run(tt.code.String(), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				p.write(p.whole(frame.OpText, "last"), p.close(tt.code, ""))
				p.nc.(*stream).CloseWrite()
				var got []string
				var last error
				for m, err := range c.Messages(t.Context()) {
					require.NoError(t, last, "nothing comes after an error")
					got, last = append(got, string(m.Data)), err
				}
				if tt.silent {
					require.Equal(t, []string{"last"}, got)
					require.NoError(t, last)
					return
				}
				require.Equal(t, []string{"last", ""}, got)
				ce, ok := errors.AsType[*CloseError](last)
				require.True(t, ok)
				require.Equal(t, tt.code, ce.Code)
			})
		})
	}
	bubble(t, "EOF", func(t *testing.T) {
		c, p := newPeer(t, frame.Server, nil)
		p.nc.Close()
		var last error
		for _, err := range c.Messages(t.Context()) {
			last = err
		}
		require.ErrorIs(t, last, io.ErrUnexpectedEOF)
	})
	bubble(t, "context", func(t *testing.T) {
		c, p := newPeer(t, frame.Server, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		var errs []error
		for _, err := range c.Messages(ctx) {
			errs = append(errs, err)
		}
		require.Equal(t, []error{context.Canceled}, errs)
		p.send(frame.OpText, "more")
		for m, err := range c.Messages(t.Context()) {
			require.NoError(t, err)
			require.Equal(t, "more", string(m.Data))
			break
		}
	})
	bubble(t, "ours", func(t *testing.T) {
		c, p := newPeer(t, frame.Server, nil)
		done := startErr(func() error {
			for _, err := range c.Messages(t.Context()) {
				return err
			}
			return nil
		})
		synctest.Wait()
		closed := startErr(func() error { return c.Close(frame.CloseNormal, "") })
		p.expectClose(frame.CloseNormal)
		p.write(p.close(frame.CloseNormal, ""))
		require.NoError(t, (<-done).err)
		require.NoError(t, (<-closed).err)
	})
}

// Messages uses its memory again: what it yielded last stays until the next
// iteration, whatever its size.
func TestMessagesMemory(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		sizes := []int{10, 5000, 10, 100000, 10, 70000, 0, 4096, 300000, 1}
		go func() {
			for _, n := range sizes {
				p.nc.Write(p.frame(false, frame.OpText, letters(n)))
				p.nc.Write(p.frame(true, frame.OpContinuation, "end"))
			}
			p.nc.Write(p.close(1000, ""))
			p.nc.(*stream).CloseWrite()
		}()
		i := 0
		for m, err := range c.Messages(t.Context()) {
			require.NoError(t, err)
			synctest.Wait() // everything comes that can
			require.NoError(t, c.Write(t.Context(), Text, []byte("x")))
			require.True(t, letters(sizes[i])+"end" == string(m.Data), "message %d", i)
			i++
		}
		require.Len(t, sizes, i)
	})
}

func TestReaderSkipsTheRest(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		go p.nc.Write(bytes.Join([][]byte{
			p.frame(false, frame.OpText, "ab"+letters(80000)), p.whole(frame.OpPing, "p"), p.frame(true, frame.OpContinuation, letters(5000)),
			p.whole(frame.OpBinary, "second"),
			p.whole(frame.OpText, "third"),
			p.whole(frame.OpText, "fourth"),
		}, nil))
		ctx := t.Context()
		mt, first, err := c.Reader(ctx)
		require.NoError(t, err)
		require.Equal(t, Text, mt)
		b := make([]byte, 2)
		_, err = io.ReadFull(first, b)
		require.NoError(t, err)
		require.Equal(t, "ab", string(b))

		mt, second, err := c.Reader(ctx)
		require.NoError(t, err)
		require.Equal(t, Binary, mt)
		_, err = first.Read(b)
		require.Equal(t, errStaleReader, err)
		n, err := second.Read(nil)
		require.NoError(t, err)
		require.Zero(t, n)

		_, got, err := c.Read(ctx) // skips all of the second
		require.NoError(t, err)
		require.Equal(t, "third", string(got))
		_, err = second.Read(b)
		require.Equal(t, errStaleReader, err)

		_, fourth, err := c.Reader(ctx)
		require.NoError(t, err)
		got, err = io.ReadAll(fourth)
		require.NoError(t, err)
		require.Equal(t, "fourth", string(got))
		_, err = fourth.Read(b)
		require.Equal(t, io.EOF, err, "a reader that was read out stays so")
	})
}

// Once another read has begun to skip its message, a Reader is over, even if
// that read was interrupted.
func TestReaderStaleAfterInterruptedSkip(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		p.write(p.frame(false, frame.OpText, "one"))
		_, r, err := c.Reader(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err = c.Read(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		p.write(p.frame(true, frame.OpContinuation, "two"), p.whole(frame.OpText, "next"))
		n, err := r.Read(make([]byte, 10))
		require.Zero(t, n, "the bytes between were skipped")
		require.Equal(t, errStaleReader, err)
		_, got, err := c.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, "next", string(got))
	})
}

// The errors of a broken message come out of the Reader, and stay.
func TestReaderError(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		p.write(p.frame(false, frame.OpText, "abc"), p.whole(frame.OpText, "def"))
		_, r, err := c.Reader(t.Context())
		require.NoError(t, err)
		p.nc.(*stream).CloseWrite()
		got, err := io.ReadAll(r)
		require.Equal(t, "abc", string(got))
		require.ErrorIs(t, err, frame.ErrInterleaved)
		_, again := r.Read(make([]byte, 1))
		require.Equal(t, err, again)
		_, _, again = c.Reader(t.Context())
		require.Equal(t, err, again)
		p.expectClose(frame.CloseProtocolError)
	})
}

func TestConcurrentRead(t *testing.T) {
	eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
		c, p := newPeer(t, role, nil)
		first := startRead(t.Context(), c)
		synctest.Wait()
		_, _, err := read(t.Context(), c)
		require.ErrorIs(t, err, ErrConcurrentRead)
		p.send(frame.OpText, "for the first")
		r := <-first
		require.NoError(t, r.err)
		require.Equal(t, "for the first", r.text)
	})
}

// interruption is a message and the places in its bytes where a context ends.
type interruption struct {
	name  string
	want  string
	wire  []byte
	pause []int
}

func interruptions(p *peer) []interruption {
	small, large := letters(300), letters(80000)
	whole := p.whole(frame.OpText, small)
	ping := p.whole(frame.OpPing, "ping")
	first := p.frame(false, frame.OpText, "abc")
	fragments := append(first, p.frame(true, frame.OpContinuation, "def")...)
	return []interruption{
		{"while waiting", small, whole, []int{0}},
		{"in the header", small, whole, []int{1, 2, 3}},
		{"in the payload", small, whole, []int{10, 100, len(whole) - 1}},
		{"in a large payload", large, p.whole(frame.OpText, large), []int{20, 5000, 70000, 80000}},
		{"between fragments", "abcdef", fragments, []int{len(first), len(first) + 1}},
		{"in a fragment", "abcdef", fragments, []int{len(first) - 1, len(fragments) - 1}},
		{"in a control frame", small, append(ping, whole...), []int{1, 5, len(ping), len(ping) + 1}},
	}
}

// A context that ends ends the call alone: the next call goes on where it
// stopped, whichever way it reads.
func TestReadContext(t *testing.T) {
	eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
		c, p := newPeer(t, role, nil)
		for _, tt := range interruptions(p) {
			for _, how := range []string{"cancelled", "deadline"} {
				at := 0
				for _, pause := range tt.pause {
					p.write(tt.wire[at:pause])
					at = pause
					var want error
					ctx, cancel := context.WithCancel(t.Context())
					if how == "deadline" {
						ctx, cancel = context.WithTimeout(t.Context(), time.Second)
						want = context.DeadlineExceeded
					} else {
						time.AfterFunc(time.Second, cancel)
						want = context.Canceled
					}
					before := time.Now()
					// The Reader of a message that has begun cannot be had again
					// without its beginning, so the interrupted calls are Read's.
					_, _, err := c.Read(ctx)
					require.Equal(t, want, err, tt.name)
					require.Equal(t, time.Second, time.Since(before))
					// It goes on being of no use.
					_, _, err = c.Read(ctx)
					require.Equal(t, want, err, tt.name)
					cancel()
				}
				go p.nc.Write(tt.wire[at:])
				_, got, err := read(t.Context(), c)
				require.NoError(t, err, tt.name)
				require.True(t, tt.want == got, "%s: %.20q", tt.name, got)
			}
		}
		require.NoError(t, c.sticky())
	})
}

// The same for every way to be interrupted, and to go on with another.
func TestReadContextMixed(t *testing.T) {
	ways := readers[:3]
	for _, a := range ways {
		for _, b := range ways {
			t.Run(a.name+" then "+b.name, func(t *testing.T) {
				bothRoles(t, func(t *testing.T, role frame.Role) {
					c, p := newPeer(t, role, nil)
					for _, n := range []int{200, 5000, 80000} {
						wire := append(p.frame(false, frame.OpText, letters(n)), p.frame(true, frame.OpContinuation, letters(n))...)
						for i, pause := range []int{n / 2, n + 3, n + n/2} {
							from := []int{0, n / 2, n + 3}[i]
							go p.nc.Write(wire[from:pause])
							ctx, cancel := context.WithTimeout(t.Context(), time.Second)
							_, _, err := a.read(ctx, c)
							cancel()
							require.Equal(t, context.DeadlineExceeded, err)
						}
						go p.nc.Write(wire[n+n/2:])
						_, got, err := b.read(t.Context(), c)
						require.NoError(t, err)
						require.True(t, letters(n)+letters(n) == got)
					}
				})
			})
		}
	}
}

// A Reader's context ends a read of it, and a Reader after that goes on at the
// byte where the last one stopped.
func TestReaderContext(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		f := p.whole(frame.OpText, "abcdef")
		p.write(f[:len(f)-3])
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, r, err := c.Reader(ctx)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.Equal(t, context.DeadlineExceeded, err)
		require.Equal(t, "abc", string(got))
		require.NoError(t, c.sticky())
	})
	bubble(t, "waiting for the message", func(t *testing.T) {
		c, p := newPeer(t, frame.Server, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := c.Reader(ctx)
		require.Equal(t, context.DeadlineExceeded, err)
		p.send(frame.OpText, "abc")
		_, r, err := c.Reader(t.Context())
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, "abc", string(got))
	})
}

// A message whose bytes come one by one, read under contexts that end at random
// moments, comes whole and once.
func TestReadContextRandom(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		rnd := rand.New(rand.NewPCG(1, uint64(role)))
		var want []string
		var wire []byte
		for i := range 200 {
			m := fmt.Sprintf("%d %s", i, letters(rnd.IntN(300)))
			want = append(want, m)
			cut := rnd.IntN(len(m))
			switch rnd.IntN(3) {
			case 0:
				wire = append(wire, p.whole(frame.OpBinary, m)...)
			case 1:
				wire = append(wire, p.frame(false, frame.OpBinary, m[:cut])...)
				wire = append(wire, p.frame(true, frame.OpContinuation, m[cut:])...)
			case 2:
				wire = append(wire, p.whole(frame.OpPing, m[:min(cut, 100)])...)
				wire = append(wire, p.whole(frame.OpBinary, m)...)
			}
		}
		dribble := func() error {
			rnd := rand.New(rand.NewPCG(2, uint64(role)))
			for len(wire) > 0 {
				n := min(1+rnd.IntN(20), len(wire))
				if _, err := p.nc.Write(wire[:n]); err != nil {
					return err
				}
				wire = wire[n:]
				<-time.After(time.Duration(rnd.IntN(3)) * time.Millisecond)
			}
			return nil
		}
		sent := startErr(dribble)
		go io.Copy(io.Discard, p.nc) // the Pongs
		var got []string
		interrupted := 0
		for len(got) < len(want) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(20))*time.Millisecond)
			_, m, err := readers[rnd.IntN(3)].read(ctx, c)
			cancel()
			if err != nil {
				require.Equal(t, context.DeadlineExceeded, err)
				interrupted++
				continue
			}
			got = append(got, m)
		}
		require.Equal(t, want, got)
		require.Greater(t, interrupted, 100)
		require.NoError(t, (<-sent).err)
	})
}

// A context that ends at the very moment when a message comes takes nothing
// away: either the message is returned, or the next read has it.
func TestReadContextRace(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		lost, hit := 0, 0
		for i := range 2000 {
			ctx, cancel := context.WithCancel(t.Context())
			done := startRead(ctx, c)
			if i%2 == 0 {
				synctest.Wait()
			}
			go cancel()
			want := fmt.Sprint(i)
			p.send(frame.OpText, want)
			r := <-done
			if r.err != nil {
				require.Equal(t, context.Canceled, r.err)
				lost++
				r = <-startRead(t.Context(), c)
			} else {
				hit++
			}
			require.NoError(t, r.err)
			require.Equal(t, want, r.text)
		}
		t.Logf("%d cancelled, %d read", lost, hit)
	})
}

// A context that has ended before the call interrupts it as well, as soon as it
// would have to wait; what has come already is not kept back.
func TestReadContextEnded(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 3 {
			_, _, err := c.Read(ctx)
			require.Equal(t, context.Canceled, err)
		}
		p.send(frame.OpText, "a")
		_, got, err := c.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, "a", string(got))
	})
}

// The connection's own context, and one that cannot end, need no watching.
func TestReadOwnContext(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		p.send(frame.OpText, "a")
		_, got, err := c.Read(c.Context())
		require.NoError(t, err)
		require.Equal(t, "a", string(got))
		done := startRead(c.Context(), c)
		synctest.Wait()
		require.NoError(t, c.CloseNow())
		require.Equal(t, errCloseNow, (<-done).err)
	})
}

// On a transport without deadlines, a context that ends while a read is blocked
// ends the connection.
func TestReadContextWithoutDeadlines(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		ours, theirs := streamPair()
		c, _ := peerOver(t, struct{ io.ReadWriteCloser }{ours}, theirs, role, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := c.Read(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, _, again := c.Read(t.Context())
		require.Equal(t, err, again)
	})
}
