package conn

import "rfc6455/frame"

// TraceBytes is how much of a payload a [Trace] is shown at least, if there is
// as much, it came at once, and no Reader is asked for less of it.
const TraceBytes = 64

// Trace is told of every frame of a connection. Either function may be nil.
// start are the first bytes of the payload, unmasked, not all of them for a
// large frame; it is valid during the call. The functions are called by the
// goroutine that reads or writes at that moment, never two at a time for one
// direction, and should return soon. They must not read from or write to c.
type Trace struct {
	Received func(c *Conn, h frame.Header, start []byte)
	Sent     func(c *Conn, h frame.Header, start []byte)
}

// tracedFrame is a frame that waits to be shown to Trace.Sent.
type tracedFrame struct {
	head  frame.Header
	start []byte
	cut   bool // it was not sent after all
}
