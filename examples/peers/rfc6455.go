package peers

import (
	"context"
	"net"
	"net/http"

	"rfc6455/conn"
	"rfc6455/conn/group"
)

// serveRFC6455 is this library without net/http.
func serveRFC6455(ln net.Listener) error {
	return conn.Serve(ln, rfc6455Handler(), rfc6455Options())
}

// serveRFC6455HTTP is this library under net/http.
func serveRFC6455HTTP(ln net.Listener) error {
	o := rfc6455Options()
	o.Detached = true
	return http.Serve(ln, conn.Handler(rfc6455Handler(), o))
}

func rfc6455Options() *conn.AcceptOptions {
	return &conn.AcceptOptions{Options: conn.Options{ReadLimit: Limit}}
}

func rfc6455Handler() func(context.Context, *conn.Conn) error {
	var layer group.Layer
	return func(ctx context.Context, c *conn.Conn) error {
		switch c.Request().URL.Path {
		case "/pub":
			return rfc6455Publish(ctx, c, &layer)
		case "/sub":
			if err := layer.Add(ctx, "sub", c); err != nil {
				return err
			}
		}
		for m, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			if err := c.Write(ctx, m.Type, m.Data); err != nil {
				return err
			}
		}
		return nil
	}
}

func rfc6455Publish(ctx context.Context, c *conn.Conn, layer *group.Layer) error {
	for m, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		if err := layer.Send(ctx, "sub", m.Type, m.Data); err != nil {
			return err
		}
	}
	return nil
}
