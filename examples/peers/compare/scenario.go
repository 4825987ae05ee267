package main

import (
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
	echo    bool                                 // memory: whether every connection sends a message before
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
	{
		name: "handshake/conns=32", title: "opening handshakes, 32 at a time", what: "handshake", base: "gobwas", skip: "rawtcp",
		targets: map[string]float64{"rfc6455-serve": 0.95, "rfc6455": 1.1},
		options: load.Options{Conns: 32},
		start:   func(o load.Options) (runner, error) { return load.NewHandshakes(o) },
	},
	{
		name: "broadcast/size=128/conns=1000/inflight=16", title: "128 B to 1,000 subscribers, 16 messages under way", what: "delivery", base: "gorilla",
		targets: either(0.33),
		options: load.Options{Conns: 1000, Op: load.Binary, Size: 128, Depth: 16},
		start:   func(o load.Options) (runner, error) { return load.NewBroadcast(o) },
	},
	idle("after=handshake", "idle connections that have not said anything", false),
	idle("after=64KiB", "idle connections after an echo of 64 KiB on each", true),
}

// idle is the memory of a connection that waits.
func idle(name, title string, echo bool) scenario {
	return scenario{
		name: "memory/" + name, title: title, what: "connection", bytes: true, skip: "rawtcp", rounds: 3,
		targets: map[string]float64{"rfc6455-serve": 4.5, "rfc6455": 6},
		options: load.Options{Conns: 5000, Op: load.Binary, Size: 64 << 10}, echo: echo,
	}
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
	if s.start == nil {
		return s.weigh(server, o)
	}
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
	var used, elapsed time.Duration
	var count int64
	var r *load.Result
	// The kernel may not have charged the server for so short a time.
	for used == 0 {
		if r, err = l.Run(d); err != nil {
			return nil, err
		}
		count += r.Count
		elapsed += r.Elapsed
		after, err := server.CPU()
		if err != nil {
			return nil, err
		}
		used = after - before
	}
	mine = process.ThreadCPU() - mine
	return &sample{
		Value:    float64(used) / float64(count),
		Rate:     float64(count) / elapsed.Seconds(),
		P50:      float64(r.Latency.Quantile(0.5)) / 1e3,
		P99:      float64(r.Latency.Quantile(0.99)) / 1e3,
		Busy:     float64(used) / float64(elapsed),
		LoadBusy: float64(mine) / float64(elapsed),
	}, nil
}

// weigh measures the memory of idle connections. Some come and go first, so that
// what the server needs once does not count.
func (s *scenario) weigh(server *process.Server, o load.Options) (*sample, error) {
	resident := func(conns int) (int64, error) {
		few := o
		few.Conns = conns
		l, err := load.NewIdle(few, nil)
		if err != nil {
			return 0, err
		}
		defer l.Close()
		if s.echo {
			if err := l.Echo(nil); err != nil {
				return 0, err
			}
		}
		m, err := server.Settle()
		return m.Resident, err
	}
	const few = 100
	before, err := resident(few)
	if err != nil {
		return nil, err
	}
	after, err := resident(o.Conns)
	if err != nil {
		return nil, err
	}
	return &sample{Value: float64(after-before) / float64(o.Conns-few)}, nil
}

// kind is the first word of the name.
func (s *scenario) kind() string {
	kind, _, _ := strings.Cut(s.name, "/")
	return kind
}
