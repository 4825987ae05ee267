package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

var _ net.Conn = (*stream)(nil)

// startRead reads once from a stream in a goroutine.
func (s *stream) startRead(n int) <-chan result {
	return start(func() (string, error) {
		b := make([]byte, n)
		n, err := s.Read(b)
		return string(b[:n]), err
	})
}

func (s *stream) startWrite(p string) <-chan result {
	return start(func() (string, error) {
		n, err := s.Write([]byte(p))
		return p[:n], err
	})
}

// eachEnd runs f in a bubble for either end of a stream.
func eachEnd(t *testing.T, f func(t *testing.T, a, b *stream)) {
	bubble(t, "client", func(t *testing.T) {
		a, b := streamPair()
		f(t, a, b)
		a.Close()
		b.Close()
	})
	bubble(t, "server", func(t *testing.T) {
		b, a := streamPair()
		f(t, a, b)
		a.Close()
		b.Close()
	})
}

func TestStreamBytes(t *testing.T) {
	eachEnd(t, func(t *testing.T, a, b *stream) {
		want := make([]byte, 1<<20)
		for i := range want {
			want[i] = byte(rand.Int())
		}
		sent := startErr(func() error {
			for rest := want; len(rest) > 0; {
				n := min(1+rand.IntN(100000), len(rest))
				if k, err := a.Write(rest[:n]); err != nil || k != n {
					return errors.Join(err, io.ErrShortWrite)
				}
				rest = rest[n:]
			}
			return a.CloseWrite()
		})
		var got []byte
		for {
			p := make([]byte, rand.IntN(100000))
			n, err := b.Read(p)
			got = append(got, p[:n]...)
			if err != nil {
				require.Equal(t, io.EOF, err)
				break
			}
		}
		require.True(t, bytes.Equal(want, got))
		require.NoError(t, (<-sent).err)
		// The other direction is open.
		_, err := b.Write([]byte("answer"))
		require.NoError(t, err)
		require.Equal(t, "answer", (<-a.startRead(100)).text)
		_, err = a.Write([]byte("x"))
		require.Equal(t, net.ErrClosed, err)
	})
}

func TestStreamEmpty(t *testing.T) {
	eachEnd(t, func(t *testing.T, a, b *stream) {
		n, err := a.Read(nil)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = a.Write(nil)
		require.NoError(t, err)
		require.Zero(t, n)
		b.Close()
		n, err = a.Read(nil)
		require.Equal(t, io.EOF, err)
		require.Zero(t, n)
	})
}

// A direction holds streamBytes; then writes wait.
func TestStreamBackPressure(t *testing.T) {
	eachEnd(t, func(t *testing.T, a, b *stream) {
		require.NoError(t, (<-a.startWrite(letters(streamBytes))).err)
		write := a.startWrite("more")
		require.True(t, pending(write))
		require.NoError(t, (<-b.startWrite("the other way")).err)
		require.Equal(t, "abc", (<-b.startRead(3)).text)
		require.True(t, pending(write), "only three bytes fit")
		require.Equal(t, "d", (<-b.startRead(1)).text)
		require.NoError(t, (<-write).err)
	})
}

func TestStreamClose(t *testing.T) {
	eachEnd(t, func(t *testing.T, a, b *stream) {
		require.NoError(t, (<-a.startWrite("last words")).err)
		require.NoError(t, (<-b.startWrite("never read")).err)
		require.NoError(t, a.Close())
		require.NoError(t, a.Close())
		_, err := a.Read(make([]byte, 1))
		require.Equal(t, net.ErrClosed, err)
		_, err = a.Write(make([]byte, 1))
		require.Equal(t, net.ErrClosed, err)
		_, err = b.Write(make([]byte, 1))
		require.Equal(t, io.ErrClosedPipe, err)
		require.Equal(t, "last words", (<-b.startRead(100)).text)
		_, err = b.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	})
	blocked := []struct {
		name  string
		close func(a, b *stream) error
		read  error // of a
		write error
	}{
		{"ours", func(a, b *stream) error { return a.Close() }, net.ErrClosed, net.ErrClosed},
		{"theirs", func(a, b *stream) error { return b.Close() }, io.EOF, io.ErrClosedPipe},
	}
	for _, tt := range blocked {
		t.Run("releases, "+tt.name, func(t *testing.T) {
			eachEnd(t, func(t *testing.T, a, b *stream) {
				read, write := a.startRead(1), a.startWrite(letters(streamBytes+1))
				require.True(t, pending(read))
				require.True(t, pending(write))
				require.NoError(t, tt.close(a, b))
				require.Equal(t, tt.read, (<-read).err)
				r := <-write
				require.Equal(t, tt.write, r.err)
				require.Len(t, r.text, streamBytes)
			})
		})
	}
}

