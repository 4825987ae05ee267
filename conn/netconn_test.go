package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/handshake"
)

// streamEnds are both ends of a stream under test.
type streamEnds struct {
	a, b net.Conn
	fake bool // in a bubble
}

// streamWays are the connections that a stream is tried on.
var streamWays = []struct {
	name  string
	fake  bool         // in a bubble
	roles []frame.Role // of the end that is looked at
	open  func(t testing.TB) (client, server *Conn)
}{
	{"in memory", true, eitherRole, func(testing.TB) (client, server *Conn) { return Pipe(nil, nil) }},
	// These take long.
	{"compressed", true, eitherRole[:1], func(testing.TB) (client, server *Conn) { return compressedPipe(false) }},
	{"compressed with takeover", true, eitherRole[1:], func(testing.TB) (client, server *Conn) { return compressedPipe(true) }},
	{"TLS in memory", true, eitherRole, func(t testing.TB) (client, server *Conn) {
		a, b := streamPair()
		return over(overTLS(t, a, b))
	}},
	{"TCP", false, eitherRole, func(t testing.TB) (client, server *Conn) { return over(tcpPair(t)) }},
	{"TLS", false, eitherRole, func(t testing.TB) (client, server *Conn) {
		a, b := tcpPair(t)
		return over(overTLS(t, a, b))
	}},
}

var eitherRole = []frame.Role{frame.Client, frame.Server}

// over makes connections of both ends of a transport.
func over(client, server net.Conn) (c, s *Conn) {
	return New(client, frame.Client, nil, nil), New(server, frame.Server, nil, nil)
}

// compressedPipe returns both ends of a connection in memory that compresses.
func compressedPipe(takeover bool) (client, server *Conn) {
	o := &Options{Compression: &Compression{Takeover: takeover}}
	return Pipe(o, o)
}

// tcpPair returns both ends of a TCP connection.
func tcpPair(t testing.TB) (client, server net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err = ln.Accept()
	require.NoError(t, err)
	return client, server
}

// overTLS puts TLS on both ends.
func overTLS(t testing.TB, client, server net.Conn) (net.Conn, net.Conn) {
	c := tls.Client(client, trust(t))
	s := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	done := startErr(s.Handshake)
	require.NoError(t, c.Handshake())
	require.NoError(t, (<-done).err)
	return c, s
}

// everyStream runs f for every transport, with the client as a and with the
// server.
func everyStream(t *testing.T, f func(t *testing.T, e streamEnds)) {
	certificate(t)
	for _, way := range streamWays {
		for _, role := range way.roles {
			run := func(t *testing.T) {
				e := streamEnds{fake: way.fake}
				c, s := way.open(t)
				t.Cleanup(func() {
					c.CloseNow()
					s.CloseNow()
				})
				e.a, e.b = c.NetConn(Binary), s.NetConn(Binary)
				if role == frame.Server {
					e.a, e.b = e.b, e.a
				}
				f(t, e)
			}
			if name := way.name + "/" + role.String(); way.fake {
				bubble(t, name, run)
			} else {
				t.Run(name, run)
			}
		}
	}
}

// wait returns when everybody waits, if that can be known.
func (e *streamEnds) wait() {
	if e.fake {
		synctest.Wait()
	}
}

// randomBytes returns n bytes that are the same every time.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// pour writes random bytes until it cannot any more.
func pour(nc net.Conn) {
	b := randomBytes(1024)
	for {
		if _, err := nc.Write(b); err != nil {
			return
		}
	}
}

// checkTimeout checks that err is what a net.Conn returns when it ran out of
// time.
func checkTimeout(t testing.TB, err error) bool {
	ne, ok := err.(net.Error)
	return assert.ErrorIs(t, err, os.ErrDeadlineExceeded) &&
		assert.True(t, ok, "%T", err) && assert.True(t, ne.Timeout())
}

// roundTrip sends bytes to the end that echoes, and reads them back, and nothing
// before them.
func roundTrip(t testing.TB, nc net.Conn) {
	t.Helper()
	want := randomBytes(8 << 10)
	written := startErr(func() error { _, err := nc.Write(want); return err })
	got := make([]byte, len(want))
	_, err := io.ReadFull(nc, got)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	require.NoError(t, (<-written).err)
}

// Several MiB go there and back, in pieces of every kind, and a Close ends the
// stream.
func TestNetConnBasicIO(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		want := randomBytes(3<<20 + 1)
		echoed := startErr(func() error { _, err := io.Copy(e.b, e.b); return err })
		written := startErr(func() error {
			rest := want
			for _, size := range []int{0, 1, 1023, 64, 4096, 100000, 1, 1 << 20, 0, 7} {
				n, err := e.a.Write(rest[:size])
				if err != nil || n != size {
					return fmt.Errorf("%d bytes of %d: %v", n, size, err)
				}
				rest = rest[size:]
			}
			n, err := io.Copy(e.a, bytes.NewReader(rest))
			if n != int64(len(rest)) {
				err = fmt.Errorf("%d bytes of %d: %v", n, len(rest), err)
			}
			return err
		})
		got := make([]byte, len(want))
		_, err := io.ReadFull(e.a, got)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
		require.NoError(t, (<-written).err)

		require.NoError(t, e.a.Close())
		require.NoError(t, (<-echoed).err)
		n, err := e.b.Read(make([]byte, 1))
		require.Zero(t, n)
		require.Equal(t, io.EOF, err)
	})
}

