package handshake

import (
	"fmt"
	"net/http"
	"slices"
)

// Server are a server's terms. The zero value is right for production: it
// accepts browsers from the server's own origin and all other clients, and
// agrees on no subprotocol and no extension.
type Server struct {
	// Origins are further origins that pages may come from, beside the server's
	// own: "https://app.example.com", "https://example.com:8443",
	// "https://*.example.com" for every host below it, "*" for any. An entry
	// that is no origin makes Check refuse everything, with status 500.
	Origins []string
	// CheckOrigin, if set, replaces that policy, Origins included. An error is
	// answered with status 403 and its text, a [*Error] as it says.
	CheckOrigin func(r *http.Request) error
	// Subprotocols are those that the server speaks, the preferred one first.
	// Without one in common the connection has none.
	Subprotocols []string
	// Deflate, if set, agrees to permessage-deflate on these terms.
	Deflate *Deflate
	// Header is added to the response. Upgrade, Connection, Content-Length,
	// Transfer-Encoding and Sec-WebSocket-* belong to the handshake and may not
	// be in it.
	Header http.Header
}

// Check looks at a request and returns what to agree on. The error is always a
// [*Error], the refusal to answer with; it wraps [ErrNotWebSocket] if the
// request does not ask for a WebSocket at all. The body is not read. The Server
// may be used by several goroutines, and its Header is part of the Agreement:
// neither may be changed afterwards. (RFC 6455, section 4.2.1)
func (s *Server) Check(r *http.Request) (*Agreement, error) {
	if err := s.checkSettings(); err != nil {
		return nil, refuse(http.StatusInternalServerError, err, "This is a mistake in the server's settings")
	}
	for _, check := range [...]func(*http.Request) *Error{checkRequest, checkVersion, checkClientKey, s.checkOrigin} {
		if refusal := check(r); refusal != nil {
			return nil, refusal
		}
	}
	a := &Agreement{key: r.Header[headerKey][0], header: s.Header}
	if refusal := s.agreeSubprotocol(a, r.Header[headerProtocol]); refusal != nil {
		return nil, refusal
	}
	if refusal := s.agreeExtensions(a, r.Header[headerExtensions]); refusal != nil {
		return nil, refusal
	}
	return a, nil
}

// checkSettings says which of the user's settings cannot be meant.
func (s *Server) checkSettings() error {
	if err := checkPatterns(s.Origins); err != nil {
		return err
	}
	for _, p := range s.Subprotocols {
		if !isToken(p) {
			return fmt.Errorf("websocket: Subprotocols: %q is not a token (RFC 6455, section 4.1)", p)
		}
	}
	if err := checkHeader(s.Header); err != nil {
		return err
	}
	if s.Deflate != nil {
		return s.Deflate.check()
	}
	return nil
}

// What a person is told who sees a refusal.
const (
	adviceAddress = "Open this address with a WebSocket client, as new WebSocket(...) in a browser is; if one was used, a proxy in between must speak HTTP/1.1 to the server and pass Upgrade and Connection on"
	adviceProxy   = "If a proxy in between removed it, let the proxy speak HTTP/1.1 to the server and pass Upgrade and Connection on"
	adviceHTTP1   = "Connect over HTTP/1.1, or let the proxy in between do so"
	adviceKey     = "A client must send one key, base64 of 16 random bytes, a new one for every connection"
)

// checkRequest refuses what is no opening handshake. (RFC 6455, section 4.2.1)
func checkRequest(r *http.Request) *Error {
	h := r.Header
	asks := len(h[headerUpgrade]) > 0
	switch {
	case r.ProtoMajor >= 2:
		return refuseHTTP2(r)
	case r.Method != http.MethodGet:
		err := wrong("4.2.1", "method of the opening handshake is %s, it must be GET", quote(r.Method))
		if !asks {
			err = notWebSocket(err.Error())
		}
		e := refuse(http.StatusMethodNotAllowed, err, "Open this address with a WebSocket client")
		e.Header = http.Header{"Allow": {http.MethodGet}}
		return e
	case !asks:
		e := refuse(http.StatusUpgradeRequired, notWebSocket("websocket: this is a WebSocket endpoint, and the request has no Upgrade header (RFC 6455, section 4.2.1)"), adviceAddress)
		e.Header = http.Header{headerUpgrade: {"websocket"}, headerConnection: {"Upgrade"}}
		return e
	case !r.ProtoAtLeast(1, 1):
		return refuse(http.StatusBadRequest, wrong("4.2.1", "the opening handshake came over %s, it must be HTTP/1.1", quote(r.Proto)), "Send it over HTTP/1.1; a proxy in between may have to be told to speak that to the server")
	case r.Host == "":
		return refuse(http.StatusBadRequest, wrong("4.2.1", "Host is missing"), "Name the server's host in Host")
	case !hasToken(h[headerUpgrade], "websocket"):
		return refuse(http.StatusBadRequest, wrong("4.2.1", "Upgrade is %s, it must have \"websocket\"", quote(h[headerUpgrade][0])), "Send \"Upgrade: websocket\"")
	case len(h[headerConnection]) == 0:
		return refuse(http.StatusBadRequest, wrong("4.2.1", "Connection is missing, it must have \"Upgrade\""), adviceProxy)
	case !hasToken(h[headerConnection], "upgrade"):
		return refuse(http.StatusBadRequest, wrong("4.2.1", "Connection is %s, it must have \"Upgrade\"", quote(h[headerConnection][0])), adviceProxy)
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		// The bytes of a body would be read as frames.
		return refuse(http.StatusBadRequest, wrong("4.1", "the opening handshake has a body"), "Send it without a body, Content-Length and Transfer-Encoding")
	}
	return nil
}

