// Package group sends messages to groups of WebSocket connections: the rooms of
// a chat, the viewers of an auction, the devices of a user. Users of Django
// Channels know it as the channel layer.
//
//	var layer group.Layer
//
//	http.Handle("/ws/{room}", conn.Handler(func(ctx context.Context, c *conn.Conn) error {
//		room := c.Request().PathValue("room")
//		if err := layer.Add(ctx, room, c); err != nil {
//			return err
//		}
//		for m, err := range c.Messages(ctx) {
//			if err != nil {
//				return err
//			}
//			if err := layer.Send(ctx, room, m.Type, m.Data); err != nil {
//				return err
//			}
//		}
//		return nil
//	}, nil))
//
// A message can be sent into a group from anywhere at any time, from an HTTP
// handler or a timer for instance, and leaves at once:
//
//	layer.Send(r.Context(), "news", conn.Text, []byte("hello"))
//
// # Delivery
//
// At most once, and in the order of each sender. A member's messages wait in the
// queue of its connection, with the limits and the policy of [conn.Options]:
// QueueMessages, QueueBytes, QueueMaxAge and Overflow. A member that is slow, or
// gone, never makes Send wait or fail. A message is encoded once, and compressed
// once for each form of compression that members agreed on. A member leaves its
// groups when its connection ends, however that happens.
//
// # Several processes
//
// With a [Backplane], groups span processes: a message sent in one reaches the
// members in all. When the Backplane may have lost messages, Layer.Gap tells.
package group
