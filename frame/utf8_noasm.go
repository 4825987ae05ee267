//go:build purego || race || !(amd64 || arm64)

package frame

const utf8Vector = false

func utf8Blocks(p *byte, n int, pairs *[3][16]byte) bool { panic("not reached") }
