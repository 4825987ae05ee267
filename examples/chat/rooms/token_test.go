package rooms

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testKey = "a key of thirty-two characters or more"

func TestTokens(t *testing.T) {
	key := []byte(testKey)
	begin := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	end := begin.Add(time.Hour)
	ada := user{Name: "Ada Lovelace ✓", Expires: end}
	token := newToken(key, forSession, ada, end)
	assert.NotEqual(t, token, newToken(key, forSession, ada, end), "no two are the same")
	assert.Regexp(t, `^[A-Za-z0-9_-]+$`, token)

	cl, err := parseToken(key, forSession, token, begin)
	require.NoError(t, err)
	assert.Equal(t, ada.Name, cl.Name)
	assert.True(t, cl.Expires.Equal(end))

	for _, tt := range []struct {
		name         string
		key, purpose string
		now          time.Time
		want         error
	}{
		{"at the last moment", testKey, forSession, end.Add(-1), nil},
		{"at its end", testKey, forSession, end, errExpired},
		{"long after", testKey, forSession, end.AddDate(10, 0, 0), errExpired},
		{"another purpose", testKey, forTicket, begin, errToken},
		{"another key", testKey + ".", forSession, begin, errToken},
		{"no key", "", forSession, begin, errToken},
	} {
		_, err := parseToken([]byte(tt.key), tt.purpose, token, tt.now)
		assert.Equal(t, tt.want, err, tt.name)
	}

	// A ticket ends before its session, or with it.
	short := newToken(key, forTicket, ada, begin.Add(time.Second))
	_, err = parseToken(key, forTicket, short, begin.Add(time.Second))
	assert.Equal(t, errExpired, err)
	long := newToken(key, forTicket, ada, end.Add(time.Hour))
	_, err = parseToken(key, forTicket, long, end)
	assert.Equal(t, errExpired, err)

	// Every bit of it counts, and every character.
	raw, err := base64.RawURLEncoding.DecodeString(token)
	require.NoError(t, err)
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			_, err := parseToken(key, forSession, base64.RawURLEncoding.EncodeToString(raw), begin)
			require.Equal(t, errToken, err, "byte %d, bit %d", i, bit)
			raw[i] ^= 1 << bit
		}
	}
	for n := range token {
		_, err := parseToken(key, forSession, token[:n], begin)
		require.Equal(t, errToken, err, "cut to %d", n)
	}
	for _, other := range []string{token + "A", token + "=", " " + token, base64.RawURLEncoding.EncodeToString(raw[32:])} {
		_, err := parseToken(key, forSession, other, begin)
		assert.Equal(t, errToken, err, "%q", other)
	}
}

func TestTicketsAreUsedOnce(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	tickets := new(used)
	a := &auth{on: true, key: []byte(testKey), tickets: tickets}
	ada := user{Name: "ada", Expires: now.Add(time.Hour)}
	request := func(ticket string) *http.Request {
		return httptest.NewRequest("GET", "/ws/room/x?"+url.Values{"token": {ticket}}.Encode(), nil)
	}
	one := newToken(a.key, forTicket, ada, now.Add(ticketLifetime))
	two := newToken(a.key, forTicket, ada, now.Add(ticketLifetime))
	_, err := a.user(request(one), now)
	assert.Equal(t, errSignIn, err, "it is for connections, and has not been used here")
	got, err := a.connecting(request(one), now)
	require.NoError(t, err)
	assert.Equal(t, ada.Name, got.Name)
	assert.True(t, got.Expires.Equal(ada.Expires), "the session's end, not the ticket's")
	_, err = a.connecting(request(one), now)
	assert.Equal(t, errUsed, err)
	_, err = a.connecting(request(two), now.Add(ticketLifetime-1))
	assert.NoError(t, err)
	_, err = a.connecting(request(one), now.Add(ticketLifetime))
	assert.Equal(t, errExpired, err)
	// A request may look at the clock before the ticket ends, and be held up until
	// later ones have been let in.
	late := newToken(a.key, forTicket, ada, now.Add(10*ticketLifetime))
	_, err = a.connecting(request(late), now.Add(ticketLifetime+time.Minute-1))
	assert.NoError(t, err)
	_, err = a.connecting(request(one), now.Add(ticketLifetime-1))
	assert.Equal(t, errUsed, err)
	// What expired longer ago than that is forgotten.
	three := newToken(a.key, forTicket, ada, now.Add(10*ticketLifetime))
	assert.Len(t, tickets.all, 3)
	_, err = a.connecting(request(three), now.Add(ticketLifetime+time.Minute))
	assert.NoError(t, err)
	assert.Len(t, tickets.all, 2)
}
