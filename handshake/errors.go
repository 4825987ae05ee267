package handshake

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// ErrNotWebSocket: the request does not ask for a WebSocket at all, it has no
// Upgrade header. The handler may be asked for a page by somebody who has typed
// its address.
var ErrNotWebSocket = errors.New("websocket: this is a WebSocket endpoint, the request has no Upgrade header (RFC 6455, section 4.2.1)")

// Error is a refusal of a request: the response to give, and why.
type Error struct {
	Status int         // of HTTP
	Header http.Header // to send along; may be nil
	Err    error       // what was wrong
}

// Error returns what was wrong.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Body returns the body of the response, plain text: one line that says what
// was wrong.
func (e *Error) Body() string { return e.Err.Error() + "\n" }

// AppendResponse appends the whole response to dst: status line, header and
// body. It asks to close the connection, since what follows on it might be
// frames.
func (e *Error) AppendResponse(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(e.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(e.Status)...)
	dst = append(dst, "\r\nConnection: "...)
	if e.Header.Get(headerUpgrade) != "" {
		dst = append(dst, "Upgrade, "...)
	}
	dst = append(dst, "close\r\n"...)
	dst = appendHeader(dst, e.Header, func(name string) bool {
		return name == headerConnection || name == "Content-Length" || name == "Content-Type"
	})
	body := e.Body()
	dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

// appendHeader appends header fields in the order of their names, but for those
// that skip tells.
func appendHeader(dst []byte, h http.Header, skip func(name string) bool) []byte {
	if len(h) == 0 {
		return dst
	}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if skip != nil && skip(http.CanonicalHeaderKey(name)) {
			continue
		}
		for _, v := range h[name] {
			dst = append(dst, name...)
			dst = append(dst, ": "...)
			dst = append(dst, v...)
			dst = append(dst, "\r\n"...)
		}
	}
	return dst
}

// ResponseError says why a server's response opens no connection. Status and
// Header are the response's.
type ResponseError struct {
	Status int
	Header http.Header
	Body   []byte // the start of the body, filled in by the caller, who reads it
	Err    error  // what was wrong
}

// Error returns what was wrong, with the start of the body if there is one.
func (e *ResponseError) Error() string {
	if len(e.Body) == 0 {
		return e.Err.Error()
	}
	return e.Err.Error() + ": " + quote(string(e.Body))
}

// Unwrap returns Err.
func (e *ResponseError) Unwrap() error { return e.Err }

// wrong returns an error about the handshake, with the section of RFC 6455.
func wrong(section, format string, args ...any) error {
	return fmt.Errorf("websocket: "+format+" (RFC 6455, section "+section+")", args...)
}

// maxQuote is how much of a peer's text stands in an error, in bytes.
const maxQuote = 100

// quote makes a peer's text fit for an error.
func quote(s string) string {
	if len(s) > maxQuote {
		return strconv.Quote(s[:maxQuote]) + "..."
	}
	return strconv.Quote(s)
}
