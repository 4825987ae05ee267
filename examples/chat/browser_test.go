//go:build unix

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/testdata/browser"
)

// page is one of the chat's, in a browser.
type page struct{ browser.Chat }

func open(t *testing.T, b *browser.Browser, where string) *page {
	t.Helper()
	return &page{browser.Chat{Page: b.Open(t, where)}}
}

// enter opens a page and goes through the first form.
func enter(t *testing.T, b *browser.Browser, s *server, room, name string) *page {
	t.Helper()
	return &page{b.Enter(t, s.url, room, name)}
}

// Two windows chat with each other, and come back after a restart.
func TestBrowser(t *testing.T) {
	b := browser.Start(t)
	s := start(t, "-push-token", "let-me-push")
	first := open(t, b, s.url)
	first.Until(t, `document.querySelector("#room").value === "lobby"`)
	for room, ok := range map[string]bool{"...": true, ".a": true, "a.": true, "A-Z_0": true, ".": false, "..": false, "a/b": false, "a b": false} {
		first.Until(t, fmt.Sprintf(`(document.querySelector("#room").value = %q, document.querySelector("#room").checkValidity() === %t)`, room, ok))
	}

	ada := enter(t, b, s, "lobby", "ada")
	bob := enter(t, b, s, "lobby", "bob")
	ada.Notes(t, "bob joined")
	for _, p := range []*page{ada, bob} {
		p.Until(t, `[...document.querySelectorAll("#present bdi")].map((e) => e.textContent).join() === "ada,bob"`)
	}
	ada.Type(t, "#text", "Hello, Bob!")
	for _, p := range []*page{ada, bob} {
		p.Shows(t, "ada", "Hello, Bob!")
	}
	bob.Type(t, "#text", "Hello, Ada! 你好 👋")
	for _, p := range []*page{ada, bob} {
		p.Shows(t, "bob", "Hello, Ada! 你好 👋")
	}
	ada.Until(t, `document.querySelectorAll(".message.own").length === 1 && document.querySelector("#text").value === ""`)

	// What looks like HTML stays text: in messages, names and pushes.
	const hostile = `<img src=x onerror="document.title='caught'"><script>document.title='caught'</script>&lt;b&gt;`
	const hostileName = `<b onclick=alert(1)>eve</b>`
	ada.Type(t, "#text", hostile)
	bob.Shows(t, "ada", hostile)
	body, err := json.Marshal(browser.Object{"name": hostileName, "text": hostile})
	require.NoError(t, err)
	status, _ := do(t, "POST", s.url+"/rooms/lobby/messages", string(body), map[string][]string{"Authorization": {"Bearer let-me-push"}})
	require.Equal(t, 202, status)
	bob.Shows(t, hostileName, hostile)
	eve := enter(t, b, s, "lobby", hostileName)
	bob.Notes(t, hostileName+" joined")
	bob.Until(t, fmt.Sprintf(`[...document.querySelectorAll("#present bdi")].some((e) => e.textContent === %q)`, hostileName))
	for _, p := range []*page{bob, eve} {
		p.Until(t, `document.title === "lobby · Chat" && document.querySelectorAll("#log img, #log script, #log b, #present b").length === 0`)
	}
	eve.Type(t, "#text", "two\nlines")
	for _, p := range []*page{bob, eve} {
		p.Shows(t, hostileName, "two\nlines")
	}

	// The button closes, and comes back.
	eve.Click(t, "#close")
	eve.Until(t, `document.querySelector("#state").dataset.state === "closed"`)
	bob.Notes(t, hostileName+" left")
	bob.Type(t, "#text", "while she is away")
	bob.Shows(t, "bob", "while she is away")
	eve.Click(t, "#again")
	eve.Connected(t)
	eve.Notes(t, "One message was missed")
	eve.Click(t, "#close")

	// A restart, on the same port.
	s.stop(t, syscall.SIGTERM)
	for _, p := range []*page{ada, bob} {
		p.Until(t, `document.querySelector("#state").dataset.state === "waiting"`)
	}
	ada.Type(t, "#text", "kept")
	ada.Until(t, `!document.querySelector("#problem").hidden && document.querySelector("#text").value === "kept"`)
	s = startOn(t, s.addr, "-push-token", "let-me-push")
	for _, p := range []*page{ada, bob} {
		p.Connected(t)
		p.Notes(t, "Messages may have been missed")
		p.Until(t, `[...document.querySelectorAll("#present bdi")].map((e) => e.textContent).join() === "ada,bob"`)
	}
	ada.Key(t, "Enter", 0)
	bob.Shows(t, "ada", "kept")

	// Another room hears nothing of it.
	carl := enter(t, b, s, "other", "carl")
	carl.Until(t, `document.querySelectorAll(".message").length === 0`)
	// Without a name the page asks for one.
	dora := open(t, b, s.url+"/room/quiet")
	dora.Until(t, `location.pathname === "/" && document.querySelector("#room").value === "quiet"`)
}

