// Package capture holds the recorded byte streams of real WebSocket clients,
// servers and proxies, and what an independent decoder found in them. It is for
// tests; testdata/README.md says how the streams were made.
//
// # Names
//
// A capture is one connection. It has two streams, named after it: chromium.c2s
// is what the client sent and chromium.s2c what the server sent.
//
// # Errors
//
// All that the package reads is embedded in it. A file that is malformed is
// reported by [Read] and [Expected] with its name and the line of its format
// that is broken; [Manifest] panics, since it can only mean that the repository
// is damaged.
package capture

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed streams
var streams embed.FS

// Stream is what one side of a connection sent, the opening handshake first.
type Stream struct {
	Name    string
	Records []Record
	End     string // how it ended: "end", by a FIN, or "reset", by a TCP reset
}

// Record is what one read from the network returned.
type Record struct {
	At   time.Duration // since the connection was accepted, the same moment for both streams
	Data []byte
}

// Read returns a stream by its name, "chromium.c2s" for instance. The caller owns
// the bytes in it. An unknown name is an fs.ErrNotExist.
func Read(name string) (Stream, error) {
	file, err := streams.ReadFile("streams/" + name)
	if err != nil {
		return Stream{}, fmt.Errorf("capture: %w", err)
	}
	s, err := parse(file)
	if err != nil {
		return Stream{}, fmt.Errorf("capture: %s: %w", name, err)
	}
	s.Name = name
	return s, nil
}

// Names returns the names of all streams that end with suffix, in order: ".c2s"
// gives those of clients, ".s2c" those of servers, "" all.
func Names(suffix string) []string {
	entries, err := streams.ReadDir("streams")
	if err != nil {
		panic(err) // it is embedded
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// Bytes returns all that was sent, in a slice of its own.
func (s Stream) Bytes() []byte {
	var all []byte
	for _, r := range s.Records {
		all = append(all, r.Data...)
	}
	return all
}

// Handshake returns all that was sent in two: the request or response, up to and
// with its empty line, and the frames. rest begins where head ends, but appending
// to head does not reach it. Without an empty line all of it is head.
func (s Stream) Handshake() (head, rest []byte) {
	all := s.Bytes()
	n := len(all)
	if i := bytes.Index(all, []byte("\r\n\r\n")); i >= 0 {
		n = i + 4
	}
	return all[:n:n], all[n:]
}

// The format of a stream, one record after the other (README.md):
//
//	"wsi-capture 1\n"
//	microseconds " " length "\n" data "\n"
//	microseconds " end\n" or microseconds " reset\n"
const magic = "wsi-capture 1\n"

func parse(file []byte) (Stream, error) {
	b, ok := bytes.CutPrefix(file, []byte(magic))
	if !ok {
		return Stream{}, fmt.Errorf("does not begin with %q", magic)
	}
	var s Stream
	var last time.Duration
	for {
		n := len(s.Records)
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			return Stream{}, fmt.Errorf("cut short after %d records", n)
		}
		at, what, err := parseLine(string(line))
		if err != nil {
			return Stream{}, fmt.Errorf("after %d records: %w", n, err)
		}
		if at < last {
			return Stream{}, fmt.Errorf("after %d records: time goes back from %v to %v", n, last, at)
		}
		last = at
		if what == "end" || what == "reset" {
			if len(rest) > 0 {
				return Stream{}, fmt.Errorf("%d bytes follow the end", len(rest))
			}
			s.End = what
			return s, nil
		}
		length, err := strconv.Atoi(what)
		if err != nil || length < 0 {
			return Stream{}, fmt.Errorf("after %d records: length %q", n, what)
		}
		if len(rest) <= length {
			return Stream{}, fmt.Errorf("cut short within record %d", n+1)
		}
		if rest[length] != '\n' {
			return Stream{}, fmt.Errorf("record %d is not followed by a line feed", n+1)
		}
		s.Records = append(s.Records, Record{At: at, Data: rest[:length:length]})
		b = rest[length+1:]
	}
}

// parseLine reads the line before a record's data, or the last one.
func parseLine(line string) (at time.Duration, what string, err error) {
	micros, what, ok := strings.Cut(line, " ")
	if !ok {
		return 0, "", fmt.Errorf("line %q", line)
	}
	n, err := strconv.ParseUint(micros, 10, 40)
	if err != nil {
		return 0, "", fmt.Errorf("time %q: %w", micros, errors.Unwrap(err))
	}
	return time.Duration(n) * time.Microsecond, what, nil
}
