package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// kernel is what the kernel holds in all, in bytes.
type kernel struct {
	slab    int64 // of /proc/meminfo: the sockets themselves, their files and inodes
	buffers int64 // of /proc/net/sockstat: pages of TCP buffers
}

func (k kernel) minus(l kernel) kernel {
	return kernel{k.slab - l.slab, k.buffers - l.buffers}
}

func readKernel() (kernel, error) {
	var k kernel
	err := scan("/proc/meminfo", func(line string) {
		var kib int64
		if _, err := fmt.Sscanf(line, "Slab: %d kB", &kib); err == nil {
			k.slab = kib << 10
		}
	})
	if err != nil {
		return k, err
	}
	return k, scan("/proc/net/sockstat", func(line string) {
		// TCP: inuse 5 orphan 0 tw 0 alloc 8 mem 1
		if f := strings.Fields(line); len(f) == 11 && f[0] == "TCP:" {
			var pages int64
			fmt.Sscan(f[10], &pages)
			k.buffers = pages * int64(os.Getpagesize())
		}
	})
}

// scan calls f with each line of a file.
func scan(path string, f func(line string)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	for s.Scan() {
		f(s.Text())
	}
	return s.Err()
}
