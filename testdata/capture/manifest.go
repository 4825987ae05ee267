package capture

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
)

//go:embed MANIFEST.md
var manifestFile string

// Entry is a line of the manifest: who spoke to whom in one capture, and about
// what.
type Entry struct {
	Name       string   // the streams are Name + ".c2s" and Name + ".s2c"
	Peer       string   // the client with its version, and the proxy if there is one
	Server     string   // the server's short name
	Steps      []string // what the client did, in order: "text-ascii", "ping", ...
	Extensions string   // as the server agreed to them; empty for none
}

// Manifest returns what was captured, in the manifest's order. The caller must
// not change the steps.
func Manifest() []Entry {
	return append([]Entry(nil), manifest()...)
}

var manifest = sync.OnceValue(func() []Entry {
	entries, err := parseManifest(manifestFile)
	if err != nil {
		panic("capture: MANIFEST.md: " + err.Error())
	}
	return entries
})

// parseManifest reads the lines of the table that begins with the column
// "capture".
func parseManifest(text string) ([]Entry, error) {
	_, table, ok := strings.Cut(text, "\n| capture | peer and version |")
	if !ok {
		return nil, fmt.Errorf("no table of captures")
	}
	var entries []Entry
	for number, line := range strings.Split(strings.TrimSpace(table), "\n") {
		if number < 2 {
			continue // the rest of the heading, and the rule below it
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 7 {
			return nil, fmt.Errorf("%d cells instead of 7: %s", len(cells), line)
		}
		server, ok := strings.CutPrefix(cells[2], "server: ")
		if !ok {
			return nil, fmt.Errorf("no server: %s", line)
		}
		e := Entry{Name: cells[0], Peer: cells[1], Server: server, Steps: strings.Split(cells[3], ", ")}
		if cells[4] != "-" {
			e.Extensions = cells[4]
		}
		entries = append(entries, e)
	}
	return entries, nil
}
