package frame

import "encoding/binary"

// UTF8 checks, as the bytes of a text message arrive, that they are UTF-8: a
// message may be cut anywhere, between the bytes of one character too. It tells
// at the first byte that nothing can mend, so that a peer need not be heard out.
// The same bytes get the same answer however they are cut.
//
// The zero value is ready for a message's first byte. A copy goes on by itself
// from where the original was. (RFC 6455, sections 5.6 and 8.1; RFC 3629,
// section 4)
type UTF8 struct {
	// state is one of the states below, never utf8Invalid.
	state uint8
}

// Valid takes the next bytes of the message. It returns false as soon as no
// bytes that might follow could make UTF-8 of the message: at the first byte
// that cannot stand where it stands, whether or not the rest of its sequence is
// there. It has then taken nothing of p. A nil or empty p is always valid.
func (u *UTF8) Valid(p []byte) bool {
	s := u.state
	if utf8Vector && len(p) >= utf8Block+3 {
		for s != utf8Complete && s != utf8Invalid {
			s = utf8Walk(s, p[:1])
			p = p[1:]
		}
		n := len(p) &^ (utf8Block - 1)
		if s == utf8Invalid || !utf8Blocks(&p[0], n, &utf8Pairs) {
			return false
		}
		s = utf8Walk(utf8Complete, utf8LastSequence(p[:n]))
		p = p[n:]
	}
	for s != utf8Invalid {
		if s == utf8Complete {
			p = p[asciiWords(p):]
		}
		if len(p) == 0 {
			u.state = s
			return true
		}
		// Text that is not ASCII here is likely not to be further on, so it is
		// taken by the step for a while before ASCII is looked for again.
		n := min(len(p), 128)
		s = utf8Walk(s, p[:n])
		p = p[n:]
	}
	return false
}

// Complete reports whether what was taken ends with a whole character, as it
// must where the message ends.
func (u *UTF8) Complete() bool { return u.state == utf8Complete }

// Reset makes u ready for the first byte of another message.
func (u *UTF8) Reset() { u.state = utf8Complete }

// What may come next, named by what has come. Each state is a distance in bits:
// see utf8Steps.
const (
	utf8Complete = 6 * iota // a character may begin
	utf8Invalid             // nothing may come, for good
	utf8One                 // one more byte, 80 to BF
	utf8Two                 // two more bytes, 80 to BF
	utf8Three               // three more bytes, 80 to BF
	utf8E0                  // A0 to BF, then one more: 80 to 9F would have been shorter
	utf8ED                  // 80 to 9F, then one more: A0 to BF would be a surrogate
	utf8F0                  // 90 to BF, then two more: 80 to 8F would have been shorter
	utf8F4                  // 80 to 8F, then two more: 90 to BF would pass U+10FFFF
	utf8End
)

// asciiWords returns how many bytes at the start of p are surely ASCII: it looks
// at whole words, of eight bytes.
func asciiWords(p []byte) (n int) {
	const high = 0x8080808080808080 // not set in ASCII
	rest := p
	for len(rest) >= 64 {
		b := (*[64]byte)(rest)
		w := binary.LittleEndian.Uint64(b[0:]) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:]) |
			binary.LittleEndian.Uint64(b[32:]) | binary.LittleEndian.Uint64(b[40:]) |
			binary.LittleEndian.Uint64(b[48:]) | binary.LittleEndian.Uint64(b[56:])
		if w&high != 0 {
			break
		}
		rest = rest[64:]
	}
	for len(rest) >= 8 && binary.LittleEndian.Uint64(rest)&high == 0 {
		rest = rest[8:]
	}
	return len(p) - len(rest)
}

// utf8Walk returns the state that p leads to from state. It is unrolled because
// the loop's own work would take as long as the steps.
func utf8Walk(state uint8, p []byte) uint8 {
	s := uint64(state)
	for len(p) >= 8 {
		b := (*[8]byte)(p)
		s = utf8Steps[b[0]] >> (s & 63)
		s = utf8Steps[b[1]] >> (s & 63)
		s = utf8Steps[b[2]] >> (s & 63)
		s = utf8Steps[b[3]] >> (s & 63)
		s = utf8Steps[b[4]] >> (s & 63)
		s = utf8Steps[b[5]] >> (s & 63)
		s = utf8Steps[b[6]] >> (s & 63)
		s = utf8Steps[b[7]] >> (s & 63)
		p = p[8:]
	}
	for _, c := range p {
		s = utf8Steps[c] >> (s & 63)
	}
	return uint8(s & 63)
}

