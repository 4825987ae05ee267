//go:build unix

package conn

import (
	"io"
	"net"
	"os"
	"syscall"
)

// openRaw prepares reading from the descriptor itself. A connection that waits
// then needs no buffer: the read happens inside RawConn.Read's callback, which
// lends a buffer when it is called and gives it back when nothing has come.
func (c *Conn) openRaw() {
	sc, ok := c.nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	c.raw = raw
	// The goroutine of an idle connection stands here, on a stack of 2 KiB if the
	// application's function is shallow. So this does not allocate, and what it
	// calls is kept shallow.
	c.rawTry = func(fd uintptr) bool {
		if c.rawTarget == nil && !c.relendBuffer() {
			return true // to be called again with a new one
		}
		n, err := syscall.Read(int(fd), c.rawTarget)
		for err == syscall.EINTR {
			n, err = syscall.Read(int(fd), c.rawTarget)
		}
		if err == syscall.EAGAIN {
			// The callback must have tried the read before it asks to wait, or
			// bytes that are there already would not wake it.
			c.park()
			if c.rawBuf && c.buf == nil {
				c.rawTarget = nil
			}
			return false
		}
		if n == 0 && err == nil {
			err = io.EOF
		}
		c.rawN, c.rawErr = max(n, 0), err
		return true
	}
}

// relendBuffer lends a buffer again after park has given it back, if the pool
// has one.
func (c *Conn) relendBuffer() bool {
	c.buf = pooledBuffer(c.bufSize)
	if c.buf == nil {
		return false
	}
	c.rawTarget = c.buf.b
	return true
}

// writeRaw writes p, or, if it is not to wait, what the socket takes of it at
// once. It returns how much that was.
func (c *Conn) writeRaw(p []byte, wait bool) (int, error) {
	if c.rawSend == nil {
		c.makeRawSend()
	}
	c.rawOut, c.rawWait, c.rawSendErr = p, wait, nil
	err := c.raw.Write(c.rawSend)
	n := len(p) - len(c.rawOut)
	c.rawOut = nil
	if err == nil && c.rawSendErr == nil {
		return n, nil
	}
	return n, c.rawWriteError(err)
}

func (c *Conn) makeRawSend() {
	c.rawSend = func(fd uintptr) bool {
		for len(c.rawOut) > 0 {
			n, err := syscall.Write(int(fd), c.rawOut)
			switch {
			case err == syscall.EINTR:
			case err == syscall.EAGAIN:
				return !c.rawWait
			case err != nil:
				c.rawSendErr = err
				return true
			default:
				c.rawOut = c.rawOut[n:]
			}
		}
		return true
	}
}

// readRaw reads into p, or into the free end of the buffer if p is nil.
func (c *Conn) readRaw(p []byte) (int, error) {
	c.rawTarget, c.rawBuf = p, p == nil
	c.rawN, c.rawErr = 0, nil
	for c.rawN == 0 {
		if c.rawBuf {
			c.lendBuffer() // after a wait
			c.rawTarget = c.buf.b[c.w:]
		}
		if err := c.raw.Read(c.rawTry); err != nil || c.rawErr != nil {
			return 0, c.rawReadError(err)
		}
	}
	c.rawTarget = nil
	return c.rawN, nil
}

// Of their own, so that what calls them stays shallow.
func (c *Conn) rawReadError(around error) error {
	c.rawTarget = nil
	return c.rawError("read", around, c.rawErr)
}

func (c *Conn) rawWriteError(around error) error {
	return c.rawError("write", around, c.rawSendErr)
}

// rawError returns the error of a system call, or else of what RawConn does
// around it, as net.Conn would.
func (c *Conn) rawError(op string, around, inside error) error {
	switch {
	case inside == io.EOF:
		return io.EOF
	case inside != nil:
		return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, inside)}
	}
	if e, ok := around.(*net.OpError); ok {
		e.Op = op // was "raw-read" or "raw-write"
	}
	return around
}
