//go:build !unix

package conn

// openRaw does nothing here: a connection keeps its buffer while it waits.
func (c *Conn) openRaw() {}

func (c *Conn) writeRaw(p []byte, wait bool) (int, error) {
	panic("websocket: no raw transport on this system")
}

func (c *Conn) readRaw(p []byte) (int, error) { panic("websocket: no raw transport on this system") }
