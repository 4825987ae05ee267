package handshake

import (
	"fmt"
	"net/http"
	"strings"
)

// The header fields of the opening handshake, in net/http's canonical form, so
// that they can be looked up in an http.Header as they stand.
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
	headerHost       = "Host"
	headerAuth       = "Authorization"

	version = "13"
)

// reserved reports whether a header field belongs to the handshake itself, so
// that a user cannot set it. What follows the handshake is frames, not a body.
func reserved(name string) bool {
	switch name {
	case headerUpgrade, headerConnection, "Content-Length", "Transfer-Encoding":
		return true
	}
	return strings.HasPrefix(name, "Sec-Websocket-")
}

// checkHeader says which field of a user's header cannot be sent.
func checkHeader(h http.Header) error {
	for name, values := range h {
		if !isToken(name) {
			return fmt.Errorf("websocket: Header: %q is no name of a header field", name)
		}
		if reserved(http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("websocket: Header: %q cannot be set, it belongs to the handshake itself", name)
		}
		for _, v := range values {
			if !isFieldValue(v) {
				return fmt.Errorf("websocket: Header: the value of %q has control characters", name)
			}
		}
	}
	return nil
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
	for i := range len(s) {
		if !isTokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s may be the value of a header field: no
// control characters, so that it stays one line. (RFC 9110, section 5.5)
func isFieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7F {
			return false
		}
	}
	return true
}

// trim removes the white space that may stand around list elements.
func trim(s string) string { return strings.Trim(s, " \t") }

// equalFold reports whether a and b are the same but for the case of ASCII
// letters. strings.EqualFold also takes the Kelvin sign for a "k".
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// hasToken reports whether the comma-separated lists in values have token,
// in upper or lower case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for more := true; more; {
			var element string
			element, v, more = strings.Cut(v, ",")
			if equalFold(trim(element), token) {
				return true
			}
		}
	}
	return false
}

// isOnlyToken reports whether the comma-separated lists in values have token, in
// upper or lower case, and nothing else.
func isOnlyToken(values []string, token string) bool {
	found := false
	for _, v := range values {
		for more := true; more; {
			var element string
			element, v, more = strings.Cut(v, ",")
			switch element = trim(element); {
			case equalFold(element, token):
				found = true
			case element != "":
				return false
			}
		}
	}
	return found
}

// appendTokens appends the tokens of the comma-separated lists in values to dst.
// If an element is no token, ok is false and bad is that element. Empty elements
// are allowed and mean nothing. (RFC 9110, section 5.6.1)
func appendTokens(dst []string, values []string) (list []string, bad string, ok bool) {
	for _, v := range values {
		for more := true; more; {
			var element string
			element, v, more = strings.Cut(v, ",")
			element = trim(element)
			if element == "" {
				continue
			}
			if !isToken(element) {
				return nil, element, false
			}
			dst = append(dst, element)
		}
	}
	return dst, "", true
}

// duplicate returns a string that stands in list twice, in linear time for long
// lists.
func duplicate(list []string) (string, bool) {
	const few = 16
	if len(list) <= few {
		for i, s := range list {
			for _, t := range list[:i] {
				if s == t {
					return s, true
				}
			}
		}
		return "", false
	}
	seen := make(map[string]bool, len(list))
	for _, s := range list {
		if seen[s] {
			return s, true
		}
		seen[s] = true
	}
	return "", false
}
