// Chat is a group chat: rooms by URL, who is present, messages from people and
// from plain HTTP requests.
//
//	go run ./examples/chat
//
// Then open http://127.0.0.1:8080/ in two windows. With -auth people sign in
// first. At an interrupt it shuts down: the pages are told with close code 1001
// and connect again by themselves once it is back.
//
// Read room.go first: connect, receive and disconnect of a member are there.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"rfc6455/conn"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	signIn := flag.Bool("auth", false, "let in only those who signed in; otherwise everybody, under any name")
	password := flag.String("password", "", "`password` to sign in with, or CHAT_PASSWORD in the environment; without one it is made up and printed")
	key := flag.String("key", "", "`secret` of 32 characters or more that sessions are signed with, or CHAT_KEY in the environment; without one they end with the program")
	lifetime := flag.Duration("session", 12*time.Hour, "how long a session lasts")
	pushToken := flag.String("push-token", "", "`token` for POST /rooms/{room}/messages, or CHAT_PUSH_TOKEN in the environment; without one nobody may")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	// Not as the flags' defaults, which -h prints.
	*password = cmp.Or(*password, os.Getenv("CHAT_PASSWORD"))
	*key = cmp.Or(*key, os.Getenv("CHAT_KEY"))
	*pushToken = cmp.Or(*pushToken, os.Getenv("CHAT_PUSH_TOKEN"))
	if *key != "" && len(*key) < 32 {
		return errors.New("-key is shorter than 32 characters")
	}

	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if *signIn && *password == "" {
		*password = rand.Text()
		fmt.Fprintln(os.Stderr, "the password to sign in with is", *password)
	}
	var tracker conn.Tracker
	handler := routes(
		&chat{},
		&auth{on: *signIn, password: *password, key: []byte(cmp.Or(*key, rand.Text()+rand.Text())), lifetime: *lifetime},
		*pushToken,
		&conn.AcceptOptions{
			// A page offers this one, and may offer a token beside it: see auth.go.
			Subprotocols: []string{subprotocol},
			Options: conn.Options{
				ReadLimit: maxBytes,
				// As a channel layer of Channels has it: a member that is slow loses
				// the oldest messages, and others do not notice.
				QueueMessages: 100,
				QueueMaxAge:   60 * time.Second,
				Overflow:      conn.DropOldest,
				Compression:   &conn.Compression{},
				Tracker:       &tracker,
				Logger:        logger,
			},
		},
	)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s/\n", ln.Addr())
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop() // a second interrupt ends the program at once
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	go s.Shutdown(ctx) // which knows nothing of WebSockets
	if err := tracker.Shutdown(ctx); err != nil {
		logger.Warn("some members did not complete the closing handshake", "error", err)
	}
	return s.Close()
}

// routes says what is where.
func routes(c *chat, a *auth, pushToken string, o *conn.AcceptOptions) http.Handler {
	mux := http.NewServeMux()
	// Pages.
	mux.HandleFunc("GET /{$}", a.index)
	mux.HandleFunc("GET /demo", a.demo)
	mux.Handle("GET /room/{room}", validRoom(http.HandlerFunc(a.room)))
	mux.HandleFunc("GET /page/{file}", asset)
	// WebSockets.
	mux.Handle("GET /ws/room/{room}", validRoom(a.required(conn.Handler(whileValid(c.serve), o))))
	mux.Handle("GET /ws/demo", a.required(conn.Handler(whileValid(count), o)))
	// Plain HTTP.
	mux.Handle("POST /rooms/{room}/messages", validRoom(bearer(pushToken, http.HandlerFunc(c.push))))
	if a.on {
		mux.HandleFunc("GET /login", a.loginPage)
		mux.HandleFunc("POST /login", a.login)
		mux.HandleFunc("POST /logout", a.logout)
		mux.HandleFunc("POST /token", a.token)
		mux.Handle("POST /ticket", a.required(http.HandlerFunc(a.ticket)))
		mux.Handle("GET /session", a.required(http.HandlerFunc(a.session)))
	}
	// What a page of another site has a browser post is refused.
	return headers(http.NewCrossOriginProtection().Handler(mux))
}

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
		if err := conn.WriteJSON(ctx, c, event{Type: "count", N: n, Time: time.Now()}); err != nil {
			return err
		}
		select {
		case <-second.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
