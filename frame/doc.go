// Package frame holds the wire format and the rules of the WebSocket protocol
// (RFC 6455), without any I/O.
//
// # Layers
//
// [ParseHeader] and [AppendHeader] translate between a frame's header and its
// bytes. [Receiver] knows what a peer may send next and [Sender] what this
// endpoint may send next: masking, reserved bits, the order of fragments,
// control frames and limits are checked there and nowhere else, for both
// roles. [ParseClose] and [AppendClose] handle the payload of a Close frame,
// [UTF8] checks text as it arrives.
//
// # Use
//
// A reading endpoint calls [ParseHeader] until it has a header, gives it to
// [Receiver.Next], and gives the payload to [Receiver.Payload] in pieces of any
// length. A writing endpoint calls [Sender.Append], or [Sender.Next] when it
// writes header and payload apart. Package conn does this over a network
// connection; the types work over any other transport as well.
//
// # Errors
//
// A peer that breaks the protocol is reported as a [*ProtocolError] with the
// close code to answer and the section of the RFC; each rule has a sentinel
// for errors.Is, [ErrUnmasked] for instance. A call that returns an error has
// changed nothing.
//
// # Concurrency
//
// Receiver, Sender and UTF8 are plain values for one goroutine at a time. The
// functions are safe for concurrent use.
package frame