func TestBrowserDemo(t *testing.T) {
	b := browser.Start(t)
	s := start(t)
	p := open(t, b, s.url+"/demo")
	for n := range 3 {
		p.Until(t, fmt.Sprintf(`Number(document.querySelector("#count").textContent) >= %d`, n+1))
	}
	s.stop(t, os.Interrupt)
	p.Until(t, `!document.querySelector("#again").hidden`)
}

func TestBrowserAuth(t *testing.T) {
	b := browser.Start(t)
	s := authorized(t, "-session", "6s")
	p := open(t, b, s.url+"/room/lobby")
	p.Until(t, `location.pathname + location.search === "/login?room=lobby"`)
	p.Until(t, `(document.querySelector("[name=name]").value = "ada")`)
	p.Type(t, "[name=password]", "wrong")
	p.Until(t, `document.querySelector(".problem").textContent.includes("not the password")`)
	in := func() {
		p.Until(t, `(document.querySelector("[name=name]").value = "ada")`)
		p.Type(t, "[name=password]", testPassword)
		p.Until(t, `location.pathname === "/room/lobby"`)
		p.Connected(t)
	}
	in()
	cookie, err := p.Eval(bounded(t), `document.cookie`)
	require.NoError(t, err)
	assert.Equal(t, "", cookie, "out of reach of scripts")
	p.Type(t, "#text", "in")
	p.Shows(t, "ada", "in")
	// The session expires: 4401, and the page asks for another one.
	p.Until(t, `location.pathname === "/login"`)
	in()
	// A server with another key refuses the handshake, and the page asks as well.
	s.stop(t, syscall.SIGTERM)
	startOn(t, s.addr, "-auth", "-password", testPassword)
	p.Until(t, `location.pathname === "/login"`)
	in()
}

// Every page offers and uses the first subprotocol, and a token in the second.
func TestBrowserBearer(t *testing.T) {
	b := browser.Start(t)
	s := authorized(t)
	p := open(t, b, s.url+"/login")
	p.Until(t, `location.pathname === "/login"`)
	got, err := p.Eval(bounded(t), `(async () => {
		const post = async (path, init) => (await fetch(path, {method: "POST", ...init})).json();
		const {token} = await post("/token", {body: JSON.stringify({name: "ada", password: "`+testPassword+`"})});
		const {ticket} = await post("/ticket", {headers: {Authorization: "Bearer " + token}});
		const first = (url, protocols) => new Promise((resolve) => {
			const ws = new WebSocket(url, protocols);
			ws.onmessage = (e) => { resolve(ws.protocol + " " + JSON.parse(e.data).name); ws.close(); };
			ws.onclose = (e) => resolve("closed " + e.code);
		});
		const url = "ws://" + location.host + "/ws/room/lobby";
		return [
			await first(url, ["chat.v1", "bearer." + token]),
			await first(url + "?token=" + ticket, ["chat.v1"]),
			await first(url + "?token=" + ticket, ["chat.v1"]),
			await first(url, ["chat.v1"]),
		].join(", ");
	})()`)
	require.NoError(t, err)
	assert.Equal(t, "chat.v1 ada, chat.v1 ada, closed 1006, closed 1006", got)
}

