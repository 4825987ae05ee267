// Compare measures the servers of this module against each other.
//
//	go run ./compare
//	go run ./compare -rounds 3 -duration 500ms -lib 'rawtcp|rfc6455.*'
//
// The figure is the processor time that a server uses for a message. Every
// server runs on a processor of its own, one after the other, round after round,
// and is compared with others of the same round. Run it in this module: it
// builds the server. Linux only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"rfc6455/examples/peers"
	"rfc6455/examples/peers/load"
	"rfc6455/examples/peers/process"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

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
	dir       string // for temporary files
	progress  io.Writer

	serverCPU, loadCPU int
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.SetOutput(stderr)
	wanted := fs.String("scenario", ".", "scenarios whose names match this `regexp`")
	libs := fs.String("lib", ".*", "libraries whose whole names match this `regexp`")
	rounds := fs.Int("rounds", 5, "rounds of each scenario")
	duration := fs.Duration("duration", time.Second, "time of each measurement")
	out := fs.String("out", "out", "`directory` for results.json and results.svg")
	strace := fs.Bool("strace", false, "count system calls as well, in a round of its own, with strace")
	profiles := fs.String("cpuprofile", "", "have the servers write CPU profiles into this `directory`, one of each measurement")
	list := fs.Bool("list", false, "list scenarios and libraries")
	binary := fs.String("server", "", "`path` of a server binary, instead of building one")
	others := map[string]string{}
	fs.Func("other", "`NAME=PATH` of another server binary, of another version of this library for instance: its rfc6455 servers take part as rfc6455@NAME; repeatable", func(s string) error {
		name, path, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("not NAME=PATH")
		}
		others[name] = path
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *rounds < 1 || *duration <= 0 {
		return errors.New("-rounds and -duration must be positive")
	}
	matchScenario, err := regexp.Compile(*wanted)
	if err != nil {
		return err
	}
	matchLib, err := regexp.Compile("^(?:" + *libs + ")$")
	if err != nil {
		return err
	}
	c := &comparison{rounds: *rounds, duration: *duration, strace: *strace, profiles: *profiles, progress: stderr}
	for _, s := range scenarios {
		if matchScenario.MatchString(s.name) {
			c.scenarios = append(c.scenarios, s)
		}
	}
	for _, l := range peers.Libs {
		if matchLib.MatchString(l.Name) {
			c.subjects = append(c.subjects, subject{l.Name, l, *binary})
		}
		for name, path := range others {
			if strings.HasPrefix(l.Name, "rfc6455") && (matchLib.MatchString(l.Name) || matchLib.MatchString(l.Name+"@"+name)) {
				c.subjects = append(c.subjects, subject{l.Name + "@" + name, l, path})
			}
		}
	}
	if *list {
		for _, s := range c.scenarios {
			fmt.Fprintf(stdout, "%-45s %s\n", s.name, s.title)
		}
		for _, s := range c.subjects {
			fmt.Fprintln(stdout, s.name)
		}
		return nil
	}
	if len(c.scenarios) == 0 || len(c.subjects) == 0 {
		return errors.New("no such scenario or library; -list shows them")
	}
	if c.dir, err = os.MkdirTemp("", "compare"); err != nil {
		return err
	}
	defer os.RemoveAll(c.dir)
	if *binary == "" {
		built, err := process.Build(c.dir)
		if err != nil {
			return err
		}
		for i := range c.subjects {
			if c.subjects[i].binary == "" {
				c.subjects[i].binary = built
			}
		}
	}
	for _, dir := range []string{*out, *profiles} {
		if dir != "" {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
	}
	r, err := c.run(ctx, stdout)
	if err != nil {
		return err
	}
	if err := r.write(filepath.Join(*out, "results.json")); err != nil {
		return err
	}
	return r.draw(filepath.Join(*out, "results.svg"))
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
			o.Rows[i].Samples = append(o.Rows[i].Samples, m)
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

// processor returns the name of the processor.
func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return fmt.Sprintf("%s, %d processors", strings.TrimSpace(value), runtime.NumCPU())
		}
	}
	return "unknown"
}

func kernel() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(b))
}

// versions returns those of the libraries.
func versions() map[string]string {
	v := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			v[m.Path] = m.Version
		}
	}
	return v
}
