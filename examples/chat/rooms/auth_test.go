package rooms

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
)

const testPassword = "open sesame"

func TestUsers(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	a := &auth{on: true, key: []byte(testKey), password: testPassword, lifetime: time.Hour}
	session := func(key, purpose string, expires time.Time) string {
		return newToken([]byte(key), purpose, user{Name: "ada", Expires: expires}, expires)
	}
	later := now.Add(time.Minute)
	good := session(testKey, forSession, later)
	cookie := func(token string) string { return cookieName + "=" + token }
	for _, tt := range []struct {
		name   string
		header http.Header
		want   error
	}{
		{"nothing", nil, errSignIn},
		{"cookie", http.Header{"Cookie": {cookie(good)}}, nil},
		{"cookie, own page", http.Header{"Cookie": {cookie(good)}, "Origin": {"https://chat.example"}}, nil},
		{"cookie, other site", http.Header{"Cookie": {cookie(good)}, "Origin": {"https://evil.example"}}, errOrigin},
		{"cookie, other port", http.Header{"Cookie": {cookie(good)}, "Origin": {"https://chat.example:444"}}, errOrigin},
		{"cookie, sandboxed page", http.Header{"Cookie": {cookie(good)}, "Origin": {"null"}}, errOrigin},
		{"bad cookie, other site", http.Header{"Cookie": {cookie("x")}, "Origin": {"https://evil.example"}}, errOrigin},
		{"cookie, expired", http.Header{"Cookie": {cookie(session(testKey, forSession, now))}}, errExpired},
		{"cookie, another key", http.Header{"Cookie": {cookie(session("other", forSession, later))}}, errToken},
		{"cookie, a ticket", http.Header{"Cookie": {cookie(session(testKey, forTicket, later))}}, errToken},
		{"cookie, empty", http.Header{"Cookie": {cookie("")}}, errToken},
		{"another cookie", http.Header{"Cookie": {"sessions=" + good}}, errSignIn},
		{"header", http.Header{"Authorization": {"Bearer " + good}}, nil},
		{"header, lower case", http.Header{"Authorization": {"bearer " + good}}, nil},
		{"header, expired", http.Header{"Authorization": {"Bearer " + session(testKey, forSession, now)}}, errExpired},
		{"header, good cookie beside it", http.Header{"Authorization": {"Bearer x"}, "Cookie": {cookie(good)}}, errToken},
		{"header, another scheme", http.Header{"Authorization": {"Basic " + good}}, errSignIn},
		{"subprotocol", http.Header{"Sec-Websocket-Protocol": {"chat.v1, bearer." + good}}, nil},
		{"subprotocol, in two lines", http.Header{"Sec-Websocket-Protocol": {"chat.v1", "bearer." + good}}, nil},
		{"subprotocol, expired", http.Header{"Sec-Websocket-Protocol": {"chat.v1,bearer." + session(testKey, forSession, now)}}, errExpired},
		{"subprotocol, tampered", http.Header{"Sec-Websocket-Protocol": {"chat.v1, bearer.A" + good[1:]}}, errToken},
		{"subprotocol, a ticket", http.Header{"Sec-Websocket-Protocol": {"chat.v1, bearer." + session(testKey, forTicket, later)}}, errToken},
		{"subprotocol, no token", http.Header{"Sec-Websocket-Protocol": {"chat.v1"}}, errSignIn},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "https://chat.example/ws/room/x", nil)
			r.Header = tt.header
			if r.Header == nil {
				r.Header = http.Header{}
			}
			for _, who := range []func(*http.Request, time.Time) (user, error){a.user, a.connecting} {
				got, err := who(r, now)
				assert.Equal(t, tt.want, err)
				if err == nil {
					assert.Equal(t, "ada", got.Name)
					assert.True(t, got.Expires.Equal(later))
				}
			}
		})
	}

	r := httptest.NewRequest("GET", "/ws/room/x?token="+good, nil)
	_, err := a.connecting(r, now)
	assert.Equal(t, errToken, err, "a session's token does not belong into a URL")
	r.Header.Set("Cookie", cookie(good))
	_, err = a.connecting(r, now)
	assert.Equal(t, errToken, err, "a ticket comes before the cookie")
	_, err = a.user(r, now)
	assert.NoError(t, err, "and means nothing here")
	r.Header.Set("Authorization", "Bearer "+good)
	_, err = a.connecting(r, now)
	assert.NoError(t, err, "a session's token in its place comes first")

	for name, want := range map[string]bool{
		"ada": true, " ada ": true, "Ada Lovelace": true, "艾达": true, "😀": true, strings.Repeat("é", 40): true,
		"": false, "  ": false, strings.Repeat("x", 41): false, "a\nb": false, "a\x00b": false, "a\u202eb": false, "\xff": false, "a\u200bb": false,
	} {
		_, err := checkUser(name)
		assert.Equal(t, want, err == nil, "%q", name)
	}
	_, err = a.check("ada", testPassword, now)
	assert.NoError(t, err)
	for _, password := range []string{"", "open sesam", "open sesame ", "OPEN SESAME"} {
		_, err = a.check("ada", password, now)
		assert.Error(t, err, "%q", password)
	}
}

func TestCookie(t *testing.T) {
	a := &auth{on: true, key: []byte(testKey), password: testPassword, lifetime: time.Hour}
	for _, tt := range []struct {
		name   string
		change func(r *http.Request)
		secure bool
	}{
		{"plain", func(*http.Request) {}, false},
		{"TLS", func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, true},
		{"TLS at the proxy", func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }, true},
		{"none at the proxy", func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "http") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			form := url.Values{"name": {"ada"}, "password": {testPassword}, "room": {"lobby"}}
			r := httptest.NewRequest("POST", "/login", strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			tt.change(r)
			w := httptest.NewRecorder()
			a.login(w, r)
			require.Equal(t, http.StatusSeeOther, w.Code)
			assert.Equal(t, "/room/lobby", w.Header().Get("Location"))
			cookies := w.Result().Cookies()
			require.Len(t, cookies, 1)
			assert.True(t, cookies[0].HttpOnly)
			assert.Equal(t, http.SameSiteLaxMode, cookies[0].SameSite)
			assert.Equal(t, "/", cookies[0].Path)
			assert.Equal(t, tt.secure, cookies[0].Secure)
			assert.WithinDuration(t, time.Now().Add(time.Hour), cookies[0].Expires, time.Minute)
		})
	}
	for _, room := range []string{"", "//evil.example", "../x", "https://evil.example", `\\evil.example`, ".", ".."} {
		assert.Equal(t, "/", roomPath(room))
	}
	assert.Equal(t, "/room/...", roomPath("..."))
}

// The connection of a session that ends is closed at that moment.
func TestSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := conn.Pipe(nil, nil)
		const lifetime = time.Hour + 500*time.Millisecond // between two numbers
		ctx := context.WithValue(s.Context(), userKey{}, user{Name: "ada", Expires: time.Now().Add(lifetime)})
		ended := make(chan error, 1)
		go func() { ended <- whileValid(count)(ctx, s) }()
		begun := time.Now()
		for {
			if _, _, err := c.Read(t.Context()); err != nil {
				closed, ok := errors.AsType[*conn.CloseError](err)
				require.True(t, ok, err)
				require.Equal(t, closeExpired, closed.Code)
				break
			}
		}
		assert.Equal(t, lifetime, time.Since(begun))
		require.ErrorContains(t, <-ended, "4401")
	})
}