// utf8Steps holds, for each byte, the state that it leads to from every state:
// from state s it is the six bits at bit s. A step is then one load, which does
// not depend on the state, and one shift, with no branch on the text. Nine states
// of six bits fit a word.
var utf8Steps = func() (steps [256]uint64) {
	for c := range steps {
		for s := 0; s < utf8End; s += 6 {
			steps[c] |= uint64(utf8Next(s, byte(c))) << s
		}
	}
	return steps
}()

// utf8Next is the table of well-formed byte sequences (RFC 3629, section 4).
func utf8Next(s int, c byte) int {
	in := func(low, high byte, next int) int {
		if low <= c && c <= high {
			return next
		}
		return utf8Invalid
	}
	switch s {
	case utf8Complete:
		switch {
		case c <= 0x7F:
			return utf8Complete
		case 0xC2 <= c && c <= 0xDF:
			return utf8One
		case c == 0xE0:
			return utf8E0
		case c == 0xED:
			return utf8ED
		case 0xE1 <= c && c <= 0xEF:
			return utf8Two
		case c == 0xF0:
			return utf8F0
		case 0xF1 <= c && c <= 0xF3:
			return utf8Three
		case c == 0xF4:
			return utf8F4
		}
	case utf8One:
		return in(0x80, 0xBF, utf8Complete)
	case utf8Two:
		return in(0x80, 0xBF, utf8One)
	case utf8Three:
		return in(0x80, 0xBF, utf8Two)
	case utf8E0:
		return in(0xA0, 0xBF, utf8One)
	case utf8ED:
		return in(0x80, 0x9F, utf8One)
	case utf8F0:
		return in(0x90, 0xBF, utf8Two)
	case utf8F4:
		return in(0x80, 0x8F, utf8Two)
	}
	return utf8Invalid
}

// utf8Block is how many bytes utf8Blocks looks at together.
const utf8Block = 64

// utf8LastSequence returns where p, whose sequences are right but perhaps for
// the last one, begins a sequence that may be cut off, or nothing.
func utf8LastSequence(p []byte) []byte {
	for i := len(p) - 1; i >= len(p)-3; i-- {
		if c := p[i]; c < 0x80 || c >= 0xC0 {
			return p[i:]
		}
	}
	return nil
}

// utf8Pairs has what can be wrong with two bytes that follow each other, a bit
// for each: bit i is set for the nibbles that the first byte begins with, in
// utf8Pairs[0], that it ends with, in utf8Pairs[1], and that the second byte begins
// with, in utf8Pairs[2].
var utf8Pairs = func() (pairs [3][16]byte) {
	const (
		any   = 0xFFFF // a bit for each nibble
		ascii = 0x00FF
		cont  = 0x0F00 // 80 to BF
		lead  = 0xF000
	)
	for bit, nibbles := range [8][3]uint{
		{lead, any, ascii | lead},             // a sequence that ends too soon
		{ascii, any, cont},                    // a continuation of nothing
		{1 << 0xE, 1 << 0, 1<<8 | 1<<9},       // longer than it must be, of three
		{1 << 0xE, 1 << 0xD, 1<<0xA | 1<<0xB}, // a surrogate
		{1 << 0xC, 1<<0 | 1<<1, cont},         // longer than it must be, of two
		{1 << 0xF, 0xFFF0, cont &^ (1 << 8)},  // past U+10FFFF
		{1 << 0xF, 0xFFE0 | 1<<0, 1 << 8},     // past U+10FFFF, or longer than it must be, of four
		{cont, any, cont},                     // see utf8Blocks
	} {
		for i, set := range nibbles {
			for nibble := range 16 {
				if set>>nibble&1 == 1 {
					pairs[i][nibble] |= 1 << bit
				}
			}
		}
	}
	return pairs
}()
