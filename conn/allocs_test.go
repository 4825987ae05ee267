package conn_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

// allocsWays are the ways in which the connection that is measured writes and
// reads. The other end always uses Messages and Write.
var allocsWays = []struct {
	name  string
	write func(ctx context.Context, c *conn.Conn, t conn.MessageType, p []byte) error
	read  func(ctx context.Context, c *conn.Conn) (next func() ([]byte, error), stop func())
}{
	{"Write+ReadInto", writeWrite, readReadInto},
	{"Write+Messages", writeWrite, readMessages},
	{"Send+ReadInto", writeSend, readReadInto},
	{"Send+Messages", writeSend, readMessages},
}

func writeWrite(ctx context.Context, c *conn.Conn, t conn.MessageType, p []byte) error {
	return c.Write(ctx, t, p)
}

func writeSend(_ context.Context, c *conn.Conn, t conn.MessageType, p []byte) error {
	return c.Send(t, p)
}

func readReadInto(ctx context.Context, c *conn.Conn) (next func() ([]byte, error), stop func()) {
	buf := make([]byte, 128<<10)
	return func() ([]byte, error) {
		_, p, err := c.ReadInto(ctx, buf)
		return p, err
	}, func() {}
}

// readMessages makes one iterator for all messages, as a loop would.
func readMessages(ctx context.Context, c *conn.Conn) (next func() ([]byte, error), stop func()) {
	pull, stop := iter.Pull2(c.Messages(ctx))
	return func() ([]byte, error) {
		m, err, ok := pull()
		if !ok {
			err = context.Cause(c.Context())
		}
		return m.Data, err
	}, stop
}

// allocsMessages are what is sent before anything is read: with several, the
// answers wait for each other and leave together.
var allocsMessages = []struct {
	t           conn.MessageType
	size, count int
}{
	{conn.Text, 125, 1},
	{conn.Binary, 125, 1},
	{conn.Text, 125, 16},
	{conn.Text, 4 << 10, 1},
	{conn.Binary, 4 << 10, 1},
	{conn.Text, 100 << 10, 1},
	{conn.Binary, 100 << 10, 1},
}

var allocsTransports = []struct {
	name    string
	connect func(t *testing.T) (client, server *conn.Conn)
}{
	{"Pipe", func(*testing.T) (client, server *conn.Conn) { return conn.Pipe(nil, nil) }},
	{"Pipe, compressed", func(*testing.T) (client, server *conn.Conn) {
		o := &conn.Options{Compression: &conn.Compression{}}
		return conn.Pipe(o, o)
	}},
	{"Pipe, compressed with takeover", func(*testing.T) (client, server *conn.Conn) {
		o := &conn.Options{Compression: &conn.Compression{Takeover: true}}
		return conn.Pipe(o, o)
	}},
	{"TCP", func(t *testing.T) (client, server *conn.Conn) {
		a, b := pair(t)
		return conn.New(a, frame.Client, nil, nil), conn.New(b, frame.Server, nil, nil)
	}},
	{"plain stream", func(t *testing.T) (client, server *conn.Conn) {
		a, b := pair(t)
		return conn.New(plain{a}, frame.Client, nil, nil), conn.New(plain{b}, frame.Server, nil, nil)
	}},
}

// allocsContexts are contexts that are used again for every message. c is the
// connection; bound ends after the test.
var allocsContexts = []struct {
	name string
	of   func(c *conn.Conn, bound context.Context) context.Context
}{
	{"Background", func(*conn.Conn, context.Context) context.Context { return context.Background() }},
	{"Context", func(c *conn.Conn, _ context.Context) context.Context { return c.Context() }},
	{"cancellable", func(_ *conn.Conn, bound context.Context) context.Context { return bound }},
}

func TestMessagesCostNoAllocation(t *testing.T) {
	if race {
		t.Skip("sync.Pool forgets things under the race detector")
	}
	// So it does when memory is collected.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	bound, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, transport := range allocsTransports {
		for _, role := range []frame.Role{frame.Client, frame.Server} {
			for _, ctx := range allocsContexts {
				for _, way := range allocsWays {
					t.Run(fmt.Sprint(transport.name, "/", role, "/", ctx.name, "/", way.name), func(t *testing.T) {
						c, other := transport.connect(t)
						if role == frame.Server {
							c, other = other, c
						}
						// Calls under contexts that live longer end in time, too.
						defer context.AfterFunc(bound, func() { c.CloseNow() })()
						echoed := make(chan error, 1)
						go func() { echoed <- echo(ctx.of(other, bound), other, "Messages") }()
						own := ctx.of(c, bound)
						next, stop := way.read(own, c)
						defer func() {
							stop()
							c.CloseNow()
							soon(t, echoed)
						}()
						for _, m := range allocsMessages {
							p := bytes.Repeat([]byte("x"), m.size)
							trip := func() {
								for range m.count {
									if err := way.write(own, c, m.t, p); err != nil {
										t.Fatal(err)
									}
								}
								for range m.count {
									if got, err := next(); err != nil || !bytes.Equal(p, got) {
										t.Fatalf("%d of %d bytes came back: %v", len(got), len(p), err)
									}
								}
							}
							runs := 100
							if m.size > 64<<10 {
								runs = 10
							}
							trip()
							require.Zero(t, testing.AllocsPerRun(runs, trip), "%d x %v of %d bytes", m.count, m.t, m.size)
						}
					})
				}
			}
		}
	}
}

// plain is a connection of which only the stream is seen: without deadlines.
type plain struct{ nc net.Conn }

func (p plain) Read(b []byte) (int, error)  { return p.nc.Read(b) }
func (p plain) Write(b []byte) (int, error) { return p.nc.Write(b) }
func (p plain) Close() error                { return p.nc.Close() }
