package handshake

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/textproto"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/testdata/capture"
)

// captured returns the request or response of a captured stream, up to and with
// its empty line.
func captured(t testing.TB, name string) []byte {
	stream, err := capture.Read(name)
	require.NoError(t, err)
	head, _ := stream.Handshake()
	return head
}

// capturedHeader returns the header of a captured request or response.
func capturedHeader(t testing.TB, name string) http.Header {
	_, lines, _ := bytes.Cut(captured(t, name), []byte("\r\n"))
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(lines))).ReadMIMEHeader()
	require.NoError(t, err)
	return http.Header(h)
}

// readRequest reads a request as net/http's server does.
func readRequest(t testing.TB, request []byte) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	require.NoError(t, err)
	return r
}

// readResponse reads the response to r, which must be all there is.
func readResponse(t testing.TB, response []byte, r *http.Request) (*http.Response, string) {
	br := bufio.NewReader(bytes.NewReader(response))
	resp, err := http.ReadResponse(br, r)
	require.NoError(t, err, "%q", response)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		require.Zero(t, br.Buffered(), "%q", response)
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err, "%q", response)
	require.Zero(t, br.Buffered(), "%q", response)
	return resp, string(body)
}
