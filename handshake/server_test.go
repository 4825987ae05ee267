package handshake

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// browserRequest returns what Chromium sends, as net/http reads it.
func browserRequest() *http.Request {
	return &http.Request{
		Method:     "GET",
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Host:       "chat.example.com",
		RequestURI: "/",
		Header: http.Header{
			"Connection":               {"Upgrade"},
			"Pragma":                   {"no-cache"},
			"Cache-Control":            {"no-cache"},
			"User-Agent":               {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"},
			"Upgrade":                  {"websocket"},
			"Origin":                   {"https://chat.example.com"},
			"Sec-Websocket-Version":    {"13"},
			"Accept-Encoding":          {"gzip, deflate, br, zstd"},
			"Accept-Language":          {"en-US,en;q=0.9"},
			"Sec-Websocket-Key":        {"dGhlIHNhbXBsZSBub25jZQ=="},
			"Sec-Websocket-Extensions": {"permessage-deflate; client_max_window_bits"},
		},
	}
}

// requestText returns an opening handshake as it stands on the wire: lines
// instead of those of the same name, or beside the others; "-Name" removes one.
func requestText(lines ...string) string {
	all := []string{
		"Host: example.com",
		"Upgrade: websocket",
		"Connection: Upgrade",
		"Sec-WebSocket-Key: " + rfcKey,
		"Sec-WebSocket-Version: 13",
	}
	name := func(line string) string {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "-"), ":")
		return name
	}
	for _, line := range lines {
		all = slices.DeleteFunc(all, func(old string) bool { return strings.EqualFold(name(old), name(line)) })
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "-") {
			all = append(all, line)
		}
	}
	return "GET /chat HTTP/1.1\r\n" + strings.Join(all, "\r\n") + "\r\n\r\n"
}

// Every way to write an opening handshake that is to be accepted.
var acceptedTests = []struct {
	name  string
	lines []string
}{
	{"of section 1.3", []string{"Origin: http://example.com", "Sec-WebSocket-Protocol: chat, superchat"}},
	{"Upgrade in capitals", []string{"Upgrade: WEBSOCKET"}},
	{"Upgrade of wsproto", []string{"Upgrade: WebSocket"}},
	{"Upgrade with others", []string{"Upgrade: h2c, websocket"}},
	{"Upgrade on the second line", []string{"Upgrade: h2c", "Upgrade: websocket"}},
	{"Connection in lower case", []string{"Connection: upgrade"}},
	{"Connection of Firefox", []string{"Connection: keep-alive, Upgrade"}},
	{"Connection of lighttpd", []string{"Connection: close, upgrade"}},
	{"Connection on two lines", []string{"Connection: keep-alive", "Connection: UPGRADE"}},
	{"Connection with empty elements", []string{"Connection: ,, Upgrade ,"}},
	{"lower-case names of haproxy", []string{"upgrade: websocket", "connection: upgrade", "sec-websocket-key: " + rfcKey, "sec-websocket-version: 13"}},
	{"white space around values", []string{"Upgrade: \t websocket \t", "Sec-WebSocket-Version: \t13 \t", "Sec-WebSocket-Key:" + rfcKey + "   "}},
	{"folded line", []string{"Connection: keep-alive,\r\n Upgrade"}},
	{"key of section 4.1", []string{"Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC=="}},
	{"no body, said so", []string{"Content-Length: 0"}},
	{"no subprotocol", []string{"Sec-WebSocket-Protocol:"}},
	{"no extension", []string{"Sec-WebSocket-Extensions:"}},
	{"unknown extension", []string{"Sec-WebSocket-Extensions: foo; bar=baz, qux"}},
	{"unknown header", []string{"Sec-WebSocket-Unknown: 1", "Cookie: a=b"}},
	{"HTTP2-Settings", []string{"Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"}},
	{"same origin", []string{"Origin: https://example.com"}},
}

