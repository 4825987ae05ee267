package frame

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/mask"
	"rfc6455/testdata/capture"
)

// rfcKey is the masking key in the examples of RFC 6455, section 5.7.
var rfcKey = mask.Key{0x37, 0xfa, 0x21, 0x3d}

// unhex returns the bytes of s, hexadecimal digits with spaces between them.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// The examples of RFC 6455, section 5.7, in both directions.
func TestHeaderExamples(t *testing.T) {
	counting := make([]byte, 65536)
	for i := range counting {
		counting[i] = byte(i)
	}
	tests := []struct {
		name    string
		wire    string // the frame, or its header if the payload is counting
		header  Header
		payload []byte
	}{
		{"unmasked text", "81 05 48 65 6c 6c 6f",
			Header{Fin: true, Opcode: OpText, Length: 5}, []byte("Hello")},
		{"masked text", "81 85 37 fa 21 3d 7f 9f 4d 51 58",
			Header{Fin: true, Opcode: OpText, Masked: true, Key: rfcKey, Length: 5}, []byte("Hello")},
		{"first fragment", "01 03 48 65 6c",
			Header{Opcode: OpText, Length: 3}, []byte("Hel")},
		{"last fragment", "80 02 6c 6f",
			Header{Fin: true, Opcode: OpContinuation, Length: 2}, []byte("lo")},
		{"unmasked ping", "89 05 48 65 6c 6c 6f",
			Header{Fin: true, Opcode: OpPing, Length: 5}, []byte("Hello")},
		{"masked pong", "8a 85 37 fa 21 3d 7f 9f 4d 51 58",
			Header{Fin: true, Opcode: OpPong, Masked: true, Key: rfcKey, Length: 5}, []byte("Hello")},
		{"256 bytes", "82 7e 01 00",
			Header{Fin: true, Opcode: OpBinary, Length: 256}, counting[:256]},
		{"64 KiB", "82 7f 00 00 00 00 00 01 00 00",
			Header{Fin: true, Opcode: OpBinary, Length: 65536}, counting},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wire := unhex(t, test.wire)
			if len(test.payload) > MaxControl {
				wire = append(wire, test.payload...)
			}
			h, n, err := ParseHeader(wire)
			require.NoError(t, err)
			require.Equal(t, test.header, h)
			payload := bytes.Clone(wire[n:])
			if h.Masked {
				mask.XOR(payload, h.Key, 0)
			}
			require.Equal(t, test.payload, payload)

			require.Equal(t, wire, AppendFrame(nil, h, test.payload))
		})
	}
}

// headerLengths has the lengths on both sides of every change of encoding.
var headerLengths = []struct {
	length int64
	wire   string // the second byte without its mask bit, and what follows it
}{
	{0, "00"},
	{1, "01"},
	{125, "7d"},
	{126, "7e 00 7e"},
	{127, "7e 00 7f"},
	{128, "7e 00 80"},
	{255, "7e 00 ff"},
	{256, "7e 01 00"},
	{32767, "7e 7f ff"},
	{32768, "7e 80 00"},
	{65535, "7e ff ff"},
	{65536, "7f 00 00 00 00 00 01 00 00"},
	{65537, "7f 00 00 00 00 00 01 00 01"},
	{1<<31 - 1, "7f 00 00 00 00 7f ff ff ff"},
	{1 << 31, "7f 00 00 00 00 80 00 00 00"},
	{1<<32 - 1, "7f 00 00 00 00 ff ff ff ff"},
	{1 << 32, "7f 00 00 00 01 00 00 00 00"},
	{1 << 62, "7f 40 00 00 00 00 00 00 00"},
	{1<<63 - 1, "7f 7f ff ff ff ff ff ff ff"},
}

