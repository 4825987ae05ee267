package deflate

import (
	"encoding/binary"
	"errors"
)

// inflater decodes one message. It stops wherever its input ends or its output
// is full, and goes on from there: compress/flate cannot, which pulls its input
// and is of no use any more after an error of its source, such as a read whose
// context has ended.
type inflater struct {
	src  []byte // what is decoded now
	pos  int    // in src
	bits uint64 // read and not used, the next one lowest; 0 above nbits
	n    uint   // how many, at most 63

	state state
	final bool // the block under way is the last one of its stream

	left           int // bytes of a stored block
	length, offset int // of a copy that did not fit

	// The header of a block with codes of its own.
	literals, distances, lengths int // how many code lengths there are of each
	have                         int // how many have been read
	lens                         [288 + 32]uint8

	lit, dist         []entry // the tables of the block under way
	litRoot, distRoot uint
	litTable          [literalEntries]entry
	distTable         [distanceEntries]entry
	lengthTable       [1 << lengthRoot]entry

	buf    []byte // what was decoded, its end being the window
	w      int    // end of what was decoded in buf
	r      int    // up to where it has been given out, r <= w
	window int    // the largest distance
	err    error  // what is wrong with the data
}

type state uint8

const (
	stateBlock   state = iota // a block begins
	stateStored               // the length of a stored block comes
	stateCopied               // bytes of a stored block come
	stateCounts               // the counts of code lengths come
	stateMeta                 // the code lengths of the code for code lengths come
	stateLengths              // the code lengths come
	stateCodes                // codes come
)

// What is wrong with data that does not decode. (RFC 1951, section 3.2)
var (
	errBlockType  = errors.New("deflate: block of the reserved type")
	errStored     = errors.New("deflate: stored block whose length does not match its complement")
	errCounts     = errors.New("deflate: too many literal, length or distance codes")
	errMeta       = errors.New("deflate: code for code lengths is no code")
	errRepeat     = errors.New("deflate: repeated code length without one to repeat, or beyond the end")
	errNoEnd      = errors.New("deflate: block without a code for its end")
	errCodes      = errors.New("deflate: literal, length or distance code is no code")
	errSymbol     = errors.New("deflate: bits that are no code")
	errDistance   = errors.New("deflate: distance beyond the window or what was sent")
	errUnfinished = errors.New("deflate: message ends within a block")
)

// metaOrder is the order in which the code lengths of the code for code lengths
// come. (RFC 1951, section 3.2.7)
var metaOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// need makes sure that there are n bits, 48 at most, and reports whether there
// are.
func (z *inflater) need(n uint) bool {
	for z.n < n {
		if z.pos == len(z.src) {
			return false
		}
		z.bits |= uint64(z.src[z.pos]) << z.n
		z.pos++
		z.n += 8
	}
	return true
}

// take returns the next n bits, which are there.
func (z *inflater) take(n uint) int {
	v := int(z.bits & (1<<n - 1))
	z.drop(n)
	return v
}

func (z *inflater) drop(n uint) {
	z.bits >>= n
	z.n -= n
}

// run decodes until src is used up or buf is full. What is left of src when it
// ends with need is less than a symbol, and stands in bits.
func (z *inflater) run() error {
	for {
		var more bool
		var err error
		switch z.state {
		case stateBlock:
			more, err = z.block()
		case stateStored:
			more, err = z.stored()
		case stateCopied:
			more = z.copied()
		case stateCounts:
			more, err = z.counts()
		case stateMeta:
			more, err = z.meta()
		case stateLengths:
			more, err = z.codeLengths()
		case stateCodes:
			more, err = z.codes()
		}
		if err != nil || !more {
			return err
		}
	}
}

// The methods for the states report whether to go on: there is a next state, and
// neither is more input needed nor the output full.

func (z *inflater) block() (bool, error) {
	if !z.need(3) {
		return false, nil
	}
	z.final = z.take(1) == 1
	switch z.take(2) {
	case 0:
		z.drop(z.n & 7) // to the next byte
		z.state = stateStored
	case 1:
		z.lit, z.litRoot = fixedLiterals, 9
		z.dist, z.distRoot = fixedDistances, fixedDistanceBits
		z.state = stateCodes
	case 2:
		z.state = stateCounts
	default:
		return false, errBlockType
	}
	return true, nil
}

