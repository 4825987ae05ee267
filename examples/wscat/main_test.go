//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 60 * time.Second

// program is wscat as its users start it; TestMain builds it.
var program string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wscat")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "wscat")
	args := []string{"build", "-o", program}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race") // a race in the program fails its test
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// output is what a running program has written.
type output struct {
	mu   sync.Mutex
	b    []byte
	more chan struct{} // closed and replaced when b grows
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	close(o.more)
	o.more = make(chan struct{})
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.b)
}

// await waits until the output matches a regular expression.
func (o *output) await(t *testing.T, expr string) {
	t.Helper()
	re := regexp.MustCompile(expr)
	for late := time.After(patience); ; {
		o.mu.Lock()
		found, more := re.Match(o.b), o.more
		o.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-late:
			require.Fail(t, "not in the output", "%s\nis not in\n%s", expr, o)
		}
	}
}

// process is a running wscat.
type process struct {
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr *output
	exited         chan struct{}
}

// start runs wscat with its standard streams in pipes. It is killed at the end
// of the test.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(program, args...), stdout: newOutput(), stderr: newOutput()}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	p.run(t)
	return p
}

func (p *process) run(t *testing.T) {
	t.Helper()
	p.exited = make(chan struct{})
	require.NoError(t, p.cmd.Start())
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.exited
	})
}

// status waits for the program's end and returns its exit status, -1 if a signal
// ended it.
func (p *process) status(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.Fail(t, "the program does not end", "%s", p.stderr)
	}
	return p.cmd.ProcessState.ExitCode()
}

// pipe runs wscat to its end with all of its input.
func pipe(t *testing.T, input string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	p := start(t, args...)
	go func() {
		io.WriteString(p.stdin, input)
		p.stdin.Close()
	}()
	status = p.status(t)
	return p.stdout.String(), p.stderr.String(), status
}

// serve starts a server that calls f for each connection, and returns its URL
// and what the connections ended with.
func serve(t *testing.T, f func(ctx context.Context, c *conn.Conn) error, o *conn.AcceptOptions) (url string, ends <-chan error) {
	t.Helper()
	ended := make(chan error, 100)
	s := httptest.NewServer(conn.Handler(func(ctx context.Context, c *conn.Conn) error {
		err := f(ctx, c)
		if cause := context.Cause(c.Context()); cause != nil {
			ended <- cause
		} else {
			ended <- err
		}
		return err
	}, o))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http") + "/", ended
}

// expectClose waits for the end of a server's connection by a Close frame of
// wscat.
func expectClose(t *testing.T, ends <-chan error, code frame.CloseCode, reason string) {
	t.Helper()
	select {
	case err := <-ends:
		var closed *conn.CloseError
		require.ErrorAs(t, err, &closed)
		assert.Equal(t, conn.CloseError{Code: code, Reason: reason, Remote: true}, *closed)
	case <-time.After(patience):
		require.Fail(t, "the connection does not end")
	}
}

func echo(ctx context.Context, c *conn.Conn) error {
	for m, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		if err := c.Write(ctx, m.Type, m.Data); err != nil {
			return err
		}
	}
	return nil
}

// say returns a server that sends messages, text or []byte, and then echoes.
func say(messages ...any) func(ctx context.Context, c *conn.Conn) error {
	return func(ctx context.Context, c *conn.Conn) error {
		for _, m := range messages {
			var err error
			switch m := m.(type) {
			case string:
				err = c.Write(ctx, conn.Text, []byte(m))
			case []byte:
				err = c.Write(ctx, conn.Binary, m)
			}
			if err != nil {
				return err
			}
		}
		return echo(ctx, c)
	}
}