// Every length with and without a masking key: at every truncation more bytes
// are needed, and what follows the header is not looked at.
func TestHeaderLengths(t *testing.T) {
	for _, test := range headerLengths {
		for _, masked := range []bool{false, true} {
			t.Run(fmt.Sprintf("length=%d/masked=%v", test.length, masked), func(t *testing.T) {
				h := Header{Fin: true, Opcode: OpBinary, Length: test.length}
				wire := slices.Concat([]byte{0x82}, unhex(t, test.wire))
				if masked {
					h.Masked, h.Key = true, rfcKey
					wire[1] |= 0x80
					wire = append(wire, rfcKey[:]...)
				}
				require.LessOrEqual(t, len(wire), MaxHeader)
				require.Equal(t, wire, AppendHeader(nil, h))
				require.Equal(t, "before"+string(wire), string(AppendHeader([]byte("before"), h)))

				for n := range wire {
					got, size, err := ParseHeader(wire[:n:n])
					require.NoError(t, err, "cut after %d bytes", n)
					require.Zero(t, size, "cut after %d bytes", n)
					require.Zero(t, got, "cut after %d bytes", n)
				}
				for _, after := range []string{"", "\x00", "\xff", strings.Repeat("\xff", 20)} {
					got, size, err := ParseHeader(append(wire[:len(wire):len(wire)], after...))
					require.NoError(t, err)
					require.Equal(t, len(wire), size)
					require.Equal(t, h, got)
				}
			})
		}
	}
}

// Every value of the first byte, reserved bits and opcodes with it: a header is
// only refused for its length.
func TestHeaderFirstByte(t *testing.T) {
	for b := range 256 {
		wire := []byte{byte(b), 3}
		h, n, err := ParseHeader(wire)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		want := Header{Fin: b >= 128, Opcode: Opcode(b % 16), Length: 3}
		for _, bit := range []struct{ value, rsv int }{{64, int(RSV1)}, {32, int(RSV2)}, {16, int(RSV3)}} {
			if b/bit.value%2 == 1 {
				want.RSV += uint8(bit.rsv)
			}
		}
		require.Equal(t, want, h, "%08b", b)
		require.Equal(t, wire, AppendHeader(nil, h))
	}
}

// Lengths that no header may have (RFC 6455, section 5.2). They are refused as
// soon as the length is there, before the masking key is.
func TestParseHeaderRefuses(t *testing.T) {
	tests := []struct {
		wire string // from the second byte, without its mask bit
		want *ProtocolError
	}{
		{"7e 00 00", ErrLengthNotMinimal},
		{"7e 00 01", ErrLengthNotMinimal},
		{"7e 00 7c", ErrLengthNotMinimal},
		{"7e 00 7d", ErrLengthNotMinimal},
		{"7f 00 00 00 00 00 00 00 00", ErrLengthNotMinimal},
		{"7f 00 00 00 00 00 00 00 01", ErrLengthNotMinimal},
		{"7f 00 00 00 00 00 00 00 7d", ErrLengthNotMinimal},
		{"7f 00 00 00 00 00 00 00 7e", ErrLengthNotMinimal},
		{"7f 00 00 00 00 00 00 01 00", ErrLengthNotMinimal},
		{"7f 00 00 00 00 00 00 ff ff", ErrLengthNotMinimal},
		{"7f 80 00 00 00 00 00 00 00", ErrLengthTopBit},
		{"7f 80 00 00 00 00 00 00 01", ErrLengthTopBit},
		{"7f 80 00 00 00 00 01 00 00", ErrLengthTopBit},
		{"7f ff ff ff ff ff ff ff ff", ErrLengthTopBit},
	}
	for _, test := range tests {
		for _, masked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/masked=%v", test.wire, masked), func(t *testing.T) {
				wire := slices.Concat([]byte{0x82}, unhex(t, test.wire))
				if masked {
					wire[1] |= 0x80
				}
				for n := range wire {
					_, size, err := ParseHeader(wire[:n])
					require.NoError(t, err, "cut after %d bytes", n)
					require.Zero(t, size, "cut after %d bytes", n)
				}
				for _, more := range []int{0, 1, 4, 20} {
					h, n, err := ParseHeader(append(wire[:len(wire):len(wire)], make([]byte, more)...))
					require.Equal(t, test.want, err)
					require.Zero(t, n)
					require.Zero(t, h)
				}
			})
		}
	}
}

