package handshake

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/testdata/capture"
)

func TestClientRequestURL(t *testing.T) {
	tests := []struct {
		url    string
		want   string // URL of the request
		host   string
		target string // in the request line
	}{
		{"ws://example.com/chat", "http://example.com/chat", "example.com", "/chat"},
		{"wss://example.com/chat", "https://example.com/chat", "example.com", "/chat"},
		{"http://example.com/chat", "http://example.com/chat", "example.com", "/chat"},
		{"https://example.com/chat", "https://example.com/chat", "example.com", "/chat"},
		{"WSS://example.com", "https://example.com", "example.com", "/"},
		{"ws://example.com:8080", "http://example.com:8080", "example.com:8080", "/"},
		{"ws://example.com?a=b&c", "http://example.com?a=b&c", "example.com", "/?a=b&c"},
		{"ws://example.com/a%20b%23?c=%23", "http://example.com/a%20b%23?c=%23", "example.com", "/a%20b%23?c=%23"},
		{"ws://[::1]:80/", "http://[::1]:80/", "[::1]:80", "/"},
		{"ws://example.com/a b?c d", "http://example.com/a%20b?c%20d", "example.com", "/a%20b?c%20d"},
		{"ws://example.com/?x HTTP/1.1", "http://example.com/?x%20HTTP/1.1", "example.com", "/?x%20HTTP/1.1"},
		{"ws://example.com/é?é", "http://example.com/%C3%A9?%C3%A9", "example.com", "/%C3%A9?%C3%A9"},
		{"ws://example.com/?\xff", "http://example.com/?%FF", "example.com", "/?%FF"},
		{"ws://user:pw@example.com/", "http://example.com/", "example.com", "/"},
	}
	for _, test := range tests {
		t.Run(test.url, func(t *testing.T) {
			r, err := (&Client{}).Request(test.url)
			require.NoError(t, err)
			require.Equal(t, test.want, r.URL.String())
			require.Equal(t, test.host, r.Host)
			require.Equal(t, "GET", r.Method)
			require.Nil(t, r.Body)

			// What net/http sends is an opening handshake.
			var raw strings.Builder
			require.NoError(t, r.Write(&raw))
			received, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw.String())))
			require.NoError(t, err)
			require.Equal(t, test.target, received.RequestURI)
			_, err = (&Server{}).Check(received)
			require.NoError(t, err)
		})
	}
}

