package deflate

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// byStandard decodes a message with the standard library.
func byStandard(t testing.TB, message, dict []byte, n int) []byte {
	t.Helper()
	r := flate.NewReaderDict(io.MultiReader(bytes.NewReader(message), bytes.NewReader([]byte{0, 0, 0xFF, 0xFF})), dict)
	out := make([]byte, n)
	_, err := io.ReadFull(r, out)
	require.NoError(t, err)
	rest, err := io.ReadAll(r)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "no last block")
	require.Empty(t, rest)
	return out
}

func TestCompressor(t *testing.T) {
	for name, p := range corpus() {
		for _, level := range []int{0, 1, 2, 3, 4, 5, 6, 9} {
			for _, window := range []int{8, 9, 12, 15} {
				t.Run(fmt.Sprintf("%s/level=%d/window=%d", name, level, window), func(t *testing.T) {
					if level == 9 && len(p) > 50_000 {
						p = p[:50_000]
					}
					c := &Compressor{Level: level, Window: window}
					prefix := []byte("before")
					out, ok := c.Append(prefix, p)
					require.True(t, bytes.HasPrefix(out, prefix))
					out = out[len(prefix):]
					if !ok {
						require.Empty(t, out)
						return
					}
					require.True(t, len(out) < len(p) || len(p) == 0)
					require.True(t, bytes.Equal(p, byStandard(t, out, nil, len(p))))
					got, err := inflate(&Decompressor{Window: window}, nil, out)
					require.NoError(t, err)
					require.True(t, bytes.Equal(p, got))
				})
			}
		}
	}
}

// With context takeover each message may refer to those before it.
func TestCompressorTakeover(t *testing.T) {
	for _, window := range []int{8, 10, 15} {
		for _, level := range []int{1, 4, 9} {
			rnd := rand.New(rand.NewPCG(uint64(window), uint64(level)))
			c := &Compressor{Level: level, Window: window, Takeover: true}
			d := &Decompressor{Window: window, Takeover: true}
			plain := 0
			chat := corpus()["chat"]
			var sent, alone int
			for range 300 {
				i := rnd.IntN(len(chat))
				p := chat[i:min(i+rnd.IntN(1<<rnd.IntN(17)), len(chat))]
				out, ok := c.Append(nil, p)
				if !ok {
					plain++
					continue
				}
				got, err := inflate(d, rnd, out)
				require.NoError(t, err)
				require.True(t, bytes.Equal(p, got))
				sent += len(out)
				single, ok := (&Compressor{Level: level, Window: window}).Append(nil, p)
				if !ok {
					single = p
				}
				alone += len(single)
			}
			t.Logf("window %d, level %d: %d bytes, %d without takeover, %d messages plain", window, level, sent, alone, plain)
			require.Less(t, plain, 150)
			require.Less(t, sent, alone)
		}
	}
}

// After Reset a Compressor with takeover refers to nothing before it, and has the
// memory that it had.
func TestCompressorReset(t *testing.T) {
	p := corpus()["chat"][:5000]
	c := &Compressor{Takeover: true}
	first, ok := c.Append(nil, p)
	require.True(t, ok)
	m := c.m
	for range 3 {
		again, ok := c.Append(nil, p)
		require.True(t, ok)
		require.Less(t, len(again), len(first)/4, "all of it is in the window")
		c.Reset()
		fresh, ok := c.Append(nil, p)
		require.True(t, ok)
		require.Equal(t, first, fresh)
	}
	require.Same(t, m, c.m)
}

// largestDistance decodes a message one byte at a time and returns the largest
// distance in it.
func largestDistance(t *testing.T, message []byte) int {
	t.Helper()
	d := &Decompressor{}
	defer d.Reset()
	z := d.begin()
	z.src, z.pos, z.offset = message, 0, 0
	largest := 0
	for {
		z.r = z.w
		if z.w == len(z.buf) {
			z.makeRoom()
		}
		whole := z.buf
		z.buf = whole[:z.w+1]
		require.NoError(t, z.run())
		z.buf = whole
		largest = max(largest, z.offset)
		if z.w == z.r {
			require.Equal(t, len(message), z.pos)
			return largest
		}
	}
}

func TestCompressorWindow(t *testing.T) {
	for _, name := range []string{"chat", "zeros", "period 7", "period 40000"} {
		p := corpus()[name][:100_000]
		for window := 8; window <= 15; window++ {
			for _, level := range []int{1, 4, 9} {
				out, ok := (&Compressor{Window: window, Level: level}).Append(nil, p)
				if !ok {
					continue
				}
				largest := largestDistance(t, out)
				require.LessOrEqual(t, largest, 1<<window, "%s, window %d, level %d", name, window, level)
				if name == "chat" {
					require.Greater(t, largest, 1<<(window-1), "window %d, level %d", window, level)
				}
			}
		}
	}
}

func FuzzCompressor(f *testing.F) {
	for _, p := range corpus() {
		f.Add(p[:min(len(p), 3000)], uint8(4), uint8(9), uint64(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, level, window uint8, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		bits := 8 + int(window%8)
		for _, takeover := range []bool{false, true} {
			c := &Compressor{Level: int(level % 10), Window: bits, Takeover: takeover}
			d := &Decompressor{Window: bits, Takeover: takeover}
			var history []byte
			for range 3 {
				// Some message made of data.
				var p []byte
				for range rnd.IntN(5) {
					if n := len(data); n > 0 {
						i := rnd.IntN(n)
						p = append(p, data[i:i+rnd.IntN(n-i)+1]...)
					}
				}
				before := bytes.Clone(p)
				out, ok := c.Append(nil, p)
				require.True(t, bytes.Equal(before, p), "the message is not changed")
				if !ok {
					history = nil
					continue
				}
				got, err := inflate(d, rnd, out)
				require.NoError(t, err)
				require.True(t, bytes.Equal(p, got))
				if !takeover {
					history = nil
				}
				dict := history[max(len(history)-1<<bits, 0):]
				require.True(t, bytes.Equal(p, byStandard(t, out, dict, len(p))))
				history = append(history, p...)
			}
		}
	})
}
