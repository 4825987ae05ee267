//go:build !unix

package conn

import (
	"net"
	"syscall"
)

// rawConn returns nil here: a connection keeps its buffer while it waits.
func rawConn(nc any) syscall.RawConn { return nil }

const noRaw = "websocket: no raw transport on this system"

// Through no raw connection nothing comes or goes.
func readNow(nc net.Conn, raw syscall.RawConn, p []byte) (int, error)  { return 0, nil }
func writeNow(nc net.Conn, raw syscall.RawConn, p []byte) (int, error) { return 0, nil }

func (c *Conn) openRaw(raw syscall.RawConn)               { panic(noRaw) }
func (c *Conn) writeRaw(p []byte, wait bool) (int, error) { panic(noRaw) }
func (c *Conn) readRaw(p []byte) (int, error)             { panic(noRaw) }
