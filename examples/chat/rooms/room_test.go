package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/conn/group"
	"rfc6455/frame"
)

// incoming is whatever a page is sent.
type incoming struct {
	Event
	Present  []string
	Messages int64
	Life     string
}

func next(t *testing.T, c *conn.Conn) incoming {
	t.Helper()
	in, err := conn.ReadJSON[incoming](t.Context(), c)
	require.NoError(t, err)
	return in
}

// gets is next, and tells what came as "type name: text".
func gets(t *testing.T, c *conn.Conn) string {
	t.Helper()
	in := next(t, c)
	s := in.Type + " " + in.Name
	if in.Text != "" {
		s += ": " + in.Text
	}
	return s
}

// A slow member loses the oldest messages, can tell from their numbers, and holds
// up nobody.
func TestSlowMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := New(nil, nil)
		o := &conn.Options{QueueMessages: 100, QueueMaxAge: time.Minute, Overflow: conn.DropOldest}
		enter := func(name string) *conn.Conn {
			c, s := conn.Pipe(nil, o)
			m, err := ch.connect(s.Context(), s, "room", name)
			require.NoError(t, err)
			t.Cleanup(func() { c.CloseNow() })
			go func() {
				for message, err := range s.Messages(s.Context()) {
					if err == nil {
						m.receive(s.Context(), message)
					}
				}
				m.disconnect(context.Background())
			}()
			return c
		}
		slow, ada := enter("slow"), enter("ada")
		require.Equal(t, "welcome ada", gets(t, ada))
		text := strings.Repeat("x", maxText)
		for range 300 {
			require.NoError(t, conn.WriteJSON(t.Context(), ada, Request{Type: "message", Text: text}))
			require.Equal(t, "message ada: "+text, gets(t, ada))
			<-time.After(10 * time.Millisecond) // a burst would find more room
		}
		welcome := next(t, slow)
		require.Equal(t, "welcome", welcome.Type)
		require.NoError(t, conn.WriteJSON(t.Context(), slow, Request{Type: "who"}))
		last, got, missed := welcome.N, int64(0), int64(0)
		for {
			in := next(t, slow)
			if in.Type == "welcome" {
				assert.Equal(t, in.Messages, got+missed)
				break
			}
			missed += in.N - last - 1
			last = in.N
			if in.Type == "message" {
				got++
			}
		}
		assert.Positive(t, missed)
		assert.GreaterOrEqual(t, got, int64(100))
		require.NoError(t, slow.Close(frame.CloseNormal, ""))
		require.Equal(t, "leave slow", gets(t, ada))
		require.NoError(t, ada.Close(frame.CloseNormal, ""))
		synctest.Wait()
		assert.Empty(t, ch.rooms)
		assert.Empty(t, ch.own.rooms)
		assert.Empty(t, ch.layer.Groups())
	})
}

// offline is a Backplane to which nobody else is connected.
type offline struct{}

func (offline) Publish(context.Context, string, []byte) error { return errors.New("the cable is cut") }
func (offline) Subscribe(context.Context, string) error       { return nil }
func (offline) Unsubscribe(context.Context, string) error     { return nil }
func (offline) Receive(ctx context.Context, _ func(string, []byte), _ func(...string)) error {
	<-ctx.Done()
	return ctx.Err()
}

// Where rooms span processes nothing is numbered, and a Presence of this process
// tells its own members alone.
func TestSeveralProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		layer := &group.Layer{Backplane: offline{}}
		ch := New(layer, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- ch.Run(ctx) }()
		enter := func(name string) (*conn.Conn, *member) {
			c, s := conn.Pipe(nil, nil)
			m, err := ch.connect(s.Context(), s, "room", name)
			require.NoError(t, err)
			t.Cleanup(func() { c.CloseNow(); s.CloseNow() })
			return c, m
		}
		ada, member := enter("ada")
		require.Equal(t, incoming{Event: Event{Type: "welcome", Name: "ada"}, Present: []string{"ada"}}, next(t, ada))
		_, bob := enter("bob")
		require.Equal(t, "join bob", gets(t, ada))
		bob.disconnect(t.Context())
		require.Equal(t, "leave bob", gets(t, ada))

		layer.Gap("room")
		require.Equal(t, Event{Type: "gap"}, next(t, ada).Event)
		ch.changed("room", Change{Joined: []string{"eve"}, Left: []string{"carl", "dora"}, Order: 7})
		in := next(t, ada)
		require.Equal(t, Event{Type: "join", Name: "eve", Order: 7, Time: in.Time}, in.Event)
		in = next(t, ada)
		require.Equal(t, Event{Type: "leave", Names: []string{"carl", "dora"}, Order: 7, Time: in.Time}, in.Event)

		// The members here get what did not reach the others, and the sender is told.
		text, err := json.Marshal(Request{Type: "message", Text: "hello"})
		require.NoError(t, err)
		err = member.receive(t.Context(), conn.Message{Type: conn.Text, Data: text})
		require.Equal(t, errApart, err)
		in = next(t, ada)
		require.Equal(t, Event{Type: "message", Name: "ada", Text: "hello", Time: in.Time}, in.Event)

		cancel()
		require.ErrorIs(t, <-ran, context.Canceled)
	})
}
