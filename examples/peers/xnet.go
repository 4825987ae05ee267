package peers

import (
	"net"
	"net/http"

	"golang.org/x/net/websocket"
)

// xnetMessage is a message of either type: the codecs that come with the
// library have one type each.
type xnetMessage struct {
	payload []byte
	opcode  byte
}

var xnetCodec = websocket.Codec{
	Marshal: func(v any) ([]byte, byte, error) {
		m := v.(*xnetMessage)
		return m.payload, m.opcode, nil
	},
	Unmarshal: func(p []byte, opcode byte, v any) error {
		*v.(*xnetMessage) = xnetMessage{p, opcode}
		return nil
	},
}

// serveXNet is golang.org/x/net/websocket. It neither puts fragments together
// nor checks UTF-8, and has no prepared messages.
func serveXNet(ln net.Listener) error {
	var subscribers members[*websocket.Conn]
	return http.Serve(ln, websocket.Server{Handler: func(c *websocket.Conn) {
		c.MaxPayloadBytes = Limit
		reply := func(m *xnetMessage) error { return xnetCodec.Send(c, m) }
		switch c.Request().URL.Path {
		case "/pub":
			reply = func(m *xnetMessage) error {
				for _, s := range subscribers.all() {
					xnetCodec.Send(s, m)
				}
				return nil
			}
		case "/sub":
			subscribers.add(c)
			defer subscribers.remove(c)
		}
		var m xnetMessage
		for {
			if err := xnetCodec.Receive(c, &m); err != nil {
				return
			}
			if err := reply(&m); err != nil {
				return
			}
		}
	}})
}
