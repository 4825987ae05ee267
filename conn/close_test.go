package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

// everyCall makes every call that can fail and returns the errors by name.
func everyCall(c *Conn) map[string]error {
	ctx := context.Background()
	errs := map[string]error{}
	_, _, errs["Read"] = c.Read(ctx)
	_, _, errs["ReadInto"] = c.ReadInto(ctx, nil)
	_, _, errs["Reader"] = c.Reader(ctx)
	for _, err := range c.Messages(ctx) {
		errs["Messages"] = err
	}
	errs["Write"] = c.Write(ctx, Text, nil)
	_, errs["Writer"] = c.Writer(ctx, Text)
	errs["Send"] = c.Send(Text, nil)
	errs["SendKeyed"] = c.SendKeyed("key", Text, nil)
	_, errs["Ping"] = c.Ping(ctx)
	errs["Context"] = context.Cause(c.Context())
	return errs
}

// requireOver checks that every call gives the same error, again and again.
func requireOver(t *testing.T, c *Conn, want error) {
	t.Helper()
	for range 2 {
		for name, err := range everyCall(c) {
			if name == "Messages" && errors.Is(want, io.EOF) {
				assert.NoError(t, err, "a clean end is silent")
				continue
			}
			assert.Equal(t, want, err, name)
		}
	}
}

// hangUp ends the stream of a peer, and for a connection that is a client's
// sees it close its end, too.
func (p *peer) hangUp() {
	p.t.Helper()
	p.nc.(*stream).CloseWrite()
	p.expectEnd()
}

// ended reports whether the connection has ended its stream.
func (p *peer) ended() bool {
	synctest.Wait()
	h := p.nc.(*stream).in
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.eof
}

func TestClose(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		done := startErr(func() error { return c.Close(3000, "that is all") })
		require.Equal(t, "that is all", p.expectClose(3000))
		require.True(t, pending(done))
		require.NoError(t, c.Context().Err())
		p.write(p.close(3000, ""))
		synctest.Wait()
		want := &CloseError{Code: 3000, Reason: "that is all"}
		require.Equal(t, want, context.Cause(c.Context()))
		if role == frame.Client {
			// The server ends the stream. (RFC 6455, section 7.1.1)
			require.False(t, p.ended())
		} else {
			require.True(t, p.ended())
		}
		p.hangUp()
		require.NoError(t, (<-done).err)
		requireOver(t, c, want)
		require.NoError(t, c.Close(frame.CloseInternalError, "again"))
		require.NoError(t, c.CloseNow())
	})
}

// The peer's code is echoed, whatever it is. (RFC 6455, section 5.5.1)
func TestCloseByPeer(t *testing.T) {
	for _, code := range []frame.CloseCode{1000, 1001, 1002, 1003, 1005, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		t.Run(code.String(), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				reason := "bye"
				if code == frame.CloseNoStatus {
					reason = ""
				}
				p.write(p.close(code, reason))
				done := startRead(t.Context(), c)
				require.Empty(t, p.expectClose(code))
				p.hangUp()
				err := (<-done).err
				require.Equal(t, &CloseError{Code: code, Reason: reason, Remote: true}, err)
				requireOver(t, c, err)
				require.NoError(t, c.Close(frame.CloseNormal, ""))
			})
		})
	}
}

func TestCloseBoth(t *testing.T) {
	bubble(t, "pipe", func(t *testing.T) {
		client, server := Pipe(nil, nil)
		begin := time.Now()
		first := startErr(func() error { return client.Close(3001, "client") })
		second := startErr(func() error { return server.Close(3002, "server") })
		require.NoError(t, (<-first).err)
		require.NoError(t, (<-second).err)
		require.Zero(t, time.Since(begin))
		for _, c := range []*Conn{client, server} {
			ce, ok := errors.AsType[*CloseError](context.Cause(c.Context()))
			require.True(t, ok)
			requireOver(t, c, ce)
		}
	})
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		done := startErr(func() error { return c.Close(3001, "ours") })
		p.write(p.close(3002, "theirs"))
		p.expectClose(3001)
		p.hangUp()
		require.NoError(t, (<-done).err)
		requireOver(t, c, &CloseError{Code: 3001, Reason: "ours"})
	})
}

