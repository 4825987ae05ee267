package conn_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// dial opens a connection to a server's URL; any other client does it as well.
func dial(rawURL string) (*conn.Conn, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	nc, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	client := &handshake.Client{Subprotocols: []string{"chat.v1"}}
	req, err := client.Request(rawURL)
	if err != nil {
		return nil, err
	}
	if err := req.Write(nc); err != nil {
		return nil, err
	}
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	agreement, err := client.Check(req, resp)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return conn.New(&buffered{nc, r}, frame.Client, agreement, nil), nil
}

// buffered is a net.Conn that is read through r: frames may have come together
// with the response.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// A server that sends every message back.
func ExampleHandler() {
	echo := conn.Handler(func(ctx context.Context, c *conn.Conn) error {
		for m, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			if err := c.Write(ctx, m.Type, m.Data); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	server := httptest.NewServer(echo)
	defer server.Close()

	c, err := dial(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	c.Write(ctx, conn.Text, []byte("hello"))
	mt, p, err := c.Read(ctx)
	fmt.Println(mt, string(p), err)
	fmt.Println(c.Close(frame.CloseNormal, ""))
	// Output:
	// text hello <nil>
	// <nil>
}

// A handler that keeps the connection, and speaks a subprotocol.
func ExampleAccept() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := conn.Accept(w, r, &conn.AcceptOptions{
			Subprotocols: []string{"chat.v2", "chat.v1"},
			Options:      conn.Options{ReadLimit: 64 << 10},
		})
		if err != nil {
			return // the response has been written
		}
		defer c.CloseNow()
		c.Write(r.Context(), conn.Text, []byte("you speak "+c.Subprotocol()))
		c.Close(frame.CloseNormal, "that was all")
	}))
	defer server.Close()

	c, err := dial(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, p, _ := c.Read(context.Background())
	fmt.Println(string(p))
	_, _, err = c.Read(context.Background())
	fmt.Println(err, errors.Is(err, io.EOF))
	// Output:
	// you speak chat.v1
	// websocket: connection closed by peer: 1000 (normal closure): "that was all" true
}

// A server without net/http's, and its shutdown.
func ExampleServe() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	var tracker conn.Tracker
	served := make(chan error)
	go func() {
		served <- conn.Serve(ln, func(ctx context.Context, c *conn.Conn) error {
			if err := c.Write(ctx, conn.Text, []byte("welcome to "+c.Request().URL.Path)); err != nil {
				return err
			}
			_, _, err := c.Read(ctx)
			return err
		}, &conn.AcceptOptions{Options: conn.Options{Tracker: &tracker}})
	}()

	c, err := dial("http://" + ln.Addr().String() + "/lobby")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, p, _ := c.Read(ctx)
	fmt.Println(string(p))
	ln.Close()
	done := make(chan error)
	go func() { done <- tracker.Shutdown(ctx) }()
	_, _, err = c.Read(ctx)
	fmt.Println(err)
	fmt.Println(<-done, errors.Is(<-served, net.ErrClosed))
	// Output:
	// welcome to /lobby
	// websocket: connection closed by peer: 1001 (going away)
	// <nil> true
}

// The opening handshake on a connection that was accepted by other means.
func ExampleServer() {
	ours, theirs := net.Pipe()
	go func() {
		req, _ := (&handshake.Client{}).Request("ws://example.com/feed")
		req.Write(theirs)
		http.ReadResponse(bufio.NewReader(theirs), req)
		theirs.Close()
	}()
	c, err := conn.Server(ours, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Request().Host, c.Request().URL.Path)
	_, _, err = c.Read(context.Background())
	fmt.Println(err)
	// Output:
	// example.com /feed
	// websocket: connection lost: the peer ended the stream without a Close frame: unexpected EOF
}

// A connection over any stream: here without an opening handshake.
func ExampleNew() {
	ours, theirs := net.Pipe()
	server := conn.New(ours, frame.Server, nil, nil)
	client := conn.New(theirs, frame.Client, nil, nil)
	ctx := context.Background()
	go client.Write(ctx, conn.Binary, []byte{1, 2, 3})
	mt, p, err := server.Read(ctx)
	fmt.Println(mt, p, err)
	go client.Read(ctx) // somebody must see the Close frame
	fmt.Println(server.Close(frame.CloseGoingAway, ""))
	// Output:
	// binary [1 2 3] <nil>
	// <nil>
}

// Both ends in memory, to test what is built on a connection.
func ExamplePipe() {
	client, server := conn.Pipe(nil, nil)
	ctx := context.Background()
	client.Write(ctx, conn.Text, []byte("in memory"))
	client.Write(ctx, conn.Text, []byte("two messages"))
	go client.Close(4000, "enough")
	for m, err := range server.Messages(ctx) {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(m.Type, string(m.Data))
	}
	// Output:
	// text in memory
	// text two messages
	// websocket: connection closed by peer: 4000: "enough"
}

// Sending to a connection that may be slow, from any goroutine.
func ExampleConn_Send() {
	client, server := conn.Pipe(nil, &conn.Options{
		QueueMessages: 100,
		QueueMaxAge:   time.Minute,
		Overflow:      conn.DropOldest,
	})
	ctx := context.Background()
	for i := range 3 {
		if err := server.Send(conn.Text, fmt.Appendf(nil, "news %d", i)); err != nil {
			fmt.Println(err)
		}
	}
	for range 3 {
		_, p, _ := client.Read(ctx)
		fmt.Println(string(p))
	}
	// Output:
	// news 0
	// news 1
	// news 2
}

// Streaming a message that should not be in memory whole.
func ExampleConn_Writer() {
	client, server := conn.Pipe(nil, nil)
	ctx := context.Background()
	go func() {
		w, err := client.Writer(ctx, conn.Text)
		if err != nil {
			return
		}
		for i := range 3 {
			fmt.Fprintf(w, "line %d\n", i)
		}
		w.Close() // ends the message
	}()
	_, r, err := server.Reader(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fmt.Println(lines.Text())
	}
	// Output:
	// line 0
	// line 1
	// line 2
}
