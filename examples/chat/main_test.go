//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/examples/chat/rooms"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 60 * time.Second

// program is the chat as its users start it; TestMain builds it.
var program string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	for _, name := range []string{"CHAT_PASSWORD", "CHAT_KEY", "CHAT_PUSH_TOKEN"} {
		os.Unsetenv(name)
	}
	dir, err := os.MkdirTemp("", "chat")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "chat")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// server is a running chat program.
type server struct {
	url    string // without a slash at its end
	addr   string
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	stdout []string      // its lines, complete then
}

// start runs the program on a free port.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	return startOn(t, "127.0.0.1:0", args...)
}

// startOn runs the program. It is killed at the end of the test.
func startOn(t *testing.T, addr string, args ...string) *server {
	t.Helper()
	s := &server{exited: make(chan struct{})}
	s.cmd = exec.Command(program, append([]string{"-addr", addr}, args...)...)
	s.cmd.Stderr = t.Output()
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.exited // what it says on standard error goes to t
	})
	first := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			s.stdout = append(s.stdout, lines.Text())
			if len(s.stdout) == 1 {
				first <- lines.Text()
			}
		}
		close(first)
		s.cmd.Wait()
		close(s.exited)
	}()
	line := <-first
	require.Regexp(t, `^listening on http://127\.0\.0\.1:\d+/$`, line)
	s.url = strings.TrimSuffix(strings.TrimPrefix(line, "listening on "), "/")
	s.addr = strings.TrimPrefix(s.url, "http://")
	return s
}

// stop interrupts the program and waits for its end.
func (s *server) stop(t *testing.T, sig os.Signal) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(sig))
	select {
	case <-s.exited:
	case <-time.After(patience):
		require.Fail(t, "the program does not end")
	}
	assert.Len(t, s.stdout, 1, "one line on standard output")
	assert.Equal(t, 0, s.cmd.ProcessState.ExitCode())
}

// bounded returns a context that lives as long as the test's patience.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// peer is a member's end of its connection.
type peer struct {
	*conn.Conn
	nc net.Conn // below; nil if it was made in memory
}

// incoming is whatever a page is sent.
type incoming struct {
	rooms.Event
	Present  []string
	Messages int64
	Life     string
}

// dial opens a connection to a path of a server.
func dial(t *testing.T, base, path string, o *conn.DialOptions) (*peer, error) {
	t.Helper()
	p := &peer{}
	with := conn.DialOptions{}
	if o != nil {
		with = *o
	}
	if with.HTTPClient == nil {
		with.HTTPClient = &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, addr)
				p.nc = nc
				return nc, err
			},
		}}
	}
	with.Compression = &conn.Compression{}
	c, _, err := conn.Dial(bounded(t), "ws"+strings.TrimPrefix(base, "http")+path, &with)
	p.Conn = c
	if err == nil {
		t.Cleanup(func() { c.CloseNow() })
	}
	return p, err
}

// join enters a room, and takes the welcome.
func join(t *testing.T, s *server, room, name string) (*peer, incoming) {
	t.Helper()
	p, err := dial(t, s.url, "/ws/room/"+room+"?"+url.Values{"name": {name}}.Encode(), nil)
	require.NoError(t, err)
	welcome := p.next(t)
	require.Equal(t, "welcome", welcome.Type)
	require.Equal(t, name, welcome.Name)
	return p, welcome
}

func (p *peer) next(t *testing.T) incoming {
	t.Helper()
	in, err := conn.ReadJSON[incoming](bounded(t), p.Conn)
	require.NoError(t, err)
	return in
}

// gets is next, and tells what came as "type name: text".
func (p *peer) gets(t *testing.T) string {
	t.Helper()
	in := p.next(t)
	s := in.Type
	if in.Name != "" {
		s += " " + in.Name
	}
	if in.Text != "" {
		s += ": " + in.Text
	}
	return s
}

func (p *peer) say(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, conn.WriteJSON(bounded(t), p.Conn, rooms.Request{Type: "message", Text: text}))
}

func TestRoomsAreIsolated(t *testing.T) {
	s := start(t)
	ada, _ := join(t, s, "one", "ada")
	eve, _ := join(t, s, "two", "eve")
	bob, welcome := join(t, s, "one", "bob")
	assert.Equal(t, []string{"ada", "bob"}, welcome.Present)
	assert.Equal(t, "join bob", ada.gets(t))
	before := time.Now()
	ada.say(t, " hello <b>bob</b>\n")
	got := ada.next(t)
	assert.Equal(t, "hello <b>bob</b>", got.Text)
	assert.Equal(t, "ada", got.Name)
	assert.WithinRange(t, got.Time, before, time.Now())
	assert.Equal(t, "message ada: hello <b>bob</b>", bob.gets(t))
	eve.say(t, "who is there?")
	assert.Equal(t, "message eve: who is there?", eve.gets(t), "and nothing before it")
	long := strings.Repeat("compressed, since it is long. ", 60)
	bob.say(t, long)
	assert.Equal(t, "message bob: "+strings.TrimSpace(long), ada.gets(t))
}