func TestPipe(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", 50_000)
	for _, tt := range []struct {
		name   string
		server func(ctx context.Context, c *conn.Conn) error
		input  string
		args   []string
		want   string
	}{
		{"a line, its answer, and a second of silence", echo, "hi\n", nil, "hi\n"},
		{"no line break at the end", echo, "one\ntwo", []string{"-n", "2"}, "one\ntwo\n"},
		{"an empty line is a message", echo, "\n\nx\n", []string{"-n", "3"}, "\n\nx\n"},
		{"a line break of two bytes", echo, "one\r\ntwo\r\n", []string{"-n", "2"}, "one\ntwo\n"},
		{"no input", say("news"), "", []string{"-n", "1"}, "news\n"},
		{"a long line", echo, long + "\nend\n", []string{"-n", "2"}, long + "\nend\n"},
		{"control characters are nothing to a pipe", say("\x1b[31m\x00"), "", []string{"-n", "1"}, "\x1b[31m\x00\n"},
		{"a text of several lines", say("a\nb"), "", []string{"-n", "1"}, "a\nb\n"},
		{"binary as hex", say([]byte("\x00\xff"), bytes.Repeat([]byte{0xAB}, 100)), "", []string{"-n", "2"}, "00ff\n" + strings.Repeat("ab", 100) + "\n"},
		{"-binary", echo, "a\r\n\xff\n\n", []string{"-binary", "-n", "1"}, "a\r\n\xff\n\n"},
		{"-binary with texts between", say([]byte("a"), "text", []byte("b")), "", []string{"-binary", "-n", "3"}, "atext\nb"},
		{"-binary without input", say("news"), "", []string{"-binary", "-n", "1"}, "news\n"},
		{"-x, and the input is not read", echo, "input\n", []string{"-x", "one", "-x", "two\nlines", "-n", "2"}, "one\ntwo\nlines\n"},
		{"-x -binary", echo, "", []string{"-x", "\xff", "-binary", "-n", "1"}, "\xff"},
		{"-n of more", say("1", "2", "3", "4"), "", []string{"-n", "3"}, "1\n2\n3\n"},
		{"-wait 0", echo, "", []string{"-wait", "0s"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url, ends := serve(t, tt.server, nil)
			stdout, stderr, status := pipe(t, tt.input, append(tt.args, url)...)
			assert.Equal(t, tt.want, stdout)
			assert.Empty(t, stderr)
			assert.Equal(t, 0, status)
			expectClose(t, ends, frame.CloseNormal, "")
		})
	}
}

// With -n wscat ends although there is more input, but not before all of -x is
// sent.
func TestEnough(t *testing.T) {
	t.Parallel()
	url, ends := serve(t, say("greeting"), nil)
	p := start(t, "-n", "1", url)
	assert.Equal(t, 0, p.status(t))
	assert.Equal(t, "greeting\n", p.stdout.String())
	expectClose(t, ends, frame.CloseNormal, "")

	got := make(chan string, 3)
	url, ends = serve(t, func(ctx context.Context, c *conn.Conn) error {
		defer close(got)
		if err := c.Write(ctx, conn.Text, []byte("greeting")); err != nil {
			return err
		}
		for m, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			got <- string(m.Data)
		}
		return nil
	}, nil)
	stdout, _, status := pipe(t, "", "-n", "1", "-x", "a", "-x", "b", "-x", "c", url)
	assert.Equal(t, 0, status)
	assert.Equal(t, "greeting\n", stdout)
	expectClose(t, ends, frame.CloseNormal, "")
	for _, want := range []string{"a", "b", "c"} {
		assert.Equal(t, want, <-got)
	}
}

