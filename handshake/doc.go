// Package handshake holds the opening handshake of the WebSocket protocol
// (RFC 6455, section 4), without any I/O: it takes requests and responses of
// net/http as values and says what to answer.
//
// # Server
//
// [Server.Check] looks at a request. It returns an [Agreement], whose
// AppendResponse is the response that opens the connection, or an [*Error], a
// refusal with status, header and a body that says what to change.
//
// # Client
//
// [Client.Request] builds the request for a URL, [Client.Check] looks at the
// response to it and returns the [Agreement] or a [*ResponseError].
//
// # Limits
//
// All work is linear in the size of the header. How large a header may be is
// for the caller to limit, who reads it.
//
// # Concurrency
//
// Server and Client are not changed by their methods, which may be called by
// any number of goroutines.
package handshake