func TestPresence(t *testing.T) {
	s := start(t)
	ada, welcome := join(t, s, "lobby", "ada")
	assert.Equal(t, []string{"ada"}, welcome.Present)

	bob, _ := join(t, s, "lobby", "bob")
	assert.Equal(t, "join bob", ada.gets(t))
	again, welcome := join(t, s, "lobby", "bob")
	assert.Equal(t, []string{"ada", "bob"}, welcome.Present)
	require.NoError(t, bob.Close(frame.CloseNormal, ""))
	again.say(t, "still here")
	assert.Equal(t, "message bob: still here", ada.gets(t), "bob was there twice, which nobody was told")
	require.NoError(t, again.Close(frame.CloseNormal, ""))
	assert.Equal(t, "leave bob", ada.gets(t))

	// One whose network is gone, one who resets his, one who breaks the protocol.
	for name, end := range map[string]func(p *peer){
		"end":      func(p *peer) { p.nc.(*net.TCPConn).CloseWrite() },
		"reset":    func(p *peer) { p.nc.(*net.TCPConn).SetLinger(0); p.nc.Close() },
		"nonsense": func(p *peer) { p.nc.Write([]byte{0xff, 0x80, 0, 0, 0, 0}); p.Read(t.Context()) },
	} {
		p, _ := join(t, s, "lobby", name)
		require.Equal(t, "join "+name, ada.gets(t))
		end(p)
		assert.Equal(t, "leave "+name, ada.gets(t))
	}

	// Asking for it, and the numbers that tell what was missed.
	require.NoError(t, conn.WriteJSON(bounded(t), ada.Conn, rooms.Request{Type: "who"}))
	last := ada.next(t)
	assert.Equal(t, "welcome", last.Type)
	assert.Equal(t, []string{"ada"}, last.Present)
	assert.EqualValues(t, 1, last.Messages)
	assert.Equal(t, welcome.Life, last.Life)
	require.NoError(t, ada.Close(frame.CloseNormal, ""))
}

func TestMalformedMessages(t *testing.T) {
	s := start(t)
	ada, _ := join(t, s, "lobby", "ada")
	for _, tt := range []struct {
		name string
		t    conn.MessageType
		data string
		says string
	}{
		{"no JSON", conn.Text, "hello", "text in JSON"},
		{"nothing", conn.Text, "", "text in JSON"},
		{"half", conn.Text, `{"type":"message"`, "text in JSON"},
		{"a list", conn.Text, `[]`, "text in JSON"},
		{"text is a number", conn.Text, `{"type":"message","text":1}`, "text in JSON"},
		{"binary", conn.Binary, `{"type":"message","text":"hello"}`, "text in JSON"},
		{"no type", conn.Text, `{}`, `type ""`},
		{"unknown type", conn.Text, `{"type":"` + strings.Repeat("x", 1000) + `"}`, `type "xxxxxxxxxxxxxxxxxxxx"`},
		{"no text", conn.Text, `{"type":"message"}`, "1 to 2000 characters, not 0"},
		{"spaces", conn.Text, `{"type":"message","text":" \n "}`, "1 to 2000 characters, not 0"},
		{"too long", conn.Text, `{"type":"message","text":"` + strings.Repeat("é", 2001) + `"}`, "not 2001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.NoError(t, ada.Write(bounded(t), tt.t, []byte(tt.data)))
			got := ada.next(t)
			assert.Equal(t, "error", got.Type)
			assert.Contains(t, got.Text, tt.says)
		})
	}
	longest := strings.Repeat("😀", 2000)
	require.NoError(t, ada.Write(bounded(t), conn.Text, []byte(`{"type":"message","text":"`+strings.Repeat(`\ud83d\ude00`, 2000)+`"}`)))
	assert.Equal(t, "message ada: "+longest, ada.gets(t))

	require.NoError(t, ada.Write(bounded(t), conn.Text, make([]byte, 32<<10+1)))
	_, _, err := ada.Read(bounded(t))
	requireClosed(t, err, frame.CloseMessageTooBig)
}

func requireClosed(t *testing.T, err error, code frame.CloseCode) {
	t.Helper()
	var closed *conn.CloseError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, code, closed.Code)
	require.True(t, closed.Remote)
}

