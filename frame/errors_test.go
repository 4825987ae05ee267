package frame

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// rules is every sentinel with what a caller and a peer learn from it.
var rules = []struct {
	name    string
	err     *ProtocolError
	code    CloseCode
	section string
	text    string
}{
	{"ErrUnmasked", ErrUnmasked, 1002, "5.1",
		"websocket: frame from client is not masked (RFC 6455, section 5.1)"},
	{"ErrMasked", ErrMasked, 1002, "5.1",
		"websocket: frame from server is masked (RFC 6455, section 5.1)"},
	{"ErrReservedBits", ErrReservedBits, 1002, "5.2",
		"websocket: reserved bits are set that no extension was agreed for (RFC 6455, section 5.2)"},
	{"ErrReservedOpcode", ErrReservedOpcode, 1002, "5.2",
		"websocket: opcode is reserved (RFC 6455, section 5.2)"},
	{"ErrLengthNotMinimal", ErrLengthNotMinimal, 1002, "5.2",
		"websocket: payload length is not encoded in its shortest form (RFC 6455, section 5.2)"},
	{"ErrLengthTopBit", ErrLengthTopBit, 1002, "5.2",
		"websocket: 64-bit payload length has its top bit set (RFC 6455, section 5.2)"},
	{"ErrContinuation", ErrContinuation, 1002, "5.4",
		"websocket: continuation frame without a message to continue (RFC 6455, section 5.4)"},
	{"ErrInterleaved", ErrInterleaved, 1002, "5.4",
		"websocket: new data frame inside a fragmented message (RFC 6455, section 5.4)"},
	{"ErrControlFragmented", ErrControlFragmented, 1002, "5.5",
		"websocket: control frame is fragmented (RFC 6455, section 5.5)"},
	{"ErrControlTooLong", ErrControlTooLong, 1002, "5.5",
		"websocket: control frame is longer than 125 bytes (RFC 6455, section 5.5)"},
	{"ErrClosed", ErrClosed, 1002, "5.5.1",
		"websocket: frame after the Close frame (RFC 6455, section 5.5.1)"},
	{"ErrCloseLength", ErrCloseLength, 1002, "5.5.1",
		"websocket: Close frame with a payload of one byte (RFC 6455, section 5.5.1)"},
	{"ErrCloseCode", ErrCloseCode, 1002, "7.4",
		"websocket: close code must not be sent (RFC 6455, section 7.4)"},
	{"ErrCloseReason", ErrCloseReason, 1007, "8.1",
		"websocket: close reason is not UTF-8 (RFC 6455, section 8.1)"},
	{"ErrText", ErrText, 1007, "8.1",
		"websocket: text message is not UTF-8 (RFC 6455, section 8.1)"},
	{"ErrMessageTooBig", ErrMessageTooBig, 1009, "",
		"websocket: message is over the limit"},
	{"ErrTooManyFragments", ErrTooManyFragments, 1009, "",
		"websocket: message has too many fragments"},
}

// ruleOf returns the sentinel of err, which must be of exactly one rule and tell
// the peer what the sentinel does.
func ruleOf(t testing.TB, err error) *ProtocolError {
	t.Helper()
	var found []*ProtocolError
	for _, rule := range rules {
		if errors.Is(err, rule.err) {
			found = append(found, rule.err)
		}
	}
	require.Len(t, found, 1, "%v is not a documented error", err)
	e, ok := errors.AsType[*ProtocolError](err)
	require.True(t, ok)
	require.Equal(t, found[0].Code, e.Code)
	require.Equal(t, found[0].Section, e.Section)
	require.True(t, e.Code.Sendable())
	return found[0]
}

func TestProtocolError(t *testing.T) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			require.Equal(t, rule.code, rule.err.Code)
			require.Equal(t, rule.section, rule.err.Section)
			require.EqualError(t, rule.err, rule.text)

			specific := rule.err.because("%d reasons", 2)
			require.Equal(t, "2 reasons", specific.Reason)
			for _, err := range []error{rule.err, specific, fmt.Errorf("wrapped: %w", specific)} {
				require.Same(t, rule.err, ruleOf(t, err))
			}
			require.ErrorIs(t, rule.err, specific, "an error of the same rule will do")
			require.NotErrorIs(t, rule.err, io.EOF)
		})
	}
}

func TestProtocolErrorIsNothingElse(t *testing.T) {
	var none *ProtocolError
	require.NotErrorIs(t, ErrText, none)
	require.NotErrorIs(t, ErrText, &ProtocolError{Code: ErrText.Code, Section: ErrText.Section, Reason: ErrText.Reason})
	require.EqualError(t, &ProtocolError{Code: ClosePolicyViolation, Reason: "no cats"}, "websocket: no cats")
}
