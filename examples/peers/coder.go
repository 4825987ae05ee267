package peers

import (
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// serveCoder is github.com/coder/websocket. It has no prepared messages, so
// each subscriber's frame is made anew.
func serveCoder(ln net.Listener) error {
	var subscribers members[*websocket.Conn]
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(Limit)
		ctx := context.Background()
		reply := c.Write
		switch r.URL.Path {
		case "/pub":
			reply = func(ctx context.Context, t websocket.MessageType, p []byte) error {
				for _, s := range subscribers.all() {
					s.Write(ctx, t, p)
				}
				return nil
			}
		case "/sub":
			subscribers.add(c)
			defer subscribers.remove(c)
		}
		for {
			t, p, err := c.Read(ctx)
			if err != nil {
				return
			}
			if err := reply(ctx, t, p); err != nil {
				return
			}
		}
	}))
}
