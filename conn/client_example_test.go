package conn_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"strings"
	"time"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// A client, and what it learns of a refusal.
func ExampleDial() {
	greet := conn.Handler(func(ctx context.Context, c *conn.Conn) error {
		_, name, err := c.Read(ctx)
		if err != nil {
			return err
		}
		return c.Write(ctx, conn.Text, append([]byte("hello "), name...))
	}, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		greet.ServeHTTP(w, r)
	}))
	defer server.Close()
	url := "ws" + strings.TrimPrefix(server.URL, "http")

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, _, err := conn.Dial(ctx, url, nil)
	if refusal, ok := errors.AsType[*handshake.ResponseError](err); ok {
		fmt.Printf("%d %s", refusal.Status, refusal.Body)
	}
	c, _, err := conn.Dial(ctx, url, &conn.DialOptions{
		Header: http.Header{"Authorization": {"Bearer secret"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.CloseNow()
	if err := c.Write(ctx, conn.Text, []byte("world")); err != nil {
		fmt.Println(err)
		return
	}
	for m, err := range c.Messages(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(m.Type, string(m.Data))
	}
	fmt.Println(context.Cause(c.Context()))
	// Output:
	// 401 who are you?
	// text hello world
	// websocket: connection closed by peer: 1000 (normal closure)
}

// A client that follows a feed for as long as it wants to, wherever the
// connection breaks: it tells the server what it has seen, and misses nothing.
func ExampleRedial() {
	// The server restarts after every second event.
	feed := conn.Handler(func(ctx context.Context, c *conn.Conn) error {
		from, err := conn.ReadJSON[int](ctx, c)
		if err != nil {
			return err
		}
		for id := from; id < from+2; id++ {
			if err := conn.WriteJSON(ctx, c, map[string]any{"id": id, "text": fmt.Sprintf("event %d", id)}); err != nil {
				return err
			}
		}
		return &conn.CloseError{Code: frame.CloseServiceRestart, Reason: "restarting"}
	}, nil)
	server := httptest.NewServer(feed)
	defer server.Close()

	type event struct {
		ID   int    `json:"id"`
		Text string `json:"text"`
	}
	next := 1
	// follow reads from one connection until it is over, or everything has come.
	follow := func(ctx context.Context, c *conn.Conn) (done bool) {
		if err := conn.WriteJSON(ctx, c, next); err != nil {
			return false
		}
		for {
			e, err := conn.ReadJSON[event](ctx, c)
			if err != nil {
				return false // Redial says why
			}
			fmt.Println(e.Text)
			next = e.ID + 1
			if next > 5 {
				return true
			}
		}
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := &conn.DialOptions{RedialWait: 10 * time.Millisecond}
	for c, err := range conn.Redial(ctx, server.URL, o) {
		if err != nil {
			// The connection is lost, or there was none, and Redial goes on, or
			// it is the last error.
			if loss, ok := errors.AsType[*conn.RedialError](err); ok {
				err = loss.Err // in a log, loss tells the wait as well
			}
			fmt.Println(err)
			continue
		}
		if follow(ctx, c) {
			break // which closes the connection
		}
	}
	// Output:
	// event 1
	// event 2
	// websocket: connection closed by peer: 1012 (service restart): "restarting"
	// event 3
	// event 4
	// websocket: connection closed by peer: 1012 (service restart): "restarting"
	// event 5
}

// Sums is a service of net/rpc.
type Sums struct{}

// Add adds.
func (Sums) Add(in []int, sum *int) error {
	for _, n := range in {
		*sum += n
	}
	return nil
}

// A protocol that is made for TCP, over a WebSocket.
func ExampleConn_NetConn() {
	service := rpc.NewServer()
	if err := service.Register(Sums{}); err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(conn.Handler(func(ctx context.Context, c *conn.Conn) error {
		service.ServeConn(c.NetConn(conn.Binary))
		return nil
	}, nil))
	defer server.Close()

	c, _, err := conn.Dial(context.Background(), server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	client := rpc.NewClient(c.NetConn(conn.Binary))
	defer client.Close()
	var sum int
	err = client.Call("Sums.Add", []int{1, 2, 3}, &sum)
	fmt.Println(sum, err)
	// Output: 6 <nil>
}

// Values as JSON; a message that does not fit does no harm to the connection.
func ExampleReadJSON() {
	type order struct {
		Item  string
		Count int
	}
	client, server := conn.Pipe(nil, nil)
	defer client.CloseNow()
	ctx := context.Background()
	conn.WriteJSON(ctx, client, order{"tea", 2})
	conn.WriteJSON(ctx, client, map[string]string{"Count": "many"})
	conn.WriteJSON(ctx, client, order{"biscuits", 12})
	for range 3 {
		o, err := conn.ReadJSON[order](ctx, server)
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			fmt.Println("no order:", wrong.Field, "is a", wrong.Value)
			continue
		}
		fmt.Println(o.Count, o.Item, err)
	}
	// Output:
	// 2 tea <nil>
	// no order: Count is a string
	// 12 biscuits <nil>
}
