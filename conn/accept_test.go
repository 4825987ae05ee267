package conn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/handshake"
)

// earlyRow is what a client sends along with its opening handshake.
type earlyRow struct {
	name     string
	stream   []byte
	with     int // how much of it comes in the segment of the handshake
	messages []string
}

func earlyRows() (rows []earlyRow) {
	client := &peer{role: frame.Client}
	join := func(b ...[]byte) (all []byte) {
		for _, b := range b {
			all = append(all, b...)
		}
		return all
	}
	hello := client.whole(frame.OpText, "hello")
	for i := range len(hello) + 1 {
		rows = append(rows, earlyRow{fmt.Sprintf("%d bytes of a frame", i), hello, i, []string{"hello"}})
	}
	two := join(hello, client.whole(frame.OpBinary, letters(200)))
	for _, beyond := range []int{0, 1, 2, 3, 4, 7, 8, 9, 207, 208} {
		i := len(hello) + beyond
		rows = append(rows, earlyRow{fmt.Sprintf("%d bytes of two frames", i), two, i, []string{"hello", letters(200)}})
	}
	many := []byte{}
	var messages []string
	for i := range 100 {
		messages = append(messages, letters(50*i))
		many = append(many, client.whole(frame.OpText, messages[i])...)
	}
	// net/http reads 4096 bytes at a time.
	request := len(asking("/"))
	for _, i := range []int{4095 - request, 4096 - request, 4097 - request, 4096, 8192, 20_000, len(many)} {
		rows = append(rows, earlyRow{fmt.Sprintf("%d bytes of many frames", i), many, i, messages})
	}
	long := client.whole(frame.OpBinary, letters(300_000))
	for _, i := range []int{14, 4096, 16384, 100_000, len(long)} {
		rows = append(rows, earlyRow{fmt.Sprintf("%d bytes of a long frame", i), long, i, []string{letters(300_000)}})
	}
	return rows
}

// run sends the row and checks what the function got. Nobody writes anything
// while the row is sent.
func (row *earlyRow) run(t *testing.T, p *peer, got <-chan []string) {
	end := p.close(frame.CloseNormal, "")
	all := append([]byte(asking("/")), row.stream[:row.with]...)
	if row.with == len(row.stream) {
		all = append(all, end...)
	}
	sent := startErr(func() error {
		_, err := p.nc.Write(all)
		return err
	})
	p.accepted()
	require.NoError(t, (<-sent).err)
	if row.with < len(row.stream) {
		p.write(row.stream[row.with:], end)
	}
	p.expectClose(frame.CloseNormal)
	require.Equal(t, row.messages, <-got)
}

// collect returns a function that gathers a connection's messages.
func collect() (f func(context.Context, *Conn) error, got chan []string) {
	got = make(chan []string, 1)
	return func(ctx context.Context, c *Conn) error {
		all, err := readAll(c)
		got <- all
		return err
	}, got
}

// Frames that come in the same segment as the opening handshake are not lost, in
// whole or in part.
func TestEarlyFrames(t *testing.T) {
	for _, row := range earlyRows() {
		t.Run(row.name, func(t *testing.T) {
			everyPlace(t, func(t *testing.T, at place) {
				f, got := collect()
				row.run(t, at.start(t, f, nil)(), got)
			})
		})
	}
}

// On a TCP connection, where the bytes that follow are read another way.
func TestEarlyFramesTCP(t *testing.T) {
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			f, got := collect()
			at.serve(t, ln, f, nil)
			for _, row := range earlyRows() {
				t.Run(row.name, func(t *testing.T) {
					nc, err := net.Dial("tcp", ln.Addr().String())
					require.NoError(t, err)
					row.run(t, at.peer(t, nc), got)
				})
			}
		})
	}
}

