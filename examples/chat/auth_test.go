//go:build unix

package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
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
	post := func(t *testing.T, s *server, path, body, token string) (answer struct{ Token, Ticket string }) {
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
	// Sessions of one server count on another with the same key.
	session := func(t *testing.T, lifetime string) (token string) {
		t.Helper()
		return post(t, authorized(t, "-session", lifetime), "/token", `{"name": "ada", "password": "open sesame"}`, "").Token
	}
	token := post(t, s, "/token", `{"name": "ada", "password": "open sesame"}`, "").Token

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
		ticket := post(t, s, "/ticket", "", token).Ticket
		// It is good for no request but a handshake, and none of them uses it up.
		status, _ := do(t, "POST", s.url+"/ticket?token="+ticket, "", nil)
		assert.Equal(t, 401, status)
		status, _ = do(t, "GET", s.url+"/session?token="+ticket, "", nil)
		assert.Equal(t, 401, status)
		for _, path := range []string{"/", "/demo", "/room/lobby"} {
			resp := roundTrip(t, "GET", s.url+path+"?token="+ticket, "", nil)
			assert.Equal(t, http.StatusSeeOther, resp.StatusCode, path)
		}
		p, err := dial(t, s.url, path+"&token="+ticket, nil)
		require.NoError(t, err)
		assert.Equal(t, "welcome ada", p.gets(t))
		refused(t, path+"&token="+ticket, nil, 401, "has been used")
		refused(t, path+"&token="+token, nil, 401, "not one of this server")
		status, _ = do(t, "POST", s.url+"/ticket", "", nil)
		assert.Equal(t, 401, status)
		p, err = dial(t, s.url, "/ws/demo?token="+post(t, s, "/ticket", "", token).Ticket, nil)
		require.NoError(t, err)
		assert.EqualValues(t, 1, p.next(t).N)
	})
	t.Run("expired", func(t *testing.T) {
		refused(t, path, &conn.DialOptions{Subprotocols: []string{"chat.v1", "bearer." + session(t, "1ns")}}, 401, "has expired")
	})
	t.Run("expires during the connection", func(t *testing.T) {
		const lifetime = 3 * time.Second
		begun := time.Now()
		short := session(t, lifetime.String())
		p, err := dial(t, s.url, path, &conn.DialOptions{Header: http.Header{"Authorization": {"Bearer " + short}}})
		require.NoError(t, err)
		for {
			if _, _, err = p.Read(bounded(t)); err != nil {
				break
			}
		}
		requireClosed(t, err, 4401)
		assert.GreaterOrEqual(t, time.Since(begun), lifetime)
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
	t.Run("rooms", func(t *testing.T) {
		for room, to := range map[string]string{"lobby": "/room/lobby", "...": "/room/...", "": "/", ".": "/", "..": "/", "a/b": "/"} {
			form := url.Values{"name": {"ada"}, "password": {testPassword}, "room": {room}}
			resp := roundTrip(t, "POST", s.url+"/login", form.Encode(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
			assert.Equal(t, http.StatusSeeOther, resp.StatusCode, room)
			assert.Equal(t, to, resp.Header.Get("Location"), room)
		}
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
