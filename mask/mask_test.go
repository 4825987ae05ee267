package mask

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// byteLoop is RFC 6455, section 5.3, word for word: what the fast code must
// agree with.
func byteLoop(p []byte, k Key, pos int) []byte {
	masked := make([]byte, len(p))
	for i, b := range p {
		masked[i] = b ^ k[(pos+i)%4]
	}
	return masked
}

// pattern returns n bytes that differ from their neighbours.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

var key = Key{0x37, 0xfa, 0x21, 0x3d}

// The masked "Hello" of RFC 6455, section 5.7.
func TestXORExample(t *testing.T) {
	p := []byte("Hello")
	require.Equal(t, 1, XOR(p, key, 0))
	require.Equal(t, []byte{0x7f, 0x9f, 0x4d, 0x51, 0x58}, p)
	XOR(p, key, 0)
	require.Equal(t, "Hello", string(p))
}

// Every alignment, length and position, with the bytes around watched.
func TestXORAgreesWithByteLoop(t *testing.T) {
	const guard = 16
	for align := range 16 {
		for n := range 301 {
			for pos := range 8 {
				memory := pattern(align + n + guard)
				want := bytes.Clone(memory)
				copy(want[align:], byteLoop(want[align:align+n], key, pos))

				next := XOR(memory[align:align+n], key, pos)
				if next != (pos+n)%4 || !bytes.Equal(want, memory) {
					t.Fatalf("align %d, length %d, position %d: got next %d and % x, want % x", align, n, pos, next, memory, want)
				}
			}
		}
	}
}

func TestCopyAgreesWithByteLoop(t *testing.T) {
	const guard = 16
	src := pattern(16 + 301)
	unchanged := bytes.Clone(src)
	for align := range 16 {
		for n := range 301 {
			for pos := range 8 {
				// dst is aligned otherwise than src and goes on after it.
				start := 15 - align
				memory := bytes.Repeat([]byte{0xee}, start+n+guard)
				want := bytes.Clone(memory)
				copy(want[start:], byteLoop(src[align:align+n], key, pos))

				next := Copy(memory[start:], src[align:align+n], key, pos)
				if next != (pos+n)%4 || !bytes.Equal(want, memory) {
					t.Fatalf("align %d, length %d, position %d: got next %d and % x, want % x", align, n, pos, next, memory, want)
				}
			}
		}
	}
	require.Equal(t, unchanged, src)
}

func TestCopyEdges(t *testing.T) {
	t.Run("onto itself", func(t *testing.T) {
		p := pattern(100)
		want := byteLoop(p, key, 3)
		Copy(p, p, key, 3)
		require.Equal(t, want, p)
	})
	t.Run("destination too short", func(t *testing.T) {
		dst := make([]byte, 9, 64)
		require.Panics(t, func() { Copy(dst[:9], make([]byte, 10), key, 0) })
		require.Equal(t, make([]byte, 9), dst, "written before the panic")
	})
	t.Run("nothing", func(t *testing.T) {
		require.Equal(t, 2, Copy(nil, nil, key, 6))
		require.Equal(t, 2, XOR(nil, key, 6))
	})
}

// A position is a count of bytes in a payload of up to 2^63-1 bytes.
func TestXORLargePosition(t *testing.T) {
	p := pattern(11)
	want := byteLoop(p, key, math.MaxInt%4)
	require.Equal(t, (math.MaxInt%4+11)%4, XOR(p, key, math.MaxInt))
	require.Equal(t, want, p)
}

// Pieces of every length, one after the other, are as good as the whole.
func TestXORInPieces(t *testing.T) {
	whole := pattern(300)
	want := byteLoop(whole, key, 0)
	for size := 1; size <= len(whole); size++ {
		inPlace, copied := bytes.Clone(whole), make([]byte, len(whole))
		x, c := 0, 0
		for i := 0; i < len(whole); i += size {
			end := min(i+size, len(whole))
			x = XOR(inPlace[i:end], key, x)
			c = Copy(copied[i:], whole[i:end], key, c)
		}
		require.Equal(t, want, inPlace, "pieces of %d", size)
		require.Equal(t, want, copied, "pieces of %d", size)
	}
}

func FuzzXOR(f *testing.F) {
	f.Add([]byte("Hello"), uint32(0x3d21fa37), uint8(0), uint64(1))
	f.Add(pattern(200), uint32(0x01020304), uint8(3), uint64(2))
	f.Add([]byte{}, uint32(0), uint8(255), uint64(3))
	f.Fuzz(func(t *testing.T, p []byte, k uint32, pos uint8, seed uint64) {
		key := Key{byte(k), byte(k >> 8), byte(k >> 16), byte(k >> 24)}
		want := byteLoop(p, key, int(pos))

		whole := bytes.Clone(p)
		require.Equal(t, (int(pos)+len(p))%4, XOR(whole, key, int(pos)))
		require.Equal(t, want, whole)

		random := rand.New(rand.NewPCG(seed, 0))
		inPlace, copied := bytes.Clone(p), make([]byte, len(p))
		x, c := int(pos), int(pos)
		for i := 0; i < len(p); {
			end := i + random.IntN(len(p)-i+1)
			x = XOR(inPlace[i:end], key, x)
			c = Copy(copied[i:], p[i:end], key, c)
			i = end
		}
		require.Equal(t, want, inPlace)
		require.Equal(t, want, copied)

		XOR(whole, key, int(pos))
		require.True(t, bytes.Equal(p, whole), "masking twice gives the original")
	})
}

// sizes are a chat message, the longest payload with a two-byte header, a few
// pages and a file.
var sizes = []int{16, 125, 1024, 4096, 65536, 1 << 20}

func BenchmarkXOR(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			p := pattern(size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			pos := 0
			for b.Loop() {
				pos = XOR(p, key, pos)
			}
		})
	}
}

func BenchmarkMaskCopy(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			src, dst := pattern(size), make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			pos := 0
			for b.Loop() {
				pos = Copy(dst, src, key, pos)
			}
		})
	}
}

// BenchmarkCopy is the built-in copy: the bound that masking is held against.
func BenchmarkCopy(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			src, dst := pattern(size), make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				copy(dst, src)
			}
		})
	}
}