func TestServerCheckAccepts(t *testing.T) {
	for _, test := range acceptedTests {
		t.Run(test.name, func(t *testing.T) {
			r := readRequest(t, []byte(requestText(test.lines...)))
			a, err := new(Server).Check(r)
			require.NoError(t, err)
			want := "HTTP/1.1 101 Switching Protocols\r\n" +
				"Upgrade: websocket\r\n" +
				"Connection: Upgrade\r\n" +
				"Sec-WebSocket-Accept: " + AcceptKey(r.Header.Get("Sec-WebSocket-Key")) + "\r\n" +
				"\r\n"
			require.Equal(t, want, string(a.AppendResponse(nil)))
			require.Zero(t, a.Subprotocol)
			require.Nil(t, a.Deflate)
		})
	}
}

// Every way to write one that is to be refused. (RFC 6455, section 4.2.1)
var refusedTests = []struct {
	name   string
	text   string // of the request
	status int
	header http.Header // beside what every refusal has
	err    string
}{
	{"page", "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", 426, http.Header{"Upgrade": {"websocket"}},
		"websocket: this is a WebSocket endpoint, and the request has no Upgrade header (RFC 6455, section 4.2.1)"},
	{"page over HTTP/1.0", "GET / HTTP/1.0\r\nHost: example.com\r\n\r\n", 426, http.Header{"Upgrade": {"websocket"}},
		"websocket: this is a WebSocket endpoint, and the request has no Upgrade header (RFC 6455, section 4.2.1)"},
	{"form", "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n", 405, http.Header{"Allow": {"GET"}},
		`websocket: method of the opening handshake is "POST", it must be GET (RFC 6455, section 4.2.1)`},
	{"method POST", strings.Replace(requestText(), "GET", "POST", 1), 405, http.Header{"Allow": {"GET"}},
		`websocket: method of the opening handshake is "POST", it must be GET (RFC 6455, section 4.2.1)`},
	{"method in lower case", strings.Replace(requestText(), "GET", "get", 1), 405, http.Header{"Allow": {"GET"}},
		`websocket: method of the opening handshake is "get", it must be GET (RFC 6455, section 4.2.1)`},
	{"HTTP/1.0", strings.Replace(requestText(), "HTTP/1.1", "HTTP/1.0", 1), 400, nil,
		`websocket: the opening handshake came over "HTTP/1.0", it must be HTTP/1.1 (RFC 6455, section 4.2.1)`},
	{"Host missing", requestText("-Host"), 400, nil,
		"websocket: Host is missing (RFC 6455, section 4.2.1)"},
	{"Host empty", requestText("Host:"), 400, nil,
		"websocket: Host is missing (RFC 6455, section 4.2.1)"},
	{"Upgrade to something else", requestText("Upgrade: h2c"), 400, nil,
		`websocket: Upgrade is "h2c", it must have "websocket" (RFC 6455, section 4.2.1)`},
	{"Upgrade with a version", requestText("Upgrade: websocket/13"), 400, nil,
		`websocket: Upgrade is "websocket/13", it must have "websocket" (RFC 6455, section 4.2.1)`},
	{"Upgrade empty", requestText("Upgrade:"), 400, nil,
		`websocket: Upgrade is "", it must have "websocket" (RFC 6455, section 4.2.1)`},
	{"Upgrade with a long s", requestText("Upgrade: web\u017focket"), 400, nil,
		`websocket: Upgrade is "webſocket", it must have "websocket" (RFC 6455, section 4.2.1)`},
	{"Connection missing", requestText("-Connection"), 400, nil,
		`websocket: Connection is missing, it must have "Upgrade" (RFC 6455, section 4.2.1)`},
	{"Connection without Upgrade", requestText("Connection: keep-alive"), 400, nil,
		`websocket: Connection is "keep-alive", it must have "Upgrade" (RFC 6455, section 4.2.1)`},
	{"Connection with a longer word", requestText("Connection: upgraded"), 400, nil,
		`websocket: Connection is "upgraded", it must have "Upgrade" (RFC 6455, section 4.2.1)`},
	{"body", requestText("Content-Length: 5") + "hello", 400, nil,
		"websocket: the opening handshake has a body (RFC 6455, section 4.1)"},
	{"body of chunks", requestText("Transfer-Encoding: chunked") + "0\r\n\r\n", 400, nil,
		"websocket: the opening handshake has a body (RFC 6455, section 4.1)"},
	{"version missing", requestText("-Sec-WebSocket-Version"), 426, http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}},
		"websocket: Sec-WebSocket-Version is missing, it must be 13 (RFC 6455, section 4.2.1)"},
	{"version empty", requestText("Sec-WebSocket-Version:"), 426, http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}},
		`websocket: Sec-WebSocket-Version is "", it must be 13 (RFC 6455, section 4.2.1)`},
	{"version 8", requestText("Sec-WebSocket-Version: 8"), 426, http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}},
		`websocket: Sec-WebSocket-Version is "8", it must be 13 (RFC 6455, section 4.2.1)`},
	{"version with a leading zero", requestText("Sec-WebSocket-Version: 013"), 426, http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}},
		`websocket: Sec-WebSocket-Version is "013", it must be 13 (RFC 6455, section 4.2.1)`},
	{"versions in a list", requestText("Sec-WebSocket-Version: 13, 8"), 426, http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}},
		`websocket: Sec-WebSocket-Version is "13, 8", it must be 13 (RFC 6455, section 4.2.1)`},
	{"versions on two lines", requestText("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"), 426, http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}},
		"websocket: more than one Sec-WebSocket-Version (RFC 6455, section 11.3.5)"},
	{"version twice", requestText("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"), 426, http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}},
		"websocket: more than one Sec-WebSocket-Version (RFC 6455, section 11.3.5)"},
	{"key missing", requestText("-Sec-WebSocket-Key"), 400, nil,
		"websocket: Sec-WebSocket-Key is missing (RFC 6455, section 4.2.1)"},
	{"key empty", requestText("Sec-WebSocket-Key:"), 400, nil,
		"websocket: Sec-WebSocket-Key is empty (RFC 6455, section 4.2.1)"},
	{"key twice", requestText("Sec-WebSocket-Key: "+rfcKey, "Sec-WebSocket-Key: "+rfcKey), 400, nil,
		"websocket: more than one Sec-WebSocket-Key (RFC 6455, section 11.3.1)"},
	{"key not base64", requestText("Sec-WebSocket-Key: not base64!"), 400, nil,
		`websocket: Sec-WebSocket-Key "not base64!" is not base64 (RFC 6455, section 4.2.1)`},
	{"key too short", requestText("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4P"), 400, nil,
		`websocket: Sec-WebSocket-Key "AQIDBAUGBwgJCgsMDQ4P" is base64 of 15 bytes, it must be of 16 (RFC 6455, section 4.2.1)`},
	{"subprotocol of two words", requestText("Sec-WebSocket-Protocol: chat, super chat"), 400, nil,
		`websocket: Sec-WebSocket-Protocol has "super chat", which is not a token (RFC 6455, section 4.1)`},
	{"subprotocol twice", requestText("Sec-WebSocket-Protocol: chat, x", "Sec-WebSocket-Protocol: chat"), 400, nil,
		`websocket: Sec-WebSocket-Protocol has "chat" twice (RFC 6455, section 4.1)`},
	{"extensions malformed", requestText("Sec-WebSocket-Extensions: foo;"), 400, nil,
		`websocket: Sec-WebSocket-Extensions "foo;" is malformed (RFC 6455, section 9.1)`},
	{"other origin", requestText("Origin: https://evil.example"), 403, nil,
		`websocket: origin "https://evil.example" is not allowed at host "example.com", nor listed in Origins (RFC 6455, section 10.2)`},
	{"origin twice", requestText("Origin: https://example.com", "Origin: https://evil.example"), 403, nil,
		`websocket: more than one Origin header, "https://example.com" and "https://evil.example" (RFC 6454, section 7.3)`},
}

