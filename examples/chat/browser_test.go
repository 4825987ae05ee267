//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
)

// browser is a headless Chromium, which is told what to do over a WebSocket: see
// https://chromedevtools.github.io/devtools-protocol/.
type browser struct {
	c *conn.Conn

	mu      sync.Mutex
	calls   int
	waiting map[int]chan answer
}

type answer struct {
	ID     int
	Result json.RawMessage
	Error  *struct{ Message string }
}

// startBrowser starts one until the end of the test. Without one the test is
// skipped, and fails where CI=true.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			require.Fail(t, "no chromium, chromium-browser or google-chrome on PATH")
		}
		t.Skip("no chromium, chromium-browser or google-chrome on PATH: the browser test needs one")
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var said []string
	silent := make(chan struct{}) // closed when all its processes have ended
	t.Cleanup(func() {
		// Its children are in its process group.
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-silent
		cmd.Wait()
		if t.Failed() {
			t.Log("browser:\n" + strings.Join(said, "\n"))
		}
	})
	at := make(chan string, 1)
	go func() {
		defer close(silent)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			said = append(said, lines.Text())
			if found, ok := strings.CutPrefix(lines.Text(), "DevTools listening on "); ok {
				at <- found
			}
		}
	}()
	ctx := bounded(t)
	b := &browser{waiting: map[int]chan answer{}}
	select {
	case address := <-at:
		b.c, _, err = conn.Dial(ctx, address, &conn.DialOptions{Options: conn.Options{ReadLimit: -1}})
		require.NoError(t, err)
	case <-ctx.Done():
		require.Fail(t, "the browser does not start")
	}
	t.Cleanup(func() { b.c.CloseNow() })
	go func() {
		for {
			a, err := conn.ReadJSON[answer](context.Background(), b.c)
			if err != nil {
				return
			}
			b.mu.Lock()
			waiting := b.waiting[a.ID]
			delete(b.waiting, a.ID)
			b.mu.Unlock()
			if waiting != nil {
				waiting <- a
			}
		}
	}()
	return b
}

