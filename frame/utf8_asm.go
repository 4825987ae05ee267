//go:build !purego && !race && (amd64 || arm64)

package frame

// utf8Blocks looks at the n bytes at p, a positive multiple of 64, in which a
// character begins at the first one. It returns false if some of them cannot
// stand behind those before them; the last character may be cut off, and whether
// that one could be finished is not said.
//
// Each byte is judged with the one before it, by utf8Pairs: the bits that their
// three nibbles have in common say what is wrong. The exception is the top bit,
// of a continuation byte behind another one: that is right where the byte two
// before begins a sequence of three or more, or the one three before a sequence of
// four, and elsewhere wrong. (John Keiser and Daniel Lemire, "Validating UTF-8 in
// less than one instruction per byte", 2021)
//
// The race detector does not see what it reads, so it is not used then.
//
//go:noescape
func utf8Blocks(p *byte, n int, pairs *[3][16]byte) bool
