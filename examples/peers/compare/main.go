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
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"rfc6455/examples/peers"
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

// settings are the flags.
type settings struct {
	scenarios, libs *regexp.Regexp
	rounds          int
	duration        time.Duration
	out             string
	strace          bool
	profiles        string
	nice            int
	list            bool
	server          string
	others          map[string]string // path by name
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{others: map[string]string{}}
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.SetOutput(stderr)
	wanted := fs.String("scenario", ".", "scenarios whose names match this `regexp`")
	libs := fs.String("lib", ".*", "libraries whose whole names match this `regexp`")
	fs.IntVar(&s.rounds, "rounds", 10, "rounds of each scenario")
	fs.DurationVar(&s.duration, "duration", 500*time.Millisecond, "time of each measurement")
	fs.StringVar(&s.out, "out", "out", "`directory` for results.json and results.svg")
	fs.BoolVar(&s.strace, "strace", false, "count system calls as well, in a round of its own, with strace")
	fs.StringVar(&s.profiles, "cpuprofile", "", "have the servers write CPU profiles into this `directory`, one of each measurement")
	fs.IntVar(&s.nice, "nice", 0, "nice `value` of servers and load; a negative one needs privileges, and takes the processors from others who use the machine")
	fs.BoolVar(&s.list, "list", false, "list scenarios and libraries")
	fs.StringVar(&s.server, "server", "", "`path` of a server binary, instead of building one")
	fs.Func("other", "`NAME=PATH` of another server binary, of another version of this library for instance: its rfc6455 servers take part as rfc6455@NAME; repeatable", func(v string) error {
		name, path, ok := strings.Cut(v, "=")
		if !ok {
			return errors.New("not NAME=PATH")
		}
		s.others[name] = path
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if s.rounds < 1 || s.duration <= 0 {
		return nil, errors.New("-rounds and -duration must be positive")
	}
	var err error
	if s.scenarios, err = regexp.Compile(*wanted); err != nil {
		return nil, err
	}
	s.libs, err = regexp.Compile("^(?:" + *libs + ")$")
	return s, err
}

// comparison returns what the flags ask for.
func (s *settings) comparison(progress io.Writer) (*comparison, error) {
	c := &comparison{rounds: s.rounds, duration: s.duration, strace: s.strace, profiles: s.profiles, nice: s.nice, progress: progress}
	for _, sc := range scenarios {
		if s.scenarios.MatchString(sc.name) {
			c.scenarios = append(c.scenarios, sc)
		}
	}
	for _, l := range peers.Libs {
		if s.libs.MatchString(l.Name) {
			c.subjects = append(c.subjects, subject{l.Name, l, s.server})
		}
		if !strings.HasPrefix(l.Name, "rfc6455") {
			continue
		}
		for _, other := range slices.Sorted(maps.Keys(s.others)) {
			if name := l.Name + "@" + other; s.libs.MatchString(l.Name) || s.libs.MatchString(name) {
				c.subjects = append(c.subjects, subject{name, l, s.others[other]})
			}
		}
	}
	if len(c.scenarios) == 0 || len(c.subjects) == 0 {
		return nil, errors.New("no such scenario or library; -list shows them")
	}
	return c, nil
}

// build gives a binary to those that have none.
func (c *comparison) build(dir string) error {
	var built string
	for i := range c.subjects {
		s := &c.subjects[i]
		if s.binary == "" && built == "" {
			var err error
			if built, err = process.Build(dir); err != nil {
				return err
			}
		}
		if s.binary == "" {
			s.binary = built
		}
	}
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	c, err := s.comparison(stderr)
	if err != nil {
		return err
	}
	if s.list {
		for _, sc := range c.scenarios {
			fmt.Fprintf(stdout, "%-45s %s\n", sc.name, sc.title)
		}
		for _, sub := range c.subjects {
			fmt.Fprintln(stdout, sub.name)
		}
		return nil
	}
	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := c.build(dir); err != nil {
		return err
	}
	for _, dir := range []string{s.out, s.profiles} {
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
	if err := r.write(filepath.Join(s.out, "results.json")); err != nil {
		return err
	}
	return r.draw(filepath.Join(s.out, "results.svg"))
}
