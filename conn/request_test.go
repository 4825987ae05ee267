package conn

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/testdata/capture"
)

// requirePlain checks that plainRequest, if it takes b, agrees with net/http, and
// returns whether it took it.
func requirePlain(t *testing.T, b []byte) bool {
	t.Helper()
	before := bytes.Clone(b)
	text, n := wholeHeader(b)
	r := plain(text, context.Background())
	if n == 0 || r == nil {
		return false
	}
	require.Equal(t, before, b)
	br := bufio.NewReader(bytes.NewReader(b))
	want, err := http.ReadRequest(br)
	require.NoError(t, err)
	require.Equal(t, want.WithContext(context.Background()), r)
	rest, err := io.ReadAll(br)
	require.NoError(t, err)
	require.Equal(t, string(rest), string(b[n:]))
	for name, values := range r.Header {
		if len(values) == 1 {
			require.Equal(t, 1, cap(values), "an append to %s would write into another field", name)
		}
	}
	return true
}

func TestPlainRequest(t *testing.T) {
	const field = "Host: example.com\r\n"
	tests := []struct {
		name  string
		text  string
		plain bool
	}{
		{"a browser's", "GET /chat?room=1 HTTP/1.1\r\nHost: example.com:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: http://example.com\r\n\r\n", true},
		{"frames behind it", "GET / HTTP/1.1\r\n" + field + "\r\n\x81\x85\r\n\r\n", true},
		{"names in lower case", "GET / HTTP/1.1\r\nhost: example.com\r\nsec-websocket-key: x\r\nX-1A-b--C-: y\r\n\r\n", true},
		{"names in upper case", "GET / HTTP/1.1\r\nHOST: example.com\r\nSEC-WEBSOCKET-KEY: x\r\n\r\n", true},
		{"a field twice", "GET / HTTP/1.1\r\n" + field + "X: 1\r\nY: 2\r\nx: 3\r\nX: 4\r\n\r\n", true},
		{"spaces around a value", "GET / HTTP/1.1\r\n" + field + "X: \t a b \t \r\nY:\r\nZ:z\r\n\r\n", true},
		{"colons in a value", "GET / HTTP/1.1\r\n" + field + "X: a:b: c\r\n\r\n", true},
		{"every printable character", "GET / HTTP/1.1\r\n" + field + "X: !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\r\n\r\n", true},
		{"a query of every kind", "GET /a/b.c-d_e~f/?a=b&c=%20%zz;d?e/f HTTP/1.1\r\n" + field + "\r\n", true},
		{"an empty query", "GET /? HTTP/1.1\r\n" + field + "\r\n", true},
		{"dots in the path", "GET /../a/./b HTTP/1.1\r\n" + field + "\r\n", true},
		{"no Host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", true},
		{"Pragma", "GET / HTTP/1.1\r\n" + field + "Pragma: no-cache\r\nCache-Control: max-age=0\r\n\r\n", true},
		{"Cache-Control", "GET / HTTP/1.1\r\n" + field + "Cache-Control: no-cache\r\n\r\n", true},

		{"nothing", "", false},
		{"not whole", "GET / HTTP/1.1\r\n" + field, false},
		{"no header", "GET / HTTP/1.1\r\n\r\n", true},
		{"line feeds alone", "GET / HTTP/1.1\nHost: example.com\n\n", false},
		{"a line feed alone", "GET / HTTP/1.1\r\n" + field + "X: y\nZ: z\r\n\r\n", false},
		{"a carriage return alone", "GET / HTTP/1.1\r\n" + field + "X: y\rz\r\n\r\n", false},
		{"another method", "POST / HTTP/1.1\r\n" + field + "\r\n", false},
		{"lower case", "get / HTTP/1.1\r\n" + field + "\r\n", false},
		{"another version", "GET / HTTP/1.0\r\n" + field + "\r\n", false},
		{"no target", "GET  HTTP/1.1\r\n" + field + "\r\n", false},
		{"a space in the target", "GET /a b HTTP/1.1\r\n" + field + "\r\n", false},
		{"a whole URL", "GET http://a.test/ HTTP/1.1\r\n" + field + "\r\n", false},
		{"two slashes", "GET //a.test/ HTTP/1.1\r\n" + field + "\r\n", false},
		{"an asterisk", "GET * HTTP/1.1\r\n" + field + "\r\n", false},
		{"an escape in the path", "GET /%41 HTTP/1.1\r\n" + field + "\r\n", false},
		{"a fragment", "GET /#a HTTP/1.1\r\n" + field + "\r\n", false},
		{"a fragment behind the query", "GET /?a#b HTTP/1.1\r\n" + field + "\r\n", false},
		{"a continued line", "GET / HTTP/1.1\r\n" + field + "X: a\r\n b\r\n\r\n", false},
		{"a continued first line", "GET / HTTP/1.1\r\n X: a\r\n" + field + "\r\n", false},
		{"no colon", "GET / HTTP/1.1\r\n" + field + "X\r\n\r\n", false},
		{"no name", "GET / HTTP/1.1\r\n" + field + ": x\r\n\r\n", false},
		{"a space in a name", "GET / HTTP/1.1\r\n" + field + "X y: z\r\n\r\n", false},
		{"a space behind a name", "GET / HTTP/1.1\r\n" + field + "X : z\r\n\r\n", false},
		{"another character in a name", "GET / HTTP/1.1\r\n" + field + "X_y: z\r\n\r\n", false},
		{"UTF-8", "GET / HTTP/1.1\r\n" + field + "X: é\r\n\r\n", false},
		{"a zero byte", "GET / HTTP/1.1\r\n" + field + "X: \x00\r\n\r\n", false},
		{"two Hosts", "GET / HTTP/1.1\r\n" + field + field + "\r\n", false},
		{"an empty Host", "GET / HTTP/1.1\r\nHost:\r\n" + field + "\r\n", false},
		{"a length", "GET / HTTP/1.1\r\n" + field + "content-length: 0\r\n\r\n", false},
		{"an encoding", "GET / HTTP/1.1\r\n" + field + "Transfer-Encoding: chunked\r\n\r\n", false},
		{"a trailer", "GET / HTTP/1.1\r\n" + field + "Trailer: X\r\n\r\n", false},
		{"Pragma alone", "GET / HTTP/1.1\r\n" + field + "Pragma: no-cache\r\n\r\n", false},
		{"Connection: close", "GET / HTTP/1.1\r\n" + field + "Connection: Upgrade, CLOSE\r\n\r\n", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.plain, requirePlain(t, []byte(test.text)))
			for n := range test.text {
				requirePlain(t, []byte(test.text[:n]))
			}
			for i := range test.text { // and with each byte wrong
				for _, c := range "\x00\t\n\r :Aa#\x7f\x80" {
					requirePlain(t, []byte(test.text[:i]+string(byte(c))+test.text[i+1:]))
				}
			}
		})
	}
}

