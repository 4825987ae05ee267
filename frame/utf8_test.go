package frame

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// firstImpossible is what UTF8 must agree with, made of unicode/utf8 alone: the
// position of the first byte of p with which no continuation is UTF-8, or len(p)
// if there is none.
func firstImpossible(p []byte) int {
	start := wholeCharacters(p)
	for end := start + 1; end <= len(p); end++ {
		if !completable(p[start:end]) {
			return end - 1
		}
	}
	return len(p)
}

// wholeCharacters returns how many bytes of p come before the first that is not
// part of a whole character.
func wholeCharacters(p []byte) (n int) {
	for n < len(p) {
		r, size := utf8.DecodeRune(p[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// completable reports whether p, or p and a few more bytes, is one character.
// 80, 90 and A0 are in each of the ranges that RFC 3629 has for a byte that is
// not the first.
func completable(p []byte) bool {
	if utf8.Valid(p) {
		return true
	}
	if len(p) >= utf8.UTFMax {
		return false
	}
	var longer [utf8.UTFMax]byte
	n := copy(longer[:], p)
	for _, c := range []byte{0x80, 0x90, 0xA0} {
		longer[n] = c
		if completable(longer[:n+1]) {
			return true
		}
	}
	return false
}

// takenUTF8 gives p to a new UTF8 in pieces that end at ends, which grow, and
// returns where the first byte stands that it refuses, or len(p).
func takenUTF8(t testing.TB, p []byte, ends ...int) (impossible int, u UTF8) {
	start := 0
	for _, end := range append(ends, len(p)) {
		piece := p[start:end]
		before := u
		if !u.Valid(piece) {
			require.Equal(t, before, u, "a refusal changes nothing")
			// It is in this piece. It is the byte that ends the shortest refused
			// beginning of the piece.
			n := 1
			for u.Valid(piece[:n]) {
				u = before
				n++
			}
			return start + n - 1, u
		}
		start = end
	}
	return len(p), u
}

func TestUTF8(t *testing.T) {
	const good = -1
	tests := []struct {
		name       string
		text       string
		impossible int // position of the first impossible byte
		complete   bool
	}{
		{"nothing", "", good, true},
		{"ASCII", "hello\x00\x7f", good, true},
		{"two bytes, first", "\u0080", good, true},
		{"two bytes, last", "\u07ff", good, true},
		{"three bytes, first", "\u0800", good, true},
		{"three bytes, last", "\uffff", good, true},
		{"before the surrogates", "\ud7ff", good, true},
		{"after the surrogates", "\ue000", good, true},
		{"four bytes, first", "\U00010000", good, true},
		{"four bytes, last", "\U0010ffff", good, true},
		{"a byte order mark", "\ufeff", good, true},
		{"a mixture", "κόσμε, мир, 世界, 🌍", good, true},
		{"cut after one of two", "a\xc3", good, false},
		{"cut after one of three", "a\xe4", good, false},
		{"cut after two of three", "a\xe4\xb8", good, false},
		{"cut after one of four", "a\xf0", good, false},
		{"cut after two of four", "a\xf0\x9f", good, false},
		{"cut after three of four", "a\xf0\x9f\x8c", good, false},

		{"lone continuation 80", "a\x80", 1, false},
		{"lone continuation BF", "a\xbf", 1, false},
		{"one continuation too many", "é\x80", 2, false},
		{"C0", "a\xc0", 1, false},
		{"C1", "a\xc1", 1, false},
		{"slash in two bytes", "\xc0\xaf", 0, false},
		{"overlong in three bytes", "\xe0\x9f\xbf", 1, false},
		{"overlong in three bytes, 80", "\xe0\x80", 1, false},
		{"overlong in four bytes", "\xf0\x8f\xbf\xbf", 1, false},
		{"overlong in four bytes, 80", "\xf0\x80", 1, false},
		{"first surrogate", "\xed\xa0\x80", 1, false},
		{"last surrogate", "\xed\xbf\xbf", 1, false},
		{"a pair of surrogates", "\xed\xa0\x80\xed\xb0\x80", 1, false},
		{"past U+10FFFF", "\xf4\x90\x80\x80", 1, false},
		{"F5", "a\xf5", 1, false},
		{"F8", "\xf8\x88\x80\x80\x80", 0, false},
		{"FC", "\xfc\x84\x80\x80\x80\x80", 0, false},
		{"FE", "a\xfe", 1, false},
		{"FF", "a\xff", 1, false},
		{"ASCII for a continuation", "\xc3a", 1, false},
		{"a lead for a continuation", "\xe4\xb8\xe4", 2, false},
		{"ASCII for the last of four", "\xf0\x9f\x8ca", 3, false},
		{"after much ASCII", strings.Repeat("a", 200) + "\xff", 200, false},
		{"after much that is not", strings.Repeat("世", 100) + "\xff", 300, false},
		{"before much ASCII", "\xff" + strings.Repeat("a", 200), 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := []byte(test.text)
			want := test.impossible
			if want == good {
				want = len(p)
			}
			require.Equal(t, want, firstImpossible(p), "the table itself")

			// In one piece, in two at every cut, and a byte at a time.
			var single []int
			for cut := range p {
				single = append(single, cut)
				got, u := takenUTF8(t, p, cut)
				require.Equal(t, want, got, "cut at %d", cut)
				require.Equal(t, test.complete, u.Complete() && got == len(p), "cut at %d", cut)
			}
			got, u := takenUTF8(t, p)
			require.Equal(t, want, got)
			require.Equal(t, test.complete, u.Complete() && got == len(p))
			got, _ = takenUTF8(t, p, single...)
			require.Equal(t, want, got)
		})
	}
}

// Every string of one to three bytes, and every one of four that begins with F0
// or F4, agrees with unicode/utf8, and so does every prefix: the first impossible
// byte is where it should be. Left out is what adds nothing: F1 to F3, and ASCII
// other than 7F before other bytes.
func TestUTF8Exhaustive(t *testing.T) {
	// From a state that was reached, try every next byte; p is what led there.
	var descend func(p []byte, u UTF8)
	descend = func(p []byte, u UTF8) {
		for c := range 256 {
			p, u := append(p, byte(c)), u
			want := completable(p[wholeCharacters(p):])
			got := u.Valid(p[len(p)-1:])
			if got != want || got && u.Complete() != utf8.Valid(p) {
				t.Fatalf("% x: got %v and complete %v, want %v and complete %v", p, got, u.Complete(), want, utf8.Valid(p))
			}
			var whole UTF8
			if whole.Valid(p) != want || want && whole != u {
				t.Fatalf("% x: in one piece otherwise than byte by byte", p)
			}
			further := len(p) < 3 || len(p) == 3 && (p[0] == 0xF0 || p[0] == 0xF4)
			if got && further && c >= 0x7F {
				descend(p, u)
			}
		}
	}
	descend(nil, UTF8{})
}

// Blocks get the same answer as single bytes, wherever in a block something is
// wrong or a message ends.
func TestUTF8Blocks(t *testing.T) {
	edges := []byte{0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFF}
	stride := 1
	if race || testing.Short() {
		stride = 23
	}
	for _, filler := range []string{"a", "\u044f", "\u4e16", "\U0001f30d"} {
		buf := []byte(strings.Repeat(filler, 4*utf8Block))
		for _, at := range []int{0, 1, 15, 30, 31, 32, 47, 61, 62, 63, 64, 65, 93, 124, 125, 126, 127, 128} {
			at -= at % len(filler)
			before := string(buf[at : at+4])
			for i := 0; i < len(edges)*len(edges)*len(edges)*len(edges); i += stride {
				if filler != "a" && i/stride%97 != 0 { // not all, for the sake of time
					continue
				}
				p := buf[:3*utf8Block]
				for k, n := 0, i; k < 4; k, n = k+1, n/len(edges) {
					p[at+k] = edges[n%len(edges)]
				}
				for _, end := range []int{128, 131, 3 * utf8Block} {
					state := utf8Walk(utf8Complete, p[:end])
					u := UTF8{}
					if got := u.Valid(p[:end]); got != (state != utf8Invalid) || got && u.state != state {
						t.Fatalf("% x at %d of %d: got %v and state %d, want state %d", p[at:at+4], at, end, got, u.state, state)
					}
				}
			}
			copy(buf[at:], before)
		}
	}
}

// From every state, and at every alignment, the first bytes of a long piece
// finish what came before.
func TestUTF8Pieces(t *testing.T) {
	text := []byte(strings.Repeat("a\u044f\u4e16\U0001f30d", 40))
	for from := range 70 {
		for to := from; to <= len(text); to++ {
			var u UTF8
			require.True(t, u.Valid(text[:from]))
			require.True(t, u.Valid(text[from:to]), "from %d to %d", from, to)
			require.Equal(t, utf8Walk(utf8Complete, text[:to]), u.state, "from %d to %d", from, to)
			if to-from < utf8Block {
				continue
			}
			for _, wrong := range []int{from, from + 1, from + 2, from + 3, to - 1} {
				good := text[wrong]
				text[wrong] = 0xFF
				var v UTF8
				require.True(t, v.Valid(text[:from]))
				before := v
				require.False(t, v.Valid(text[from:to]), "from %d to %d, wrong at %d", from, to, wrong)
				require.Equal(t, before, v, "it has taken nothing")
				text[wrong] = good
			}
		}
	}
}

func TestUTF8Reset(t *testing.T) {
	var u UTF8
	require.True(t, u.Valid([]byte("\xe4\xb8")))
	fork := u
	u.Reset()
	require.Equal(t, UTF8{}, u)
	require.True(t, u.Valid([]byte("a")))
	require.True(t, u.Complete())

	require.True(t, fork.Valid([]byte("\x96")), "a copy goes on by itself")
	require.True(t, fork.Complete())
}

func FuzzUTF8(f *testing.F) {
	for i, seed := range []string{
		"", "hello", "κόσμε, мир, 世界, 🌍", strings.Repeat("a", 130) + "é", strings.Repeat("мир ", 40),
		"\xed\xa0\x80", "\xe0\x80\x80", "\xf4\x90\x80\x80", "\xc0\xaf", "\xff", "\xf0\x9f\x8c", strings.Repeat("a", 70) + "\x80",
	} {
		f.Add([]byte(seed), uint64(i))
	}
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		want := firstImpossible(p)

		got, u := takenUTF8(t, p)
		require.Equal(t, want, got)
		if got == len(p) {
			require.Equal(t, utf8.Valid(p), u.Complete())
		} else {
			require.False(t, utf8.Valid(p))
		}

		random := rand.New(rand.NewPCG(seed, 0))
		var ends []int
		for at := 0; at < len(p); {
			at += random.IntN(min(len(p)-at, 1+random.IntN(100)) + 1)
			ends = append(ends, at)
		}
		got, pieces := takenUTF8(t, p, ends...)
		require.Equal(t, want, got, "in pieces that end at %v", ends)
		if got == len(p) {
			require.Equal(t, u, pieces)
		}
	})
}

// BenchmarkUTF8 has unicode/utf8 beside it, which would do for a message that is
// whole.
func BenchmarkUTF8(b *testing.B) {
	checks := []struct {
		name  string
		check func(p []byte) bool
	}{
		{"UTF8", func(p []byte) bool {
			var u UTF8
			return u.Valid(p) && u.Complete()
		}},
		{"utf8.Valid", utf8.Valid},
	}
	texts := []struct{ name, text string }{
		{"ascii", "The weather is fine and the ships are in. "},
		{"cyrillic", "Погода хорошая, и корабли уже в порту. "},
		{"chinese", "今天天气很好，船都已经进港了。"},
		{"emoji", "👍🎉😀🚀🌍🔥💡🤖"},
		{"mixed", "Le café du port a rouvert: 12 € la soupe à l'oignon, et la crème brûlée pour 6. "},
	}
	for _, text := range texts {
		for _, size := range []int{16, 128, 4096, 65536} {
			p := []byte(strings.Repeat(text.text, size/len(text.text)+1))[:size]
			for !utf8.Valid(p) {
				p = p[:len(p)-1]
			}
			for _, check := range checks {
				b.Run(fmt.Sprintf("text=%s/size=%d/by=%s", text.name, size, check.name), func(b *testing.B) {
					b.SetBytes(int64(len(p)))
					b.ReportAllocs()
					for b.Loop() {
						if !check.check(p) {
							b.Fatal("valid text was refused")
						}
					}
				})
			}
		}
	}
}
