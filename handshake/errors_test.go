package handshake

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErrorAppendResponse(t *testing.T) {
	const tail = "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: "
	no := errors.New("websocket: no")
	tests := []struct {
		name string
		err  Error
		want string
	}{
		{"plain", Error{Status: 400, Err: no}, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n" + tail + "15\r\n\r\nwebsocket: no.\n"},
		{"advice", Error{Status: 400, Err: no, advice: "Go on"}, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n" + tail + "22\r\n\r\nwebsocket: no. Go on.\n"},
		{"text that ends with a full stop", Error{Status: 400, Err: errors.New("No.\n")}, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n" + tail + "4\r\n\r\nNo.\n"},
		{"header", Error{Status: 429, Header: http.Header{"X-B": {"1", "2"}, "Retry-After": {"9"}}, Err: no},
			"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 9\r\nX-B: 1\r\nX-B: 2\r\n" + tail + "15\r\n\r\nwebsocket: no.\n"},
		{"Upgrade", Error{Status: 426, Header: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}, Err: no},
			"HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n" + tail + "15\r\n\r\nwebsocket: no.\n"},
		{"fields of the response itself", Error{Status: 400, Header: http.Header{"content-length": {"1"}, "Content-Type": {"a/b"}, "Transfer-Encoding": {"chunked"}, "connection": {"keep-alive"}, "x-content-type-options": {"x"}}, Err: no},
			"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n" + tail + "15\r\n\r\nwebsocket: no.\n"},
		{"line breaks", Error{Status: 400, Header: http.Header{"X-A": {"b\r\n\r\nc\x00"}, "X\r\nY": {"z"}}, Err: no},
			"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nX-A: b    c \r\n" + tail + "15\r\n\r\nwebsocket: no.\n"},
		{"status without a text", Error{Status: 499, Err: no}, "HTTP/1.1 499 \r\nConnection: close\r\n" + tail + "15\r\n\r\nwebsocket: no.\n"},
		{"status 0", Error{Err: no}, "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n" + tail + "15\r\n\r\nwebsocket: no.\n"},
		{"status 101", Error{Status: 101, Err: no}, "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n" + tail + "15\r\n\r\nwebsocket: no.\n"},
		{"status too large", Error{Status: 1000, Err: no}, "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n" + tail + "15\r\n\r\nwebsocket: no.\n"},
		{"no error", Error{Status: 403}, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n" + tail + "57\r\n\r\nwebsocket: opening handshake refused with 403 Forbidden.\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, string(test.err.AppendResponse(nil)))
			require.Equal(t, "before"+test.want, string(test.err.AppendResponse([]byte("before"))))
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(test.want)), nil)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, test.err.Body(), string(body))
			require.Equal(t, test.err.Err, errors.Unwrap(&test.err))
		})
	}
}

func TestResponseError(t *testing.T) {
	e := &ResponseError{Status: 403, Err: errors.New("websocket: no")}
	require.EqualError(t, e, "websocket: no")
	require.Equal(t, e.Err, errors.Unwrap(e))
	e.Body = []byte(" \r\n")
	require.EqualError(t, e, "websocket: no")
	e.Body = []byte("go away\x1b\n")
	require.EqualError(t, e, `websocket: no: "go away\x1b"`)
	e.Body = []byte(strings.Repeat("\xff", 1024))
	require.Less(t, len(e.Error()), 2000)
	e.Err, e.Body = nil, nil
	require.EqualError(t, e, "websocket: server answered the opening handshake with 403 Forbidden")

	// The whole of what a Server of this package says is shown.
	r := browserRequest()
	delete(r.Header, "Upgrade")
	_, err := new(Server).Check(r)
	refusal, ok := err.(*Error)
	require.True(t, ok)
	e = &ResponseError{Status: refusal.Status, Err: errors.New("websocket: no"), Body: []byte(refusal.Body())}
	require.NotContains(t, e.Error(), `"...`)
}

func TestQuote(t *testing.T) {
	require.Equal(t, `""`, quote(""))
	require.Equal(t, `"a\r\n\x1b[31m\xff"`, quote("a\r\n\x1b[31m\xff"))
	require.Equal(t, `"`+strings.Repeat("a", 100)+`"`, quote(strings.Repeat("a", 100)))
	require.Equal(t, `"`+strings.Repeat("a", 100)+`"...`, quote(strings.Repeat("a", 101)))
}
