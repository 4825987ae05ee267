package rooms

import (
	"context"
	"time"

	"rfc6455/conn"
)

// count is a handler that sends whenever it likes: each number is on its way when
// Write returns.
func count(ctx context.Context, c *conn.Conn) error {
	// Somebody has to read, which is how Pings and Close frames are answered.
	go func() {
		for range c.Messages(ctx) {
		}
	}()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for n := int64(1); ; n++ {
		if err := conn.WriteJSON(ctx, c, Event{Type: "count", N: n, Time: time.Now()}); err != nil {
			return err
		}
		select {
		case <-second.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
