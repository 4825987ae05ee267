package handshake

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/testdata/capture"
)

// What real clients and proxies sent is accepted. A browser's page came from
// another port than the server's in these recordings.
func TestServerCheckCaptures(t *testing.T) {
	names := capture.Names(".c2s")
	require.NotEmpty(t, names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			r := readRequest(t, captured(t, name))
			s := &Server{Origins: r.Header[headerOrigin]}
			a, err := s.Check(r)
			require.NoError(t, err)
			require.Nil(t, a.Deflate)

			s.Deflate = &Deflate{}
			a, err = s.Check(r)
			require.NoError(t, err)
			offered := strings.Contains(strings.Join(r.Header[headerExtensions], ","), deflateName)
			require.Equal(t, offered, a.Deflate != nil)

			// The client would agree.
			resp, _ := readResponse(t, a.AppendResponse(nil), r)
			theirs, err := capturedClient(t, r).Check(r, resp)
			require.NoError(t, err)
			require.Equal(t, a.Deflate, theirs.Deflate)
		})
	}
}

// Whatever is requested, the response can be read; what is accepted has all
// that Section 4.2.1 asks for, and a client that asked for it agrees.
func FuzzServerCheck(f *testing.F) {
	for _, name := range capture.Names(".c2s") {
		f.Add(captured(f, name))
	}
	for _, line := range []string{
		"Origin: null", "Origin: http://[::1]:80", "Sec-WebSocket-Version: 8", "Content-Length: 5", "Connection: close",
		"Sec-WebSocket-Protocol: chat, v2", "Sec-WebSocket-Protocol: chat, chat", "Transfer-Encoding: chunked",
		"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=\"10\"; client_max_window_bits, x",
	} {
		f.Add([]byte("GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + rfcKey + "\r\nSec-WebSocket-Version: 13\r\n" + line + "\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		s := &Server{Origins: []string{"https://*.example.com"}, Subprotocols: []string{"v2", "chat"}, Deflate: &Deflate{}, Header: http.Header{"X-A": {"b"}}}
		a, err := s.Check(r)
		if err != nil {
			require.Nil(t, a)
			e, ok := err.(*Error)
			require.True(t, ok, "%T", err)
			require.True(t, strings.HasPrefix(e.Error(), "websocket: "))
			require.Less(t, len(e.Error()), 1500)
			resp, body := readResponse(t, e.AppendResponse(nil), nil)
			require.Equal(t, e.Status, resp.StatusCode)
			require.True(t, 400 <= e.Status && e.Status < 500 || e.Status == 501, e.Status)
			require.Equal(t, e.Body(), body)
			return
		}
		require.Equal(t, "GET", r.Method)
		require.Equal(t, 1, r.ProtoMajor)
		require.NotEmpty(t, r.Host)
		require.Zero(t, r.ContentLength)
		require.Len(t, r.Header[headerKey], 1)
		require.Equal(t, "13", r.Header.Get("Sec-WebSocket-Version"))
		if _, stated := r.Header[headerOrigin]; stated && SameOrigin(r) != nil {
			require.True(t, strings.HasPrefix(strings.ToLower(r.Header.Get("Origin")), "https://"))
			require.Contains(t, strings.ToLower(r.Header.Get("Origin")), ".example.com")
		}
		resp, _ := readResponse(t, a.AppendResponse(nil), r)
		require.Equal(t, 101, resp.StatusCode)
		require.Equal(t, []string{"b"}, resp.Header["X-A"])
		offered, _, ok := appendTokens(nil, r.Header[headerProtocol])
		require.True(t, ok)
		c := &Client{Subprotocols: offered}
		if a.Deflate != nil {
			c.Deflate = &Deflate{ClientMaxWindowBits: maxWindowBits}
		}
		theirs, err := c.Check(r, resp)
		require.NoError(t, err)
		require.Equal(t, a.Subprotocol, theirs.Subprotocol)
	})
}
