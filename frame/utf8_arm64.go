//go:build !purego && !race

package frame

const utf8Vector = true