// Frames that come while a middleware is still busy: net/http has begun to read
// them, to see whether the client goes away.
func TestEarlyFramesMiddleware(t *testing.T) {
	certificate(t)
	for _, at := range places[:2] {
		for i := range len("hello") + 7 {
			bubble(t, fmt.Sprintf("%s/%d bytes", at.name, i), func(t *testing.T) {
				f, got := collect()
				d := newDoorway()
				h := Handler(f, nil)
				busy := make(chan struct{})
				at.serveHTTP(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					<-busy
					h.ServeHTTP(w, r)
					require.NoError(t, r.Context().Err())
				}))
				client, _ := d.enter()
				p := at.peer(t, client)
				hello := p.whole(frame.OpText, "hello")
				p.write([]byte(asking("/")))
				synctest.Wait()
				p.write(hello[:i])
				synctest.Wait()
				close(busy)
				p.accepted()
				p.write(hello[i:], p.close(frame.CloseNormal, ""))
				p.expectClose(frame.CloseNormal)
				require.Equal(t, []string{"hello"}, <-got)
			})
		}
	}
}

// The deadlines that net/http and the opening handshake set are gone when the
// connection begins.
func TestAcceptDeadlines(t *testing.T) {
	everyPlace(t, func(t *testing.T, at place) {
		d := newDoorway()
		at.serve(t, d, serveEcho, &AcceptOptions{Options: Options{Keepalive: -1}})
		client, server := d.enter()
		p := at.peer(t, client).open("/")
		synctest.Wait() // it reads
		readBy, writeBy := server.deadlines()
		require.Zero(t, readBy)
		require.Zero(t, writeBy)
		<-time.After(1000 * time.Hour)
		p.hello()
	})
}

// deadlines returns the deadlines of this end of a stream.
func (s *stream) deadlines() (readBy, writeBy time.Time) {
	s.in.mu.Lock()
	readBy = s.in.readBy
	s.in.mu.Unlock()
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return readBy, s.out.writeBy
}

// A client that does not read the response is given up.
func TestAcceptNotReading(t *testing.T) {
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		after   time.Duration // 0: never
	}{
		{"default", 0, 10 * time.Second},
		{"longer", time.Minute, time.Minute},
		{"none", -1, 0},
	} {
		for _, raw := range []bool{false, true} {
			name := map[bool]string{false: "Accept", true: "Server"}[raw] + " " + tt.name
			bubble(t, name, func(t *testing.T) {
				o := &AcceptOptions{HandshakeTimeout: tt.timeout}
				client, server := net.Pipe() // which holds nothing
				defer client.Close()
				opened := make(chan result, 1)
				note := func(c *Conn, err error) {
					if c != nil {
						c.CloseNow()
					}
					opened <- result{err: err, at: time.Now()}
				}
				if raw {
					go func() { note(Server(server, o)) }()
				} else {
					d := newDoorway()
					place{http: true}.serveHTTP(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						note(Accept(w, r, o))
					}))
					d.next <- server
				}
				begin := time.Now()
				_, err := client.Write([]byte(asking("/")))
				require.NoError(t, err)
				if tt.after == 0 {
					<-time.After(time.Hour)
					synctest.Wait()
					require.Empty(t, opened)
					(&peer{t: t, nc: client}).accepted()
					require.NoError(t, (<-opened).err)
					return
				}
				got := <-opened
				require.ErrorIs(t, got.err, os.ErrDeadlineExceeded)
				require.Equal(t, tt.after, got.at.Sub(begin))
				_, err = client.Read(make([]byte, 1))
				require.Equal(t, io.EOF, err, "the connection is closed")
			})
		}
	}
}

// opaque is a middleware's ResponseWriter that hides what it wraps.
type opaque struct{ http.ResponseWriter }

// wrapper is one as it should be.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// hijacker is one with a Hijack of its own.
type hijacker struct{ opaque }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.ResponseWriter.(http.Hijacker).Hijack()
}

// noHijacker is one whose Hijack fails.
type noHijacker struct{ wrapper }

func (noHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errTest }

