// Package process runs a server in a process of its own and measures it. Linux
// only.
package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Build builds the server into a directory and returns its path. The working
// directory must be in this module.
func Build(dir string) (string, error) {
	path := filepath.Join(dir, "server")
	out, err := exec.Command("go", "build", "-o", path, "rfc6455/examples/peers/server").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the server: %w\n%s", err, out)
	}
	return path, nil
}

// Server is a running server.
type Server struct {
	Addr   string
	PID    int
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// Start starts the server binary of a path and waits for its address. On an
// error, and with ctx, the process is over. It must be called with the thread
// locked, since the server gets the processors of this thread, and a signal when
// this thread ends.
func Start(ctx context.Context, path string, args ...string) (*Server, error) {
	s := &Server{cmd: exec.CommandContext(ctx, path, args...)}
	s.cmd.Stderr = &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.PID = s.cmd.Process.Pid
	s.stdout = bufio.NewReader(stdout)
	if s.Addr, err = s.line(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// line reads what the server says.
func (s *Server) line() (string, error) {
	line, err := s.stdout.ReadString('\n')
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return "", fmt.Errorf("the server says nothing: %w\n%s", err, s.stderr.Bytes())
	}
	return line[:len(line)-1], nil
}

// Stop ends the server and waits for it. It may be called again.
func (s *Server) Stop() error {
	if s.cmd.ProcessState != nil {
		return nil
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	io.Copy(io.Discard, s.stdout)
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("server: %w\n%s", err, s.stderr.Bytes())
	}
	return nil
}

// CPU returns the processor time that the server has used, in user and system
// mode together, from the process's clock: it counts in nanoseconds, as of the
// last timer tick or system call that waited, and threads that have ended count,
// too. /proc/PID/stat counts in hundredths of a second, and the schedstat files
// are those of living threads.
func (s *Server) CPU() (time.Duration, error) {
	// As clock_getcpuclockid makes it: CPUCLOCK_SCHED of all threads.
	clock := int32(^s.PID)<<3 | 2
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("clock of process %d: %w", s.PID, err)
	}
	return time.Duration(t.Nano()), nil
}

// Memory is that of a server in bytes.
type Memory struct {
	Resident int64
	Objects  int64 // of the heap, those alive
	Stacks   int64 // of goroutines
}

// Settle makes the server collect its garbage and give memory back, and measures
// what it has then. Resident comes from smaps_rollup: the counters in
// /proc/PID/statm are approximate.
func (s *Server) Settle() (Memory, error) {
	var m Memory
	if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return m, err
	}
	line, err := s.line()
	if err != nil {
		return m, err
	}
	if _, err := fmt.Sscanf(line, "settled %d %d", &m.Objects, &m.Stacks); err != nil {
		return m, fmt.Errorf("the server says %q", line)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.PID))
	if err != nil {
		return m, err
	}
	for l := range bytes.Lines(b) {
		if f := bytes.Fields(l); len(f) == 3 && string(f[0]) == "Rss:" {
			n, err := strconv.ParseInt(string(f[1]), 10, 64)
			m.Resident = n << 10
			return m, err
		}
	}
	return m, errors.New("no Rss in smaps_rollup")
}

// CPUs returns the processors that this process may use.
func CPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	var cpus []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}

// Pin ties this thread to processors: the processes that it starts as well.
func Pin(cpus ...int) error {
	var set unix.CPUSet
	for _, i := range cpus {
		set.Set(i)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("sched_setaffinity: %w", err)
	}
	return nil
}

// Nice sets the nice value of this thread, and of the processes that it starts,
// until restore is called. Where the kernel has a group of processes for each
// session, which shares the processors with other groups as one, the group gets
// the value as well: that of a process counts within its group alone.
func Nice(n int) (restore func(), err error) {
	set := func(n int) error {
		if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), n); err != nil {
			return fmt.Errorf("setpriority: %w", err)
		}
		if err := os.WriteFile("/proc/self/autogroup", strconv.AppendInt(nil, int64(n), 10), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	return func() { set(0) }, set(n)
}

// ThreadCPU returns the processor time that this thread has used.
func ThreadCPU() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}
