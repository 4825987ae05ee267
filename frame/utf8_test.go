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