func TestAddress(t *testing.T) {
	for _, addr := range []net.Addr{
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80},
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 65535},
		&net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1},
		&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 1, Zone: "eth0"},
		&net.TCPAddr{IP: net.IPv6loopback},
		&net.TCPAddr{Port: 80},
		&net.TCPAddr{IP: net.IP{1, 2, 3}, Port: 80},
		(*net.TCPAddr)(nil),
		&net.UnixAddr{Name: "@", Net: "unix"},
	} {
		require.Equal(t, addr.String(), address(addr))
	}
}

// capturedRequests returns what clients began with.
func capturedRequests(t testing.TB) (requests [][]byte) {
	for _, name := range capture.Names(".c2s") {
		s, err := capture.Read(name)
		require.NoError(t, err)
		request, _ := s.Handshake()
		requests = append(requests, request)
	}
	return requests
}

// Every client's request in the captures, and whether it is short cut.
func TestPlainRequestCaptures(t *testing.T) {
	plain, all := 0, 0
	for _, b := range capturedRequests(t) {
		all++
		if requirePlain(t, b) {
			plain++
		}
	}
	t.Logf("%d of %d", plain, all)
	require.Greater(t, plain, all*3/4)
}

func FuzzPlainRequest(f *testing.F) {
	for _, b := range capturedRequests(f) {
		f.Add(b)
	}
	f.Add([]byte("GET /?x HTTP/1.1\r\nhost: a\r\nX: \t b\r\nx: c\r\n\r\nrest"))
	f.Fuzz(func(t *testing.T, b []byte) { requirePlain(t, b) })
}

// BenchmarkPlainRequest reads the request of a browser.
func BenchmarkPlainRequest(b *testing.B) {
	text := "GET /echo HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
		"Upgrade: websocket\r\nOrigin: http://127.0.0.1:8080\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
	b.ReportAllocs()
	for b.Loop() {
		if plain(text, b.Context()) == nil {
			b.Fatal("not plain")
		}
	}
}
