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

// chat returns messages of a chat, of so many bytes each: records in JSON, with
// words that people use often, and identifiers that repeat nothing. Long ones
// have many records, and the last one of each is cut off.
func chat(size int) [][]byte {
	words := bytes.Fields([]byte(`the of and to in is that it was for on are with as his they at be this from
		have or by one had not but what all were when we there can an your which their said if do will each about how
		up out them then she many some so these would other into has more her two like him see time could no make than
		first been its who now people my made over did down only way find use may water long little very after called
		just where most know get through back much before go good new write our used me man too any day same right look`))
	rnd := rand.New(rand.NewPCG(1, uint64(size)))
	messages := make([][]byte, 64)
	at := int64(1_700_000_000_000)
	for i := range messages {
		var b bytes.Buffer
		for b.Len() < size {
			at += rnd.Int64N(60_000)
			user := rnd.IntN(200)
			fmt.Fprintf(&b, `{"type":"message","id":"%016x","room":"room-%d","user":{"id":%d,"name":"user%d"},"at":%d,"text":"`,
				rnd.Uint64(), rnd.IntN(10), 1000+user, user, at)
			for range 3 + rnd.IntN(25) {
				b.Write(words[int(float64(len(words))*rnd.Float64()*rnd.Float64())])
				b.WriteByte(' ')
			}
			b.WriteString(`"},`)
		}
		messages[i] = b.Bytes()[:size]
	}
	return messages
}

// benchmarkChat runs a benchmark for all sizes and settings.
func benchmarkChat(b *testing.B, run func(b *testing.B, messages [][]byte, level int, takeover bool, lib string)) {
	for _, size := range []int{128, 512, 2048, 16384, 65536} {
		messages := chat(size)
		for _, level := range []int{1, 4, 6, 9} {
			for _, takeover := range []bool{false, true} {
				for _, lib := range []string{"this", "std"} {
					b.Run(fmt.Sprintf("size=%d/level=%d/takeover=%v/lib=%s", size, level, takeover, lib), func(b *testing.B) {
						b.ReportAllocs()
						b.SetBytes(int64(size))
						run(b, messages, level, takeover, lib)
					})
				}
			}
		}
	}
}

// BenchmarkCompress is one message. The ratio is that of all messages to what is
// sent of them, the first ones included, which have no window yet.
func BenchmarkCompress(b *testing.B) {
	benchmarkChat(b, func(b *testing.B, messages [][]byte, level int, takeover bool, lib string) {
		compress := compressThis(level, takeover)
		if lib == "std" {
			compress = compressStandard(b, level, takeover)
		}
		in, out := 0, 0
		for _, p := range messages {
			in += len(p)
			out += len(compress(p))
		}
		for i := 0; b.Loop(); i++ {
			compress(messages[i%len(messages)])
		}
		b.ReportMetric(float64(in)/float64(out), "ratio")
	})
}

// compressThis returns a function that returns what is to be sent, until its
// next call.
func compressThis(level int, takeover bool) func(p []byte) []byte {
	c := &Compressor{Level: level, Takeover: takeover}
	var buf []byte
	return func(p []byte) []byte {
		out, ok := c.Append(buf[:0], p)
		if !ok {
			return p
		}
		buf = out
		return out
	}
}

// compressStandard is the same with the standard library's Writer, which one
// connection, or one of a pool, keeps.
func compressStandard(tb testing.TB, level int, takeover bool) func(p []byte) []byte {
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, level)
	require.NoError(tb, err)
	return func(p []byte) []byte {
		buf.Reset()
		if !takeover {
			w.Reset(&buf)
		}
		w.Write(p)
		w.Flush()
		return bytes.TrimSuffix(buf.Bytes(), []byte(tail))
	}
}

// tail is what the sender of a message leaves out. (RFC 7692, section 7.2.1)
const tail = "\x00\x00\xff\xff"

// BenchmarkDecompress is one message, compressed by the standard library.
func BenchmarkDecompress(b *testing.B) {
	benchmarkChat(b, func(b *testing.B, messages [][]byte, level int, takeover bool, lib string) {
		compress := compressStandard(b, level, takeover)
		in, out := 0, 0
		var sent [][]byte
		for _, p := range messages {
			sent = append(sent, bytes.Clone(compress(p)))
			in += len(p)
			out += len(sent[len(sent)-1])
		}
		decompress := decompressThis(takeover)
		if lib == "std" {
			decompress = decompressStandard(sent, takeover)
		}
		// The first message refers to nothing, so that it may follow the last one.
		buf := make([]byte, len(messages[0]))
		for i, p := range sent {
			require.NoError(b, decompress(buf, p))
			require.True(b, bytes.Equal(messages[i], buf))
		}
		for i := 0; b.Loop(); i++ {
			if err := decompress(buf, sent[i%len(sent)]); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(in)/float64(out), "ratio")
	})
}

// decompressThis returns a function that decodes a message into all of dst.
func decompressThis(takeover bool) func(dst, p []byte) error {
	d := &Decompressor{Takeover: takeover}
	return func(dst, p []byte) error {
		out, _, err := d.Append(dst[:0], p, len(dst)+1)
		if err != nil {
			return err
		}
		if len(out) != len(dst) {
			return io.ErrUnexpectedEOF
		}
		return d.End()
	}
}

// decompressStandard is the same with the standard library's reader, which one
// connection, or one of a pool, keeps. With takeover it is given the messages as
// one stream, again and again.
func decompressStandard(sent [][]byte, takeover bool) func(dst, p []byte) error {
	if takeover {
		stream := &endless{}
		for _, p := range sent {
			stream.b = append(append(stream.b, p...), tail...)
		}
		r := flate.NewReader(stream)
		return func(dst, _ []byte) error {
			_, err := io.ReadFull(r, dst)
			return err
		}
	}
	var src bytes.Reader
	var message []byte
	r := flate.NewReader(&src)
	return func(dst, p []byte) error {
		message = append(append(message[:0], p...), tail...)
		src.Reset(message)
		r.(flate.Resetter).Reset(&src, nil)
		_, err := io.ReadFull(r, dst)
		return err
	}
}

// endless reads b again and again.
type endless struct {
	b   []byte
	pos int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.b[e.pos:])
	e.pos = (e.pos + n) % len(e.b)
	return n, nil
}

func (e *endless) ReadByte() (byte, error) {
	c := e.b[e.pos]
	e.pos = (e.pos + 1) % len(e.b)
	return c, nil
}
