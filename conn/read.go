package conn

import (
	"context"
	"errors"
	"io"
	"iter"
	"math/bits"

	"rfc6455/frame"
)

// Message is a message as [Conn.Messages] yields it.
type Message struct {
	Type MessageType
	Data []byte // valid until the next iteration
}

// Read returns the next message. The caller owns the bytes. Ping and Close
// frames are answered while it waits, so a connection needs somebody to read.
//
// When ctx ends, Read returns its error and the connection goes on: a message
// of which a part has come is continued by the next call. (On a transport
// without deadlines, see [New], the connection ends.) Any other error is final
// and every later call gives the same: a [*CloseError] after a Close frame, a
// [*frame.ProtocolError] if the peer broke the protocol, [ErrMessageTooBig],
// an error that wraps io.ErrUnexpectedEOF if the stream ended without a Close
// frame. Messages that came before are returned first. (RFC 6455, section 6.2)
func (c *Conn) Read(ctx context.Context) (MessageType, []byte, error) {
	if err := c.ready(ctx); err != nil {
		return 0, nil, err
	}
	return c.read(nil, memoryNew)
}

// ReadInto returns the next message like Read, in buf's memory if its capacity
// is enough, otherwise in new memory. What buf holds is overwritten.
func (c *Conn) ReadInto(ctx context.Context, buf []byte) (MessageType, []byte, error) {
	if err := c.ready(ctx); err != nil {
		return 0, nil, err
	}
	return c.read(buf[:0], memoryCaller)
}

// Messages returns an iterator over the messages that come. A message's bytes
// are valid until the next iteration: the memory is used again. The iterator
// ends without an error when the connection is closed with 1000, 1001 or
// without a code; any other error is yielded as the last pair. ctx is as in
// Read: after its error, reading may go on with a new context.
func (c *Conn) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			var m Message
			err := c.ready(ctx)
			if err == nil {
				m.Type, m.Data, err = c.read(nil, memoryShared)
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(Message{}, err)
				}
				return
			}
			if !yield(m, nil) {
				return
			}
		}
	}
}

// memory says where a message is collected.
type memory uint8

const (
	memoryNew    memory = iota // the application's, allocated here
	memoryCaller               // the application's, given by it
	memoryShared               // the connection's
)

// ready takes the reader's turn and waits until something has come of the next
// message, if nothing had. read would do that, too, but a connection waits here
// most of its life, and from here 2 KiB of stack are enough for it.
func (c *Conn) ready(ctx context.Context) error {
	if err := c.takeReader(ctx); err != nil {
		return err
	}
	if c.idle() {
		c.lent = false
		if err := c.fill(); err != nil {
			c.leaveReader()
			return err
		}
	}
	return nil
}

// read reads the next message after ready.
func (c *Conn) read(dst []byte, m memory) (MessageType, []byte, error) {
	p, err := c.message(dst, m)
	if err != nil {
		c.leaveReader()
		return 0, nil, err
	}
	c.lent = m == memoryShared
	op, _ := c.recv.Message()
	c.more()
	c.leaveReader()
	return MessageType(op), p, nil
}

// idle reports whether there is nothing to do before bytes come.
func (c *Conn) idle() bool {
	return c.r == c.w && !c.recv.Open() && !c.inData && !c.inControl && c.streaming == nil && !c.over.Load()
}

// message reads to the end of a message.
func (c *Conn) message(dst []byte, m memory) ([]byte, error) {
	c.lent = false
	if err := c.begin(); err != nil {
		return nil, err
	}
	if !c.recv.Open() && !c.inData {
		if err := c.nextData(); err != nil {
			return nil, err
		}
		if left := c.recv.Left(); c.head.Fin && left <= int64(c.w-c.r) && c.head.RSV == 0 {
			// The whole message is in the buffer.
			p := c.buffered()[:left]
			c.r += int(left)
			if err := c.payload(p); err != nil {
				return nil, err
			}
			if m == memoryShared {
				return p, nil
			}
			if m == memoryNew {
				dst = make([]byte, 0, left)
			}
			return append(dst, p...), nil
		}
	}
	switch {
	case m == memoryNew:
		dst = c.saved()
	case m == memoryShared && c.big != nil:
		dst = append(c.big.b[:0], c.saved()...)
	default:
		dst = append(dst, c.saved()...)
	}
	c.save(nil)
	if _, compressed := c.recv.Message(); compressed {
		return c.inflate(dst, m)
	}
	for {
		if !c.inData {
			if err := c.nextData(); err != nil {
				return nil, c.interrupted(dst, m, err)
			}
		}
		for c.inData {
			var err error
			if dst, err = c.collect(dst, m); err != nil {
				return nil, c.interrupted(dst, m, err)
			}
		}
		if !c.recv.Open() {
			c.bigBits = uint8(bits.Len(uint(len(dst))))
			return dst, nil
		}
	}
}

// begin makes the connection ready for the next message: the rest of one that
// a Reader was given is skipped.
func (c *Conn) begin() error {
	if c.over.Load() {
		return c.gone()
	}
	if c.streaming != nil {
		// Another reader of the same message: the application's is over now, even
		// if this is interrupted.
		skipped := &messageReader{c: c}
		c.streaming = skipped
		if err := skipped.skip(); err != nil {
			return err
		}
		c.streaming = nil
	}
	return nil
}

// interrupted keeps what was collected of a message for the next call.
func (c *Conn) interrupted(dst []byte, m memory, err error) error {
	if c.sticky() != nil {
		return err
	}
	if m == memoryNew {
		c.save(dst)
	} else {
		c.save(append([]byte(nil), dst...))
	}
	return err
}

