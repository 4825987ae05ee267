package frame

import (
	"encoding/binary"

	"rfc6455/mask"
)

// The wire format of a header (RFC 6455, section 5.2):
//
//	byte 0     FIN, RSV1, RSV2, RSV3 (a bit each), opcode (4 bits)
//	byte 1     MASK (a bit), length (7 bits): 0 to 125, or
//	           126: the length is in the next 2 bytes, or
//	           127: the length is in the next 8 bytes, top bit clear
//	then       masking key, 4 bytes, if MASK is set
//
// Lengths are big-endian and must be encoded in the shortest form.
const (
	finBit   = 0x80
	maskBit  = 0x80
	length16 = 126
	length64 = 127

	// MaxHeader is the size in bytes of the longest header: 64-bit length and
	// masking key.
	MaxHeader = 2 + 8 + 4

	// MaxControl is the longest payload of a control frame in bytes.
	// (RFC 6455, section 5.5)
	MaxControl = 125
)

// RSV1, RSV2 and RSV3 are the reserved bits as they stand in [Header.RSV].
// permessage-deflate uses RSV1. (RFC 6455, section 5.2; RFC 7692, section 6)
const (
	RSV1 uint8 = 4
	RSV2 uint8 = 2
	RSV3 uint8 = 1
)

// Header is the header of a frame. (RFC 6455, section 5.2)
type Header struct {
	Fin    bool     // last fragment of its message
	RSV    uint8    // reserved bits, RSV1 | RSV2 | RSV3
	Opcode Opcode   // four bits
	Masked bool     // the payload is masked with Key
	Key    mask.Key // zero unless Masked
	Length int64    // length of the payload in bytes, 0 or more
}

// ParseHeader reads a header from the start of b and returns it with its size
// in bytes, 2 to [MaxHeader]. n is 0, with a nil error, while b holds too few
// bytes. It refuses only what no header may be: a length that is not minimally
// encoded ([ErrLengthNotMinimal]) and a 64-bit length with its top bit set
// ([ErrLengthTopBit]); whether the peer may send such a frame now is for
// [Receiver.Next] to say. (RFC 6455, section 5.2)
func ParseHeader(b []byte) (h Header, n int, err error) {
	n, err = h.Parse(b)
	if n == 0 {
		h = Header{}
	}
	return h, n, err
}

// Parse is [ParseHeader] into h, for who parses many: it leaves out the copy of a
// Header. If n is 0, h has no meaning.
func (h *Header) Parse(b []byte) (n int, err error) {
	if len(b) < 2 {
		return 0, nil
	}
	h.Fin = b[0]&finBit != 0
	h.RSV = b[0] >> 4 & 7
	h.Opcode = Opcode(b[0] & 0xF)
	h.Masked = b[1]&maskBit != 0
	length := uint64(b[1] &^ maskBit)
	n = 2
	switch length {
	case length16:
		n = 4
		if len(b) < n {
			return 0, nil
		}
		length = uint64(binary.BigEndian.Uint16(b[2:]))
		// The shortest form MUST be used. (RFC 6455, section 5.2)
		if length < length16 {
			return 0, ErrLengthNotMinimal
		}
	case length64:
		n = 10
		if len(b) < n {
			return 0, nil
		}
		length = binary.BigEndian.Uint64(b[2:])
		// The most significant bit MUST be 0. (RFC 6455, section 5.2)
		if length>>63 != 0 {
			return 0, ErrLengthTopBit
		}
		if length>>16 == 0 {
			return 0, ErrLengthNotMinimal
		}
	}
	h.Length = int64(length)
	h.Key = mask.Key{}
	if h.Masked {
		if len(b) < n+4 {
			return 0, nil
		}
		h.Key = mask.Key(b[n : n+4])
		n += 4
	}
	return n, nil
}

// AppendHeader appends the bytes of h to dst and returns the extended slice.
// Of RSV three bits are used and of Opcode four. A negative Length has no
// encoding and is written as 0. (RFC 6455, section 5.2)
func AppendHeader(dst []byte, h Header) []byte {
	b0 := h.RSV&7<<4 | byte(h.Opcode&0xF)
	if h.Fin {
		b0 |= finBit
	}
	var b1 byte
	if h.Masked {
		b1 = maskBit
	}
	dst = appendLength(dst, b0, b1, h.Length)
	if h.Masked {
		dst = append(dst, h.Key[:]...)
	}
	return dst
}

// appendLength appends the first two bytes of a header, of which b1 has the mask
// bit, and the length.
func appendLength(dst []byte, b0, b1 byte, length int64) []byte {
	switch {
	case length < 0:
		return append(dst, b0, b1)
	case length < length16:
		return append(dst, b0, b1|byte(length))
	case length>>16 == 0:
		return append(dst, b0, b1|length16, byte(length>>8), byte(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, b0, b1|length64), uint64(length))
}
