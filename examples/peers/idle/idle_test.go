package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The whole program with real servers and few connections.
func TestRun(t *testing.T) {
	var stdout, stderr strings.Builder
	err := run(t.Context(), []string{"-n", "50", "-lib", "rfc6455-serve,gorilla", "-echo", "1000"}, &stdout, &stderr)
	require.NoError(t, err, stderr.String())
	require.Contains(t, stdout.String(), "rfc6455-serve: 50 connections")
	require.Contains(t, stdout.String(), "gorilla: 50 connections")
	require.Contains(t, stdout.String(), "server, resident")
	require.Contains(t, stderr.String(), "50 connected")
	require.Contains(t, stderr.String(), "50 echoed")
}

// An idle connection of this library keeps the stack of 2 KiB that its goroutine
// began with, also after it has answered, and no request.
func TestSmall(t *testing.T) {
	var stdout, stderr strings.Builder
	err := run(t.Context(), []string{"-n", "1000", "-lib", "rfc6455-serve", "-echo", "125"}, &stdout, &stderr)
	require.NoError(t, err, stderr.String())
	var resident, objects, stacks float64
	for line := range strings.Lines(stdout.String()) {
		fmt.Sscanf(strings.TrimSpace(line), "server, resident %f KiB a connection, of these %f objects and %f stacks", &resident, &objects, &stacks)
	}
	require.Positive(t, resident)
	require.InDelta(t, 2, stacks, 0.6, stdout.String()) // few goroutines may have needed more for a moment
	require.InDelta(t, 3, objects, 0.7, stdout.String())
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-n", "0"}, {"-echo", "-1"}, {"-lib", "nothing"}, {"rest"}} {
		require.Error(t, run(t.Context(), args, io.Discard, io.Discard), args)
	}
}

func TestKernel(t *testing.T) {
	k, err := readKernel()
	require.NoError(t, err)
	require.Positive(t, k.slab)
	require.GreaterOrEqual(t, k.buffers, int64(0))
}