func TestNetConnPingPong(t *testing.T) {
	const rounds = 500
	everyStream(t, func(t *testing.T, e streamEnds) {
		play := func(nc net.Conn) error {
			b := make([]byte, 8)
			for {
				if _, err := io.ReadFull(nc, b); err != nil {
					return err
				}
				n := binary.LittleEndian.Uint64(b)
				if n == rounds {
					return nil
				}
				binary.LittleEndian.PutUint64(b, n+1)
				if _, err := nc.Write(b); err != nil {
					return err
				}
				if n+1 == rounds {
					return nil
				}
			}
		}
		other := startErr(func() error { return play(e.b) })
		_, err := e.a.Write(make([]byte, 8))
		require.NoError(t, err)
		require.NoError(t, play(e.a))
		require.NoError(t, (<-other).err)
	})
}

// Reads that race with each other and with deadlines keep off each other's
// memory.
func TestNetConnRacyRead(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		go pour(e.b)
		e.a.SetReadDeadline(time.Now().Add(time.Millisecond))
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				mine, other := make([]byte, 1024), make([]byte, 1024)
				for range 100 {
					n, err := e.a.Read(mine)
					copy(mine, other)
					if err != nil {
						checkTimeout(t, err)
						e.a.SetReadDeadline(time.Now().Add(time.Millisecond))
					} else {
						assert.Positive(t, n)
					}
				}
			})
		}
		wg.Wait()
	})
}

// Writes that race with each other and with deadlines are whole or not there at
// all, whatever is done with their memory afterwards.
func TestNetConnRacyWrite(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		const size, others = 1024, 0xff
		received := make(chan [256]int, 1)
		go func() {
			var counts [256]int
			b := make([]byte, size)
			for {
				if _, err := io.ReadFull(e.b, b); err != nil {
					assert.Equal(t, io.EOF, err)
					received <- counts
					return
				}
				assert.Equal(t, size, bytes.Count(b, b[:1]), "a torn message")
				counts[b[0]]++
			}
		}()
		e.a.SetWriteDeadline(time.Now().Add(time.Millisecond))
		var wg sync.WaitGroup
		var written [256]int
		for w := range 10 {
			wg.Go(func() {
				mine := make([]byte, size)
				for range 100 {
					copy(mine, bytes.Repeat([]byte{byte(w)}, size))
					n, err := e.a.Write(mine)
					copy(mine, bytes.Repeat([]byte{others}, size))
					if err != nil {
						checkTimeout(t, err)
						e.a.SetWriteDeadline(time.Now().Add(time.Millisecond))
					}
					switch n {
					case size:
						written[w]++
					case 0:
						assert.Error(t, err)
					default:
						assert.Fail(t, "a part of a message", "%d bytes", n)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, e.a.SetWriteDeadline(time.Time{}))
		require.NoError(t, e.a.Close())
		require.Equal(t, written, <-received)
	})
}

func TestNetConnReadTimeout(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		go io.Copy(io.Discard, e.b)
		require.NoError(t, e.a.SetReadDeadline(longAgo))
		_, err := e.a.Read(make([]byte, 1024))
		checkTimeout(t, err)
		_, err = e.a.Write(make([]byte, 1024))
		require.NoError(t, err)
	})
}

func TestNetConnWriteTimeout(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		go pour(e.b)
		require.NoError(t, e.a.SetWriteDeadline(longAgo))
		n, err := e.a.Write(make([]byte, 1024))
		require.Zero(t, n)
		checkTimeout(t, err)
		_, err = e.a.Read(make([]byte, 1024))
		require.NoError(t, err)
	})
}

func TestNetConnPastTimeout(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		go io.Copy(e.b, e.b)
		roundTrip(t, e.a)
		require.NoError(t, e.a.SetDeadline(longAgo))
		n, err := e.a.Write(make([]byte, 1024))
		require.Zero(t, n)
		checkTimeout(t, err)
		n, err = e.a.Read(make([]byte, 1024))
		require.Zero(t, n)
		checkTimeout(t, err)
		require.NoError(t, e.a.SetDeadline(time.Time{}))
		roundTrip(t, e.a)
	})
}

// A deadline in the past ends calls that are under way.
func TestNetConnPresentTimeout(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		read := startErr(func() error { _, err := e.a.Read(make([]byte, 1024)); return err })
		written := startErr(func() error {
			for {
				if _, err := e.a.Write(make([]byte, 1024)); err != nil {
					return err
				}
			}
		})
		e.wait()
		require.NoError(t, e.a.SetReadDeadline(longAgo))
		checkTimeout(t, (<-read).err)
		e.wait()
		require.NoError(t, e.a.SetWriteDeadline(longAgo))
		checkTimeout(t, (<-written).err)
	})
}

// After calls that ran out of time the stream goes on where it was: what Write
// said was taken arrives, and nothing else.
func TestNetConnFutureTimeout(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		require.NoError(t, e.a.SetDeadline(time.Now().Add(100*time.Millisecond)))
		read := startErr(func() error { _, err := e.a.Read(make([]byte, 1024)); return err })
		source := randomBytes(1 << 20)
		var sent bytes.Buffer
		for i := 0; ; i++ {
			p := source[i%1000*1000:][:30000+i%7]
			own := bytes.Clone(p)
			n, err := e.a.Write(own)
			clear(own)
			sent.Write(p[:n])
			if err != nil {
				checkTimeout(t, err)
				break
			}
		}
		checkTimeout(t, (<-read).err)

		go io.Copy(e.b, e.b)
		require.NoError(t, e.a.SetDeadline(time.Time{}))
		last := startErr(func() error { _, err := io.WriteString(e.a, "the end"); return err })
		got := make([]byte, sent.Len()+len("the end"))
		_, err := io.ReadFull(e.a, got)
		require.NoError(t, err)
		require.True(t, bytes.Equal(append(sent.Bytes(), "the end"...), got))
		require.NoError(t, (<-last).err)
		roundTrip(t, e.a)
	})
}

