package deflate

import (
	"encoding/binary"
	"math/bits"
	"sync"
)

// DefaultLevel is the Level of a Compressor that was given none.
const DefaultLevel = 4

// Compressor deflates messages, whole ones. The zero value is ready for use at
// the default level, with the largest window and without context takeover.
//
// Without Takeover it holds no memory between messages: what it needs, some 450
// KiB, comes from a pool. With it, a window of 2^bits bytes costs 10 times as much
// for as long as the Compressor is in use, 320 KiB for the largest one, or 4 KiB
// more than 9 times as much for a small one. It is not safe for concurrent use.
// (RFC 7692, section 7.2.1)
type Compressor struct {
	// Level says how hard it tries, from 1, the fastest, to 9; 0 is DefaultLevel.
	Level int
	// Window is the size of the window in bits, 8 to 15; 0 is 15. No distance is
	// larger, whatever that costs of the ratio.
	Window int
	// Takeover keeps the window from one message to the next.
	Takeover bool

	m *matcher // with Takeover
}

// Append compresses p, a whole message, and appends what is to be sent as its
// payload to dst. If that is no shorter than p, out is dst and ok is false: p is
// to be sent as it is, uncompressed. p is not kept.
func (c *Compressor) Append(dst, p []byte) (out []byte, ok bool) {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	e.out = dst
	if c.Takeover {
		if c.m == nil {
			c.m = newMatcher(c.window())
			c.m.hist = make([]byte, 0, c.m.window+max(c.m.window, minHistory))
		}
		c.m.level = c.level()
		e.compress(c.m, p)
	} else {
		m := matchers.Get().(*matcher)
		m.level = c.level()
		m.window = 1 << c.window()
		m.forget(len(p))
		e.compress(m, p)
		m.origin += len(p)
		matchers.Put(m)
	}
	e.put(0, 3) // an empty stored block, whose length the peer knows
	e.align()
	out, e.out = e.out, nil
	if len(out)-len(dst) >= len(p) && len(p) > 0 {
		c.Reset()
		return dst, false
	}
	return out, true
}

// Reset forgets the window.
func (c *Compressor) Reset() {
	if m := c.m; m != nil {
		m.origin += len(m.hist)
		m.oldest = m.origin
		m.hist, m.parsed = m.hist[:0], 0
	}
}

func (c *Compressor) window() int {
	if c.Window == 0 {
		return MaxWindow
	}
	return c.Window
}

func (c *Compressor) level() effort {
	if c.Level == 0 {
		return efforts[DefaultLevel]
	}
	return efforts[min(max(c.Level, 1), 9)]
}

// effort is how hard a level tries.
type effort struct {
	chain int // how many earlier places it looks at
	lazy  int // a match shorter than this waits for a better one a byte later; 0: none does
	good  int // a match of this length is not compared with further ones
}

var efforts = [10]effort{
	1: {chain: 1, good: 16},
	2: {chain: 2, good: 24},
	3: {chain: 4, good: 32},
	4: {chain: 4, lazy: 16, good: 32},
	5: {chain: 8, lazy: 16, good: 48},
	6: {chain: 16, lazy: 32, good: 128},
	7: {chain: 32, lazy: 64, good: 128},
	8: {chain: 128, lazy: 128, good: 258},
	9: {chain: 1024, lazy: 258, good: 258},
}

// minMatch is the shortest match that is looked for.
const minMatch = 4

// matcher finds earlier places with the same bytes. Places are counted from the
// first byte that it has ever seen, so that forgetting costs nothing: what is
// before the oldest one is not looked at.
type matcher struct {
	level  effort
	window int

	// head has the newest place for a hash, prev the one before it with the same
	// hash for each place in the window; both plus 1.
	head  []uint32
	prev  []uint32
	shift uint // of a hash

	origin int // the place of data[0]
	oldest int // the first place that may be referred to

	// With Takeover: the window and what is compressed now, and up to where that
	// has been parsed.
	hist   []byte
	parsed int
}

// newMatcher returns a matcher for windows of up to 2^bits bytes.
func newMatcher(bits int) *matcher {
	return &matcher{window: 1 << bits, head: make([]uint32, 1<<bits), prev: make([]uint32, 1<<bits), shift: uint(32 - bits)}
}

var matchers = sync.Pool{New: func() any { return newMatcher(MaxWindow) }}

// maxPlace is where places are counted from the start again.
const maxPlace = 1 << 30

// forget begins a message of n bytes that refers to nothing before it.
func (m *matcher) forget(n int) {
	if m.origin+n > maxPlace {
		clear(m.head)
		m.origin = 0
	}
	m.oldest = m.origin
}

// minHistory is how much room there is behind the window at least.
const minHistory = 4 << 10

// next returns the data to parse when p[done:] is left of a message, and where
// in it to begin. With a history that is a piece of p behind the history.
func (m *matcher) next(p []byte, done int) (data []byte, begin int) {
	if m.hist == nil {
		return p, done
	}
	if m.parsed < len(m.hist) {
		return m.hist, m.parsed
	}
	if m.origin > maxPlace {
		clear(m.head)
		m.hist, m.origin, m.oldest = m.hist[:0], 0, 0
	}
	rest := p[done:]
	if cap(m.hist)-len(m.hist) < len(rest) && len(m.hist) > m.window {
		gone := len(m.hist) - m.window
		m.hist = m.hist[:copy(m.hist, m.hist[gone:])]
		m.origin += gone
		m.oldest = max(m.oldest, m.origin)
	}
	begin = len(m.hist)
	m.hist = append(m.hist, rest[:min(len(rest), cap(m.hist)-begin)]...)
	return m.hist, begin
}

func (m *matcher) hash(v uint32) uint32 { return v * 0x9E3779B1 >> m.shift }

// insert notes data[i:] and returns the newest place before it that may begin
// with the same bytes, plus 1.
func (m *matcher) insert(data []byte, i int) uint32 {
	h := m.hash(binary.LittleEndian.Uint32(data[i:]))
	place := m.origin + i
	before := m.head[h]
	m.prev[place&(len(m.prev)-1)] = before
	m.head[h] = uint32(place + 1)
	return before
}

// find returns the longest match for data[i:] that is longer than best, among
// the places from candidate on; length is best if there is none.
func (m *matcher) find(data []byte, i int, candidate uint32, best int) (length, distance int) {
	place := m.origin + i
	oldest := max(m.oldest, place-m.window)
	most := min(len(data)-i, maxMatch)
	length = best
	if length >= most {
		return length, 0
	}
	for range m.level.chain {
		at := int(candidate) - 1
		if at < oldest || at >= place {
			break
		}
		j := at - m.origin
		if data[j+length] == data[i+length] {
			if n := same(data[j:], data[i:i+most]); n > length && n >= minMatch {
				length, distance = n, i-j
				if n >= m.level.good || n == most {
					break
				}
			}
		}
		next := m.prev[at&(len(m.prev)-1)]
		if next >= candidate {
			break // the entry has been used again
		}
		candidate = next
	}
	return length, distance
}

// same returns how many bytes of b a begins with. a is not shorter.
func same(a, b []byte) int {
	n := 0
	for len(b)-n >= 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
