package frame

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// IANA's WebSocket Close Code Number Registry, range by range, and whether the
// registry and RFC 6455, section 7.4, let a code stand in a Close frame.
var closeRegistry = []struct {
	first, last int
	sendable    bool
	entry       string
}{
	{0, 999, false, "not used"},
	{1000, 1000, true, "Normal Closure"},
	{1001, 1001, true, "Going Away"},
	{1002, 1002, true, "Protocol error"},
	{1003, 1003, true, "Unsupported Data"},
	{1004, 1004, false, "Reserved"},
	{1005, 1005, false, "No Status Rcvd"},
	{1006, 1006, false, "Abnormal Closure"},
	{1007, 1007, true, "Invalid frame payload data"},
	{1008, 1008, true, "Policy Violation"},
	{1009, 1009, true, "Message Too Big"},
	{1010, 1010, true, "Mandatory Ext."},
	{1011, 1011, true, "Internal Error"},
	{1012, 1012, true, "Service Restart"},
	{1013, 1013, true, "Try Again Later"},
	{1014, 1014, true, "Bad Gateway"},
	{1015, 1015, false, "TLS handshake"},
	{1016, 2999, false, "Unassigned"},
	{3000, 3000, true, "Unauthorized"},
	{3001, 3002, true, "Unassigned, for libraries and frameworks"},
	{3003, 3003, true, "Forbidden"},
	{3004, 3007, true, "Unassigned, for libraries and frameworks"},
	{3008, 3008, true, "Timeout"},
	{3009, 3999, true, "Unassigned, for libraries and frameworks"},
	{4000, 4999, true, "Reserved for Private Use"},
	{5000, 65535, false, "outside the registry"},
}

// All values of a close code: Sendable, and with it ParseClose and Sender.
func TestCloseCodeSendable(t *testing.T) {
	next := 0
	for _, r := range closeRegistry {
		require.Equal(t, next, r.first, "the table itself")
		for ; next <= r.last; next++ {
			code := CloseCode(next)
			if code.Sendable() != r.sendable {
				t.Fatalf("%d (%s): Sendable is %v", next, r.entry, code.Sendable())
			}
			payload := []byte{byte(next >> 8), byte(next)}
			got, reason, err := ParseClose(payload)
			var s Sender
			_, sendErr := s.Next(OpClose, true, 0, payload)
			if r.sendable {
				require.NoError(t, err)
				require.NoError(t, sendErr)
				require.Equal(t, code, got)
				require.Empty(t, reason)
				continue
			}
			require.Equal(t, err, sendErr)
			require.Same(t, ErrCloseCode, ruleOf(t, err))
			require.EqualError(t, err, fmt.Sprintf("websocket: close code %d must not be sent (RFC 6455, section 7.4)", next))
			require.Zero(t, got)
			require.Zero(t, s)
		}
	}
	require.Equal(t, 1<<16, next, "the table itself")
}

func TestCloseCodeString(t *testing.T) {
	for code, want := range map[CloseCode]string{
		0:                       "0",
		999:                     "999",
		CloseNormal:             "1000 (normal closure)",
		CloseGoingAway:          "1001 (going away)",
		CloseProtocolError:      "1002 (protocol error)",
		CloseUnsupportedData:    "1003 (unsupported data)",
		1004:                    "1004 (reserved)",
		CloseNoStatus:           "1005 (no close code received)",
		CloseAbnormal:           "1006 (abnormal closure)",
		CloseInvalidPayload:     "1007 (invalid payload data)",
		ClosePolicyViolation:    "1008 (policy violation)",
		CloseMessageTooBig:      "1009 (message too big)",
		CloseMandatoryExtension: "1010 (mandatory extension)",
		CloseInternalError:      "1011 (internal error)",
		CloseServiceRestart:     "1012 (service restart)",
		CloseTryAgainLater:      "1013 (try again later)",
		CloseBadGateway:         "1014 (bad gateway)",
		CloseTLSHandshake:       "1015 (TLS handshake failed)",
		1016:                    "1016",
		3000:                    "3000 (unauthorized)",
		3003:                    "3003 (forbidden)",
		3008:                    "3008 (timeout)",
		4321:                    "4321",
		65535:                   "65535",
	} {
		require.Equal(t, want, code.String())
	}
}

