package peers

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
)

// serveRawTCP answers the opening handshake and then sends back whatever bytes
// come: the least that a server with a goroutine for each connection can do.
func serveRawTCP(ln net.Listener) error {
	var subscribers members[net.Conn]
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			b := make([]byte, 64<<10)
			path, err := rawUpgrade(nc, b)
			if err != nil {
				return
			}
			reply := func(p []byte) error {
				_, err := nc.Write(p)
				return err
			}
			switch path {
			case "/pub":
				reply = func(p []byte) error {
					for _, s := range subscribers.all() {
						s.Write(p)
					}
					return nil
				}
			case "/sub":
				subscribers.add(nc)
				defer subscribers.remove(nc)
			}
			for {
				n, err := nc.Read(b)
				if err != nil {
					return
				}
				if err := reply(b[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// rawUpgrade answers the request, which must be all that the client has sent.
func rawUpgrade(nc net.Conn, b []byte) (path string, err error) {
	n := 0
	for !bytes.Contains(b[:n], []byte("\r\n\r\n")) {
		m, err := nc.Read(b[n:])
		if err != nil {
			return "", err
		}
		n += m
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b[:n])))
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		AcceptKey(r.Header.Get("Sec-WebSocket-Key")))
	return r.URL.Path, err
}
