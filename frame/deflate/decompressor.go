package deflate

import "sync"

// MaxWindow is the largest window in bits, and the one that holds where nothing
// else was agreed on: 32 KiB.
const MaxWindow = 15

// Decompressor inflates the messages that come, each given piece by piece with
// Append and ended with End. The zero value is ready for use with the largest
// window and without context takeover.
//
// Between messages it holds nothing, or with Takeover at most the window. While
// a message is under way it has some 10 KiB from a pool for its codes, and a
// buffer for the window that grows with what comes out, up to 64 KiB. It is not
// safe for concurrent use. (RFC 7692, section 7.2.2)
type Decompressor struct {
	// Window is the size of the peer's window in bits, 8 to 15; 0 is 15. A
	// distance beyond it is an error.
	Window int
	// Takeover keeps the window from one message to the next.
	Takeover bool

	z     *inflater // of the message under way
	saved []byte    // the window, between messages
}

// The sizes of an inflater's buffer. The last one holds the largest window
// twice, so that it is moved at most once for as much output.
var bufferSizes = [...]int{4 << 10, 16 << 10, 64 << 10}

var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// Append decodes src, a piece of the message's payload of any length, and
// appends what comes out to dst, at most limit bytes. It returns how much of src
// it has used up: all of it, and everything that came of it is in dst, unless
// limit bytes were appended. Then there may be more: call it again with the rest
// of src, which may be empty.
//
// An error says that the data cannot be decoded; the Decompressor is of no use
// then. dst has what came before.
func (d *Decompressor) Append(dst, src []byte, limit int) (out []byte, n int, err error) {
	z := d.z
	if z == nil {
		z = d.begin()
	}
	z.src, z.pos = src, 0
	starved := false
	for {
		k := min(z.w-z.r, limit)
		dst = append(dst, z.buf[z.r:z.r+k]...)
		z.r += k
		limit -= k
		if limit == 0 || starved || z.err != nil {
			n = z.pos
			if z.r == z.w {
				err = z.err
			}
			z.src, z.pos = nil, 0
			return dst, n, err
		}
		if z.w == len(z.buf) {
			z.makeRoom()
		}
		z.err = z.run()
		starved = z.w < len(z.buf)
	}
}

// End ends the message, of which all has been given to Append and come out. An
// error says that it was cut off, and the Decompressor is of no use then.
//
// The end of a message is an empty stored block of which the sender has left out
// the length, 00 00 FF FF. A message that ends right behind a block is taken as
// well, and so is one of no bytes at all. (RFC 7692, section 7.2.1)
func (d *Decompressor) End() error {
	z := d.z
	if z == nil {
		return nil
	}
	whole := z.n == 0 && (z.state == stateStored || z.state == stateBlock) && z.err == nil
	d.Reset()
	if !whole {
		return errUnfinished
	}
	return nil
}

// Reset forgets the message under way, of which no more will come.
func (d *Decompressor) Reset() {
	z := d.z
	if z == nil {
		return
	}
	if d.Takeover {
		d.saved = append(d.saved[:0], z.buf[max(z.w-z.window, 0):z.w]...)
	}
	d.z = nil
	inflaters.Put(z)
}

// begin lends an inflater for a message.
func (d *Decompressor) begin() *inflater {
	z := inflaters.Get().(*inflater)
	d.z = z
	z.bits, z.n, z.state, z.final, z.length, z.err = 0, 0, stateBlock, false, 0, nil
	z.window = 1 << MaxWindow
	if d.Window != 0 {
		z.window = 1 << d.Window
	}
	for _, size := range bufferSizes {
		if len(z.buf) < size && len(z.buf) < len(d.saved)+bufferSizes[0] {
			z.buf = make([]byte, size)
		}
	}
	z.w = copy(z.buf, d.saved)
	z.r = z.w
	return z
}

// makeRoom makes room behind what was decoded, all of which was given out.
func (z *inflater) makeRoom() {
	for _, size := range bufferSizes {
		if len(z.buf) < size {
			buf := make([]byte, size)
			copy(buf, z.buf)
			z.buf = buf
			return
		}
	}
	z.w = copy(z.buf, z.buf[z.w-z.window:z.w])
	z.r = z.w
}
