package peers

import (
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

// serveGorilla is github.com/gorilla/websocket. The read buffer is that of
// net/http's server and the write buffer comes from a pool, as its
// documentation has it for buffers that are reused.
func serveGorilla(ln net.Listener) error {
	upgrader := websocket.Upgrader{WriteBufferPool: new(sync.Pool)}
	var subscribers members[*websocket.Conn]
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		c.SetReadLimit(Limit)
		reply := c.WriteMessage
		switch r.URL.Path {
		case "/pub":
			// Written by the publisher's goroutine, which is the cheapest way:
			// one per subscriber, as in its chat example, adds a wakeup to each
			// delivery.
			reply = func(t int, p []byte) error {
				m, err := websocket.NewPreparedMessage(t, p)
				if err != nil {
					return err
				}
				for _, s := range subscribers.all() {
					s.WritePreparedMessage(m)
				}
				return nil
			}
		case "/sub":
			subscribers.add(c)
			defer subscribers.remove(c)
		}
		for {
			t, p, err := c.ReadMessage()
			if err != nil {
				return
			}
			if err := reply(t, p); err != nil {
				return
			}
		}
	}))
}
