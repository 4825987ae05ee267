//go:build linux

package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/frame/deflate"
)

// codec is a program that compresses and decompresses; codec.py says how it is
// asked to.
type codec struct {
	in  io.Writer
	out *bufio.Reader
}

// startCodec runs such a program until the end of the test.
func startCodec(t *testing.T, command, program string) *codec {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, command, program)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var said bytes.Buffer
	cmd.Stderr = &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		defer cancel()
		in.Close()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("%s: %v\n%s", program, err, &said)
		}
	})
	return &codec{in, bufio.NewReaderSize(out, 1<<18)}
}

// ask sends a request and returns the answer.
func (z *codec) ask(request string, data []byte) ([]byte, error) {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(request)+len(data)))
	if _, err := z.in.Write(append(append(head, request...), data...)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(z.out, head); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(head))
	if _, err := io.ReadFull(z.out, answer); err != nil {
		return nil, err
	}
	if answer[0] != 0 {
		return nil, fmt.Errorf("%s", answer[1:])
	}
	return answer[1:], nil
}

func (z *codec) compressor(t *testing.T, level, window, strategy, flush int, takeover bool) {
	t.Helper()
	_, err := z.ask("c", []byte{byte(level), byte(window), byte(strategy), byte(flush), bit(takeover)})
	require.NoError(t, err)
}

func (z *codec) decompressor(t *testing.T, window, step int, takeover bool) {
	t.Helper()
	_, err := z.ask("d", []byte{byte(window), byte(step), bit(takeover)})
	require.NoError(t, err)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// zlib's names for what a compressor is given.
const (
	syncFlush, fullFlush, finish                                   = 2, 3, 4
	defaultStrategy, filtered, huffmanOnly, runLengths, fixedCodes = 0, 1, 2, 3, 4
)

// history are messages for a window of so many bits: of all sorts, and some that
// repeat what is just within the window or just out of it.
func history(window int) [][]byte {
	rnd := rand.New(rand.NewPCG(3, uint64(window)))
	list := [][]byte{nil, []byte("x"), []byte("Hello"), []byte("Hello")}
	for i := range 10 {
		list = append(list, chat(i))
	}
	list = append(list, prose(rnd, 5000), repeated(20_000), nil, letters(rnd, 3000), prose(rnd, 20_000))
	for _, more := range []int{-262, -1, 0, 1} {
		once := letters(rnd, max(1<<window+more, 1))
		list = append(list, append(once, once...))
	}
	random := make([]byte, 2000)
	for i := range random {
		random[i] = byte(rnd.Uint32())
	}
	return append(list, random, random[:100], chat(10), chat(11), prose(rnd, 700))
}

// TestCodec holds the codec against zlib, as it stands in other languages.
func TestCodec(t *testing.T) {
	for _, tt := range []struct {
		name, program string
		command       func(t *testing.T, role string) string
		least         int // the smallest window of a compressor
	}{
		// zlib refuses to make a compressor with 8, and Node takes 9 instead.
		{"Python zlib", "codec.py", module("zlib"), 9},
		{"Node zlib", "codec.mjs", func(t *testing.T, role string) string { return find(t, "node", role) }, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			z := startCodec(t, tt.command(t, "codec"), tt.program)
			p := newPeer(tt.name, "codec")
			version, err := z.ask("v", nil)
			require.NoError(t, err)
			p.is(string(version))
			for window := 8; window <= 15; window++ {
				messages := history(window)
				for _, takeover := range []bool{false, true} {
					p.run(t, fmt.Sprintf("window=%d/takeover=%v/to it", window, takeover), func(t *testing.T) {
						for level := 1; level <= 9; level++ {
							// Small steps are strict and slow.
							step := 100
							if level%4 == 1 {
								step = 1
							}
							z.decompressor(t, window, step, takeover)
							z.decodesOurs(t, &deflate.Compressor{Level: level, Window: window, Takeover: takeover}, messages)
						}
					})
					p.run(t, fmt.Sprintf("window=%d/takeover=%v/from it", window, takeover), func(t *testing.T) {
						theirs := max(window, tt.least)
						for level := range 10 {
							z.compressor(t, level, theirs, defaultStrategy, syncFlush, takeover)
							z.isDecoded(t, &deflate.Decompressor{Window: window, Takeover: takeover}, messages)
						}
						for _, strategy := range []int{filtered, huffmanOnly, runLengths, fixedCodes} {
							z.compressor(t, 6, theirs, strategy, syncFlush, takeover)
							z.isDecoded(t, &deflate.Decompressor{Window: window, Takeover: takeover}, messages)
						}
						z.compressor(t, 6, theirs, defaultStrategy, fullFlush, takeover)
						z.isDecoded(t, &deflate.Decompressor{Window: window, Takeover: takeover}, messages)
						if !takeover {
							z.compressor(t, 6, theirs, defaultStrategy, finish, false)
							z.isDecoded(t, &deflate.Decompressor{Window: window}, messages)
						}
					})
				}
			}
			p.run(t, "window that is too small", func(t *testing.T) {
				once := letters(rand.New(rand.NewPCG(4, 4)), 1000)
				message, ok := (&deflate.Compressor{Window: 10}).Append(nil, append(once, once...))
				require.True(t, ok)
				z.decompressor(t, 9, 1, false)
				_, err := z.ask("m", message)
				require.ErrorContains(t, err, "too far back", "it looks at what it is given")
			})
		})
	}
}

// decodesOurs has the program decode what c makes of messages.
func (z *codec) decodesOurs(t *testing.T, c *deflate.Compressor, messages [][]byte) {
	t.Helper()
	for i, message := range messages {
		out, ok := c.Append(nil, message)
		if !ok {
			continue // it would be sent as it is
		}
		got, err := z.ask("m", out)
		require.NoError(t, err, "level %d, message %d", c.Level, i)
		require.True(t, bytes.Equal(message, got), "level %d, message %d", c.Level, i)
	}
}

// isDecoded has d decode what the program makes of messages, in pieces.
func (z *codec) isDecoded(t *testing.T, d *deflate.Decompressor, messages [][]byte) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(5, uint64(d.Window)))
	for i, message := range messages {
		in, err := z.ask("m", message)
		require.NoError(t, err)
		var got []byte
		for more := false; len(in) > 0 || more; {
			piece := in[:min(len(in), 1+rnd.IntN(1<<rnd.IntN(16)))]
			limit := 1 + rnd.IntN(1<<rnd.IntN(16))
			out, n, err := d.Append(got, piece, limit)
			require.NoError(t, err, "message %d", i)
			more = len(out)-len(got) == limit
			got, in = out, in[n:]
		}
		require.NoError(t, d.End(), "message %d", i)
		require.True(t, bytes.Equal(message, got), "message %d", i)
	}
}
