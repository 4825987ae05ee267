// Package deflate compresses and decompresses the payload of messages for
// permessage-deflate. (RFC 7692, section 7.2; RFC 1951)
//
// It is pure: bytes in, bytes out, no I/O. [Decompressor] takes a message in
// pieces of any length and can stop anywhere, its output is bounded by the
// caller, and it never refers to more than the agreed window.
package deflate
