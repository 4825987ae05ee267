package deflate

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
)

const (
	maxTokens     = 16 << 10 // of one block
	maxBlockBytes = 64 << 10 // of input, so that it can be stored in one piece nearly
	maxStored     = 1<<16 - 1
)

// token is a literal, or a match: 1<<31 | length<<16 | distance-1.
type token uint32

// encoder writes blocks.
type encoder struct {
	out  []byte
	bits uint64 // not in out yet, the first one lowest
	n    uint

	tokens   [maxTokens + 1]token
	count    int
	literals [286]uint32 // how often each symbol occurs in the block
	dists    [30]uint32

	lit, dist, meta code
	lens            [286 + 30]uint8
	runs            [286 + 30]uint16 // code lengths as they are sent: symbol | extra<<8
	metaCounts      [19]uint32
}

var encoders = sync.Pool{New: func() any {
	return &encoder{lit: newCode(make([]uint8, 286)), dist: newCode(make([]uint8, 30)), meta: newCode(make([]uint8, 19))}
}}

// compress writes p as blocks.
func (e *encoder) compress(m *matcher, p []byte) {
	e.beginBlock()
	for begin, done := 0, 0; done < len(p); {
		data, i := m.next(p, done)
		end := e.parse(m, data, i, begin+maxBlockBytes-done)
		m.parsed = end
		done += end - i
		if e.count >= maxTokens || done-begin >= maxBlockBytes || done == len(p) {
			e.block(p[begin:done])
			e.beginBlock()
			begin = done
		}
	}
}

func (e *encoder) beginBlock() {
	clear(e.literals[:])
	clear(e.dists[:])
	e.literals[endOfBlock] = 1
	e.count = 0
}

// parse makes tokens of data from begin on, of some most bytes, and returns where
// it ends.
func (e *encoder) parse(m *matcher, data []byte, begin, most int) int {
	last := len(data)
	if last-begin > most {
		last = begin + most
	}
	i := begin
	hashed := len(data) - minMatch // the last place with enough bytes behind it
	quiet := i                     // since when nothing has matched
	for i < last && e.count < maxTokens {
		if i > hashed {
			e.literal(data[i])
			i++
			continue
		}
		length, distance := m.find(data, i, m.insert(data, i), minMatch-1)
		if distance == 0 {
			e.literal(data[i])
			i++
			// Where nothing matches for long, nothing will.
			for skip := (i - quiet) >> 6; skip > 0 && i < last && e.count < maxTokens; skip-- {
				e.literal(data[i])
				i++
			}
			continue
		}
		for length < m.level.lazy && i < hashed && e.count < maxTokens {
			better, further := m.find(data, i+1, m.insert(data, i+1), length)
			if further == 0 {
				break
			}
			e.literal(data[i])
			i++
			length, distance = better, further
		}
		e.match(length, distance)
		stop := min(i+length, hashed+1)
		next := i + 1
		if length < m.level.lazy && i < hashed {
			next++ // that one was looked at
		}
		i += length
		if m.level.lazy == 0 && length > 8 {
			// The fast levels note some places alone.
			for ; next < stop; next += 2 {
				m.insert(data, next)
			}
		} else {
			for ; next < stop; next++ {
				m.insert(data, next)
			}
		}
		quiet = i
	}
	return i
}

func (e *encoder) literal(c byte) {
	e.tokens[e.count] = token(c)
	e.count++
	e.literals[c]++
}

func (e *encoder) match(length, distance int) {
	e.tokens[e.count] = 1<<31 | token(length)<<16 | token(distance-1)
	e.count++
	e.literals[endOfBlock+1+int(lengthCode(length))]++
	e.dists[distanceCode(uint32(distance-1))]++
}

// What a length less 3 is written with: its code, counted from the first one for
// lengths; the least value of that, and how many bits follow it.
var lengthCodes, lengthBase, lengthExtra = newLengthCodes()

func newLengthCodes() (codes [256]uint8, base [29]uint16, extra [29]uint8) {
	for i := range base {
		e := literalSymbols[endOfBlock+1+i]
		base[i], extra[i] = uint16(e>>16), uint8(e>>8&0xF)
		for j := int(base[i]); j < int(base[i])+1<<extra[i] && j <= maxMatch; j++ {
			codes[j-3] = uint8(i) // the last one that fits: 258 has a code of its own
		}
	}
	return codes, base, extra
}

func lengthCode(length int) uint8 { return lengthCodes[length-3] }

// distanceCode returns the code of a distance less 1.
func distanceCode(d uint32) uint32 {
	if d < 4 {
		return d
	}
	n := uint32(bits.Len32(d)) - 2
	return 2*n + d>>n
}

