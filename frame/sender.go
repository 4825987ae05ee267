package frame

import "rfc6455/mask"

// Sender holds all that decides which frame this endpoint may send next, and
// encodes it. It is the mirror of [Receiver]: what a Sender appends, the peer's
// Receiver takes. The exported fields are set before the first call and stay.
type Sender struct {
	// Role is the role of this endpoint. A client's frames are masked, each
	// with a new key.
	Role Role
	// RSV are the reserved bits that the agreed extensions allow in the first
	// frame of a data message.
	RSV uint8

	open   bool // a message was begun with FIN clear
	text   bool // it is text and not compressed
	utf8   UTF8
	closed bool // a Close frame was sent
}

// Next checks that a frame with these fields and this payload may be sent now
// and returns its header, with a new masking key if this endpoint is a client.
// The payload is only looked at. Use it to write header and payload apart; the
// payload must then be masked with the header's key if Masked is set.
//
// The errors are those of [Receiver.Next] for such a frame, and [ErrText],
// [ErrCloseLength], [ErrCloseCode] and [ErrCloseReason] for a payload that the
// peer would refuse. On an error nothing may be sent and the Sender is as it
// was. (RFC 6455, sections 5 and 8.1)
func (s *Sender) Next(op Opcode, fin bool, rsv uint8, payload []byte) (Header, error) {
	if err := s.check(op, fin, rsv, payload); err != nil {
		return Header{}, err
	}
	h := Header{Fin: fin, RSV: rsv, Opcode: op, Length: int64(len(payload))}
	if s.Role != Server {
		// A client MUST mask every frame, with a key that cannot be predicted.
		// (RFC 6455, section 5.3)
		h.Masked = true
		h.Key = mask.NewKey()
	}
	return h, nil
}

// Append appends a whole frame to dst: header and payload, masked if this
// endpoint is a client. The payload itself is not changed; it must not overlap
// the memory behind dst. It fails as Next does, and then returns dst as it was.
func (s *Sender) Append(dst []byte, op Opcode, fin bool, rsv uint8, payload []byte) ([]byte, error) {
	if err := s.check(op, fin, rsv, payload); err != nil {
		return dst, err
	}
	// Not by way of a Header, which would be copied.
	b0, b1 := rsv<<4|byte(op), byte(0)
	if fin {
		b0 |= finBit
	}
	if s.Role == Server {
		return append(appendLength(dst, b0, b1, int64(len(payload))), payload...), nil
	}
	return appendMasked(appendLength(dst, b0, maskBit, int64(len(payload))), payload), nil
}

// appendMasked appends a new key and the payload masked with it, as in Next.
func appendMasked(dst, payload []byte) []byte {
	key := mask.NewKey()
	dst = append(dst, key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	mask.XOR(dst[start:], key, 0)
	return dst
}

// AppendFrame appends a header and its payload to dst without any check. The
// payload is masked with h.Key if h.Masked is set; h.Length is taken from
// payload. The payload itself is not changed; it must not overlap the memory
// behind dst.
func AppendFrame(dst []byte, h Header, payload []byte) []byte {
	h.Length = int64(len(payload))
	dst = AppendHeader(dst, h)
	if !h.Masked {
		return append(dst, payload...)
	}
	start := len(dst)
	dst = append(dst, payload...)
	mask.XOR(dst[start:], h.Key, 0)
	return dst
}

// Open reports whether a message was begun whose last frame was not sent: the
// next data frame must be a continuation.
func (s *Sender) Open() bool { return s.open }

// Closed reports whether a Close frame was sent: nothing may follow it.
func (s *Sender) Closed() bool { return s.closed }

func (s *Sender) check(op Opcode, fin bool, rsv uint8, payload []byte) error {
	// After a Close frame an endpoint MUST NOT send any more data.
	// (RFC 6455, section 5.5.1)
	if s.closed {
		return ErrClosed
	}
	if op.IsReserved() {
		return ErrReservedOpcode.because("opcode 0x%x is reserved", uint8(op))
	}
	allowed := s.RSV
	if op.IsControl() || op == OpContinuation {
		allowed = 0
	}
	if rsv&^allowed != 0 {
		return ErrReservedBits.because("reserved bits %03b are set in a %s frame, no extension was agreed that allows it", rsv, op)
	}
	if op.IsControl() {
		if !fin {
			return ErrControlFragmented
		}
		if len(payload) > MaxControl {
			return ErrControlTooLong.because("control frame is %d bytes long, at most 125 are allowed", len(payload))
		}
		if op == OpClose {
			if _, _, err := ParseClose(payload); err != nil {
				return err
			}
			s.closed = true
		}
		return nil
	}
	if op == OpContinuation && !s.open {
		return ErrContinuation
	}
	if op != OpContinuation && s.open {
		return ErrInterleaved
	}
	text, state := s.text, s.utf8
	if op != OpContinuation {
		text, state = op == OpText && rsv&RSV1 == 0, UTF8{}
	}
	if text && !state.Valid(payload) || text && fin && !state.Complete() {
		return ErrText.because("text message is not UTF-8: it must be sent as binary")
	}
	s.open, s.text, s.utf8 = !fin, text, state
	return nil
}
