// Package load is a load generator for WebSocket servers that knows as little of
// the protocol as it can: frames are built and masked before the clock starts,
// written as bytes, and what comes back is compared with the bytes that must
// come. One goroutine serves all connections, from epoll; it is meant to be
// pinned to a processor of its own. It connects to 127.0.0.0/8 alone. Linux only.
//
// # Rules of the load
//
// A client writes a batch of messages with one write, and the next batch when
// all answers to it have come. Of every answer the header is checked, and of
// every sixteenth message of a connection, the first one included, all of the
// payload. Neighbouring batches differ, so that the answer to another message is
// noticed.
package load
