package capture

import (
	"bytes"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReadAll(t *testing.T) {
	names := Names("")
	require.Len(t, names, 2*len(Manifest()))
	require.True(t, slices.IsSorted(names))
	require.Len(t, Names(".c2s"), len(Manifest()))
	require.Len(t, Names(".s2c"), len(Manifest()))

	for _, entry := range Manifest() {
		for _, suffix := range []string{".c2s", ".s2c"} {
			name := entry.Name + suffix
			s, err := Read(name)
			require.NoError(t, err)
			require.Equal(t, name, s.Name)
			require.Contains(t, []string{"end", "reset"}, s.End, name)

			head, rest := s.Handshake()
			require.Equal(t, s.Bytes(), slices.Concat(head, rest), name)
			require.True(t, bytes.HasSuffix(head, []byte("\r\n\r\n")), name)
			start := "GET "
			if suffix == ".s2c" {
				start = "HTTP/1.1 101 "
			}
			require.True(t, bytes.HasPrefix(head, []byte(start)), name)
			require.NotEmpty(t, rest, name)
		}
	}
}

func TestReadUnknown(t *testing.T) {
	_, err := Read("netscape.c2s")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Expected("netscape.c2s")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestParse(t *testing.T) {
	s, err := parse([]byte(magic + "5 3\nab\n\n5 0\n\n1000000 1\nc\n1000001 reset\n"))
	require.NoError(t, err)
	require.Equal(t, Stream{
		Records: []Record{
			{At: 5 * time.Microsecond, Data: []byte("ab\n")},
			{At: 5 * time.Microsecond, Data: []byte{}},
			{At: time.Second, Data: []byte("c")},
		},
		End: "reset",
	}, s)
	require.Equal(t, "ab\nc", string(s.Bytes()))

	head, rest := s.Handshake()
	require.Equal(t, "ab\nc", string(head))
	require.Empty(t, rest)
}

func TestParseMalformed(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"empty", "", "does not begin with"},
		{"another version", "wsi-capture 2\n0 end\n", "does not begin with"},
		{"no end", magic + "5 1\na\n", "cut short after 1 records"},
		{"cut in the line", magic + "5 1", "cut short after 0 records"},
		{"cut in the data", magic + "5 4\nabc", "cut short within record 1"},
		{"cut after the data", magic + "5 3\nabc", "cut short within record 1"},
		{"length too small", magic + "5 2\nabc\n6 end\n", "record 1 is not followed"},
		{"no space", magic + "end\n", `line "end"`},
		{"no time", magic + " end\n", `time ""`},
		{"time negative", magic + "-5 end\n", `time "-5"`},
		{"time of years", magic + "99999999999999999999 end\n", "time"},
		{"time goes back", magic + "5 0\n\n4 end\n", "time goes back from 5µs to 4µs"},
		{"another end", magic + "5 stop\n", `length "stop"`},
		{"length negative", magic + "5 -1\n", `length "-1"`},
		{"something after the end", magic + "5 end\nabc", "3 bytes follow the end"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse([]byte(test.file))
			require.ErrorContains(t, err, test.want)
		})
	}
	valid := magic + "5 3\nabc\n6 end\n"
	for n := range valid {
		_, err := parse([]byte(valid[:n]))
		require.Error(t, err, "cut after %d bytes", n)
	}
}

func TestManifest(t *testing.T) {
	entries := Manifest()
	require.Len(t, entries, 106)
	require.Equal(t, Entry{
		Name: "deno", Peer: "deno 2.9.6", Server: "coder",
		Steps: []string{
			"connect", "text-ascii", "text-utf8", "text-empty", "bin-0", "bin-1", "bin-125", "bin-126", "bin-127",
			"pipeline", "close",
		},
	}, entries[slices.IndexFunc(entries, func(e Entry) bool { return e.Name == "deno" })])

	const heading = "\n| capture | peer and version | other side | ...\n| --- |\n"
	for _, test := range []struct{ name, text, want string }{
		{"no table", "captures\n", "no table"},
		{"a cell is missing", heading + "| a | b | server: c | d | e | 1 |\n", "6 cells"},
		{"no server", heading + "| a | b | c | d | e | 1 | 2 |\n", "no server"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseManifest(test.text)
			require.ErrorContains(t, err, test.want)
		})
	}
}

