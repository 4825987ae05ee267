package handshake

import "net/http"

// Agreement is what both sides agreed on.
type Agreement struct {
	Subprotocol string // "" for none
	// Deflate are the parameters of permessage-deflate as agreed, with both
	// numbers of window bits filled in; nil without compression.
	Deflate *Deflate

	key    string         // Sec-WebSocket-Key
	answer *deflateParams // in a Server's, nil if no extension was agreed on
	header http.Header
}

// AppendResponse appends the whole response that opens the connection to dst,
// the same for the same Agreement every time. It is of use in what
// [Server.Check] returned. A Subprotocol that was changed to what is no token is
// left out. (RFC 6455, section 4.2.2)
func (a *Agreement) AppendResponse(dst []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, 256)
	}
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = appendAccept(dst, a.key)
	if isToken(a.Subprotocol) {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, a.Subprotocol...)
	}
	if a.answer != nil {
		dst = append(dst, "\r\nSec-WebSocket-Extensions: "...)
		dst = a.answer.appendTo(dst)
	}
	dst = append(dst, "\r\n"...)
	dst = appendHeader(dst, a.header, nil)
	return append(dst, "\r\n"...)
}
