package handshake

import (
	"crypto/fips140"
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
// GUID. The key is taken as it stands, whether it is valid or not.
// (RFC 6455, section 4.2.2)
func AcceptKey(key string) string {
	return string(appendAccept(make([]byte, 0, acceptLength), key))
}

func appendAccept(dst []byte, key string) []byte {
	var space [keyLength + len(acceptGUID)]byte
	sum := sum1(append(append(space[:0], key...), acceptGUID...))
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// sum1 returns the SHA-1 sum of b. It shows that the server has read the key and
// protects nothing, so it is allowed where GODEBUG=fips140=only forbids SHA-1.
func sum1(b []byte) (sum [sha1.Size]byte) {
	if !fips140.Enforced() {
		return sha1.Sum(b)
	}
	fips140.WithoutEnforcement(func() { sum = sha1.Sum(b) })
	return sum
}

// checkKey says what is wrong with a client's key, nil if nothing is.
// (RFC 6455, section 4.2.1)
func checkKey(key string) error {
	var space [keyBytes + 2]byte
	b := space[:]
	if len(key) > keyLength {
		b = make([]byte, base64.StdEncoding.DecodedLen(len(key)))
	}
	// Not Strict: in the RFC's own example of section 4.1 the bits that the
	// padding leaves over are not 0. Decode skips line breaks, so a key that has
	// some stands out by its length.
	n, err := base64.StdEncoding.Decode(b, []byte(key))
	switch {
	case key == "":
		return wrong("4.2.1", "Sec-WebSocket-Key is empty")
	case err != nil:
		return wrong("4.2.1", "Sec-WebSocket-Key %s is not base64", quote(key))
	case n != keyBytes:
		return wrong("4.2.1", "Sec-WebSocket-Key %s is base64 of %d bytes, it must be of 16", quote(key), n)
	case len(key) != keyLength:
		return wrong("4.2.1", "Sec-WebSocket-Key %s has line breaks", quote(key))
	}
	return nil
}