// later is a server that answers its first message after each of some times.
func later(after ...time.Duration) func(ctx context.Context, c *conn.Conn) error {
	return func(ctx context.Context, c *conn.Conn) error {
		if _, _, err := c.Read(ctx); err != nil {
			return err
		}
		for i, d := range after {
			<-time.After(d)
			if err := c.Write(ctx, conn.Text, fmt.Append(nil, i)); err != nil {
				return err
			}
		}
		_, _, err := c.Read(ctx)
		return err
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	t.Run("the silence counts", func(t *testing.T) {
		t.Parallel()
		url, ends := serve(t, later(1200*time.Millisecond, 1200*time.Millisecond), nil)
		stdout, _, status := pipe(t, "hi\n", "-wait", "2s", url)
		assert.Equal(t, "0\n1\n", stdout)
		assert.Equal(t, 0, status)
		expectClose(t, ends, frame.CloseNormal, "")
	})
	// Both answers come later than the default would have it.
	t.Run("for ever", func(t *testing.T) {
		t.Parallel()
		url, ends := serve(t, later(1500*time.Millisecond), nil)
		p := start(t, "-wait", "-1s", "-x", "hi", url)
		p.stdout.await(t, "^0\n$")
		require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, 0, p.status(t))
		expectClose(t, ends, frame.CloseNormal, "")
	})
	t.Run("for -n", func(t *testing.T) {
		t.Parallel()
		url, ends := serve(t, later(1500*time.Millisecond), nil)
		stdout, _, status := pipe(t, "hi\n", "-n", "1", url)
		assert.Equal(t, "0\n", stdout)
		assert.Equal(t, 0, status)
		expectClose(t, ends, frame.CloseNormal, "")
	})
	t.Run("for -n, but not for ever", func(t *testing.T) {
		t.Parallel()
		url, _ := serve(t, echo, nil)
		stdout, _, status := pipe(t, "hi\n", "-n", "2", "-wait", "1s", url)
		assert.Equal(t, "hi\n", stdout)
		assert.Equal(t, 0, status)
	})
}

func TestRequest(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, func(ctx context.Context, c *conn.Conn) error {
		r := c.Request()
		return c.Write(ctx, conn.Text, fmt.Appendf(nil, "%s %v %s %v %s", r.Host, r.Header["X-Test"], r.Header.Get("Origin"),
			r.Header["Sec-Websocket-Protocol"], c.Subprotocol()))
	}, &conn.AcceptOptions{Origins: []string{"https://page.example"}, Subprotocols: []string{"other", "feed"}})
	stdout, stderr, status := pipe(t, "", "-H", "X-Test: one", "-H", "x-test:two: three ", "-H", "Host: name.example",
		"-origin", "https://page.example", "-subprotocol", "feed", "-subprotocol", "chat", url)
	assert.Equal(t, "name.example [one two: three] https://page.example [feed, chat] feed\n", stdout)
	assert.Contains(t, stderr, "* connection closed by peer: 1000 (normal closure)\n")
	assert.Equal(t, 0, status)
}

func TestInsecure(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(conn.Handler(echo, nil))
	defer s.Close()
	url := "wss" + strings.TrimPrefix(s.URL, "https") + "/"
	_, stderr, status := pipe(t, "hi\n", url)
	assert.Contains(t, stderr, "certificate")
	assert.Equal(t, 1, status)
	stdout, stderr, status := pipe(t, "hi\n", "-insecure", "-n", "1", url)
	assert.Equal(t, "hi\n", stdout)
	assert.Empty(t, stderr)
	assert.Equal(t, 0, status)
}

func TestProxy(t *testing.T) {
	t.Parallel()
	var tunnels atomic.Int32
	connect := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := proxyAuth(r); r.Method != http.MethodConnect || user != "user" || password != "secret" {
			http.Error(w, "who are you?", http.StatusProxyAuthRequired)
			return
		}
		tunnels.Add(1)
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		join(client, r.Host)
	})
	plain := httptest.NewServer(connect)
	defer plain.Close()
	secure := httptest.NewTLSServer(connect)
	defer secure.Close()
	socks, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer socks.Close()
	go func() {
		for {
			client, err := socks.Accept()
			if err != nil {
				return
			}
			go func() {
				if addr, err := socksRequest(client); err == nil {
					tunnels.Add(1)
					join(client, addr)
				}
			}()
		}
	}()
	for _, proxy := range []string{
		strings.Replace(plain.URL, "//", "//user:secret@", 1),
		strings.Replace(secure.URL, "//", "//user:secret@", 1),
		"socks5://" + socks.Addr().String(),
	} {
		scheme, _, _ := strings.Cut(proxy, ":")
		t.Run(scheme, func(t *testing.T) {
			url, _ := serve(t, echo, nil)
			before := tunnels.Load()
			stdout, stderr, status := pipe(t, "hi\n", "-proxy", proxy, "-insecure", "-n", "1", url)
			assert.Equal(t, "hi\n", stdout)
			assert.Empty(t, stderr)
			assert.Equal(t, 0, status)
			assert.Equal(t, before+1, tunnels.Load())
		})
	}
	t.Run("refused", func(t *testing.T) {
		_, stderr, status := pipe(t, "", "-proxy", plain.URL, "ws://server.example/")
		assert.Contains(t, stderr, "407 Proxy Authentication Required")
		assert.Contains(t, stderr, "who are you?")
		assert.Equal(t, 1, status)
	})
}

