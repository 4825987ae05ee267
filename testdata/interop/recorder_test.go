//go:build linux

package interop

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// recorder is a listener, or a dialer, whose connections keep what they read.
type recorder struct {
	net.Listener

	mu    sync.Mutex
	conns []*recorded
}

// recorded is a connection that keeps what it reads.
type recorded struct {
	net.Conn

	mu   sync.Mutex
	read bytes.Buffer
}

// record has the recorder keep what nc reads.
func (r *recorder) record(nc net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	c := &recorded{Conn: nc}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, c)
	return c, nil
}

// Accept implements net.Listener.
func (r *recorder) Accept() (net.Conn, error) { return r.record(r.Listener.Accept()) }

// Read implements net.Conn.
func (c *recorded) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.Write(p[:n])
	return n, err
}

// head returns the head of an HTTP message that contains text, as it came.
func (r *recorder) head(t *testing.T, text string) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.mu.Lock()
		head, _, _ := strings.Cut(c.read.String(), "\r\n\r\n")
		c.mu.Unlock()
		if strings.Contains(head, text) {
			return head + "\r\n"
		}
	}
	require.Fail(t, "no head was recorded with "+text)
	return ""
}