// endBlock ends a block. Behind the last one of a stream, another may begin at
// the next byte. (RFC 7692, section 7.2.3.4)
func (z *inflater) endBlock() {
	if z.final {
		z.final = false
		z.drop(z.n & 7)
	}
	z.state = stateBlock
}

func (z *inflater) stored() (bool, error) {
	if !z.need(32) {
		return false, nil
	}
	z.left = z.take(16)
	if z.take(16) != z.left^0xFFFF {
		return false, errStored
	}
	z.state = stateCopied
	return true, nil
}

func (z *inflater) copied() bool {
	for z.left > 0 && z.n > 0 && z.w < len(z.buf) {
		z.buf[z.w] = byte(z.take(8))
		z.w++
		z.left--
	}
	if z.n == 0 {
		n := copy(z.buf[z.w:], z.src[z.pos:min(z.pos+z.left, len(z.src))])
		z.w += n
		z.pos += n
		z.left -= n
	}
	if z.left > 0 {
		return false
	}
	z.endBlock()
	return true
}

func (z *inflater) counts() (bool, error) {
	if !z.need(14) {
		return false, nil
	}
	z.literals = 257 + z.take(5)
	z.distances = 1 + z.take(5)
	z.lengths = 4 + z.take(4)
	if z.literals > 286 || z.distances > 30 {
		return false, errCounts
	}
	z.have = 0
	clear(z.lens[:len(metaOrder)])
	z.state = stateMeta
	return true, nil
}

func (z *inflater) meta() (bool, error) {
	for ; z.have < z.lengths; z.have++ {
		if !z.need(3) {
			return false, nil
		}
		z.lens[metaOrder[z.have]] = uint8(z.take(3))
	}
	if !build(z.lengthTable[:], lengthRoot, z.lens[:len(metaOrder)], lengthSymbols[:]) {
		return false, errMeta
	}
	z.have = 0
	z.state = stateLengths
	return true, nil
}

func (z *inflater) codeLengths() (bool, error) {
	total := z.literals + z.distances
	for z.have < total {
		z.need(lengthRoot + 7) // or what there is
		e := z.lengthTable[z.bits&(1<<lengthRoot-1)]
		n := uint(e & 0xFF)
		if n > z.n {
			return false, nil
		}
		if e&kindMask == kindInvalid {
			return false, errSymbol
		}
		symbol := int(e >> 16)
		if symbol < 16 {
			z.drop(n)
			z.lens[z.have] = uint8(symbol)
			z.have++
			continue
		}
		extra, least, value := uint(2), 3, uint8(0)
		switch symbol {
		case 16:
			if z.have == 0 {
				return false, errRepeat
			}
			value = z.lens[z.have-1]
		case 17:
			extra = 3
		case 18:
			extra, least = 7, 11
		}
		if n+extra > z.n {
			return false, nil
		}
		z.drop(n)
		repeat := least + z.take(extra)
		if repeat > total-z.have {
			return false, errRepeat
		}
		for range repeat {
			z.lens[z.have] = value
			z.have++
		}
	}
	if z.lens[endOfBlock] == 0 {
		return false, errNoEnd
	}
	z.lit, z.litRoot = z.litTable[:], literalRoot
	z.dist, z.distRoot = z.distTable[:], distanceRoot
	if !build(z.lit, literalRoot, z.lens[:z.literals], literalSymbols[:]) ||
		!build(z.dist, distanceRoot, z.lens[z.literals:total], distanceSymbols[:]) {
		return false, errCodes
	}
	z.state = stateCodes
	return true, nil
}

// slack is what the fast loop may write beyond the end of a match.
const slack = 8

