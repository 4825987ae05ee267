package main

import (
	"fmt"
	"strings"
	"time"

	"rfc6455/examples/peers/load"
	"rfc6455/examples/peers/process"
)

// scenario is one thing that is measured.
type scenario struct {
	name  string // key=value
	title string // for people
	what  string // that the value is of
	bytes bool   // the value is bytes, not time
	base  string // the library that the others are compared with; none: values count
	// targets are what this library must reach, ratios to base, or KiB.
	targets map[string]float64
	skip    string // a library that has no place here
	rounds  int    // most rounds that make sense; 0: any
	options load.Options
	start   func(o load.Options) (runner, error) // nil for memory
	echo    int                                  // memory: bytes that every connection sends and gets back before
}

// runner is a load that is under way.
type runner interface {
	Run(d time.Duration) (*load.Result, error)
	Close()
}

// either returns targets of both servers of this library.
func either(target float64) map[string]float64 {
	return map[string]float64{"rfc6455-serve": target, "rfc6455": target}
}

func echo(name, title string, target float64, o load.Options) scenario {
	if o.Op == 0 {
		o.Op = load.Binary
	}
	return scenario{
		name: "echo/" + name, title: title, what: "message", base: "rawtcp", targets: either(target), options: o,
		start: func(o load.Options) (runner, error) { return load.NewEcho(o) },
	}
}

var scenarios = []scenario{
	echo("size=125/conns=64", "125 B, 64 connections", 1.05, load.Options{Size: 125, Conns: 64}),
	echo("size=125/conns=1000", "125 B, 1,000 connections", 1.05, load.Options{Size: 125, Conns: 1000}),
	echo("size=125/conns=64/inflight=16", "125 B, 64 connections, 16 in flight", 1.2, load.Options{Size: 125, Conns: 64, Depth: 16}),
	echo("size=1024/conns=64/inflight=16", "1 KiB, 64 connections, 16 in flight", 2, load.Options{Size: 1 << 10, Conns: 64, Depth: 16}),
	echo("size=16384/conns=64", "16 KiB, 64 connections", 1.2, load.Options{Size: 16 << 10, Conns: 64}),
	echo("size=1048576/conns=8", "1 MiB, 8 connections", 1.1, load.Options{Size: 1 << 20, Conns: 8}),
	echo("size=4096/conns=64/text=multilingual", "4 KiB of multilingual text, 64 connections", 1.2, load.Options{Size: 4 << 10, Conns: 64, Op: load.Text}),
}

// sample is what one measurement gave.
type sample struct {
	Value float64 `json:"value"` // ns of processor time, or bytes
	// The rest is for understanding it.
	Rate     float64 `json:"rate,omitempty"`   // per second
	P50      float64 `json:"p50_us,omitempty"` // µs
	P99      float64 `json:"p99_us,omitempty"`
	Busy     float64 `json:"busy,omitempty"`      // share of the time that the server ran
	LoadBusy float64 `json:"load_busy,omitempty"` // share of the time that the generator ran
}

// measure runs the load of s against a server for a time, after a quarter of it
// that does not count.
func (s *scenario) measure(server *process.Server, raw, spin bool, d time.Duration) (*sample, error) {
	o := s.options
	o.Addr, o.Raw, o.Spin = server.Addr, raw, spin
	l, err := s.start(o)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if _, err := l.Run(d / 4); err != nil {
		return nil, err
	}
	before, err := server.CPU()
	if err != nil {
		return nil, err
	}
	mine := process.ThreadCPU()
	r, err := l.Run(d)
	if err != nil {
		return nil, err
	}
	mine = process.ThreadCPU() - mine
	after, err := server.CPU()
	if err != nil {
		return nil, err
	}
	if r.Count == 0 {
		return nil, fmt.Errorf("nothing came back in %v", d)
	}
	return &sample{
		Value:    float64(after-before) / float64(r.Count),
		Rate:     float64(r.Count) / r.Elapsed.Seconds(),
		P50:      float64(r.Latency.Quantile(0.5)) / 1e3,
		P99:      float64(r.Latency.Quantile(0.99)) / 1e3,
		Busy:     float64(after-before) / float64(r.Elapsed),
		LoadBusy: float64(mine) / float64(r.Elapsed),
	}, nil
}

// kind is the first word of the name.
func (s *scenario) kind() string {
	kind, _, _ := strings.Cut(s.name, "/")
	return kind
}
