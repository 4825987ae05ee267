package conn

import (
	"errors"

	"rfc6455/frame"
)

// Close closes the connection with the closing handshake: what was written and
// queued leaves, then a Close frame with code and reason, then it waits for the
// peer's Close frame, all within Options.CloseTimeout. It may be called from
// any goroutine, also while others read and write: messages that come in the
// meantime reach a Read that is under way, and are dropped if there is none.
//
// It returns nil if both Close frames were exchanged, whoever began; otherwise
// why they were not. Every call after the first waits for the same end and
// returns the same. A reason over 123 bytes is cut; for
// [frame.CloseNoStatus] the frame has no code and no reason. A code that must
// not be sent is an error and does nothing. (RFC 6455, section 7.1.2)
func (c *Conn) Close(code frame.CloseCode, reason string) error {
	if code != frame.CloseNoStatus && !code.Sendable() {
		_, _, err := frame.ParseClose(frame.AppendClose(nil, code, ""))
		return err
	}
	c.mu.Lock()
	if c.ended {
		defer c.mu.Unlock()
		return c.closeResult
	}
	if err := c.writeErr; err != nil && c.closing == nil {
		// There can be no closing handshake any more.
		c.mu.Unlock()
		c.end(err, err, false)
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.closeResult
	}
	if c.closing == nil {
		c.beginClose(&CloseError{Code: code, Reason: reason}, code, reason)
	}
	c.mu.Unlock()
	c.sendClose()
	c.awaitClose()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closeResult
}

// CloseNow closes the transport at once, without a closing handshake and
// without what still waits to be written. It is what to defer behind a Close
// that may not be reached. It never blocks for the peer's sake.
func (c *Conn) CloseNow() error {
	c.end(errCloseNow, errCloseNow, false)
	c.hangUp()
	return nil
}

// closing is a Close frame that is due or was sent, or would be if the transport
// had not failed.
type closing struct {
	err     error // what ends the connection
	payload []byte
	sent    chan struct{} // closed when the frame is on the wire, or never will be; nil then
}

// beginClose makes a Close frame due and starts the clock. err is what ends the
// connection. Under mu.
func (c *Conn) beginClose(err error, code frame.CloseCode, reason string) {
	c.closing = &closing{err: err, payload: frame.AppendClose(nil, code, reason)}
	// A Pong that is due leaves before the Close frame, since its Ping came
	// before. (RFC 6455, section 5.5.2)
	c.pingDue = false
	if c.writeErr == nil && !c.ended {
		c.closeDue = true
		c.closing.sent = make(chan struct{})
	}
	if c.o.CloseTimeout > 0 && c.closeAt == 0 {
		c.closeAt = c.now() + c.o.CloseTimeout
		c.arm(c.closeAt)
	}
}

// closeWritten tells those who wait for it that the Close frame is on the wire
// or never will be. Under mu.
func (c *Conn) closeWritten() {
	if c.closing != nil && c.closing.sent != nil {
		close(c.closing.sent)
		c.closing.sent = nil
	}
}

// sendClose waits until the Close frame that is due has been written, or the
// connection has ended.
func (c *Conn) sendClose() {
	c.mu.Lock()
	if c.closing == nil || c.closing.sent == nil {
		c.mu.Unlock()
		return
	}
	sent := c.closing.sent
	lead := !c.busy
	c.busy = true
	c.mu.Unlock()
	if lead {
		c.lead(nil, nil)
	}
	<-sent
}

// awaitClose waits for the end of the connection. While nobody reads, it does,
// and drops what it reads.
func (c *Conn) awaitClose() {
	for {
		if c.reading.CompareAndSwap(readerFree, readerTaken) {
			break
		}
		c.mu.Lock()
		if c.readFree == nil {
			c.readFree = make(chan struct{}, 1)
		}
		c.mu.Unlock()
		if c.reading.CompareAndSwap(readerTaken, readerWanted) {
			select {
			case <-c.readFree:
			case <-c.Context().Done():
				// The reader may be leaving this very moment.
				if !c.reading.CompareAndSwap(readerWanted, readerTaken) {
					<-c.readFree
				}
				return
			}
			continue
		}
		select {
		case <-c.Context().Done():
			return
		default:
		}
		if c.reading.Load() == readerWanted {
			// Another Close will read.
			<-c.Context().Done()
			return
		}
	}
	defer c.leaveReader()
	if c.sticky() != nil {
		return
	}
	c.detach()
	skipped := &messageReader{c: c}
	for {
		c.streaming = nil
		if err := skipped.skip(); err != nil {
			return
		}
		skipped.eof = false
		if err := c.nextData(); err != nil {
			return
		}
	}
}

// closeReceived deals with the peer's Close frame. It always returns the
// connection's last error.
func (c *Conn) closeReceived(payload []byte) error {
	code, reason, err := frame.ParseClose(payload)
	if err != nil {
		return c.fail(err)
	}
	c.mu.Lock()
	c.answerPing()
	first := c.closing == nil
	if first {
		// An endpoint that receives a Close frame and has not sent one MUST
		// answer with one, with the same code. (RFC 6455, section 5.5.1)
		c.beginClose(&CloseError{Code: code, Reason: reason, Remote: true}, code, "")
	}
	sticky := c.closing.err
	c.mu.Unlock()
	c.sendClose()
	// The server closes the stream first; a client waits for that, so that the
	// server's port is not the one that stays occupied.
	// (RFC 6455, section 7.1.1)
	linger := c.role == frame.Client
	c.end(sticky, nil, linger)
	if linger {
		c.linger()
	}
	return c.gone()
}

// fail fails the connection because of what the peer sent: it is told why in a
// Close frame, if none was sent yet. It returns the connection's last error.
// (RFC 6455, section 7.1.7)
func (c *Conn) fail(err error) error {
	code, reason := frame.CloseProtocolError, ""
	var pe *frame.ProtocolError
	if errors.As(err, &pe) {
		code, reason = pe.Code, pe.Reason
	}
	c.mu.Lock()
	c.answerPing()
	if c.closing == nil {
		c.beginClose(err, code, reason)
	}
	sticky := c.closing.err
	c.mu.Unlock()
	c.sendClose()
	c.end(sticky, err, true)
	// With unread bytes in its buffers, closing a TCP connection resets it, and
	// the peer might never see the Close frame: it gets the end of our stream
	// and the time to close its own.
	if hc, ok := c.nc.(interface{ CloseWrite() error }); ok {
		hc.CloseWrite()
	}
	c.linger()
	return c.gone()
}

// linger waits until the peer has ended the stream, in which it may read our
// Close frame, or the reader's context has ended, as the connection's own has.
// The reader calls it after the end.
func (c *Conn) linger() {
	done := c.readCtx.Done()
	if done == nil {
		c.readOut()
		return
	}
	out := make(chan struct{})
	go func() {
		defer close(out)
		c.readOut()
	}()
	select {
	case <-out:
	case <-done:
	}
}

// readOut reads until the peer ends the stream or the time for the closing
// handshake is over, and closes the transport.
func (c *Conn) readOut() {
	defer c.hangUp()
	b := getBuffer(minReadBuffer)
	defer putBuffer(b)
	for {
		if _, err := c.nc.Read(b.b); err != nil {
			return
		}
	}
}
