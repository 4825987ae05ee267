//go:build unix

package conn

import (
	"io"
	"net"
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
	c.rawTry = func(fd uintptr) bool {
		p := c.rawTarget
		if p == nil {
			c.lendBuffer()
			p = c.buf.b[c.w:]
		}
		for {
			n, err := syscall.Read(int(fd), p)
			switch {
			case err == syscall.EINTR:
				continue
			case err == syscall.EAGAIN:
				// The callback must have tried the read before it asks to wait,
				// or bytes that are there already would not wake it.
				c.park()
				return false
			case err != nil:
				c.rawN, c.rawErr = 0, err
			case n == 0:
				c.rawN, c.rawErr = 0, io.EOF
			default:
				c.rawN, c.rawErr = n, nil
			}
			return true
		}
	}
}

// writeRaw writes what the socket takes of p at once.
func (c *Conn) writeRaw(p []byte) (int, error) {
	if c.rawSend == nil {
		c.rawSend = func(fd uintptr) bool {
			for {
				n, err := syscall.Write(int(fd), c.rawOut)
				if err == syscall.EINTR {
					continue
				}
				c.rawSent = max(n, 0)
				c.rawSendErr = err
				return true
			}
		}
	}
	c.rawOut, c.rawSent, c.rawSendErr = p, 0, nil
	err := c.raw.Write(c.rawSend)
	c.rawOut = nil
	if err == nil && c.rawSendErr != syscall.EAGAIN {
		err = c.rawSendErr
	}
	return c.rawSent, err
}

// readRaw reads into p, or into the free end of the buffer if p is nil.
func (c *Conn) readRaw(p []byte) (int, error) {
	c.rawTarget = p
	c.rawN, c.rawErr = 0, nil
	err := c.raw.Read(c.rawTry)
	c.rawTarget = nil
	if err != nil {
		return 0, err
	}
	if errno, ok := c.rawErr.(syscall.Errno); ok {
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: errno}
	}
	return c.rawN, c.rawErr
}
