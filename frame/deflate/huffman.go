package deflate

import (
	"bytes"
	"math/bits"
)

// A code table is indexed by the next bits of the input, the first one lowest.
// An entry says what they mean:
//
//	bits 0-7    how many bits the code has
//	bits 8-11   how many extra bits follow it; of a link: how many bits index the table it leads to
//	bits 12-15  what it is: one of the kinds
//	bits 16-31  the literal, the length or distance without its extra bits, or where the table begins
//
// Codes that are longer than the index of the main table lead to another one
// behind it.
type entry uint32

const (
	kindInvalid entry = iota << 12 // no code begins so, or one of a symbol that must not occur
	kindLiteral
	kindBase // a length or a distance
	kindEnd  // of the block
	kindLink
	kindMask entry = 0xF << 12
)

const (
	maxCode      = 15 // bits
	literalRoot  = 10 // bits that index the main table of literals and lengths
	distanceRoot = 8
	lengthRoot   = 7 // of the code for code lengths, which are no longer

	// The most entries that codes of at most maxCode bits need for 286 and 30
	// symbols; literalRoot and distanceRoot decide. As zlib's enough.c counts
	// them: 1334 and 402.
	literalEntries  = 1334
	distanceEntries = 402
)

const (
	endOfBlock = 256
	maxMatch   = 258
)

// The symbols, without the lengths of their codes. (RFC 1951, section 3.2.5)
var (
	literalSymbols  = newLiteralSymbols()
	distanceSymbols = newDistanceSymbols()
	lengthSymbols   = newLengthSymbols()
)

// The tables of the fixed codes. (RFC 1951, section 3.2.6)
var (
	fixedLiterals  = newTable(9, fixedLens(), literalSymbols[:])
	fixedDistances = newTable(5, bytes.Repeat([]byte{fixedDistanceBits}, 32), distanceSymbols[:])
)

func newLiteralSymbols() (symbols [288]entry) {
	for i := range endOfBlock {
		symbols[i] = kindLiteral | entry(i)<<16
	}
	symbols[endOfBlock] = kindEnd
	length := 3
	for i := range 28 {
		extra := max(i/4-1, 0)
		symbols[endOfBlock+1+i] = kindBase | entry(extra)<<8 | entry(length)<<16
		length += 1 << extra
	}
	symbols[285] = kindBase | maxMatch<<16
	return symbols
}

func newDistanceSymbols() (symbols [32]entry) {
	distance := 1
	for i := range 30 {
		extra := max(i/2-1, 0)
		symbols[i] = kindBase | entry(extra)<<8 | entry(distance)<<16
		distance += 1 << extra
	}
	return symbols
}

func newLengthSymbols() (symbols [19]entry) {
	for i := range symbols {
		symbols[i] = kindLiteral | entry(i)<<16
	}
	return symbols
}

func newTable(root int, lens []uint8, symbols []entry) []entry {
	table := make([]entry, 1<<root)
	build(table, root, lens, symbols)
	return table
}

// fixedDistanceBits is the length of every distance's fixed code.
const fixedDistanceBits = 5

// fixedLens returns the lengths of the fixed code for literals and lengths.
func fixedLens() []uint8 {
	lens := bytes.Repeat([]byte{8}, 288)
	copy(lens[144:], bytes.Repeat([]byte{9}, 256-144))
	copy(lens[256:], bytes.Repeat([]byte{7}, 280-256))
	return lens
}

// build makes the table of the canonical code whose lengths are lens. It reports
// whether there is such a code: neither more codes than there is room for, nor
// unused room, but that a code of one symbol has one bit, and one of no symbol
// has no codes. (RFC 1951, section 3.2.2)
func build(table []entry, root int, lens []uint8, symbols []entry) bool {
	var count, offset [maxCode + 2]int
	for _, l := range lens {
		count[l]++
	}
	longest := maxCode
	for longest > 0 && count[longest] == 0 {
		longest--
	}
	clear(table[:1<<root])
	if longest == 0 {
		return true
	}
	room := 1
	for l := 1; l <= maxCode; l++ {
		if room = room<<1 - count[l]; room < 0 {
			return false
		}
		offset[l+1] = offset[l] + count[l]
	}
	if room > 0 && longest > 1 {
		return false
	}
	// By length of the code, then by symbol: that is the order of the codes.
	var sorted [288]uint16
	for s, l := range lens {
		if l > 0 {
			sorted[offset[l]] = uint16(s)
			offset[l]++ // at last where those of this length end
		}
	}

	var code uint // of the symbol, its first bit highest
	i := 0
	next := 1 << root // where the next linked table begins
	link := -1        // the index of the last link
	var begin, width int
	for l := 1; l <= longest; l++ {
		for range count[l] {
			e := symbols[sorted[i]] | entry(l)
			i++
			reversed := int(bits.Reverse16(uint16(code)) >> (16 - l))
			code++
			if l <= root {
				for j := reversed; j < 1<<root; j += 1 << l {
					table[j] = e
				}
				continue
			}
			if prefix := reversed & (1<<root - 1); prefix != link {
				// All codes that begin so come now: the table for them is as large as
				// they need it.
				link, begin, width = prefix, next, l-root
				free := 1<<width - (offset[l] - i + 1)
				for free > 0 && root+width < longest {
					width++
					free = free<<1 - count[root+width]
				}
				next += 1 << width
				table[link] = kindLink | entry(width)<<8 | entry(begin)<<16
				clear(table[begin:next])
			}
			for j := reversed >> root; j < 1<<width; j += 1 << (l - root) {
				table[begin+j] = e
			}
		}
		code <<= 1
	}
	return true
}
