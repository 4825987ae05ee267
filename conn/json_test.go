package conn

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/frame"
)

type order struct {
	ID    int               `json:"id"`
	Items []string          `json:"items"`
	Notes map[string]string `json:"notes,omitempty"`
	Raw   json.RawMessage   `json:"raw,omitempty"`
	Blob  []byte            `json:"blob,omitempty"`
	Due   time.Time         `json:"due"`
	Next  *order            `json:"next,omitempty"`
}

func TestJSON(t *testing.T) {
	orders := []struct {
		name string
		v    order
	}{
		{"zero", order{}},
		{"text", order{ID: -1, Items: []string{"", "€ \U0001f600", "\"\\\n\x00<&>"}, Notes: map[string]string{"a": "b"}}},
		{"raw", order{Raw: json.RawMessage(`{"x":[1,2.5,null]}`), Blob: []byte{0, 1, 0xff}}},
		{"nested", order{Due: time.Date(2026, 3, 1, 12, 0, 0, 1, time.UTC), Next: &order{ID: 2, Items: []string{letters(100000)}}}},
	}
	for _, tt := range orders {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				a, b := Pipe(nil, nil)
				defer a.CloseNow()
				defer b.CloseNow()
				if role == frame.Server {
					a, b = b, a
				}
				for range 2 {
					written := startErr(func() error { return WriteJSON(t.Context(), a, tt.v) })
					got, err := ReadJSON[order](t.Context(), b)
					require.NoError(t, err)
					require.Equal(t, tt.v, got)
					require.NoError(t, (<-written).err)
				}
				written := startErr(func() error { return WriteJSON(t.Context(), a, &tt.v) })
				got, err := ReadJSON[*order](t.Context(), b)
				require.NoError(t, err)
				require.Equal(t, &tt.v, got)
				require.NoError(t, (<-written).err)
			})
		})
	}
}

// A value is one text message; one that is read may be of either type, and in
// fragments.
func TestJSONMessage(t *testing.T) {
	bothRoles(t, func(t *testing.T, role frame.Role) {
		c, p := newPeer(t, role, nil)
		for _, tt := range []struct {
			v    any
			want string
		}{
			{nil, "null"},
			{"a\xffb", `"a\ufffdb"`},
			{map[string]int{"b": 2, "a": 1}, `{"a":1,"b":2}`},
			{json.RawMessage(` [ 1 ] `), `[1]`},
		} {
			require.NoError(t, WriteJSON(t.Context(), c, tt.v))
			p.expect(frame.OpText, tt.want)
		}
		p.write(p.whole(frame.OpText, "1"), p.whole(frame.OpBinary, " 2\n"), p.frame(false, frame.OpText, ""), p.whole(frame.OpPing, ""), p.frame(true, frame.OpContinuation, "3"))
		for want := range 3 {
			got, err := ReadJSON[int](t.Context(), c)
			require.NoError(t, err)
			require.Equal(t, want+1, got)
		}
	})
}

