package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		name string
		v    []float64
		want float64
	}{
		{"nothing", nil, 0},
		{"one", []float64{3}, 3},
		{"two", []float64{3, 1}, 2},
		{"three", []float64{9, 1, 2}, 2},
		{"four", []float64{9, 1, 2, 4}, 3},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, median(test.v)) })
	}
}

// values makes samples; a negative value is a measurement that failed.
func values(v ...float64) []*sample {
	var s []*sample
	for _, x := range v {
		if x < 0 {
			s = append(s, nil)
		} else {
			s = append(s, &sample{Value: x})
		}
	}
	return s
}

func TestRatios(t *testing.T) {
	for _, test := range []struct {
		name        string
		value, base []*sample
		want        *spread
	}{
		{"same", values(2, 3), values(2, 3), &spread{1, 1, 1}},
		{"within a round, not of medians", values(20, 2, 200), values(10, 2, 50), &spread{2, 1, 4}},
		{"a busy machine in one round", values(11, 110, 11), values(10, 100, 10), &spread{1.1, 1.1, 1.1}},
		{"even number", values(1, 3), values(1, 1), &spread{2, 1, 3}},
		{"failures on either side", values(-1, 4, 6, 9), values(1, 2, -1, 3), &spread{2.5, 2, 3}},
		{"shorter base", values(4, 5), values(2), &spread{2, 2, 2}},
		{"nothing in common", values(-1, 4), values(1, -1), nil},
		{"no base", values(4), nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, ratios(test.value, test.base)) })
	}
}

func TestReckon(t *testing.T) {
	o := &outcome{Base: "a", Rows: []*row{
		{Lib: "b", samples: values(30, 10, -1), Target: 2},
		{Lib: "a", samples: values(10, 10, 40)},
		{Lib: "c", samples: values(-1, -1, -1)},
	}}
	o.reckon()
	assert.Equal(t, 20.0, o.Rows[0].Median.Value)
	assert.Equal(t, &spread{2, 1, 3}, o.Rows[0].Ratio)
	assert.Equal(t, 2.0, o.score(o.Rows[0]))
	assert.Equal(t, []float64{30, 10, 0}, o.Rows[0].Values)
	assert.Equal(t, &spread{1, 1, 1}, o.Rows[1].Ratio)
	assert.Zero(t, o.Rows[2].Median)
	assert.Zero(t, o.score(o.Rows[2]))
	sorted := o.sorted()
	require.Len(t, sorted, 2)
	assert.Equal(t, "a", sorted[0].Lib)

	memory := &outcome{Unit: "bytes", Rows: []*row{{Lib: "b", samples: values(4096)}}}
	memory.reckon()
	assert.Equal(t, 4.0, memory.score(memory.Rows[0]))
	assert.Equal(t, "4.00 KiB", memory.format(4096))
}

func TestParseStrace(t *testing.T) {
	const output = `strace: Process 8641 detached
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 55.44    0.967486        6581       147        10 futex
 14.16    0.247106          13     18678           write
  0.00    0.000000           0         1           pread64
------ ----------- ----------- --------- --------- ----------------
100.00    1.744836          42     41196        13 total
`
	calls := parseStrace([]byte(output))
	require.Equal(t, map[string]float64{"futex": 147, "write": 18678, "pread64": 1}, calls)
	require.Equal(t, "write 18678.000, futex 147.000, pread64 1.000", syscalls(calls))
	require.Empty(t, parseStrace([]byte("strace: attach: Operation not permitted\n")))
}

// wellFormed reads a drawing to its end.
func wellFormed(t *testing.T, svg []byte) {
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else {
			require.NoError(t, err)
		}
	}
}

func TestSVG(t *testing.T) {
	o := &outcome{Title: "a < b & c", What: "CPU", Base: "rawtcp", Unit: "ns", Rows: []*row{
		{Lib: "rfc6455", samples: values(1500)}, {Lib: "rawtcp", samples: values(1000)}, {Lib: "x", samples: values(-1)},
	}}
	o.reckon()
	svg := (&results{Scenarios: []*outcome{o, {Title: "nothing"}}}).svg()
	wellFormed(t, svg)
	assert.Contains(t, string(svg), "a &lt; b &amp; c")
	assert.Contains(t, string(svg), "1.50× · 1.50 µs")
	assert.Equal(t, 3, strings.Count(string(svg), "<rect")) // the page is one
}

// The whole program with real servers, in little time.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	var stdout, stderr strings.Builder
	err := run(t.Context(), []string{
		"-rounds", "2", "-duration", "1ms", "-lib", "rawtcp|rfc6455-serve|gobwas", "-out", dir, "-cpuprofile", filepath.Join(dir, "profiles"),
		"-scenario", "echo/size=125/conns=64$|^handshake",
	}, &stdout, &stderr)
	require.NoError(t, err, stderr.String())
	b, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	var r results
	require.NoError(t, json.Unmarshal(b, &r))
	require.Len(t, r.Scenarios, 2)
	require.Len(t, r.Scenarios[0].Rows, 3)
	require.Len(t, r.Scenarios[1].Rows, 2) // rawtcp has no place there
	for _, o := range r.Scenarios {
		for _, row := range o.Rows {
			assert.Empty(t, row.Error, row.Lib)
			assert.Positive(t, row.Median.Value, row.Lib)
			assert.Len(t, row.Values, 2)
			require.NotNil(t, row.Ratio)
			assert.Positive(t, row.Ratio.Median)
			assert.Contains(t, stdout.String(), row.Lib)
			assert.Contains(t, stderr.String(), row.Lib)
			if row.Lib == o.Base {
				assert.Equal(t, &spread{1, 1, 1}, row.Ratio)
			}
		}
	}
	svg, err := os.ReadFile(filepath.Join(dir, "results.svg"))
	require.NoError(t, err)
	wellFormed(t, svg)
	profiles, err := filepath.Glob(filepath.Join(dir, "profiles", "*.pprof"))
	require.NoError(t, err)
	require.Len(t, profiles, 10)
}

// Every scenario begins, and a server that fails is said to.
func TestScenarios(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			s.options.Conns = min(s.options.Conns, 10)
			assert.NotEmpty(t, s.title)
			assert.NotZero(t, s.targets["rfc6455"])
			assert.NotZero(t, s.targets["rfc6455-serve"])
			if s.start == nil {
				return
			}
			_, err := s.start(s.options)
			require.Error(t, err, "no address")
		})
	}
	var stdout, stderr strings.Builder
	require.NoError(t, run(t.Context(), []string{
		"-rounds", "1", "-lib", "gws", "-out", t.TempDir(), "-server", "/nonexistent", "-scenario", "memory/after=handshake",
	}, &stdout, &stderr))
	require.Contains(t, stdout.String(), "failed")
	require.Contains(t, stdout.String(), "/nonexistent")
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{
		{"-rounds", "0"}, {"-duration", "-1s"}, {"-scenario", "("}, {"-lib", "("}, {"-lib", "nothing"}, {"-other", "x"}, {"rest"},
	} {
		require.Error(t, run(t.Context(), args, io.Discard, io.Discard), args)
	}
	var stdout strings.Builder
	require.NoError(t, run(t.Context(), []string{"-list"}, &stdout, io.Discard))
	require.Contains(t, stdout.String(), "gobwas-hand")
}