// collect appends bytes of the frame's payload to dst, as many as have come or
// as one read gives.
func (c *Conn) collect(dst []byte, m memory) ([]byte, error) {
	left := c.recv.Left()
	if c.r == c.w && left > 0 && left < int64(c.bufSize) {
		// What comes behind a small rest is welcome in the same read.
		return dst, c.fill()
	}
	dst = c.grow(dst, left, m)
	end := len(dst)
	free := dst[end:cap(dst)]
	if int64(len(free)) > left {
		free = free[:left]
	}
	n := copy(free, c.buffered())
	c.r += n
	if n == 0 && left > 0 {
		c.beforeWait()
		var err error
		if n, err = c.receive(free); err != nil {
			return dst, err
		}
	}
	if err := c.payload(free[:n]); err != nil {
		return dst, err
	}
	return dst[:end+n], nil
}

// firstRoom is how much memory a message gets before its bytes have come.
const firstRoom = 4 << 10

// grow returns dst with room for at least a byte of the left that were
// announced. Memory grows with what has come, not with what was announced: at
// most firstRoom, four times that, or what the message before needed.
func (c *Conn) grow(dst []byte, left int64, m memory) []byte {
	if left == 0 || len(dst) < cap(dst) {
		return dst
	}
	come := len(dst) + c.w - c.r
	size := int(min(int64(len(dst))+left, int64(max(4*come, 1<<c.bigBits, firstRoom))))
	if c.head.Opcode == frame.OpContinuation {
		// More of them may follow, and must not cost a copy of everything each.
		size = max(size, 2*len(dst))
	}
	return c.resize(dst, size, m)
}

// resize returns dst with the capacity size, at least.
func (c *Conn) resize(dst []byte, size int, m memory) []byte {
	if m != memoryShared {
		grown := make([]byte, len(dst), size)
		copy(grown, dst)
		return grown
	}
	b := getBuffer(size)
	n := copy(b.b, dst)
	putBuffer(c.big)
	c.big = b
	return b.b[:n]
}

// Reader returns the next message as a stream, for messages that should not
// stand in memory whole: only its limit is known when its bytes are read. Text
// is checked as it comes, and the reader fails at the first impossible byte.
// Reading on the connection again skips what was not read of the message, and
// the reader is over then. ctx governs all reads of the message.
func (c *Conn) Reader(ctx context.Context) (MessageType, io.Reader, error) {
	if err := c.takeReader(ctx); err != nil {
		return 0, nil, err
	}
	defer c.leaveReader()
	t, r, err := c.nextReader(ctx)
	if err != nil {
		return 0, nil, err
	}
	return t, r, nil
}

// nextReader is Reader for whoever has the reader's turn.
func (c *Conn) nextReader(ctx context.Context) (MessageType, *messageReader, error) {
	c.lent = false
	if err := c.begin(); err != nil {
		return 0, nil, err
	}
	if !c.recv.Open() && !c.inData && c.saved() == nil {
		if err := c.nextData(); err != nil {
			return 0, nil, err
		}
	}
	c.streaming = &messageReader{c: c, ctx: ctx}
	c.corkPong()
	op, _ := c.recv.Message()
	return MessageType(op), c.streaming, nil
}

// messageReader streams one message.
type messageReader struct {
	c   *Conn
	ctx context.Context
	eof bool
}

// Read implements io.Reader.
func (r *messageReader) Read(p []byte) (int, error) {
	if err := r.c.takeReader(r.ctx); err != nil {
		return 0, err
	}
	defer r.c.leaveReader()
	return r.next(p)
}

// next is Read for whoever has the reader's turn.
func (r *messageReader) next(p []byte) (int, error) {
	c := r.c
	if r.eof {
		return 0, io.EOF
	}
	if c.streaming != r {
		if err := c.sticky(); err != nil {
			return 0, err
		}
		return 0, errStaleReader
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.read(p)
	if err == io.EOF {
		r.eof = true
		c.streaming = nil
		c.more()
	}
	c.corkPong()
	return n, err
}

// read returns bytes of the message, or io.EOF at its end.
func (r *messageReader) read(p []byte) (int, error) {
	c := r.c
	if saved := c.saved(); len(saved) > 0 {
		n := copy(p, saved)
		c.save(saved[n:])
		return n, nil
	}
	c.save(nil)
	if _, compressed := c.recv.Message(); compressed {
		return c.inflated(p)
	}
	for {
		if !c.inData {
			if !c.recv.Open() {
				return 0, io.EOF
			}
			if err := c.nextData(); err != nil {
				return 0, err
			}
		}
		left := c.recv.Left()
		if c.r == c.w && left > 0 && int64(len(p)) < min(left, int64(c.bufSize)) {
			if err := c.fill(); err != nil {
				return 0, err
			}
		}
		free := p
		if int64(len(free)) > left {
			free = free[:left]
		}
		n := copy(free, c.buffered())
		c.r += n
		if n == 0 && left > 0 {
			c.beforeWait()
			var err error
			if n, err = c.receive(free); err != nil {
				return 0, err
			}
		}
		if err := c.payload(free[:n]); err != nil {
			return 0, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// skip reads to the end of the message. It keeps nothing.
func (r *messageReader) skip() error {
	if r.eof {
		return nil
	}
	b := getBuffer(minReadBuffer)
	defer putBuffer(b)
	for {
		if _, err := r.read(b.b); err == io.EOF {
			r.eof = true
			return nil
		} else if err != nil {
			return err
		}
	}
}
