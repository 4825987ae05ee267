//go:build linux

package interop

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// terms are the parameters of permessage-deflate, what one side asks for or both
// have agreed on. (RFC 7692, section 7.1)
type terms struct {
	ServerNoContextTakeover bool `json:"server_no_context_takeover,omitempty"`
	ClientNoContextTakeover bool `json:"client_no_context_takeover,omitempty"`
	ServerMaxWindowBits     int  `json:"server_max_window_bits,omitempty"`
	ClientMaxWindowBits     int  `json:"client_max_window_bits,omitempty"`
}

// whole returns the terms with the window bits filled in.
func (d terms) whole() terms {
	if d.ServerMaxWindowBits == 0 {
		d.ServerMaxWindowBits = 15
	}
	if d.ClientMaxWindowBits == 0 {
		d.ClientMaxWindowBits = 15
	}
	return d
}

// of returns the terms for what one side compresses alone.
func (d terms) of(role string) terms {
	if role == "server" {
		return terms{ServerNoContextTakeover: d.ServerNoContextTakeover, ServerMaxWindowBits: d.ServerMaxWindowBits}
	}
	return terms{ClientNoContextTakeover: d.ClientNoContextTakeover, ClientMaxWindowBits: d.ClientMaxWindowBits}
}

// compressionCase is what each side asks for.
type compressionCase struct {
	name         string
	takeover     bool // our Compression.Takeover
	ours, theirs terms
}

// agreed is what must come of it.
func (tt compressionCase) agreed() terms {
	a, b := tt.ours.whole(), tt.theirs.whole()
	return terms{
		ServerNoContextTakeover: a.ServerNoContextTakeover || b.ServerNoContextTakeover,
		ClientNoContextTakeover: a.ClientNoContextTakeover || b.ClientNoContextTakeover,
		ServerMaxWindowBits:     min(a.ServerMaxWindowBits, b.ServerMaxWindowBits),
		ClientMaxWindowBits:     min(a.ClientMaxWindowBits, b.ClientMaxWindowBits),
	}
}

// options returns ours. With takeover there is no threshold, so that the empty
// message is compressed, too.
func (tt compressionCase) options(f *compressedFrames) conn.Options {
	z := &conn.Compression{Takeover: tt.takeover, Deflate: handshake.Deflate(tt.ours)}
	if tt.takeover {
		z.Threshold = -1
	}
	return conn.Options{Compression: z, ReadLimit: 4 << 20, Trace: f.trace()}
}

// compressionCases are the cases for a peer in a role: first those of context
// takeover, each asked for by us and by the peer, then all sizes of the windows.
func (l library) compressionCases(role string) []compressionCase {
	var list []compressionCase
	add := func(asker string, takeover bool, d terms) {
		tt := compressionCase{takeover: takeover, ours: d}
		if asker == "theirs" {
			if !l.terms {
				// A client says which window it can do; that is all.
				if d = (terms{ServerMaxWindowBits: max(d.ServerMaxWindowBits, l.window)}); role == "server" || d.ServerMaxWindowBits >= 15 {
					return
				}
			}
			tt.ours, tt.theirs = terms{}, d
			if role == "server" && d.ClientMaxWindowBits != 0 {
				tt.ours.ClientMaxWindowBits = 15 // without it the server may not choose
			}
		}
		text, _ := json.Marshal(d)
		tt.name = fmt.Sprintf("%s %s takeover=%v", asker, text, takeover)
		if !slices.Contains(list, tt) { // some have the same smallest window
			list = append(list, tt)
		}
	}
	for _, takeover := range []bool{false, true} {
		add("ours", takeover, terms{})
		for _, asker := range []string{"ours", "theirs"} {
			add(asker, takeover, terms{ServerNoContextTakeover: true})
			add(asker, takeover, terms{ClientNoContextTakeover: true})
			add(asker, takeover, terms{ServerNoContextTakeover: true, ClientNoContextTakeover: true})
		}
	}
	for bits := 8; bits <= 15; bits++ {
		d := terms{ServerMaxWindowBits: bits, ClientMaxWindowBits: 23 - bits}
		if role == "server" {
			d.ServerMaxWindowBits = max(d.ServerMaxWindowBits, l.window)
		} else {
			d.ClientMaxWindowBits = max(d.ClientMaxWindowBits, l.window)
		}
		add("ours", true, d)
		add("theirs", true, d)
		d.ServerNoContextTakeover, d.ClientNoContextTakeover = true, true
		add("ours", false, d)
	}
	return list
}