// requireRefused checks what every refusal has, on the wire and as an error.
func requireRefused(t testing.TB, err error, r *http.Request) *Error {
	refusal, ok := err.(*Error)
	require.True(t, ok, "%T", err)
	require.Equal(t, "websocket: ", refusal.Error()[:11])
	wire := refusal.AppendResponse(nil)
	resp, body := readResponse(t, wire, r)
	require.Equal(t, refusal.Status, resp.StatusCode)
	require.Equal(t, "text/plain; charset=utf-8", resp.Header.Get("Content-Type"))
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	// What follows on the connection might be frames. Upgrade MUST be named in
	// Connection. (RFC 9110, section 7.8)
	require.True(t, resp.Close)
	connection := "\r\nConnection: close\r\n"
	if resp.Header.Get("Upgrade") != "" {
		connection = "\r\nConnection: Upgrade, close\r\n"
	}
	require.Equal(t, 1, strings.Count(string(wire), "\r\nConnection: "))
	require.Contains(t, string(wire), connection)
	if r.Method != http.MethodHead {
		require.Equal(t, refusal.Body(), body)
	}
	return refusal
}

func TestServerCheckRefuses(t *testing.T) {
	for _, test := range refusedTests {
		t.Run(test.name, func(t *testing.T) {
			r := readRequest(t, []byte(test.text))
			a, err := new(Server).Check(r)
			require.Nil(t, a)
			require.EqualError(t, err, test.err)
			refusal := requireRefused(t, err, r)
			require.Equal(t, test.status, refusal.Status)
			require.Equal(t, len(r.Header["Upgrade"]) == 0, errors.Is(err, ErrNotWebSocket))
			// A person reads the body: what was wrong, and what to do.
			require.True(t, strings.HasPrefix(refusal.Body(), test.err+". "), refusal.Body())
			require.True(t, strings.HasSuffix(refusal.Body(), ".\n"), refusal.Body())
			require.Equal(t, 1, strings.Count(refusal.Body(), "\n"))

			resp, _ := readResponse(t, refusal.AppendResponse(nil), r)
			for _, name := range []string{"Connection", "Content-Length", "Content-Type", "X-Content-Type-Options"} {
				resp.Header.Del(name)
			}
			if test.header == nil {
				test.header = http.Header{}
			}
			require.Equal(t, test.header, resp.Header)
		})
	}
}