// proxyAuth returns a request's credentials for a proxy.
func proxyAuth(r *http.Request) (user, password string, ok bool) {
	header := http.Header{"Authorization": r.Header["Proxy-Authorization"]}
	return (&http.Request{Header: header}).BasicAuth()
}

// join connects a proxy's client to addr until one side ends.
func join(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	go func() {
		io.Copy(server, client)
		server.Close()
	}()
	io.Copy(client, server)
}

// socksRequest reads a client's request without authentication and answers that
// it is granted. (RFC 1928)
func socksRequest(client net.Conn) (addr string, err error) {
	var hello [2]byte
	if _, err := io.ReadFull(client, hello[:]); err != nil {
		return "", err
	}
	if _, err := io.CopyN(io.Discard, client, int64(hello[1])); err != nil {
		return "", err
	}
	client.Write([]byte{5, 0})
	var request [10]byte // to an IPv4 address
	if _, err := io.ReadFull(client, request[:]); err != nil || request[3] != 1 {
		return "", errors.New("not an IPv4 address")
	}
	client.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	return fmt.Sprintf("%v:%d", net.IP(request[4:8]), binary.BigEndian.Uint16(request[8:])), nil
}

func TestPing(t *testing.T) {
	t.Parallel()
	url, ends := serve(t, echo, nil)
	p := start(t, "-ping", "1ms", url)
	p.stderr.await(t, `(?m)(^\d\d:\d\d:\d\d\.\d{3} \* pong after [\d.]+.?s\n){3}`)
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	assert.Equal(t, 0, p.status(t))
	expectClose(t, ends, frame.CloseNormal, "")
	assert.Empty(t, p.stdout.String())
}

func TestClose(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args   []string
		code   frame.CloseCode
		reason string
	}{
		{[]string{"-close", "4321", "-reason", "bye bye"}, 4321, "bye bye"},
		{[]string{"-close", "1011"}, frame.CloseInternalError, ""},
		{[]string{"-close", "1005"}, frame.CloseNoStatus, ""},
		{[]string{"-reason", "done"}, frame.CloseNormal, "done"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			url, ends := serve(t, echo, nil)
			stdout, stderr, status := pipe(t, "hi\n", append(tt.args, "-n", "1", url)...)
			assert.Equal(t, "hi\n", stdout)
			assert.Empty(t, stderr)
			assert.Equal(t, 0, status, "it was wscat that chose the code")
			expectClose(t, ends, tt.code, tt.reason)
		})
	}
}

func TestMaxMessage(t *testing.T) {
	t.Parallel()
	url, ends := serve(t, say(strings.Repeat("x", 100), strings.Repeat("x", 101)), nil)
	stdout, stderr, status := pipe(t, "", "-max-message", "100", url)
	assert.Equal(t, strings.Repeat("x", 100)+"\n", stdout)
	assert.Regexp(t, "^wscat: .*101", stderr)
	assert.Equal(t, 9, status)
	var closed *conn.CloseError
	require.ErrorAs(t, <-ends, &closed)
	assert.Equal(t, frame.CloseMessageTooBig, closed.Code)
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	_, stderr, status := pipe(t, "", "-timeout", "50ms", "ws://"+silent.Addr().String())
	assert.Contains(t, stderr, "50ms")
	assert.Equal(t, 1, status)
}

// speak starts a server that answers the opening handshake, and is left to the
// test then.
func speak(t *testing.T, f func(nc net.Conn)) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer nc.Close()
		fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			handshake.AcceptKey(r.Header.Get("Sec-WebSocket-Key")))
		f(nc)
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http") + "/"
}

