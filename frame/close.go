package frame

import (
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

// CloseCode says why a connection was closed. (RFC 6455, section 7.4)
type CloseCode uint16

// The close codes of IANA's WebSocket Close Code Number Registry
// (https://www.iana.org/assignments/websocket, as of 2026). The RFC defines
// 1000 to 1011 and 1015 in section 7.4.1; 1012 to 1014 were registered later.
const (
	CloseNormal             CloseCode = 1000 // the purpose is fulfilled
	CloseGoingAway          CloseCode = 1001 // a server shuts down, a page is left
	CloseProtocolError      CloseCode = 1002 // the peer broke the protocol
	CloseUnsupportedData    CloseCode = 1003 // a type of data that cannot be accepted
	CloseNoStatus           CloseCode = 1005 // the Close frame had no code; never sent
	CloseAbnormal           CloseCode = 1006 // there was no Close frame; never sent
	CloseInvalidPayload     CloseCode = 1007 // text that is not UTF-8, data that does not decode
	ClosePolicyViolation    CloseCode = 1008 // anything that no other code fits
	CloseMessageTooBig      CloseCode = 1009 // a message over the limit
	CloseMandatoryExtension CloseCode = 1010 // the server did not agree on an extension
	CloseInternalError      CloseCode = 1011 // the server failed
	CloseServiceRestart     CloseCode = 1012 // the server restarts; come back
	CloseTryAgainLater      CloseCode = 1013 // overload; come back later
	CloseBadGateway         CloseCode = 1014 // a gateway got an invalid answer
	CloseTLSHandshake       CloseCode = 1015 // the TLS handshake failed; never sent
)

// closeNames has the names that IANA's registry gives to single codes.
var closeNames = map[CloseCode]string{
	CloseNormal:             "normal closure",
	CloseGoingAway:          "going away",
	CloseProtocolError:      "protocol error",
	CloseUnsupportedData:    "unsupported data",
	1004:                    "reserved",
	CloseNoStatus:           "no close code received",
	CloseAbnormal:           "abnormal closure",
	CloseInvalidPayload:     "invalid payload data",
	ClosePolicyViolation:    "policy violation",
	CloseMessageTooBig:      "message too big",
	CloseMandatoryExtension: "mandatory extension",
	CloseInternalError:      "internal error",
	CloseServiceRestart:     "service restart",
	CloseTryAgainLater:      "try again later",
	CloseBadGateway:         "bad gateway",
	CloseTLSHandshake:       "TLS handshake failed",
	3000:                    "unauthorized",
	3003:                    "forbidden",
	3008:                    "timeout",
}

// Sendable reports whether c may stand in a Close frame:
//
//	0 to 999      no    not used
//	1000 to 1003  yes   RFC 6455
//	1004 to 1006  no    reserved; 1005 and 1006 are for local use
//	1007 to 1014  yes   RFC 6455 and IANA's registry
//	1015          no    for local use
//	1016 to 2999  no    not assigned
//	3000 to 3999  yes   libraries and frameworks, registered with IANA
//	4000 to 4999  yes   applications
//	5000 and up   no    outside every range
//
// (RFC 6455, sections 7.4.1 and 7.4.2)
func (c CloseCode) Sendable() bool {
	switch {
	case c >= 3000:
		return c < 5000
	case c >= 1007:
		return c <= 1014
	default:
		return c >= 1000 && c <= 1003
	}
}

// String returns the number and, where the code is registered, its name:
// "1001 (going away)".
func (c CloseCode) String() string {
	s := strconv.Itoa(int(c))
	if name, ok := closeNames[c]; ok {
		s += " (" + name + ")"
	}
	return s
}

// maxReason is what a control frame leaves for the reason after the code.
const maxReason = MaxControl - 2

// ParseClose reads the unmasked payload of a Close frame. An empty payload is
// [CloseNoStatus]. A payload of one byte is [ErrCloseLength], a code that is
// not Sendable [ErrCloseCode] and a reason that is not UTF-8 [ErrCloseReason].
// (RFC 6455, sections 5.5.1 and 7.1.5)
func ParseClose(payload []byte) (code CloseCode, reason string, err error) {
	switch len(payload) {
	case 0:
		return CloseNoStatus, "", nil
	case 1:
		return 0, "", ErrCloseLength
	}
	code = CloseCode(binary.BigEndian.Uint16(payload))
	if !code.Sendable() {
		return 0, "", ErrCloseCode.because("close code %d must not be sent", uint16(code))
	}
	if !utf8.Valid(payload[2:]) {
		return 0, "", ErrCloseReason
	}
	return code, string(payload[2:]), nil
}

// AppendClose appends the payload of a Close frame to dst: code and reason, at
// most 125 bytes. A longer reason is cut at 123 bytes or before, where a
// character ends; each byte in it that is not UTF-8 becomes U+FFFD. For
// [CloseNoStatus] it appends nothing, which is how that code goes on the wire.
// The code is not checked here: [CloseCode.Sendable] tells, and [Sender]
// refuses what must not be sent. (RFC 6455, section 5.5.1)
func AppendClose(dst []byte, code CloseCode, reason string) []byte {
	if code == CloseNoStatus {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	room := maxReason
	for _, r := range reason { // U+FFFD for a byte that is not UTF-8
		if room -= utf8.RuneLen(r); room < 0 {
			break
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}