// block writes the tokens as a block of the kind that is shortest. raw is what
// they stand for.
func (e *encoder) block(raw []byte) {
	extra := 0
	for i, n := range lengthExtra {
		extra += int(n) * int(e.literals[endOfBlock+1+i])
	}
	for i := 4; i < len(e.dists); i++ {
		extra += (i/2 - 1) * int(e.dists[i])
	}
	fixed := 3 + extra + fixedCode.size(e.literals[:]) + fixedDistanceBits*sum(e.dists[:])
	stored := int(8-(e.n+3)&7)&7 + 3 + 32*(1+len(raw)/maxStored) + 8*len(raw)
	dynamic := fixed
	header := header{}
	if fixed > 3+8*24 { // codes of its own take some 30 bytes
		e.lit.build(e.literals[:], maxCode)
		e.dist.build(e.dists[:], maxCode)
		header = e.header()
		dynamic = 3 + header.size + extra + e.lit.size(e.literals[:]) + e.dist.size(e.dists[:])
	}
	switch {
	case stored <= fixed && stored <= dynamic:
		e.store(raw)
	case dynamic < fixed:
		e.put(2<<1, 3)
		e.putHeader(header)
		e.putTokens(&e.lit, &e.dist)
	default:
		e.put(1<<1, 3)
		e.putTokens(&fixedCode, &fixedDistanceCode)
	}
}

func sum(counts []uint32) int {
	n := 0
	for _, c := range counts {
		n += int(c)
	}
	return n
}

// put writes the n lowest bits of v, 16 at most.
func (e *encoder) put(v uint64, n uint) {
	e.bits |= v << e.n
	e.n += n
	for e.n >= 8 {
		e.out = append(e.out, byte(e.bits))
		e.bits >>= 8
		e.n -= 8
	}
}

// align fills the byte under way with zeros.
func (e *encoder) align() {
	if e.n > 0 {
		e.out = append(e.out, byte(e.bits))
		e.bits, e.n = 0, 0
	}
}

func (e *encoder) store(raw []byte) {
	for len(raw) > 0 {
		n := min(len(raw), maxStored)
		e.put(0, 3)
		e.align()
		e.out = binary.LittleEndian.AppendUint16(e.out, uint16(n))
		e.out = binary.LittleEndian.AppendUint16(e.out, ^uint16(n))
		e.out = append(e.out, raw[:n]...)
		raw = raw[n:]
	}
}

// putTokens writes the tokens and the end of the block.
func (e *encoder) putTokens(lit, dist *code) {
	b, n, out := e.bits, e.n, e.out
	for _, t := range e.tokens[:e.count] {
		// At most 7 bits are left, and a match has 48.
		if t>>31 == 0 {
			b |= uint64(lit.codes[t]) << n
			n += uint(lit.lens[t])
		} else {
			length := int(t >> 16 & 0x1FF)
			c := lengthCode(length)
			s := endOfBlock + 1 + int(c)
			b |= uint64(lit.codes[s]) << n
			n += uint(lit.lens[s])
			b |= uint64(length-int(lengthBase[c])) << n
			n += uint(lengthExtra[c])
			d := uint32(t & 0x7FFF)
			s = int(distanceCode(d))
			b |= uint64(dist.codes[s]) << n
			n += uint(dist.lens[s])
			if s >= 4 {
				x := uint(s/2 - 1)
				b |= uint64(d&(1<<x-1)) << n
				n += x
			}
		}
		if n >= 8 {
			out = binary.LittleEndian.AppendUint64(out, b)
			out = out[:len(out)-8+int(n>>3)]
			b >>= n &^ 7
			n &= 7
		}
	}
	e.bits, e.n, e.out = b, n, out
	e.put(uint64(lit.codes[endOfBlock]), uint(lit.lens[endOfBlock]))
}

// header is what is sent of a block's own codes.
type header struct {
	literals, dists, metas int // how many code lengths there are of each
	runs                   int
	size                   int // in bits
}

// header makes the code for the code lengths of lit and dist.
// (RFC 1951, section 3.2.7)
func (e *encoder) header() header {
	h := header{literals: 286, dists: 30, metas: 19}
	for h.literals > 257 && e.lit.lens[h.literals-1] == 0 {
		h.literals--
	}
	for h.dists > 1 && e.dist.lens[h.dists-1] == 0 {
		h.dists--
	}
	lens := append(append(e.lens[:0], e.lit.lens[:h.literals]...), e.dist.lens[:h.dists]...)
	clear(e.metaCounts[:])
	run := func(symbol, extra uint16) {
		e.runs[h.runs] = symbol | extra<<8
		h.runs++
		e.metaCounts[symbol]++
	}
	for i := 0; i < len(lens); {
		n := 1
		for i+n < len(lens) && lens[i+n] == lens[i] {
			n++
		}
		l := uint16(lens[i])
		i += n
		if l > 0 {
			run(l, 0)
			n--
		}
		for n > 0 {
			switch {
			case n < 3:
				run(l, 0)
				n--
			case l > 0:
				k := min(n, 6)
				run(16, uint16(k-3))
				n -= k
			case n <= 10:
				run(17, uint16(n-3))
				n = 0
			default:
				k := min(n, 138)
				run(18, uint16(k-11))
				n -= k
			}
		}
	}
	e.meta.build(e.metaCounts[:], lengthRoot)
	for h.metas > 4 && e.meta.lens[metaOrder[h.metas-1]] == 0 {
		h.metas--
	}
	h.size = 14 + 3*h.metas + e.meta.size(e.metaCounts[:]) + 2*int(e.metaCounts[16]) + 3*int(e.metaCounts[17]) + 7*int(e.metaCounts[18])
	return h
}

