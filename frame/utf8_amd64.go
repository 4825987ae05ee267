//go:build !purego && !race

package frame

// utf8Vector reports whether utf8Blocks can be used.
var utf8Vector = hasAVX2()

func hasAVX2() bool
