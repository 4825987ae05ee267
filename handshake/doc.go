// Package handshake holds the opening handshake of the WebSocket protocol
// (RFC 6455, section 4), without any I/O: it takes requests and responses of
// net/http as values and says what to answer.
//
// # Server
//
// [Server.Check] looks at a request. It returns an [Agreement], whose
// AppendResponse is the response that opens the connection, or an [*Error], a
// refusal with status, header and a body that says what to change. A request
// that does not ask for a WebSocket at all wraps [ErrNotWebSocket].
//
// # Client
//
// [Client.Request] builds the request for a URL, [Client.Check] looks at the
// response to it and returns the [Agreement] or a [*ResponseError].
//
// # Origins
//
// A browser lets any page open a connection to any server, with the user's
// cookies, and only says in Origin where the page came from. So a Server accepts
// pages of its own host and those that Origins lists, unless CheckOrigin decides.
// A request without Origin does not come from a browser and is accepted: who
// sends it could send any Origin. (RFC 6455, section 10.2)
//
// # Compression
//
// [Deflate] are the parameters of permessage-deflate; without them it is neither
// offered nor agreed on. Offers that break RFC 7692 are declined, the next one is
// tried, and without an acceptable one the connection has no compression. What a
// server answers without having been offered it fails the handshake.
//
// # Versions
//
// HTTP/1.1 alone is served. Extended CONNECT, WebSocket over HTTP/2 (RFC 8441),
// is refused with status 501.
//
// # Limits
//
// All work is linear in the size of the header. How large a header may be is
// for the caller to limit, who reads it. Errors quote at most 100 bytes of what
// a peer sent, and of the body of a response 400.
//
// # Concurrency
//
// Server and Client are not changed by their methods, which may be called by
// any number of goroutines.
package handshake