// Both ends of a Pipe end at once, whoever closes.
func TestClosePipe(t *testing.T) {
	for _, closer := range []frame.Role{frame.Client, frame.Server} {
		bubble(t, closer.String(), func(t *testing.T) {
			c, other := Pipe(nil, nil)
			if closer == frame.Server {
				c, other = other, c
			}
			begin := time.Now()
			read := startRead(t.Context(), other)
			require.NoError(t, c.Close(frame.CloseGoingAway, "bye"))
			require.Equal(t, &CloseError{Code: frame.CloseGoingAway, Reason: "bye", Remote: true}, (<-read).err)
			require.Zero(t, time.Since(begin))
		})
	}
}

func TestCloseTimeout(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    *Options
		want time.Duration
	}{
		{"default", nil, 5 * time.Second},
		{"shorter", &Options{CloseTimeout: time.Second}, time.Second},
		{"longer than the keepalive", &Options{CloseTimeout: time.Hour}, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, tt.o)
				read := startRead(t.Context(), c)
				synctest.Wait()
				begin := time.Now()
				err := c.Close(frame.CloseNormal, "bye")
				require.Equal(t, errCloseTimeout, err)
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.ErrorContains(t, err, "Options.CloseTimeout")
				require.Equal(t, tt.want, time.Since(begin))
				p.expectClose(frame.CloseNormal)
				p.expectEnd()
				want := &CloseError{Code: frame.CloseNormal, Reason: "bye"}
				require.Equal(t, want, (<-read).err)
				requireOver(t, c, want)
				require.Equal(t, errCloseTimeout, c.Close(frame.CloseNormal, "bye"))
			})
		})
	}
	bothRoles(t, func(t *testing.T, role frame.Role) {
		// The peer does not even take the Close frame.
		c, _, _ := fullPeer(t, role, nil)
		write := startErr(func() error { return c.Write(t.Context(), Text, nil) })
		synctest.Wait()
		begin := time.Now()
		require.Equal(t, errCloseTimeout, c.Close(frame.CloseNormal, ""))
		require.Equal(t, 5*time.Second, time.Since(begin))
		require.Equal(t, &CloseError{Code: frame.CloseNormal}, (<-write).err)
	})
	bubble(t, "none", func(t *testing.T) {
		c, p := newPeer(t, frame.Server, &Options{CloseTimeout: -1})
		done := startErr(func() error { return c.Close(frame.CloseNormal, "") })
		p.expectClose(frame.CloseNormal)
		<-time.After(24 * time.Hour)
		require.True(t, pending(done))
		p.write(p.close(frame.CloseNormal, ""))
		require.NoError(t, (<-done).err)
	})
}

// A client that has seen both Close frames waits for the server to end the
// stream, but not for ever.
func TestCloseClientWaits(t *testing.T) {
	for _, first := range []string{"ours", "theirs"} {
		bubble(t, first, func(t *testing.T) {
			c, p := newPeer(t, frame.Client, nil)
			begin := time.Now()
			var done <-chan result
			if first == "ours" {
				done = startErr(func() error { return c.Close(frame.CloseNormal, "") })
				p.expectClose(frame.CloseNormal)
				p.write(p.close(frame.CloseNormal, ""))
			} else {
				done = startRead(t.Context(), c)
				p.write(p.close(frame.CloseNormal, ""))
				p.expectClose(frame.CloseNormal)
			}
			p.write([]byte("anything else"))
			synctest.Wait()
			require.Error(t, c.Context().Err())
			require.False(t, p.ended())
			r := <-done
			require.Equal(t, 5*time.Second, r.at.Sub(begin))
			require.True(t, p.ended())
			if first == "ours" {
				require.NoError(t, r.err)
			} else {
				require.Equal(t, &CloseError{Code: frame.CloseNormal, Remote: true}, r.err)
			}
		})
	}
}

// Messages that come after our Close frame still reach a Read that is under way.
func TestCloseWhileReading(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		read := startRead(t.Context(), c)
		synctest.Wait()
		done := startErr(func() error { return c.Close(frame.CloseNormal, "") })
		p.expectClose(frame.CloseNormal)
		p.send(frame.OpPing, "not answered any more")
		p.send(frame.OpText, "late")
		r := <-read
		require.NoError(t, r.err)
		require.Equal(t, "late", r.text)
		require.True(t, pending(done))
		// Nobody reads now, so Close does.
		p.write(p.frame(false, frame.OpText, "dropped"), p.whole(frame.OpPing, ""), p.frame(true, frame.OpContinuation, "as well"))
		p.write(p.whole(frame.OpBinary, letters(60000)))
		p.write(p.close(frame.CloseNormal, ""))
		p.hangUp()
		require.NoError(t, (<-done).err)
		requireOver(t, c, &CloseError{Code: frame.CloseNormal})
	})
}

