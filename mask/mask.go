package mask

import (
	"encoding/binary"
	"math/bits"
)

// Key is a masking key, its bytes in the order in which they stand in the frame
// header (RFC 6455, section 5.2).
type Key [4]byte

// vectorBytes is from where on blocks pays. The race detector does not see what it
// reads and writes, so it is not used then.
const vectorBytes = 128

// XOR masks p with k in place, or unmasks it: doing it twice gives p back.
//
// pos is how many bytes of the payload come before p. Only its remainder by 4
// counts; it must not be negative. next is what to pass as pos along with the
// bytes that follow p, always 0 to 3. A nil or empty p is allowed. (RFC 6455,
// section 5.3)
func XOR(p []byte, k Key, pos int) (next int) {
	next = (pos + len(p)) & 3
	key := k.word(pos)

	if vector && len(p) >= vectorBytes {
		n := len(p) &^ 63
		blocks(&p[0], &p[0], n, key)
		p = p[n:]
	}
	for len(p) >= 64 {
		b := (*[64]byte)(p)
		binary.LittleEndian.PutUint64(b[0:], binary.LittleEndian.Uint64(b[0:])^key)
		binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(b[8:])^key)
		binary.LittleEndian.PutUint64(b[16:], binary.LittleEndian.Uint64(b[16:])^key)
		binary.LittleEndian.PutUint64(b[24:], binary.LittleEndian.Uint64(b[24:])^key)
		binary.LittleEndian.PutUint64(b[32:], binary.LittleEndian.Uint64(b[32:])^key)
		binary.LittleEndian.PutUint64(b[40:], binary.LittleEndian.Uint64(b[40:])^key)
		binary.LittleEndian.PutUint64(b[48:], binary.LittleEndian.Uint64(b[48:])^key)
		binary.LittleEndian.PutUint64(b[56:], binary.LittleEndian.Uint64(b[56:])^key)
		p = p[64:]
	}
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^key)
		p = p[8:]
	}
	if len(p) >= 4 {
		binary.LittleEndian.PutUint32(p, binary.LittleEndian.Uint32(p)^uint32(key))
		p = p[4:]
	}
	// At most three bytes are left, and what is left begins a multiple of 4
	// bytes after the start, so the key's word still fits.
	for i := range p {
		p[i] ^= byte(key)
		key >>= 8
	}
	return next
}

// Copy masks src into dst and leaves src as it is, at little more than the price
// of a copy. It is for a client, which must mask what it sends but does not own
// it. pos and next are as for [XOR].
//
// dst must be at least as long as src, or Copy panics; what dst holds beyond
// len(src) is not touched. dst and src must be the same memory or not overlap.
func Copy(dst, src []byte, k Key, pos int) (next int) {
	next = (pos + len(src)) & 3
	key := k.word(pos)
	dst = dst[:len(src):len(dst)] // never into dst's spare capacity

	if vector && len(src) >= vectorBytes {
		n := len(src) &^ 63
		blocks(&dst[0], &src[0], n, key)
		dst, src = dst[n:], src[n:]
	}
	for len(src) >= 64 && len(dst) >= 64 {
		s, d := (*[64]byte)(src), (*[64]byte)(dst)
		binary.LittleEndian.PutUint64(d[0:], binary.LittleEndian.Uint64(s[0:])^key)
		binary.LittleEndian.PutUint64(d[8:], binary.LittleEndian.Uint64(s[8:])^key)
		binary.LittleEndian.PutUint64(d[16:], binary.LittleEndian.Uint64(s[16:])^key)
		binary.LittleEndian.PutUint64(d[24:], binary.LittleEndian.Uint64(s[24:])^key)
		binary.LittleEndian.PutUint64(d[32:], binary.LittleEndian.Uint64(s[32:])^key)
		binary.LittleEndian.PutUint64(d[40:], binary.LittleEndian.Uint64(s[40:])^key)
		binary.LittleEndian.PutUint64(d[48:], binary.LittleEndian.Uint64(s[48:])^key)
		binary.LittleEndian.PutUint64(d[56:], binary.LittleEndian.Uint64(s[56:])^key)
		src, dst = src[64:], dst[64:]
	}
	for len(src) >= 8 && len(dst) >= 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^key)
		src, dst = src[8:], dst[8:]
	}
	if len(src) >= 4 && len(dst) >= 4 {
		binary.LittleEndian.PutUint32(dst, binary.LittleEndian.Uint32(src)^uint32(key))
		src, dst = src[4:], dst[4:]
	}
	dst = dst[:len(src)]
	for i := range src {
		dst[i] = src[i] ^ byte(key)
		key >>= 8
	}
	return next
}

// word is k twice over, turned so that its lowest byte is the one that masks the
// payload's byte at pos.
func (k Key) word(pos int) uint64 {
	w := bits.RotateLeft32(binary.LittleEndian.Uint32(k[:]), -8*(pos&3))
	return uint64(w)<<32 | uint64(w)
}