// closePayloads are payloads of Close frames by RFC section.
var closePayloads = []struct {
	section, name string
	payload       string
	code          CloseCode
	reason        string
	err           *ProtocolError
	text          string
}{
	{"5.5.1", "no code", "", CloseNoStatus, "", nil, ""},
	{"5.5.1", "code alone", "\x03\xe8", CloseNormal, "", nil, ""},
	{"5.5.1", "code and reason", "\x03\xe9bye", CloseGoingAway, "bye", nil, ""},
	{"5.5.1", "reason of all lengths of characters", "\x0f\xa0aé世🌍", 4000, "aé世🌍", nil, ""},
	{"5.5.1", "longest", "\x03\xe8" + strings.Repeat("x", 123), CloseNormal, strings.Repeat("x", 123), nil, ""},
	{"5.5.1", "reason with a NUL", "\x03\xe8\x00", CloseNormal, "\x00", nil, ""},
	{"5.5.1", "half a code", "\x03", 0, "", ErrCloseLength, "websocket: Close frame with a payload of one byte (RFC 6455, section 5.5.1)"},
	{"7.4.1", "1005", "\x03\xed", 0, "", ErrCloseCode, "websocket: close code 1005 must not be sent (RFC 6455, section 7.4)"},
	{"7.4.1", "1006", "\x03\xee", 0, "", ErrCloseCode, "websocket: close code 1006 must not be sent (RFC 6455, section 7.4)"},
	{"7.4.1", "1015", "\x03\xf7", 0, "", ErrCloseCode, "websocket: close code 1015 must not be sent (RFC 6455, section 7.4)"},
	{"7.4.2", "0", "\x00\x00", 0, "", ErrCloseCode, "websocket: close code 0 must not be sent (RFC 6455, section 7.4)"},
	{"7.4.2", "2999", "\x0b\xb7", 0, "", ErrCloseCode, "websocket: close code 2999 must not be sent (RFC 6455, section 7.4)"},
	{"7.4.2", "5000", "\x13\x88", 0, "", ErrCloseCode, "websocket: close code 5000 must not be sent (RFC 6455, section 7.4)"},
	{"7.4.2", "65535 with a reason that is not UTF-8", "\xff\xff\xff", 0, "", ErrCloseCode, "websocket: close code 65535 must not be sent (RFC 6455, section 7.4)"},
	{"8.1", "reason not UTF-8", "\x03\xe8bye\xff", 0, "", ErrCloseReason, "websocket: close reason is not UTF-8 (RFC 6455, section 8.1)"},
	{"8.1", "reason ends inside a character", "\x03\xe8\xe4\xb8", 0, "", ErrCloseReason, "websocket: close reason is not UTF-8 (RFC 6455, section 8.1)"},
	{"8.1", "surrogate in the reason", "\x03\xe8\xed\xa0\x80", 0, "", ErrCloseReason, "websocket: close reason is not UTF-8 (RFC 6455, section 8.1)"},
}

func TestParseClose(t *testing.T) {
	for _, test := range closePayloads {
		t.Run(test.section+"/"+test.name, func(t *testing.T) {
			code, reason, err := ParseClose([]byte(test.payload))
			require.Equal(t, test.code, code)
			require.Equal(t, test.reason, reason)
			if test.err != nil {
				require.Same(t, test.err, ruleOf(t, err))
				require.EqualError(t, err, test.text)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.payload, string(AppendClose(nil, code, reason)), "round trip")
		})
	}
}

