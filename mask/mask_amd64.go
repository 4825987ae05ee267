//go:build !purego && !race

package mask

// vector reports whether blocks can be used.
var vector = hasAVX2()

// blocks masks the n bytes at src into dst, a positive multiple of 64. key is
// turned so that its lowest byte masks the first.
//
//go:noescape
func blocks(dst, src *byte, n int, key uint64)

func hasAVX2() bool
