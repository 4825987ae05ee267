//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/examples/chat/rooms"
	"rfc6455/frame"
)

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 60 * time.Second

// program is the chat as its users start it; TestMain builds it.
var program string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	for _, name := range []string{"CHAT_PASSWORD", "CHAT_KEY", "CHAT_PUSH_TOKEN", "CLUSTER_KEYS"} {
		os.Unsetenv(name)
	}
	dir, err := os.MkdirTemp("", "cluster")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "cluster")
	build := []string{"build", "-o", program}
	if raceEnabled {
		build = append(build, "-race")
		os.Setenv("GORACE", "halt_on_error=1")
	}
	if out, err := exec.Command("go", append(build, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// process is a running program.
type process struct {
	url    string // without a slash at its end
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
}

// start runs the program on a free port. It is killed at the end of the test.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{exited: make(chan struct{})}
	p.cmd = exec.Command(program, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	p.cmd.Stderr = t.Output()
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(p.kill)
	first := make(chan string, 1)
	go func() {
		defer close(p.exited)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			select {
			case first <- lines.Text():
			default:
			}
		}
		close(first)
		p.cmd.Wait()
	}()
	line := <-first
	require.Regexp(t, `^listening on http://127\.0\.0\.1:\d+/$`, line)
	p.url = strings.TrimSuffix(strings.TrimPrefix(line, "listening on "), "/")
	return p
}

// kill ends it as a crash does.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// stop interrupts it and waits for its end.
func (p *process) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.Fail(t, "the program does not end")
	}
	assert.Equal(t, 0, p.cmd.ProcessState.ExitCode())
}

// bounded returns a context that lives as long as the test's patience.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// peer is a member's end of its connection.
type peer struct {
	*conn.Conn
	present []string         // as it was told last
	orders  map[string]int64 // of the last change of a name
}

// incoming is whatever a page is sent.
type incoming struct {
	rooms.Event
	Present []string
	Life    string
}

// dial opens a connection to a path of a process.
func dial(t *testing.T, p *process, path string, o *conn.DialOptions) (*peer, error) {
	t.Helper()
	with := conn.DialOptions{}
	if o != nil {
		with = *o
	}
	if with.HTTPClient == nil {
		with.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: new(net.Dialer).DialContext}}
	}
	c, _, err := conn.Dial(bounded(t), "ws"+strings.TrimPrefix(p.url, "http")+path, &with)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.CloseNow() })
	return &peer{Conn: c, orders: make(map[string]int64)}, nil
}

// join enters a room, and waits for the welcome.
func join(t *testing.T, p *process, room, name string) *peer {
	t.Helper()
	m, err := dial(t, p, "/ws/room/"+room+"?"+url.Values{"name": {name}}.Encode(), nil)
	require.NoError(t, err)
	for {
		in := m.next(t)
		if in.Type == "welcome" {
			require.Equal(t, name, in.Name)
			require.Zero(t, in.N, "nothing is numbered")
			require.Empty(t, in.Life)
			return m
		}
	}
}

// next returns what comes next, and keeps account of who is present.
func (m *peer) next(t *testing.T) incoming {
	t.Helper()
	in, err := conn.ReadJSON[incoming](bounded(t), m.Conn)
	require.NoError(t, err)
	m.take(in)
	return in
}

// take does with joins and leaves what the page does: the processes that tell of
// them are not in step, so the last one by its order counts.
func (m *peer) take(in incoming) {
	names := in.Names
	if len(names) == 0 {
		names = []string{in.Name}
	}
	switch in.Type {
	case "welcome":
		m.present = in.Present
	case "join", "leave":
		for _, name := range names {
			if in.Order != 0 && in.Order < m.orders[name] {
				continue
			}
			m.orders[name] = in.Order
			m.present = slices.DeleteFunc(m.present, func(n string) bool { return n == name })
			if in.Type == "join" {
				m.present = append(m.present, name)
			}
		}
	}
	slices.Sort(m.present)
}

// until reads until something of a type comes, and returns it. Others come and go
// meanwhile, but nothing that was sent may be read over.
func (m *peer) until(t *testing.T, kind string) incoming {
	t.Helper()
	for {
		in := m.next(t)
		if in.Type == kind {
			return in
		}
		require.NotContains(t, []string{"message", "error"}, in.Type, "%s instead of %s: %s", in.Type, kind, in.Text)
	}
}

// hears waits for a message, and for no other before it.
func (m *peer) hears(t *testing.T, name, text string) {
	t.Helper()
	in := m.until(t, "message")
	require.Equal(t, name+": "+text, in.Name+": "+in.Text)
	require.Zero(t, in.N)
}

// settles waits until the process has done what the member sent so far, and
// returns what it was told meanwhile that was wrong.
func (m *peer) settles(t *testing.T) (problem string) {
	t.Helper()
	require.NoError(t, conn.WriteJSON(bounded(t), m.Conn, rooms.Request{Type: "who"}))
	for {
		in := m.next(t)
		switch in.Type {
		case "error":
			problem = in.Text
		case "welcome":
			return problem
		default:
			require.NotEqual(t, "message", in.Type, in.Text)
		}
	}
}

func (m *peer) say(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, conn.WriteJSON(bounded(t), m.Conn, rooms.Request{Type: "message", Text: text}))
}

// sees waits until exactly these are present, as far as the member is told.
func (m *peer) sees(t *testing.T, names ...string) {
	t.Helper()
	slices.Sort(names)
	for !slices.Equal(m.present, names) {
		in := m.next(t)
		require.NotContains(t, []string{"message", "error"}, in.Type, in.Text)
	}
}

// asks waits until these are present, by asking.
func (m *peer) asks(t *testing.T, names ...string) {
	t.Helper()
	slices.Sort(names)
	for begun := time.Now(); !slices.Equal(m.present, names); {
		require.Less(t, time.Since(begun), patience, "present: %v", m.present)
		require.NoError(t, conn.WriteJSON(bounded(t), m.Conn, rooms.Request{Type: "who"}))
		m.until(t, "welcome")
	}
}

// drains reads whatever comes from now on, and returns the error at the end.
func (m *peer) drains(t *testing.T) <-chan error {
	ended := make(chan error, 1)
	go func() {
		for {
			if _, _, err := m.Read(t.Context()); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

func (m *peer) leave(t *testing.T) {
	t.Helper()
	require.NoError(t, m.Close(frame.CloseNormal, ""))
}
