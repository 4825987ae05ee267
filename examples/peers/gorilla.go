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
	var subscribers members[*gorillaSubscriber]
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
					s.send(m)
				}
				return nil
			}
		case "/sub":
			s := &gorillaSubscriber{c: c}
			subscribers.add(s)
			defer subscribers.remove(s)
			reply = s.write
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

// gorillaSubscriber is a connection on which two goroutines write: the library
// leaves it to the program to keep them apart.
type gorillaSubscriber struct {
	mu sync.Mutex
	c  *websocket.Conn
}

func (s *gorillaSubscriber) write(t int, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c.WriteMessage(t, p)
}

func (s *gorillaSubscriber) send(m *websocket.PreparedMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c.WritePreparedMessage(m)
}