// call calls a method of the browser, or of one of its pages.
func (b *browser) call(ctx context.Context, session, method string, params, result any) error {
	b.mu.Lock()
	b.calls++
	id := b.calls
	waiting := make(chan answer, 1)
	b.waiting[id] = waiting
	b.mu.Unlock()
	if err := conn.WriteJSON(ctx, b.c, map[string]any{"id": id, "sessionId": session, "method": method, "params": params}); err != nil {
		return err
	}
	select {
	case a := <-waiting:
		if a.Error != nil {
			return fmt.Errorf("%s: %s", method, a.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// object is JSON's.
type object = map[string]any

// page is a window of the browser.
type page struct {
	*browser
	session string
}

// open opens a page, which shares its cookies with those of the same context: ""
// is the default one.
func (b *browser) open(t *testing.T, where string) *page {
	t.Helper()
	var made struct{ TargetID, SessionID string }
	require.NoError(t, b.call(bounded(t), "", "Target.createTarget", object{"url": "about:blank", "newWindow": true}, &made))
	require.NoError(t, b.call(bounded(t), "", "Target.attachToTarget", object{"targetId": made.TargetID, "flatten": true}, &made))
	p := &page{b, made.SessionID}
	p.do(t, "Page.navigate", object{"url": where}, nil)
	return p
}

func (p *page) do(t *testing.T, method string, params, result any) {
	t.Helper()
	require.NoError(t, p.call(bounded(t), p.session, method, params, result))
}

// eval returns the value of an expression, a promise's too.
func (p *page) eval(ctx context.Context, expression string) (any, error) {
	var out struct {
		Result           struct{ Value any }
		ExceptionDetails any
	}
	err := p.call(ctx, p.session, "Runtime.evaluate", object{"expression": expression, "awaitPromise": true, "returnByValue": true}, &out)
	if err == nil && out.ExceptionDetails != nil {
		err = fmt.Errorf("%s: %v", expression, out.ExceptionDetails)
	}
	return out.Result.Value, err
}

// until waits until an expression is true, over loads of the page.
func (p *page) until(t *testing.T, expression string) {
	t.Helper()
	ctx := bounded(t)
	for {
		v, err := p.eval(ctx, `new Promise((resolve) => {
			const begun = Date.now(), look = () => {
				let ok = false;
				try { ok = document.readyState === "complete" && !!(`+expression+`); } catch {}
				if (ok || Date.now() - begun > 500) resolve(ok); else setTimeout(look, 10);
			};
			look();
		})`)
		if v == true {
			return
		}
		if ctx.Err() != nil {
			text, _ := p.eval(t.Context(), `location.href + "\n" + document.body.innerText`)
			require.Fail(t, "it never happens", "%s (%v)\non the page: %v", expression, err, text)
		}
	}
}

// typed is what a user does: text into what has the focus, and Enter.
func (p *page) typed(t *testing.T, focus, text string) {
	t.Helper()
	p.until(t, `(document.querySelector("`+focus+`").focus(), document.activeElement.matches("`+focus+`"))`)
	p.do(t, "Input.insertText", object{"text": text}, nil)
	p.key(t, "Enter", 0)
}

func (p *page) key(t *testing.T, key string, modifiers int) {
	t.Helper()
	event := object{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": 13, "text": "\r", "modifiers": modifiers}
	p.do(t, "Input.dispatchKeyEvent", event, nil)
	p.do(t, "Input.dispatchKeyEvent", object{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": 13}, nil)
}

func (p *page) click(t *testing.T, selector string) {
	t.Helper()
	p.until(t, `(document.querySelector("`+selector+`").click(), true)`)
}

// enter opens a page and goes through the first form.
func (b *browser) enter(t *testing.T, s *server, room, name string) *page {
	t.Helper()
	p := b.open(t, s.url+"/?room="+url.QueryEscape(room))
	p.typed(t, "#name", name)
	p.connected(t)
	return p
}

func (p *page) connected(t *testing.T) {
	t.Helper()
	p.until(t, `document.querySelector("#state").dataset.state === "connected"`)
}

// shows waits for a message from somebody.
func (p *page) shows(t *testing.T, name, text string) {
	t.Helper()
	who, err := json.Marshal(name)
	require.NoError(t, err)
	what, err := json.Marshal(text)
	require.NoError(t, err)
	p.until(t, fmt.Sprintf(`[...document.querySelectorAll(".message")].some((m) =>
		m.querySelector(".name").textContent === %s && [...m.querySelectorAll(".text")].some((x) => x.textContent === %s))`, who, what))
}

// notes waits for a line between the messages.
func (p *page) notes(t *testing.T, text string) {
	t.Helper()
	p.until(t, fmt.Sprintf(`[...document.querySelectorAll(".note, .gap")].some((e) => e.textContent.startsWith(%q))`, text))
}

// Two windows chat with each other, and come back after a restart.
func TestBrowser(t *testing.T) {
	b := startBrowser(t)
	s := start(t, "-push-token", "let-me-push")
	first := b.open(t, s.url)
	first.until(t, `document.querySelector("#room").value === "lobby"`)

	ada := b.enter(t, s, "lobby", "ada")
	bob := b.enter(t, s, "lobby", "bob")
	ada.notes(t, "bob joined")
	for _, p := range []*page{ada, bob} {
		p.until(t, `[...document.querySelectorAll("#present bdi")].map((e) => e.textContent).join() === "ada,bob"`)
	}
	ada.typed(t, "#text", "Hello, Bob!")
	for _, p := range []*page{ada, bob} {
		p.shows(t, "ada", "Hello, Bob!")
	}
	bob.typed(t, "#text", "Hello, Ada! 你好 👋")
	for _, p := range []*page{ada, bob} {
		p.shows(t, "bob", "Hello, Ada! 你好 👋")
	}
	ada.until(t, `document.querySelectorAll(".message.own").length === 1 && document.querySelector("#text").value === ""`)

	// What looks like HTML stays text: in messages, names and pushes.
	const hostile = `<img src=x onerror="document.title='caught'"><script>document.title='caught'</script>&lt;b&gt;`
	const hostileName = `<b onclick=alert(1)>eve</b>`
	ada.typed(t, "#text", hostile)
	bob.shows(t, "ada", hostile)
	body, err := json.Marshal(object{"name": hostileName, "text": hostile})
	require.NoError(t, err)
	status, _ := do(t, "POST", s.url+"/rooms/lobby/messages", string(body), map[string][]string{"Authorization": {"Bearer let-me-push"}})
	require.Equal(t, 202, status)
	bob.shows(t, hostileName, hostile)
	eve := b.enter(t, s, "lobby", hostileName)
	bob.notes(t, hostileName+" joined")
	bob.until(t, fmt.Sprintf(`[...document.querySelectorAll("#present bdi")].some((e) => e.textContent === %q)`, hostileName))
	for _, p := range []*page{bob, eve} {
		p.until(t, `document.title === "lobby · Chat" && document.querySelectorAll("#log img, #log script, #log b, #present b").length === 0`)
	}
	eve.typed(t, "#text", "two\nlines")
	for _, p := range []*page{bob, eve} {
		p.shows(t, hostileName, "two\nlines")
	}

	// The button closes, and comes back.
	eve.click(t, "#close")
	eve.until(t, `document.querySelector("#state").dataset.state === "closed"`)
	bob.notes(t, hostileName+" left")
	bob.typed(t, "#text", "while she is away")
	bob.shows(t, "bob", "while she is away")
	eve.click(t, "#again")
	eve.connected(t)
	eve.notes(t, "One message was missed")
	eve.click(t, "#close")

	// A restart, on the same port.
	s.stop(t, syscall.SIGTERM)
	for _, p := range []*page{ada, bob} {
		p.until(t, `document.querySelector("#state").dataset.state === "waiting"`)
	}
	ada.typed(t, "#text", "kept")
	ada.until(t, `!document.querySelector("#problem").hidden && document.querySelector("#text").value === "kept"`)
	s = startOn(t, s.addr, "-push-token", "let-me-push")
	for _, p := range []*page{ada, bob} {
		p.connected(t)
		p.notes(t, "Messages may have been missed")
		p.until(t, `[...document.querySelectorAll("#present bdi")].map((e) => e.textContent).join() === "ada,bob"`)
	}
	ada.key(t, "Enter", 0)
	bob.shows(t, "ada", "kept")

	// Another room hears nothing of it.
	carl := b.enter(t, s, "other", "carl")
	carl.until(t, `document.querySelectorAll(".message").length === 0`)
	// Without a name the page asks for one.
	dora := b.open(t, s.url+"/room/quiet")
	dora.until(t, `location.pathname === "/" && document.querySelector("#room").value === "quiet"`)
}

func TestBrowserDemo(t *testing.T) {
	b := startBrowser(t)
	s := start(t)
	p := b.open(t, s.url+"/demo")
	for n := range 3 {
		p.until(t, fmt.Sprintf(`Number(document.querySelector("#count").textContent) >= %d`, n+1))
	}
	s.stop(t, os.Interrupt)
	p.until(t, `!document.querySelector("#again").hidden`)
}

func TestBrowserAuth(t *testing.T) {
	b := startBrowser(t)
	s := authorized(t, "-session", "6s")
	p := b.open(t, s.url+"/room/lobby")
	p.until(t, `location.pathname + location.search === "/login?room=lobby"`)
	p.until(t, `(document.querySelector("[name=name]").value = "ada")`)
	p.typed(t, "[name=password]", "wrong")
	p.until(t, `document.querySelector(".problem").textContent.includes("not the password")`)
	in := func() {
		p.until(t, `(document.querySelector("[name=name]").value = "ada")`)
		p.typed(t, "[name=password]", testPassword)
		p.until(t, `location.pathname === "/room/lobby"`)
		p.connected(t)
	}
	in()
	cookie, err := p.eval(bounded(t), `document.cookie`)
	require.NoError(t, err)
	assert.Equal(t, "", cookie, "out of reach of scripts")
	p.typed(t, "#text", "in")
	p.shows(t, "ada", "in")
	// The session expires: 4401, and the page asks for another one.
	p.until(t, `location.pathname === "/login"`)
	in()
	// A server with another key refuses the handshake, and the page asks as well.
	s.stop(t, syscall.SIGTERM)
	s = startOn(t, s.addr, "-auth", "-password", testPassword)
	p.until(t, `location.pathname === "/login"`)
	in()
}

// Every page offers and uses the first subprotocol, and a token in the second.
func TestBrowserBearer(t *testing.T) {
	b := startBrowser(t)
	s := authorized(t)
	p := b.open(t, s.url+"/login")
	p.until(t, `location.pathname === "/login"`)
	got, err := p.eval(bounded(t), `(async () => {
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
		t.Skip("CHAT_SCREENSHOTS does not say where to put them")
	}
	b := startBrowser(t)
	s := start(t, "-push-token", "let-me-push")
	b.open(t, s.url).shoot(t, dir, "index")
	demo := b.open(t, s.url+"/demo")
	demo.until(t, `document.querySelector("#count").textContent === "3"`)
	demo.shoot(t, dir, "demo")
	login := b.open(t, authorized(t).url+"/room/lobby")
	login.until(t, `document.querySelector("[name=password]")`)
	login.shoot(t, dir, "login")

	grace := b.enter(t, s, "launch-day", "Grace")
	others := map[string]*peer{}
	for _, name := range []string{"Ada Lovelace", "Linus", "艾达", "Somebody with a rather long name"} {
		others[name], _ = join(t, s, "launch-day", name)
		grace.notes(t, name+" joined")
	}
	push := func(text string) {
		body, err := json.Marshal(object{"name": "build", "text": text})
		require.NoError(t, err)
		status, _ := do(t, "POST", s.url+"/rooms/launch-day/messages", string(body), map[string][]string{"Authorization": {"Bearer let-me-push"}})
		require.Equal(t, 202, status)
		grace.shows(t, "build", text)
	}
	say := func(name, text string) {
		others[name].say(t, text)
		grace.shows(t, name, text)
	}
	say("Ada Lovelace", "Morning! Are we still on for the release at ten?")
	grace.typed(t, "#text", "Yes. The last tests are running right now.")
	push("main is green: 1,204 tests passed in 41 s.")
	say("Linus", "Nice.")
	say("Linus", "I would still like somebody to look at the migration once more, the one with the two-step rename: it took four minutes on the copy of the production data, and nobody wants to wait that long with a lock held.")
	grace.typed(t, "#text", "On it.")
	grace.typed(t, "#text", "Looks fine to me, the second step is <b>not</b> inside the transaction 👍")
	say("艾达", "没问题，我来部署。 Ship it! 🚀")
	require.NoError(t, others["Linus"].Close(1000, ""))
	grace.notes(t, "Linus left")
	grace.shoot(t, dir, "room")
	s.stop(t, syscall.SIGTERM)
	grace.until(t, `document.querySelector("#state").dataset.state === "waiting"`)
	grace.typed(t, "#text", "not sent")
	grace.shoot(t, dir, "lost")
	startOn(t, s.addr)
	grace.connected(t)
	grace.notes(t, "Messages may have been missed")
	grace.shoot(t, dir, "back")
}

// shoot takes pictures of a page.
func (p *page) shoot(t *testing.T, dir, name string) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{1200, 390} {
			p.do(t, "Emulation.setDeviceMetricsOverride", object{"width": width, "height": 760, "deviceScaleFactor": 1, "mobile": false}, nil)
			p.do(t, "Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
			p.until(t, fmt.Sprintf(`innerWidth === %d && (!window.log || atEnd())`, width))
			var picture struct{ Data string }
			p.do(t, "Page.captureScreenshot", object{"format": "png"}, &picture)
			b, err := base64.StdEncoding.DecodeString(picture.Data)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)), b, 0o644))
		}
	}
}