func TestClientRequestRefuses(t *testing.T) {
	tests := []struct {
		name   string
		client Client
		url    string
		want   string
	}{
		{"scheme", Client{}, "ftp://example.com/", `has scheme "ftp", it must be ws or wss`},
		{"no scheme", Client{}, "//example.com/", "has no scheme"},
		{"no scheme, path", Client{}, "/chat", "has no scheme"},
		{"empty", Client{}, "", "has no scheme"},
		{"host and port alone", Client{}, "localhost:8080", `has scheme "localhost"`},
		{"no host", Client{}, "ws:///chat", "has no host"},
		{"port alone", Client{}, "ws://:8080/", "has no host"},
		{"opaque", Client{}, "ws:example.com", "has no host"},
		{"fragment", Client{}, "ws://example.com/#a", "has a fragment: write %23"},
		{"empty fragment", Client{}, "ws://example.com/#", "has a fragment"},
		{"fragment after a query", Client{}, "ws://example.com/?a#b", "has a fragment"},
		{"line break", Client{}, "ws://example.com/\r\nX: y", "cannot be parsed: "},
		{"port that is no number", Client{}, "ws://example.com:x/", "cannot be parsed: "},
		{"subprotocol no token", Client{Subprotocols: []string{"a b"}}, "", `Subprotocols: "a b" is not a token`},
		{"subprotocol empty", Client{Subprotocols: []string{""}}, "", `"" is not a token`},
		{"subprotocol list in one", Client{Subprotocols: []string{"a,b"}}, "", `"a,b" is not a token`},
		{"subprotocol twice", Client{Subprotocols: []string{"a", "b", "a"}}, "", `"a" stands there twice`},
		{"origin with a line break", Client{Origin: "http://a\r\nX: y"}, "", "Origin has control characters"},
		{"origin twice", Client{Origin: "http://a", Header: http.Header{"origin": {"http://b"}}}, "", "Origin cannot be set"},
		{"key", Client{Header: http.Header{"Sec-WebSocket-Key": {rfcKey}}}, "", `"Sec-WebSocket-Key" cannot be set`},
		{"line break in a value", Client{Header: http.Header{"Cookie": {"a\nb"}}}, "", `the value of "Cookie" has control characters`},
		{"Host without a value", Client{Header: http.Header{"host": {}}}, "", "Host must have one value"},
		{"Host empty", Client{Header: http.Header{"Host": {""}}}, "", "Host must have one value"},
		{"two Hosts", Client{Header: http.Header{"Host": {"a", "b"}}}, "", "Host must have one value"},
		{"Host with a space", Client{Header: http.Header{"Host": {"a b"}}}, "", `Header: Host "a b" is no host`},
		{"Host with a path", Client{Header: http.Header{"Host": {"example.com/chat"}}}, "", `Header: Host "example.com/chat" is no host`},
		{"Host with a user", Client{Header: http.Header{"Host": {"user@example.com"}}}, "", `Header: Host "user@example.com" is no host`},
		{"Host, two in one", Client{Header: http.Header{"Host": {"a, b"}}}, "", `Header: Host "a, b" is no host`},
		{"Host with no port after its colon", Client{Header: http.Header{"Host": {"example.com:x"}}}, "", `Header: Host "example.com:x" is no host`},
		{"two Hosts, by case", Client{Header: http.Header{"Host": {"a"}, "host": {"b"}}}, "", "Host must have one value"},
		{"window bits", Client{Deflate: &Deflate{ClientMaxWindowBits: 7}}, "", "7 window bits are not possible"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			url := test.url
			if url == "" && test.name != "empty" {
				url = "ws://example.com/"
			}
			r, err := test.client.Request(url)
			require.ErrorContains(t, err, test.want)
			require.Equal(t, 1, strings.Count(err.Error(), "websocket: "), "%v", err)
			require.Nil(t, r)
		})
	}
}

