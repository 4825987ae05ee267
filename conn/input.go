package conn

import (
	"context"
	"errors"
	"io"
	"os"

	"rfc6455/frame"
)

const (
	minReadBuffer = 4 << 10
	maxReadBuffer = 64 << 10
)

// The values of Conn.reading.
const (
	readerFree   = 0
	readerTaken  = 1
	readerWanted = 2 // taken, and a Close waits for it
)

// takeReader takes the reader's turn for the application.
func (c *Conn) takeReader(ctx context.Context) error {
	if err := c.awaitReader(ctx); err != nil {
		return err
	}
	c.readCtx = ctx
	return nil
}

func (c *Conn) awaitReader(ctx context.Context) error {
	for !c.reading.CompareAndSwap(readerFree, readerTaken) {
		c.mu.Lock()
		closing := c.closing != nil
		c.mu.Unlock()
		if !closing {
			return ErrConcurrentRead
		}
		// Close reads until the peer's Close frame has come.
		select {
		case <-c.Context().Done():
			return c.sticky()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leaveReader gives the reader's turn back.
func (c *Conn) leaveReader() {
	c.readCtx = context.Background()
	if c.reading.CompareAndSwap(readerTaken, readerFree) {
		return
	}
	c.reading.Store(readerFree)
	c.readFree <- struct{}{}
}

// buffered returns the bytes that have come and were not looked at.
func (c *Conn) buffered() []byte {
	if c.buf == nil {
		return nil
	}
	return c.buf.b[c.r:c.w]
}

// lendBuffer makes sure that there is a buffer.
func (c *Conn) lendBuffer() {
	if c.buf == nil {
		c.buf = getBuffer(c.bufSize)
	}
}

// park notes that a read waits from now on, and gives back the memory that
// nothing is in. The read buffer goes back only on a raw transport, elsewhere the
// read itself needs it.
func (c *Conn) park() {
	now := c.now()
	if c.silence == 0 {
		c.silence = now
	}
	if c.raw != nil {
		// The read has just found nothing.
		now = 1
	}
	c.dropRequest()
	c.parked.Store(int64(now))
	c.waiting.Store(int64(c.silence))
	if c.raw != nil && c.r == c.w && c.buf != nil {
		putBuffer(c.buf)
		c.buf = nil
		c.r, c.w = 0, 0
	}
	if c.big != nil && !c.recv.Open() && !c.inData {
		putBuffer(c.big)
		c.big = nil
	}
}

// detach leaves memory that the application may still look at to it, before
// another goroutine reads on.
func (c *Conn) detach() {
	if !c.lent {
		return
	}
	c.lent = false
	c.big = nil
	if rest := c.buffered(); len(rest) > 0 {
		b := getBuffer(max(len(rest), minReadBuffer))
		c.r, c.w = 0, copy(b.b, rest)
		c.buf = b
		return
	}
	c.buf, c.r, c.w = nil, 0, 0
}

// fill waits for at least one more byte in the buffer. All output leaves before
// it waits. An error of readCtx leaves the connection as it was; any other has
// ended it.
func (c *Conn) fill() error {
	c.beforeWait()
	if c.r == c.w {
		c.r, c.w = 0, 0
		if c.buf != nil && len(c.buf.b) != c.bufSize {
			putBuffer(c.buf)
			c.buf = nil
		}
	} else if c.w == len(c.buf.b) || c.r > 0 && len(c.buf.b)-c.r < frame.MaxHeader+frame.MaxControl {
		// What waits here is less than a header and a control frame.
		c.w = copy(c.buf.b, c.buf.b[c.r:c.w])
		c.r = 0
	}
	var n int
	var err error
	c.lendBuffer()
	if c.raw != nil {
		n, err = c.receive(nil)
	} else {
		n, err = c.receive(c.buf.b[c.w:])
	}
	if err != nil {
		return err
	}
	// The next buffer is larger while reads fill it, and smaller while they
	// leave most of it empty.
	switch size := len(c.buf.b); {
	case n == size-c.w:
		c.bufSize = min(4*size, maxReadBuffer)
	case n < size/8:
		c.bufSize = max(size/2, minReadBuffer)
	}
	c.w += n
	return nil
}

// beforeWait lets waiting output leave, since the reader is about to wait.
func (c *Conn) beforeWait() {
	if c.corkable.Load() {
		c.corkable.Store(false)
	}
	if c.readCount > 0 {
		c.stats.messagesRead.Add(c.readCount)
		c.readCount = 0
	}
	c.flushWaiting()
}

// receive reads from the transport, into p, or for a raw transport into the
// buffer if p is nil. It returns at least one byte or an error.
func (c *Conn) receive(p []byte) (n int, err error) {
	switch {
	case c.readErr != nil:
		return 0, c.broken(c.readErr)
	case c.watched(c.readCtx):
		return c.receiveWatched(p)
	case c.raw != nil:
		n, err = c.readRaw(p)
	default:
		n, err = c.readPlain(p)
	}
	c.received(n, err)
	if n == 0 {
		return 0, c.broken(err)
	}
	return n, nil
}

// receiveWatched is receive under a context that may end before the connection.
func (c *Conn) receiveWatched(p []byte) (n int, err error) {
	ctx := c.readCtx
	w := &c.watching().read
	if err := w.begin(c, ctx); err != nil {
		return 0, err
	}
	if c.raw != nil {
		n, err = c.readRaw(p)
	} else {
		n, err = c.readPlain(p)
	}
	w.end(c)
	c.received(n, err)
	switch {
	case n > 0:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil && c.sticky() == nil:
		return 0, ctx.Err()
	}
	return 0, c.broken(err)
}

// readPlain reads from what is no raw transport.
func (c *Conn) readPlain(p []byte) (n int, err error) {
	for range 100 {
		c.park()
		if n, err = c.nc.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// received notes what a read gave. An error that came with bytes is for the next
// one.
func (c *Conn) received(n int, err error) {
	if c.waiting.Load() != 0 {
		c.waiting.Store(0)
	}
	if n > 0 {
		c.stats.bytesRead.Add(int64(n))
		c.silence = 0
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.readErr = err
		}
	}
}

// broken ends the connection because the transport did, and returns the sticky
// error.
func (c *Conn) broken(err error) error {
	err = lost(err)
	c.end(c.closingOr(err), err, false)
	return c.gone()
}

// closingOr returns what ends the connection: why it is being closed, or err if
// it is not.
func (c *Conn) closingOr(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing != nil {
		return c.closing.err
	}
	return err
}

// gone returns the sticky error after the end and gives back what the reader
// holds.
func (c *Conn) gone() error {
	if !c.lent {
		putBuffer(c.buf)
		putBuffer(c.big)
	}
	c.buf, c.big, c.r, c.w, c.aheadLen = nil, nil, 0, 0, 0
	c.lent = false
	c.save(nil)
	c.compressor.release()
	return c.sticky()
}

// nextData reads up to the payload of the next data frame. Control frames on
// the way are dealt with.
func (c *Conn) nextData() error {
	for {
		if c.inControl {
			left := int(c.recv.Left())
			if c.w-c.r < left {
				if err := c.fill(); err != nil {
					return err
				}
				continue
			}
			c.inControl = false
			payload := c.buffered()[:left]
			c.r += left
			if err := c.recv.Payload(payload); err != nil {
				return c.fail(err)
			}
			if err := c.control(payload); err != nil {
				return err
			}
			continue
		}
		n := int(c.aheadLen)
		var err error
		if n == 0 {
			n, err = c.ahead.Parse(c.buffered())
		}
		c.aheadLen = 0
		if err == nil && n > 0 {
			err = c.recv.Next(c.ahead)
		}
		if err != nil {
			return c.fail(limited(err))
		}
		if n == 0 {
			if err := c.fill(); err != nil {
				return err
			}
			continue
		}
		c.r += n
		c.head = c.ahead
		h := &c.head
		if h.Opcode.IsControl() {
			c.inControl = true
			continue
		}
		c.inData = true
		c.traceHead = true
		if h.RSV != 0 {
			c.compressor.beginMessage()
		}
		return nil
	}
}

// control deals with a whole control frame.
func (c *Conn) control(payload []byte) error {
	if t := c.o.Trace; t != nil && t.Received != nil {
		t.Received(c, c.head, payload)
	}
	switch c.head.Opcode {
	case frame.OpPing:
		// The newest Ping alone is answered. (RFC 6455, section 5.5.3)
		a := c.needAside()
		a.ping = append(a.ping[:0], payload...)
		c.pingSeen = true
		return nil
	case frame.OpPong:
		c.ponged(payload)
		return nil
	}
	return c.closeReceived(payload)
}

// payload gives the next bytes of the frame's payload, which stand in p, to the
// receiver.
func (c *Conn) payload(p []byte) error {
	if err := c.recv.Payload(p); err != nil {
		return c.fail(err)
	}
	if c.recv.Left() == 0 {
		c.inData = false
	}
	if c.traceHead {
		c.traceHead = false
		if t := c.o.Trace; t != nil && t.Received != nil {
			t.Received(c, c.head, p)
		}
	}
	return nil
}

// more notes what the application will find when it reads next, before it is
// given a message: with another whole message in the buffer, what it writes may
// wait for the reader to come back.
func (c *Conn) more() {
	c.readCount++
	whole := false
	if c.r < c.w {
		h := &c.ahead
		n, err := h.Parse(c.buf.b[c.r:c.w])
		c.aheadLen = uint8(n)
		whole = err == nil && n > 0 && h.Fin && !h.Opcode.IsControl() && h.Length <= int64(c.w-c.r-n)
	}
	if c.corkable.Load() != whole {
		c.corkable.Store(whole)
	}
	c.corkPong()
}

// corkPong bounds how long a Pong waits while the application is not reading.
func (c *Conn) corkPong() {
	if c.pingSeen {
		c.mu.Lock()
		c.answerPing()
		c.cork()
		c.mu.Unlock()
	}
}

// answerPing makes a Pong due for the newest Ping. It is called when what one
// read brought has been looked at, so that Pings do not cost a write each. By
// the reader, under mu.
func (c *Conn) answerPing() {
	if c.pingSeen {
		c.pingSeen = false
		x := c.needExtra()
		c.aside.ping, x.pong = x.pong[:0], c.aside.ping
		c.pongDue = c.closing == nil
	}
}