// Close ends calls that are under way.
func TestNetConnCloseTimeout(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		go io.Copy(e.b, e.b)
		read := startErr(func() error {
			for b := make([]byte, 1024); ; {
				if _, err := e.a.Read(b); err != nil {
					return err
				}
			}
		})
		written := startErr(func() error {
			for b := make([]byte, 1024); ; {
				if _, err := e.a.Write(b); err != nil {
					return err
				}
			}
		})
		require.NoError(t, e.a.Close())
		for _, done := range []<-chan result{read, written} {
			require.ErrorIs(t, (<-done).err, net.ErrClosed)
		}
	})
}

func TestNetConnConcurrentMethods(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		go io.Copy(e.b, e.b)
		soon := func() time.Time { return time.Now().Add(10 * time.Millisecond) }
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { e.a.Read(make([]byte, 1024)) })
			wg.Go(func() { e.a.Write(make([]byte, 1024)) })
			wg.Go(func() { e.a.SetDeadline(soon()) })
			wg.Go(func() { e.a.SetReadDeadline(soon()) })
			wg.Go(func() { e.a.SetWriteDeadline(soon()) })
			wg.Go(func() { e.a.LocalAddr() })
			wg.Go(func() { e.a.RemoteAddr() })
		}
		wg.Wait()
	})
}

// netPeer returns a stream of binary messages in memory, and its peer.
func netPeer(t testing.TB, role frame.Role, o *Options) (net.Conn, *Conn, *peer) {
	c, p := newPeer(t, role, o)
	return c.NetConn(Binary), c, p
}

// startStream reads from the stream to its end in a goroutine.
func startStream(nc net.Conn) <-chan result {
	return start(func() (string, error) {
		b, err := io.ReadAll(nc)
		return string(b), err
	})
}

func TestNetConnType(t *testing.T) {
	for _, mt := range []MessageType{Text, Binary} {
		t.Run(mt.String(), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				nc := c.NetConn(mt)
				n, err := nc.Write([]byte("one"))
				require.NoError(t, err)
				require.Equal(t, 3, n)
				p.expect(frame.Opcode(mt), "one")
				p.write(p.frame(false, frame.Opcode(mt), "t"), p.whole(frame.OpPing, "in between"), p.frame(true, frame.OpContinuation, "wo"))
				b := make([]byte, 3)
				_, err = io.ReadFull(nc, b)
				require.NoError(t, err)
				require.Equal(t, "two", string(b))

				// The other type.
				read := startStream(nc)
				p.send(frame.OpText+frame.OpBinary-frame.Opcode(mt), "three")
				p.expect(frame.OpPong, "in between")
				require.Contains(t, p.expectClose(frame.CloseUnsupportedData), mt.String())
				p.write(p.close(frame.CloseUnsupportedData, ""))
				p.nc.(*stream).CloseWrite()
				r := <-read
				require.Empty(t, r.text)
				ce, ok := errors.AsType[*CloseError](r.err)
				require.True(t, ok, "%v", r.err)
				require.Equal(t, frame.CloseUnsupportedData, ce.Code)
				require.False(t, ce.Remote)
				_, err = nc.Write(nil)
				require.Equal(t, r.err, err)
			})
		})
	}
	bubble(t, "neither", func(t *testing.T) {
		c, _ := newPeer(t, frame.Client, nil)
		for _, deadline := range []time.Time{{}, time.Now().Add(time.Second)} {
			nc := c.NetConn(3)
			nc.SetWriteDeadline(deadline)
			_, err := nc.Write(nil)
			require.ErrorContains(t, err, "neither Text nor Binary")
		}
	})
}

// A Write that is longer than what peers let one message be, by default, is
// several messages, and characters stay whole.
func TestNetConnLongWrite(t *testing.T) {
	for _, set := range []bool{false, true} {
		t.Run(fmt.Sprint("deadline=", set), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				for _, text := range []string{letters(5 << 20), "x" + strings.Repeat("€", 100000), strings.Repeat("\U0001f600", 50000)} {
					c, p := newPeer(t, role, nil)
					nc := c.NetConn(Text)
					if set {
						nc.SetWriteDeadline(time.Now().Add(time.Minute))
					}
					written := startErr(func() error {
						n, err := io.WriteString(nc, text)
						assert.Equal(t, len(text), n)
						return err
					})
					var got strings.Builder
					for got.Len() < len(text) {
						h, payload, err := p.next()
						require.NoError(t, err)
						require.Equal(t, frame.OpText, h.Opcode)
						require.True(t, h.Fin)
						require.LessOrEqual(t, len(payload), streamMessage)
						require.Greater(t, len(payload), 0)
						got.WriteString(payload)
					}
					require.True(t, text == got.String())
					require.NoError(t, (<-written).err)
					require.True(t, p.quiet())
				}
			})
		})
	}
	bubble(t, "not UTF-8", func(t *testing.T) {
		c, p := newPeer(t, frame.Client, nil)
		nc := c.NetConn(Text)
		n, err := nc.Write(append(bytes.Repeat([]byte{'x'}, streamMessage), bytes.Repeat([]byte{0xff}, streamMessage)...))
		require.ErrorIs(t, err, frame.ErrText)
		require.Equal(t, streamMessage, n)
		p.expect(frame.OpText, strings.Repeat("x", streamMessage))
		require.True(t, p.quiet())
	})
}

// Writes of several goroutines do not mix, however long they are.
func TestNetConnWritesWhole(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		const writers, size = 8, 5*streamMessage + 3
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				n, err := e.a.Write(bytes.Repeat([]byte{byte(w)}, size))
				assert.NoError(t, err)
				assert.Equal(t, size, n)
			})
		}
		b := make([]byte, size)
		for range writers {
			_, err := io.ReadFull(e.b, b)
			require.NoError(t, err)
			require.Equal(t, size, bytes.Count(b, b[:1]))
		}
		wg.Wait()
	})
}

