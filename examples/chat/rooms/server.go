package rooms

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
	"time"

	"rfc6455/conn"
)

// Server is what the programs that serve rooms have in common: their flags,
// what is where, and how they end.
type Server struct {
	Addr      string        // to listen on
	SignIn    bool          // let in only those who signed in
	Password  string        // to sign in with; "": one is made up, and printed
	Key       string        // that sessions are signed with; "": one is made up
	Session   time.Duration // how long a session lasts
	PushToken string        // for POST /rooms/{room}/messages; "": nobody may

	Tickets Tickets      // which ones have been used; nil: in this process
	Logger  *slog.Logger // nil: none
}

// Flags defines the flags of a Server.
func (s *Server) Flags(f *flag.FlagSet) {
	f.StringVar(&s.Addr, "addr", "127.0.0.1:8080", "address to listen on")
	f.BoolVar(&s.SignIn, "auth", false, "let in only those who signed in; otherwise everybody, under any name")
	f.StringVar(&s.Password, "password", "", "`password` to sign in with, or CHAT_PASSWORD in the environment; without one it is made up and printed")
	f.StringVar(&s.Key, "key", "", "`secret` of 32 characters or more that sessions are signed with, or CHAT_KEY in the environment; without one they end with the program")
	f.DurationVar(&s.Session, "session", 12*time.Hour, "how long a session lasts")
	f.StringVar(&s.PushToken, "push-token", "", "`token` for POST /rooms/{room}/messages, or CHAT_PUSH_TOKEN in the environment; without one nobody may")
}

// Check is called when the flags have been read: it takes what they left out from
// the environment, and returns an error for what cannot be.
func (s *Server) Check() error {
	// Not as the flags' defaults, which -h prints.
	s.Password = cmp.Or(s.Password, os.Getenv("CHAT_PASSWORD"))
	s.Key = cmp.Or(s.Key, os.Getenv("CHAT_KEY"))
	s.PushToken = cmp.Or(s.PushToken, os.Getenv("CHAT_PUSH_TOKEN"))
	if s.Key != "" && len(s.Key) < 32 {
		return errors.New("-key is shorter than 32 characters")
	}
	return nil
}

// Run serves the rooms until ctx ends, and shuts down then: the pages are told
// with close code 1001 and connect again by themselves once it is back.
func (s *Server) Run(ctx context.Context, ch *Chat) error {
	if s.SignIn && s.Password == "" {
		s.Password = rand.Text()
		fmt.Fprintln(os.Stderr, "the password to sign in with is", s.Password)
	}
	a := &auth{
		on: s.SignIn, password: s.Password, lifetime: s.Session,
		key: []byte(cmp.Or(s.Key, rand.Text()+rand.Text())), tickets: s.Tickets,
	}
	if a.tickets == nil {
		a.tickets = new(used)
	}
	var tracker conn.Tracker
	handler := s.routes(ch, a, &conn.AcceptOptions{
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
			Logger:        s.Logger,
		},
	})
	ln, err := net.Listen("tcp", s.Addr)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s/\n", ln.Addr())

	hs := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(ln) }()
	// The rooms go on until their last member has left.
	open, shut := context.WithCancel(context.WithoutCancel(ctx))
	ran := make(chan error, 1)
	go func() { ran <- ch.Run(open) }()

	select {
	case err = <-served:
	case err = <-ran:
		ran <- err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	go hs.Shutdown(ending) // which knows nothing of WebSockets
	if err := tracker.Shutdown(ending); err != nil && s.Logger != nil {
		s.Logger.Warn("some members did not complete the closing handshake", "error", err)
	}
	shut()
	<-ran
	return cmp.Or(err, hs.Close())
}

// routes says what is where.
func (s *Server) routes(ch *Chat, a *auth, o *conn.AcceptOptions) http.Handler {
	mux := http.NewServeMux()
	// Pages.
	mux.HandleFunc("GET /{$}", a.index)
	mux.HandleFunc("GET /demo", a.demo)
	mux.Handle("GET /room/{room}", validRoom(http.HandlerFunc(a.room)))
	mux.HandleFunc("GET /page/{file}", asset)
	// WebSockets.
	mux.Handle("GET /ws/room/{room}", validRoom(a.required(a.connecting, conn.Handler(whileValid(ch.serve), o))))
	mux.Handle("GET /ws/demo", a.required(a.connecting, conn.Handler(whileValid(count), o)))
	// Plain HTTP.
	mux.Handle("POST /rooms/{room}/messages", validRoom(bearer(s.PushToken, http.HandlerFunc(ch.push))))
	if a.on {
		mux.HandleFunc("GET /login", a.loginPage)
		mux.HandleFunc("POST /login", a.login)
		mux.HandleFunc("POST /logout", a.logout)
		mux.HandleFunc("POST /token", a.token)
		mux.Handle("POST /ticket", a.required(a.user, http.HandlerFunc(a.ticket)))
		mux.Handle("GET /session", a.required(a.user, http.HandlerFunc(a.session)))
	}
	// What a page of another site has a browser post is refused.
	return headers(http.NewCrossOriginProtection().Handler(mux))
}
