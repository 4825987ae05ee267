package handshake

import "strings"

// Extension is one element of a Sec-WebSocket-Extensions header.
// (RFC 6455, section 9.1)
type Extension struct {
	Name   string
	Params []Param
}

// Param is a parameter of an extension: name, or name=value.
type Param struct {
	Name     string
	Value    string // without quotes
	HasValue bool   // there was a "="
}

// ParseExtensions reads the values of Sec-WebSocket-Extensions header lines,
// which together are one list:
//
//	extension *( "," extension )
//	extension = token *( ";" token [ "=" ( token | quoted-string ) ] )
//
// A quoted value must be a token once its quotes and backslashes are removed.
// Empty elements of the list are allowed and mean nothing. The error quotes the
// header that does not fit. (RFC 6455, section 9.1; RFC 9110, section 5.6.1)
func ParseExtensions(values []string) ([]Extension, error) {
	var list []Extension
	for _, v := range values {
		s := scanner{s: v}
		for !s.end() {
			if s.take(',') {
				continue
			}
			x, ok := s.extension()
			if !ok || !s.end() && !s.take(',') {
				return nil, wrong("9.1", "Sec-WebSocket-Extensions %s is malformed", quote(v))
			}
			list = append(list, x)
		}
	}
	return list, nil
}

// AppendExtension appends x as it stands in a header. Names and values must be
// tokens, as those of ParseExtensions are.
func AppendExtension(dst []byte, x Extension) []byte {
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

// scanner reads a header value from the left. Every byte is looked at a bounded
// number of times.
type scanner struct{ s string }

// end skips white space and reports whether nothing is left.
func (s *scanner) end() bool {
	s.s = strings.TrimLeft(s.s, " \t")
	return s.s == ""
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

// quoted returns the contents of the quoted string that is next, its opening
// quote taken.
func (s *scanner) quoted() (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s.s); i++ {
		switch c := s.s[i]; c {
		case '"':
			s.s = s.s[i+1:]
			return b.String(), true
		case '\\':
			i++
			if i == len(s.s) {
				return "", false
			}
			b.WriteByte(s.s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

func (s *scanner) extension() (Extension, bool) {
	name, ok := s.token()
	if !ok {
		return Extension{}, false
	}
	x := Extension{Name: name}
	for s.take(';') {
		p := Param{}
		if p.Name, ok = s.token(); !ok {
			return Extension{}, false
		}
		if s.take('=') {
			p.HasValue = true
			if s.take('"') {
				p.Value, ok = s.quoted()
				// Once unquoted, a value MUST be a token. (RFC 6455, section 9.1)
				ok = ok && isToken(p.Value)
			} else {
				p.Value, ok = s.token()
			}
			if !ok {
				return Extension{}, false
			}
		}
		x.Params = append(x.Params, p)
	}
	return x, true
}
