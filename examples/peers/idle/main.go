// Idle opens many connections to the servers of this module, one server after
// the other, and says what they cost while they wait.
//
//	go run ./idle -n 15000
//	go run ./idle -n 15000 -lib rfc6455-serve,gorilla -echo 65536
//
// The server is a process of its own; the clients are in this one. Run it in
// this module: it builds the server. Linux only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
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
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

// demonstration is one run of this program.
type demonstration struct {
	n      int
	echo   int // bytes of a message on each connection; 0: none
	hold   time.Duration
	heap   string // file
	binary string
	stdout io.Writer
	stderr io.Writer
}

// spare is how many descriptors are left for other things than connections.
const spare = 100

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("idle", flag.ContinueOnError)
	fs.SetOutput(stderr)
	d := &demonstration{stdout: stdout, stderr: stderr}
	fs.IntVar(&d.n, "n", 15000, "`number` of connections")
	libs := fs.String("lib", "rfc6455-serve", "`libraries`, with commas between them")
	fs.IntVar(&d.echo, "echo", 0, "`bytes` of a message that goes there and back on each connection before it waits; 0 is none")
	fs.DurationVar(&d.hold, "hold", 0, "`time` that the connections stay open after the measurement, for a look at the server with other tools")
	fs.StringVar(&d.heap, "memprofile", "", "have the server write a heap profile to this `file`")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if d.n < 1 || d.echo < 0 {
		return errors.New("-n and -echo must be positive")
	}
	limit, err := load.Raise()
	if err != nil {
		return err
	}
	if d.n > limit-spare {
		fmt.Fprintf(stderr, "a process may have %d descriptors (ulimit -Hn), so there will be %d connections\n", limit, limit-spare)
		d.n = limit - spare
	}
	var chosen []peers.Lib
	for name := range strings.SplitSeq(*libs, ",") {
		l, ok := peers.Find(name)
		if !ok {
			return fmt.Errorf("no library %q", name)
		}
		chosen = append(chosen, l)
	}
	dir, err := os.MkdirTemp("", "idle")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if d.binary, err = process.Build(dir); err != nil {
		return err
	}
	// The server ends when this thread does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i, l := range chosen {
		if err := d.show(ctx, l, i == 0); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	return nil
}

// show opens the connections to one server. What the kernel holds is measured
// with the first one alone.
func (d *demonstration) show(ctx context.Context, l peers.Lib, first bool) error {
	args := []string{"-lib", l.Name}
	if d.heap != "" {
		args = append(args, "-memprofile", d.heap)
	}
	server, err := process.Start(ctx, d.binary, args...)
	if err != nil {
		return err
	}
	defer server.Stop()
	o := load.Options{Addr: server.Addr, Conns: 100, Op: load.Binary, Size: d.echo, Raw: l.Raw}
	// What the server needs once does not count.
	few, err := d.connect(o, "")
	if err != nil {
		return err
	}
	few.Close()
	before, err := server.Settle()
	if err != nil {
		return err
	}
	kernelBefore, err := readKernel()
	if err != nil {
		return err
	}
	o.Conns = d.n
	start := time.Now()
	cpu, err := server.CPU()
	if err != nil {
		return err
	}
	many, err := d.connect(o, l.Name)
	if err != nil {
		return err
	}
	defer many.Close()
	took := time.Since(start)
	used, err := server.CPU()
	if err != nil {
		return err
	}
	after, err := server.Settle()
	if err != nil {
		return err
	}
	kernelAfter, err := readKernel()
	if err != nil {
		return err
	}
	n := float64(d.n)
	per := float64(after.Resident-before.Resident) / n
	fmt.Fprintf(d.stdout, "%s: %d connections in %.1f s\n", l.Name, d.n, took.Seconds())
	fmt.Fprintf(d.stdout, "  server, resident   %7.2f KiB a connection, of these %.2f objects and %.2f stacks; %.1f MiB in all\n",
		per/1024, float64(after.Objects-before.Objects)/n/1024, float64(after.Stacks-before.Stacks)/n/1024, float64(after.Resident)/(1<<20))
	fmt.Fprintf(d.stdout, "  server, processor  %7.1f µs a connection\n", float64(used-cpu)/n/1e3)
	fmt.Fprintf(d.stdout, "  a million of them  %7.1f GiB\n", per*1e6/(1<<30))
	// What the kernel has for the connections to one server, it keeps for the
	// next.
	if first {
		k := kernelAfter.minus(kernelBefore)
		kernel := float64(k.slab+k.buffers) / n
		fmt.Fprintf(d.stdout, "  kernel, both ends  %7.2f KiB a connection: slab %.2f, socket buffers %.2f\n",
			kernel/1024, float64(k.slab)/n/1024, float64(k.buffers)/n/1024)
		fmt.Fprintf(d.stdout, "  a million of them  %7.1f GiB, half of it for the server's ends\n", kernel*1e6/(1<<30))
	}
	if d.hold > 0 {
		fmt.Fprintf(d.stderr, "the server is process %d\n", server.PID)
		select {
		case <-time.After(d.hold):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// connect opens connections and has the messages come back, with a progress
// display if it has a name.
func (d *demonstration) connect(o load.Options, name string) (*load.Idle, error) {
	progress := func(what string) func(int) {
		if name == "" {
			return nil
		}
		return func(n int) {
			if n%500 == 0 || n == o.Conns {
				fmt.Fprintf(d.stderr, "\r%s: %d %s ", name, n, what)
			}
			if n == o.Conns {
				fmt.Fprintln(d.stderr)
			}
		}
	}
	l, err := load.NewIdle(o, progress("connected"))
	if err != nil {
		return nil, err
	}
	if d.echo > 0 {
		if err := l.Echo(progress("echoed")); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}
