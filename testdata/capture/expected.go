package capture

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"sync"
)

//go:embed expected.json
var expectedFile []byte

// Expectation is what a parser must find in a stream, after the handshake.
type Expectation struct {
	Extensions string // the Sec-WebSocket-Extensions that the server answered
	Compressed bool   // at least one message is: without RFC 7692 only Frames can be compared
	Frames     []Frame
	Events     []Event // the last one is a Close frame
	AfterClose int     // bytes that follow the Close frame; a peer must ignore them
}

// Frame is one frame as it was sent.
type Frame struct {
	Opcode uint8
	Fin    bool
	RSV    uint8 // RSV1 is 4
	Length int   // of the payload
	Sum    string
}

// Event is a message, at the place of its last frame, or a control frame.
type Event struct {
	Opcode     uint8  // 1 text, 2 binary, 8 Close, 9 Ping, 10 Pong
	Payload    []byte // of all fragments, inflated
	Fragments  int
	Compressed bool
}

// Sum names a payload, unmasked but not inflated, as Frame.Sum does: by the
// first eight digits of its SHA-256.
func Sum(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:4])
}

// Expected returns what testdata/expect.py found in the stream of that name. The
// caller must not change what is in it. An unknown name is an fs.ErrNotExist.
func Expected(name string) (Expectation, error) {
	all, err := expected()
	if err != nil {
		return Expectation{}, fmt.Errorf("capture: expected.json: %w", err)
	}
	e, ok := all[name]
	if !ok {
		return Expectation{}, fmt.Errorf("capture: expected.json: %q: %w", name, fs.ErrNotExist)
	}
	return e, nil
}

var expected = sync.OnceValues(func() (map[string]Expectation, error) { return parseExpected(expectedFile) })

// parseExpected reads the file that testdata/expect.py writes. Payloads stand in
// it once and are referred to by their sum.
func parseExpected(file []byte) (map[string]Expectation, error) {
	var parsed struct {
		Payloads map[string]payload
		Streams  map[string]struct {
			Extensions string
			Compressed bool
			AfterClose int `json:"after_close"`
			Frames     []row
			Events     []row
		}
	}
	if err := json.Unmarshal(file, &parsed); err != nil {
		return nil, err
	}
	payloads := make(map[string][]byte)
	for sum, p := range parsed.Payloads {
		b, err := p.bytes()
		if err != nil {
			return nil, fmt.Errorf("payload %s: %w", sum, err)
		}
		payloads[sum] = b
	}
	all := make(map[string]Expectation)
	for name, s := range parsed.Streams {
		e := Expectation{Extensions: s.Extensions, Compressed: s.Compressed, AfterClose: s.AfterClose}
		for _, r := range s.Frames {
			var fin, rsv int
			var f Frame
			if err := r.into(&f.Opcode, &fin, &rsv, &f.Length, &f.Sum); err != nil {
				return nil, fmt.Errorf("%s: frame: %w", name, err)
			}
			f.Fin, f.RSV = fin == 1, uint8(rsv)
			e.Frames = append(e.Frames, f)
		}
		for _, r := range s.Events {
			var sum string
			var compressed int
			var v Event
			if err := r.into(&v.Opcode, &sum, &v.Fragments, &compressed); err != nil {
				return nil, fmt.Errorf("%s: event: %w", name, err)
			}
			var ok bool
			if v.Payload, ok = payloads[sum]; !ok {
				return nil, fmt.Errorf("%s: no payload %q", name, sum)
			}
			v.Compressed = compressed == 1
			e.Events = append(e.Events, v)
		}
		all[name] = e
	}
	return all, nil
}

// payload describes bytes: Text or Hex, as many times over as Times says.
type payload struct {
	SHA256 string
	Length int
	Times  int
	Text   string
	Hex    string
}

func (p payload) bytes() ([]byte, error) {
	b, err := hex.DecodeString(p.Hex)
	if err != nil {
		return nil, err
	}
	b = append(b, p.Text...)
	if p.Times > 0 {
		b = []byte(strings.Repeat(string(b), p.Times))
	}
	sum := sha256.Sum256(b)
	if len(b) != p.Length || hex.EncodeToString(sum[:]) != p.SHA256 {
		return nil, fmt.Errorf("%d bytes with SHA-256 %x instead of %d with %s", len(b), sum, p.Length, p.SHA256)
	}
	return b, nil
}

// row is a line of a table: a JSON array of unlike values.
type row []json.RawMessage

func (r row) into(columns ...any) error {
	if len(r) != len(columns) {
		return fmt.Errorf("%d columns instead of %d", len(r), len(columns))
	}
	for i, column := range columns {
		if err := json.Unmarshal(r[i], column); err != nil {
			return err
		}
	}
	return nil
}