// net/http's server hands over requests that ReadRequest never returns, and so
// do other callers.
func TestServerCheckOddRequests(t *testing.T) {
	http2 := func(method string, h http.Header) *http.Request {
		return &http.Request{Method: method, Proto: "HTTP/2.0", ProtoMajor: 2, Host: "example.com", Header: h}
	}
	without := func(name string, values ...string) *http.Request {
		r := browserRequest()
		r.Header[name] = values
		return r
	}
	tests := []struct {
		name   string
		r      *http.Request
		status int
		err    string
	}{
		{"zero", &http.Request{}, 405, `method of the opening handshake is ""`},
		{"nil header", &http.Request{Method: "GET"}, 426, "has no Upgrade header"},
		{"Upgrade without values", without("Upgrade"), 426, "has no Upgrade header"},
		{"Connection without values", without("Connection"), 400, "Connection is missing"},
		{"key without values", without("Sec-Websocket-Key"), 400, "Sec-WebSocket-Key is missing"},
		{"version without values", without("Sec-Websocket-Version"), 426, "Sec-WebSocket-Version is missing"},
		{"page over HTTP/2", http2("GET", nil), 400, `websocket: the request came over "HTTP/2.0", and WebSocket over HTTP/2 (RFC 8441) is not served here`},
		{"CONNECT over HTTP/2", http2("CONNECT", nil), 400, "WebSocket over HTTP/2 (RFC 8441) is not served here"},
		{"Extended CONNECT", http2("CONNECT", http.Header{":protocol": {"websocket"}}), 501, `websocket: the request came over "HTTP/2.0", and WebSocket over HTTP/2 (RFC 8441) is not served here`},
		{"line break in the method", &http.Request{Method: "GET\r\nX: y", ProtoMajor: 1, ProtoMinor: 1}, 405, `method of the opening handshake is "GET\r\nX: y"`},
		{"line break in Upgrade", without("Upgrade", "web\r\nsocket"), 400, `Upgrade is "web\r\nsocket"`},
		{"line break in the key", without("Sec-Websocket-Key", rfcKey+"\r\nX: y"), 400, `is not base64`},
		{"line break in the version", without("Sec-Websocket-Version", "13\r\nX: y"), 426, `is "13\r\nX: y"`},
		{"line break in a subprotocol", without("Sec-Websocket-Protocol", "chat\r\nX: y"), 400, `has "chat\r\nX: y", which is not a token`},
		{"line break in the origin", without("Origin", "https://chat.example.com\r\nX: y"), 403, `origin "https://chat.example.com\r\nX: y" is not allowed`},
		{"length unknown", func() *http.Request { r := browserRequest(); r.ContentLength = -1; return r }(), 400, "has a body"},
		{"long values", without("Upgrade", strings.Repeat("é", 1<<20)), 400, `..., it must have`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := Server{Subprotocols: []string{"chat"}, Deflate: &Deflate{}}
			a, err := server.Check(test.r)
			require.Nil(t, a)
			require.ErrorContains(t, err, test.err)
			refusal := requireRefused(t, err, test.r)
			require.Equal(t, test.status, refusal.Status)
			require.Less(t, len(refusal.Body()), 1000)
		})
	}
	for _, name := range []string{"Origin", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions", "Host", "Cookie"} {
		_, err := new(Server).Check(without(name))
		require.NoError(t, err, name)
	}
	// Over HTTP/2 nothing may be said of Upgrade. (RFC 9113, section 8.2.2)
	_, err := new(Server).Check(http2("GET", nil))
	require.ErrorIs(t, err, ErrNotWebSocket)
	require.Empty(t, err.(*Error).Header)
	_, err = new(Server).Check(http2("CONNECT", http.Header{":protocol": {"websocket"}}))
	require.NotErrorIs(t, err, ErrNotWebSocket)
}

