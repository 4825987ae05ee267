package conn

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
)

// wholeHeader returns the request that b begins with, without the empty line that
// ends it, and its length with that, or nothing if it is not whole.
func wholeHeader(b []byte) (text string, n int) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return "", 0
	}
	return string(b[:end+2]), end + 4
}

// address is addr.String(), with less garbage for those of TCP.
func address(addr net.Addr) string {
	if t, ok := addr.(*net.TCPAddr); ok && t != nil && t.Zone == "" {
		if ap := t.AddrPort(); ap.IsValid() {
			return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
		}
	}
	return addr.String()
}

// plain returns the request of that text as http.ReadRequest would, with ctx, if it
// is a GET of a path, its header is of printable ASCII, net/http's server would not
// refuse its Host, and nothing in it has a meaning for net/http. Otherwise it returns
// nil, whatever there is. All strings in the request are parts of text.
func plain(text string, ctx context.Context) *http.Request {
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
	r := http.Request{
		Method:     http.MethodGet,
		URL:        u,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Body:       http.NoBody,
		RequestURI: target,
	}
	if !plainFields(&r, rest, strings.Count(rest, "\n")) || !isHost(r.Host) {
		return nil
	}
	if r.Header["Pragma"] != nil && r.Header["Cache-Control"] == nil {
		return nil // net/http may add the other
	}
	return r.WithContext(ctx)
}

// plainFields fills r's Header and Host, with room for n fields.
func plainFields(r *http.Request, rest string, n int) bool {
	r.Header = make(http.Header, n)
	values := make([]string, n)
	for rest != "" {
		colon, end := strings.IndexByte(rest, ':'), strings.IndexByte(rest, '\r')
		if colon < 0 || end < colon || end+1 == len(rest) || rest[end+1] != '\n' || len(values) == 0 {
			return false
		}
		name, value := plainName(rest[:colon]), rest[colon+1:end]
		if name == "" || !isPlain(value) {
			return false
		}
		rest = rest[end+2:]
		value = trimmed(value)
		switch name {
		case "Host":
			if r.Host != "" || value == "" {
				return false
			}
			r.Host = value
			continue
		case "Connection":
			if value != "Upgrade" && strings.Contains(strings.ToLower(value), "close") {
				return false
			}
		case "Content-Length", "Transfer-Encoding", "Trailer":
			return false
		}
		if earlier := r.Header[name]; earlier != nil {
			r.Header[name] = append(earlier, value)
			continue
		}
		values[0] = value
		r.Header[name] = values[:1:1]
		values = values[1:]
	}
	return true
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
	switch name { // as most clients write them
	case "Host", "Connection", "Upgrade", "Origin", "Cookie", "User-Agent", "Pragma", "Cache-Control", "Accept-Encoding", "Accept-Language":
		return name
	case "Sec-WebSocket-Key":
		return "Sec-Websocket-Key"
	case "Sec-WebSocket-Version":
		return "Sec-Websocket-Version"
	case "Sec-WebSocket-Extensions":
		return "Sec-Websocket-Extensions"
	case "Sec-WebSocket-Protocol":
		return "Sec-Websocket-Protocol"
	}
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
	return textproto.CanonicalMIMEHeaderKey(name)
}

// trimmed returns a field's value without the spaces around it.
func trimmed(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// isPlain reports whether all of s is printable ASCII or a tab.
func isPlain(s string) bool {
	const each = 0x0101010101010101
	for ; len(s) >= 8; s = s[8:] {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		// The high bit of a byte: of 0x80 and more, of 0x7F, and of what is below 0x20
		// or follows that.
		if (x|(x+each)|(x-0x20*each))&(0x80*each) != 0 && !arePlain(s[:8]) {
			return false
		}
	}
	return arePlain(s)
}

// arePlain is isPlain byte by byte.
func arePlain(s string) bool {
	for _, c := range []byte(s) {
		if (c < ' ' || c >= 0x7F) && c != '\t' {
			return false
		}
	}
	return true
}
