package handshake_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"

	"rfc6455/handshake"
)

func ExampleAcceptKey() {
	fmt.Println(handshake.AcceptKey("dGhlIHNhbXBsZSBub25jZQ=="))
	// Output: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
}

func ExampleParseExtensions() {
	list, err := handshake.ParseExtensions([]string{"permessage-deflate; client_max_window_bits, x; y=\"z\""})
	if err != nil {
		fmt.Println(err)
	}
	for _, x := range list {
		fmt.Println(string(handshake.AppendExtension(nil, x)))
	}
	// Output:
	// permessage-deflate; client_max_window_bits
	// x; y=z
}

func ExampleServer_Check() {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /chat HTTP/1.1\r\n" +
		"Host: server.example.com\r\n" +
		"Upgrade: websocket\r\n" +
		"Connection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Origin: http://example.com\r\n" +
		"Sec-WebSocket-Protocol: chat, superchat\r\n" +
		"Sec-WebSocket-Version: 13\r\n\r\n")))
	if err != nil {
		fmt.Println(err)
		return
	}
	s := &handshake.Server{Origins: []string{"http://example.com"}, Subprotocols: []string{"superchat"}}
	a, err := s.Check(r)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(strings.ReplaceAll(string(a.AppendResponse(nil)), "\r\n", "\n"))
	// Output:
	// HTTP/1.1 101 Switching Protocols
	// Upgrade: websocket
	// Connection: Upgrade
	// Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
	// Sec-WebSocket-Protocol: superchat
}

func ExampleError() {
	r, _ := http.NewRequest("GET", "http://server.example.com/chat", nil)
	_, err := new(handshake.Server).Check(r)
	var refusal *handshake.Error
	if e, ok := err.(*handshake.Error); ok {
		refusal = e
	}
	fmt.Println(refusal.Status, refusal.Header)
	fmt.Println(refusal)
	// Output:
	// 426 map[Connection:[Upgrade] Upgrade:[websocket]]
	// websocket: this is a WebSocket endpoint, and the request has no Upgrade header (RFC 6455, section 4.2.1)
}

func ExampleClient() {
	c := &handshake.Client{Subprotocols: []string{"chat"}}
	req, err := c.Request("wss://server.example.com/chat")
	if err != nil {
		fmt.Println(err)
		return
	}
	// The server's answer, which came over the network.
	accept := handshake.AcceptKey(req.Header.Get("Sec-WebSocket-Key"))
	resp := &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{
		"Upgrade":                {"websocket"},
		"Connection":             {"Upgrade"},
		"Sec-Websocket-Accept":   {accept},
		"Sec-Websocket-Protocol": {"chat"},
	}}
	a, err := c.Check(req, resp)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(req.URL, a.Subprotocol)
	// Output: https://server.example.com/chat chat
}