func TestAcceptMiddleware(t *testing.T) {
	wrapping := func(wrap func(w http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrap(w), r) })
		}
	}
	for _, tt := range []struct {
		name       string
		middleware func(http.Handler) http.Handler
		culprit    string // "": it is accepted
	}{
		{"none", func(h http.Handler) http.Handler { return h }, ""},
		{"http.StripPrefix", func(h http.Handler) http.Handler { return http.StripPrefix("/", h) }, ""},
		{"http.MaxBytesHandler", func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 1) }, ""},
		{"Unwrap", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return wrapper{w} }), ""},
		{"Unwrap twice", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return wrapper{&wrapper{w}} }), ""},
		{"Hijack", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return hijacker{opaque{w}} }), ""},
		{"Hijack inside Unwrap", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return wrapper{hijacker{opaque{w}}} }), ""},
		{"neither", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return opaque{w} }), "conn.opaque"},
		{"neither, a pointer", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return &opaque{w} }), "*conn.opaque"},
		{"neither, inside Unwrap", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return wrapper{wrapper{opaque{w}}} }), "conn.opaque"},
		{"neither, around Unwrap", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return &opaque{wrapper{w}} }), "*conn.opaque"},
		{"http.TimeoutHandler", func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "") }, "*http.timeoutWriter"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			var book logbook
			o := &AcceptOptions{Options: Options{Logger: book.logger()}}
			accepted := make(chan error, 1)
			d := newDoorway()
			place{}.serveHTTP(t, d, tt.middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := Accept(w, r, o)
				accepted <- err
				if err == nil {
					c.run(serveEcho)
				}
			})))
			client, _ := d.enter()
			p := place{}.peer(t, client)
			p.write([]byte(asking("/")))
			if tt.culprit == "" {
				p.accepted()
				require.NoError(t, <-accepted)
				p.hello()
				return
			}
			body := p.refused(http.StatusInternalServerError)
			p.expectEnd()
			err := <-accepted
			require.ErrorIs(t, err, http.ErrNotSupported)
			require.EqualError(t, err, "websocket: "+tt.culprit+" cannot be hijacked: a middleware's http.ResponseWriter needs a method Unwrap() http.ResponseWriter: feature not supported")
			require.Contains(t, body, err.Error()+".\n")
			require.NotContains(t, body, "\n\n")
			require.Equal(t, []string{fmt.Sprintf(`level=ERROR msg="websocket: opening handshake failed" remote=client error=%q`, err)}, book.take())
		})
	}
}

// When it is not for the lack of Unwrap that the connection cannot be had, the
// error does not advise it.
func TestAcceptNotHijacked(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(w http.ResponseWriter) http.ResponseWriter
		want   error
	}{
		{"hijacked already", func(w http.ResponseWriter) http.ResponseWriter {
			nc, _, _ := http.NewResponseController(w).Hijack()
			nc.Close()
			return w
		}, http.ErrHijacked},
		{"Hijack fails", func(w http.ResponseWriter) http.ResponseWriter { return noHijacker{wrapper{w}} }, errTest},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			accepted := make(chan error, 1)
			d := newDoorway()
			place{}.serveHTTP(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := Accept(tt.before(w), r, nil)
				accepted <- err
			}))
			client, _ := d.enter()
			p := place{}.peer(t, client)
			p.write([]byte(asking("/")))
			err := <-accepted
			require.ErrorIs(t, err, tt.want)
			require.NotContains(t, err.Error(), "Unwrap")
			if tt.want == errTest {
				require.Contains(t, p.refused(http.StatusInternalServerError), errTest.Error())
			}
			p.expectEnd()
		})
	}
}

// A request over HTTP/2 that does not ask for a WebSocket as RFC 8441 has it.
func TestAcceptHTTP2(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := newDoorway()
		errs := make(chan error, 1)
		s := &httptest.Server{Listener: d, EnableHTTP2: true, Config: &http.Server{
			ErrorLog: log.New(io.Discard, "", 0),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := Accept(w, r, nil)
				errs <- err
			}),
		}}
		s.StartTLS()
		defer s.Close()
		client := s.Client()
		client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
			nc, _ := d.enter()
			return nc, nil
		}
		for _, method := range []string{"GET", "POST", "CONNECT"} {
			r, err := http.NewRequest(method, "https://example.com/chat", strings.NewReader("a body"))
			require.NoError(t, err)
			r.Header.Set("Sec-WebSocket-Version", "13")
			resp, err := client.Do(r)
			require.NoError(t, err)
			require.Equal(t, 2, resp.ProtoMajor)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Contains(t, string(body), `came over "HTTP/2.0"`)
			require.Contains(t, string(body), "Connect over HTTP/1.1")
			var refusal *handshake.Error
			err = <-errs
			require.ErrorAs(t, err, &refusal)
			require.ErrorIs(t, err, handshake.ErrNotWebSocket)
			require.Equal(t, refusal.Body(), string(body))
		}
	})
}

type contextKey struct{}

