//go:build linux

package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a program that runs during a test. What it prints is kept, and
// shown if the test fails.
type process struct {
	cmd    *exec.Cmd
	out    *os.File
	exited chan struct{} // closed when it has ended and its output is complete

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced with every line
}

// start runs a program until the end of the test.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), exited: make(chan struct{}), more: make(chan struct{})}
	// Should the tests die without their cleanup, it ends too.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	_, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	p.out = r
	p.cmd.Stdout, p.cmd.Stderr = w, w
	require.NoError(t, p.cmd.Start())
	w.Close()
	go func() {
		defer close(p.exited)
		defer p.cmd.Wait()
		defer r.Close()
		p.gather(r)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, strings.Join(p.output(), "\n"))
		}
	})
	return p
}

// gather keeps the lines that it reads.
func (p *process) gather(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

// output returns the lines so far.
func (p *process) output() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[:len(p.lines):len(p.lines)]
}

// stop ends the program, kindly at first, so that its children end too.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		p.out.Close() // a child of it may live
		<-p.exited
	}
}

// next returns the lines from the given one on, waiting for one more if there is
// none; ok is false when the program has ended or time is over.
func (p *process) next(from int, timeout <-chan time.Time) (lines []string, ok bool) {
	for {
		p.mu.Lock()
		lines, more := p.lines[from:], p.more
		p.mu.Unlock()
		if len(lines) > 0 {
			return lines, true
		}
		select {
		case <-more:
		case <-p.exited:
			p.mu.Lock()
			lines = p.lines[from:]
			p.mu.Unlock()
			return lines, len(lines) > 0
		case <-timeout:
			return nil, false
		}
	}
}

// until waits for a line that f likes.
func (p *process) until(t *testing.T, what string, f func(line string) bool) {
	t.Helper()
	timeout := time.After(patience)
	for seen := 0; ; {
		lines, ok := p.next(seen, timeout)
		require.True(t, ok, "%s never said %s", p.cmd.Path, what)
		for _, line := range lines {
			if f(line) {
				return
			}
		}
		seen += len(lines)
	}
}

// says waits for a line that matches a pattern.
func (p *process) says(t *testing.T, pattern string) {
	t.Helper()
	p.until(t, pattern, regexp.MustCompile(pattern).MatchString)
}

// event is what the programs of this directory print, a line each.
type event struct {
	Event   string
	ID      string
	Port    int
	Version string

	Code   int
	Reason string

	Name   string
	OK     bool
	Detail string

	Agreed     *terms // of compression; nil: there is none
	Compressed int    // messages sent so
}

// event waits for an event, that of the connection with id unless id is "".
func (p *process) event(t *testing.T, name, id string) event {
	t.Helper()
	var e event
	p.until(t, `the event "`+name+`" of `+id, func(line string) bool {
		e = event{}
		return json.Unmarshal([]byte(line), &e) == nil && e.Event == name && (id == "" || e.ID == id)
	})
	return e
}

// startOn runs a program that cannot choose a free port itself: it gets one for
// each of the names, and others if one of them is taken. ready is what it says,
// if it says anything, when it listens.
func startOn(t *testing.T, names []string, ready string, command func(addr map[string]string) []string) (*process, map[string]string) {
	t.Helper()
	for range 5 {
		addr := freeAddresses(t, names)
		args := command(addr)
		p := start(t, args[0], args[1:]...)
		if p.listens(ready, addr) {
			return p, addr
		}
		p.stop()
		taken := regexp.MustCompile(`(?i)address already in use|could not create listening sockets`)
		require.Regexp(t, taken, strings.Join(p.output(), "\n"), "%s does not start", args[0])
	}
	require.Fail(t, "no port stays free", "%v", names)
	return nil, nil
}

// listens waits until the program listens on all addresses, and reports whether
// it does.
func (p *process) listens(ready string, addr map[string]string) bool {
	timeout := time.After(patience)
	if ready != "" {
		pattern := regexp.MustCompile(ready)
		for seen, found := 0, false; !found; {
			lines, ok := p.next(seen, timeout)
			if !ok {
				return false
			}
			for _, line := range lines {
				found = found || pattern.MatchString(line)
			}
			seen += len(lines)
		}
	}
	for _, a := range addr {
		for {
			nc, err := net.Dial("tcp", a)
			if err == nil {
				nc.Close()
				break
			}
			select {
			case <-p.exited:
				return false
			case <-timeout:
				return false
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// freeAddresses returns an address of 127.0.0.1 for each name, on which nobody
// listened a moment ago.
func freeAddresses(t *testing.T, names []string) map[string]string {
	t.Helper()
	addr := map[string]string{}
	for _, name := range names {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		addr[name] = ln.Addr().String()
	}
	return addr
}

// refusing returns an address on which nobody listens, and nobody can until the
// end of the test.
func refusing(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	at, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return fmt.Sprint("127.0.0.1:", at.(*syscall.SockaddrInet4).Port)
}