func TestNetConnEmptyMessages(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		nc, _, p := netPeer(t, role, nil)
		empty := p.whole(frame.OpBinary, "")
		pieces := bytes.Join([][]byte{p.frame(false, frame.OpBinary, ""), p.frame(false, frame.OpContinuation, ""), p.frame(true, frame.OpContinuation, "")}, nil)
		p.write(empty, empty, p.whole(frame.OpBinary, "a"), empty, pieces, p.whole(frame.OpBinary, "b"), pieces)
		for _, want := range []string{"a", "b"} {
			b := make([]byte, 10)
			n, err := nc.Read(b)
			require.NoError(t, err)
			require.Equal(t, want, string(b[:n]))
		}
		read := startStream(nc)
		require.True(t, pending(read))
		p.write(empty)
		require.True(t, pending(read))
		p.write(p.whole(frame.OpBinary, "c"), p.close(frame.CloseNormal, ""))
		p.expectClose(frame.CloseNormal)
		p.nc.(*stream).CloseWrite()
		r := <-read
		require.NoError(t, r.err)
		require.Equal(t, "c", r.text)

		// One is sent where one is asked for.
		nc, _, p = netPeer(t, role, nil)
		n, err := nc.Write(nil)
		require.NoError(t, err)
		require.Zero(t, n)
		p.expect(frame.OpBinary, "")
	})
}

// Reading nothing waits for nothing and takes nothing, also without time, as on
// a socket.
func TestNetConnEmptySlice(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		nc, _, p := netPeer(t, role, nil)
		read := func() (int, error) { return nc.Read(nil) }
		for range 3 {
			n, err := read()
			require.NoError(t, err)
			require.Zero(t, n)
		}
		p.write(p.whole(frame.OpBinary, "ab"), p.whole(frame.OpBinary, ""), p.whole(frame.OpBinary, "c"))
		for _, want := range []string{"a", "b", "c"} {
			n, err := read()
			require.NoError(t, err)
			require.Zero(t, n)
			b := make([]byte, 1)
			_, err = nc.Read(b)
			require.NoError(t, err)
			require.Equal(t, want, string(b))
		}
		nc.SetReadDeadline(longAgo)
		n, err := read()
		require.NoError(t, err)
		require.Zero(t, n)
		nc.SetReadDeadline(time.Time{})

		p.write(p.close(frame.CloseNormal, ""))
		p.nc.(*stream).CloseWrite()
		_, err = nc.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		_, err = read()
		require.Equal(t, io.EOF, err)
	})
}

// How the stream ends when the peer closes the connection.
func TestNetConnClosedByPeer(t *testing.T) {
	tests := []struct {
		name string
		code frame.CloseCode
		eof  bool
	}{
		{"1000", frame.CloseNormal, true},
		{"1001", frame.CloseGoingAway, true},
		{"no code", frame.CloseNoStatus, true},
		{"1002", frame.CloseProtocolError, false},
		{"1003", frame.CloseUnsupportedData, false},
		{"1011", frame.CloseInternalError, false},
		{"1012", frame.CloseServiceRestart, false},
		{"3000", 3000, false},
		{"4999", 4999, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				nc, _, p := netPeer(t, role, nil)
				reason := "why"
				if tt.code == frame.CloseNoStatus {
					reason = ""
				}
				p.write(p.whole(frame.OpBinary, "last"), p.close(tt.code, reason))
				p.nc.(*stream).CloseWrite()
				want := &CloseError{Code: tt.code, Reason: reason, Remote: true}
				got, err := io.ReadAll(nc)
				require.Equal(t, "last", string(got))
				if tt.eof {
					require.NoError(t, err)
					_, err = nc.Read(make([]byte, 1))
					require.Equal(t, io.EOF, err)
				} else {
					require.Equal(t, want, err)
				}
				// To a Write the end is never a matter of course.
				for _, deadline := range []time.Time{{}, time.Now().Add(time.Second), longAgo} {
					require.Equal(t, want, nc.SetDeadline(deadline))
					n, err := nc.Write([]byte("x"))
					require.Zero(t, n)
					require.Equal(t, want, err)
					_, err = io.Copy(nc, strings.NewReader("x"))
					require.Equal(t, want, err)
				}
				require.NoError(t, nc.Close())
			})
		})
	}
	t.Run("no Close frame", func(t *testing.T) {
		bothRoles(t, func(t *testing.T, role frame.Role) {
			nc, _, p := netPeer(t, role, nil)
			p.send(frame.OpBinary, "last")
			p.nc.Close()
			got, err := io.ReadAll(nc)
			require.Equal(t, "last", string(got))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.NotErrorIs(t, err, io.EOF)
		})
	})
	t.Run("inside a message", func(t *testing.T) {
		bothRoles(t, func(t *testing.T, role frame.Role) {
			nc, _, p := netPeer(t, role, nil)
			p.write(p.frame(false, frame.OpBinary, "first"), p.close(frame.CloseNormal, ""))
			p.nc.Close()
			got, err := io.ReadAll(nc)
			require.Equal(t, "first", string(got))
			require.NoError(t, err, "where a message ends means nothing to a stream")
		})
	})
}

// A Close of this end is no end of the stream: net.ErrClosed tells it from one.
func TestNetConnClosed(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		nc, _, p := netPeer(t, role, nil)
		read := startStream(nc)
		synctest.Wait()
		closed := startErr(nc.Close)
		p.expectClose(frame.CloseNormal)
		require.True(t, pending(read))
		p.send(frame.OpBinary, "on its way")
		p.write(p.close(frame.CloseNormal, ""))
		p.nc.(*stream).CloseWrite()
		require.NoError(t, (<-closed).err)
		want := &CloseError{Code: frame.CloseNormal}
		r := <-read
		require.Equal(t, "on its way", r.text)
		require.Equal(t, want, r.err)
		_, err := nc.Read(make([]byte, 1))
		require.Equal(t, want, err)
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = nc.Write([]byte("x"))
		require.Equal(t, want, err)
		require.Equal(t, want, nc.SetDeadline(time.Now().Add(time.Hour)))
		require.NoError(t, nc.Close(), "again")
	})
}

