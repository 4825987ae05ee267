package conn

import (
	"fmt"
	"io"
	"math"
	"sync"

	"rfc6455/frame"
	"rfc6455/frame/deflate"
)

// inflation reads compressed messages.
type inflation struct {
	in   deflate.Decompressor
	src  []byte // of the message: has come and was not decoded; in Conn.buf
	more bool   // what was decoded may not have come out yet
	size int64  // what has come out of the message
	text frame.UTF8
}

var inflations = sync.Pool{New: func() any { return new(inflation) }}

// beginMessage makes in ready for a message.
func (z *compressor) beginMessage() {
	if z.in == nil {
		z.in = inflations.Get().(*inflation)
		z.in.in = deflate.Decompressor{Window: int(z.peer.window), Takeover: z.peer.takeover}
	}
	z.in.src, z.in.more, z.in.size = nil, false, 0
	z.in.text.Reset()
}

// endMessage gives back what is not needed until the next message.
func (z *compressor) endMessage() {
	if !z.peer.takeover {
		z.release()
	}
}

// release gives everything back.
func (z *compressor) release() {
	if z != nil && z.in != nil {
		z.in.in.Reset()
		*z.in = inflation{}
		inflations.Put(z.in)
		z.in = nil
	}
}

// inflate reads to the end of a compressed message.
func (c *Conn) inflate(dst []byte, m memory) ([]byte, error) {
	var one [1]byte
	for {
		free := dst[len(dst):cap(dst)]
		if len(free) == 0 {
			if cap(dst) == 0 {
				dst = c.inflateRoom(dst, m)
				continue
			}
			free = one[:] // it may have come to its end
		}
		n, err := c.inflated(free)
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return nil, c.interrupted(dst, m, err)
		}
		if len(dst) == cap(dst) {
			dst = append(c.inflateRoom(dst, m), one[0])
			continue
		}
		dst = dst[:len(dst)+n]
	}
}

// inflateRoom makes dst longer. The message will be some times as long as what
// came of it, and not much longer than it may be. Memory grows with what comes
// out.
func (c *Conn) inflateRoom(dst []byte, m memory) []byte {
	guess := int(min(4*c.head.Length, firstRoom))
	size := max(2*len(dst), guess, minReadBuffer)
	if limit := c.o.ReadLimit; limit > 0 && int64(size) > limit {
		size = max(int(limit), len(dst)) + 1
	}
	return c.resize(dst, size, m)
}

// inflated puts the next bytes of a compressed message into p, at least one, or
// returns io.EOF at its end. p is not empty.
func (c *Conn) inflated(p []byte) (int, error) {
	z := c.compressor.in
	if z == nil {
		return 0, io.EOF // the message has ended, and nothing was kept of it
	}
	op, _ := c.recv.Message()
	for {
		for len(z.src) > 0 || z.more {
			out, used, err := z.in.Append(p[:0], z.src, len(p))
			z.src = z.src[used:]
			// What came before an error comes first.
			z.more = len(out) == len(p) || err != nil
			if len(out) == 0 {
				if err != nil {
					return 0, c.fail(fmt.Errorf("%w: %w", frame.ErrCompressed, err))
				}
				break
			}
			limit := c.o.ReadLimit
			if limit == 0 {
				limit = math.MaxInt64
			}
			within := out[:min(int64(len(out)), limit-z.size)]
			if op == frame.OpText && !z.text.Valid(within) {
				return 0, c.fail(frame.ErrText)
			}
			if len(within) < len(out) {
				return 0, c.fail(fmt.Errorf("%w after inflating: it has more than %d bytes (Options.ReadLimit)", frame.ErrMessageTooBig, limit))
			}
			z.size += int64(len(out))
			return len(out), nil
		}
		if !c.inData {
			if !c.recv.Open() {
				return 0, c.endInflated(op)
			}
			if err := c.nextData(); err != nil {
				return 0, err
			}
		}
		left := c.recv.Left()
		if c.r == c.w && left > 0 {
			if err := c.fill(); err != nil {
				return 0, err
			}
		}
		piece := c.buffered()
		if int64(len(piece)) > left {
			piece = piece[:left]
		}
		c.r += len(piece)
		if err := c.payload(piece); err != nil {
			return 0, err
		}
		z.src = piece
	}
}

// endInflated returns io.EOF at the end of a message, unless it was cut off.
func (c *Conn) endInflated(op frame.Opcode) error {
	z := c.compressor.in
	if err := z.in.End(); err != nil {
		return c.fail(fmt.Errorf("%w: %w", frame.ErrCompressed, err))
	}
	if op == frame.OpText && !z.text.Complete() {
		return c.fail(frame.ErrText)
	}
	c.compressor.endMessage()
	return io.EOF
}