func TestServerSubprotocol(t *testing.T) {
	tests := []struct {
		name   string
		server []string
		values []string
		want   string
	}{
		{"server has none", nil, []string{"chat"}, ""},
		{"client has none", []string{"chat"}, nil, ""},
		{"none in common", []string{"chat"}, []string{"superchat, chatter"}, ""},
		{"one", []string{"chat"}, []string{"chat"}, "chat"},
		{"server's order", []string{"b", "a"}, []string{"a, b"}, "b"},
		{"server's second", []string{"c", "a"}, []string{"a, b"}, "a"},
		{"over several lines", []string{"c"}, []string{"a", "b, c"}, "c"},
		{"empty elements", []string{"c"}, []string{",,c,"}, "c"},
		{"case matters", []string{"Chat"}, []string{"chat, CHAT"}, ""},
		{"over eight", []string{"j"}, []string{"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s"}, "j"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := browserRequest()
			r.Header[headerProtocol] = test.values
			a, err := (&Server{Subprotocols: test.server}).Check(r)
			require.NoError(t, err)
			require.Equal(t, test.want, a.Subprotocol)
			resp, _ := readResponse(t, a.AppendResponse(nil), r)
			require.Equal(t, test.want, resp.Header.Get("Sec-WebSocket-Protocol"))
			require.Equal(t, test.want != "", len(resp.Header["Sec-Websocket-Protocol"]) == 1)
		})
	}
}