// A Read that has begun to wait while Close reads gets the end.
func TestReadWhileClosing(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		done := startErr(func() error { return c.Close(frame.CloseNormal, "") })
		p.expectClose(frame.CloseNormal)
		read := startRead(t.Context(), c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := c.Read(ctx)
		require.Equal(t, context.DeadlineExceeded, err)
		p.write(p.close(frame.CloseNormal, ""))
		p.hangUp()
		require.NoError(t, (<-done).err)
		require.Equal(t, &CloseError{Code: frame.CloseNormal}, (<-read).err)
	})
}

// Close goes on with a message that a Read, or a Reader, has left half read.
func TestCloseInsideMessage(t *testing.T) {
	for _, way := range []string{"Read", "Reader"} {
		t.Run(way, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				f := p.whole(frame.OpText, letters(10000))
				p.write(f[:5000])
				if way == "Read" {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					_, _, err := c.Read(ctx)
					require.Equal(t, context.DeadlineExceeded, err)
				} else {
					_, r, err := c.Reader(t.Context())
					require.NoError(t, err)
					_, err = io.ReadFull(r, make([]byte, 100))
					require.NoError(t, err)
				}
				done := startErr(func() error { return c.Close(frame.CloseNormal, "") })
				p.expectClose(frame.CloseNormal)
				p.write(f[5000:], p.close(frame.CloseNormal, ""))
				p.hangUp()
				require.NoError(t, (<-done).err)
			})
		})
	}
}

// Any number of Closes is one, and all return the same.
func TestCloseConcurrent(t *testing.T) {
	for _, answer := range []bool{true, false} {
		t.Run(fmt.Sprintf("answer=%v", answer), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				for _, reading := range []bool{true, false} {
					c, p := newPeer(t, role, nil)
					if reading {
						go readAll(c)
						synctest.Wait()
					}
					var wg sync.WaitGroup
					for i := range 50 {
						wg.Go(func() {
							err := c.Close(3000+frame.CloseCode(i), "")
							if answer {
								assert.NoError(t, err)
							} else {
								assert.Equal(t, errCloseTimeout, err)
							}
						})
					}
					h, payload, err := p.next()
					require.NoError(t, err)
					require.Equal(t, frame.OpClose, h.Opcode)
					require.True(t, p.quiet(), "one Close frame")
					if answer {
						p.write(p.whole(frame.OpClose, payload))
						p.hangUp()
					}
					wg.Wait()
					require.Len(t, c.readFree, 0)
				}
			})
		})
	}
}

// Close may be called in the body of a Messages loop, whose bytes stay as they
// are while it reads on.
func TestCloseInMessages(t *testing.T) {
	for _, size := range []int{10, 3000, 100000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				sent := startErr(func() error {
					wire := p.whole(frame.OpText, letters(size))
					for range 5 {
						wire = append(wire, p.whole(frame.OpText, strings.Repeat("X", size))...)
					}
					wire = append(wire, p.close(frame.CloseNormal, "")...)
					_, err := p.nc.Write(wire)
					p.nc.(*stream).CloseWrite()
					return err
				})
				n := 0
				for m, err := range c.Messages(t.Context()) {
					require.NoError(t, err)
					require.NoError(t, c.Close(frame.CloseNormal, ""))
					require.True(t, letters(size) == string(m.Data))
					n++
				}
				require.Equal(t, 1, n)
				require.NoError(t, (<-sent).err)
			})
		})
	}
}

