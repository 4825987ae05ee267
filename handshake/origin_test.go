package handshake

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSameOrigin(t *testing.T) {
	tests := []struct {
		name   string
		origin []string
		host   string
		same   bool
	}{
		{"no Origin", nil, "example.com", true},
		{"same", []string{"http://example.com"}, "example.com", true},
		{"same, TLS", []string{"https://example.com"}, "example.com", true},
		{"same port", []string{"http://example.com:8080"}, "example.com:8080", true},
		{"upper case in Origin", []string{"HTTP://Example.COM"}, "example.com", true},
		{"upper case in Host", []string{"http://example.com"}, "EXAMPLE.com", true},
		{"default port in Host", []string{"http://example.com"}, "example.com:80", true},
		{"default port in Origin", []string{"http://example.com:80"}, "example.com", true},
		{"default port of TLS in Host", []string{"https://example.com"}, "example.com:443", true},
		{"default port of TLS in Origin", []string{"https://example.com:443"}, "example.com", true},
		{"ws, as ws4py has it", []string{"ws://127.0.0.1:46657"}, "127.0.0.1:46657", true},
		{"wss", []string{"wss://example.com"}, "example.com:443", true},
		{"slash, as golang.org/x/net has it", []string{"http://127.0.0.1:36885/"}, "127.0.0.1:36885", true},
		{"IPv4", []string{"http://127.0.0.1:8080"}, "127.0.0.1:8080", true},
		{"IPv6", []string{"http://[::1]"}, "[::1]", true},
		{"IPv6, port", []string{"http://[::1]:8080"}, "[::1]:8080", true},
		{"IPv6, default port", []string{"http://[::1]"}, "[::1]:80", true},
		{"IPv6, upper case", []string{"http://[2001:DB8::1]"}, "[2001:db8::1]", true},
		{"underscore", []string{"http://my_host"}, "my_host", true},
		{"trailing dot on both sides", []string{"http://example.com."}, "example.com.", true},

		{"other host", []string{"http://evil.example"}, "example.com", false},
		{"host below", []string{"http://a.example.com"}, "example.com", false},
		{"host above", []string{"http://example.com"}, "a.example.com", false},
		{"begins alike", []string{"http://example.com.evil.example"}, "example.com", false},
		{"ends alike", []string{"http://evilexample.com"}, "example.com", false},
		{"other port", []string{"http://example.com:8080"}, "example.com", false},
		{"other port in Host", []string{"http://example.com"}, "example.com:8080", false},
		{"port of the other scheme", []string{"http://example.com:443"}, "example.com", false},
		{"port of the other scheme in Host", []string{"https://example.com"}, "example.com:80", false},
		{"IPv6, other", []string{"http://[::1]"}, "[::2]", false},
		{"IPv6, other port", []string{"http://[::1]:8080"}, "[::1]:8081", false},
		{"null", []string{"null"}, "example.com", false},
		{"null, host of that name", []string{"null"}, "null", false},
		{"empty", []string{""}, "example.com", false},
		{"empty, no host", []string{""}, "", false},
		{"no scheme", []string{"example.com"}, "example.com", false},
		{"no host", []string{"http://"}, "", false},
		{"file", []string{"file://"}, "", false},
		{"scheme that is not of the web", []string{"app://example.com"}, "example.com", false},
		{"scheme with a space", []string{" http://example.com"}, "example.com", false},
		{"scheme that begins with a digit", []string{"1http://example.com"}, "example.com", false},
		{"path", []string{"http://example.com/x"}, "example.com", false},
		{"two slashes", []string{"http://example.com//"}, "example.com", false},
		{"query", []string{"http://example.com?x"}, "example.com", false},
		{"fragment", []string{"http://example.com#x"}, "example.com", false},
		{"user", []string{"http://example.com@evil.example"}, "example.com", false},
		{"user, other way round", []string{"http://evil.example@example.com"}, "example.com", false},
		{"list", []string{"http://example.com http://evil.example"}, "example.com", false},
		{"two headers", []string{"http://example.com", "http://example.com"}, "example.com", false},
		{"port empty", []string{"http://example.com:"}, "example.com", false},
		{"port 0", []string{"http://example.com:0"}, "example.com:0", false},
		{"port with zeros", []string{"http://example.com:080"}, "example.com", false},
		{"port too large", []string{"http://example.com:65536"}, "example.com:65536", false},
		{"port not a number", []string{"http://example.com:http"}, "example.com:http", false},
		{"port empty in Host", []string{"http://example.com"}, "example.com:", false},
		{"empty label", []string{"http://example..com"}, "example..com", false},
		{"leading dot", []string{"http://.example.com"}, ".example.com", false},
		{"Kelvin sign", []string{"http://\u212aernel.example"}, "kernel.example", false},
		{"not ASCII", []string{"http://ex\u00e4mple.com"}, "ex\u00e4mple.com", false},
		{"zero byte", []string{"http://example.com\x00"}, "example.com", false},
		{"IPv6 without end", []string{"http://[::1"}, "[::1", false},
		{"IPv6 empty", []string{"http://[]"}, "[]", false},
		{"IPv6 without brackets", []string{"http://::1"}, "::1", false},
		{"wildcard", []string{"http://*.example.com"}, "*.example.com", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &http.Request{Host: test.host, Header: http.Header{}}
			if test.origin != nil {
				r.Header["Origin"] = test.origin
			}
			err := SameOrigin(r)
			if test.same {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "websocket: ")
			require.ErrorContains(t, err, quote(test.origin[0]))
			if len(test.origin) == 1 {
				require.ErrorContains(t, err, quote(test.host))
				require.ErrorContains(t, err, "Origins")
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	tests := []struct {
		name    string
		origins []string
		origin  string
		allowed bool
	}{
		{"own, though others are listed", []string{"https://app.example.com"}, "https://chat.example.com", true},
		{"listed", []string{"https://app.example.com"}, "https://app.example.com", true},
		{"second", []string{"https://a.example", "https://b.example"}, "https://b.example", true},
		{"case", []string{"HTTPS://App.Example.com"}, "https://aPP.example.com", true},
		{"default port in the list", []string{"https://app.example.com:443"}, "https://app.example.com", true},
		{"default port in the request", []string{"https://app.example.com"}, "https://app.example.com:443", true},
		{"port", []string{"https://app.example.com:8443"}, "https://app.example.com:8443", true},
		{"slash in the list", []string{"https://app.example.com/"}, "https://app.example.com", true},
		{"IPv6", []string{"http://[::1]:3000"}, "http://[::1]:3000", true},
		{"scheme of an application", []string{"capacitor://localhost"}, "capacitor://localhost", true},
		{"extension", []string{"chrome-extension://abcdef"}, "chrome-extension://abcdef", true},
		{"any", []string{"*"}, "https://evil.example", true},
		{"any, null", []string{"*"}, "null", true},
		{"any, not an origin", []string{"*"}, "file://", true},
		{"below", []string{"https://*.example.org"}, "https://a.example.org", true},
		{"far below", []string{"https://*.example.org"}, "https://a.b.c.example.org", true},
		{"below, case", []string{"https://*.Example.org"}, "https://A.eXample.org", true},
		{"below, port", []string{"https://*.example.org:8443"}, "https://a.example.org:8443", true},

		{"not listed", []string{"https://app.example.com"}, "https://evil.example", false},
		{"other scheme", []string{"https://app.example.com"}, "http://app.example.com", false},
		{"other scheme, port of the listed one", []string{"https://app.example.com"}, "http://app.example.com:443", false},
		{"other port", []string{"https://app.example.com"}, "https://app.example.com:8443", false},
		{"listed with a port", []string{"https://app.example.com:8443"}, "https://app.example.com", false},
		{"null", []string{"https://app.example.com"}, "null", false},
		{"the domain itself", []string{"https://*.example.org"}, "https://example.org", false},
		{"ends alike", []string{"https://*.example.org"}, "https://evilexample.org", false},
		{"empty label", []string{"https://*.example.org"}, "https://.example.org", false},
		{"goes on after it", []string{"https://*.example.org"}, "https://a.example.org.evil.example", false},
		{"below, other scheme", []string{"https://*.example.org"}, "http://a.example.org", false},
		{"below, other port", []string{"https://*.example.org"}, "https://a.example.org:8443", false},
		{"below, in the user", []string{"https://*.example.org"}, "https://evil.example@a.example.org", false},
		{"below, in the path", []string{"https://*.example.org"}, "https://evil.example/a.example.org", false},
		{"below, in the query", []string{"https://*.example.org"}, "https://evil.example?.example.org", false},
		{"below, backslash", []string{"https://*.example.org"}, `https://evil.example\.example.org`, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &Server{Origins: test.origins}
			r := browserRequest()
			r.Header["Origin"] = []string{test.origin}
			a, err := s.Check(r)
			if test.allowed {
				require.NoError(t, err)
				require.NotNil(t, a)
				return
			}
			e := requireOriginError(t, err, http.StatusForbidden)
			require.ErrorContains(t, e, quote(test.origin))
			require.ErrorContains(t, e, `"chat.example.com"`)
			require.Contains(t, e.Body(), "add it to the server's Origins")
		})
	}
}

// requireOriginError requires a refusal with this status.
func requireOriginError(t testing.TB, err error, status int) *Error {
	t.Helper()
	e, ok := err.(*Error)
	require.True(t, ok, "%T", err)
	require.Equal(t, status, e.Status, "%v", err)
	return e
}

func TestOriginsInvalid(t *testing.T) {
	for _, entry := range []string{
		"", "example.com", "app.example.com:443", "//example.com", "https://", "https:///", "https:example.com",
		"https://example.com/path", "https://example.com?q", "https://user@example.com", "https://example.com:",
		"https://example.com:99999", "https://example.com:x", "https://*", "https://*.", "https://*example.com",
		"https://a.*.example.com", "https://*.*.example.com", "*.example.com", "https://*.[::1]", "**", "null",
		"https://ex\u00e4mple.com", "https://example.com ", "https://example.com,https://example.org", "https://[::1",
	} {
		t.Run(entry, func(t *testing.T) {
			s := &Server{Origins: []string{"https://app.example.com", entry}}
			_, err := s.Check(browserRequest())
			e := requireOriginError(t, err, http.StatusInternalServerError)
			require.ErrorContains(t, e, "websocket: Origins: "+quote(entry)+" is no origin")
			require.Contains(t, e.Body(), "a mistake in the server's settings")

			s.Origins = append(s.Origins, "*")
			_, err = s.Check(browserRequest())
			requireOriginError(t, err, http.StatusInternalServerError)
		})
	}
}

func TestCheckOrigin(t *testing.T) {
	teapot := &Error{Status: http.StatusTeapot, Header: http.Header{"X-Reason": {"tea"}}, Err: errors.New("no coffee")}
	var none *Error
	tests := []struct {
		name   string
		err    error
		status int // 0: accepted
		text   string
	}{
		{"accepted", nil, 0, ""},
		{"error", errors.New("not you"), http.StatusForbidden, "not you"},
		{"refusal", teapot, http.StatusTeapot, "no coffee"},
		{"wrapped refusal", errors.Join(errors.New("again"), teapot), http.StatusTeapot, "no coffee"},
		{"redirect", &Error{Status: http.StatusSeeOther, Err: errors.New("elsewhere")}, http.StatusSeeOther, "elsewhere"},
		{"refusal without a status", &Error{Err: errors.New("not you")}, http.StatusForbidden, "not you"},
		{"refusal with 101", &Error{Status: http.StatusSwitchingProtocols, Err: errors.New("not you")}, http.StatusForbidden, "not you"},
		{"refusal without an error", &Error{Status: http.StatusTeapot}, http.StatusTeapot, "418 I'm a teapot"},
		{"nil refusal", none, http.StatusForbidden, "nil *Error"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := browserRequest()
			r.Header["Origin"] = []string{"https://evil.example"}
			asked := 0
			s := &Server{
				CheckOrigin: func(r *http.Request) error {
					require.Equal(t, "https://evil.example", r.Header.Get("Origin"))
					asked++
					return test.err
				},
			}
			_, err := s.Check(r)
			require.Equal(t, 1, asked)
			if test.status == 0 {
				require.NoError(t, err)
				return
			}
			e := requireOriginError(t, err, test.status)
			require.ErrorContains(t, e, test.text)
			require.Contains(t, e.Body(), test.text)
		})
	}

	t.Run("replaces the policy", func(t *testing.T) {
		s := &Server{Origins: []string{"*"}, CheckOrigin: func(*http.Request) error { return errors.New("nobody") }}
		_, err := s.Check(browserRequest())
		requireOriginError(t, err, http.StatusForbidden)
	})
	t.Run("is not asked about what is no opening handshake", func(t *testing.T) {
		s := &Server{CheckOrigin: func(*http.Request) error { t.Fatal("asked"); return nil }}
		r := browserRequest()
		delete(r.Header, "Upgrade")
		_, err := s.Check(r)
		requireOriginError(t, err, http.StatusUpgradeRequired)
	})
}

// Nothing is allocated for a list of origins: it is read for every request.
func TestOriginsAllocs(t *testing.T) {
	r := browserRequest()
	r.Header["Origin"] = []string{"https://a.b.example.org"}
	patterns := []string{"https://app.example.com", "http://[::1]:3000", "https://*.example.org"}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if checkPatterns(patterns) != nil || checkOrigin(r, patterns) != nil {
			t.Fatal("the origin is listed")
		}
	}))
}

// Over TLS of our own, a page of the same host that came without it is another
// origin.
func TestSameOriginTLS(t *testing.T) {
	for _, tt := range []struct {
		origin      string
		plain, over bool // TLS
	}{
		{"https://example.com", true, true},
		{"wss://example.com", true, true},
		{"http://example.com", true, false},
		{"http://example.com:443", false, false},
	} {
		r := httptest.NewRequest("GET", "http://example.com/", nil)
		r.Header.Set("Origin", tt.origin)
		require.Equal(t, tt.plain, SameOrigin(r) == nil, tt.origin)
		r.TLS = &tls.ConnectionState{}
		require.Equal(t, tt.over, SameOrigin(r) == nil, tt.origin)
	}
}