// Extensions are agreed on only if the user wants them, but what is malformed is
// refused in any case.
func TestServerWithoutDeflate(t *testing.T) {
	r := browserRequest()
	a, err := new(Server).Check(r)
	require.NoError(t, err)
	require.Nil(t, a.Deflate)
	require.NotContains(t, string(a.AppendResponse(nil)), "Extensions")

	r.Header[headerExtensions] = []string{"permessage-deflate", "permessage-deflate;;"}
	for _, server := range []*Server{{}, {Deflate: &Deflate{}}} {
		_, err = server.Check(r)
		require.EqualError(t, err, `websocket: Sec-WebSocket-Extensions "permessage-deflate;;" is malformed (RFC 6455, section 9.1)`)
	}
}

func TestServerResponse(t *testing.T) {
	server := Server{
		Subprotocols: []string{"chat"},
		Deflate:      &Deflate{},
		Header:       http.Header{"X-B": {"2"}, "Set-Cookie": {"a=b", "c=d"}, "x-a": {"1"}, "X-None": nil, "Date": {""}},
	}
	r := browserRequest()
	r.Header[headerProtocol] = []string{"superchat, chat"}
	a, err := server.Check(r)
	require.NoError(t, err)
	want := "HTTP/1.1 101 Switching Protocols\r\n" +
		"Upgrade: websocket\r\n" +
		"Connection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" +
		"Sec-WebSocket-Protocol: chat\r\n" +
		"Sec-WebSocket-Extensions: permessage-deflate\r\n" +
		"Date: \r\n" +
		"Set-Cookie: a=b\r\n" +
		"Set-Cookie: c=d\r\n" +
		"X-B: 2\r\n" +
		"x-a: 1\r\n" +
		"\r\n"
	require.Equal(t, want, string(a.AppendResponse(nil)))
	require.Equal(t, "before"+want, string(a.AppendResponse([]byte("before"))))
	require.Equal(t, &Deflate{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15}, a.Deflate)
	resp, _ := readResponse(t, a.AppendResponse(nil), r)
	require.Equal(t, []string{"a=b", "c=d"}, resp.Header["Set-Cookie"])
}

// What a user changes in an Agreement cannot become another header field.
func TestAgreementSmuggling(t *testing.T) {
	server := Server{Header: http.Header{"X-A": {"1"}}}
	r := browserRequest()
	a, err := server.Check(r)
	require.NoError(t, err)
	a.Subprotocol = "chat\r\nX-Evil: 1"
	server.Header["X-A"] = []string{"1\r\nX-Evil: 1\r\n\r\nframes"}
	server.Header["X-B\r\nX-Evil"] = []string{"1"}
	resp, _ := readResponse(t, a.AppendResponse(nil), r)
	require.NotContains(t, resp.Header, "X-Evil")
	require.NotContains(t, resp.Header, "Sec-Websocket-Protocol")
}

// Mistakes in the settings refuse everything, so that they are seen at once.
func TestServerCheckSettings(t *testing.T) {
	tests := []struct {
		name   string
		server Server
		err    string
	}{
		{"origin without a scheme", Server{Origins: []string{"*", "example.com"}}, `websocket: Origins: "example.com" is no origin: write`},
		{"origin, though CheckOrigin is set", Server{Origins: []string{""}, CheckOrigin: func(*http.Request) error { return nil }}, `websocket: Origins: "" is no origin`},
		{"subprotocol of two words", Server{Subprotocols: []string{"chat", "super chat"}}, `websocket: Subprotocols: "super chat" is not a token (RFC 6455, section 4.1)`},
		{"subprotocol empty", Server{Subprotocols: []string{""}}, `websocket: Subprotocols: "" is not a token`},
		{"subprotocol with a line break", Server{Subprotocols: []string{"chat\r\nX-Evil: 1"}}, `websocket: Subprotocols: "chat\r\nX-Evil: 1" is not a token`},
		{"header with a line break", Server{Header: http.Header{"X": {"a\r\nX-Evil: 1"}}}, `websocket: Header: the value of "X" has control characters`},
		{"header of the handshake", Server{Header: http.Header{"connection": {"close"}}}, `websocket: Header: "connection" cannot be set`},
		{"window bits", Server{Deflate: &Deflate{ServerMaxWindowBits: 7}}, "websocket: Deflate: 7 window bits are not possible"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range []*http.Request{browserRequest(), {Method: "GET"}} {
				_, err := test.server.Check(r)
				require.ErrorContains(t, err, test.err)
				refusal := requireRefused(t, err, r)
				require.Equal(t, http.StatusInternalServerError, refusal.Status)
			}
		})
	}
}

