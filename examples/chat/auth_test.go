//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
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
	"rfc6455/handshake"
)

const (
	testKey      = "a key of thirty-two characters or more"
	testPassword = "open sesame"
)

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
	a := &auth{on: true, key: []byte(testKey)}
	ada := user{Name: "ada", Expires: now.Add(time.Hour)}
	request := func(ticket string) *http.Request {
		return httptest.NewRequest("GET", "/ws/room/x?"+url.Values{"token": {ticket}}.Encode(), nil)
	}
	one := newToken(a.key, forTicket, ada, now.Add(ticketLifetime))
	two := newToken(a.key, forTicket, ada, now.Add(ticketLifetime))
	got, err := a.user(request(one), now)
	require.NoError(t, err)
	assert.Equal(t, ada.Name, got.Name)
	assert.True(t, got.Expires.Equal(ada.Expires), "the session's end, not the ticket's")
	_, err = a.user(request(one), now)
	assert.Equal(t, errUsed, err)
	_, err = a.user(request(two), now.Add(ticketLifetime-1))
	assert.NoError(t, err)
	_, err = a.user(request(one), now.Add(ticketLifetime))
	assert.Equal(t, errExpired, err)
	// What has expired is forgotten.
	three := newToken(a.key, forTicket, ada, now.Add(10*ticketLifetime))
	_, err = a.user(request(three), now.Add(9*ticketLifetime))
	assert.NoError(t, err)
	assert.Len(t, a.used.used, 1)
}

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
			got, err := a.user(r, now)
			assert.Equal(t, tt.want, err)
			if err == nil {
				assert.Equal(t, "ada", got.Name)
				assert.True(t, got.Expires.Equal(later))
			}
		})
	}

	r := httptest.NewRequest("GET", "/ws/room/x?token="+good, nil)
	_, err := a.user(r, now)
	assert.Equal(t, errToken, err, "a session's token does not belong into a URL")

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
	for _, room := range []string{"", "//evil.example", "../x", "https://evil.example", `\\evil.example`} {
		assert.Equal(t, "/", roomPath(room))
	}
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
				requireClosed(t, err, closeExpired)
				break
			}
		}
		assert.Equal(t, lifetime, time.Since(begun))
		require.ErrorContains(t, <-ended, "4401")
	})
}

// authorized starts a server that wants to know people.
func authorized(t *testing.T, args ...string) *server {
	t.Helper()
	return start(t, append([]string{"-auth", "-key", testKey, "-password", testPassword}, args...)...)
}

