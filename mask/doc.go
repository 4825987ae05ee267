// Package mask hides and reveals payloads the way RFC 6455 has clients do it.
//
// A client draws a fresh masking key for every frame it sends and XORs the
// payload with it: byte i of the payload with byte i mod 4 of the key. The
// server does the same again and has the payload back. Servers do not mask (RFC
// 6455, sections 5.1 and 5.3).
//
// # What masking is for
//
// The key travels in the frame header, in the clear: masking keeps no secret
// from anyone. It keeps a script, which chooses the payload but cannot foresee
// the key, from choosing the bytes on the wire, and so from writing something
// that a careless intermediary would take for an HTTP request of its own. That
// holds only while the key is unpredictable to whoever wrote the payload, which
// is why [NewKey] draws from crypto/rand (RFC 6455, sections 5.3 and 10.3).
//
// # Pieces
//
// A payload may be masked in pieces of any length. [XOR] and [Copy] take the
// position in the payload at which their piece begins and return the one at
// which the next begins.
//
// # Concurrency
//
// All functions may be called concurrently, on slices that do not overlap.
package mask