func TestServerLinear(t *testing.T) {
	var numbered strings.Builder
	for i := range hostileBytes / 8 {
		fmt.Fprintf(&numbered, "p%x,", i)
	}
	tests := []struct{ name, header, value string }{
		{"subprotocols", headerProtocol, numbered.String()},
		{"the same subprotocol", headerProtocol, strings.Repeat("a,", hostileBytes/2)},
		{"empty subprotocols", headerProtocol, strings.Repeat(",", hostileBytes)},
		{"offers", headerExtensions, strings.Repeat("permessage-deflate;x,", hostileBytes/21)},
		{"parameters", headerExtensions, "permessage-deflate" + strings.Repeat(";x", hostileBytes/2)},
		{"known parameters", headerExtensions, "permessage-deflate" + strings.Repeat(";client_max_window_bits", hostileBytes/23)},
		{"digits", headerExtensions, "permessage-deflate;server_max_window_bits=" + strings.Repeat("1", hostileBytes)},
		{"origin", headerOrigin, "https://" + strings.Repeat("a.", hostileBytes/2)},
		{"origin of colons", headerOrigin, "https://" + strings.Repeat(":", hostileBytes)},
		{"origin of schemes", headerOrigin, strings.Repeat("://", hostileBytes/3)},
		{"key", headerKey, strings.Repeat("A", hostileBytes)},
		{"Connection", headerConnection, strings.Repeat("close,", hostileBytes/6)},
	}
	server := Server{
		Origins:      []string{"https://*.example.com", "https://*.example.org"},
		Subprotocols: []string{"chat", "superchat"},
		Deflate:      &Deflate{ServerMaxWindowBits: 10, ClientMaxWindowBits: 10},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := browserRequest()
			r.Header[test.header] = []string{test.value}
			requireLinear(t, func() {
				_, err := server.Check(r)
				if err != nil {
					require.Less(t, len(requireRefused(t, err, r).Body()), 1000)
				}
			})
			r.Header[test.header] = strings.SplitAfter(test.value, ",")
			requireLinear(t, func() { server.Check(r) })
		})
	}
}

// benchmarkServers are the terms that the benchmarks compare.
var benchmarkServers = []struct {
	name   string
	server *Server
}{
	{"terms=none", &Server{}},
	{"terms=deflate", &Server{Deflate: &Deflate{}}},
	{"terms=all", &Server{
		Origins:      []string{"https://app.example.com", "https://*.example.org"},
		Subprotocols: []string{"chat", "superchat"},
		Deflate:      &Deflate{ServerMaxWindowBits: 12},
		Header:       http.Header{"Set-Cookie": {"a=b"}, "X-Server": {"1"}},
	}},
}

func BenchmarkServerCheck(b *testing.B) {
	for _, bm := range benchmarkServers {
		b.Run(bm.name, func(b *testing.B) {
			r := browserRequest()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bm.server.Check(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	for _, bm := range benchmarkServers {
		b.Run(bm.name, func(b *testing.B) {
			a, err := bm.server.Check(browserRequest())
			if err != nil {
				b.Fatal(err)
			}
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = a.AppendResponse(buf[:0])
			}
		})
	}
}
