//go:build linux

package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

// echoServer runs our echo program, and returns its URL.
func echoServer(t *testing.T, args ...string) (url string) {
	t.Helper()
	p := start(t, echoProgram, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	p.until(t, "where it listens", func(line string) (ok bool) {
		url, ok = strings.CutPrefix(line, "listening on ")
		return ok
	})
	return url
}

// ours is a server of this library that does what the last element of the path
// asks for: echo, fragments, fragments?ping, ping, close?code=C&reason=R, kill,
// refuse, and on net/http also unauthorized. It tells of the connections whose
// query has an id.
type ours struct {
	url string // with a slash at its end

	mu     sync.Mutex
	visits map[string]visit
}

// visit is what a server tells of a connection.
type visit struct {
	request chan *http.Request
	ended   chan error // what reading ended with
}

// newOurs starts a server, without net/http if raw, with TLS if it gets a
// certificate.
func newOurs(t *testing.T, ln net.Listener, raw bool, cert *certificate) *ours {
	t.Helper()
	s := &ours{url: "ws://" + ln.Addr().String() + "/", visits: map[string]visit{}}
	if cert != nil {
		pair, err := tls.LoadX509KeyPair(cert.cert, cert.key)
		require.NoError(t, err)
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}})
		s.url = "wss" + strings.TrimPrefix(s.url, "ws")
	}
	var tracker conn.Tracker
	o := &conn.AcceptOptions{
		CheckOrigin:  s.check,
		Subprotocols: []string{"chat.v2", "chat.v1"},
		Options:      conn.Options{ReadLimit: 4 << 20, Tracker: &tracker},
	}
	served := make(chan error, 1)
	go func() {
		if raw {
			served <- conn.Serve(ln, s.serve, o)
			return
		}
		mux := http.NewServeMux()
		mux.Handle("/", conn.Handler(s.serve, o))
		mux.HandleFunc("/unauthorized", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "who are you?", http.StatusUnauthorized)
		})
		served <- http.Serve(ln, mux)
	}()
	t.Cleanup(func() {
		ln.Close()
		<-served
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		tracker.Shutdown(ctx)
	})
	return s
}

// listen returns a listener on a free port.
func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

// visit returns the visit with an id, before it happens or after that.
func (s *ours) visit(id string) visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.visits[id]
	if !ok {
		v = visit{make(chan *http.Request, 1), make(chan error, 1)}
		s.visits[id] = v
	}
	return v
}

// ended waits for the end of the connection with an id.
func (s *ours) ended(t *testing.T, id string) error {
	t.Helper()
	select {
	case err := <-s.visit(id).ended:
		return err
	case <-time.After(patience):
		require.Fail(t, "our server sees no end of connection "+id)
		return nil
	}
}

// check refuses the handshakes that want to be refused.
func (s *ours) check(r *http.Request) error {
	if path.Base(r.URL.Path) == "refuse" {
		return errors.New("refused, as asked")
	}
	return nil
}

func (s *ours) serve(ctx context.Context, c *conn.Conn) error {
	id := c.Request().URL.Query().Get("id")
	if id == "" {
		return script(ctx, c)
	}
	v := s.visit(id)
	v.request <- c.Request()
	err := script(ctx, c)
	v.ended <- err
	return err
}

// script does what the path asks for.
func script(ctx context.Context, c *conn.Conn) error {
	u := c.Request().URL
	switch path.Base(u.Path) {
	case "fragments":
		return inFragments(ctx, c, u.Query().Has("ping"))
	case "ping":
		return ping(ctx, c)
	case "close":
		code, err := strconv.ParseUint(u.Query().Get("code"), 10, 16)
		if err != nil {
			return err
		}
		return &conn.CloseError{Code: frame.CloseCode(code), Reason: u.Query().Get("reason")}
	case "kill":
		return c.CloseNow()
	}
	for {
		mt, data, err := c.Read(ctx)
		if err != nil {
			return err
		}
		if err := c.Write(ctx, mt, data); err != nil {
			return err
		}
	}
}

// inFragments echoes every message in two fragments or more, with a Ping in
// between on demand.
func inFragments(ctx context.Context, c *conn.Conn, ping bool) error {
	type result struct {
		mt   conn.MessageType
		data []byte
		err  error
	}
	next := make(chan result, 1)
	read := func() {
		mt, data, err := c.Read(ctx)
		next <- result{mt, data, err}
	}
	read()
	for {
		m := <-next
		if m.err != nil {
			return m.err
		}
		go read() // it sees the Pong
		w, err := c.Writer(ctx, m.mt)
		if err != nil {
			return err
		}
		if _, err := w.Write(m.data[:len(m.data)/2]); err != nil {
			return err
		}
		if ping {
			if _, err := c.Ping(ctx); err != nil {
				return err
			}
		}
		if _, err := w.Write(m.data[len(m.data)/2:]); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
}

// ping sends a Ping, and a message when its Pong has come.
func ping(ctx context.Context, c *conn.Conn) error {
	read := make(chan error, 1)
	go func() {
		_, _, err := c.Read(ctx)
		read <- err
	}()
	if _, err := c.Ping(ctx); err != nil {
		return err
	}
	if err := c.Write(ctx, conn.Text, []byte("pong came")); err != nil {
		return err
	}
	return <-read
}
