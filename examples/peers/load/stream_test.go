package load

import (
	"fmt"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// The frames of RFC 6455, section 5.7.
func TestAppendFrame(t *testing.T) {
	hello := []byte("Hello")
	require.Equal(t, []byte{0x81, 0x05, 'H', 'e', 'l', 'l', 'o'}, appendFrame(nil, 0x81, hello, 0))
	require.Equal(t, []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}, appendFrame(nil, 0x81, hello, 0x37fa213d))
	for _, test := range []struct {
		size int
		want []byte
	}{
		{125, []byte{0x82, 125}},
		{126, []byte{0x82, 126, 0, 126}},
		{256, []byte{0x82, 126, 1, 0}},
		{65535, []byte{0x82, 126, 0xff, 0xff}},
		{65536, []byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
	} {
		f := appendFrame(nil, 0x82, make([]byte, test.size), 0)
		require.Equal(t, test.want, f[:len(f)-test.size])
		require.Equal(t, len(test.want), headerLen(f))
		require.Equal(t, len(test.want)+4, headerLen(appendFrame(nil, 0x82, make([]byte, test.size), 1)))
	}
}

func TestPayload(t *testing.T) {
	for _, op := range []Opcode{Text, Binary} {
		for _, size := range []int{0, 1, 2, 3, 125, 4096} {
			for i := range uint64(20) {
				p := payload(op, size, i)
				require.Len(t, p, size)
				if op == Text {
					require.True(t, utf8.Valid(p))
				}
			}
		}
	}
	require.NotEqual(t, payload(Binary, 125, 1), payload(Binary, 125, 2))
	require.NotEqual(t, payload(Text, 125, 1), payload(Text, 125, 2))
}

// fragmented is a stream of all kinds of messages.
func fragmented(split bool) *Stream {
	return newStream([]message{
		{Text, [][]byte{[]byte("Привет, 世界")}},
		{Binary, [][]byte{{}}},
		{Text, [][]byte{[]byte("При"), []byte("вет, "), {}, []byte("世界")}},
		{Binary, [][]byte{payload(Binary, 1000, 1), payload(Binary, 70000, 2)}},
	}, false, split)
}

// Bytes are taken in whatever portions they come.
func TestCheckAnyPortions(t *testing.T) {
	streams := map[string]*Stream{
		"text":       NewStream(Text, 200, 5, false),
		"binary":     NewStream(Binary, 70000, 3, false),
		"raw":        NewStream(Binary, 300, 4, true),
		"empty":      NewStream(Binary, 0, 3, false),
		"fragmented": fragmented(false),
		"split":      fragmented(true),
	}
	for name, s := range streams {
		for _, portion := range []int{1, 2, 7, 126, 4096, 1 << 20} {
			t.Run(fmt.Sprintf("%s/%d", name, portion), func(t *testing.T) {
				r := reader{s: s}
				const rounds = 3
				for range rounds {
					for start := 0; start < len(s.in); start += portion {
						_, err := r.check(s.in[start:min(start+portion, len(s.in))])
						require.NoError(t, err)
					}
				}
				require.Equal(t, rounds*len(s.inEnd), r.count)
				require.Zero(t, r.pos)
			})
		}
	}
}

func TestCheckWrong(t *testing.T) {
	s := NewStream(Binary, 300, 3*sampled, false)
	for _, test := range []struct {
		name string
		at   int // byte that is wrong
		want string
	}{
		{"opcode", 0, "wrong header in message 0: byte 0 is 0x83, not 0x82"},
		{"length", 3, "wrong header in message 0: byte 3 is"},
		{"first byte of the payload", 4, "wrong payload in message 0: byte 4 is"},
		{"last byte of the payload", 303, "wrong payload in message 0: byte 303 is"},
		{"header of the second message", 304, "wrong header in message 1: byte 0 is 0x83, not 0x82"},
		{"payload of the second message", 308, ""}, // not sampled
		{"payload of the next one that is sampled", sampled*304 + 5, "wrong payload in message 16: byte 5 is"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := append([]byte(nil), s.in...)
			in[test.at] ^= 1
			r := reader{s: s}
			_, err := r.check(in)
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}