// What a connection keeps of its request.
func TestAcceptRequest(t *testing.T) {
	everyPlace(t, func(t *testing.T, at place) {
		d := newDoorway()
		got := make(chan *Conn, 1)
		over := make(chan context.Context, 1)
		f := func(ctx context.Context, c *Conn) error {
			require.Equal(t, c.Context(), ctx)
			got <- c
			<-ctx.Done()
			return nil
		}
		if at.http {
			mux := http.NewServeMux()
			mux.HandleFunc("GET /rooms/{room}", func(w http.ResponseWriter, r *http.Request) {
				r = r.WithContext(context.WithValue(r.Context(), contextKey{}, "a value"))
				c, err := Accept(w, r, &AcceptOptions{Subprotocols: []string{"chat"}})
				require.NoError(t, err)
				require.Equal(t, http.NoBody, c.Request().Body)
				go c.run(f)
				over <- r.Context()
			})
			at.serveHTTP(t, d, mux)
		} else {
			at.serve(t, d, f, &AcceptOptions{Subprotocols: []string{"chat"}})
		}
		client, _ := d.enter()
		p := at.peer(t, client).open("/rooms/a%20b?c=d", "Cookie: e=f", "Sec-WebSocket-Protocol: soap, chat", "X: 1", "X: 2")
		c := <-got
		require.Equal(t, "chat", c.Subprotocol())
		require.Equal(t, streamAddr("client"), c.RemoteAddr())
		require.Equal(t, streamAddr("server"), c.LocalAddr())

		r := c.Request()
		require.Equal(t, "GET", r.Method)
		require.Equal(t, "/rooms/a b", r.URL.Path)
		require.Equal(t, "d", r.FormValue("c"))
		require.Equal(t, "example.com", r.Host)
		require.Equal(t, "client", r.RemoteAddr)
		require.Equal(t, []string{"1", "2"}, r.Header["X"])
		cookie, err := r.Cookie("e")
		require.NoError(t, err)
		require.Equal(t, "f", cookie.Value)
		require.Equal(t, at.tls, r.TLS != nil)
		if at.tls {
			require.True(t, r.TLS.HandshakeComplete)
			require.Equal(t, "example.com", r.TLS.ServerName)
		}
		require.Equal(t, http.NoBody, r.Body)
		require.Equal(t, c.Context(), r.Context())
		if at.http {
			require.Equal(t, "a b", r.PathValue("room"))
			require.Equal(t, "a value", c.Context().Value(contextKey{}))
			require.IsType(t, &http.Server{}, c.Context().Value(http.ServerContextKey))
			require.Equal(t, streamAddr("server"), c.Context().Value(http.LocalAddrContextKey))
			<-(<-over).Done() // the handler has returned
		}
		synctest.Wait()
		require.NoError(t, c.Context().Err(), "the connection lives")
		_, limited := c.Context().Deadline()
		require.False(t, limited)

		p.write(p.close(4321, "bye"))
		go readAll(c)
		<-c.Context().Done()
		require.Equal(t, context.Canceled, c.Context().Err())
		require.Equal(t, &CloseError{Code: 4321, Reason: "bye", Remote: true}, context.Cause(c.Context()))
	})
}

// The context of a request that is cancelled before Accept is not that of the
// connection.
func TestAcceptContextCancelled(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := newDoorway()
		h := Handler(serveEcho, nil)
		place{}.serveHTTP(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			h.ServeHTTP(w, r.WithContext(ctx))
		}))
		client, _ := d.enter()
		place{}.peer(t, client).open("/").hello()
	})
}

