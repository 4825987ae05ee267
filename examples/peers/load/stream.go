package load

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Opcode is that of a data frame. (RFC 6455, section 5.2)
type Opcode byte

// The two types of messages.
const (
	Text   Opcode = 1
	Binary Opcode = 2
)

// sampled is how often a payload is checked: once in this many messages.
const sampled = 16

// Stream is what clients write and what must come back, message after message,
// from the beginning again after the last one.
type Stream struct {
	out    []byte // frames of a client
	outEnd []int  // end of each message in out
	due    []int  // how many messages have come back then
	in     []byte // frames of the server
	inHead []int  // end of each message's first header in in
	inEnd  []int  // end of each message in in
}

// message is one message as bytes, in the fragments in which it is written.
type message struct {
	op        Opcode
	fragments [][]byte
}

// NewStream returns a stream of n messages of size bytes. With raw, the bytes
// come back as they were sent. It is the same for the same arguments.
func NewStream(op Opcode, size, n int, raw bool) *Stream {
	messages := make([]message, n)
	for i := range messages {
		messages[i] = message{op, [][]byte{payload(op, size, uint64(i))}}
	}
	return newStream(messages, raw, false)
}

// newStream builds the frames. With split, each fragment comes back as a message
// of its own.
func newStream(messages []message, raw, split bool) *Stream {
	s := new(Stream)
	random := rand.New(rand.NewPCG(1, 2))
	for _, m := range messages {
		var whole []byte
		for i, f := range m.fragments {
			b0 := byte(m.op)
			if i > 0 {
				b0 = 0
			}
			if i == len(m.fragments)-1 {
				b0 |= 0x80
			}
			s.out = appendFrame(s.out, b0, f, random.Uint32()|1)
			whole = append(whole, f...)
			if split {
				s.answer(m.op, f)
			}
		}
		s.outEnd = append(s.outEnd, len(s.out))
		if !split {
			s.answer(m.op, whole)
		}
		s.due = append(s.due, len(s.inEnd))
	}
	if raw {
		s.in, s.inHead, s.inEnd = s.out, nil, s.outEnd
		start := 0
		for _, end := range s.outEnd {
			s.inHead = append(s.inHead, start+headerLen(s.out[start:end]))
			start = end
		}
	}
	return s
}

// answer appends what a server sends for a message.
func (s *Stream) answer(op Opcode, p []byte) {
	start := len(s.in)
	s.in = appendFrame(s.in, 0x80|byte(op), p, 0)
	s.inHead = append(s.inHead, start+headerLen(s.in[start:]))
	s.inEnd = append(s.inEnd, len(s.in))
}

// appendFrame appends a frame that begins with the byte b0, masked if key is not
// zero. (RFC 6455, section 5.2)
func appendFrame(dst []byte, b0 byte, p []byte, key uint32) []byte {
	masked := byte(0)
	if key != 0 {
		masked = 0x80
	}
	dst = append(dst, b0)
	switch n := len(p); {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(n))
	}
	if key == 0 {
		return append(dst, p...)
	}
	k := binary.BigEndian.AppendUint32(nil, key)
	dst = append(dst, k...)
	for i, c := range p {
		dst = append(dst, c^k[i%4])
	}
	return dst
}

// headerLen returns the length of the header that b begins with.
func headerLen(b []byte) int {
	n := 2
	switch b[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if b[1]&0x80 != 0 {
		n += 4
	}
	return n
}

// multilingual is a text whose code points have one to four bytes in UTF-8.
const multilingual = "Съешь же ещё этих мягких французских булок, да выпей чаю. " +
	"天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。寒來暑往，秋收冬藏。" +
	"🚀🌍👩‍💻🎉😀🍜🐉🎼 " +
	"The quick brown fox jumps over the lazy dog; voilà, c'est la fête à Zürich. "

// payload returns the payload of message i: random bytes, or multilingual text
// with x at its end where a code point would not fit.
func payload(op Opcode, size int, i uint64) []byte {
	random := rand.New(rand.NewPCG(3, i))
	p := make([]byte, 0, size)
	if op == Text {
		runes := []rune(multilingual)
		for at := random.IntN(len(runes)); ; at++ {
			r := string(runes[at%len(runes)])
			if len(p)+len(r) > size {
				break
			}
			p = append(p, r...)
		}
		for len(p) < size {
			p = append(p, 'x')
		}
		return p
	}
	for len(p) < size {
		p = append(p, byte(random.Uint32()))
	}
	return p
}

// reader is where a connection is in the stream that it receives.
type reader struct {
	s       *Stream
	pos     int // in s.in
	message int // 0 <= message < len(s.inEnd); inEnd[message-1] <= pos < inEnd[message]
	count   int // messages so far
}

// check takes bytes that were received and returns how many messages they
// complete. The payload is checked in one message of sampled.
func (r *reader) check(b []byte) (int, error) {
	n := 0
	for len(b) > 0 {
		s := r.s
		end := s.inEnd[r.message]
		take := min(len(b), end-r.pos)
		compare := take
		if r.count%sampled != 0 {
			compare = min(take, max(0, s.inHead[r.message]-r.pos))
		}
		if string(b[:compare]) != string(s.in[r.pos:r.pos+compare]) {
			return n, r.mismatch(b[:compare])
		}
		b = b[take:]
		r.pos += take
		if r.pos < end {
			break
		}
		n++
		r.count++
		if r.message++; r.message == len(s.inEnd) {
			r.message, r.pos = 0, 0
		}
	}
	return n, nil
}

// mismatch says where b differs from what had to come.
func (r *reader) mismatch(b []byte) error {
	i := 0
	for b[i] == r.s.in[r.pos+i] {
		i++
	}
	what := "header"
	if r.pos+i >= r.s.inHead[r.message] {
		what = "payload"
	}
	start := 0
	if r.message > 0 {
		start = r.s.inEnd[r.message-1]
	}
	return fmt.Errorf("load: wrong %s in message %d: byte %d is %#02x, not %#02x",
		what, r.count, r.pos+i-start, b[i], r.s.in[r.pos+i])
}