// TestScreenshots takes pictures of all pages, wide and narrow, light and dark,
// for somebody to look at:
//
//	CHAT_SCREENSHOTS=/tmp go test -run Screenshots ./examples/chat
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("CHAT_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir() // nobody looks, but all pages can be had
	}
	b := browser.Start(t)
	s := start(t, "-push-token", "let-me-push")
	open(t, b, s.url).shoot(t, dir, "index")
	demo := open(t, b, s.url+"/demo")
	demo.Until(t, `document.querySelector("#count").textContent === "3"`)
	demo.shoot(t, dir, "demo")
	login := open(t, b, authorized(t).url+"/room/lobby")
	login.Until(t, `document.querySelector("[name=password]")`)
	login.shoot(t, dir, "login")

	grace := enter(t, b, s, "launch-day", "Grace")
	others := map[string]*peer{}
	for _, name := range []string{"Ada Lovelace", "Linus", "艾达", "Somebody with a rather long name"} {
		others[name], _ = join(t, s, "launch-day", name)
		grace.Notes(t, name+" joined")
	}
	push := func(text string) {
		body, err := json.Marshal(browser.Object{"name": "build", "text": text})
		require.NoError(t, err)
		status, _ := do(t, "POST", s.url+"/rooms/launch-day/messages", string(body), map[string][]string{"Authorization": {"Bearer let-me-push"}})
		require.Equal(t, 202, status)
		grace.Shows(t, "build", text)
	}
	say := func(name, text string) {
		others[name].say(t, text)
		grace.Shows(t, name, text)
	}
	say("Ada Lovelace", "Morning! Are we still on for the release at ten?")
	grace.Type(t, "#text", "Yes. The last tests are running right now.")
	push("main is green: 1,204 tests passed in 41 s.")
	say("Linus", "Nice.")
	say("Linus", "I would still like somebody to look at the migration once more, the one with the two-step rename: it took four minutes on the copy of the production data, and nobody wants to wait that long with a lock held.")
	grace.Type(t, "#text", "On it.")
	grace.Type(t, "#text", "Looks fine to me, the second step is <b>not</b> inside the transaction 👍")
	say("艾达", "没问题，我来部署。 Ship it! 🚀")
	require.NoError(t, others["Linus"].Close(1000, ""))
	grace.Notes(t, "Linus left")
	grace.shoot(t, dir, "room")
	s.stop(t, syscall.SIGTERM)
	grace.Until(t, `document.querySelector("#state").dataset.state === "waiting"`)
	grace.Type(t, "#text", "not sent")
	grace.shoot(t, dir, "lost")
	startOn(t, s.addr)
	grace.Connected(t)
	grace.Notes(t, "Messages may have been missed")
	grace.shoot(t, dir, "back")
}

// shoot takes pictures of a page.
func (p *page) shoot(t *testing.T, dir, name string) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{1200, 390} {
			p.Do(t, "Emulation.setDeviceMetricsOverride", browser.Object{"width": width, "height": 760, "deviceScaleFactor": 1, "mobile": false}, nil)
			p.Do(t, "Emulation.setEmulatedMedia", browser.Object{"features": []browser.Object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
			p.Until(t, fmt.Sprintf(`innerWidth === %d && (!window.log || atEnd())`, width))
			var picture struct{ Data string }
			p.Do(t, "Page.captureScreenshot", browser.Object{"format": "png"}, &picture)
			b, err := base64.StdEncoding.DecodeString(picture.Data)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)), b, 0o644))
		}
	}
}
