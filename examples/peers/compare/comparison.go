package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"rfc6455/examples/peers"
	"rfc6455/examples/peers/load"
	"rfc6455/examples/peers/process"
)

// subject is a server that takes part.
type subject struct {
	name   string
	lib    peers.Lib
	binary string
}

// comparison is one run of this program.
type comparison struct {
	subjects  []subject
	scenarios []scenario
	rounds    int
	duration  time.Duration
	strace    bool
	profiles  string // directory; none: no profiles
	nice      int
	progress  io.Writer

	serverCPU, loadCPU int
}

// run measures everything.
func (c *comparison) run(ctx context.Context, stdout io.Writer) (*results, error) {
	if _, err := load.Raise(); err != nil {
		return nil, err
	}
	// The load runs in this goroutine, and on this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpus, err := process.CPUs()
	if err != nil {
		return nil, err
	}
	c.loadCPU, c.serverCPU = cpus[0], cpus[len(cpus)-1]
	if err := process.Pin(c.loadCPU); err != nil {
		return nil, err
	}
	defer process.Pin(cpus...)
	if c.nice != 0 {
		restore, err := process.Nice(c.nice)
		defer restore()
		if err != nil {
			return nil, err
		}
	}

	r := &results{
		Date:     time.Now().UTC().Format(time.RFC3339),
		Go:       runtime.Version(),
		CPU:      processor(),
		Kernel:   kernel(),
		Versions: versions(),
		Rounds:   c.rounds,
		Duration: c.duration.String(),
	}
	for _, s := range c.scenarios {
		o, err := c.scenario(ctx, &s)
		if err != nil {
			return nil, err
		}
		o.print(stdout)
		r.Scenarios = append(r.Scenarios, o)
	}
	return r, nil
}

// scenario measures one scenario. Its error is that of ctx: those of servers are
// in the rows.
func (c *comparison) scenario(ctx context.Context, s *scenario) (*outcome, error) {
	o := &outcome{Name: s.name, Title: s.title, Base: s.base, What: "CPU per " + s.what, Unit: "ns"}
	if s.bytes {
		o.What, o.Unit = "resident memory per "+s.what, "bytes"
	}
	var subjects []subject
	for _, sub := range c.subjects {
		if sub.lib.Name != s.skip {
			subjects = append(subjects, sub)
			o.Rows = append(o.Rows, &row{Lib: sub.name, Target: s.targets[sub.lib.Name]})
		}
	}
	rounds := c.rounds
	if s.rounds > 0 {
		rounds = min(rounds, s.rounds)
	}
	for round := range rounds {
		for i, sub := range subjects {
			fmt.Fprintf(c.progress, "%s  round %d/%d  %-20s ", s.name, round+1, rounds, sub.name)
			var m *sample
			err := c.start(ctx, s, sub, round, func(server *process.Server) error {
				var err error
				m, err = s.measure(server, sub.lib.Raw, c.loadCPU != c.serverCPU, c.duration)
				return err
			})
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				fmt.Fprintln(c.progress, err)
				o.Rows[i].Error = err.Error()
			} else {
				fmt.Fprintln(c.progress, o.format(m.Value))
			}
			o.Rows[i].samples = append(o.Rows[i].samples, m)
		}
	}
	for i, sub := range subjects {
		if !c.strace {
			break
		}
		fmt.Fprintf(c.progress, "%s  strace  %s\n", s.name, sub.name)
		err := c.start(ctx, s, sub, -1, func(server *process.Server) error {
			var err error
			o.Rows[i].Syscalls, err = s.trace(ctx, server, sub.lib.Raw, c.duration)
			return err
		})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			o.Rows[i].Error = err.Error()
		}
	}
	o.reckon()
	return o, nil
}

// start starts a server, calls f, and stops it. A round of -1 is none.
func (c *comparison) start(ctx context.Context, s *scenario, sub subject, round int, f func(*process.Server) error) error {
	args := []string{"-lib", sub.lib.Name}
	if c.profiles != "" && round >= 0 {
		name := fmt.Sprintf("%s.%s.%d.pprof", strings.ReplaceAll(s.name, "/", ","), sub.name, round+1)
		args = append(args, "-cpuprofile", filepath.Join(c.profiles, name))
	}
	if err := process.Pin(c.serverCPU); err != nil {
		return err
	}
	server, err := process.Start(ctx, sub.binary, args...)
	if perr := process.Pin(c.loadCPU); perr != nil && err == nil {
		server.Stop()
		return perr
	}
	if err != nil {
		return err
	}
	if err := f(server); err != nil {
		server.Stop()
		return err
	}
	return server.Stop()
}