// Close unblocks a Read and a Write though the peer does nothing, in the time of
// the closing handshake.
func TestNetConnCloseUnblocks(t *testing.T) {
	for _, set := range []bool{false, true} {
		t.Run(fmt.Sprint("deadline=", set), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, _, _ := fullPeer(t, role, nil)
				nc := c.NetConn(Binary)
				if set {
					nc.SetDeadline(time.Now().Add(time.Hour))
				}
				calls := []<-chan result{
					start(func() (string, error) { n, err := nc.Read(make([]byte, 1)); return fmt.Sprint(n), err }),
					start(func() (string, error) { n, err := nc.Read(make([]byte, 1)); return fmt.Sprint(n), err }),
					start(func() (string, error) { n, err := nc.Write([]byte("x")); return fmt.Sprint(n), err }),
					start(func() (string, error) { n, err := nc.Write([]byte("x")); return fmt.Sprint(n), err }),
				}
				synctest.Wait()
				begin := time.Now()
				require.Equal(t, errCloseTimeout, nc.Close())
				require.Equal(t, 5*time.Second, time.Since(begin))
				for i, done := range calls {
					r := <-done
					require.Equal(t, "0", r.text)
					require.Equal(t, &CloseError{Code: frame.CloseNormal}, r.err, "call %d", i)
					require.Equal(t, begin.Add(5*time.Second), r.at)
				}
			})
		})
	}
}

// A deadline may be moved while calls are blocked, both ways.
func TestNetConnDeadlineMoved(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p, filling := fullPeer(t, role, &Options{WriteTimeout: -1, Keepalive: -1})
		nc := c.NetConn(Binary)
		begin := time.Now()
		at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
		nc.SetDeadline(at(10))
		read := start(func() (string, error) { _, err := nc.Read(make([]byte, 1)); return "", err })
		written := start(func() (string, error) { n, err := nc.Write([]byte("late")); return fmt.Sprint(n), err })
		synctest.Wait()

		nc.SetDeadline(at(20)) // later
		<-time.After(15 * time.Second)
		require.True(t, pending(read))
		require.True(t, pending(written))
		nc.SetDeadline(time.Time{}) // none
		<-time.After(10 * time.Second)
		require.True(t, pending(read))
		require.True(t, pending(written))
		nc.SetReadDeadline(at(100))
		nc.SetReadDeadline(at(30)) // earlier
		nc.SetWriteDeadline(at(40))
		r := <-read
		checkTimeout(t, r.err)
		require.Equal(t, at(30), r.at)
		require.True(t, pending(written), "the deadline of a Read only")
		r = <-written
		checkTimeout(t, r.err)
		require.Equal(t, "0", r.text)
		require.Equal(t, at(40), r.at)

		// In the past.
		nc.SetDeadline(at(1000))
		read = start(func() (string, error) { _, err := nc.Read(make([]byte, 1)); return "", err })
		require.True(t, pending(read))
		nc.SetReadDeadline(longAgo)
		r = <-read
		checkTimeout(t, r.err)
		require.Equal(t, at(40), r.at)

		// The connection goes on.
		nc.SetDeadline(time.Time{})
		p.expect(frame.OpBinary, filling)
		p.send(frame.OpBinary, "x")
		_, err := nc.Read(make([]byte, 1))
		require.NoError(t, err)
		_, err = nc.Write([]byte("y"))
		require.NoError(t, err)
		p.expect(frame.OpBinary, "y")
	})
}

// A Write that has begun is not taken back: it returns the whole length, and the
// peer gets all of it. One that has not is not sent.
func TestNetConnWriteCutOff(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		nc := c.NetConn(Binary)
		write := func(m string) <-chan result {
			return start(func() (string, error) {
				own := []byte(m)
				n, err := nc.Write(own)
				clear(own)
				return fmt.Sprint(n), err
			})
		}
		for i := range 10 {
			filler := letters(fillSize(role) - 1000)
			nc.SetWriteDeadline(time.Now().Add(time.Second))
			for m := range slices.Chunk([]byte(filler), streamMessage) {
				_, err := nc.Write(m)
				require.NoError(t, err)
			}
			// The first does not fit whole, nothing of the second and the third.
			long := letters(3000 + 2000*i)
			begin := time.Now()
			first := write(long)
			synctest.Wait()
			second, third := write("second"), write("third")
			for _, done := range []<-chan result{first, second, third} {
				r := <-done
				checkTimeout(t, r.err)
				want := "0"
				if done == first {
					want = fmt.Sprint(len(long))
				}
				require.Equal(t, want, r.text)
				require.Equal(t, begin.Add(time.Second), r.at)
			}
			nc.SetWriteDeadline(time.Time{})
			last := write("last")
			for m := range slices.Chunk([]byte(filler), streamMessage) {
				p.expect(frame.OpBinary, string(m))
			}
			p.expect(frame.OpBinary, long)
			p.expect(frame.OpBinary, "last")
			require.True(t, p.quiet())
			require.NoError(t, (<-last).err)
		}
		require.Equal(t, int64(10*4), c.Stats().MessagesWritten)
	})
}