// What a connection is closed with after its function has returned or worse, and
// what is logged. The server goes on.
func TestHandlerReturns(t *testing.T) {
	const failed = `level=ERROR msg="websocket: a connection's function failed" remote=client error=`
	const panicked = `level=ERROR msg="websocket: panic in a connection's function" remote=client panic=`
	const secret = "dial postgres://admin:hunter2@10.0.0.1"
	for _, tt := range []struct {
		name   string
		f      func(ctx context.Context, c *Conn) error
		code   frame.CloseCode
		reason string
		line   string
	}{
		{"nil", func(context.Context, *Conn) error { return nil }, 1000, "", ""},
		{"CloseError", func(context.Context, *Conn) error { return &CloseError{Code: 4000, Reason: "bye"} }, 4000, "bye", ""},
		{"CloseError wrapped", func(context.Context, *Conn) error {
			return fmt.Errorf("%s: %w", secret, &CloseError{Code: frame.ClosePolicyViolation, Reason: "log in first"})
		}, 1008, "log in first", ""},
		{"CloseError joined", func(context.Context, *Conn) error { return errors.Join(errTest, &CloseError{Code: 3000}) }, 3000, "", ""},
		{"CloseError without a code on the wire", func(context.Context, *Conn) error { return &CloseError{Code: frame.CloseNoStatus} }, 1005, "", ""},
		{"CloseError of another connection", func(context.Context, *Conn) error { return &CloseError{Code: 1001, Remote: true} }, 1001, "", ""},
		{"CloseError that cannot be sent", func(context.Context, *Conn) error { return &CloseError{Code: frame.CloseAbnormal} }, 1011, "",
			failed + `"websocket: connection closed: 1006 (abnormal closure)"`},
		{"CloseError of zero", func(context.Context, *Conn) error { return &CloseError{} }, 1011, "", failed + `"websocket: connection closed: 0"`},
		{"ErrShutdown", func(context.Context, *Conn) error { return ErrShutdown }, 1001, "", ""},
		{"ErrShutdown wrapped", func(context.Context, *Conn) error { return fmt.Errorf("room: %w", ErrShutdown) }, 1001, "", ""},
		{"http.ErrServerClosed", func(context.Context, *Conn) error { return http.ErrServerClosed }, 1001, "", ""},
		{"context.Canceled", func(context.Context, *Conn) error { return context.Canceled }, 1011, "", failed + `"context canceled"`},
		{"own deadline", func(ctx context.Context, c *Conn) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, _, err := c.Read(ctx)
			return err
		}, 1011, "", failed + `"context deadline exceeded"`},
		{"any other error", func(context.Context, *Conn) error { return errors.New(secret) }, 1011, "", failed + `"` + secret + `"`},
		{"io.EOF", func(context.Context, *Conn) error { return io.EOF }, 1011, "", failed + `EOF`},
		{"panic", func(context.Context, *Conn) error { panic(secret) }, 1011, "", panicked + `"` + secret + `" stack="of the panic"`},
		{"panic with an error", func(context.Context, *Conn) error { panic(errTest) }, 1011, "", panicked + `"the cable is cut" stack="of the panic"`},
		{"panic with a CloseError", func(context.Context, *Conn) error { panic(&CloseError{Code: 4000}) }, 1011, "",
			panicked + `"websocket: connection closed: 4000" stack="of the panic"`},
		{"http.ErrAbortHandler", func(context.Context, *Conn) error { panic(http.ErrAbortHandler) }, 1011, "", ""},
		{"runtime.Goexit", func(context.Context, *Conn) error { runtime.Goexit(); return nil }, 1011, "", ""},
		{"closed by itself", func(_ context.Context, c *Conn) error {
			c.Close(4001, "first")
			return errTest
		}, 4001, "first", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everyPlace(t, func(t *testing.T, at place) {
				var book logbook
				connect := at.start(t, func(ctx context.Context, c *Conn) error {
					if c.Request().URL.Path == "/echo" {
						return serveEcho(ctx, c)
					}
					return tt.f(ctx, c)
				}, &AcceptOptions{Options: Options{Logger: book.logger()}})
				before := connect().open("/echo")
				p := connect().open("/")
				var reason string
				if tt.code == frame.CloseNoStatus {
					p.expect(frame.OpClose, "")
					p.send(frame.OpClose, "")
				} else {
					reason = p.expectClose(tt.code)
					p.write(p.close(tt.code, ""))
				}
				require.Equal(t, tt.reason, reason)
				p.expectEnd()
				synctest.Wait()
				require.Equal(t, []string{tt.line}, book.take())
				before.hello()
				connect().open("/echo").hello()
			})
		})
	}
}

