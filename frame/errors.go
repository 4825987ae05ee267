package frame

import "fmt"

// ProtocolError says which rule of the protocol a peer broke, or which rule
// this endpoint was about to break. Every rule has a sentinel, ErrUnmasked for
// instance; errors.Is finds it also when Reason is more specific than the
// sentinel's.
type ProtocolError struct {
	Code    CloseCode // what the peer is told in the Close frame
	Section string    // of RFC 6455, "5.1" for instance; empty for a limit of this endpoint
	Reason  string    // what was wrong, in one line

	rule *ProtocolError // the sentinel, nil in the sentinel itself
}

// Error returns the reason with the section of the RFC.
func (e *ProtocolError) Error() string {
	if e.Section == "" {
		return "websocket: " + e.Reason
	}
	return "websocket: " + e.Reason + " (RFC 6455, section " + e.Section + ")"
}

// Is reports whether target is an error of the same rule, its sentinel for
// instance.
func (e *ProtocolError) Is(target error) bool {
	t, ok := target.(*ProtocolError)
	return ok && t != nil && e.sentinel() == t.sentinel()
}

func (e *ProtocolError) sentinel() *ProtocolError {
	if e.rule != nil {
		return e.rule
	}
	return e
}

// because returns an error of e's rule with a more specific reason.
func (e *ProtocolError) because(format string, args ...any) *ProtocolError {
	return &ProtocolError{Code: e.Code, Section: e.Section, Reason: fmt.Sprintf(format, args...), rule: e}
}

func rule(code CloseCode, section, reason string) *ProtocolError {
	return &ProtocolError{Code: code, Section: section, Reason: reason}
}

// The rules of the protocol, by section of RFC 6455.
var (
	// ErrUnmasked: a client's frame is not masked.
	ErrUnmasked = rule(CloseProtocolError, "5.1", "frame from client is not masked")
	// ErrMasked: a server's frame is masked.
	ErrMasked = rule(CloseProtocolError, "5.1", "frame from server is masked")
	// ErrReservedBits: RSV1, RSV2 or RSV3 is set and no negotiated extension
	// gives it a meaning in this frame.
	ErrReservedBits = rule(CloseProtocolError, "5.2", "reserved bits are set that no extension was agreed for")
	// ErrReservedOpcode: 0x3 to 0x7 or 0xB to 0xF.
	ErrReservedOpcode = rule(CloseProtocolError, "5.2", "opcode is reserved")
	// ErrLengthNotMinimal: a shorter encoding of the length exists.
	ErrLengthNotMinimal = rule(CloseProtocolError, "5.2", "payload length is not encoded in its shortest form")
	// ErrLengthTopBit: a length of 2^63 or more.
	ErrLengthTopBit = rule(CloseProtocolError, "5.2", "64-bit payload length has its top bit set")
	// ErrContinuation: a continuation frame while no message is under way.
	ErrContinuation = rule(CloseProtocolError, "5.4", "continuation frame without a message to continue")
	// ErrInterleaved: a text or binary frame inside another message.
	ErrInterleaved = rule(CloseProtocolError, "5.4", "new data frame inside a fragmented message")
	// ErrControlFragmented: a Close, Ping or Pong frame without FIN.
	ErrControlFragmented = rule(CloseProtocolError, "5.5", "control frame is fragmented")
	// ErrControlTooLong: a Close, Ping or Pong frame over 125 bytes.
	ErrControlTooLong = rule(CloseProtocolError, "5.5", "control frame is longer than 125 bytes")
	// ErrClosed: a frame after the Close frame.
	ErrClosed = rule(CloseProtocolError, "5.5.1", "frame after the Close frame")
	// ErrCloseLength: a Close frame with a payload of one byte.
	ErrCloseLength = rule(CloseProtocolError, "5.5.1", "Close frame with a payload of one byte")
	// ErrCloseCode: a close code that must not be in a Close frame.
	ErrCloseCode = rule(CloseProtocolError, "7.4", "close code must not be sent")
	// ErrCloseReason: a close reason that is not UTF-8.
	ErrCloseReason = rule(CloseInvalidPayload, "8.1", "close reason is not UTF-8")
	// ErrText: a text message that is not UTF-8.
	ErrText = rule(CloseInvalidPayload, "8.1", "text message is not UTF-8")
	// ErrCompressed: a compressed message that does not decode. What a Receiver
	// is given is not decoded, so this is for those who do.
	ErrCompressed = rule(CloseInvalidPayload, "", "compressed message does not decode (RFC 7692, section 7.2.2)")
)

// Limits of this endpoint; the RFC asks implementations to have them
// (RFC 6455, section 10.4).
var (
	// ErrMessageTooBig: a message or frame over its limit.
	ErrMessageTooBig = rule(CloseMessageTooBig, "", "message is over the limit")
	// ErrTooManyFragments: a message in more frames than the limit.
	ErrTooManyFragments = rule(CloseMessageTooBig, "", "message has too many fragments")
)
