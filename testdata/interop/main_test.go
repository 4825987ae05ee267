//go:build linux

// Package interop runs this library against servers, clients and proxies that
// others wrote. README.md in the directory above says what they are and how to
// get them. A peer that is not there skips its tests, and fails them where
// CI=true.
package interop

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 60 * time.Second

var update = flag.Bool("update", false, "write the table of peers into ../README.md")

// echoProgram is the echo server of examples, as its users start it.
var echoProgram string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	echoProgram = filepath.Join(dir, "echo")
	if out, err := exec.Command("go", "build", "-o", echoProgram, "rfc6455/examples/echo").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	status := m.Run()
	fmt.Print("\n", table(), "\n")
	if *update && status == 0 {
		if err := writeTable("../README.md"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return status
}

// missing skips a test for want of something, or fails it where CI=true.
func missing(t *testing.T, name, role, what string) {
	t.Helper()
	p := newPeer(name, role)
	p.version = "-"
	p.missing = what
	if os.Getenv("CI") == "true" {
		require.Fail(t, what)
	}
	t.Skip(what)
}

// find returns the path of a program.
func find(t *testing.T, program, role string) string {
	t.Helper()
	// Where Debian has servers is not on every user's PATH.
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, program, role, "no "+program+" on PATH")
	return ""
}

// peer is a line of the table.
type peer struct {
	name, role string
	missing    string // what there would have to be

	mu            sync.Mutex
	version       string
	cases, failed int
}

var (
	peersMu sync.Mutex
	peers   []*peer
)

func newPeer(name, role string) *peer {
	p := &peer{name: name, role: role}
	peersMu.Lock()
	defer peersMu.Unlock()
	peers = append(peers, p)
	return p
}

// run runs a case as a subtest, and counts it.
func (p *peer) run(t *testing.T, name string, f func(t *testing.T)) bool {
	return t.Run(name, func(t *testing.T) {
		t.Cleanup(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.cases++
			if t.Failed() {
				p.failed++
			}
		})
		f(t)
	})
}

// is notes the peer's version.
func (p *peer) is(version string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version = version
}

// result tells how the cases went.
func (p *peer) result() string {
	switch {
	case p.missing != "":
		return "not run: " + p.missing
	case p.failed > 0:
		return fmt.Sprintf("%d failed", p.failed)
	case p.cases == 0:
		return "not run"
	}
	return "passed"
}

// table returns the peers as a table in Markdown.
func table() string {
	peersMu.Lock()
	defer peersMu.Unlock()
	sorted := slices.SortedStableFunc(slices.Values(peers), func(a, b *peer) int {
		return cmp.Or(cmp.Compare(a.role, b.role), cmp.Compare(a.name, b.name))
	})
	rows := [][]string{{"peer", "version", "role", "cases", "result"}}
	for _, p := range sorted {
		rows = append(rows, []string{p.name, p.version, p.role, fmt.Sprint(p.cases), p.result()})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	rule := make([]string, len(widths))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width)
	}
	var b strings.Builder
	for _, row := range slices.Insert(rows, 1, rule) {
		for i, cell := range row {
			fmt.Fprintf(&b, "| %-*s ", widths[i], cell)
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// writeTable puts the table between its marks in a file, if nobody is missing.
func writeTable(file string) error {
	const begin, end = "<!-- table of peers -->\n", "<!-- end of table -->\n"
	for _, p := range peers {
		if p.missing != "" {
			return fmt.Errorf("the table of %s stays as it is: %s", file, p.missing)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks for the table", file)
	}
	return os.WriteFile(file, slices.Concat(before, []byte(begin), []byte(table()), []byte(end), after), 0o644)
}
