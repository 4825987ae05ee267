package peers

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"runtime"

	"github.com/lxzan/gws"
)

// serveGWS is github.com/lxzan/gws with its own server. It does not check UTF-8
// unless told to, and is not here: its documentation says that it is faster so.
// Messages of a connection are not handled in parallel, or replies would
// overtake each other.
func serveGWS(ln net.Listener) error {
	o := &gws.ServerOption{ReadMaxPayloadSize: Limit, WriteMaxPayloadSize: Limit}
	var subscribers members[*gws.Conn]
	pub := gws.NewUpgrader(&gwsPub{subscribers: &subscribers}, o)
	sub := gws.NewUpgrader(&gwsSub{subscribers: &subscribers}, o)
	s := gws.NewServer(new(gwsEcho), o)
	s.OnRequest = func(nc net.Conn, br *bufio.Reader, r *http.Request) {
		u := s.GetUpgrader()
		switch r.URL.Path {
		case "/pub":
			u = pub
		case "/sub":
			u = sub
		}
		if c, err := u.UpgradeFromConn(nc, br, r); err == nil {
			c.ReadLoop()
		}
	}
	s.OnError = func(nc net.Conn, err error) {
		// RunListener goes on for ever when its listener is closed.
		if nc == nil && errors.Is(err, net.ErrClosed) {
			runtime.Goexit()
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.RunListener(ln)
	}()
	<-ended
	return net.ErrClosed
}

type gwsEcho struct{ gws.BuiltinEventHandler }

func (*gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	c.WriteMessage(m.Opcode, m.Bytes())
}

type gwsPub struct {
	gws.BuiltinEventHandler
	subscribers *members[*gws.Conn]
}

func (h *gwsPub) OnMessage(_ *gws.Conn, m *gws.Message) {
	// The deliveries outlive this call, and the broadcaster keeps the payload
	// until then, but has encoded it before Broadcast returns.
	defer m.Close()
	b := gws.NewBroadcaster(m.Opcode, m.Bytes())
	defer b.Close()
	for _, s := range h.subscribers.all() {
		b.Broadcast(s)
	}
}

type gwsSub struct {
	gwsEcho
	subscribers *members[*gws.Conn]
}

func (h *gwsSub) OnOpen(c *gws.Conn) { h.subscribers.add(c) }

func (h *gwsSub) OnClose(c *gws.Conn, _ error) { h.subscribers.remove(c) }