func TestCloseNow(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p, _ := fullPeer(t, role, nil)
		read := startRead(t.Context(), c)
		write := startErr(func() error { return c.Write(t.Context(), Text, nil) })
		synctest.Wait()
		behind := startErr(func() error { return c.Write(t.Context(), Text, nil) })
		ping := startErr(func() error { _, err := c.Ping(t.Context()); return err })
		require.NoError(t, c.Send(Text, nil))
		require.True(t, pending(behind))
		begin := time.Now()
		require.NoError(t, c.CloseNow())
		for _, done := range []<-chan result{read, write, behind, ping} {
			require.Equal(t, errCloseNow, (<-done).err)
		}
		require.Zero(t, time.Since(begin))
		require.ErrorIs(t, errCloseNow, net.ErrClosed)
		requireOver(t, c, errCloseNow)
		require.NoError(t, c.CloseNow())
		require.Equal(t, errCloseNow, c.Close(frame.CloseNormal, ""))
		rest, err := io.ReadAll(p.nc)
		require.NoError(t, err)
		require.Len(t, rest, streamBytes, "no Close frame")
		require.Zero(t, c.Stats().Queued)
	})
}

// CloseNow ends a Close that waits.
func TestCloseNowWhileClosing(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		done := startErr(func() error { return c.Close(frame.CloseNormal, "") })
		p.expectClose(frame.CloseNormal)
		begin := time.Now()
		require.NoError(t, c.CloseNow())
		require.Equal(t, errCloseNow, (<-done).err)
		require.Zero(t, time.Since(begin))
		p.expectEnd()
	})
}

// What comes after a Close frame is ignored, be it nonsense.
func TestDataAfterClose(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		p.write(p.close(frame.CloseNormal, ""), p.whole(frame.OpText, "late"), p.close(1002, ""), []byte("\xff\xff\xff\xff nonsense"))
		p.nc.(*stream).CloseWrite()
		messages, err := readAll(c)
		require.Empty(t, messages)
		require.Equal(t, &CloseError{Code: frame.CloseNormal, Remote: true}, err)
		p.expectClose(frame.CloseNormal)
		p.expectEnd()
	})
}

// Messages that came before the end are delivered first, and the answers to them
// leave before our Close frame.
func TestMessagesBeforeTheEnd(t *testing.T) {
	ends := []struct {
		name string
		wire func(p *peer) []byte
		code frame.CloseCode
	}{
		{"Close", func(p *peer) []byte { return p.close(frame.CloseGoingAway, "") }, frame.CloseGoingAway},
		{"protocol error", func(p *peer) []byte { return p.frame(true, 3, "") }, frame.CloseProtocolError},
		{"text not UTF-8", func(p *peer) []byte { return p.whole(frame.OpText, notUTF8) }, frame.CloseInvalidPayload},
		{"too big", func(p *peer) []byte { return frame.AppendHeader(nil, p.header(true, frame.OpText, 1<<40)) }, frame.CloseMessageTooBig},
	}
	replies := []struct {
		name  string
		reply func(*Conn, Message) error
	}{{"Write", replyWrite}, {"Send", replySend}}
	for _, tt := range ends {
		for _, r := range replies {
			t.Run(tt.name+"/"+r.name, func(t *testing.T) {
				bothRoles(t, func(t *testing.T, role frame.Role) {
					c, p := newPeer(t, role, nil)
					var wire []byte
					for i := range 30 {
						wire = append(wire, p.whole(frame.OpText, fmt.Sprint(i))...)
					}
					p.write(wire, tt.wire(p))
					echo(c, -1, r.reply)
					for i := range 30 {
						p.expect(frame.OpText, fmt.Sprint(i))
					}
					p.expectClose(tt.code)
					p.hangUp()
				})
			})
		}
	}
}

