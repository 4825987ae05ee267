package handshake

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
)

const (
	// acceptGUID is what the server appends to the key before hashing, so that
	// no server that does not know WebSocket answers by accident.
	// (RFC 6455, section 1.3)
	acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

	keyBytes     = 16
	keyLength    = 24 // of 16 bytes in base64
	acceptLength = 28 // of a SHA-1 sum in base64
)

// NewKey returns a value for Sec-WebSocket-Key: 16 bytes from crypto/rand in
// base64. (RFC 6455, section 4.1)
func NewKey() string {
	var b [keyBytes]byte
	rand.Read(b[:])
	return base64.StdEncoding.EncodeToString(b[:])
}

// AcceptKey returns the value of Sec-WebSocket-Accept for a value of
// Sec-WebSocket-Key: base64 of the SHA-1 sum of the key and the protocol's
// GUID. The key is taken as it stands. (RFC 6455, section 4.2.2)
func AcceptKey(key string) string {
	accept := appendAccept(make([]byte, 0, acceptLength), key)
	return string(accept)
}

func appendAccept(dst []byte, key string) []byte {
	var space [keyLength + len(acceptGUID)]byte
	sum := sha1.Sum(append(append(space[:0], key...), acceptGUID...))
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// checkKey says what is wrong with a client's key, nil if nothing is.
func checkKey(key string) error {
	var b [keyBytes + 2]byte
	if len(key) != keyLength {
		if _, err := base64.StdEncoding.Strict().DecodeString(key); err != nil {
			return wrong("4.2.1", "Sec-WebSocket-Key %s is not base64", quote(key))
		}
		return wrong("4.2.1", "Sec-WebSocket-Key %s is not 16 bytes in base64", quote(key))
	}
	n, err := base64.StdEncoding.Strict().Decode(b[:], []byte(key))
	if err != nil {
		return wrong("4.2.1", "Sec-WebSocket-Key %s is not base64", quote(key))
	}
	if n != keyBytes {
		return wrong("4.2.1", "Sec-WebSocket-Key %s is not 16 bytes in base64", quote(key))
	}
	return nil
}
