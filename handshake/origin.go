package handshake

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// SameOrigin is the policy about origins of a Server without Origins: it
// returns nil if the request has no Origin header, and so does not come from a
// browser's page, or if that page came from the host that the request is for.
// Otherwise the error names both. The scheme is not compared, since a proxy may
// have taken TLS off; default ports are those of the origin's scheme.
// (RFC 6455, sections 4.2.2 and 10.2)
func SameOrigin(r *http.Request) error { return checkOrigin(r, nil) }

// checkOrigin allows the same origin and those that match a pattern.
func checkOrigin(r *http.Request, patterns []string) error {
	values := r.Header[headerOrigin]
	if len(values) == 0 {
		return nil
	}
	if len(values) > 1 {
		return fmt.Errorf("websocket: more than one Origin header: %s and %s", quote(values[0]), quote(values[1]))
	}
	origin := values[0]
	for _, p := range patterns {
		if p == "*" {
			return nil
		}
	}
	scheme, host, ok := splitOrigin(origin)
	if ok && host == withoutDefaultPort(scheme, strings.ToLower(r.Host)) {
		return nil
	}
	if ok {
		for _, p := range patterns {
			pscheme, phost, _ := splitOrigin(p)
			if pscheme == scheme && matchHost(phost, host) {
				return nil
			}
		}
	}
	return fmt.Errorf("websocket: origin %s is not allowed at host %s: to allow pages from there, add it to Origins (RFC 6455, section 4.2.2)", quote(origin), quote(r.Host))
}

// matchHost reports whether host matches pattern, which may begin with "*." for
// one or more labels.
func matchHost(pattern, host string) bool {
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return pattern == host
}

// splitOrigin returns scheme and host of an origin in lower case, the host
// without the scheme's default port. It is false for anything that is not
// scheme://host or scheme://host:port, "null" for instance.
// (RFC 6454, section 7)
func splitOrigin(origin string) (scheme, host string, ok bool) {
	scheme, host, ok = strings.Cut(strings.ToLower(origin), "://")
	if !ok || scheme == "" || host == "" || strings.ContainsAny(host, "/?#@ \t") {
		return "", "", false
	}
	u, err := url.Parse(scheme + "://" + strings.TrimPrefix(host, "*."))
	if err != nil || u.Hostname() == "" {
		return "", "", false
	}
	return scheme, withoutDefaultPort(scheme, host), true
}

// withoutDefaultPort removes the port that the scheme implies.
func withoutDefaultPort(scheme, host string) string {
	switch scheme {
	case "http", "ws":
		return strings.TrimSuffix(host, ":80")
	case "https", "wss":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

// checkPatterns says which of the user's patterns cannot match anything.
func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if p == "*" {
			continue
		}
		_, host, ok := splitOrigin(p)
		if !ok || strings.Contains(strings.TrimPrefix(host, "*."), "*") {
			return fmt.Errorf("websocket: Origins: %q is not an origin: write \"https://example.com\", \"https://*.example.com\" or \"*\"", p)
		}
	}
	return nil
}