// All that was written and queued leaves before our Close frame, corked answers
// as well, and large messages.
func TestCloseAfterOutput(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		p.write(p.whole(frame.OpText, "one"), p.whole(frame.OpText, "two"))
		_, _, err := c.Read(t.Context())
		require.NoError(t, err)
		require.NoError(t, c.Write(t.Context(), Text, []byte("corked")))
		require.True(t, p.quiet())
		for i := range 5 {
			require.NoError(t, c.Send(Text, []byte(letters(i*20000))))
		}
		begin := time.Now()
		done := startErr(func() error { return c.Close(frame.CloseNormal, "") })
		p.expect(frame.OpText, "corked")
		require.Zero(t, time.Since(begin))
		for i := range 5 {
			p.expect(frame.OpText, letters(i*20000))
		}
		p.expectClose(frame.CloseNormal)
		p.write(p.close(frame.CloseNormal, ""))
		p.hangUp()
		require.NoError(t, (<-done).err)
	})
	bothRoles(t, func(t *testing.T, role frame.Role) {
		// Behind Writes that wait, as well.
		c, p, filling := fullPeer(t, role, nil)
		var writes []<-chan result
		for i := range 5 {
			writes = append(writes, startErr(func() error { return c.Write(t.Context(), Text, fmt.Append(nil, i)) }))
			synctest.Wait()
		}
		done := startErr(func() error { return c.Close(frame.CloseNormal, "") })
		synctest.Wait()
		p.expect(frame.OpBinary, filling)
		for i := range writes {
			p.expect(frame.OpText, fmt.Sprint(i))
			require.NoError(t, (<-writes[i]).err)
		}
		p.expectClose(frame.CloseNormal)
		p.write(p.close(frame.CloseNormal, ""))
		p.hangUp()
		require.NoError(t, (<-done).err)
	})
}

// A code that must not be sent does nothing.
func TestCloseCodes(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		for _, code := range []frame.CloseCode{0, 999, 1004, 1006, 1015, 1016, 2999, 5000, 65535} {
			err := c.Close(code, "")
			require.ErrorIs(t, err, frame.ErrCloseCode)
			require.ErrorContains(t, err, fmt.Sprint(uint16(code)))
		}
		require.True(t, p.quiet())
		require.NoError(t, c.Write(t.Context(), Text, []byte("alive")))
		p.expect(frame.OpText, "alive")
		done := startErr(func() error { return c.Close(frame.CloseNoStatus, "not sent") })
		require.Empty(t, p.expectClose(frame.CloseNoStatus))
		p.write(p.close(frame.CloseNoStatus, ""))
		p.hangUp()
		require.NoError(t, (<-done).err)
	})
}

func TestCloseReason(t *testing.T) {
	for _, tt := range []struct{ name, reason, want string }{
		{"as long as it may be", letters(123), letters(123)},
		{"cut", letters(124), letters(123)},
		{"cut before a character", letters(122) + "ö", letters(122)},
		{"not UTF-8", "a\xffb", "a\uFFFDb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				done := startErr(func() error { return c.Close(frame.CloseNormal, tt.reason) })
				require.Equal(t, tt.want, p.expectClose(frame.CloseNormal))
				p.write(p.close(frame.CloseNormal, ""))
				p.hangUp()
				require.NoError(t, (<-done).err)
			})
		})
	}
}

// A Close frame that breaks the rules. (RFC 6455, sections 5.5.1, 7.4 and 8.1)
func TestCloseFrameBroken(t *testing.T) {
	for _, tt := range []struct {
		name    string
		payload string
		code    frame.CloseCode
		want    error
	}{
		{"one byte", "\x03", frame.CloseProtocolError, frame.ErrCloseLength},
		{"code 999", "\x03\xe7", frame.CloseProtocolError, frame.ErrCloseCode},
		{"code 1005", "\x03\xed", frame.CloseProtocolError, frame.ErrCloseCode},
		{"code 1006", "\x03\xee", frame.CloseProtocolError, frame.ErrCloseCode},
		{"reason not UTF-8", "\x03\xe8" + notUTF8, frame.CloseInvalidPayload, frame.ErrCloseReason},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				p.send(frame.OpClose, tt.payload)
				done := startRead(t.Context(), c)
				p.expectClose(tt.code)
				p.hangUp()
				err := (<-done).err
				require.ErrorIs(t, err, tt.want)
				requireOver(t, c, err)
			})
		})
	}
	bothRoles(t, func(t *testing.T, role frame.Role) {
		// As the answer to ours: nothing more is sent.
		c, p := newPeer(t, role, nil)
		done := startErr(func() error { return c.Close(frame.CloseNormal, "") })
		p.expectClose(frame.CloseNormal)
		p.send(frame.OpClose, "\x03")
		p.hangUp()
		require.ErrorIs(t, (<-done).err, frame.ErrCloseLength)
		requireOver(t, c, &CloseError{Code: frame.CloseNormal})
	})
}