// Errors end up in logs, where a password has no place.
func TestClientRequestHidesPassword(t *testing.T) {
	for _, url := range []string{
		"ftp://user:secret@example.com/", "ws://user:secret@/", "ws://user:secret@example.com/#x",
		"ws://user:secret@example.com/\x7f", "ws://user:secret@exa mple.com/", "ws://user:secret@[::1/", "ws://user:secret@example.com:x/",
		// Unescaped, these are not part of a password.
		"ws://user:secret/x@example.com/", "ws://user:secret?x@example.com/", "ws://user:secret#x@example.com/", "ws://user:1#secret@example.com/",
		"ws://user:se%cret@example.com/", "ws:user:secret@example.com/", "ftp:user:secret@example.com", "//user:secret@example.com/", "user:secret@example.com", "user:secret://@example.com",
		"ftp://example.com/?token=secret", "ws://example.com/?token=secret#x", "ws://user:secret@example.com/?token=secret#x", "ws://[::1/?secret", "ws://example.com/?mail=secret@example.com#x",
	} {
		_, err := (&Client{}).Request(url)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestClientRequestHeader(t *testing.T) {
	c := &Client{
		Subprotocols: []string{"v2", "v1"},
		Origin:       "https://example.com",
		Deflate:      &Deflate{},
		Header:       http.Header{"Cookie": {"a=b"}, "x-trace": {"1", "2"}, "host": {"other.example"}},
	}
	before := c.Header.Clone()
	r, err := c.Request("wss://user:p%40ss@example.com/")
	require.NoError(t, err)
	require.Equal(t, "other.example", r.Host)
	key := r.Header.Get("Sec-WebSocket-Key")
	require.NoError(t, checkKey(key))
	require.Equal(t, http.Header{
		"Upgrade":                  {"websocket"},
		"Connection":               {"Upgrade"},
		"Sec-Websocket-Version":    {"13"},
		"Sec-Websocket-Key":        {key},
		"Sec-Websocket-Protocol":   {"v2, v1"},
		"Sec-Websocket-Extensions": {"permessage-deflate"},
		"Origin":                   {"https://example.com"},
		"Cookie":                   {"a=b"},
		"X-Trace":                  {"1", "2"},
		"Authorization":            {"Basic dXNlcjpwQHNz"},
	}, r.Header)

	r.Header["X-Trace"][0] = "changed"
	require.Equal(t, before, c.Header)
	again, err := c.Request("wss://example.com/")
	require.NoError(t, err)
	require.NotEqual(t, key, again.Header.Get("Sec-WebSocket-Key"))
	require.Empty(t, again.Header["Authorization"])

	c.Header = http.Header{"authorization": {"Bearer x"}}
	r, err = c.Request("wss://user:pw@example.com/")
	require.NoError(t, err)
	require.Equal(t, []string{"Bearer x"}, r.Header["Authorization"])
	r, err = (&Client{}).Request("ws://@example.com/")
	require.NoError(t, err)
	require.Empty(t, r.Header["Authorization"])
}

// clientRules are the rules for responses, by the sections of RFC 6455. The key
// of the request is rfcKey; offered are the subprotocols v1 and v2.
var clientRules = []struct {
	name    string
	deflate *Deflate
	resp    string // without "HTTP/1.1 " and the empty line
	text    string // of the error; empty: accepted
}{
	{"example", nil, goodResponse, ""},

	// Section 4.1, response, 1.
	{"4.1 200", nil, "200 OK\r\nContent-Length: 0", "server answered the opening handshake with 200 OK"},
	{"4.1 301", nil, "301 Moved Permanently\r\nLocation: /\r\nContent-Length: 0", "with 301 Moved Permanently"},
	{"4.1 403", nil, "403 Forbidden\r\nContent-Length: 0", "websocket: server answered the opening handshake with 403 Forbidden"},
	{"4.1 499", nil, "499 Whatever\r\nContent-Length: 0", "with 499"},
	// Section 4.1, response, 2.
	{"4.1 Upgrade missing", nil, "101 OK\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + rfcAccept, "server's Upgrade is missing"},
	{"4.1 Upgrade to something else", nil, "101 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + rfcAccept, `server's Upgrade is "h2c", it must be "websocket"`},
	{"4.1 Upgrade to two", nil, "101 OK\r\nUpgrade: h2c, websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + rfcAccept, `server's Upgrade is "h2c, websocket"`},
	{"4.1 Upgrade in two lines", nil, goodResponse + "\r\nUpgrade: h2c", `server's Upgrade is "websocket, h2c"`},
	{"4.1 Upgrade in upper case", nil, "101 OK\r\nupgrade: WebSocket\r\nconnection: upgrade\r\nsec-websocket-accept: " + rfcAccept, ""},
	// Section 4.1, response, 3.
	{"4.1 Connection missing", nil, "101 OK\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + rfcAccept, "server's Connection is missing"},
	{"4.1 Connection keep-alive", nil, "101 OK\r\nUpgrade: websocket\r\nConnection: keep-alive\r\nSec-WebSocket-Accept: " + rfcAccept, `server's Connection is "keep-alive", it must have "Upgrade"`},
	{"4.1 Connection in a list", nil, "101 OK\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: " + rfcAccept, ""},
	// Section 4.1, response, 4.
	{"4.1 accept missing", nil, "101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade", "server's Sec-WebSocket-Accept is missing"},
	{"4.1 accept empty", nil, "101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ", `server's Sec-WebSocket-Accept is ""`},
	{"4.1 accept is the key", nil, "101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + rfcKey, `Sec-WebSocket-Accept is "` + rfcKey + `", which is not the answer to the key of this request`},
	{"4.1 accept in lower case", nil, "101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + strings.ToLower(rfcAccept), "is not the answer"},
	{"4.1 accept in two lines", nil, goodResponse + "\r\nSec-WebSocket-Accept: " + rfcAccept, "more than one Sec-WebSocket-Accept"},
	{"4.1 accept with white space", nil, "101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \t" + rfcAccept + " ", ""},
	// Section 4.1, response, 5.
	{"4.1 extension not offered", nil, goodResponse + "\r\nSec-WebSocket-Extensions: permessage-deflate", `server chose extension "permessage-deflate", which was not offered`},
	{"4.1 another extension", &Deflate{}, goodResponse + "\r\nSec-WebSocket-Extensions: permessage-deflate, x", `server chose extension "x", which was not offered`},
	{"9.1 extension twice", &Deflate{}, goodResponse + "\r\nSec-WebSocket-Extensions: permessage-deflate, permessage-deflate", "server chose permessage-deflate twice"},
	{"9.1 extension twice, in two lines", &Deflate{}, goodResponse + "\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Extensions: permessage-deflate", "twice"},
	{"9.1 malformed", &Deflate{}, goodResponse + "\r\nSec-WebSocket-Extensions: permessage-deflate;", `Sec-WebSocket-Extensions "permessage-deflate;" is malformed`},
	{"9.1 empty", &Deflate{}, goodResponse + "\r\nSec-WebSocket-Extensions: ", ""},
	{"7692 unknown parameter", &Deflate{}, goodResponse + "\r\nSec-WebSocket-Extensions: permessage-deflate; x", `server answered "permessage-deflate; x", whose parameters are not allowed`},
	// Section 4.1, response, 6.
	{"4.1 subprotocol", nil, goodResponse + "\r\nSec-WebSocket-Protocol: v1", ""},
	{"4.1 subprotocol not offered", nil, goodResponse + "\r\nSec-WebSocket-Protocol: v3", `server chose subprotocol "v3", which was not offered`},
	{"4.1 subprotocol by case", nil, goodResponse + "\r\nSec-WebSocket-Protocol: V1", `"V1", which was not offered`},
	{"4.1 subprotocol empty", nil, goodResponse + "\r\nSec-WebSocket-Protocol: ", `"", which was not offered`},
	{"4.1 two subprotocols", nil, goodResponse + "\r\nSec-WebSocket-Protocol: v1, v2", `"v1, v2", which was not offered`},
	{"11.3.4 two subprotocols, in two lines", nil, goodResponse + "\r\nSec-WebSocket-Protocol: v1\r\nSec-WebSocket-Protocol: v1", "more than one Sec-WebSocket-Protocol"},
}

const goodResponse = "101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + rfcAccept

func TestClientCheck(t *testing.T) {
	for _, test := range clientRules {
		t.Run(test.name, func(t *testing.T) {
			c := &Client{Subprotocols: []string{"v1", "v2"}, Deflate: test.deflate}
			req, err := c.Request("ws://example.com/")
			require.NoError(t, err)
			req.Header.Set("Sec-WebSocket-Key", rfcKey)
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 "+test.resp+"\r\n\r\n")), req)
			require.NoError(t, err)

			a, err := c.Check(req, resp)
			if test.text == "" {
				require.NoError(t, err)
				require.Equal(t, resp.Header.Get("Sec-WebSocket-Protocol"), a.Subprotocol)
				return
			}
			require.Nil(t, a)
			var e *ResponseError
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, e, test.text)
			require.Equal(t, 1, strings.Count(e.Error(), "websocket: "), "%v", e)
			require.Equal(t, resp.StatusCode, e.Status)
			require.Equal(t, resp.Header, e.Header)
		})
	}
}

// capturedClient returns a Client on the terms of a captured request, that is,
// one that offers as much.
func capturedClient(t testing.TB, r *http.Request) *Client {
	t.Helper()
	c := &Client{}
	var bad string
	c.Subprotocols, bad, _ = appendTokens(nil, r.Header[headerProtocol])
	require.Empty(t, bad)
	offers, err := ParseExtensions(r.Header[headerExtensions])
	require.NoError(t, err)
	for _, x := range offers {
		if x.Name != deflateName {
			continue
		}
		o, ok := parseDeflate(x.Params, true)
		require.True(t, ok)
		c.Deflate = &Deflate{o.serverTakeover, o.clientTakeover, o.server, o.client}
		if o.clientAny {
			c.Deflate.ClientMaxWindowBits = maxWindowBits
		}
	}
	return c
}

// What real servers and proxies answered is accepted, with the extension that
// was agreed on.
func TestClientCheckCaptures(t *testing.T) {
	names := capture.Names(".s2c")
	require.NotEmpty(t, names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			req := readRequest(t, captured(t, strings.TrimSuffix(name, "s2c")+"c2s"))
			resp, _ := readResponse(t, captured(t, name), req)
			want, err := capture.Expected(name)
			require.NoError(t, err)

			a, err := capturedClient(t, req).Check(req, resp)
			require.NoError(t, err)
			require.Equal(t, resp.Header.Get("Sec-WebSocket-Protocol"), a.Subprotocol)
			require.Equal(t, want.Extensions != "", a.Deflate != nil)
			if a.Deflate != nil {
				require.Equal(t, strings.Contains(want.Extensions, serverTakeover), a.Deflate.ServerNoContextTakeover)
				require.Equal(t, name == "server-py-websockets.s2c", a.Deflate.ServerMaxWindowBits == 12)
			}
		})
	}
}

// Whatever a server answers, a Client agrees on nothing that it did not offer,
// and all other errors are of one type and of bounded length.
func FuzzClientCheck(f *testing.F) {
	for _, test := range clientRules {
		f.Add([]byte("HTTP/1.1 "+test.resp+"\r\n\r\n"), test.deflate != nil)
	}
	for _, name := range capture.Names(".s2c") {
		f.Add(captured(f, name), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, compress bool) {
		c := &Client{Subprotocols: []string{"v1", "v2"}}
		if compress {
			c.Deflate = &Deflate{}
		}
		req, err := c.Request("ws://example.com/")
		require.NoError(t, err)
		req.Header[headerKey] = []string{rfcKey}
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(raw))), req)
		if err != nil {
			return
		}
		a, err := c.Check(req, resp)
		if err != nil {
			require.Nil(t, a)
			e, ok := err.(*ResponseError)
			require.True(t, ok, "%T", err)
			require.Equal(t, resp.StatusCode, e.Status)
			require.True(t, strings.HasPrefix(e.Error(), "websocket: "))
			require.Less(t, len(e.Error()), 1500)
			return
		}
		require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		require.Equal(t, rfcAccept, trim(resp.Header[headerAccept][0]))
		if a.Subprotocol != "" {
			require.True(t, slices.Contains(c.Subprotocols, a.Subprotocol))
		}
		if a.Deflate != nil {
			require.True(t, compress)
			require.NoError(t, a.Deflate.check())
			// The request did not say that the client can limit its window.
			require.Equal(t, maxWindowBits, a.Deflate.ClientMaxWindowBits)
		}
	})
}

func BenchmarkClientCheck(b *testing.B) {
	c := &Client{Subprotocols: []string{"chat"}, Deflate: &Deflate{}}
	req, err := c.Request("ws://example.com/")
	require.NoError(b, err)
	req.Header.Set("Sec-WebSocket-Key", rfcKey)
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 "+goodResponse+"\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")), req)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Check(req, resp); err != nil {
			b.Fatal(err)
		}
	}
}
