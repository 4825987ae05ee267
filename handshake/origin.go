package handshake

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// SameOrigin is the policy about origins of a Server without Origins: it
// returns nil if the request has no Origin header, and so does not come from a
// browser's page, or if that page came from the host that the request is for.
// Otherwise the error names both. The scheme must be http, https, ws or wss, and
// tells the default port of both sides. It is compared only if the request came
// over TLS: otherwise a proxy may have taken TLS off.
// (RFC 6455, sections 4.2.2 and 10.2)
func SameOrigin(r *http.Request) error { return checkOrigin(r, nil) }

// checkOrigin allows the same origin and those that match a pattern.
func checkOrigin(r *http.Request, patterns []string) error {
	values := r.Header[headerOrigin]
	switch len(values) {
	case 0:
		return nil
	case 1:
	default:
		return fmt.Errorf("websocket: more than one Origin header, %s and %s (RFC 6454, section 7.3)", quote(values[0]), quote(values[1]))
	}
	o, ok := parseOrigin(values[0])
	if ok && defaultPort(o.scheme) != "" && o.isHost(r.Host) && (r.TLS == nil || defaultPort(o.scheme) == "443") {
		return nil
	}
	for _, p := range patterns {
		if p == "*" {
			return nil
		}
		if pattern, valid := parsePattern(p); ok && valid && pattern.matches(o) {
			return nil
		}
	}
	return fmt.Errorf("websocket: origin %s is not allowed at host %s, nor listed in Origins (RFC 6455, section 10.2)", quote(values[0]), quote(r.Host))
}

const originAdvice = "If pages from that origin may connect, add it to the server's Origins, with its scheme; if a proxy in between changed Host, let it pass Host on as the browser sent it"

// origin is where a page came from, or a pattern of such.
type origin struct {
	scheme string
	host   string // with the brackets of an IPv6 address
	port   string // the scheme's default filled in, "" if it has none
	below  bool   // in a pattern: all hosts that end with "." and host
}

// parseOrigin reads scheme://host or scheme://host:port. A slash may follow, as
// golang.org/x/net/websocket has it. ok is false for anything else, "null" for
// instance. Nothing is allocated. (RFC 6454, section 7)
func parseOrigin(s string) (o origin, ok bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return origin{}, false
	}
	return makeOrigin(scheme, rest)
}

// parsePattern reads one of the user's patterns but "*".
func parsePattern(s string) (o origin, ok bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return origin{}, false
	}
	rest, below := strings.CutPrefix(rest, "*.")
	o, ok = makeOrigin(scheme, rest)
	o.below = below
	// Nothing is below an address.
	return o, ok && !(below && o.host[0] == '[')
}

// makeOrigin makes an origin of what stands before and after "://".
func makeOrigin(scheme, rest string) (o origin, ok bool) {
	host, port, ok := splitHost(strings.TrimSuffix(rest, "/"))
	if !ok || !isScheme(scheme) || !isHost(host) {
		return origin{}, false
	}
	if port == "" {
		port = defaultPort(scheme)
	}
	return origin{scheme: scheme, host: host, port: port}, true
}

// isHost reports whether a request for host, which may have a port, is for the
// host that the page came from.
func (o origin) isHost(host string) bool {
	host, port, ok := splitHost(host)
	if port == "" {
		port = defaultPort(o.scheme)
	}
	return ok && equalFold(o.host, host) && o.port == port
}

// matches reports whether the origin x is what the pattern o means.
func (o origin) matches(x origin) bool {
	if !equalFold(o.scheme, x.scheme) || o.port != x.port {
		return false
	}
	if !o.below {
		return equalFold(o.host, x.host)
	}
	n := len(x.host) - len(o.host)
	return n > 1 && x.host[n-1] == '.' && equalFold(x.host[n:], o.host)
}

// splitHost splits host[:port]. The colons of an IPv6 address are inside
// brackets. ok is false if what follows the host is no port.
func splitHost(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || i < strings.LastIndexByte(s, ']') {
		return s, "", true
	}
	host, port = s[:i], s[i+1:]
	return host, port, isPort(port)
}

// isPort reports whether s is 1 to 65535 without leading zeros.
func isPort(s string) bool {
	if len(s) == 0 || len(s) > 5 || s[0] == '0' {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

// isScheme reports whether s is a scheme. (RFC 3986, section 3.1)
func isScheme(s string) bool {
	for i := range len(s) {
		switch c := lower(s[i]); {
		case 'a' <= c && c <= 'z':
		case i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return s != ""
}

// isHost reports whether s is a host as browsers send it: a name in ASCII
// without empty labels, an IPv4 address, or an IPv6 address in brackets.
func isHost(s string) bool {
	if address, ok := strings.CutPrefix(s, "["); ok {
		address, ok = strings.CutSuffix(address, "]")
		for i := range len(address) {
			c := lower(address[i])
			ok = ok && ('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || c == ':' || c == '.')
		}
		return ok && address != ""
	}
	last := byte('.')
	for i := range len(s) {
		switch c := lower(s[i]); {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && last != '.':
		default:
			return false
		}
		last = s[i]
	}
	return s != ""
}

// defaultPort returns the port that a scheme implies, "" if it implies none.
func defaultPort(scheme string) string {
	switch {
	case equalFold(scheme, "http"), equalFold(scheme, "ws"):
		return "80"
	case equalFold(scheme, "https"), equalFold(scheme, "wss"):
		return "443"
	}
	return ""
}

// checkPatterns says which of the user's patterns cannot match anything.
func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if p == "*" {
			continue
		}
		if _, ok := parsePattern(p); !ok {
			return fmt.Errorf("websocket: Origins: %q is no origin: write \"https://example.com\", \"https://example.com:8443\", \"https://*.example.com\" or \"*\", in ASCII", p)
		}
	}
	return nil
}

// checkOrigin asks the user's function, or else follows Origins.
func (s *Server) checkOrigin(r *http.Request) *Error {
	if s.CheckOrigin == nil {
		if err := checkOrigin(r, s.Origins); err != nil {
			return refuse(http.StatusForbidden, err, originAdvice)
		}
		return nil
	}
	err := s.CheckOrigin(r)
	if err == nil {
		return nil
	}
	if own, ok := errors.AsType[*Error](err); ok {
		if own == nil {
			// A nil *Error in an error is a mistake, and not an allowance.
			return refuse(http.StatusForbidden, errors.New("websocket: CheckOrigin returned a nil *Error as an error"), "")
		}
		if isRefusal(own.Status) {
			return own
		}
	}
	return refuse(http.StatusForbidden, err, "")
}