// The peer that broke the protocol is told why, and has the time to read it.
func TestFail(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		begin := time.Now()
		done := startRead(t.Context(), c)
		p.send(3, "")
		require.Equal(t, "opcode 0x3 is reserved", p.expectClose(frame.CloseProtocolError))
		p.expectEnd() // of what we send
		require.ErrorIs(t, context.Cause(c.Context()), frame.ErrReservedOpcode)
		for range 10 {
			p.send(frame.OpText, letters(60000)) // is thrown away
		}
		require.True(t, pending(done))
		r := <-done
		require.Equal(t, 5*time.Second, r.at.Sub(begin))
		require.ErrorIs(t, r.err, frame.ErrReservedOpcode)
		_, err := p.nc.Write([]byte("x"))
		require.ErrorIs(t, err, io.ErrClosedPipe)
		requireOver(t, c, r.err)
		require.Equal(t, r.err, c.Close(frame.CloseNormal, ""))
	})
}

// A stream that ends without a Close frame.
func TestEOF(t *testing.T) {
	cuts := []struct {
		name string
		wire func(p *peer) []byte
	}{
		{"at once", func(p *peer) []byte { return nil }},
		{"in a header", func(p *peer) []byte { return p.whole(frame.OpText, "abc")[:1] }},
		{"in a payload", func(p *peer) []byte { f := p.whole(frame.OpText, "abc"); return f[:len(f)-1] }},
		{"in a large payload", func(p *peer) []byte { f := p.whole(frame.OpText, letters(60000)); return f[:len(f)-1] }},
		{"between fragments", func(p *peer) []byte { return p.frame(false, frame.OpText, "abc") }},
		{"in a Close frame", func(p *peer) []byte { return p.close(1000, "")[:3] }},
	}
	for _, tt := range cuts {
		t.Run(tt.name, func(t *testing.T) {
			eachReader(t, func(t *testing.T, role frame.Role, read func(context.Context, *Conn) (MessageType, string, error)) {
				c, p := newPeer(t, role, nil)
				p.write(p.whole(frame.OpText, "whole"), tt.wire(p))
				p.nc.Close()
				_, got, err := read(t.Context(), c)
				require.NoError(t, err)
				require.Equal(t, "whole", got)
				_, _, err = read(t.Context(), c)
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				require.NotErrorIs(t, err, io.EOF)
				require.EqualError(t, err, "websocket: connection lost: the peer ended the stream without a Close frame: unexpected EOF")
				requireOver(t, c, err)
				require.Equal(t, err, c.Close(frame.CloseNormal, ""))
			})
		})
	}
	bothRoles(t, func(t *testing.T, role frame.Role) {
		// Instead of an answer to our Close frame.
		c, p := newPeer(t, role, nil)
		done := startErr(func() error { return c.Close(frame.CloseNormal, "") })
		p.expectClose(frame.CloseNormal)
		p.nc.Close()
		require.ErrorIs(t, (<-done).err, io.ErrUnexpectedEOF)
		requireOver(t, c, &CloseError{Code: frame.CloseNormal})
	})
}

// broken is a transport whose reads fail, the first one with the bytes it has.
type broken struct {
	*stream
	first []byte
}

func (b *broken) Read(p []byte) (int, error) {
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, errTest
}

// An error that comes with bytes, or without, ends the connection behind them.
func TestTransportError(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		ours, theirs := streamPair()
		transport := &broken{stream: ours}
		c, p := peerOver(t, transport, theirs, role, nil)
		transport.first = append(p.whole(frame.OpText, "a"), p.whole(frame.OpText, "b")...)
		messages, err := readAll(c)
		require.Equal(t, []string{"a", "b"}, messages)
		require.ErrorIs(t, err, errTest)
		require.EqualError(t, err, "websocket: connection lost: the cable is cut")
		requireOver(t, c, err)
		p.expectEnd()
	})
}

// stuck is a transport whose reads give neither bytes nor errors.
type stuck struct{ *stream }

func (s stuck) Read([]byte) (int, error) { return 0, nil }

func TestTransportNoProgress(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		ours, theirs := streamPair()
		c, _ := peerOver(t, stuck{ours}, theirs, role, nil)
		_, _, err := c.Read(t.Context())
		require.ErrorIs(t, err, io.ErrNoProgress)
	})
}

