package rooms

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

const (
	cookieName     = "session"
	ticketLifetime = 30 * time.Second
	// closeExpired tells a page that its session is over. 4000 to 4999 are for
	// applications. (RFC 6455, section 7.4.2)
	closeExpired frame.CloseCode = 4401
)

// auth knows who people are. When it is off, they are who they say.
type auth struct {
	on       bool
	password string
	key      []byte // of tokens
	lifetime time.Duration
	tickets  Tickets
}

// user is who a request comes from.
type user struct {
	Name    string
	Expires time.Time // of the session; zero: never
}

type userKey struct{}

// userOf returns the user that required found. The context of a connection has
// the values of that of its request.
func userOf(ctx context.Context) user {
	u, _ := ctx.Value(userKey{}).(user)
	return u
}

// required puts the user into the request's context, as AuthMiddlewareStack puts
// one into the scope, or refuses the request: before the opening handshake, since
// it is plain net/http that is wrapped around a conn.Handler. who is a.user, or
// a.connecting for what begins a connection.
func (a *auth) required(who func(r *http.Request, now time.Time) (user, error), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, err := who(r, time.Now())
		if err != nil {
			refuse(w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, u)))
	})
}

// refuse writes an error of user or connecting.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusUnauthorized
	switch {
	case errors.Is(err, errOrigin):
		status = http.StatusForbidden
	case errors.Is(err, errUser):
		status = http.StatusBadRequest
	case errors.Is(err, errTickets):
		status, err = http.StatusServiceUnavailable, errTickets
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="chat"`)
	}
	http.Error(w, err.Error(), status)
}

var (
	errSignIn = errors.New("sign in first")
	errOrigin = errors.New("this cookie is not for pages of other origins")
	errUser   = errors.New("a user's name has 1 to 40 printable characters")
)

// user returns who a request comes from, by the first of these that it has:
//
//   - Authorization: Bearer TOKEN, which browsers cannot send with a WebSocket;
//   - Sec-WebSocket-Protocol: chat.v1, bearer.TOKEN, which they can:
//     new WebSocket(url, ["chat.v1", "bearer." + token]);
//   - the cookie that login sets.
//
// A browser adds its cookies to whatever a page connects to, so the cookie counts
// only for pages of this origin.
func (a *auth) user(r *http.Request, now time.Time) (user, error) {
	if !a.on {
		name := r.URL.Query().Get("name")
		if name == "" {
			name = "guest"
		}
		name, err := checkUser(name)
		return user{Name: name}, err
	}
	if token, ok := bearerToken(r); ok {
		return a.parse(r.Context(), forSession, token, now)
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return user{}, errSignIn
	}
	if handshake.SameOrigin(r) != nil {
		return user{}, errOrigin
	}
	return a.parse(r.Context(), forSession, cookie.Value, now)
}

// connecting is user for a request that begins a connection, which may have
// ?token=TICKET before the cookie. A ticket is good for nothing else: whoever finds
// one could otherwise have another one for it, and so on until the session ends.
func (a *auth) connecting(r *http.Request, now time.Time) (user, error) {
	if a.on && r.URL.Query().Has("token") {
		if _, ok := bearerToken(r); !ok {
			return a.parse(r.Context(), forTicket, r.URL.Query().Get("token"), now)
		}
	}
	return a.user(r, now)
}

func (a *auth) parse(ctx context.Context, purpose, token string, now time.Time) (user, error) {
	cl, err := parseToken(a.key, purpose, token, now)
	if err != nil {
		return user{}, err
	}
	if purpose == forTicket {
		first, err := a.tickets.Use(ctx, cl.ID, cl.Until, now)
		if err != nil {
			return user{}, fmt.Errorf("%w: %w", errTickets, err)
		}
		if !first {
			return user{}, errUsed
		}
	}
	return user{Name: cl.Name, Expires: cl.Expires}, nil
}

// bearerToken returns the token in the request's header, wherever it may be.
func bearerToken(r *http.Request) (token string, ok bool) {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return token, true
	}
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(p), "bearer."); ok {
				return token, true
			}
		}
	}
	return "", false
}

// whileValid closes the connection when its user's session ends.
func whileValid(f func(context.Context, *conn.Conn) error) func(context.Context, *conn.Conn) error {
	return func(ctx context.Context, c *conn.Conn) error {
		if u := userOf(ctx); !u.Expires.IsZero() {
			end := time.AfterFunc(time.Until(u.Expires), func() { c.Close(closeExpired, "the session has expired") })
			defer end.Stop()
		}
		return f(ctx, c)
	}
}

// check is where a program with users of its own looks them up: here all of them
// have one password. Neither it nor anything else slows those down who guess.
func (a *auth) check(name, password string, now time.Time) (user, error) {
	name, err := checkUser(name)
	if err != nil {
		return user{}, err
	}
	if !equal(password, a.password) {
		return user{}, errors.New("this is not the password")
	}
	return user{Name: name, Expires: now.Add(a.lifetime)}, nil
}

// login takes the form of login.html and sets the cookie.
func (a *auth) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBytes)
	u, err := a.check(r.PostFormValue("name"), r.PostFormValue("password"), time.Now())
	if err != nil {
		a.showLogin(w, http.StatusUnauthorized, r.PostFormValue("room"), err.Error())
		return
	}
	http.SetCookie(w, a.cookie(r, newToken(a.key, forSession, u, u.Expires), u.Expires))
	http.Redirect(w, r, roomPath(r.PostFormValue("room")), http.StatusSeeOther)
}

func (a *auth) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, a.cookie(r, "", time.Unix(1, 0)))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// cookie is out of reach of scripts, and of what other sites post.
func (a *auth) cookie(r *http.Request, token string, expires time.Time) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: token, Path: "/", Expires: expires,
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
		// A client that lies about its proxy keeps its own cookie from itself.
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}

// token is login for programs, which send the token themselves.
func (a *auth) token(w http.ResponseWriter, r *http.Request) {
	var in struct{ Name, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBytes)).Decode(&in); err != nil {
		http.Error(w, `the body is not {"name": "...", "password": "..."}: `+err.Error(), http.StatusBadRequest)
		return
	}
	u, err := a.check(in.Name, in.Password, time.Now())
	if err != nil {
		refuse(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"token": newToken(a.key, forSession, u, u.Expires), "expires": u.Expires})
}

// ticket gives somebody who has a session a token that may stand in the URL of a
// WebSocket.
func (a *auth) ticket(w http.ResponseWriter, r *http.Request) {
	until := time.Now().Add(ticketLifetime)
	writeJSON(w, http.StatusOK, map[string]any{"ticket": newToken(a.key, forTicket, userOf(r.Context()), until), "expires": until})
}

// session tells a page that could not connect whether it should sign in again: a
// browser does not show it the status of a refused handshake.
func (a *auth) session(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"name": userOf(r.Context()).Name})
}

// bearer lets only those through who have the token, nobody if there is none.
// That a client is on this machine says nothing: behind a proxy all of them are.
func bearer(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token == "" {
			http.Error(w, "nobody may: the server was started without -push-token", http.StatusForbidden)
			return
		}
		scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || !equal(got, token) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="chat"`)
			http.Error(w, "Authorization: Bearer and the token of the server are missing", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// equal compares in a time that tells nothing of the secret, nor of its length.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return hmac.Equal(x[:], y[:])
}

// checkUser returns a user's name without spaces around it.
func checkUser(name string) (string, error) {
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); n < 1 || n > 40 || !utf8.ValidString(name) {
		return "", errUser
	}
	for _, r := range name {
		if !unicode.IsPrint(r) { // nor what changes the direction of writing
			return "", errUser
		}
	}
	return name, nil
}