// The same when not a byte fits, and behind the messages of others.
func TestNetConnWriteNotBegun(t *testing.T) {
	others := []struct {
		name  string
		write func(c *Conn) error
	}{
		{"alone", nil},
		{"Write", func(c *Conn) error { return c.Write(context.Background(), Binary, []byte("other")) }},
		{"Send", func(c *Conn) error { return c.Send(Binary, []byte("other")) }},
		{"Writer", func(c *Conn) error {
			w, err := c.Writer(context.Background(), Binary)
			if err != nil {
				return err
			}
			io.WriteString(w, "other")
			return w.Close()
		}},
	}
	for _, tt := range others {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p, filling := fullPeer(t, role, nil)
				nc := c.NetConn(Binary)
				var other <-chan result
				if tt.write != nil {
					other = startErr(func() error { return tt.write(c) })
					synctest.Wait()
				}
				for range 3 {
					nc.SetWriteDeadline(time.Now().Add(time.Second))
					n, err := nc.Write([]byte("late"))
					require.Zero(t, n)
					checkTimeout(t, err)
				}
				nc.SetWriteDeadline(time.Now().Add(time.Second))
				last := startErr(func() error { _, err := nc.Write([]byte("last")); return err })
				require.True(t, pending(last))
				p.expect(frame.OpBinary, filling)
				if tt.write != nil {
					p.expect(frame.OpBinary, "other")
					require.NoError(t, (<-other).err)
				}
				p.expect(frame.OpBinary, "last")
				require.NoError(t, (<-last).err)
				require.True(t, p.quiet())
				nc.SetWriteDeadline(time.Now().Add(time.Second))
				n, err := nc.Write([]byte("in time"))
				require.NoError(t, err)
				require.Equal(t, len("in time"), n)
				p.expect(frame.OpBinary, "in time")
			})
		})
	}
}

// What is left of a message that was cut off comes from a copy: the writer's
// memory is its own again.
func TestWriteOwnedMemory(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		want := letters(1 << 20)
		own := []byte(want)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n, err := c.writeOwned(ctx, Binary, own)
		require.Equal(t, len(own), n)
		require.Equal(t, context.DeadlineExceeded, err)
		clear(own)
		p.expect(frame.OpBinary, want)
	})
}

// A Write that is over though its message has begun leaves it to a batch of which
// others are taken back.
func TestNetConnWriteInBatch(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p, filling := fullPeer(t, role, nil)
		nc := c.NetConn(Binary)
		first := letters(largeBytes - 1)
		leader := startErr(func() error { return c.Write(context.Background(), Binary, make([]byte, streamBytes-1000)) })
		synctest.Wait()
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		begun := start(func() (string, error) { n, err := nc.Write([]byte(first)); return fmt.Sprint(n), err })
		synctest.Wait()
		var over []<-chan result
		var ends []context.CancelFunc
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ends = append(ends, cancel)
			over = append(over, startErr(func() error { return c.Write(ctx, Binary, []byte("over")) }))
			synctest.Wait()
		}
		last := startErr(func() error { return c.Write(context.Background(), Binary, []byte("last")) })
		synctest.Wait()
		p.expect(frame.OpBinary, filling)
		require.NoError(t, (<-leader).err)
		r := <-begun
		require.Equal(t, fmt.Sprint(len(first)), r.text)
		checkTimeout(t, r.err)
		for i, end := range ends {
			end()
			require.Equal(t, context.Canceled, (<-over[i]).err)
		}
		p.expect(frame.OpBinary, string(make([]byte, streamBytes-1000)))
		p.expect(frame.OpBinary, first)
		p.expect(frame.OpBinary, "last")
		require.NoError(t, (<-last).err)
		require.True(t, p.quiet())
	})
}

// With takeover a message that others refer to cannot be taken back: it counts as
// begun.
func TestNetConnWriteTakeover(t *testing.T) {
	for _, followed := range []bool{false, true} {
		t.Run(fmt.Sprint("followed=", followed), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				ours, theirs := streamPair()
				if role == frame.Server {
					ours, theirs = theirs, ours
				}
				agreed := &handshake.Agreement{Deflate: &handshake.Deflate{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15}}
				c := New(ours, role, agreed, &Options{Compression: &Compression{Takeover: true}})
				defer c.CloseNow()
				p := &peer{t: t, nc: theirs, role: role.Peer(), recv: frame.Receiver{Role: role.Peer(), RSV: frame.RSV1}}
				var others []<-chan result
				write := func(m []byte) {
					others = append(others, startErr(func() error { return c.Write(context.Background(), Binary, m) }))
					synctest.Wait()
				}
				// The batch behind the first message does not fit: of its last
				// ones nothing is on the wire.
				write(randomBytes(streamBytes + 1000))
				for range 3 {
					write(randomBytes(largeBytes - 1))
				}
				nc := c.NetConn(Binary)
				nc.SetWriteDeadline(time.Now().Add(time.Second))
				done := start(func() (string, error) { n, err := io.WriteString(nc, letters(1000)); return fmt.Sprint(n), err })
				synctest.Wait()
				if followed {
					write([]byte(letters(1000)))
				}
				b := make([]byte, 2000)
				_, err := io.ReadFull(theirs, b)
				require.NoError(t, err)
				p.buf = b

				r := <-done
				checkTimeout(t, r.err)
				compressed := 0
				for !p.quiet() {
					h, _, err := p.next()
					require.NoError(t, err)
					if h.Length < 1000 {
						compressed++
					}
				}
				if followed {
					require.Equal(t, "1000", r.text)
					require.Equal(t, 2, compressed)
				} else {
					require.Equal(t, "0", r.text)
					require.Zero(t, compressed)
				}
				for _, other := range others {
					require.NoError(t, (<-other).err)
				}
			})
		})
	}
}

// A long Write that runs out of time says how much it has sent.
func TestNetConnLongWriteCutOff(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		nc, _, p := netPeer(t, role, nil)
		text := letters(1 << 20)
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := io.WriteString(nc, text)
		checkTimeout(t, err)
		require.Greater(t, n, streamBytes/2)
		require.Less(t, n, len(text))
		var got string
		for len(got) < n {
			_, payload, err := p.next()
			require.NoError(t, err)
			got += payload
		}
		require.True(t, p.quiet())
		require.True(t, text[:n] == got)
	})
}