// nowhere returns a URL where nobody listens until the end of the test.
func nowhere(t *testing.T) (url string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	addr, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return fmt.Sprintf("ws://127.0.0.1:%d/", addr.(*syscall.SockaddrInet4).Port)
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for code, want := range map[frame.CloseCode]int{
		1000: 0, 1001: 0, 1005: 0,
		1002: 2, 1003: 3, 1007: 7, 1008: 8, 1009: 9, 1010: 10, 1011: 11, 1012: 12, 1013: 13, 1014: 14,
		3000: 30, 3999: 30, 4000: 40, 4321: 40, 4999: 40,
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			url, _ := serve(t, func(_ context.Context, c *conn.Conn) error { return c.Close(code, "") }, nil)
			p := start(t, url) // its input does not end
			assert.Equal(t, want, p.status(t))
			assert.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3} \* connection closed by peer: `+regexp.QuoteMeta(code.String())+"\n$", p.stderr.String())
		})
	}
	for _, tt := range []struct {
		name string
		sent string
		want int
		says string
	}{
		{"no Close frame", "\x81\x02hi", 1, "connection lost"},
		{"a masked frame", "\x81\x80\x00\x00\x00\x00", 2, "masked"},
		{"text that is not UTF-8", "\x81\x01\xff", 7, "UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := speak(t, func(nc net.Conn) {
				io.WriteString(nc, tt.sent)
				if tt.want != 1 {
					io.Copy(io.Discard, nc)
				}
			})
			p := start(t, url)
			assert.Equal(t, tt.want, p.status(t))
			assert.Regexp(t, "^wscat: .*"+tt.says, p.stderr.String())
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		_, stderr, status := pipe(t, "", nowhere(t))
		assert.Contains(t, stderr, "connection refused")
		assert.Equal(t, 1, status)
	})
}

func TestRefused(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.Header().Set("X-Noise", "noise")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "come back\nlater \x1b[31m\x9b2J\n")
	}))
	defer s.Close()
	stdout, stderr, status := pipe(t, "hi\n", s.URL)
	assert.Empty(t, stdout)
	assert.Equal(t, 1, status)
	assert.Regexp(t, "^wscat: .*503 Service Unavailable\n", stderr)
	assert.Contains(t, stderr, "\n  Retry-After: 120\n")
	assert.Contains(t, stderr, "\n\n  come back\n  later \\x1b[31m\uFFFD2J\n")
	assert.NotContains(t, stderr, "oise")
}

func TestTrace(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, func(ctx context.Context, c *conn.Conn) error {
		w, err := c.Writer(ctx, conn.Text)
		if err != nil {
			return err
		}
		if _, err := w.Write([]byte(strings.Repeat("x", 20_000))); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		return say([]byte("\x00\xff"))(ctx, c)
	}, nil)
	stdout, stderr, status := pipe(t, "a \"line\"\x1b\n", "-trace", "-n", "3", "-ping", "1h", "-close", "4000", "-reason", "bye", url)
	assert.Equal(t, strings.Repeat("x", 20_000)+"\n00ff\na \"line\"\x1b\n", stdout)
	assert.Equal(t, 0, status)
	// What was sent may be shown after the answer to it, so there is an order in
	// each direction alone.
	frames := map[string][]string{}
	for l := range strings.Lines(stderr) {
		if at := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3} ([<>]) frame (.*)\n$`).FindStringSubmatch(l); at != nil {
			frames[at[1]] = append(frames[at[1]], at[2])
		}
	}
	assert.ElementsMatch(t, []string{
		"ping fin=1 rsv=000 length=8 00 00 00 00 00 00 00 01",
		`text fin=1 rsv=000 length=9 "a \"line\"\x1b"`,
		`close fin=1 rsv=000 length=5 4000 "bye"`,
	}, frames[">"])
	assert.Subset(t, frames["<"], []string{
		`text fin=0 rsv=000 length=20000 "` + strings.Repeat("x", 32) + `"...`,
		"continuation fin=1 rsv=000 length=0",
		"binary fin=1 rsv=000 length=2 00 ff",
		`text fin=1 rsv=000 length=9 "a \"line\"\x1b"`,
		"pong fin=1 rsv=000 length=8 00 00 00 00 00 00 00 01",
		`close fin=1 rsv=000 length=2 4000 ""`,
	})
}

