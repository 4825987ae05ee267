package rooms

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// What a token is for. One is never good for the other.
const (
	forSession = "session" // in a cookie, or sent as a bearer token
	forTicket  = "ticket"  // in the URL of a WebSocket, which proxies log: short-lived, and used once
)

// claims is what a token says. It is signed, not encrypted:
//
//	base64url(HMAC-SHA256(key, JSON) JSON)
type claims struct {
	For     string    `json:"for"`
	ID      string    `json:"id"`
	Until   time.Time `json:"until"`   // when the token ends
	Name    string    `json:"name"`    // of the user
	Expires time.Time `json:"expires"` // when the user's session does
}

var (
	errToken   = errors.New("the token is not one of this server")
	errExpired = errors.New("the token has expired")
	errUsed    = errors.New("the ticket has been used")
	errTickets = errors.New("it cannot be told now whether the ticket has been used: take another one")
)

func newToken(key []byte, purpose string, u user, until time.Time) string {
	p, err := json.Marshal(claims{For: purpose, ID: rand.Text(), Until: until.UTC(), Name: u.Name, Expires: u.Expires.UTC()})
	if err != nil {
		panic(err) // strings and times can be encoded
	}
	return base64.RawURLEncoding.EncodeToString(append(sign(key, p), p...))
}

// parseToken returns what a token says, if it was signed with key for this
// purpose and has not expired.
func parseToken(key []byte, purpose, token string, now time.Time) (claims, error) {
	var cl claims
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < sha256.Size {
		return cl, errToken
	}
	mac, p := b[:sha256.Size], b[sha256.Size:]
	if !hmac.Equal(mac, sign(key, p)) { // in constant time
		return cl, errToken
	}
	if json.Unmarshal(p, &cl) != nil || cl.For != purpose {
		return claims{}, errToken
	}
	if !now.Before(cl.Until) || !now.Before(cl.Expires) {
		return claims{}, errExpired
	}
	return cl, nil
}

func sign(key, p []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(p)
	return h.Sum(nil)
}

// Tickets knows which tickets have been used, until nobody is let in with them
// anyway. Its methods may be called from any goroutine.
type Tickets interface {
	// Use reports whether this is the first time that a ticket is used, which
	// expires at until. After an error nobody is let in with it.
	Use(ctx context.Context, id string, until, now time.Time) (first bool, err error)
}

// used is the Tickets of one process.
type used struct {
	mu  sync.Mutex
	all map[string]time.Time // when they expire
}

func (t *used) Use(_ context.Context, id string, until, now time.Time) (first bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, until := range t.all {
		// A minute longer than it is good for: requests that looked at the clock
		// before this one may come after it.
		if now.Sub(until) >= time.Minute {
			delete(t.all, id)
		}
	}
	if _, ok := t.all[id]; ok {
		return false, nil
	}
	if t.all == nil {
		t.all = make(map[string]time.Time)
	}
	t.all[id] = until
	return true, nil
}
