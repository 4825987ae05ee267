package conn

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
)

// ReadJSON reads the next message and decodes it, whatever its type:
//
//	order, err := conn.ReadJSON[Order](ctx, c)
//
// Nothing is left behind of a message that is not JSON, or does not fit T: the
// error wraps that of encoding/json, and the connection goes on. The other
// errors are those of [Conn.Read].
func ReadJSON[T any](ctx context.Context, c *Conn) (T, error) {
	var v T
	// Lent memory: decoding copies what it keeps.
	b := getBuffer(minReadBuffer)
	defer putBuffer(b)
	_, p, err := c.ReadInto(ctx, b.b)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(p, &v); err != nil {
		return v, fmt.Errorf("websocket: message of %d bytes is not the JSON of a %v: %w", len(p), reflect.TypeFor[T](), err)
	}
	return v, nil
}

// WriteJSON writes v as one text message. The error wraps that of
// encoding/json if v cannot be encoded, and nothing was sent then; the others
// are those of [Conn.Write].
func WriteJSON(ctx context.Context, c *Conn, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("websocket: %T cannot be sent as JSON: %w", v, err)
	}
	return c.Write(ctx, Text, p)
}
