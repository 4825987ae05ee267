package conn

import (
	"log/slog"
	"net/http"
	"time"

	"rfc6455/handshake"
)

// Options are the settings of a connection after its opening handshake, the
// same for both roles. A nil *Options and the zero value are right for
// production: a zero field means its default, a negative one means none.
// Options are read once, when the connection is made.
type Options struct {
	// ReadLimit is the longest message in bytes that the peer may send, all
	// fragments together, after inflating. A longer one fails the connection
	// with 1009 as soon as its length is known, and the error is
	// [ErrMessageTooBig]. Default 1 MiB.
	ReadLimit int64
	// FragmentLimit is the largest number of frames in one received message,
	// empty ones included. Default 4096.
	FragmentLimit int

	// WriteTimeout bounds how long writing one message to the transport may
	// take; when it is over, the connection is failed. Default 10 s.
	WriteTimeout time.Duration
	// CloseTimeout bounds the closing handshake: writing what is queued and the
	// Close frame, and waiting for the peer's. Default 5 s.
	CloseTimeout time.Duration

	// Keepalive is how long the peer may be silent before it is sent a Ping.
	// Default 30 s.
	Keepalive time.Duration
	// KeepaliveTimeout is how long after that Ping the peer may stay silent
	// before the connection is failed. Any byte from the peer counts as life. An
	// application that does not read is not held against the peer. Default 30 s.
	KeepaliveTimeout time.Duration

	// QueueMessages is how many messages of Send wait at most. A burst may be 16
	// times as many while the last write began or ended less than 5 ms ago: the
	// peer is not slow yet. Default 64.
	QueueMessages int
	// QueueBytes is how many bytes of payload the messages of Send hold at most
	// while they wait; one message alone may be longer. Default 1 MiB.
	QueueBytes int64
	// QueueMaxAge is how old a message of Send may be when its turn comes; an
	// older one is dropped. Default: any age.
	QueueMaxAge time.Duration
	// Overflow says what Send does when the queue is full. Default CloseSlow.
	Overflow Overflow

	// Compression, if set, has the messages compressed, if the peer agrees
	// (permessage-deflate). Default: no compression.
	Compression *Compression

	// Tracker, if set, knows this connection while it lives.
	Tracker *Tracker
	// Trace, if set, is told of every frame.
	Trace *Trace
	// Logger, if set, is told of refused handshakes, failed connections and
	// panics. By default only panics are logged, by slog.Default.
	Logger *slog.Logger

	corks *corks // in resolved ones
}

// AcceptOptions are the settings of a server: those of the opening handshake
// here, those of the connection in Options:
//
//	&conn.AcceptOptions{
//		Origins: []string{"https://app.example.com"},
//		Options: conn.Options{ReadLimit: 64 << 10},
//	}
type AcceptOptions struct {
	// Origins are further origins that a browser's page may come from, beside
	// the server's own: "https://app.example.com", "https://*.example.com", or
	// "*" for any. A request without an Origin header does not come from a
	// browser and is accepted.
	Origins []string
	// CheckOrigin replaces that policy. An error refuses the handshake with
	// status 403.
	CheckOrigin func(r *http.Request) error
	// Subprotocols are those that the server speaks, the preferred one first.
	Subprotocols []string
	// Header is added to the response that accepts the handshake. What middleware
	// has set in the http.ResponseWriter's header is not.
	Header http.Header

	// HandshakeTimeout bounds the opening handshake where this package reads it
	// itself, in Server and Serve; under net/http, http.Server's
	// ReadHeaderTimeout does, and this bounds writing the response. Default 10 s.
	HandshakeTimeout time.Duration
	// HandshakeBytes is the largest request line and header in bytes in Server
	// and Serve; under net/http, http.Server's MaxHeaderBytes is. Default 16 KiB.
	HandshakeBytes int

	// Detached has [Handler] call its function in a goroutine of its own, and
	// ServeHTTP return after the opening handshake. That saves what net/http and
	// middleware hold for a request: buffers and a deep stack. Middleware then sees
	// a short request: to count or limit connections, wrap the function. And what it
	// takes back when the request is over, as the routers chi, gin and echo do with
	// the values in a request's context, the function must not use.
	Detached bool

	Options
}