// codes decodes literals and matches, one at a time: each when all its bits are
// there.
func (z *inflater) codes() (bool, error) {
	if z.length > 0 && !z.copyMatch() {
		return false, nil
	}
	for {
		if len(z.src)-z.pos >= 8 && len(z.buf)-z.w >= maxMatch+slack {
			if ended, err := z.fast(); ended || err != nil {
				return err == nil, err
			}
		}
		z.need(48) // or what there is
		e := z.lit[z.bits&(1<<z.litRoot-1)]
		if e&kindMask == kindLink {
			e = z.lit[int(e>>16)+int(z.bits>>z.litRoot)&(1<<(e>>8&0xF)-1)]
		}
		n := uint(e & 0xFF)
		if n > z.n {
			return false, nil
		}
		switch e & kindMask {
		case kindLiteral:
			if z.w == len(z.buf) {
				return false, nil
			}
			z.drop(n)
			z.buf[z.w] = byte(e >> 16)
			z.w++
			continue
		case kindEnd:
			z.drop(n)
			z.endBlock()
			return true, nil
		case kindInvalid:
			return false, errSymbol
		}
		extra := uint(e >> 8 & 0xF)
		rest := z.bits >> (n + extra)
		d := z.dist[rest&(1<<z.distRoot-1)]
		if d&kindMask == kindLink {
			d = z.dist[int(d>>16)+int(rest>>z.distRoot)&(1<<(d>>8&0xF)-1)]
		}
		dn, dextra := uint(d&0xFF), uint(d>>8&0xF)
		if n+extra+dn+dextra > z.n {
			return false, nil
		}
		if d&kindMask != kindBase {
			return false, errSymbol
		}
		z.drop(n)
		z.length = int(e>>16) + z.take(extra)
		z.drop(dn)
		z.offset = int(d>>16) + z.take(dextra)
		if z.offset > z.w || z.offset > z.window {
			return false, errDistance
		}
		if !z.copyMatch() {
			return false, nil
		}
	}
}

// copyMatch copies the match under way as far as there is room, and reports
// whether that was all.
func (z *inflater) copyMatch() bool {
	for z.length > 0 {
		from := z.w - z.offset
		n := copy(z.buf[z.w:min(z.w+z.length, len(z.buf))], z.buf[from:z.w])
		if n == 0 {
			return false
		}
		z.w += n
		z.length -= n
	}
	return true
}

// fast is codes while there is plenty of input and output: it checks neither for
// every symbol. It reports whether the block has ended.
func (z *inflater) fast() (ended bool, err error) {
	src, pos, buf, w := z.src, z.pos, z.buf, z.w
	bits, n := z.bits, z.n
	lit, dist := z.lit, z.dist
	litMask, distMask := uint64(1)<<z.litRoot-1, uint64(1)<<z.distRoot-1
	litRoot, distRoot := z.litRoot, z.distRoot
	window := z.window
	for len(src)-pos >= 8 && len(buf)-w >= maxMatch+slack {
		// At least 56 bits, of which a match takes 48 at most. What is above n is
		// right, too.
		bits |= binary.LittleEndian.Uint64(src[pos:]) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56

		e := lit[bits&litMask]
		if e&kindMask == kindLiteral {
			// Two of them and a match are still within 56 bits when they are short.
			bits >>= e & 0x3F
			n -= uint(e & 0x3F)
			buf[w] = byte(e >> 16)
			w++
			e = lit[bits&litMask]
			if e&kindMask == kindLiteral {
				bits >>= e & 0x3F
				n -= uint(e & 0x3F)
				buf[w] = byte(e >> 16)
				w++
				continue
			}
			if n < 48 {
				continue
			}
		}
		if e&kindMask == kindLink {
			e = lit[uint64(e>>16)+bits>>litRoot&(1<<(e>>8&0xF)-1)]
		}
		bits >>= e & 0x3F
		n -= uint(e & 0x3F)
		switch e & kindMask {
		case kindLiteral:
			buf[w] = byte(e >> 16)
			w++
			continue
		case kindEnd:
			ended = true
		case kindInvalid:
			err = errSymbol
		}
		if ended || err != nil {
			break
		}
		extra := uint(e >> 8 & 0xF)
		length := int(e>>16) + int(bits&(1<<extra-1))
		bits >>= extra
		n -= extra

		d := dist[bits&distMask]
		if d&kindMask == kindLink {
			d = dist[uint64(d>>16)+bits>>distRoot&(1<<(d>>8&0xF)-1)]
		}
		if d&kindMask != kindBase {
			err = errSymbol
			break
		}
		bits >>= d & 0x3F
		n -= uint(d & 0x3F)
		extra = uint(d >> 8 & 0xF)
		distance := int(d>>16) + int(bits&(1<<extra-1))
		bits >>= extra
		n -= extra
		if distance > w || distance > window {
			err = errDistance
			break
		}
		from, end := w-distance, w+length
		if distance >= 8 {
			for w < end {
				binary.LittleEndian.PutUint64(buf[w:], binary.LittleEndian.Uint64(buf[from:]))
				w += 8
				from += 8
			}
			w = end
			continue
		}
		for w < end {
			w += copy(buf[w:end], buf[from:w])
		}
	}
	z.pos, z.w = pos, w
	z.bits, z.n = bits&(1<<n-1), n
	if ended {
		z.endBlock()
	}
	return ended, err
}