// A message that does not fit is over with: the error says what was expected and
// what came, and the next message is read.
func TestReadJSONError(t *testing.T) {
	readOrder := func(ctx context.Context, c *Conn) error { _, err := ReadJSON[order](ctx, c); return err }
	readAny := func(ctx context.Context, c *Conn) error { _, err := ReadJSON[any](ctx, c); return err }
	readError := func(ctx context.Context, c *Conn) error { _, err := ReadJSON[error](ctx, c); return err }
	syntax := func(err error) bool { _, ok := errors.AsType[*json.SyntaxError](err); return ok }
	mismatch := func(err error) bool { _, ok := errors.AsType[*json.UnmarshalTypeError](err); return ok }
	tests := []struct {
		name    string
		message string
		read    func(context.Context, *Conn) error
		kind    func(error) bool
		want    string
	}{
		{"empty", "", readOrder, syntax, "message of 0 bytes is not the JSON of a conn.order"},
		{"not JSON", "hello", readOrder, syntax, "message of 5 bytes is not the JSON of a conn.order"},
		{"cut off", `{"id":1`, readOrder, syntax, "message of 7 bytes is not the JSON of a conn.order"},
		{"two values", `{"id":1}{"id":2}`, readOrder, syntax, "message of 16 bytes is not the JSON of a conn.order"},
		{"wrong type", `{"id":"one"}`, readOrder, mismatch, "message of 12 bytes is not the JSON of a conn.order"},
		{"other value", `[1]`, readOrder, mismatch, "message of 3 bytes is not the JSON of a conn.order"},
		{"large", letters(300000), readOrder, syntax, "message of 300000 bytes is not the JSON of a conn.order"},
		{"an interface", "hello", readAny, syntax, "message of 5 bytes is not the JSON of a interface {}"},
		{"an interface with methods", "{}", readError, mismatch, "message of 2 bytes is not the JSON of a error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				go p.nc.Write(append(p.whole(frame.OpText, tt.message), p.whole(frame.OpText, `{"id":7}`)...))
				err := tt.read(t.Context(), c)
				require.ErrorContains(t, err, "websocket: "+tt.want+": ")
				require.True(t, tt.kind(err), "%T", errors.Unwrap(err))
				require.Less(t, len(err.Error()), 200)
				got, err := ReadJSON[order](t.Context(), c)
				require.NoError(t, err)
				require.Equal(t, 7, got.ID)
				require.NoError(t, WriteJSON(t.Context(), c, 1))
				p.expect(frame.OpText, "1")
			})
		})
	}
}

type unmarshalable struct{}

func (unmarshalable) MarshalJSON() ([]byte, error) { return nil, errTest }

// Nothing is sent of a value that cannot be encoded.
func TestWriteJSONError(t *testing.T) {
	loop := map[string]any{}
	loop["loop"] = loop
	tests := []struct {
		name string
		v    any
		want string
	}{
		{"channel", make(chan int), "chan int cannot be sent as JSON"},
		{"function", struct{ F func() }{}, "cannot be sent as JSON"},
		{"number", math.NaN(), "float64 cannot be sent as JSON"},
		{"loop", loop, "map[string]interface {} cannot be sent as JSON"},
		{"its own error", unmarshalable{}, "conn.unmarshalable cannot be sent as JSON"},
		{"not UTF-8", json.RawMessage("\"\xff\""), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, role frame.Role) {
				c, p := newPeer(t, role, nil)
				err := WriteJSON(t.Context(), c, tt.v)
				if tt.want == "" {
					require.ErrorIs(t, err, frame.ErrText)
				} else {
					require.ErrorContains(t, err, "websocket: ")
					require.ErrorContains(t, err, tt.want)
					require.NotNil(t, errors.Unwrap(err))
				}
				if tt.name == "its own error" {
					require.ErrorIs(t, err, errTest)
				}
				require.True(t, p.quiet())
				require.Zero(t, c.Stats().MessagesWritten)
				require.NoError(t, WriteJSON(t.Context(), c, "next"))
				p.expect(frame.OpText, `"next"`)
			})
		})
	}
}

// hoarder keeps a copy of what it is decoded from.
type hoarder struct{ text string }

func (h *hoarder) UnmarshalJSON(b []byte) error {
	h.text = string(b)
	return nil
}

// What was decoded stays as it is while further messages come.
func TestReadJSONMemory(t *testing.T) {
	type value struct {
		Raw    json.RawMessage
		Blob   []byte
		Text   string
		Number json.Number
		Any    any
		Own    hoarder
	}
	message := func(i int, long string) string {
		d := string(rune('0' + i))
		return `{"Raw":["` + d + long + `"],"Blob":"AAA` + d + `","Text":"` + d + long + `","Number":` + d + `,"Any":{"k":"` + d + `"},"Own":"` + d + `"}`
	}
	for _, long := range []string{"", letters(70000)} {
		bothRoles(t, func(t *testing.T, role frame.Role) {
			c, p := newPeer(t, role, nil)
			var got []value
			var raws []json.RawMessage
			for i := range 10 {
				m := message(i, long)
				go p.nc.Write(append(p.whole(frame.OpText, m), p.whole(frame.OpText, m)...))
				v, err := ReadJSON[value](t.Context(), c)
				require.NoError(t, err)
				got = append(got, v)
				raw, err := ReadJSON[json.RawMessage](t.Context(), c)
				require.NoError(t, err)
				raws = append(raws, raw)
			}
			// And by others who read.
			go p.nc.Write(append(p.whole(frame.OpText, letters(100000)), p.whole(frame.OpText, letters(100000))...))
			left := 2
			for m, err := range c.Messages(t.Context()) {
				require.NoError(t, err)
				clear(m.Data)
				if left--; left == 0 {
					break
				}
			}
			for i, v := range got {
				var want value
				require.NoError(t, json.Unmarshal([]byte(message(i, long)), &want))
				require.Equal(t, want, v)
				require.Equal(t, message(i, long), string(raws[i]))
			}
		})
	}
}

