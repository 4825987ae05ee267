//go:build unix

package conn

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// rawConn returns the way to the descriptor of a TCP or unix connection, nil if it
// has none. Those themselves alone count: a type that embeds one may change what
// Read and Write do.
func rawConn(nc any) syscall.RawConn {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
		if raw, err := nc.(syscall.Conn).SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// instant is a read or a write that takes what there is and does not wait.
type instant struct {
	p           []byte
	n           int
	errno       syscall.Errno
	read, write func(fd uintptr) bool // made once
}

var instants = sync.Pool{New: func() any {
	a := new(instant)
	a.read = func(fd uintptr) bool { return a.try(syscall.Read, fd) }
	a.write = func(fd uintptr) bool { return a.try(syscall.Write, fd) }
	return a
}}

// try makes the system call once. It has RawConn not wait.
func (a *instant) try(call func(fd int, p []byte) (int, error), fd uintptr) bool {
	n, err := call(int(fd), a.p)
	for err == syscall.EINTR {
		n, err = call(int(fd), a.p)
	}
	a.n = max(n, 0)
	a.errno, _ = err.(syscall.Errno)
	return true
}

// readNow reads what has come into p: nothing, and no error, if nothing has. raw is
// that of nc; through nil, nothing comes.
func readNow(nc net.Conn, raw syscall.RawConn, p []byte) (int, error) {
	if raw == nil {
		return 0, nil
	}
	a := instants.Get().(*instant)
	defer instants.Put(a)
	a.p = p
	err := raw.Read(a.read)
	if err == nil && a.n == 0 && a.errno == 0 {
		err = io.EOF
	}
	return a.end(nc, "read", err)
}

// writeNow writes as much of p as the socket takes. raw is that of nc; nil takes
// nothing.
func writeNow(nc net.Conn, raw syscall.RawConn, p []byte) (int, error) {
	if raw == nil {
		return 0, nil
	}
	a := instants.Get().(*instant)
	defer instants.Put(a)
	a.p = p
	return a.end(nc, "write", raw.Write(a.write))
}

// end returns how it went. err is what RawConn says.
func (a *instant) end(nc net.Conn, op string, err error) (n int, _ error) {
	n, errno := a.n, a.errno
	a.p, a.n, a.errno = nil, 0, 0
	switch {
	case err == io.EOF:
		return 0, err
	case errno == syscall.EAGAIN:
		return 0, nil
	case err != nil || errno != 0:
		return 0, rawError(nc, op, err, uint32(errno))
	}
	return n, nil
}

// openRaw prepares reading from the descriptor itself. A connection that waits
// then needs no buffer: the read happens inside RawConn.Read's callback, which
// lends a buffer when it is called and gives it back when nothing has come.
func (c *Conn) openRaw(raw syscall.RawConn) {
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
		switch errno, _ := err.(syscall.Errno); {
		case errno != 0:
			c.rawErrno = uint32(errno)
		case n == 0:
			c.rawN = -1
		default:
			c.rawN = n
		}
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
	c.rawOut, c.rawWait, c.rawOutErr = p, wait, 0
	err := c.raw.Write(c.rawSend)
	n := len(p) - len(c.rawOut)
	c.rawOut = nil
	if err == nil && c.rawOutErr == 0 {
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
				errno, _ := err.(syscall.Errno)
				c.rawOutErr = uint32(errno)
				return true
			case n == 0: // no kernel does that
				c.rawOutErr = uint32(syscall.EIO)
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
	c.rawN, c.rawErrno = 0, 0
	for c.rawN == 0 {
		if c.rawBuf {
			c.lendBuffer() // after a wait
			c.rawTarget = c.buf.b[c.w:]
		}
		if err := c.raw.Read(c.rawTry); err != nil || c.rawErrno != 0 || c.rawN < 0 {
			return 0, c.rawReadError(err)
		}
	}
	c.rawTarget = nil
	return c.rawN, nil
}

// Of their own, and not inlined, so that what calls them stays shallow.
//
//go:noinline
func (c *Conn) rawReadError(around error) error {
	c.rawTarget = nil
	if c.rawN < 0 {
		return io.EOF
	}
	return rawError(c.nc.(net.Conn), "read", around, c.rawErrno)
}

//go:noinline
func (c *Conn) rawWriteError(around error) error {
	return rawError(c.nc.(net.Conn), "write", around, c.rawOutErr)
}

// rawError returns the error of a system call, or else of what RawConn does
// around it, as nc would.
func rawError(nc net.Conn, op string, around error, errno uint32) error {
	if errno != 0 {
		err := os.NewSyscallError(op, syscall.Errno(errno))
		return &net.OpError{Op: op, Net: nc.LocalAddr().Network(), Source: nc.LocalAddr(), Addr: nc.RemoteAddr(), Err: err}
	}
	if e, ok := around.(*net.OpError); ok {
		e.Op = op // was "raw-read" or "raw-write"
	}
	return around
}