// What has no encoding must not spill into the bits beside it.
func TestAppendHeaderOutOfRange(t *testing.T) {
	require.Equal(t, []byte{0x0f, 0x00}, AppendHeader(nil, Header{Opcode: 0xff}))
	require.Equal(t, []byte{0x70, 0x00}, AppendHeader(nil, Header{RSV: 0xff}))
	require.Equal(t, []byte{0x82, 0x00}, AppendHeader(nil, Header{Fin: true, Opcode: OpBinary, Length: -1}))
	require.Equal(t, []byte{0x02, 0x80, 0, 0, 0, 0}, AppendHeader(nil, Header{Opcode: OpBinary, Masked: true, Length: -1 << 63}))
	require.Equal(t, []byte{0x02, 0x00}, AppendHeader(nil, Header{Opcode: OpBinary, Key: rfcKey}), "a key that is not used")
}

func TestHeaderAllocs(t *testing.T) {
	dst := make([]byte, 0, MaxHeader)
	requireNoAllocs(t, func() {
		for _, length := range []int64{0, 126, 1 << 40} {
			b := AppendHeader(dst, Header{Fin: true, Opcode: OpText, Masked: true, Key: rfcKey, Length: length})
			if h, n, err := ParseHeader(b); err != nil || n != len(b) || h.Length != length {
				t.Fatal("the header did not come back")
			}
		}
	})
}

// FuzzParseHeader has two properties: a header goes back to the bytes it came
// from, and what is refused or incomplete gives nothing.
func FuzzParseHeader(f *testing.F) {
	for _, test := range headerLengths {
		f.Add(slices.Concat([]byte{0x82}, unhex(f, test.wire)))
	}
	for _, seed := range []string{"", "81", "81 05 48", "81 85 37 fa 21 3d 7f", "c1 fe 00 7d", "f3 7f 80 00 00 00 00 00 00 00", "82 ff 00 00 00 00 00 00 ff ff"} {
		f.Add(unhex(f, seed))
	}
	for _, name := range capture.Names("") {
		frames := captured(f, name)
		f.Add(frames[:min(len(frames), MaxHeader)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		h, n, err := ParseHeader(b)
		require.Equal(t, before, b, "it only reads")
		used := Header{Fin: true, RSV: 7, Opcode: 15, Masked: true, Key: mask.Key{1, 2, 3, 4}, Length: -1}
		again, sameErr := used.Parse(b)
		require.Equal(t, n, again)
		require.Equal(t, err, sameErr)
		if n > 0 {
			require.Equal(t, h, used)
		}
		if err != nil {
			require.Contains(t, []error{ErrLengthNotMinimal, ErrLengthTopBit}, err)
		}
		if err != nil || n == 0 {
			require.Zero(t, h)
			require.Zero(t, n)
			require.True(t, err != nil || len(b) < MaxHeader, "a header is never longer")
			return
		}
		require.GreaterOrEqual(t, h.Length, int64(0))
		require.Equal(t, b[:n], AppendHeader(nil, h))
		require.True(t, h.Masked || h.Key == mask.Key{})
		_, short, err := ParseHeader(b[:n-1])
		require.NoError(t, err)
		require.Zero(t, short)
	})
}

func BenchmarkParseHeader(b *testing.B) {
	for _, length := range []int64{5, 1000, 100_000} {
		b.Run(fmt.Sprintf("length=%d", length), func(b *testing.B) {
			wire := AppendHeader(nil, Header{Fin: true, Opcode: OpText, Masked: true, Key: rfcKey, Length: length})
			b.ReportAllocs()
			for b.Loop() {
				if _, n, err := ParseHeader(wire); n == 0 || err != nil {
					b.Fatal("a valid header was refused")
				}
			}
		})
	}
}

func BenchmarkAppendHeader(b *testing.B) {
	for _, length := range []int64{5, 1000, 100_000} {
		b.Run(fmt.Sprintf("length=%d", length), func(b *testing.B) {
			h := Header{Fin: true, Opcode: OpText, Masked: true, Key: rfcKey, Length: length}
			dst := make([]byte, 0, MaxHeader)
			b.ReportAllocs()
			for b.Loop() {
				AppendHeader(dst, h)
			}
		})
	}
}
