package rooms

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"time"
)

//go:embed page
var files embed.FS

var pages = template.Must(template.ParseFS(files, "page/*.html"))

// view is what pages are made of.
type view struct {
	Auth  bool
	Name  string // of the user who signed in
	Room  string
	Error string
	Max   int
}

// headers are those of all responses. Nothing on the pages comes from elsewhere,
// and no script is part of a page.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// index asks for a room, and for a name unless that is known.
func (a *auth) index(w http.ResponseWriter, r *http.Request) {
	a.show(w, r, "index.html", r.FormValue("room"))
}

func (a *auth) room(w http.ResponseWriter, r *http.Request) {
	a.show(w, r, "room.html", r.PathValue("room"))
}

func (a *auth) demo(w http.ResponseWriter, r *http.Request) {
	a.show(w, r, "demo.html", "")
}

// show shows a page to those who may see it, and the login to others.
func (a *auth) show(w http.ResponseWriter, r *http.Request, page, room string) {
	v := view{Auth: a.on, Room: room, Max: maxText}
	if a.on {
		u, err := a.user(r, time.Now())
		if err != nil {
			http.Redirect(w, r, loginPath(room), http.StatusSeeOther)
			return
		}
		v.Name = u.Name
	}
	render(w, http.StatusOK, page, v)
}

func (a *auth) loginPage(w http.ResponseWriter, r *http.Request) {
	a.showLogin(w, http.StatusOK, r.FormValue("room"), "")
}

func (a *auth) showLogin(w http.ResponseWriter, status int, room, text string) {
	render(w, status, "login.html", view{Room: room, Error: text})
}

func render(w http.ResponseWriter, status int, page string, v view) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, page, v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// asset serves what pages refer to.
func asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	switch path.Ext(name) {
	case ".css", ".js", ".svg":
		http.ServeFileFS(w, r, files, path.Join("page", name))
	default:
		http.NotFound(w, r)
	}
}

// roomPath returns that of a room, or of the page that asks for one. It is never
// one on another host.
func roomPath(room string) string {
	if checkRoom(room) != nil {
		return "/"
	}
	return "/room/" + room
}

func loginPath(room string) string {
	if room == "" {
		return "/login"
	}
	return "/login?" + url.Values{"room": {room}}.Encode()
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
