// Server is the echo server of one library.
//
//	go run ./server -lib gorilla
//
// It prints the address that it listens on. At SIGUSR1 it gives unused memory
// back to the operating system and prints "settled" with the bytes of its heap's
// objects and of its goroutines' stacks; at SIGTERM or an interrupt it ends.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
	"syscall"

	"rfc6455/examples/peers"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run() error {
	var names []string
	for _, l := range peers.Libs {
		names = append(names, l.Name)
	}
	name := flag.String("lib", "rfc6455", "`library`: "+strings.Join(names, ", "))
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this `file`")
	heap := flag.String("memprofile", "", "write a heap profile to this `file` at each SIGUSR1")
	flag.Parse()
	if *heap != "" {
		runtime.MemProfileRate = 4 << 10
	}
	lib, ok := peers.Find(*name)
	if !ok {
		return fmt.Errorf("no library %q", *name)
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGTERM, os.Interrupt)
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	failed := make(chan error, 1)
	go func() { failed <- lib.Serve(ln) }()
	for {
		select {
		case err := <-failed:
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		case s := <-signals:
			if s != syscall.SIGUSR1 {
				ln.Close()
				continue
			}
			// What a sync.Pool holds goes with the second collection, and each one
			// halves the stacks that are too large.
			for range 6 {
				debug.FreeOSMemory()
			}
			if *heap != "" {
				if err := writeHeap(*heap); err != nil {
					return err
				}
			}
			samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
			metrics.Read(samples)
			fmt.Println("settled", samples[0].Value.Uint64(), samples[1].Value.Uint64())
		}
	}
}

func writeHeap(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return pprof.Lookup("heap").WriteTo(f, 0)
}