func TestReconnect(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	url, ends := serve(t, func(ctx context.Context, c *conn.Conn) error {
		switch connections.Add(1) {
		case 1:
			c.Read(ctx)
			return c.CloseNow()
		case 2:
			return c.Close(frame.CloseServiceRestart, "back soon")
		}
		return echo(ctx, c)
	}, nil)
	p := start(t, "-reconnect", "-reconnect-wait", "1ms", "-n", "1", url)
	io.WriteString(p.stdin, "lost with the connection\n")
	p.stderr.await(t, `(?s)\* connected to .*\* .*connection lost.*; attempt 1 in .*\* connected to .*1012 .*"back soon"; attempt \d in .*\* connected to `)
	io.WriteString(p.stdin, "hi\n")
	assert.Equal(t, 0, p.status(t))
	assert.Equal(t, "hi\n", p.stdout.String())
	assert.Equal(t, int32(3), connections.Load())
	<-ends
	<-ends
	expectClose(t, ends, frame.CloseNormal, "")

	t.Run("a refusal that stays", func(t *testing.T) {
		s := httptest.NewServer(http.NotFoundHandler())
		defer s.Close()
		_, stderr, status := pipe(t, "", "-reconnect", s.URL)
		assert.Regexp(t, "^wscat: .*404 Not Found\n", stderr)
		assert.Equal(t, 1, status)
	})
	t.Run("interrupted while it waits", func(t *testing.T) {
		p := start(t, "-reconnect", "-reconnect-wait", "1h", nowhere(t))
		p.stderr.await(t, "connection refused; attempt 1 in ")
		require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, 1, p.status(t))
		assert.Contains(t, p.stderr.String(), "wscat: interrupted")
	})
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			url, ends := serve(t, say("hello"), nil)
			p := start(t, "-close", "4000", url)
			p.stdout.await(t, "hello")
			require.NoError(t, p.cmd.Process.Signal(sig))
			assert.Equal(t, 0, p.status(t))
			expectClose(t, ends, frame.CloseNormal, "")
		})
	}
	t.Run("before the connection", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer silent.Close()
		p := start(t, "-timeout", "1h", "ws://"+silent.Addr().String())
		nc, err := silent.Accept()
		require.NoError(t, err)
		defer nc.Close()
		require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, 1, p.status(t))
		assert.Contains(t, p.stderr.String(), "wscat: interrupted")
	})

	t.Run("twice", func(t *testing.T) {
		closing := make(chan struct{})
		url := speak(t, func(nc net.Conn) {
			io.WriteString(nc, "\x81\x05hello")
			var head [2]byte
			io.ReadFull(nc, head[:]) // of the Close frame, which gets no answer
			close(closing)
			io.Copy(io.Discard, nc)
		})
		p := start(t, url)
		p.stdout.await(t, "hello")
		require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
		<-closing
		require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, -1, p.status(t), "ended by the signal")
	})

	// What comes cannot be shown, what is put in cannot be sent, and the server
	// does not answer the Close frame.
	t.Run("everything blocked", func(t *testing.T) {
		url, ends := serve(t, func(ctx context.Context, c *conn.Conn) error {
			for {
				if err := c.Write(ctx, conn.Binary, make([]byte, 64<<10)); err != nil {
					return err
				}
			}
		}, &conn.AcceptOptions{Options: conn.Options{WriteTimeout: -1}})
		r, w, err := os.Pipe()
		require.NoError(t, err)
		defer r.Close()
		p := &process{cmd: exec.Command(program, "-binary", url), stdout: newOutput(), stderr: newOutput()}
		p.cmd.Stdin = strings.NewReader(strings.Repeat("x", maxInput))
		p.cmd.Stdout, p.cmd.Stderr = w, p.stderr
		p.run(t)
		w.Close()
		_, err = io.ReadFull(r, make([]byte, 1<<20))
		require.NoError(t, err)
		require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, 1, p.status(t))
		assert.Contains(t, p.stderr.String(), "did not complete the closing handshake")
		<-ends
	})
}