// The connection's errors are those of Read and Write.
func TestJSONConnectionErrors(t *testing.T) {
	t.Run("too big", func(t *testing.T) {
		bothRoles(t, func(t *testing.T, role frame.Role) {
			c, p := newPeer(t, role, &Options{ReadLimit: 10})
			p.write(p.whole(frame.OpText, `"12345678"`), p.whole(frame.OpText, `"123456789"`))
			s, err := ReadJSON[string](t.Context(), c)
			require.NoError(t, err)
			require.Equal(t, "12345678", s)
			read := startErr(func() error {
				s, err := ReadJSON[string](t.Context(), c)
				require.Empty(t, s)
				return err
			})
			p.expectClose(frame.CloseMessageTooBig)
			p.nc.Close()
			err = (<-read).err
			require.ErrorIs(t, err, ErrMessageTooBig)
			_, err2 := ReadJSON[string](t.Context(), c)
			require.Equal(t, err, err2)
			require.Equal(t, err, WriteJSON(t.Context(), c, 1))
		})
	})
	t.Run("context", func(t *testing.T) {
		bothRoles(t, func(t *testing.T, role frame.Role) {
			c, p := newPeer(t, role, nil)
			for _, piece := range []string{`{"i`, `d":`, `5}`} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := ReadJSON[order](ctx, c)
				require.Equal(t, context.DeadlineExceeded, err)
				cancel()
				if piece == `{"i` {
					p.write(p.frame(false, frame.OpText, piece))
				} else {
					p.write(p.frame(piece == `5}`, frame.OpContinuation, piece))
				}
			}
			v, err := ReadJSON[order](t.Context(), c)
			require.NoError(t, err)
			require.Equal(t, 5, v.ID)

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.Equal(t, context.Canceled, WriteJSON(ctx, c, 1))
			require.True(t, p.quiet())
		})
	})
	t.Run("closed", func(t *testing.T) {
		bothRoles(t, func(t *testing.T, role frame.Role) {
			c, p := newPeer(t, role, nil)
			p.write(p.whole(frame.OpText, "1"), p.close(frame.CloseNormal, "bye"))
			p.nc.(*stream).CloseWrite()
			_, err := ReadJSON[int](t.Context(), c)
			require.NoError(t, err)
			_, err = ReadJSON[int](t.Context(), c)
			require.Equal(t, &CloseError{Code: frame.CloseNormal, Reason: "bye", Remote: true}, err)
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, err, WriteJSON(t.Context(), c, strings.Repeat("x", 10)))
		})
	})
}

// greedy reads the next message while it is decoded from this one.
type greedy struct{ text string }

var greedyConn *Conn // what the zero greedy reads from

func (g *greedy) UnmarshalJSON(p []byte) error {
	before := string(p)
	if _, _, err := greedyConn.Read(context.Background()); err != nil {
		return err
	}
	g.text = string(p)
	if before != g.text {
		return errors.New("the message was overwritten")
	}
	return nil
}

// A message is decoded from memory that no other read uses.
func TestReadJSONWhileReading(t *testing.T) {
	c, s := Pipe(nil, nil)
	defer c.CloseNow()
	defer s.CloseNow()
	greedyConn = s
	for _, m := range []string{`"` + strings.Repeat("a", 100) + `"`, `"` + strings.Repeat("b", 100) + `"`} {
		require.NoError(t, c.Write(t.Context(), Text, []byte(m)))
	}
	g, err := ReadJSON[greedy](t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, `"`+strings.Repeat("a", 100)+`"`, g.text)
}
