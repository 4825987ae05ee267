package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"rfc6455/frame"
	"rfc6455/mask"
)

const (
	corkBytes  = 16 << 10         // waiting output leaves at this size,
	corkTime   = time.Millisecond // or after this time
	batchBytes = 64 << 10         // what one write gathers of what waits
	largeBytes = 16 << 10         // a payload from this size on is not copied behind others
)

// Write sends one message in one frame. It returns when the message was given
// to the transport, or is waiting to leave together with the answers to
// messages that came along with the one that was read last: at the latest when
// the next read has to wait, when 16 KiB wait, or after a millisecond. p is not
// changed, and not used after the return.
//
// ctx counts until the first byte is on the wire: if it ends before, the
// message is not sent and the connection goes on. If it ends after that, the
// connection is failed, since half a message cannot be taken back, and the error
// is net.ErrClosed besides that of ctx; over TLS, and
// over any net.Conn but TCP and unix ones, it is failed whenever ctx ends while
// the transport is taking the message. A text
// message that is not UTF-8 is refused with [frame.ErrText].
// (RFC 6455, section 6.1)
func (c *Conn) Write(ctx context.Context, t MessageType, p []byte) error {
	op, err := t.opcode()
	if err != nil {
		return err
	}
	if err := c.mayBegin(ctx); err != nil {
		return err
	}
	if c.compresses(t, p) {
		return c.writePacked(ctx, t, op, p)
	}
	return c.write(ctx, op, &packed{payload: p})
}

// writePacked is Write for a message that is to be compressed.
func (c *Conn) writePacked(ctx context.Context, t MessageType, op frame.Opcode, p []byte) error {
	m := c.pack(t, p)
	defer m.free()
	return c.write(ctx, op, &m)
}