func (e *encoder) putHeader(h header) {
	e.put(uint64(h.literals-257), 5)
	e.put(uint64(h.dists-1), 5)
	e.put(uint64(h.metas-4), 4)
	for _, s := range metaOrder[:h.metas] {
		e.put(uint64(e.meta.lens[s]), 3)
	}
	for _, r := range e.runs[:h.runs] {
		s := r & 0xFF
		e.put(uint64(e.meta.codes[s]), uint(e.meta.lens[s]))
		switch s {
		case 16:
			e.put(uint64(r>>8), 2)
		case 17:
			e.put(uint64(r>>8), 3)
		case 18:
			e.put(uint64(r>>8), 7)
		}
	}
}

// code is a canonical Huffman code for writing.
type code struct {
	lens  []uint8
	codes []uint16 // the first bit lowest
}

// The fixed codes. (RFC 1951, section 3.2.6)
var (
	fixedCode         = newCode(fixedLens())
	fixedDistanceCode = newCode(slices.Repeat([]uint8{fixedDistanceBits}, 30))
)

func newCode(lens []uint8) code {
	c := code{lens: lens, codes: make([]uint16, len(lens))}
	c.number()
	return c
}

// size returns how many bits symbols take that occur so often.
func (c *code) size(counts []uint32) int {
	n := 0
	for i, k := range counts {
		n += int(k) * int(c.lens[i])
	}
	return n
}

// number gives the symbols their codes, by their lengths.
// (RFC 1951, section 3.2.2)
func (c *code) number() {
	var count, next [maxCode + 2]uint16
	for _, l := range c.lens {
		count[l]++
	}
	count[0] = 0
	for l := 1; l <= maxCode; l++ {
		next[l+1] = (next[l] + count[l]) << 1
	}
	for s, l := range c.lens {
		if l > 0 {
			c.codes[s] = bits.Reverse16(next[l]) >> (16 - l)
			next[l]++
		}
	}
}

// build makes the shortest code for symbols that occur so often, of at most most
// bits each. Of a single symbol the code has one bit; of none, too, for the first
// one, since some decoders want a code to be there.
func (c *code) build(counts []uint32, most int) {
	var sorted [286]uint64 // count<<16 | symbol, rarest first
	n := 0
	for s, k := range counts {
		if k > 0 {
			sorted[n] = uint64(k)<<16 | uint64(s)
			n++
		}
	}
	clear(c.lens)
	if n <= 1 {
		c.lens[sorted[0]&0xFFFF] = 1
		c.number()
		return
	}
	slices.Sort(sorted[:n])

	// Huffman's algorithm with two queues: of the leaves, rarest first, and of the
	// inner nodes, which are made in the order of their weights.
	var weight [2 * 286]uint64
	var parent [2 * 286]uint16
	for i := range n {
		weight[i] = sorted[i] >> 16
	}
	leaf, inner, end := 0, n, n
	least := func() int {
		if leaf < n && (inner == end || weight[leaf] <= weight[inner]) {
			leaf++
			return leaf - 1
		}
		inner++
		return inner - 1
	}
	for range n - 1 {
		a, b := least(), least()
		weight[end] = weight[a] + weight[b]
		parent[a], parent[b] = uint16(end), uint16(end)
		end++
	}
	var depth [2 * 286]uint16
	var count [64]int
	for i := end - 2; i >= 0; i-- {
		depth[i] = depth[parent[i]] + 1
		if i < n {
			count[min(int(depth[i]), most)]++
		}
	}
	// What was cut off to most bits takes too much room: shorter codes make it.
	room := 0
	for l := 1; l <= most; l++ {
		room += count[l] << (most - l)
	}
	for ; room > 1<<most; room-- {
		count[most]--
		l := most - 1
		for count[l] == 0 {
			l--
		}
		count[l]--
		count[l+1] += 2
	}
	// The most frequent symbols get the shortest codes.
	i := n
	for l := 1; l <= most; l++ {
		for range count[l] {
			i--
			c.lens[sorted[i]&0xFFFF] = uint8(l)
		}
	}
	c.number()
}
