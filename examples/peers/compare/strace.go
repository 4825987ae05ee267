package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rfc6455/examples/peers/process"
)

// trace counts the system calls of a server for each message. The server is much
// slower meanwhile, so its times do not count.
func (s *scenario) trace(ctx context.Context, server *process.Server, raw bool, d time.Duration) (map[string]float64, error) {
	if s.start == nil {
		return nil, nil
	}
	o := s.options
	o.Addr, o.Raw = server.Addr, raw
	l, err := s.start(o)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if _, err := l.Run(d / 4); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "strace", "-c", "-f", "-p", strconv.Itoa(server.PID))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	said := bufio.NewReader(stderr)
	first, err := said.ReadString('\n')
	if err != nil || !strings.Contains(first, "attached") {
		rest, _ := io.ReadAll(said)
		cmd.Wait()
		return nil, fmt.Errorf("strace: %s%s", first, rest)
	}
	r, err := l.Run(d)
	cmd.Process.Signal(syscall.SIGINT)
	summary, _ := io.ReadAll(said)
	cmd.Wait() // with the signal as its status
	if err != nil {
		return nil, err
	}
	calls := parseStrace(summary)
	if len(calls) == 0 || r.Count == 0 {
		return nil, fmt.Errorf("strace: no summary in %q", summary)
	}
	for name := range calls {
		calls[name] /= float64(r.Count)
	}
	return calls, nil
}

// parseStrace returns the number of each system call in the table that strace -c
// prints:
//
//	% time     seconds  usecs/call     calls    errors syscall
//	------ ----------- ----------- --------- --------- ----------------
//	 62.12    0.247106          13     18678         3 write
//	------ ----------- ----------- --------- --------- ----------------
//	100.00    0.397000          13     18678         3 total
func parseStrace(b []byte) map[string]float64 {
	calls := map[string]float64{}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 5 || f[len(f)-1] == "total" {
			continue
		}
		n, err := strconv.ParseInt(f[3], 10, 64)
		if _, terr := strconv.ParseFloat(f[0], 64); err != nil || terr != nil {
			continue
		}
		calls[f[len(f)-1]] = float64(n)
	}
	return calls
}
