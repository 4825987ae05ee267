package handshake

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ErrNotWebSocket: the request does not ask for a WebSocket at all. A handler
// that also serves a page at the same address calls [Server.Check] and tests for
// it; conn.Accept has answered such a request already.
var ErrNotWebSocket = errors.New("websocket: request does not ask for a WebSocket")

// Error is a refusal of a request: the response to give, and why.
type Error struct {
	Status int         // of HTTP
	Header http.Header // to send along, by canonical names; may be nil
	Err    error       // what was wrong; wraps ErrNotWebSocket for what is no handshake

	advice string // what to change, in a sentence without its full stop; may be empty
}

func refuse(status int, err error, advice string) *Error {
	return &Error{Status: status, Err: err, advice: advice}
}

// Error returns what was wrong.
func (e *Error) Error() string {
	if e.Err == nil {
		return "websocket: opening handshake refused with " + statusLine(e.Status)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Body returns the body of the response, plain text: one line that says what
// was wrong and what to change.
func (e *Error) Body() string {
	text := strings.TrimRight(e.Error(), ".\r\n")
	if e.advice != "" {
		text += ". " + e.advice
	}
	return text + ".\n"
}

// AppendResponse appends the whole response to dst: status line, header and
// body. It asks to close the connection, since what follows on it might be
// frames. A Status that no response can have is sent as 500; Header's fields
// about the connection and the body are replaced, and line breaks in its values
// are removed.
func (e *Error) AppendResponse(dst []byte) []byte {
	status, body := e.Status, e.Body()
	if !isRefusal(status) {
		status = http.StatusInternalServerError
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, statusLine(status)...)
	dst = append(dst, "\r\nConnection: "...)
	if e.Header.Get(headerUpgrade) != "" {
		dst = append(dst, "Upgrade, "...)
	}
	dst = append(dst, "close\r\n"...)
	dst = appendHeader(dst, e.Header, func(name string) bool {
		switch name {
		case headerConnection, "Content-Length", "Content-Type", "Transfer-Encoding", "X-Content-Type-Options":
			return true
		}
		return false
	})
	dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

// isRefusal reports whether a response with this status ends the request
// without a WebSocket; 1xx responses do not end it.
func isRefusal(status int) bool { return 200 <= status && status <= 999 }

// statusLine returns a status with its text, if it has one: "404 Not Found".
// The space after the number is there in either case.
// (RFC 9112, section 4)
func statusLine(status int) string {
	return strconv.Itoa(status) + " " + http.StatusText(status)
}

// appendHeader appends header fields in the order of their names, but for those
// that skip tells by their canonical names.
func appendHeader(dst []byte, h http.Header, skip func(name string) bool) []byte {
	if len(h) == 0 {
		return dst
	}
	names := make([]string, 0, len(h))
	for name := range h {
		if isToken(name) && (skip == nil || !skip(http.CanonicalHeaderKey(name))) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			dst = append(dst, name...)
			dst = append(dst, ": "...)
			start := len(dst)
			dst = append(dst, v...)
			for i, c := range dst[start:] {
				if c < ' ' && c != '\t' || c == 0x7F {
					dst[start+i] = ' '
				}
			}
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
	text := "websocket: server answered the opening handshake with " + strings.TrimSpace(statusLine(e.Status))
	if e.Err != nil {
		text = e.Err.Error()
	}
	if body := strings.TrimSpace(string(e.Body)); body != "" {
		text += ": " + quoteUpTo(maxQuoteBody, body)
	}
	return text
}

// Unwrap returns Err.
func (e *ResponseError) Unwrap() error { return e.Err }

// wrong returns an error about the handshake, with the section of RFC 6455.
func wrong(section, format string, args ...any) error {
	return fmt.Errorf("websocket: "+format+" (RFC 6455, section "+section+")", args...)
}

// notWebSocket is an error about what is no opening handshake, with a text of
// its own.
type notWebSocket string

func (e notWebSocket) Error() string { return string(e) }

func (e notWebSocket) Unwrap() error { return ErrNotWebSocket }

// How much of a peer's text stands in an error, in bytes.
const (
	maxQuote     = 100
	maxQuoteBody = 400 // enough for those of Error
)

// quote makes a peer's text fit for an error.
func quote(s string) string { return quoteUpTo(maxQuote, s) }

func quoteUpTo(n int, s string) string {
	if len(s) > n {
		return strconv.Quote(s[:n]) + "..."
	}
	return strconv.Quote(s)
}
