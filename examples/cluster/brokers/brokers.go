//go:build unix

// Package brokers runs Redis and NATS for tests: real ones, each on a free port.
package brokers

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a broker may take to start, on a busy machine.
const patience = 60 * time.Second

// Broker is a server that a test has started. It ends with the test.
type Broker struct {
	Addr string // host:port, the same after a restart
	URL  string

	path  string
	args  []string
	ready string // what it says when it is
	cmd   *exec.Cmd
	ended chan struct{}
}

// Redis starts a Redis that stores nothing. Without redis-server on the PATH the
// test is skipped, and fails where CI=true.
func Redis(t testing.TB) *Broker {
	t.Helper()
	b := &Broker{path: find(t, "redis-server"), ready: "Ready to accept connections"}
	b.begin(t, func(port string) {
		b.URL = "redis://" + b.Addr
		b.args = []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir()}
	})
	return b
}

// NATS starts a NATS server, as Redis does.
func NATS(t testing.TB) *Broker {
	t.Helper()
	b := &Broker{path: find(t, "nats-server"), ready: "Server is ready"}
	b.begin(t, func(port string) {
		b.URL = "nats://" + b.Addr
		b.args = []string{"-a", "127.0.0.1", "-p", port}
	})
	return b
}

// find returns where a program is. Where Debian has servers is not on every
// user's PATH.
func find(t testing.TB, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	if os.Getenv("CI") == "true" {
		require.Fail(t, "no "+name+" on PATH")
	}
	t.Skipf("no %s on PATH: this test needs one", name)
	return ""
}

// begin starts a broker on a port that is free.
func (b *Broker) begin(t testing.TB, configure func(port string)) {
	t.Helper()
	for range 20 {
		// Below the ports that the system gives to connections: one that dials the
		// port of a broker that is down could be given the same, and so talk to
		// itself.
		port := fmt.Sprint(10000 + rand.IntN(20000))
		b.Addr = "127.0.0.1:" + port
		ln, err := net.Listen("tcp", b.Addr)
		if err != nil {
			continue
		}
		ln.Close()
		configure(port)
		if b.run(t) {
			return
		}
	}
	require.Fail(t, "no port stays free")
}

// run starts the process and waits until it is ready. ok is false if its address
// is in use.
func (b *Broker) run(t testing.TB) (ok bool) {
	t.Helper()
	cmd := exec.Command(b.path, b.args...)
	out, in, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	in.Close()
	require.NoError(t, err)
	ended := make(chan struct{})
	said := make(chan string, 1)
	go func() {
		defer close(ended)
		defer out.Close()
		var text strings.Builder
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(&text, lines.Text())
			if strings.Contains(lines.Text(), b.ready) {
				said <- ""
				io.Copy(io.Discard, out)
			}
		}
		cmd.Wait()
		select {
		case said <- text.String():
		default:
		}
	}()
	kill := sync.OnceFunc(func() {
		cmd.Process.Kill()
		<-ended
	})
	t.Cleanup(kill)
	b.cmd, b.ended = cmd, ended
	select {
	case text := <-said:
		if text == "" {
			return true
		}
		<-ended
		require.Regexp(t, "(?i)address already in use", text)
		return false
	case <-time.After(patience):
		require.Fail(t, b.path+" does not start")
		return false
	}
}

// Kill ends the broker as a crash does.
func (b *Broker) Kill(t testing.TB) {
	t.Helper()
	require.NoError(t, b.cmd.Process.Kill())
	<-b.ended
}

// Restart starts it again, empty, on the same port.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < patience; {
		if b.run(t) {
			return
		}
	}
	require.Fail(t, "the port is in use")
}

// Stop has the broker do nothing, while its connections stay open: as a host
// whose cable is cut. Continue undoes that.
func (b *Broker) Stop(t testing.TB) {
	t.Helper()
	require.NoError(t, b.cmd.Process.Signal(syscall.SIGSTOP))
	// The signal has been sent; wait until no thread runs any more.
	var status syscall.WaitStatus
	for !status.Stopped() {
		_, err := syscall.Wait4(b.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if err != syscall.EINTR {
			require.NoError(t, err)
		}
	}
}

// Continue undoes Stop.
func (b *Broker) Continue(t testing.TB) {
	t.Helper()
	require.NoError(t, b.cmd.Process.Signal(syscall.SIGCONT))
}