// write is the rest of Write. From here to the system call the stack is kept
// shallow, as on the way to a read.
func (c *Conn) write(ctx context.Context, op frame.Opcode, m *packed) error {
	c.mu.Lock()
	if err := c.refuseWrite(); err != nil {
		c.mu.Unlock()
		return err
	}
	if c.busy || c.open || c.queue.head != nil || m.late {
		return c.waitAndWrite(ctx, op, m)
	}
	start := len(c.out)
	var err error
	if len(m.payload) < largeBytes && c.o.Trace == nil {
		// encode would do the same.
		c.reserve(frame.MaxHeader + len(m.payload))
		c.out, err = c.sender.Append(c.out, op, true, m.rsv, m.payload)
	} else {
		err = c.encode(op, true, m)
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.stats.messagesWritten++
	if c.tail == nil && len(c.out) < corkBytes && c.corkable.Load() {
		c.cork()
		c.mu.Unlock()
		return nil
	}
	c.busy = true
	c.ownStart = start
	c.writeBegins()
	c.mu.Unlock()
	alive := false
	if c.raw != nil && c.tail == nil && !c.watched(ctx) {
		// transmit would do the same.
		var n int
		if n, err = c.writeRaw(c.out, false); n < len(c.out) && err == nil {
			n, err = c.writeRest(n)
		}
		c.stats.bytesWritten.Add(int64(n))
		if err == nil {
			c.out = c.out[:0]
		}
	} else {
		err, alive = c.transmit(ctx)
	}
	if alive && err != nil {
		c.mu.Lock()
		c.stats.messagesWritten--
		if t := c.traced; t != nil {
			*t = (*t)[:max(len(*t)-1, 0)]
		}
		c.mu.Unlock()
	} else {
		err = c.settle(err)
	}
	c.release()
	return err
}

// waitAndWrite is write when it is not its turn. It is called under mu and
// unlocks it.
func (c *Conn) waitAndWrite(ctx context.Context, op frame.Opcode, m *packed) error {
	e := c.newWaiter(kindFrame, op, true, *m)
	c.queue.push(e)
	return c.await(ctx, e)
}

// mayBegin returns why a call under ctx may not begin: the connection's end before
// that of ctx, which may be its consequence.
func (c *Conn) mayBegin(ctx context.Context) error {
	if c.isOwn(ctx) {
		return nil // refuseWrite has it
	}
	err := ctx.Err()
	if err != nil {
		if sticky := c.sticky(); sticky != nil {
			return sticky
		}
	}
	return err
}

// writeOwned sends one message, of which it makes a copy. If ctx ends while a
// part of it is on the wire, the rest is still sent, and writeOwned returns the
// length of p beside ctx's error; if nothing is, it is not sent. Where that cannot
// be known, it is sent from when its turn has come.
func (c *Conn) writeOwned(ctx context.Context, t MessageType, p []byte) (int, error) {
	op, err := t.opcode()
	if err != nil {
		return 0, err
	}
	if err := c.mayBegin(ctx); err != nil {
		return 0, err
	}
	b := getBuffer(len(p))
	m := c.pack(t, b.b[:copy(b.b, p)])
	if m.buf != nil {
		putBuffer(b)
		b = m.buf
	}
	c.mu.Lock()
	if err := c.refuseWrite(); err != nil {
		c.mu.Unlock()
		putBuffer(b)
		return 0, err
	}
	e := c.newWaiter(kindFrame, op, true, m)
	e.owned = true
	c.queue.push(e)
	if !c.open {
		c.startFlusher()
	}
	c.mu.Unlock()
	for done := ctx.Done(); ; {
		select {
		case v := <-e.ready:
			switch {
			case v.lead:
				go c.flusher() // not here: nothing ends a write in the middle
				continue
			case v.begun:
				return len(p), ctx.Err()
			}
			c.freeWaiter(e)
			putBuffer(b)
			if v.err != nil {
				return 0, v.err
			}
			return len(p), nil
		case <-done:
			done = nil
			c.mu.Lock()
			switch {
			case e.list == &c.queue:
				c.finish(e, ctx.Err())
			case e.list == &c.taken && c.exact:
				// Whoever writes must look how far it got.
				e.cancelled = ctx.Err()
				c.watching().write.interrupt(c)
			case e.list == &c.taken:
				e.ready <- verdict{begun: true}
			}
			c.mu.Unlock()
		}
	}
}

// Writer begins a message that is written in pieces, each sent as a fragment
// when enough has gathered or on Close, which ends the message. Until then no
// other message can be sent: calls of Write wait, and messages of Send stay in
// the queue. Control frames pass. A message of less than 4 KiB is compressed like
// any other, a longer one is not.
//
// ctx governs the whole message. If it ends before Close, the message is given
// up: without a trace if nothing has been sent, otherwise the connection is
// closed with 1011, since half a message cannot be taken back. That is also the
// way to give one up when its source fails: a message that is closed is whole for
// the peer. (RFC 6455, section 5.4)
func (c *Conn) Writer(ctx context.Context, t MessageType) (io.WriteCloser, error) {
	op, err := t.opcode()
	if err != nil {
		return nil, err
	}
	if err := c.mayBegin(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	if err := c.refuseWrite(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	w := &messageWriter{c: c, ctx: ctx, t: t, op: op}
	if c.open || c.queue.head != nil {
		e := c.newWaiter(kindTurn, op, false, packed{})
		c.queue.push(e)
		if err := c.await(ctx, e); err != nil {
			return nil, err
		}
	} else {
		c.open = true
		c.mu.Unlock()
	}
	if c.watched(ctx) {
		w.unwatch = context.AfterFunc(ctx, w.forgotten)
	}
	return w, nil
}

// messageWriter writes one message in fragments.
type messageWriter struct {
	c    *Conn
	ctx  context.Context
	t    MessageType
	op   frame.Opcode // of the next fragment; changed under the connection's mu
	buf  *buffer
	n    int
	done bool
	err  error

	unwatch func() bool // nil: ctx does not end before the connection

	// Under the connection's mu.
	active bool // a fragment is being written
	over   bool // it is not the connection's message any more
}

// Write implements io.Writer.
func (w *messageWriter) Write(p []byte) (int, error) {
	if w.done {
		return 0, errWriterClosed
	}
	if w.err != nil {
		return 0, w.err
	}
	total := len(p)
	for len(p) > 0 {
		if w.n == 0 && len(p) >= largeBytes {
			if err := w.fragment(p, false); err != nil {
				return total - len(p), err
			}
			return total, nil
		}
		if w.buf == nil {
			w.buf = getBuffer(minReadBuffer)
		}
		n := copy(w.buf.b[w.n:], p)
		w.n += n
		p = p[n:]
		if w.n == len(w.buf.b) {
			if err := w.fragment(w.buf.b, false); err != nil {
				return total - len(p), err
			}
			w.n = 0
		}
	}
	return total, nil
}

// Close sends what is left and ends the message.
func (w *messageWriter) Close() error {
	if w.done {
		return w.err
	}
	if w.err == nil {
		var rest []byte
		if w.buf != nil {
			rest = w.buf.b[:w.n]
		}
		w.fragment(rest, true)
	}
	w.done = true
	putBuffer(w.buf)
	w.buf = nil
	return w.err
}

// fragment sends one fragment. An error ends the message: if the peer has not
// seen any of it, the connection goes on.
func (w *messageWriter) fragment(p []byte, fin bool) error {
	c := w.c
	m, err := packed{payload: p}, w.ctx.Err()
	if err == nil && fin && w.op != frame.OpContinuation {
		m = c.pack(w.t, p) // the whole message
	}
	defer m.free()
	c.mu.Lock()
	over := c.refuseWrite()
	switch {
	case over != nil:
		c.mu.Unlock()
		w.err = over
		return over
	case err != nil || w.over:
		err = w.ctx.Err()
		c.mu.Unlock()
	default:
		w.active = true
		e := c.newWaiter(kindFrame, w.op, fin, m)
		c.urgent.push(e)
		err = c.await(w.ctx, e)
		c.mu.Lock()
		w.active = false
		if err == nil {
			w.op = frame.OpContinuation
		}
		c.mu.Unlock()
		if err == nil && !fin {
			err = w.ctx.Err() // forgotten has left this to us
		}
	}
	w.err = err
	switch {
	case err != nil && w.op == frame.OpContinuation:
		c.abandon(err)
	case err != nil || fin:
		w.end()
	}
	return err
}

// forgotten gives the message up when its context has ended, in case nobody
// touches the Writer any more.
func (w *messageWriter) forgotten() {
	c := w.c
	c.mu.Lock()
	sent := w.op == frame.OpContinuation
	if w.over || w.active || c.ended {
		c.mu.Unlock()
		return
	}
	w.over = true
	c.mu.Unlock()
	if sent {
		c.abandon(w.ctx.Err())
		return
	}
	c.endMessage()
}

// abandon closes the connection because a message was begun and cannot be
// finished.
func (c *Conn) abandon(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing != nil || c.ended {
		return
	}
	c.beginClose(fmt.Errorf("websocket: a message was begun and cannot be finished: %w", err), frame.CloseInternalError, "")
	c.startFlusher()
}

// startFlusher has what waits written in a goroutine, unless somebody is busy,
// who takes it along. Under mu.
func (c *Conn) startFlusher() {
	if !c.busy {
		c.busy = true
		c.lastWrite = c.now() // it begins as soon as it may
		go c.needExtra().flusher()
	}
}

// end ends the message, so that others may pass.
func (w *messageWriter) end() {
	c := w.c
	if w.unwatch != nil {
		w.unwatch()
	}
	c.mu.Lock()
	was := w.over
	w.over = true
	c.mu.Unlock()
	if !was {
		c.endMessage()
	}
}

// endMessage lets other messages pass after a Writer's.
func (c *Conn) endMessage() {
	c.mu.Lock()
	c.open = false
	lead := !c.busy && c.pending()
	if lead {
		c.busy = true
	}
	c.mu.Unlock()
	if lead {
		c.release()
	}
}

// refuseWrite returns why no message may be written any more. Under mu.
func (c *Conn) refuseWrite() error {
	switch {
	case c.ended:
		return c.err
	case c.closing != nil:
		return c.closing.err
	}
	return c.writeErr
}

// encode appends a frame to what waits to be written. A large payload is not
// copied: it becomes the tail. Under mu, by whoever is busy or, if m is not late,
// while nobody is.
func (c *Conn) encode(op frame.Opcode, fin bool, m *packed) (err error) {
	p := m.payload
	large := len(p) >= largeBytes
	if m.late {
		// It takes its time, and out is ours while we are busy.
		c.mu.Unlock()
		now := c.compressor.squeeze(p)
		c.mu.Lock()
		defer now.free()
		m, p, large = &now, now.payload, false
	}
	if t := c.o.Trace; large || t != nil && t.Sent != nil {
		return c.encodeHeader(op, fin, m.rsv, p, large)
	}
	c.reserve(frame.MaxHeader + len(p))
	c.out, err = c.sender.Append(c.out, op, fin, m.rsv, p)
	if err != nil {
		c.compressor.forget()
	}
	return err
}

// encodeHeader is encode for what is traced, or is not copied if it is large.
func (c *Conn) encodeHeader(op frame.Opcode, fin bool, rsv uint8, p []byte, large bool) error {
	h, err := c.sender.Next(op, fin, rsv, p)
	if err != nil {
		c.compressor.forget()
		return err
	}
	if large {
		c.reserve(frame.MaxHeader)
		c.out = frame.AppendHeader(c.out, h)
		c.tail, c.tailMasked, c.tailKey = p, h.Masked, h.Key
	} else {
		c.reserve(frame.MaxHeader + len(p))
		c.out = frame.AppendFrame(c.out, h, p)
	}
	if t := c.o.Trace; t != nil && t.Sent != nil {
		*c.traced = append(*c.traced, tracedFrame{head: h, start: append([]byte(nil), p[:min(len(p), TraceBytes)]...)})
	}
	return nil
}

// reserve makes room for n more bytes in out.
func (c *Conn) reserve(n int) {
	if cap(c.out)-len(c.out) >= n {
		return
	}
	size := max(min(4*len(c.out), corkBytes), minWriteBuffer)
	if c.corkable.Load() {
		size = max(size, minReadBuffer) // for what follows
	}
	b := getBuffer(max(len(c.out)+n, size))
	copied := copy(b.b, c.out)
	putBuffer(c.outBuf)
	c.outBuf, c.out = b, b.b[:copied]
}

const minWriteBuffer = 512

// writeBegins notes that a write begins. Under mu.
func (c *Conn) writeBegins() {
	c.corked = false
	c.lastWrite = 0
	if c.raw == nil || c.tail != nil {
		c.writeBlocks()
	} // else it is tried without blocking first
}

// writeBlocks notes the time, for the write timeout, unless the same write did so
// before and was interrupted. Under mu.
func (c *Conn) writeBlocks() {
	if c.lastWrite == 0 {
		c.lastWrite = c.now()
	}
	if c.o.WriteTimeout > 0 && c.writeStart == 0 {
		c.writeStart = c.lastWrite
		c.arm(c.writeStart + c.o.WriteTimeout)
	}
}

// transmit writes out and tail, when nobody else's entry was taken. It is called
// by whoever is busy. ctx, if it is not nil, is that of the frame that begins at
// ownStart, the last one. alive
// is false if the connection cannot go on; if it is true in spite of an error,
// ctx ended before the first byte of that frame was on the wire: the frame is
// not in out any more, what stood before it and was not written still is.
func (c *Conn) transmit(ctx context.Context) (err error, alive bool) {
	watched := ctx != nil && c.watched(ctx)
	if watched {
		if err := c.watching().write.begin(c, ctx); err != nil {
			c.out, c.tail = c.out[:c.ownStart], nil
			c.compressor.forget()
			return err, true
		}
	}
	n, err := c.writeOut()
	if watched {
		c.watching().write.end(c)
	}
	c.stats.bytesWritten.Add(int64(n))
	if err == nil {
		c.out, c.tail = c.out[:0], nil
		return nil, true
	}
	if watched && errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		if n <= c.ownStart && c.exact {
			rest := copy(c.out, c.out[n:c.ownStart])
			c.out, c.tail = c.out[:rest], nil
			c.compressor.forget()
			return ctx.Err(), true
		}
		return ctx.Err(), false
	}
	return err, false
}

// writeOut writes out and tail and returns how many bytes of them were taken.
func (c *Conn) writeOut() (int, error) {
	switch {
	case c.tail != nil:
		return c.writeTail()
	case c.raw == nil:
		return c.nc.Write(c.out)
	}
	n, err := c.writeRaw(c.out, false)
	if n < len(c.out) && err == nil {
		return c.writeRest(n)
	}
	return n, err
}

// writeRest writes on on a raw transport that has taken n bytes of out and none
// more at once, and returns how many bytes of out were taken.
func (c *Conn) writeRest(n int) (int, error) {
	c.mu.Lock()
	c.writeBlocks()
	c.mu.Unlock()
	more, err := c.writeRaw(c.out[n:], true)
	return n + more, err
}

// vector is what one system call writes.
type vector struct {
	array [2][]byte
	rest  net.Buffers
}

var vectors = sync.Pool{New: func() any { return new(vector) }}

// writeTail is writeOut with a tail.
func (c *Conn) writeTail() (int, error) {
	if c.vectored && !c.tailMasked {
		v := vectors.Get().(*vector)
		v.array = [...][]byte{c.out, c.tail}
		v.rest = v.array[:]
		n, err := v.rest.WriteTo(c.nc)
		*v = vector{}
		vectors.Put(v)
		return int(n), err
	}
	// The payload is copied into out piece by piece, and masked there.
	b := getBuffer(batchBytes)
	defer putBuffer(b)
	chunk := b.b[:copy(b.b, c.out)]
	tail, pos, total := c.tail, 0, 0
	for {
		begin := len(chunk)
		n := copy(chunk[begin:cap(chunk)], tail)
		chunk = chunk[:begin+n]
		tail = tail[n:]
		if c.tailMasked {
			pos = mask.XOR(chunk[begin:], c.tailKey, pos)
		}
		n, err := c.nc.Write(chunk)
		total += n
		if err != nil || len(tail) == 0 {
			return total, err
		}
		chunk = b.b[:0]
	}
}

// flushWaiting sees to what waits to be written, if nobody does: corked output,
// a Pong, messages of Send. The reader calls it before it waits. It never blocks,
// or a peer that does not read could keep this endpoint from reading, too: what
// the transport does not take at once is left to a goroutine.
func (c *Conn) flushWaiting() {
	c.mu.Lock()
	c.answerPing()
	if c.busy || c.ended || !c.pending() {
		c.mu.Unlock()
		return
	}
	c.busy = true
	if c.raw == nil {
		go c.needExtra().flusher()
		c.mu.Unlock()
		return
	}
	c.gather()
	c.writeBegins()
	whole := c.tail == nil
	c.mu.Unlock()
	n, err := c.writeRaw(c.out, false)
	c.stats.bytesWritten.Add(int64(n))
	if err == nil && n == len(c.out) && whole {
		c.out = c.out[:0]
		c.settle(nil)
		c.release()
		return
	}
	// Also an error: who writes on will meet it again.
	c.mu.Lock()
	c.cut(n, true)
	go c.needExtra().flusher()
	c.mu.Unlock()
}

// flushQueued writes until nothing waits. It runs in a goroutine of its own,
// which lives as long as there is something to write, and is busy from the
// start.
func (c *Conn) flushQueued() { c.lead(nil, nil) }

// pending reports whether something could be written now. Under mu.
func (c *Conn) pending() bool {
	if c.writeErr != nil {
		return false
	}
	return len(c.out) > 0 || c.taken.head != nil || c.pongDue || c.pingDue || c.urgent.head != nil || c.closeDue ||
		!c.open && c.queue.head != nil
}

// lead writes what waits, a batch at a time, until own is done or nothing that
// can be written waits. ctx is own's. The caller is busy, and is not any more
// when lead returns.
func (c *Conn) lead(ctx context.Context, own *entry) {
	for {
		c.mu.Lock()
		if c.ended {
			c.mu.Unlock()
			break
		}
		c.gather()
		if len(c.out) == 0 && c.tail == nil && c.taken.head == nil {
			c.mu.Unlock()
			break
		}
		c.writeBegins()
		alone := own == nil && c.taken.head == nil
		c.mu.Unlock()
		var err error
		if alone {
			err, _ = c.transmit(nil) // nobody can want to interrupt it
		} else {
			err = c.transmitBatch(ctx, own)
		}
		if err != errHandOver {
			err = c.settle(err)
		}
		if err != nil || own != nil && len(own.ready) > 0 {
			break
		}
	}
	c.release()
}

// transmitBatch writes out and tail, for all whose entries were taken. When the
// context of one of them ends, or ctx, own's, the write is interrupted: a frame
// of which nothing is on the wire is cut out of the batch, and the write goes
// on; with errHandOver, somebody else must go on, since own is over. It fails if
// a frame was cut off in the middle, or might have been.
func (c *Conn) transmitBatch(ctx context.Context, own *entry) error {
	for len(c.out) > 0 || c.tail != nil {
		n, err := c.watching().write.write(c, ctx)
		c.stats.bytesWritten.Add(int64(n))
		if err == nil {
			c.out, c.tail = c.out[:0], nil
			return nil
		}
		if err != errInterrupted && err != errNotBegun {
			return err
		}
		safe := c.exact || err == errNotBegun
		c.mu.Lock()
		if own != nil && own.list != nil && own.cancelled == nil {
			own.cancelled = ctx.Err()
		}
		if own != nil && own.cancelled != nil && (own.list == &c.urgent || own.list == &c.queue) {
			c.finish(own, own.cancelled)
		}
		err = c.cut(n, safe)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		if own != nil && len(own.ready) > 0 {
			return errHandOver
		}
	}
	return nil
}

// cut takes the first n bytes off the batch, which are on the wire, and cancelled
// frames out of it that are not, if that is safe to know. It returns the error
// of a frame that can be neither. Under mu, by whoever is busy.
func (c *Conn) cut(n int, safe bool) error {
	removed := 0
	var next *entry
	for e := c.taken.head; e != nil; e = next {
		next = e.next
		e.begin -= removed
		e.end -= removed
		begun := e.begin < n || !safe
		referred := next != nil && c.compressor.takeover() // perhaps, by what stands behind it
		switch {
		case e.end <= n:
			c.finish(e, nil)
			continue
		case e.cancelled == nil:
			continue
		case e.owned && (begun || referred):
			// It is left to whoever writes, with its memory.
			e.cancelled = nil
			e.ready <- verdict{begun: true}
			continue
		case begun:
			return e.cancelled
		case referred:
			// It is sent, but nobody waits.
			c.finish(e, e.cancelled)
			continue
		}
		if e.end > len(c.out) {
			c.out, c.tail = c.out[:e.begin], nil
		} else {
			c.out = append(c.out[:e.begin], c.out[e.end:]...)
		}
		removed += e.end - e.begin
		c.takeBack(e)
		c.finish(e, e.cancelled)
	}
	for e := c.taken.head; e != nil; e = e.next {
		e.begin -= n
		e.end -= n
	}
	if n < len(c.out) {
		c.out = c.out[:copy(c.out, c.out[n:])]
		return nil
	}
	if c.tail != nil {
		n -= len(c.out)
		c.tail = c.tail[n:]
		key := c.tailKey
		for i := range key {
			c.tailKey[i] = key[(i+n)%len(key)]
		}
	}
	c.out = c.out[:0]
	return nil
}

// gather encodes what waits into out, in order: the newest Pong, control frames
// and fragments, messages, at last the Close frame. It stops behind a batch and
// behind a large payload. Under mu, by whoever is busy.
func (c *Conn) gather() {
	if c.taken.head != nil || c.tail != nil {
		return // what was taken before is not written yet
	}
	if c.pongDue {
		c.pongDue = false
		c.encode(frame.OpPong, true, &packed{payload: c.pong})
	}
	if c.pingDue {
		c.pingDue = false
		c.encode(frame.OpPing, true, &packed{payload: c.nextPing()})
	}
	for e := c.urgent.head; e != nil && c.tail == nil; e = c.urgent.head {
		c.urgent.remove(e)
		c.take(e)
	}
	for e := c.queue.head; e != nil && !c.open && c.tail == nil && len(c.out) < batchBytes; e = c.queue.head {
		c.queue.remove(e)
		if c.room != nil {
			close(c.room)
			c.room = nil
		}
		c.take(e)
	}
	if c.closeDue && c.tail == nil && (c.open || c.queue.head == nil) {
		// An open message cannot be finished any more; what waits behind it is
		// lost with it.
		c.encode(frame.OpClose, true, &packed{payload: c.closing.payload})
		c.closeDue = false
		c.failQueued(c.closing.err)
	}
}

// take encodes one entry. Under mu, by whoever is busy.
func (c *Conn) take(e *entry) {
	if maxAge := c.o.QueueMaxAge; maxAge > 0 && e.kind == kindQueued && c.now()-e.at > maxAge {
		c.stats.dropped++
		c.freeQueued(e)
		return
	}
	e.begin, e.before = len(c.out), c.sender
	if c.traced != nil {
		e.traced = len(*c.traced)
	}
	if e.late {
		c.taken.push(e) // its context may end meanwhile
		if err := c.encode(e.op, e.fin, &packed{payload: e.payload, late: true}); err != nil {
			c.finish(e, err)
			return
		}
		c.stats.messagesWritten++
		e.end = len(c.out)
		return
	}
	switch e.kind {
	case kindTurn:
		c.open = true
		e.ready <- verdict{}
		return
	case kindQueued:
		if t := c.o.Trace; t != nil && t.Sent != nil {
			h, n, _ := frame.ParseHeader(e.payload)
			start := append([]byte(nil), e.payload[n:min(len(e.payload), n+TraceBytes)]...)
			mask.XOR(start, h.Key, 0)
			*c.traced = append(*c.traced, tracedFrame{head: h, start: start})
		}
		if len(e.payload) >= largeBytes {
			c.reserve(1)
			c.tail, c.tailMasked = e.payload, false
		} else {
			c.reserve(len(e.payload))
			c.out = append(c.out, e.payload...)
		}
		c.stats.messagesWritten++
	case kindFrame:
		if err := c.encode(e.op, e.fin, &packed{payload: e.payload, rsv: e.rsv}); err != nil {
			e.ready <- verdict{err: err}
			return
		}
		if e.fin && !e.op.IsControl() {
			c.stats.messagesWritten++
		}
	}
	e.end = len(c.out) + len(c.tail)
	c.taken.push(e)
}

// takeBack forgets a frame that was taken and cut out again. Under mu, by
// whoever is busy.
func (c *Conn) takeBack(e *entry) {
	if e.op.IsControl() {
		return
	}
	c.compressor.forget()
	if e.fin {
		c.stats.messagesWritten--
	}
	if !c.sender.Closed() {
		// No other message was begun behind it: its Writer has the turn, or it is
		// a message in one frame.
		c.sender = e.before
	}
	if c.traced != nil && e.traced < len(*c.traced) {
		(*c.traced)[e.traced].cut = true
	}
}

// settle tells the entries of a batch how it went, and returns the error with
// its reason.
func (c *Conn) settle(err error) error {
	c.mu.Lock()
	c.writeStart = 0
	if c.queue.head != nil {
		c.lastWrite = c.now() // for whoever finds the queue full before the next write
	}
	if err != nil {
		err = c.writeFailed(err)
	} else if c.sender.Closed() {
		c.closeWritten()
	}
	var traced []tracedFrame
	if c.traced != nil {
		traced, *c.traced = *c.traced, nil
	}
	for c.taken.head != nil {
		c.finish(c.taken.head, err)
	}
	c.mu.Unlock()
	if err == nil {
		for _, f := range traced {
			if !f.cut {
				c.o.Trace.Sent(c, f.head, f.start)
			}
		}
	}
	return err
}

// finish ends an entry that is in a list: its writer is told. Under mu.
func (c *Conn) finish(e *entry, err error) {
	e.list.remove(e)
	if e.kind == kindQueued {
		c.freeQueued(e)
	} else {
		e.ready <- verdict{err: err}
	}
}

// writeFailed notes that nothing more can be written and returns the error for
// those who wait. The reader may still find messages, and the Close frame that
// says why; the connection ends with what it finds, or a little later. Under
// mu.
func (c *Conn) writeFailed(err error) error {
	if c.ended {
		return c.err
	}
	if c.writeErr == nil {
		c.writeErr = lost(err)
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			c.writeErr = &cutOffError{err}
		}
	}
	c.closeDue = false
	c.closeWritten()
	if c.closeAt == 0 {
		c.closeAt = c.now() + max(c.o.CloseTimeout, time.Millisecond)
		c.arm(c.closeAt)
	}
	c.failQueued(c.writeErr)
	return c.writeErr
}

// failQueued tells everyone who waits to write that it is over. Under mu.
func (c *Conn) failQueued(err error) {
	for _, l := range []*list{&c.urgent, &c.queue} {
		for l.head != nil {
			c.finish(l.head, err)
		}
	}
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

// release ends being busy: whoever waits first goes on, or a goroutine does if
// nobody waits for what is left.
func (c *Conn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) == 0 && c.tail == nil {
		c.writeStart = 0 // otherwise the rest has been under way since
	}
	if c.ended {
		c.busy = false
		c.dropOutput()
		for c.taken.head != nil {
			c.finish(c.taken.head, c.err)
		}
		return
	}
	if c.writeErr != nil {
		c.out = c.out[:0]
	}
	if len(c.out) == 0 {
		putBuffer(c.outBuf)
		c.outBuf, c.out = nil, nil
	}
	if !c.pending() {
		c.busy = false
		return
	}
	if e := c.urgent.waiter(); e != nil {
		e.ready <- verdict{lead: true}
		return
	}
	if e := c.queue.waiter(); e != nil && !c.open {
		e.ready <- verdict{lead: true}
		return
	}
	go c.needExtra().flusher()
}

// await waits until e, which is in a list, is done. It is called under mu and
// unlocks it.
func (c *Conn) await(ctx context.Context, e *entry) error {
	lead := !c.busy && (e.list == &c.urgent || !c.open)
	if lead {
		c.busy = true
	}
	c.mu.Unlock()
	for {
		if lead {
			c.lead(ctx, e)
		}
		var v verdict
		select {
		case v = <-e.ready:
		case <-ctx.Done():
			c.mu.Lock()
			if e.list == &c.urgent || e.list == &c.queue {
				e.list.remove(e)
				select {
				case v = <-e.ready:
				default:
				}
				c.mu.Unlock()
				if v.lead {
					c.release() // somebody else must go on
				}
				c.freeWaiter(e)
				return ctx.Err()
			}
			if e.list == &c.taken {
				// It is being written: whoever does that must look at it.
				e.cancelled = ctx.Err()
				c.watching().write.interrupt(c)
			}
			c.mu.Unlock()
			if c.deadlines() == nil {
				c.end(ctx.Err(), ctx.Err(), false)
			}
			v = <-e.ready
		}
		if lead = v.lead; !lead {
			c.freeWaiter(e)
			return v.err
		}
	}
}

// newWaiter returns an entry whose writer waits. Under mu.
func (c *Conn) newWaiter(kind entryKind, op frame.Opcode, fin bool, m packed) *entry {
	x := c.needExtra()
	e := x.freeWaiters
	if e == nil {
		e = &entry{ready: make(chan verdict, 2)}
	} else {
		x.freeWaiters = e.next
		e.next = nil
	}
	e.kind, e.op, e.fin, e.cancelled, e.owned = kind, op, fin, nil, false
	e.payload, e.rsv, e.late = m.payload, m.rsv, m.late
	return e
}

// freeWaiter takes back an entry that is in no list and whose channel is empty.
// They stay with the connection: a channel made in a testing/synctest bubble
// must not leave it.
func (c *Conn) freeWaiter(e *entry) {
	e.payload = nil
	c.mu.Lock()
	if !c.ended {
		e.next = c.freeWaiters
		c.freeWaiters = e
	}
	c.mu.Unlock()
}