// After the end of the connection the function may return what it likes, and
// nothing is logged twice.
func TestHandlerReturnsAfterTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    func(ctx context.Context, c *Conn) error
	}{
		{"its error", func(ctx context.Context, c *Conn) error {
			_, err := readAll(c)
			return err
		}},
		{"its error wrapped", func(ctx context.Context, c *Conn) error {
			_, err := readAll(c)
			return fmt.Errorf("reading: %w", err)
		}},
		{"the context's error", func(ctx context.Context, c *Conn) error {
			go readAll(c)
			<-ctx.Done()
			return ctx.Err()
		}},
		{"another error", func(ctx context.Context, c *Conn) error {
			readAll(c)
			return errTest
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everyPlace(t, func(t *testing.T, at place) {
				var book logbook
				connect := at.start(t, tt.f, &AcceptOptions{Options: Options{Logger: book.logger()}})
				p := connect().open("/")
				p.write(p.close(4000, "bye"))
				p.expectClose(4000)
				p.expectEnd()
				synctest.Wait()
				require.Equal(t, []string{""}, book.take(), "the peer closed it")

				p = connect().open("/")
				p.write([]byte{0x83, 0x80, 0, 0, 0, 0})
				p.expectClose(frame.CloseProtocolError)
				p.nc.Close()
				synctest.Wait()
				lines := book.take()
				require.Len(t, lines, 1)
				require.Contains(t, lines[0], `level=INFO msg="websocket: connection failed" remote=client error="websocket: `)
			})
		})
	}
}

// A server that is shut down refuses handshakes, and closes connections, whatever
// their functions then return.
func TestHandlerShutdown(t *testing.T) {
	everyPlace(t, func(t *testing.T, at place) {
		var book logbook
		var tracker Tracker
		connect := at.start(t, func(ctx context.Context, c *Conn) error {
			go readAll(c)
			<-ctx.Done()
			return ctx.Err()
		}, &AcceptOptions{Options: Options{Tracker: &tracker, Logger: book.logger()}})
		p := connect().open("/")
		late := connect()
		late.write([]byte(asking("/")[:20]))
		down := startErr(func() error { return tracker.Shutdown(t.Context()) })
		code, _ := p.answerClose()
		require.Equal(t, frame.CloseGoingAway, code)
		require.NoError(t, (<-down).err)
		require.Equal(t, []string{""}, book.take())

		late.write([]byte(asking("/")[20:]))
		require.Contains(t, late.refused(http.StatusServiceUnavailable), "websocket: the server is shutting down.\n")
		late.expectEnd()
		require.Equal(t, []string{`level=WARN msg="websocket: opening handshake refused" remote=client status=503 error="websocket: the server is shutting down"`}, book.take())
	})
}

// A refusal is logged once, with what the client is told.
func TestAcceptLogsRefusals(t *testing.T) {
	const refused = `level=WARN msg="websocket: opening handshake refused" remote=client status=`
	for _, tt := range []struct {
		name  string
		o     AcceptOptions
		send  string
		line  string
		serve bool // net/http deals with it itself
	}{
		{
			name: "origin",
			send: asking("/", "Origin: https://example.org"),
			line: `403 error="websocket: origin \"https://example.org\" is not allowed at host \"example.com\", nor listed in Origins (RFC 6455, section 10.2)"`,
		},
		{
			name: "CheckOrigin",
			o:    AcceptOptions{CheckOrigin: func(*http.Request) error { return errTest }},
			send: asking("/"),
			line: `403 error="the cable is cut"`,
		},
		{
			name: "CheckOrigin with a status",
			o: AcceptOptions{CheckOrigin: func(*http.Request) error {
				return &handshake.Error{Status: http.StatusUnauthorized, Err: errors.New("who are you")}
			}},
			send: asking("/"),
			line: `401 error="who are you"`,
		},
		{
			name: "settings",
			o:    AcceptOptions{Origins: []string{"example.com"}},
			send: asking("/"),
			line: `500 error="websocket: Origins: \"example.com\" is no origin: write \"https://example.com\", \"https://example.com:8443\", \"https://*.example.com\" or \"*\", in ASCII"`,
		},
		{
			name: "no handshake",
			send: "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
			line: `426 error="websocket: this is a WebSocket endpoint, and the request has no Upgrade header (RFC 6455, section 4.2.1)"`,
		},
		{
			name:  "no request",
			send:  "hello\r\n",
			line:  `400 error="websocket: the opening handshake is no HTTP request: malformed HTTP request \"hello\""`,
			serve: true,
		},
		{
			name:  "too long",
			o:     AcceptOptions{HandshakeBytes: 10},
			send:  asking("/"),
			line:  `431 error="websocket: request line and header are over 10 bytes (AcceptOptions.HandshakeBytes)"`,
			serve: true,
		},
		{
			name:  "too late",
			send:  "GET",
			line:  `408 error="websocket: no whole opening handshake within 10s (AcceptOptions.HandshakeTimeout): i/o timeout"`,
			serve: true,
		},
		{
			name:  "long garbage",
			send:  strings.Repeat("x", 10_000) + "\r\n",
			line:  `400 error="websocket: the opening handshake is no HTTP request: malformed HTTP request \"` + strings.Repeat("x", 176) + `"`,
			serve: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everyPlace(t, func(t *testing.T, at place) {
				if tt.serve && at.http {
					return
				}
				var book logbook
				tt.o.Logger = book.logger()
				p := at.start(t, serveEcho, &tt.o)()
				p.write([]byte(tt.send))
				p.response()
				p.nc.Close()
				synctest.Wait()
				require.Equal(t, []string{refused + tt.line}, book.take())
			})
		})
	}
}

