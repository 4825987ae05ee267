package handshake

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// Server are a server's terms. The zero value accepts browsers from the
// server's own origin and all other clients, and agrees on no subprotocol and no
// extension.
type Server struct {
	// Origins are further origins that pages may come from, beside the server's
	// own: "https://app.example.com", "https://example.com:8443",
	// "https://*.example.com" for every host below it, "*" for any. Entries that
	// are no origins make Check refuse everything, with status 500.
	Origins []string
	// CheckOrigin, if set, replaces that policy; an error is answered with
	// status 403 and its text.
	CheckOrigin func(r *http.Request) error
	// Subprotocols are those that the server speaks, the preferred one first.
	// Without one in common the connection has none.
	Subprotocols []string
	// Deflate, if set, agrees to permessage-deflate on these terms.
	Deflate *Deflate
	// Header is added to the response. The fields of the handshake itself may
	// not be in it.
	Header http.Header
}

// Agreement is what both sides agreed on.
type Agreement struct {
	Subprotocol string   // "" for none
	Deflate     *Deflate // nil without compression

	key    string // Sec-WebSocket-Key
	answer []byte // Sec-WebSocket-Extensions
	header http.Header
}

// AppendResponse appends the whole response that opens the connection to dst.
// (RFC 6455, section 4.2.2)
func (a *Agreement) AppendResponse(dst []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, 256)
	}
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = appendAccept(dst, a.key)
	if a.Subprotocol != "" {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, a.Subprotocol...)
	}
	if len(a.answer) > 0 {
		dst = append(dst, "\r\nSec-WebSocket-Extensions: "...)
		dst = append(dst, a.answer...)
	}
	dst = append(dst, "\r\n"...)
	dst = appendHeader(dst, a.header, nil)
	return append(dst, "\r\n"...)
}

// Check looks at a request and returns what to agree on. The error is always a
// [*Error], the refusal to answer with; it wraps [ErrNotWebSocket] if the
// request does not ask for a WebSocket at all. The body is not looked at.
// (RFC 6455, section 4.2.1)
func (s *Server) Check(r *http.Request) (*Agreement, error) {
	if refusal := s.settings(); refusal != nil {
		return nil, refusal
	}
	if refusal := checkRequest(r); refusal != nil {
		return nil, refusal
	}
	if refusal := s.checkOrigin(r); refusal != nil {
		return nil, refusal
	}
	a := &Agreement{key: r.Header[headerKey][0], header: s.Header}
	offered, err := subprotocols(r.Header)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, err)
	}
	for _, p := range s.Subprotocols {
		if slices.Contains(offered, p) {
			a.Subprotocol = p
			break
		}
	}
	if values := r.Header[headerExtensions]; len(values) > 0 {
		extensions, err := ParseExtensions(values)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, err)
		}
		s.agree(a, extensions)
	}
	return a, nil
}

// agree accepts the first offer that can be accepted.
func (s *Server) agree(a *Agreement, offers []Extension) {
	if s.Deflate == nil {
		return
	}
	for _, x := range offers {
		if x.Name != deflateName {
			continue
		}
		if agreed, answer, ok := s.Deflate.accept(x.Params); ok {
			a.Deflate = agreed
			a.answer = AppendExtension(nil, answer)
			return
		}
	}
}

// settings refuses everything if the user's settings cannot be meant.
func (s *Server) settings() *Error {
	err := checkPatterns(s.Origins)
	for _, p := range s.Subprotocols {
		if err == nil && !isToken(p) {
			err = fmt.Errorf("websocket: Subprotocols: %q is not a token (RFC 6455, section 4.1)", p)
		}
	}
	if err == nil {
		err = checkHeader(s.Header)
	}
	if err == nil && s.Deflate != nil {
		err = s.Deflate.check()
	}
	if err != nil {
		return refuse(http.StatusInternalServerError, err)
	}
	return nil
}

// checkHeader says which field of a user's header cannot be sent.
func checkHeader(h http.Header) error {
	for name, values := range h {
		if reserved(name) || !isToken(name) {
			return fmt.Errorf("websocket: Header: %q cannot be set, it belongs to the handshake or is no name", name)
		}
		for _, v := range values {
			if !isFieldValue(v) {
				return fmt.Errorf("websocket: Header: the value of %q has control characters", name)
			}
		}
	}
	return nil
}