func TestServerCloses(t *testing.T) {
	t.Parallel()
	typed := make(chan struct{})
	url, _ := serve(t, func(ctx context.Context, c *conn.Conn) error {
		<-typed
		return &conn.CloseError{Code: frame.CloseGoingAway, Reason: "good night"}
	}, nil)
	p := start(t, url)
	io.WriteString(p.stdin, "hello\nhalf a li")
	close(typed)
	assert.Equal(t, 0, p.status(t))
	assert.Contains(t, p.stderr.String(), `* connection closed by peer: 1001 (going away): "good night"`)
}

func TestWrongInput(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		input string
		args  []string
		says  string
	}{
		{"a line that is not UTF-8", "good\n\xff\nmore\n", nil, "message 2 of standard input is not UTF-8"},
		{"a message of -x that is not UTF-8", "", []string{"-x", "good", "-x", "\xff"}, "a message of -x is not UTF-8"},
		{"a line over the limit", "good\n" + strings.Repeat("x", maxInput+1), nil, "message 2 of standard input is over 16777216 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 10)
			url, ends := serve(t, func(ctx context.Context, c *conn.Conn) error {
				defer close(got)
				for m, err := range c.Messages(ctx) {
					if err != nil {
						return err
					}
					got <- string(m.Data)
				}
				return nil
			}, nil)
			_, stderr, status := pipe(t, tt.input, append(tt.args, url)...)
			assert.Regexp(t, "^wscat: "+tt.says, stderr)
			assert.Equal(t, 1, status)
			expectClose(t, ends, frame.CloseNormal, "")
			assert.Equal(t, "good", <-got)
			assert.Empty(t, got)
		})
	}
}

func TestLongestInput(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, func(ctx context.Context, c *conn.Conn) error {
		for m, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			if err := c.Write(ctx, conn.Text, fmt.Append(nil, len(m.Data))); err != nil {
				return err
			}
		}
		return nil
	}, &conn.AcceptOptions{Options: conn.Options{ReadLimit: -1}})
	long := strings.Repeat("x", maxInput)
	stdout, stderr, status := pipe(t, long+"\nhi\n", "-n", "2", url)
	assert.Equal(t, "16777216\n2\n", stdout)
	assert.Empty(t, stderr)
	assert.Equal(t, 0, status)
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	const url = "ws://127.0.0.1:1/"
	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"no URL", nil, "which URL?"},
		{"no scheme", []string{"127.0.0.1/"}, "it must be ws or wss"},
		{"flag behind the URL", []string{url, "-n", "1"}, `unexpected "-n"`},
		{"unknown flag", []string{"-port", "1", url}, "-port"},
		{"header without colon", []string{"-H", "Name", url}, "-H"},
		{"header of the handshake", []string{"-H", "Upgrade: x", url}, "Upgrade"},
		{"subprotocol", []string{"-subprotocol", "a b", url}, "a b"},
		{"proxy", []string{"-proxy", "ftp://127.0.0.1", url}, "-proxy"},
		{"close code", []string{"-close", "1006", url}, "-close 1006"},
		{"close code over 16 bits", []string{"-close", "66536", url}, "-close 66536"},
		{"close reason", []string{"-reason", strings.Repeat("x", 124), url}, "124 bytes"},
		{"number of messages", []string{"-n", "-1", url}, "-n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, status := pipe(t, "", tt.args...)
			assert.Empty(t, stdout)
			assert.Regexp(t, "^wscat: [^\n]*\n$", stderr)
			assert.Contains(t, stderr, tt.says)
			assert.Equal(t, 1, status)
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	stdout, stderr, status := pipe(t, "", "-h")
	assert.Empty(t, stderr)
	assert.Equal(t, 0, status)
	for _, name := range []string{
		"H", "subprotocol", "origin", "proxy", "insecure", "ping", "close", "reason", "binary", "x", "n", "wait",
		"reconnect", "reconnect-wait", "trace", "max-message", "timeout",
	} {
		assert.Contains(t, stdout, "\n  -"+name)
	}
	assert.Contains(t, stdout, "Exit status")
}
