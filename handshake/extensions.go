package handshake

import "strings"

// Extension is one element of a Sec-WebSocket-Extensions header.
// (RFC 6455, section 9.1)
type Extension struct {
	Name   string
	Params []Param // in the order of the header
}

// Param is a parameter of an extension: name, or name=value.
type Param struct {
	Name     string
	Value    string // a token, without the quotes it may have had
	HasValue bool   // there was a "="
}

// ParseExtensions reads the values of Sec-WebSocket-Extensions header lines,
// which together are one list:
//
//	list      = extension *( "," extension )
//	extension = token *( ";" token [ "=" ( token | quoted-string ) ] )
//
// with white space allowed between any two of these. A quoted value must be a
// token once its quotes and backslashes are removed. Empty elements of the list
// are allowed and mean nothing, so without any element there is no error. An
// error quotes the line that does not fit. Names are not looked at, and may
// stand there several times. (RFC 6455, section 9.1; RFC 9110, section 5.6.1)
func ParseExtensions(values []string) ([]Extension, error) {
	var all []Extension
	for _, v := range values {
		list := scanner{s: v}
		for list.more() {
			x, ok := list.extension(nil)
			if !ok {
				return nil, malformed(v)
			}
			all = append(all, x)
		}
	}
	return all, nil
}

// AppendExtension appends x to dst as it stands in a header. Names and values
// must be tokens, as those of ParseExtensions are.
func AppendExtension(dst []byte, x Extension) []byte { return x.appendTo(dst) }

func (x Extension) appendTo(dst []byte) []byte {
	dst = append(dst, x.Name...)
	for _, p := range x.Params {
		dst = append(dst, "; "...)
		dst = append(dst, p.Name...)
		if p.HasValue {
			dst = append(dst, '=')
			dst = append(dst, p.Value...)
		}
	}
	return dst
}

func malformed(value string) error {
	return wrong("9.1", "Sec-WebSocket-Extensions %s is malformed", quote(value))
}

// scanner reads a header value from the left. Every byte is looked at a bounded
// number of times.
type scanner struct{ s string }

// end skips white space and reports whether nothing is left.
func (s *scanner) end() bool {
	s.s = strings.TrimLeft(s.s, " \t")
	return s.s == ""
}

// more skips empty elements of the list and reports whether another element
// follows.
func (s *scanner) more() bool {
	for s.take(',') {
	}
	return s.s != ""
}

// take skips white space and then c, if it is next.
func (s *scanner) take(c byte) bool {
	if s.end() || s.s[0] != c {
		return false
	}
	s.s = s.s[1:]
	return true
}

// token skips white space and returns the token that is next.
func (s *scanner) token() (string, bool) {
	s.end()
	n := 0
	for n < len(s.s) && isTokenByte[s.s[n]] {
		n++
	}
	t := s.s[:n]
	s.s = s.s[n:]
	return t, n > 0
}

// quotedToken returns the token in the quoted string that is next, its opening
// quote taken. Once unquoted, a value MUST be a token. (RFC 6455, section 9.1)
func (s *scanner) quotedToken() (string, bool) {
	// Most have no backslash and need no copy.
	n := 0
	for n < len(s.s) && isTokenByte[s.s[n]] {
		n++
	}
	if n > 0 && n < len(s.s) && s.s[n] == '"' {
		t := s.s[:n]
		s.s = s.s[n+1:]
		return t, true
	}
	var b strings.Builder
	for i := 0; i < len(s.s); i++ {
		c := s.s[i]
		if c == '"' {
			s.s = s.s[i+1:]
			return b.String(), b.Len() > 0
		}
		if c == '\\' {
			if i++; i == len(s.s) {
				break
			}
			c = s.s[i]
		}
		if !isTokenByte[c] {
			break
		}
		b.WriteByte(c)
	}
	return "", false
}

// extension returns the extension that is next, its parameters appended to
// params, and takes the comma that must follow if anything does.
func (s *scanner) extension(params []Param) (x Extension, ok bool) {
	if x.Name, ok = s.token(); !ok {
		return Extension{}, false
	}
	for s.take(';') {
		p := Param{}
		if p.Name, ok = s.token(); !ok {
			return Extension{}, false
		}
		if s.take('=') {
			p.HasValue = true
			if s.take('"') {
				p.Value, ok = s.quotedToken()
			} else {
				p.Value, ok = s.token()
			}
			if !ok {
				return Extension{}, false
			}
		}
		params = append(params, p)
	}
	x.Params = params
	return x, s.end() || s.take(',')
}
