package handshake

import (
	"net/http"
	"strings"
)

// The header fields of the opening handshake, in net/http's canonical form.
// (RFC 6455, section 11.3)
const (
	headerUpgrade    = "Upgrade"
	headerConnection = "Connection"
	headerKey        = "Sec-Websocket-Key"
	headerAccept     = "Sec-Websocket-Accept"
	headerVersion    = "Sec-Websocket-Version"
	headerProtocol   = "Sec-Websocket-Protocol"
	headerExtensions = "Sec-Websocket-Extensions"
	headerOrigin     = "Origin"

	version = "13"
)

// reserved reports whether a header field belongs to the handshake itself, so
// that a user cannot set it.
func reserved(name string) bool {
	switch name := http.CanonicalHeaderKey(name); name {
	case headerUpgrade, headerConnection, "Content-Length", "Transfer-Encoding":
		return true
	default:
		return strings.HasPrefix(name, "Sec-Websocket-")
	}
}

// isTokenByte tells which bytes a token may have. (RFC 9110, section 5.6.2)
var isTokenByte = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// isToken reports whether s is a token.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isTokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s may be the value of a header field: no
// control characters, so that it stays one line. (RFC 9110, section 5.5)
func isFieldValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7F {
			return false
		}
	}
	return true
}

// trim removes the white space that may stand around list elements.
func trim(s string) string { return strings.Trim(s, " \t") }

// hasToken reports whether the comma-separated lists in values have token,
// in upper or lower case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for element := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(trim(element), token) {
				return true
			}
		}
	}
	return false
}

// tokens returns the tokens of the comma-separated lists in values; ok is false
// if one is no token. Empty elements are allowed and mean nothing.
// (RFC 9110, section 5.6.1)
func tokens(values []string) (list []string, bad string, ok bool) {
	for _, v := range values {
		for element := range strings.SplitSeq(v, ",") {
			element = trim(element)
			if element == "" {
				continue
			}
			if !isToken(element) {
				return nil, element, false
			}
			list = append(list, element)
		}
	}
	return list, "", true
}