// Without time nothing is read, though it is there; it is not lost.
func TestNetConnPastTimeoutData(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		nc, _, p := netPeer(t, role, nil)
		p.write(p.whole(frame.OpBinary, "one"), p.whole(frame.OpBinary, "two"))
		b := make([]byte, 2)
		for _, want := range []string{"on", "e", "tw", "o"} {
			nc.SetReadDeadline(longAgo)
			for range 20 {
				n, err := nc.Read(b)
				require.Zero(t, n)
				checkTimeout(t, err)
			}
			nc.SetReadDeadline(time.Time{})
			n, err := nc.Read(b)
			require.NoError(t, err)
			require.Equal(t, want, string(b[:n]))
		}
	})
}

// A Read may run out of time anywhere in a message.
func TestNetConnReadResumed(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		nc, _, p := netPeer(t, role, nil)
		wire := bytes.Join([][]byte{
			p.frame(false, frame.OpBinary, "one"), p.whole(frame.OpPing, "ping"), p.frame(true, frame.OpContinuation, "two"),
			p.whole(frame.OpBinary, ""), p.whole(frame.OpBinary, letters(300)),
		}, nil)
		want := "onetwo" + letters(300)
		var got []byte
		b := make([]byte, 7)
		for _, one := range wire {
			p.write([]byte{one})
			for {
				nc.SetReadDeadline(time.Now().Add(time.Second))
				n, err := nc.Read(b)
				got = append(got, b[:n]...)
				if err != nil {
					checkTimeout(t, err)
					break
				}
			}
		}
		require.Equal(t, want, string(got))
	})
}

// The deadline that a Write meets after it began without one can only fail the
// connection.
func TestNetConnDeadlineTooLate(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		nc, _, p := netPeer(t, role, nil)
		written := startErr(func() error { _, err := nc.Write(make([]byte, 3*streamBytes)); return err })
		require.True(t, pending(written))
		nc.SetWriteDeadline(longAgo)
		checkTimeout(t, (<-written).err)
		nc.SetWriteDeadline(time.Time{})
		_, err := nc.Write([]byte("x"))
		require.ErrorContains(t, err, "cut off")
		p.nc.Close()
		_, err = nc.Read(make([]byte, 1))
		require.Error(t, err)
	})
}

func TestNetConnAddrs(t *testing.T) {
	client, server := tcpPair(t)
	c, s := over(client, server)
	defer c.CloseNow()
	defer s.CloseNow()
	a, b := c.NetConn(Binary), s.NetConn(Binary)
	require.Equal(t, client.LocalAddr(), a.LocalAddr())
	require.Equal(t, client.RemoteAddr(), a.RemoteAddr())
	require.Equal(t, client.LocalAddr(), b.RemoteAddr())

	x, y := io.Pipe()
	c = New(struct {
		io.Reader
		io.WriteCloser
	}{x, y}, frame.Client, nil, nil)
	defer c.CloseNow()
	require.Equal(t, "unknown", c.NetConn(Text).LocalAddr().String())
	require.Equal(t, "unknown", c.NetConn(Text).RemoteAddr().String())
}

// The stream and the connection's own methods beside it.
func TestNetConnBesides(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		nc, c, p := netPeer(t, role, nil)
		read := startStream(nc)
		synctest.Wait()
		_, _, err := c.Read(t.Context())
		require.Equal(t, ErrConcurrentRead, err)
		ping := startPing(t.Context(), c)
		_, payload, err := p.next()
		require.NoError(t, err)
		p.send(frame.OpPong, payload)
		require.NoError(t, (<-ping).err)
		p.send(frame.OpPing, "theirs")
		p.expect(frame.OpPong, "theirs")
		require.NoError(t, c.Send(Text, []byte("sent")))
		p.expect(frame.OpText, "sent")
		require.NoError(t, c.CloseNow())
		require.Equal(t, errCloseNow, (<-read).err)
		_, err = nc.Write(nil)
		require.Equal(t, errCloseNow, err)
	})
}

// A deadline that a closed stream had leaves no timer behind.
func TestNetConnCloseStopsTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, _, p := netPeer(t, frame.Client, nil)
		require.NoError(t, nc.SetDeadline(time.Now().Add(time.Hour)))
		p.nc.Close()
		nc.Close()
		n := nc.(*netConn)
		require.Nil(t, n.readBy.timer)
		require.Nil(t, n.writeBy.timer)
		require.Error(t, nc.SetDeadline(time.Now().Add(time.Hour)))
		require.Nil(t, n.readBy.timer)
		require.Nil(t, n.writeBy.timer)
	})
}

// Arith is a service of net/rpc.
type Arith struct{}

// Multiply multiplies.
func (Arith) Multiply(in [2]int, out *int) error {
	*out = in[0] * in[1]
	return nil
}

func TestNetConnRPC(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		server := rpc.NewServer()
		require.NoError(t, server.Register(Arith{}))
		served := startErr(func() error { server.ServeConn(e.b); return nil })
		client := rpc.NewClient(e.a)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for j := range 20 {
					var product int
					assert.NoError(t, client.Call("Arith.Multiply", [2]int{i, j}, &product))
					assert.Equal(t, i*j, product)
				}
			})
		}
		wg.Wait()
		require.NoError(t, client.Close())
		<-served
		require.Equal(t, rpc.ErrShutdown, client.Call("Arith.Multiply", [2]int{1, 1}, new(int)))
	})
}