// DialOptions are the settings of a client: those of the opening handshake here,
// those of the connection in Options.
type DialOptions struct {
	// Subprotocols are those that the client speaks, the preferred one first.
	Subprotocols []string
	// Origin is sent as it stands, if it is not empty. Browsers send one;
	// other clients do so only where a server wants it.
	Origin string
	// Header is added to the request: Authorization, Cookie, User-Agent, Host.
	Header http.Header

	// HTTPClient makes the requests of Dial and Redial. Its Transport, if that
	// is an *http.Transport, lends its settings: it is not used itself, since a
	// WebSocket takes its network connection over. Default http.DefaultClient.
	HTTPClient *http.Client
	// HandshakeTimeout bounds the opening handshake: looking up the host,
	// connecting, TLS, proxies and redirects included. Default 10 s.
	HandshakeTimeout time.Duration
	// HandshakeBytes is the largest header of a response in bytes, unless the
	// Transport has a MaxResponseHeaderBytes. Default 16 KiB.
	HandshakeBytes int

	// RedialWait is the longest that Redial waits before its first attempt after
	// a loss; the wait is random, so that the clients of a server that was
	// restarted do not all come at once. It doubles with every attempt that
	// fails. Default 5 s.
	RedialWait time.Duration
	// RedialMaxWait is the longest that Redial waits at all. Default 1 min.
	RedialMaxWait time.Duration

	Options
}

const (
	defaultReadLimit        = 1 << 20
	defaultFragmentLimit    = 4096
	defaultWriteTimeout     = 10 * time.Second
	defaultCloseTimeout     = 5 * time.Second
	defaultKeepalive        = 30 * time.Second
	defaultQueueMessages    = 64
	defaultQueueBytes       = 1 << 20
	defaultHandshakeTimeout = 10 * time.Second
	defaultHandshakeBytes   = 16 << 10
	defaultRedialWait       = 5 * time.Second
	defaultRedialMaxWait    = time.Minute
)

// or resolves a setting: zero is the default, negative is none, for which the
// rest of the package has 0.
func or[T int | int64 | time.Duration](v, fallback T) T {
	switch {
	case v == 0:
		return fallback
	case v < 0:
		return 0
	}
	return v
}

// resolved returns the options with every default filled in; from there on 0
// means none.
func (o *Options) resolved() *Options {
	var r Options
	if o != nil {
		r = *o
	}
	r.ReadLimit = or(r.ReadLimit, defaultReadLimit)
	r.FragmentLimit = or(r.FragmentLimit, defaultFragmentLimit)
	r.WriteTimeout = or(r.WriteTimeout, defaultWriteTimeout)
	r.CloseTimeout = or(r.CloseTimeout, defaultCloseTimeout)
	r.Keepalive = or(r.Keepalive, defaultKeepalive)
	r.KeepaliveTimeout = or(r.KeepaliveTimeout, defaultKeepalive)
	r.QueueMessages = or(r.QueueMessages, defaultQueueMessages)
	r.QueueBytes = or(r.QueueBytes, defaultQueueBytes)
	r.QueueMaxAge = or(r.QueueMaxAge, 0)
	if r.Compression != nil {
		r.Compression = r.Compression.resolved()
	}
	r.corks = new(corks)
	return &r
}

// acceptor is an AcceptOptions made ready for any number of handshakes.
type acceptor struct {
	server  handshake.Server
	overdue overdue
	bytes   int      // 0: no limit
	options *Options // resolved

	detached bool
	fresh    bool // nobody has set a deadline on Serve's connections
}

func newAcceptor(o *AcceptOptions) *acceptor {
	if o == nil {
		o = &AcceptOptions{}
	}
	return &acceptor{
		server: handshake.Server{
			Origins:      o.Origins,
			CheckOrigin:  o.CheckOrigin,
			Subprotocols: o.Subprotocols,
			Header:       o.Header,
			Deflate:      o.Compression.terms(),
		},
		overdue: overdue{after: or(o.HandshakeTimeout, defaultHandshakeTimeout)},
		bytes:   or(o.HandshakeBytes, defaultHandshakeBytes),
		options: o.Options.resolved(),

		detached: o.Detached,
	}
}