func TestStreamDeadlines(t *testing.T) {
	const s = time.Second
	eachEnd(t, func(t *testing.T, a, b *stream) {
		begin := time.Now()
		// In the future, for both directions.
		require.NoError(t, a.SetDeadline(begin.Add(s)))
		read, write := a.startRead(1), a.startWrite(letters(streamBytes+1))
		for _, r := range []result{<-read, <-write} {
			require.Equal(t, os.ErrDeadlineExceeded, r.err)
			require.Equal(t, begin.Add(s), r.at)
			var ne net.Error
			require.ErrorAs(t, r.err, &ne)
			require.True(t, ne.Timeout())
		}
		require.Equal(t, streamBytes, len((<-b.startRead(2 * streamBytes)).text), "what was taken counts")
		// It stays passed, also when there is something to read.
		require.NoError(t, (<-b.startWrite("late")).err)
		_, err := a.Read(make([]byte, 1))
		require.Equal(t, os.ErrDeadlineExceeded, err)
		_, err = a.Write(make([]byte, 1))
		require.Equal(t, os.ErrDeadlineExceeded, err)
		// Until it is taken away; nothing is lost.
		require.NoError(t, a.SetDeadline(time.Time{}))
		require.Equal(t, "late", (<-a.startRead(10)).text)
		require.NoError(t, (<-a.startWrite("x")).err)
		require.Equal(t, "x", (<-b.startRead(10)).text)
	})
	eachEnd(t, func(t *testing.T, a, b *stream) {
		// It may be moved while a call is blocked.
		begin := time.Now()
		read := a.startRead(1)
		require.NoError(t, a.SetReadDeadline(begin.Add(s)))
		<-time.After(s / 2)
		require.NoError(t, a.SetReadDeadline(begin.Add(3*s)))
		<-time.After(s)
		require.True(t, pending(read))
		require.NoError(t, a.SetReadDeadline(time.Time{}))
		<-time.After(10 * s)
		require.True(t, pending(read))
		require.NoError(t, a.SetReadDeadline(longAgo))
		require.Equal(t, os.ErrDeadlineExceeded, (<-read).err)
		// That of reading does not concern writing, nor the other end.
		require.NoError(t, (<-a.startWrite("x")).err)
		require.Equal(t, "x", (<-b.startRead(1)).text)
	})
	eachEnd(t, func(t *testing.T, a, b *stream) {
		write := a.startWrite(letters(streamBytes + 1))
		require.True(t, pending(write))
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(s)))
		r := <-write
		require.Equal(t, os.ErrDeadlineExceeded, r.err)
		require.Len(t, r.text, streamBytes)
		read := a.startRead(1)
		require.True(t, pending(read))
		require.NoError(t, a.Close())
		require.Equal(t, net.ErrClosed, (<-read).err)
	})
}

func TestStreamAddrs(t *testing.T) {
	a, b := streamPair()
	require.Equal(t, "client", a.LocalAddr().String())
	require.Equal(t, "server", a.RemoteAddr().String())
	require.Equal(t, a.RemoteAddr(), b.LocalAddr())
	require.Equal(t, a.LocalAddr(), b.RemoteAddr())
	require.Equal(t, "pipe", a.LocalAddr().Network())
}

// Any calls from any goroutines, for the race detector, leave nobody waiting.
func TestStreamConcurrent(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		for range 20 {
			a, b := streamPair()
			var wg sync.WaitGroup
			for _, s := range []*stream{a, b} {
				for range 3 {
					wg.Go(func() {
						p := make([]byte, 1000)
						for {
							if _, err := s.Read(p); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
								return
							}
						}
					})
					wg.Go(func() {
						p := make([]byte, 3000)
						for {
							if _, err := s.Write(p); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
								return
							}
						}
					})
				}
				wg.Go(func() {
					for i := range 100 {
						assert.NoError(t, s.SetDeadline(time.Now().Add(time.Duration(i%3-1)*time.Millisecond)))
						assert.NoError(t, s.SetDeadline(time.Time{}))
					}
					s.Close()
				})
			}
			wg.Wait()
		}
	})
}

// Both ends of a Pipe take their own options and know their role.
func TestPipe(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		client, server := Pipe(&Options{ReadLimit: 5}, &Options{ReadLimit: 6})
		require.Equal(t, frame.Client, client.Role())
		require.Equal(t, frame.Server, server.Role())
		require.Equal(t, client.LocalAddr(), server.RemoteAddr())
		require.Empty(t, client.Subprotocol())
		require.Nil(t, server.Request())
		go client.Write(context.Background(), Text, []byte("client"))
		_, got, err := server.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, "client", string(got))
		read := startRead(t.Context(), client)
		require.NoError(t, server.Write(t.Context(), Text, []byte("server")))
		_, _, err = server.Read(t.Context())
		ce, ok := errors.AsType[*CloseError](err)
		require.True(t, ok)
		require.Equal(t, frame.CloseMessageTooBig, ce.Code)
		require.ErrorIs(t, (<-read).err, ErrMessageTooBig)
		synctest.Wait()
	})
}
