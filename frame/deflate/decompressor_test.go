package deflate

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// inflate decodes messages, each in pieces of random size and with random
// limits.
func inflate(d *Decompressor, rnd *rand.Rand, message []byte) ([]byte, error) {
	var out []byte
	for {
		n := len(message)
		if rnd != nil && n > 0 {
			n = min(n, 1+rnd.IntN(1<<rnd.IntN(18)))
		}
		piece := message[:n]
		message = message[n:]
		for {
			limit := 1 << 30
			if rnd != nil {
				limit = 1 + rnd.IntN(1<<rnd.IntN(18))
			}
			before := len(out)
			var err error
			if out, n, err = d.Append(out, piece, limit); err != nil {
				return out, err
			}
			if len(out)-before > limit {
				return out, fmt.Errorf("%d bytes over the limit", len(out)-before-limit)
			}
			piece = piece[n:]
			if len(out)-before < limit {
				if len(piece) > 0 {
					return out, fmt.Errorf("%d bytes are left", len(piece))
				}
				break
			}
		}
		if len(message) == 0 {
			return out, d.End()
		}
	}
}

// corpus is text of all sorts.
func corpus() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 100_000)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	few := make([]byte, 60_000)
	for i := range few {
		few[i] = "abc"[rnd.IntN(3)]
	}
	var chat bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&chat, `{"type":"message","id":%d,"room":"general","user":"user%d","text":"%s","at":%d}`,
			i, rnd.IntN(50), strings.Repeat("lorem ipsum "[:1+rnd.IntN(12)], rnd.IntN(20)), 1700000000+rnd.IntN(1e6))
	}
	return map[string][]byte{
		"empty": nil, "one": []byte("x"), "hello": []byte("Hello"), "zeros": make([]byte, 200_000),
		"random": random[:60_000], "few": few, "chat": chat.Bytes(), "chat, short": chat.Bytes()[:700],
		"period 7": bytes.Repeat([]byte("1234567"), 15_000), "period 40000": bytes.Repeat(random[:40_000], 4),
	}
}

// deflated compresses p as a message, by the standard library.
func deflated(t testing.TB, level int, p []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	require.NoError(t, err)
	_, err = w.Write(p)
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xFF, 0xFF})
}

func TestDecompressor(t *testing.T) {
	for name, want := range corpus() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 2, 6, 9} {
			t.Run(fmt.Sprintf("%s/level=%d", name, level), func(t *testing.T) {
				message := deflated(t, level, want)
				got, err := inflate(&Decompressor{}, nil, message)
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, got))
				for seed := range uint64(5) {
					got, err := inflate(&Decompressor{}, rand.New(rand.NewPCG(seed, 0)), message)
					require.NoError(t, err)
					require.True(t, bytes.Equal(want, got))
				}
				// That a message was cut off is noticed, but behind a block that ends with
				// a byte, and behind the head of a stored one.
				unnoticed := 0
				for i := 1; i < len(message); i += 1 + len(message)/50 {
					part, err := inflate(&Decompressor{}, nil, message[:i])
					require.True(t, bytes.HasPrefix(want, part))
					if err == nil {
						unnoticed++
					}
				}
				require.LessOrEqual(t, unnoticed, 2+len(message)/(16<<10))
			})
		}
	}
}

// The seeds found by fuzzing are in testdata/fuzz: degenerate-code has a code of
// one symbol and, in the last bits, what that code does not have.
func FuzzDecompressor(f *testing.F) {
	for _, p := range corpus() {
		p = p[:min(len(p), 3000)]
		for _, level := range []int{0, 1, 9} {
			f.Add(deflated(f, level, p), uint64(level))
		}
	}
	f.Fuzz(func(t *testing.T, message []byte, seed uint64) {
		const most = 1 << 22
		got, n, gotErr := (&Decompressor{}).Append(nil, message, most)
		if len(got) < most && gotErr == nil {
			require.Equal(t, len(message), n)
		}
		// compress/flate as the judge, over the one stream that it knows.
		r := flate.NewReader(bytes.NewReader(message))
		want, wantErr := io.ReadAll(io.LimitReader(r, most))
		if gotErr != nil {
			require.Less(t, len(got), most)
			require.Error(t, gotErr)
		}
		if gotErr == errNoEnd || gotErr == errMeta || gotErr == errCodes {
			// It lets some codes pass that cannot be of use, as zlib does not.
			require.True(t, bytes.HasPrefix(want, got) || bytes.HasPrefix(got, want))
		} else if wantErr == nil {
			// It ended with a last block, or at the limit.
			require.True(t, bytes.HasPrefix(got, want))
		} else if wantErr == io.ErrUnexpectedEOF && gotErr != nil {
			// It wants more bits before it decides. They cannot change anything.
			for _, more := range []string{"\x00", "\xFF"} {
				r := flate.NewReader(io.MultiReader(bytes.NewReader(message), strings.NewReader(strings.Repeat(more, 16))))
				_, err := io.ReadAll(r)
				var corrupt flate.CorruptInputError
				require.ErrorAs(t, err, &corrupt)
			}
		} else if wantErr == io.ErrUnexpectedEOF {
			require.NoError(t, gotErr)
			// It wants more bits before it decodes the last symbols.
			require.True(t, bytes.HasPrefix(got, want), "%q %q", want, got)
		} else {
			require.True(t, bytes.HasPrefix(want, got) || bytes.HasPrefix(got, want))
		}
		if len(got) < most {
			again, err := inflate(&Decompressor{}, rand.New(rand.NewPCG(seed, 1)), message)
			require.True(t, bytes.Equal(got, again))
			if gotErr != nil {
				require.Equal(t, gotErr, err)
			}
		}
	})
}