// signIn goes through the form, and returns the cookie.
func signIn(t *testing.T, s *server, name string) string {
	t.Helper()
	form := url.Values{"name": {name}, "password": {testPassword}}
	resp := roundTrip(t, "POST", s.url+"/login", form.Encode(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	require.Equal(t, http.StatusSeeOther, resp.StatusCode)
	return resp.Header.Get("Set-Cookie")
}

func TestAuth(t *testing.T) {
	s := authorized(t)
	const path = "/ws/room/lobby?name=somebody"
	refused := func(t *testing.T, path string, o *conn.DialOptions, status int, says string) {
		t.Helper()
		_, err := dial(t, s.url, path, o)
		var refused *handshake.ResponseError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, status, refused.Status)
		assert.Contains(t, string(refused.Body), says)
		assert.Equal(t, status == 401, refused.Header.Get("WWW-Authenticate") != "")
	}
	post := func(t *testing.T, path, body, token string) (answer struct{ Token, Ticket string }) {
		t.Helper()
		header := http.Header{}
		if token != "" {
			header.Set("Authorization", "Bearer "+token)
		}
		status, text := do(t, "POST", s.url+path, body, header)
		require.Equal(t, 200, status, text)
		require.NoError(t, json.Unmarshal([]byte(text), &answer))
		return answer
	}
	token := post(t, "/token", `{"name": "ada", "password": "open sesame"}`, "").Token

	t.Run("nothing", func(t *testing.T) {
		refused(t, path, nil, 401, "sign in first")
		refused(t, "/ws/demo", nil, 401, "sign in first")
	})
	t.Run("cookie", func(t *testing.T) {
		cookie, _, _ := strings.Cut(signIn(t, s, "ada"), ";")
		o := &conn.DialOptions{Header: http.Header{"Cookie": {cookie}}, Origin: s.url}
		p, err := dial(t, s.url, path, o)
		require.NoError(t, err)
		assert.Equal(t, "welcome ada", p.gets(t), "the name is that of the session")
		o.Origin = "https://evil.example"
		refused(t, path, o, 403, "other origins")
		o.Origin = ""
		o.Header.Set("Cookie", cookie[:len(cookie)-1])
		refused(t, path, o, 401, "not one of this server")
	})
	t.Run("subprotocol", func(t *testing.T) {
		o := &conn.DialOptions{Subprotocols: []string{"chat.v1", "bearer." + token}, Origin: s.url}
		p, err := dial(t, s.url, path, o)
		require.NoError(t, err)
		assert.Equal(t, "chat.v1", p.Subprotocol())
		assert.Equal(t, "welcome ada", p.gets(t))
		o.Origin = "https://evil.example"
		refused(t, path, o, 403, "evil.example")
		refused(t, path, &conn.DialOptions{Subprotocols: []string{"chat.v1", "bearer." + token + "x"}}, 401, "not one of this server")
	})
	t.Run("header", func(t *testing.T) {
		p, err := dial(t, s.url, path, &conn.DialOptions{Header: http.Header{"Authorization": {"Bearer " + token}}})
		require.NoError(t, err)
		assert.Equal(t, "welcome ada", p.gets(t))
	})
	t.Run("ticket", func(t *testing.T) {
		ticket := post(t, "/ticket", "", token).Ticket
		p, err := dial(t, s.url, path+"&token="+ticket, nil)
		require.NoError(t, err)
		assert.Equal(t, "welcome ada", p.gets(t))
		refused(t, path+"&token="+ticket, nil, 401, "has been used")
		refused(t, path+"&token="+token, nil, 401, "not one of this server")
		status, _ := do(t, "POST", s.url+"/ticket", "", nil)
		assert.Equal(t, 401, status)
	})
	t.Run("expired", func(t *testing.T) {
		now := time.Now()
		old := newToken([]byte(testKey), forSession, user{Name: "ada", Expires: now}, now)
		refused(t, path, &conn.DialOptions{Subprotocols: []string{"chat.v1", "bearer." + old}}, 401, "has expired")
	})
	t.Run("expires during the connection", func(t *testing.T) {
		soon := time.Now().Add(time.Second)
		short := newToken([]byte(testKey), forSession, user{Name: "ada", Expires: soon}, soon)
		p, err := dial(t, s.url, path, &conn.DialOptions{Header: http.Header{"Authorization": {"Bearer " + short}}})
		require.NoError(t, err)
		for {
			if _, _, err = p.Read(bounded(t)); err != nil {
				break
			}
		}
		requireClosed(t, err, closeExpired)
		assert.False(t, time.Now().Before(soon))
	})
	t.Run("pages", func(t *testing.T) {
		for path, to := range map[string]string{"/": "/login", "/demo": "/login", "/room/lobby": "/login?room=lobby"} {
			resp := roundTrip(t, "GET", s.url+path, "", nil)
			assert.Equal(t, http.StatusSeeOther, resp.StatusCode)
			assert.Equal(t, to, resp.Header.Get("Location"))
		}
		cookie, _, _ := strings.Cut(signIn(t, s, "<b>ada</b>"), ";")
		status, text := do(t, "GET", s.url+"/room/lobby", "", http.Header{"Cookie": {cookie}})
		assert.Equal(t, 200, status)
		assert.Contains(t, text, `data-name="&lt;b&gt;ada&lt;/b&gt;"`)
		status, _ = do(t, "GET", s.url+"/session", "", nil)
		assert.Equal(t, 401, status)
	})
	t.Run("wrong password", func(t *testing.T) {
		form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		resp := roundTrip(t, "POST", s.url+"/login", "name=ada&password=x", form)
		assert.Equal(t, 401, resp.StatusCode)
		assert.Empty(t, resp.Header["Set-Cookie"])
		status, _ := do(t, "POST", s.url+"/token", `{"name": "ada", "password": "x"}`, nil)
		assert.Equal(t, 401, status)
		status, _ = do(t, "POST", s.url+"/token", `{"name": "", "password": "open sesame"}`, nil)
		assert.Equal(t, 400, status)
		// Another site must not sign anybody in.
		form.Set("Origin", "https://evil.example")
		resp = roundTrip(t, "POST", s.url+"/login", "name=ada&password=open+sesame", form)
		assert.Equal(t, 403, resp.StatusCode)
	})
	t.Run("logout", func(t *testing.T) {
		resp := roundTrip(t, "POST", s.url+"/logout", "", nil)
		assert.Contains(t, resp.Header.Get("Set-Cookie"), "session=; Path=/; Expires=Thu, 01 Jan 1970")
	})
}