// do makes a request and returns the status and the body.
func do(t *testing.T, method, url, body string, header http.Header) (int, string) {
	t.Helper()
	resp := roundTrip(t, method, url, body, header)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// roundTrip makes a request, and follows no redirect.
func roundTrip(t *testing.T, method, url, body string, header http.Header) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestPush(t *testing.T) {
	s := start(t, "-push-token", "let-me-push")
	at := s.url + "/rooms/news/messages"
	with := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	const body = `{"name": "build", "text": "all tests pass"}`

	status, text := do(t, "POST", at, body, with("let-me-push"))
	assert.Equal(t, http.StatusAccepted, status)
	assert.JSONEq(t, `{"members": 0}`, text)

	ada, _ := join(t, s, "news", "ada")
	eve, _ := join(t, s, "other", "eve")
	for range 3 {
		status, text = do(t, "POST", at, body, with("let-me-push"))
		assert.Equal(t, http.StatusAccepted, status)
		assert.JSONEq(t, `{"members": 1}`, text)
		got := ada.next(t)
		assert.Equal(t, rooms.Event{Type: "message", N: got.N, Time: got.Time, Name: "build", Text: "all tests pass", Pushed: true}, got.Event)
	}

	for _, tt := range []struct {
		name   string
		header http.Header
		body   string
		status int
	}{
		{"no token", nil, body, 401},
		{"wrong token", with("let-me-pusH"), body, 401},
		{"longer token", with("let-me-pushh"), body, 401},
		{"another scheme", http.Header{"Authorization": {"Basic let-me-push"}}, body, 401},
		{"no JSON", with("let-me-push"), "hello", 400},
		{"no text", with("let-me-push"), `{"name": "build"}`, 400},
		{"no name", with("let-me-push"), `{"text": "hello"}`, 400},
		{"too long", with("let-me-push"), `{"name": "build", "text": "` + strings.Repeat("x", 2001) + `"}`, 400},
		{"far too long", with("let-me-push"), `{"name": "build", "text": "` + strings.Repeat("x", 1<<20) + `"}`, 400},
		{"from a page of another site", http.Header{"Authorization": {"Bearer let-me-push"}, "Origin": {"https://evil.example"}}, body, 403},
	} {
		status, text := do(t, "POST", at, tt.body, tt.header)
		assert.Equal(t, tt.status, status, "%s: %s", tt.name, text)
	}
	eve.say(t, "quiet here")
	assert.Equal(t, "message eve: quiet here", eve.gets(t))

	off := start(t)
	for _, header := range []http.Header{nil, with(""), with("let-me-push")} {
		status, text := do(t, "POST", off.url+"/rooms/news/messages", body, header)
		assert.Equal(t, http.StatusForbidden, status)
		assert.Contains(t, text, "-push-token")
	}
}

func TestRefusals(t *testing.T) {
	s := start(t, "-push-token", "x")
	for path, status := range map[string]int{
		"/ws/room/a%20b":                       404,
		"/ws/room/a%2Fb":                       404,
		"/ws/room/" + strings.Repeat("x", 100): 404,
		"/ws/room/%C3%A9":                      404,
		"/ws/room/":                            404,
		"/ws/room/a/b":                         404,
		"/ws/elsewhere":                        404,
		"/ws/room/ok?name=" + strings.Repeat("x", 41): 400,
		"/ws/room/ok?name=a%00b":                      400,
		"/ws/room/ok?name=a%E2%80%AEb":                400, // right-to-left override
		"/ws/room/ok?name=%FF":                        400,
	} {
		_, err := dial(t, s.url, path, nil)
		var refused *handshake.ResponseError
		if assert.ErrorAs(t, err, &refused, path) {
			assert.Equal(t, status, refused.Status, path)
		}
	}
	for _, path := range []string{"/room/a%20b", "/room/", "/nothing", "/page/room.html", "/page/none.js", "/page/", "/login"} {
		status, _ := do(t, "GET", s.url+path, "", nil)
		assert.Equal(t, 404, status, path)
	}
	status, _ := do(t, "POST", s.url+"/rooms/a%20b/messages", "{}", nil)
	assert.Equal(t, 404, status)
	// Written like this they do come, but not from a browser, to which they are dots.
	for _, room := range []string{"%2E", "%2e%2e", ".%2E"} {
		for path, method := range map[string]string{"/room/" + room: "GET", "/ws/room/" + room: "GET", "/rooms/" + room + "/messages": "POST"} {
			status, text := do(t, method, s.url+path, "{}", http.Header{"Authorization": {"Bearer x"}})
			assert.Equal(t, 404, status, path)
			assert.Contains(t, text, "takes them out of a URL", path)
		}
	}
	for _, room := range []string{"...", ".a", "a.", "a..b"} {
		p, err := dial(t, s.url, "/ws/room/"+room, nil)
		require.NoError(t, err, room)
		assert.Equal(t, "welcome guest", p.gets(t))
	}
	status, text := do(t, "GET", s.url+"/ws/room/ok", "", nil)
	assert.Equal(t, http.StatusUpgradeRequired, status)
	assert.Contains(t, text, "this is a WebSocket endpoint")

	_, err := dial(t, s.url, "/ws/room/ok", &conn.DialOptions{Origin: "https://evil.example"})
	var refused *handshake.ResponseError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, 403, refused.Status)
	p, err := dial(t, s.url, "/ws/room/ok", &conn.DialOptions{Origin: s.url})
	require.NoError(t, err)
	assert.Equal(t, "welcome guest", p.gets(t))
}