// Nothing is logged without a Logger, nor of what goes well.
func TestAcceptLogsNothing(t *testing.T) {
	everyPlace(t, func(t *testing.T, at place) {
		var book logbook
		connect := at.start(t, serveEcho, &AcceptOptions{Options: Options{Logger: book.logger()}})
		scheme := "http"
		if at.tls {
			scheme = "https"
		}
		p := connect().open("/", "Origin: "+scheme+"://example.com")
		p.hello()
		p.write(p.close(frame.CloseNormal, ""))
		p.expectClose(frame.CloseNormal)
		p.expectEnd()
		connect().nc.Close() // before a request
		synctest.Wait()
		require.Equal(t, []string{""}, book.take())

		connect = at.start(t, serveEcho, nil)
		book.asDefault(t)
		refused := connect()
		refused.write([]byte(asking("/", "Origin: https://example.org")))
		refused.refused(http.StatusForbidden)
		p = connect().open("/")
		p.hello()
		p.nc.Close()
		synctest.Wait()
		require.Equal(t, []string{""}, book.take())
	})
}

// A panic is never passed over in silence.
func TestPanicWithoutLogger(t *testing.T) {
	everyPlace(t, func(t *testing.T, at place) {
		var book logbook
		book.asDefault(t)
		connect := at.start(t, func(context.Context, *Conn) error { panic("on purpose") }, nil)
		connect().open("/").expectClose(frame.CloseInternalError)
		synctest.Wait()
		require.Equal(t, []string{`level=ERROR msg="websocket: panic in a connection's function" remote=client panic="on purpose" stack="of the panic"`}, book.take())
	})
}

// The function runs as long as ServeHTTP does, so that what middleware lends to
// the request is there for it, unless it is detached. The end of the request's
// context is not the connection's.
func TestHandlerAndRequest(t *testing.T) {
	for _, detached := range []bool{false, true} {
		bubble(t, fmt.Sprintf("detached=%v", detached), func(t *testing.T) {
			type key struct{}
			running, end := make(chan context.Context, 1), make(chan bool)
			h := Handler(func(ctx context.Context, c *Conn) error {
				running <- ctx
				<-end
				return nil
			}, &AcceptOptions{Detached: detached})
			ours, theirs := net.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			room := "general" // as a router keeps it for the next request
			served := make(chan bool)
			go func() {
				defer close(served)
				ctx := context.WithValue(ctx, key{}, &room)
				h.ServeHTTP(lender{httptest.NewRecorder(), theirs}, openingRequest().WithContext(ctx))
				room = "taken back"
			}()
			resp, err := http.ReadResponse(bufio.NewReader(ours), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			live := <-running
			synctest.Wait()
			select {
			case <-served:
				require.True(t, detached)
			default:
				require.False(t, detached)
				require.Equal(t, "general", *live.Value(key{}).(*string))
			}
			cancel()
			synctest.Wait()
			require.NoError(t, live.Err())
			close(end)
			p := &peer{t: t, nc: ours, role: frame.Client, recv: frame.Receiver{Role: frame.Client}}
			code, _ := p.answerClose()
			require.Equal(t, frame.CloseNormal, code)
			<-served
			<-live.Done()
		})
	}
}