func TestAppendClose(t *testing.T) {
	const fffd = "\uFFFD"
	tests := []struct {
		name   string
		reason string
		want   string
	}{
		{"none", "", ""},
		{"short", "bye", "bye"},
		{"123 bytes", strings.Repeat("x", 123), strings.Repeat("x", 123)},
		{"124 bytes", strings.Repeat("x", 124), strings.Repeat("x", 123)},
		{"a MiB", strings.Repeat("x", 1<<20), strings.Repeat("x", 123)},
		{"not UTF-8", "a\xffb", "a" + fffd + "b"},
		{"several bytes not UTF-8", "\xff\xfe\xe4\xb8", strings.Repeat(fffd, 4)},
		{"41 bytes not UTF-8", strings.Repeat("\xff", 41), strings.Repeat(fffd, 41)},
		{"42 bytes not UTF-8", strings.Repeat("\xff", 42), strings.Repeat(fffd, 41)},
		{"no room for U+FFFD", strings.Repeat("x", 121) + "\xff", strings.Repeat("x", 121)},
		{"cut character is not marked", strings.Repeat("\xff", 10) + strings.Repeat("x", 115) + "世", strings.Repeat(fffd, 10) + strings.Repeat("x", 93)},
		{"nothing in place of what does not fit", strings.Repeat("x", 122) + "世y", strings.Repeat("x", 122)},
	}
	// A character of each length at each place around the end.
	for _, char := range []string{"x", "é", "世", "🌍"} {
		for before := 116; before <= 124; before++ {
			want := strings.Repeat("x", min(before, 123))
			for len(want)+len(char) <= 123 {
				want += char
			}
			tests = append(tests, struct{ name, reason, want string }{
				fmt.Sprintf("%d bytes, then %s", before, char),
				strings.Repeat("x", before) + strings.Repeat(char, 200),
				want,
			})
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := AppendClose([]byte("before"), CloseNormal, test.reason)
			require.Equal(t, "before\x03\xe8"+test.want, string(got))

			code, reason, err := ParseClose(got[len("before"):])
			require.NoError(t, err)
			require.Equal(t, CloseNormal, code)
			require.Equal(t, test.want, reason)
		})
	}
}

func TestAppendCloseNoStatus(t *testing.T) {
	require.Equal(t, "before", string(AppendClose([]byte("before"), CloseNoStatus, "")))
	require.Equal(t, "before", string(AppendClose([]byte("before"), CloseNoStatus, "a reason needs a code")))
	require.Equal(t, "\x03\xee", string(AppendClose(nil, CloseAbnormal, "")), "the code is the sender's affair")
	require.Equal(t, "\x00\x00", string(AppendClose(nil, 0, "")), "0 is not CloseNoStatus")
}

func TestCloseAllocs(t *testing.T) {
	dst := make([]byte, 0, MaxControl)
	reason := strings.Repeat("世\xff", 100)
	payload := AppendClose(nil, CloseNormal, "")
	requireNoAllocs(t, func() {
		AppendClose(dst, CloseNormal, reason)
		if _, _, err := ParseClose(payload); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzParseClose has three properties: only documented errors; what is accepted
// may be sent and comes back from AppendClose; any reason at all can be sent.
func FuzzParseClose(f *testing.F) {
	for _, test := range closePayloads {
		f.Add([]byte(test.payload))
	}
	f.Add([]byte("\x03\xe8" + strings.Repeat("世", 60)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		made := AppendClose(nil, CloseNormal, string(payload))
		require.LessOrEqual(t, len(made), MaxControl)
		_, kept, err := ParseClose(made)
		require.NoError(t, err)
		if utf8.Valid(payload) {
			require.True(t, strings.HasPrefix(string(payload), kept))
			require.True(t, len(kept) == len(payload) || len(kept) > maxReason-utf8.UTFMax)
		}

		code, reason, err := ParseClose(payload)
		if err != nil {
			rule := ruleOf(t, err)
			require.Contains(t, []*ProtocolError{ErrCloseLength, ErrCloseCode, ErrCloseReason}, rule)
			require.Zero(t, code)
			require.Zero(t, reason)
			return
		}
		require.True(t, code.Sendable() || code == CloseNoStatus && len(payload) == 0)
		require.True(t, utf8.ValidString(reason))
		if len(payload) <= MaxControl {
			require.Equal(t, string(payload), string(AppendClose(nil, code, reason)))
		}
	})
}
