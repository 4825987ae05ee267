package conn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"rfc6455/frame"
)

// CloseError says that a Close frame ended the connection, or is about to.
//
// errors.Is finds net.ErrClosed in every CloseError, and io.EOF if and only if
// the code is 1000, 1001 or 1005: the ends that nothing was wrong with.
// A function given to [Handler] or [Serve] returns a CloseError to choose the
// code and reason that its connection is closed with.
// (RFC 6455, sections 5.5.1 and 7.1)
type CloseError struct {
	Code   frame.CloseCode
	Reason string // at most 123 bytes of UTF-8 on the wire
	Remote bool   // the peer's Close frame came first
}

// Error tells which side closed the connection, the code and the reason.
func (e *CloseError) Error() string {
	who := "closed"
	if e.Remote {
		who = "closed by peer"
	}
	s := "websocket: connection " + who + ": " + e.Code.String()
	if e.Reason != "" {
		s += ": " + strconv.Quote(e.Reason)
	}
	return s
}

// Is reports whether target is net.ErrClosed, or io.EOF for a clean end.
func (e *CloseError) Is(target error) bool {
	switch target {
	case net.ErrClosed:
		return true
	case io.EOF:
		return e.Code == frame.CloseNormal || e.Code == frame.CloseGoingAway || e.Code == frame.CloseNoStatus
	}
	return false
}

var (
	// ErrMessageTooBig: the peer sent a message over [Options.ReadLimit] or
	// [Options.FragmentLimit]; the text names the option, the limit and the
	// size seen. It is also a *[frame.ProtocolError] with code 1009.
	ErrMessageTooBig error = frame.ErrMessageTooBig

	// ErrQueueFull: Send had no room for the message and [DropNewest] is the
	// policy. The connection goes on.
	ErrQueueFull = errors.New("websocket: message dropped: the Send queue is full (Options.QueueMessages, Options.QueueBytes)")

	// ErrSlowPeer: the Send queue overflowed and [CloseSlow] is the policy. The
	// connection is closed with 1013.
	ErrSlowPeer = errors.New("websocket: peer is too slow: the Send queue is full (Options.QueueMessages, Options.QueueBytes)")

	// ErrConcurrentRead: a second goroutine reads while the first has not
	// returned. A connection has one reader at a time; the call did nothing.
	ErrConcurrentRead = errors.New("websocket: concurrent reads: another goroutine is reading from this connection")

	errStaleReader  = errors.New("websocket: this Reader's message is over, a later read has begun")
	errWriterClosed = errors.New("websocket: write to a Writer after its Close")
	errCloseNow     = fmt.Errorf("websocket: connection closed without a closing handshake (CloseNow): %w", net.ErrClosed)
	errKeepalive    = fmt.Errorf("websocket: peer lost: silent through Options.Keepalive and Options.KeepaliveTimeout: %w", os.ErrDeadlineExceeded)
	errWriteTimeout = fmt.Errorf("websocket: writing a message took longer than Options.WriteTimeout: %w", os.ErrDeadlineExceeded)
	errCloseTimeout = fmt.Errorf("websocket: peer did not complete the closing handshake within Options.CloseTimeout: %w", os.ErrDeadlineExceeded)
)

// cutOffError fails a connection because a context ended while a message was
// being written.
type cutOffError struct{ err error }

func (e *cutOffError) Error() string {
	return "websocket: connection failed: a message was cut off when its context ended: " + e.err.Error()
}
func (e *cutOffError) Unwrap() error        { return e.err }
func (e *cutOffError) Is(target error) bool { return target == net.ErrClosed }

// lost describes a transport that ended or broke before a Close frame came.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		return errEndOfStream
	}
	return &lostError{err}
}

var errEndOfStream = fmt.Errorf("websocket: connection lost: the peer ended the stream without a Close frame: %w", io.ErrUnexpectedEOF)

// lostError makes its text when it is asked for it: many connections end so, and
// few of the errors are read.
type lostError struct{ err error }

func (e *lostError) Error() string { return "websocket: connection lost: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// limited names the option behind a limit that a peer exceeded.
func limited(err error) error {
	switch {
	case errors.Is(err, frame.ErrMessageTooBig):
		return fmt.Errorf("%w bytes (Options.ReadLimit)", err)
	case errors.Is(err, frame.ErrTooManyFragments):
		return &fragmentsError{err}
	}
	return err
}

// fragmentsError is a frame.ErrTooManyFragments that is ErrMessageTooBig too.
type fragmentsError struct{ err error }

func (e *fragmentsError) Error() string        { return e.err.Error() + " (Options.FragmentLimit)" }
func (e *fragmentsError) Unwrap() error        { return e.err }
func (e *fragmentsError) Is(target error) bool { return target == ErrMessageTooBig }
