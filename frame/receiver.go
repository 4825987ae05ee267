package frame

import "rfc6455/mask"

// Receiver holds all that decides which frame a peer may send next. It is the
// one place for the rules about received frames, for both roles. The exported
// fields are set before the first call and stay.
type Receiver struct {
	// Role is the role of this endpoint, not of the peer: a server's Receiver
	// wants masked frames.
	Role Role
	// RSV are the reserved bits that the agreed extensions allow in the first
	// frame of a data message, RSV1 for permessage-deflate. Text with RSV1 is
	// not checked for UTF-8 here, since it is compressed.
	RSV uint8
	// FrameLimit is the longest payload of one data frame in bytes. Like the
	// limits below, 0 or a negative number is no limit.
	FrameLimit int64
	// MessageLimit is the longest message in bytes as they stand on the wire,
	// all fragments together. A compressed one may be an eighth longer: what does
	// not compress may grow. Its length after inflating is for those who inflate
	// it.
	MessageLimit int64
	// FragmentLimit is the largest number of frames in one message, empty ones
	// included. Without one, a peer could keep an endpoint busy with a message
	// that never ends and has no bytes.
	FragmentLimit int

	// The message under way.
	// 0 <= size <= MessageLimit, if there is one
	open       bool   // a first frame came, its last one has not
	message    Opcode // OpText or OpBinary
	compressed bool   // the first frame had RSV1
	size       int64  // bytes announced so far
	fragments  int    // frames so far
	text       UTF8

	// The frame under way.
	// 0 <= left <= the frame's length
	control bool
	fin     bool
	left    int64 // bytes of payload that have not come
	masked  bool
	key     mask.Key
	pos     int // position in the key

	closed bool // a Close frame came
}

// Next takes the header of the peer's next frame, and refuses it if the peer
// may not send such a frame now. All payload of the frame before must have been
// given to Payload. On an error the Receiver is as it was.
//
// The errors are, in the order of their checks: [ErrClosed], [ErrLengthTopBit]
// for a negative length, which no header has on the wire, [ErrReservedOpcode],
// [ErrReservedBits], [ErrUnmasked] or [ErrMasked], [ErrControlFragmented],
// [ErrControlTooLong], [ErrContinuation], [ErrInterleaved],
// [ErrTooManyFragments], [ErrMessageTooBig]. (RFC 6455, sections 5.1, 5.2, 5.4
// and 5.5)
func (r *Receiver) Next(h Header) error {
	if r.closed {
		return ErrClosed
	}
	if h.Length < 0 {
		return ErrLengthTopBit
	}
	if h.Opcode.IsReserved() {
		return ErrReservedOpcode.because("opcode 0x%x is reserved", uint8(h.Opcode))
	}
	allowed := r.RSV
	if h.Opcode.IsControl() || h.Opcode == OpContinuation {
		// An extension's bit is only for the start of a message.
		// (RFC 7692, section 6.1)
		allowed = 0
	}
	if h.RSV&^allowed != 0 {
		return ErrReservedBits.because("reserved bits %03b are set in a %s frame, no extension was agreed that allows it", h.RSV, h.Opcode)
	}
	// A server MUST fail the connection on an unmasked frame, a client on a
	// masked one. (RFC 6455, section 5.1)
	if r.Role == Server && !h.Masked {
		return ErrUnmasked
	}
	if r.Role != Server && h.Masked {
		return ErrMasked
	}

	if h.Opcode.IsControl() {
		// Control frames MUST NOT be fragmented and have at most 125 bytes.
		// (RFC 6455, section 5.5)
		if !h.Fin {
			return ErrControlFragmented
		}
		if h.Length > MaxControl {
			return ErrControlTooLong.because("control frame is %d bytes long, at most 125 are allowed", h.Length)
		}
		r.closed = h.Opcode == OpClose
		r.begin(h)
		return nil
	}

	if h.Opcode == OpContinuation && !r.open {
		return ErrContinuation
	}
	if h.Opcode != OpContinuation && r.open {
		return ErrInterleaved
	}
	fragments, size := 1, int64(0)
	if r.open {
		fragments, size = r.fragments+1, r.size
	}
	if r.FragmentLimit > 0 && fragments > r.FragmentLimit {
		return ErrTooManyFragments.because("message has more than %d fragments", r.FragmentLimit)
	}
	if r.FrameLimit > 0 && h.Length > r.FrameLimit {
		return ErrMessageTooBig.because("frame of %d bytes is over the limit of %d", h.Length, r.FrameLimit)
	}
	// size <= MessageLimit, so the difference cannot overflow; without a limit
	// the sum is kept from it.
	limit := r.MessageLimit
	if limit <= 0 {
		limit = 1<<63 - 1
	} else if h.RSV&RSV1 != 0 || r.open && r.compressed {
		limit += min(limit/8+64, 1<<63-1-limit)
	}
	if h.Length > limit-size {
		return ErrMessageTooBig.because("message of at least %d bytes is over the limit of %d", uint64(size)+uint64(h.Length), limit)
	}

	if !r.open {
		r.message = h.Opcode
		r.compressed = h.RSV&RSV1 != 0
		r.text.Reset()
	}
	r.open = !h.Fin
	r.fragments = fragments
	r.size = size + h.Length
	r.begin(h)
	return nil
}

func (r *Receiver) begin(h Header) {
	r.control = h.Opcode.IsControl()
	r.fin = h.Fin
	r.left = h.Length
	r.masked = h.Masked
	r.key = h.Key
	r.pos = 0
}

// Payload takes the next bytes of the current frame's payload, at most Left of
// them, and unmasks them in place. In a text message that is not compressed it
// fails with [ErrText] at the first byte that cannot be UTF-8, and at the end
// of the message if that is inside a character; also then p is unmasked. An
// empty p is allowed, and needed once for a message that ends with an empty
// frame. (RFC 6455, sections 5.3, 5.6 and 8.1)
func (r *Receiver) Payload(p []byte) error {
	pos := r.pos
	if r.masked {
		pos = mask.XOR(p, r.key, r.pos)
	}
	left := max(r.left-int64(len(p)), 0)
	text := r.text
	if !r.control && r.message == OpText && !r.compressed {
		if !text.Valid(p) {
			return ErrText
		}
		if left == 0 && r.fin && !text.Complete() {
			return ErrText.because("text message ends inside a UTF-8 sequence")
		}
	}
	r.pos, r.left, r.text = pos, left, text
	return nil
}

// Left returns how many bytes of the current frame's payload have not come.
func (r *Receiver) Left() int64 { return r.left }

// Open reports whether a data message has begun whose last frame's header has
// not come.
func (r *Receiver) Open() bool { return r.open }

// Message returns the opcode of the data message that began last, and whether
// it is compressed.
func (r *Receiver) Message() (op Opcode, compressed bool) { return r.message, r.compressed }