// checkRequest refuses what is no opening handshake. (RFC 6455, section 4.2.1)
func checkRequest(r *http.Request) *Error {
	h := r.Header
	if r.ProtoMajor >= 2 {
		return refuse(http.StatusNotImplemented, fmt.Errorf("websocket: the request came over %s: WebSocket over HTTP/2 (RFC 8441) is not served here, HTTP/1.1 is", quote(r.Proto)))
	}
	if len(h[headerUpgrade]) == 0 {
		return &Error{
			Status: http.StatusUpgradeRequired,
			Header: http.Header{headerUpgrade: {"websocket"}, headerConnection: {"Upgrade"}},
			Err:    ErrNotWebSocket,
		}
	}
	if r.Method != http.MethodGet {
		e := refuse(http.StatusMethodNotAllowed, wrong("4.1", "method is %s, it must be GET", quote(r.Method)))
		e.Header = http.Header{"Allow": {http.MethodGet}}
		return e
	}
	if !r.ProtoAtLeast(1, 1) {
		return refuse(http.StatusBadRequest, wrong("4.1", "the request came over %s, it must be HTTP/1.1: is there a proxy in between that speaks HTTP/1.0 to the server", quote(r.Proto)))
	}
	if r.Host == "" {
		return refuse(http.StatusBadRequest, wrong("4.2.1", "Host is missing"))
	}
	if !hasToken(h[headerUpgrade], "websocket") {
		return refuse(http.StatusBadRequest, wrong("4.2.1", "Upgrade is %s, it must have \"websocket\"", quote(h[headerUpgrade][0])))
	}
	if !hasToken(h[headerConnection], "upgrade") {
		return refuse(http.StatusBadRequest, wrong("4.2.1", "Connection has no \"Upgrade\": a proxy in between must pass Connection and Upgrade on"))
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		// The bytes of a body would be read as frames.
		return refuse(http.StatusBadRequest, wrong("4.1", "the request has a body"))
	}
	if v := h[headerVersion]; len(v) != 1 || v[0] != version {
		err := wrong("4.2.1", "Sec-WebSocket-Version is missing, it must be 13")
		if len(v) == 1 {
			err = wrong("4.2.1", "Sec-WebSocket-Version is %s, it must be 13", quote(v[0]))
		} else if len(v) > 1 {
			err = wrong("4.2.1", "more than one Sec-WebSocket-Version")
		}
		e := refuse(http.StatusUpgradeRequired, err)
		// (RFC 6455, section 4.4)
		e.Header = http.Header{"Sec-WebSocket-Version": {version}, headerUpgrade: {"websocket"}}
		return e
	}
	switch keys := h[headerKey]; len(keys) {
	case 0:
		return refuse(http.StatusBadRequest, wrong("4.2.1", "Sec-WebSocket-Key is missing"))
	case 1:
		if err := checkKey(keys[0]); err != nil {
			return refuse(http.StatusBadRequest, err)
		}
	default:
		return refuse(http.StatusBadRequest, wrong("4.2.1", "more than one Sec-WebSocket-Key"))
	}
	return nil
}

func (s *Server) checkOrigin(r *http.Request) *Error {
	var err error
	if s.CheckOrigin != nil {
		if err = s.CheckOrigin(r); err == nil {
			return nil
		}
		var own *Error
		if errors.As(err, &own) {
			return own
		}
	} else if err = checkOrigin(r, s.Origins); err == nil {
		return nil
	}
	return refuse(http.StatusForbidden, err)
}

// subprotocols returns the subprotocols that a client offers.
// (RFC 6455, section 4.1)
func subprotocols(h http.Header) ([]string, error) {
	values := h[headerProtocol]
	if len(values) == 0 {
		return nil, nil
	}
	list, bad, ok := tokens(values)
	if !ok {
		return nil, wrong("4.1", "Sec-WebSocket-Protocol has %s, which is not a token", quote(bad))
	}
	seen := make(map[string]bool, len(list))
	for _, p := range list {
		if seen[p] {
			return nil, wrong("4.1", "Sec-WebSocket-Protocol has %s twice", quote(p))
		}
		seen[p] = true
	}
	return list, nil
}

func refuse(status int, err error) *Error { return &Error{Status: status, Err: err} }