// compressedFrames counts the frames with RSV1, the first ones of compressed
// messages, and the bytes in them.
type compressedFrames struct {
	received, receivedBytes atomic.Int64
	sent, sentBytes         atomic.Int64
	fragments               atomic.Int64 // that came, of any message
}

func (f *compressedFrames) trace() *conn.Trace {
	return &conn.Trace{
		Received: func(_ *conn.Conn, h frame.Header, _ []byte) {
			if h.RSV == frame.RSV1 {
				f.received.Add(1)
				f.receivedBytes.Add(h.Length)
			}
			if h.Opcode == frame.OpContinuation {
				f.fragments.Add(1)
			}
		},
		Sent: func(_ *conn.Conn, h frame.Header, _ []byte) {
			if h.RSV == frame.RSV1 {
				f.sent.Add(1)
				f.sentBytes.Add(h.Length)
			}
		},
	}
}

// compressible are messages of all sizes that compress well, or not at all: they
// are in front of and behind the threshold, the smallest window and the largest.
func compressible() []message {
	var list []message
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{0, 1, 511, 512, 5000, 100 << 10} {
		random := make([]byte, size)
		for i := range random {
			random[i] = byte(rnd.Uint32())
		}
		add := func(name string, mt conn.MessageType, data []byte) {
			list = append(list, message{fmt.Sprint(name, " ", size), mt, data})
		}
		add("prose", conn.Text, prose(rnd, size))
		add("random", conn.Binary, random)
		add("repeated", conn.Text, repeated(size))
		add("prose, binary", conn.Binary, prose(rnd, size))
		add("letters", conn.Text, letters(rnd, size))
		add("repeated, binary", conn.Binary, repeated(size))
		add("prose, again", conn.Text.Uncompressed(), prose(rnd, size))
	}
	return list
}

// prose returns text that is all words.
func prose(rnd *rand.Rand, size int) []byte {
	words := strings.Fields(`the quick brown fox jumps over a lazy dog Ελληνικά 你好 🙂 and then once more {"user":"alice"}`)
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(words[rnd.IntN(len(words))])
		b.WriteByte(' ')
	}
	return []byte(strings.ToValidUTF8(b.String()[:size], "~"))
}

func repeated(size int) []byte {
	return []byte(strings.Repeat("1234567", size/7+1)[:size])
}

// letters returns what compresses by a quarter and no more.
func letters(rnd *rand.Rand, size int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[rnd.IntN(64)]
	}
	return p
}

// packs reports whether we send a message compressed.
func (tt compressionCase) packs(m message) bool {
	switch {
	case m.mt == conn.Text.Uncompressed(), len(m.data) < 512 && !tt.takeover:
		return false
	case len(m.data) == 0:
		return true
	}
	return len(m.data) > 1 && !strings.HasPrefix(m.name, "random ")
}

// chat returns a message much like those before it: what does not compress in it
// is the same in all.
func chat(i int) []byte {
	token := letters(rand.New(rand.NewPCG(2, 2)), 450)
	return fmt.Appendf(nil, `{"token":"%s","id":%d,"text":"message %d of the room, which everyone has seen, once or twice, and now sees again"}`, token, i, i*i)
}

const inARow = 50

// requireTakeover holds the mean length of frames that came of chat against what
// takeover must have brought, if the window is large enough for it to matter.
func requireTakeover(t *testing.T, frames, bytes *atomic.Int64, takeover bool, bits int) {
	t.Helper()
	require.Positive(t, frames.Load())
	mean := bytes.Load() / frames.Load()
	if !takeover {
		require.Greater(t, mean, int64(200))
	} else if bits >= 11 {
		require.Less(t, mean, int64(100))
	}
}