// What each step of the manifest has the client send, if it sends one message.
var steps = map[string]struct {
	opcode uint8
	length int
}{
	"text-ascii": {1, 42}, "text-utf8": {1, 169}, "text-empty": {1, 0}, "text-long": {1, 169000},
	"bin-0": {2, 0}, "bin-1": {2, 1}, "bin-125": {2, 125}, "bin-126": {2, 126}, "bin-127": {2, 127},
	"frag-text": {1, 169}, "frag-bin": {2, 300}, "pong-unasked": {10, 9}, "close": {8, 5},
}

// The expectation agrees with the manifest and with itself. Whether it agrees
// with the streams is what testdata/expect.py --check is for.
func TestExpected(t *testing.T) {
	for _, entry := range Manifest() {
		t.Run(entry.Name, func(t *testing.T) {
			sent, err := Expected(entry.Name + ".c2s")
			require.NoError(t, err)
			answered, err := Expected(entry.Name + ".s2c")
			require.NoError(t, err)

			rest := sent.Events
			for _, step := range entry.Steps {
				want, ok := steps[step]
				if !ok || step == "close" {
					continue
				}
				i := slices.IndexFunc(rest, func(e Event) bool { return e.Opcode == want.opcode && len(e.Payload) == want.length })
				require.GreaterOrEqual(t, i, 0, "%s is not there, or not in order", step)
				rest = rest[i+1:]
			}
			require.Equal(t, "message 0", string(rest[len(rest)-21].Payload), "the pipeline")
			require.Equal(t, messages(sent), messages(answered), "the server echoes")

			for _, e := range []Expectation{sent, answered} {
				last := e.Events[len(e.Events)-1]
				require.EqualValues(t, 8, last.Opcode)
				require.Equal(t, []byte{1000 >> 8, 1000 & 0xff}, last.Payload[:2])
				require.Contains(t, []string{"", "bye"}, string(last.Payload[2:]))
				require.Equal(t, e.Compressed, slices.ContainsFunc(e.Frames, func(f Frame) bool { return f.RSV == 4 }))
				require.Equal(t, entry.Extensions == "", e.Extensions == "")

				fragments, frames := 0, len(e.Frames)
				for _, v := range e.Events {
					fragments += v.Fragments
				}
				require.Equal(t, frames, fragments)
			}
		})
	}
}

// The frames of an expectation, with their headers, make up the stream's length.
func TestExpectedLengths(t *testing.T) {
	for _, name := range Names("") {
		s, err := Read(name)
		require.NoError(t, err)
		e, err := Expected(name)
		require.NoError(t, err)

		size := e.AfterClose
		for _, f := range e.Frames {
			size += 2 + f.Length
			if f.Length > 125 {
				size += 2
			}
			if f.Length > 65535 {
				size += 6
			}
			if strings.HasSuffix(name, ".c2s") {
				size += 4 // the masking key
			}
		}
		_, rest := s.Handshake()
		require.Len(t, rest, size, name)
	}
}

// messages returns the opcodes and payloads of the data messages.
func messages(e Expectation) (all []string) {
	for _, v := range e.Events {
		if v.Opcode < 8 {
			all = append(all, string(rune('0'+v.Opcode))+string(v.Payload))
		}
	}
	return all
}

func TestParseExpected(t *testing.T) {
	const empty = `{"e3b0c442": {"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","length":0,"text":""}}`
	for _, test := range []struct{ name, file, want string }{
		{"not JSON", "", "unexpected end"},
		{"payload changed", strings.Replace(`{"payloads": `+empty+`}`, `"text":""`, `"text":"a"`, 1), "1 bytes with SHA-256"},
		{"payload not hexadecimal", `{"payloads": {"0": {"hex": "x"}}}`, "payload 0"},
		{"frame of too few columns", `{"streams": {"a": {"frames": [[1]]}}}`, "a: frame: 1 columns instead of 5"},
		{"event of too many columns", `{"streams": {"a": {"events": [[1, 2, 3, 4, 5]]}}}`, "a: event: 5 columns instead of 4"},
		{"event with no payload", `{"payloads": ` + empty + `, "streams": {"a": {"events": [[1, "00000000", 1, 0]]}}}`, `no payload "00000000"`},
		{"a text for a number", `{"streams": {"a": {"frames": [["1", 1, 0, 0, "e3b0c442"]]}}}`, "cannot unmarshal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseExpected([]byte(test.file))
			require.ErrorContains(t, err, test.want)
		})
	}
	require.Equal(t, "e3b0c442", Sum(nil))
}
