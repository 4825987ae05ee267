package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

// clock is the time that a line begins with.
const clock = `\d\d:\d\d:\d\d\.\d{3} `

// startOnTerminal runs wscat on a terminal of its own. What is written to stdin
// is typed there; stdout has all that stands on it, also what was typed.
func startOnTerminal(t *testing.T, args ...string) *process {
	t.Helper()
	master, slave, err := openTerminal()
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("no terminal: ", err)
	}
	require.NoError(t, err)
	p := &process{cmd: exec.Command(program, args...), stdin: master, stdout: newOutput(), stderr: newOutput()}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // Ctrl-C is for it
	t.Cleanup(func() { master.Close() })                                  // after the program's end
	p.run(t)
	slave.Close()
	go io.Copy(p.stdout, master)
	return p
}

// openTerminal opens both sides of a new pseudoterminal.
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			master.Close()
		}
	}()
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var unlocked, number uint32
	for _, call := range []struct {
		request uintptr
		value   *uint32
	}{{syscall.TIOCSPTLCK, &unlocked}, {syscall.TIOCGPTN, &number}} {
		var errno syscall.Errno
		if err := raw.Control(func(fd uintptr) {
			_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, call.request, uintptr(unsafe.Pointer(call.value)))
		}); err != nil {
			return nil, nil, err
		}
		if errno != 0 {
			return nil, nil, errno
		}
	}
	slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	return master, slave, err
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	url, ends := serve(t, say(
		"\x1b[2J\u009b31m\a\b\rx\u202e \u200d世界\té",
		"first\n12:00:00.000 < second",
		[]byte("hello"),
		make([]byte, 33),
	), &conn.AcceptOptions{Subprotocols: []string{"chat"}})
	p := startOnTerminal(t, "-subprotocol", "chat", url)
	p.stdout.await(t, `^`+clock+`\* connected to 127\.0\.0\.1:\d+, subprotocol chat\r\n`+
		clock+regexp.QuoteMeta(`< \x1b[2J\u009b31m\a\b\rx\u202e `+"\u200d世界\té")+`\r\n`+
		clock+`< first\r\n`+
		`             \| 12:00:00\.000 < second\r\n`+
		clock+`< binary, 5 bytes: 68 65 6c 6c 6f\r\n`+
		clock+`< binary, 33 bytes: (00 ){32}\.\.\.\r\n$`)
	io.WriteString(p.stdin, "hi\n")
	p.stdout.await(t, `\nhi\r\n`+clock+`> hi\r\n`+clock+`< hi\r\n$`)
	io.WriteString(p.stdin, "\x04") // Ctrl-D
	assert.Equal(t, 0, p.status(t))
	p.stdout.await(t, clock+`\* connection closed: 1000 \(normal closure\)\r\n$`)
	expectClose(t, ends, frame.CloseNormal, "")

	t.Run("Ctrl-C", func(t *testing.T) {
		url, ends := serve(t, echo, nil)
		p := startOnTerminal(t, "-binary", "-close", "4000", url)
		p.stdout.await(t, "connected")
		io.WriteString(p.stdin, "hello\n") // a message of its own, unlike in a pipe
		p.stdout.await(t, clock+`> binary, 5 bytes: 68 65 6c 6c 6f\r\n`+clock+`< binary, 5 bytes`)
		io.WriteString(p.stdin, "\x03")
		assert.Equal(t, 0, p.status(t))
		expectClose(t, ends, frame.CloseNormal, "")
	})
	t.Run("the server closes while the user types", func(t *testing.T) {
		typed := make(chan struct{})
		url, _ := serve(t, func(ctx context.Context, c *conn.Conn) error {
			<-typed
			return &conn.CloseError{Code: frame.CloseTryAgainLater, Reason: "\x1b[31mfull"}
		}, nil)
		p := startOnTerminal(t, url)
		p.stdout.await(t, "connected")
		io.WriteString(p.stdin, "half a li")
		p.stdout.await(t, "half a li") // the terminal's own echo
		close(typed)
		assert.Equal(t, 13, p.status(t))
		p.stdout.await(t, regexp.QuoteMeta(`* connection closed by peer: 1013 (try again later): "\x1b[31mfull"`)+`\r\n$`)
	})
	t.Run("no terminal but for standard output", func(t *testing.T) {
		url, _ := serve(t, say("hello"), nil)
		p := startOnTerminal(t, "-x", "hi", url) // waits for the answer, unlike after Ctrl-D
		assert.Equal(t, 0, p.status(t))
		p.stdout.await(t, clock+`< hi\r\n`)
	})
	t.Run("refused", func(t *testing.T) {
		p := startOnTerminal(t, "ws://\x1b[31m")
		assert.Equal(t, 1, p.status(t))
		p.stdout.await(t, `wscat: .*\n`)
		assert.NotContains(t, p.stdout.String(), "\x1b")
	})
}

// What cannot be written ends the program.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	url, ends := serve(t, say("hello"), nil)
	p := &process{cmd: exec.Command(program, url), stdout: newOutput(), stderr: newOutput()}
	p.cmd.Stdout, p.cmd.Stderr = full, p.stderr
	_, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	p.run(t)
	assert.Equal(t, 1, p.status(t))
	assert.Contains(t, p.stderr.String(), "no space left on device")
	expectClose(t, ends, frame.CloseNormal, "")
}