// refuseHTTP2 refuses a request that came over HTTP/2 or later, in which there
// is no Upgrade header. (RFC 8441, section 4)
func refuseHTTP2(r *http.Request) *Error {
	const text = "websocket: the request came over %s, and WebSocket over HTTP/2 (RFC 8441) is not served here"
	err := fmt.Errorf(text, quote(r.Proto))
	if r.Method == http.MethodConnect && len(r.Header[":protocol"]) > 0 {
		return refuse(http.StatusNotImplemented, err, adviceHTTP1)
	}
	return refuse(http.StatusBadRequest, notWebSocket(err.Error()), adviceHTTP1)
}

// checkVersion refuses other versions of the protocol.
// (RFC 6455, sections 4.2.1 and 4.4)
func checkVersion(r *http.Request) *Error {
	var err error
	switch values := r.Header[headerVersion]; {
	case len(values) == 0:
		err = wrong("4.2.1", "Sec-WebSocket-Version is missing, it must be 13")
	case len(values) > 1:
		err = wrong("11.3.5", "more than one Sec-WebSocket-Version")
	case values[0] != version:
		err = wrong("4.2.1", "Sec-WebSocket-Version is %s, it must be 13", quote(values[0]))
	default:
		return nil
	}
	e := refuse(http.StatusUpgradeRequired, err, "Send \"Sec-WebSocket-Version: 13\", the one version that RFC 6455 has")
	e.Header = http.Header{headerVersion: {version}, headerUpgrade: {"websocket"}, headerConnection: {"Upgrade"}}
	return e
}

// checkClientKey refuses what is not one valid key. (RFC 6455, section 4.2.1)
func checkClientKey(r *http.Request) *Error {
	var err error
	switch keys := r.Header[headerKey]; len(keys) {
	case 0:
		err = wrong("4.2.1", "Sec-WebSocket-Key is missing")
	case 1:
		err = checkKey(keys[0])
	default:
		err = wrong("11.3.1", "more than one Sec-WebSocket-Key")
	}
	if err != nil {
		return refuse(http.StatusBadRequest, err, adviceKey)
	}
	return nil
}

// agreeSubprotocol chooses the first of the server's subprotocols that the
// client offers. (RFC 6455, sections 4.1 and 4.2.2)
func (s *Server) agreeSubprotocol(a *Agreement, values []string) *Error {
	if len(values) == 0 {
		return nil
	}
	var space [8]string
	offered, bad, ok := appendTokens(space[:0], values)
	if !ok {
		return refuse(http.StatusBadRequest, wrong("4.1", "Sec-WebSocket-Protocol has %s, which is not a token", quote(bad)), "A subprotocol's name has no spaces and none of the characters ()<>@,;:\\\"/[]?={}")
	}
	if p, ok := duplicate(offered); ok {
		return refuse(http.StatusBadRequest, wrong("4.1", "Sec-WebSocket-Protocol has %s twice", quote(p)), "Name every subprotocol once")
	}
	for _, p := range s.Subprotocols {
		if slices.Contains(offered, p) {
			a.Subprotocol = p
			break
		}
	}
	return nil
}

// agreeExtensions accepts the first offer that can be accepted. A header that is
// malformed is refused even if nothing of it would be. (RFC 6455, section 9.1)
func (s *Server) agreeExtensions(a *Agreement, values []string) *Error {
	if len(values) == 0 {
		return nil
	}
	var space [8]Param
	for _, v := range values {
		list := scanner{s: v}
		for list.more() {
			x, ok := list.extension(space[:0])
			if !ok {
				return refuse(http.StatusBadRequest, malformed(v), "Write it as in \"permessage-deflate; client_max_window_bits\"")
			}
			if s.Deflate == nil || a.Deflate != nil || x.Name != deflateName {
				continue
			}
			if agreed, answer, ok := s.Deflate.accept(x.Params); ok {
				both := &struct {
					agreed Deflate
					answer deflateParams
				}{agreed, answer} // in one allocation
				a.Deflate, a.answer = &both.agreed, &both.answer
			}
		}
	}
	return nil
}