func TestPages(t *testing.T) {
	s := start(t)
	for path, says := range map[string]string{
		"/":               `id="enter"`,
		"/?room=x%22%3E":  `value="x&#34;&gt;"`,
		"/room/lobby":     `data-room="lobby"`,
		"/demo":           `id="count"`,
		"/page/room.js":   "textContent",
		"/page/style.css": "prefers-color-scheme",
		"/page/icon.svg":  "<svg",
	} {
		resp := roundTrip(t, "GET", s.url+path, "", nil)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode, path)
		assert.Contains(t, string(b), says, path)
		policy := resp.Header.Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'none'")
		assert.Contains(t, policy, "script-src 'self';")
		assert.NotContains(t, policy, "unsafe")
		assert.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	}
}

func TestDemo(t *testing.T) {
	s := start(t)
	p, err := dial(t, s.url, "/ws/demo", nil)
	require.NoError(t, err)
	for n := range 3 {
		got := p.next(t)
		assert.EqualValues(t, n+1, got.N)
	}
	require.NoError(t, p.Close(frame.CloseNormal, ""))
}

// Twenty people who all talk at once hear each other, in order.
func TestTwentyAtOnce(t *testing.T) {
	const people, messages = 20, 4 // of which all can wait at once: QueueMessages
	s := start(t)
	var peers []*peer
	for n := range people {
		p, welcome := join(t, s, "lobby", fmt.Sprint("member-", n))
		require.Len(t, welcome.Present, n+1)
		for _, earlier := range peers {
			require.Equal(t, fmt.Sprint("join member-", n), earlier.gets(t))
		}
		peers = append(peers, p)
	}
	var wg sync.WaitGroup
	for n, p := range peers {
		wg.Go(func() {
			for i := range messages {
				assert.NoError(t, conn.WriteJSON(bounded(t), p.Conn, rooms.Request{Type: "message", Text: fmt.Sprint(i)}))
			}
		})
		wg.Go(func() {
			heard := make(map[string]int)
			for range people * messages {
				in, err := conn.ReadJSON[incoming](bounded(t), p.Conn)
				if !assert.NoError(t, err, "member-%d", n) {
					return
				}
				assert.Equal(t, "message", in.Type)
				assert.Equal(t, fmt.Sprint(heard[in.Name]), in.Text)
				heard[in.Name]++
			}
			assert.Len(t, heard, people)
		})
	}
	wg.Wait()
}

func TestShutdown(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			s := start(t)
			var peers []*peer
			for n := range 3 {
				p, _ := join(t, s, "lobby", fmt.Sprint("member-", n))
				peers = append(peers, p)
			}
			demo, err := dial(t, s.url, "/ws/demo", nil)
			require.NoError(t, err)
			peers = append(peers, demo)
			ended := make(chan error, len(peers))
			for _, p := range peers {
				go func() {
					for {
						if _, _, err := p.Read(t.Context()); err != nil {
							ended <- err
							return
						}
					}
				}()
			}
			s.stop(t, sig)
			for range peers {
				requireClosed(t, <-ended, frame.CloseGoingAway)
			}
		})
	}
}

func TestWrongUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"address in use", []string{"-addr", taken.Addr().String()}, "address already in use"},
		{"short key", []string{"-auth", "-key", "secret"}, "shorter than 32"},
		{"argument", []string{"127.0.0.1:8080"}, "unexpected argument"},
		{"Redis", []string{"-redis", "redis://127.0.0.1:6379"}, "cd examples/cluster && go run . -redis URL"},
		{"unknown flag", []string{"-port", "1"}, "-port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := exec.Command(program, tt.args...).CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Contains(t, string(out), tt.says)
			assert.NotContains(t, string(out), "listening")
		})
	}
	help := exec.Command(program, "-h")
	help.Env = append(os.Environ(), "CHAT_PASSWORD=hush-1", "CHAT_KEY=hush-2", "CHAT_PUSH_TOKEN=hush-3")
	out, _ := help.CombinedOutput()
	assert.NotContains(t, string(out), "hush")
}