// An HTTP server and client over one connection, which is kept alive, with the
// deadlines that they set.
func TestNetConnHTTP(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		body := randomBytes(5 << 20)
		door := newDoorway()
		s := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				w.Write(got)
			}),
			ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute,
		}
		served := startErr(func() error { return s.Serve(door) })
		go func() { door.next <- e.b }()
		var dials atomic.Int32
		client := &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				if dials.Add(1) > 1 {
					return nil, errors.New("there is one connection")
				}
				return e.a, nil
			},
		}}
		for _, size := range []int{0, 5, len(body), 100} {
			resp, err := client.Post("http://example.com/", "application/octet-stream", bytes.NewReader(body[:size]))
			require.NoError(t, err)
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.True(t, bytes.Equal(body[:size], got))
		}
		client.CloseIdleConnections()
		require.NoError(t, s.Shutdown(t.Context()))
		require.Equal(t, http.ErrServerClosed, (<-served).err)
	})
}

// io.Copy in both directions, between two streams and from one to the other.
func TestNetConnCopy(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		there, back := randomBytes(1<<20), randomBytes(1<<20+5)
		relay, far := net.Pipe()
		// a <- WebSocket -> b <- relay -> far
		go func() {
			io.Copy(relay, e.b)
			relay.Close()
		}()
		go func() {
			io.Copy(e.b, relay)
			e.b.Close()
		}()
		sent := startErr(func() error { _, err := io.Copy(e.a, bytes.NewReader(there)); return err })
		received := startErr(func() error {
			got := make([]byte, len(there))
			if _, err := io.ReadFull(far, got); err != nil {
				return err
			}
			if !bytes.Equal(there, got) {
				return errors.New("other bytes")
			}
			if _, err := io.Copy(far, bytes.NewReader(back)); err != nil {
				return err
			}
			return far.Close()
		})
		got, err := io.ReadAll(e.a)
		require.NoError(t, err)
		require.True(t, bytes.Equal(back, got))
		require.NoError(t, (<-sent).err)
		require.NoError(t, (<-received).err)
	})
}

// Whoever writes, in whatever way, and whenever its time is over: what is said to
// have been sent arrives, once and in order, nothing else does, and there is
// always somebody who writes on.
func TestNetConnLeadership(t *testing.T) {
	everyStream(t, func(t *testing.T, e streamEnds) {
		const writers, each = 24, 30
		n := e.a.(*netConn)
		n.c.o.Overflow = Block
		n.c.o.QueueMessages = 4
		other := e.b.(*netConn).c
		if tc, ok := n.c.nc.(*net.TCPConn); ok {
			// Small enough to block.
			require.NoError(t, tc.SetWriteBuffer(128<<10))
			require.NoError(t, other.nc.(*net.TCPConn).SetReadBuffer(128<<10))
		}
		received := make(map[[2]int]bool)
		read := startErr(func() error {
			last := map[int]int{}
			rnd := rand.New(rand.NewPCG(1, 2))
			for m, err := range other.Messages(context.Background()) {
				if err != nil {
					return err
				}
				if e.fake && rnd.IntN(4) == 0 {
					<-time.After(time.Duration(1 + rnd.IntN(1000)*1000))
				}
				var id [2]int
				if _, err := fmt.Sscan(string(m.Data[:min(len(m.Data), 20)]), &id[0], &id[1]); err != nil {
					return fmt.Errorf("%q: %v", m.Data, err)
				}
				if received[id] || id[1] < last[id[0]] {
					return fmt.Errorf("%v came twice or late", id)
				}
				received[id], last[id[0]] = true, id[1]
			}
			return nil
		})
		go io.Copy(io.Discard, e.a) // Pongs
		var mu sync.Mutex
		sent, refused := map[[2]int]bool{}, 0
		write := func(w, i int, rnd *rand.Rand) {
			b := append(fmt.Appendf(nil, "%d %d ", w, i), make([]byte, rnd.IntN([]int{10, 10000, 60000}[rnd.IntN(3)]))...)
			b = b[:min(len(b), streamMessage)]
			length := len(b)
			var err error
			// Streams of their own have deadlines of their own.
			stream := n.c.NetConn(Binary)
			switch w % 8 {
			case 0, 1, 2:
				stream.SetWriteDeadline(time.Now().Add(time.Duration(rnd.IntN([]int{500_000, 20_000_000, 1_000_000_000}[rnd.IntN(3)]))))
				length, err = stream.Write(b)
				clear(b)
			case 3:
				_, err = stream.Write(b)
			case 4:
				err = n.c.Send(Binary, b)
			case 5:
				var writer io.WriteCloser
				if writer, err = n.c.Writer(context.Background(), Binary); err == nil {
					writer.Write(b)
					err = writer.Close()
				}
			case 6:
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				n.c.Ping(ctx)
				err = n.c.Write(context.Background(), Binary, b)
			case 7:
				// Not over while the frame is being written: that may cut it off.
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				_, err := n.c.Ping(ctx)
				assert.NoError(t, err)
				cancel()
				return
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && length == len(b), w%8 < 3 && length == len(b):
				sent[[2]int{w, i}] = true
			default:
				if w%8 < 3 {
					checkTimeout(t, err)
				} else {
					assert.NoError(t, err)
				}
				assert.Zero(t, length)
				refused++
			}
		}
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(w), 3))
				for i := range each {
					write(w, i, rnd)
				}
			})
		}
		wg.Wait()
		require.NoError(t, n.c.Close(frame.CloseNormal, ""))
		require.NoError(t, (<-read).err)
		for id := range sent {
			require.True(t, received[id], "%v is lost", id)
		}
		for id := range received {
			require.True(t, sent[id], "%v was sent all the same", id)
		}
		require.Equal(t, writers/8*7*each, len(sent)+refused)
		t.Logf("%d sent, %d not begun", len(sent), refused)
	})
}
