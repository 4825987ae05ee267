package peers

import (
	"bufio"
	"io"
	"net"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// serveGobwas is github.com/gobwas/ws with its zero-copy upgrade and the
// helpers of wsutil, which check UTF-8. The helpers read a header in steps,
// hence the bufio.Reader.
func serveGobwas(ln net.Listener) error {
	wsutil.SetMaxMessageSize(Limit)
	var subscribers members[net.Conn]
	return serveGobwasUpgrade(ln, func(nc net.Conn, path string) {
		reply := func(op ws.OpCode, p []byte) error {
			return wsutil.WriteServerMessage(nc, op, p)
		}
		switch path {
		case "/pub":
			reply = gobwasPublish(&subscribers)
		case "/sub":
			subscribers.add(nc)
			defer subscribers.remove(nc)
		}
		rw := struct {
			io.Reader
			io.Writer
		}{bufio.NewReader(nc), nc}
		for {
			p, op, err := wsutil.ReadClientData(rw)
			if err != nil {
				return
			}
			if err := reply(op, p); err != nil {
				return
			}
		}
	})
}

// gobwasPublish returns a function that encodes a message once, and writes it
// to all subscribers.
func gobwasPublish(subscribers *members[net.Conn]) func(ws.OpCode, []byte) error {
	return func(op ws.OpCode, p []byte) error {
		f, err := ws.CompileFrame(ws.NewFrame(op, true, p))
		if err != nil {
			return err
		}
		for _, s := range subscribers.all() {
			s.Write(f)
		}
		return nil
	}
}

// serveGobwasUpgrade accepts connections, upgrades them in goroutines of their
// own, and calls f there.
func serveGobwasUpgrade(ln net.Listener, f func(nc net.Conn, path string)) error {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			var path string
			u := ws.Upgrader{OnRequest: func(uri []byte) error {
				path = string(uri)
				return nil
			}}
			if _, err := u.Upgrade(nc); err != nil {
				return
			}
			f(nc, path)
		}()
	}
}
