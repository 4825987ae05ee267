package conn

import (
	"bufio"
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// readRequest is http.ReadRequest with a shorter way for what nearly all clients
// send: then text is not empty, and [plain] can make the request of it again.
func readRequest(br *bufio.Reader) (r *http.Request, text string, err error) {
	if _, err := br.Peek(1); err == nil {
		b, _ := br.Peek(br.Buffered())
		if text, n := wholeHeader(b); n > 0 {
			if r := plain(text); r != nil {
				br.Discard(n)
				return r, text, nil
			}
		}
	}
	r, err = http.ReadRequest(br)
	return r, "", err
}

// wholeHeader returns the request that b begins with, without the empty line that
// ends it, and its length with that, or nothing if it is not whole.
func wholeHeader(b []byte) (text string, n int) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return "", 0
	}
	return string(b[:end+2]), end + 4
}

// plain returns the request of that text as http.ReadRequest would, if it is a GET
// of a path, its header is of printable ASCII, and nothing in it has a meaning for
// net/http. Otherwise it returns nil, whatever there is. All strings in the request
// are parts of text.
func plain(text string) *http.Request {
	line, rest, _ := strings.Cut(text, "\r\n")
	target, ok := strings.CutPrefix(line, "GET ")
	if !ok {
		return nil
	}
	if target, ok = strings.CutSuffix(target, " HTTP/1.1"); !ok {
		return nil
	}
	u := plainURL(target)
	if u == nil {
		return nil
	}
	r := &http.Request{
		Method:     http.MethodGet,
		URL:        u,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Body:       http.NoBody,
		RequestURI: target,
	}
	fields := strings.Count(rest, "\r\n")
	r.Header = make(http.Header, fields)
	values := make([]string, fields)
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isPlain(value) {
			return nil
		}
		if name = plainName(name); name == "" {
			return nil
		}
		value = strings.Trim(value, " \t")
		switch name {
		case "Host":
			if r.Host != "" || value == "" {
				return nil
			}
			r.Host = value
			continue
		case "Connection":
			if strings.Contains(strings.ToLower(value), "close") {
				return nil
			}
		case "Content-Length", "Transfer-Encoding", "Trailer":
			return nil
		}
		if earlier := r.Header[name]; earlier != nil {
			r.Header[name] = append(earlier, value)
			continue
		}
		values[0] = value
		r.Header[name] = values[:1:1]
		values = values[1:]
	}
	if r.Header["Pragma"] != nil && r.Header["Cache-Control"] == nil {
		return nil // net/http may add the other
	}
	return r
}

// plainURL returns the URL of a request's target that is a path, without
// anything to decode in it, and perhaps a query, or nil.
func plainURL(target string) *url.URL {
	path, query, asked := strings.Cut(target, "?")
	if path == "" || path[0] != '/' || strings.HasPrefix(path, "//") {
		return nil
	}
	for _, c := range []byte(path) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/-._~", c) >= 0) {
			return nil
		}
	}
	for _, c := range []byte(query) {
		if c <= ' ' || c >= 0x7F || c == '#' {
			return nil
		}
	}
	return &url.URL{Path: path, RawQuery: query, ForceQuery: asked && query == ""}
}

// plainName returns the name of a header field as net/http writes it, or "" if it
// has other characters than letters, digits and hyphens.
func plainName(name string) string {
	canonical, first := true, true // of a word
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z':
			canonical = canonical && !first
		case 'A' <= c && c <= 'Z':
			canonical = canonical && first
		case c != '-' && (c < '0' || c > '9'):
			return ""
		}
		first = c == '-'
	}
	if canonical {
		return name
	}
	switch name { // as clients write these
	case "Sec-WebSocket-Key":
		return "Sec-Websocket-Key"
	case "Sec-WebSocket-Version":
		return "Sec-Websocket-Version"
	case "Sec-WebSocket-Extensions":
		return "Sec-Websocket-Extensions"
	case "Sec-WebSocket-Protocol":
		return "Sec-Websocket-Protocol"
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// isPlain reports whether all of s is printable ASCII or a tab.
func isPlain(s string) bool {
	for _, c := range []byte(s) {
		if (c < ' ' || c >= 0x7F) && c != '\t' {
			return false
		}
	}
	return true
}