func TestCloseErrorIs(t *testing.T) {
	for code := range 1 << 16 {
		for _, remote := range []bool{false, true} {
			err := error(&CloseError{Code: frame.CloseCode(code), Remote: remote})
			require.ErrorIs(t, err, net.ErrClosed)
			clean := code == 1000 || code == 1001 || code == 1005
			require.Equal(t, clean, errors.Is(err, io.EOF), "%d", code)
			require.NotErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	}
	wrapped := fmt.Errorf("reading: %w", &CloseError{Code: frame.CloseNormal})
	require.ErrorIs(t, wrapped, io.EOF)
}

func TestCloseErrorText(t *testing.T) {
	for _, tt := range []struct {
		err  CloseError
		want string
	}{
		{CloseError{Code: 1000}, "websocket: connection closed: 1000 (normal closure)"},
		{CloseError{Code: 1001, Reason: "bye", Remote: true}, `websocket: connection closed by peer: 1001 (going away): "bye"`},
		{CloseError{Code: 4000, Reason: "a\nb", Remote: true}, `websocket: connection closed by peer: 4000: "a\nb"`},
		{CloseError{Code: 1005, Remote: true}, "websocket: connection closed by peer: 1005 (no close code received)"},
	} {
		require.EqualError(t, &tt.err, tt.want)
	}
}

// Close and CloseNow, reads and writes from many goroutines leave no one
// waiting.
func TestCloseRace(t *testing.T) {
	for _, kind := range []string{"Close", "CloseNow", "both ends"} {
		bubble(t, kind, func(t *testing.T) {
			for range 20 {
				client, server := Pipe(nil, nil)
				var wg sync.WaitGroup
				some := make(chan bool)
				for _, c := range []*Conn{client, server} {
					wg.Go(func() {
						for range 20 {
							c.Read(context.Background())
						}
						some <- true
						readAll(c)
					})
					for i := range 10 {
						wg.Go(func() {
							for c.Write(context.Background(), Text, []byte(letters(i*500))) == nil {
								c.Send(Text, []byte("x"))
							}
						})
					}
				}
				<-some
				<-some
				switch kind {
				case "CloseNow":
					client.CloseNow()
				case "both ends":
					wg.Go(func() { server.Close(frame.CloseNormal, "") })
					fallthrough
				case "Close":
					require.NoError(t, client.Close(frame.CloseNormal, ""))
				}
				wg.Wait()
				require.Error(t, server.sticky())
			}
		})
	}
}

// A Read does not outlive its context for the sake of a peer that broke the
// protocol and does not hang up.
func TestCloseLingerContext(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		p.write([]byte{0x83, 0x00})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, _, err := c.Read(ctx)
		require.ErrorIs(t, err, frame.ErrReservedOpcode)
		require.Equal(t, time.Second, time.Since(begin))
		p.expectClose(frame.CloseProtocolError)
		p.expectEnd()
	})
	// That of the connection has ended with it.
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		p.write([]byte{0x83, 0x00})
		begin := time.Now()
		_, _, err := c.Read(c.Context())
		require.ErrorIs(t, err, frame.ErrReservedOpcode)
		require.Zero(t, time.Since(begin))
		require.Equal(t, err, c.Write(c.Context(), Text, nil))
		_, err = c.Ping(c.Context())
		require.ErrorIs(t, err, frame.ErrReservedOpcode)
		_, err = c.Writer(c.Context(), Text)
		require.ErrorIs(t, err, frame.ErrReservedOpcode)
		p.expectClose(frame.CloseProtocolError)
		p.expectEnd()
	})
}

// layered is a transport like TLS: its Close waits for a read or write under way,
// which only the end of what is below can end.
type layered struct {
	net.Conn
	busy chan struct{}
}

func (l *layered) NetConn() net.Conn { return l.Conn }

func (l *layered) Write(p []byte) (int, error) {
	defer close(l.busy)
	return l.Conn.Write(p)
}

func (l *layered) Close() error {
	<-l.busy
	return l.Conn.Close()
}

func TestCloseNowBelowTLS(t *testing.T) {
	bubble(t, "in memory", func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := New(&layered{ours, make(chan struct{})}, frame.Server, nil, nil)
		wrote := startErr(func() error { return c.Write(t.Context(), Text, []byte("nobody takes it")) })
		require.True(t, pending(wrote))
		begin := time.Now()
		require.NoError(t, c.CloseNow())
		require.Zero(t, time.Since(begin))
		require.Error(t, (<-wrote).err)
	})
}
