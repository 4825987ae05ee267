//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/examples/cluster/brokers"
)

// browser is a headless Chromium, which is told what to do over a WebSocket: see
// https://chromedevtools.github.io/devtools-protocol/. It is the one of the tests of
// examples/chat, which cannot be imported.
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

// enter opens a page and goes through the first form.
func (b *browser) enter(t *testing.T, s *process, room, name string) *page {
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

// gaps waits until a page has shown so many times that something may be missing.
func (p *page) gaps(t *testing.T, times int) {
	t.Helper()
	p.until(t, fmt.Sprintf(`document.querySelectorAll(".gap").length === %d`, times))
	p.notes(t, "Messages may have been missed")
}

// present waits until a page shows exactly these.
func (p *page) present(t *testing.T, names string) {
	t.Helper()
	p.until(t, fmt.Sprintf(`[...document.querySelectorAll("#present bdi")].map((e) => e.textContent).join() === %q`, names))
}

// Two windows on two processes chat with each other, over a restart of Redis and
// one of a process.
func TestBrowser(t *testing.T) {
	redis := brokers.Redis(t)
	b := startBrowser(t)
	one, two := start(t, "-redis", redis.URL), start(t, "-redis", redis.URL)
	ada, bob := b.enter(t, one, "lobby", "ada"), b.enter(t, two, "lobby", "bob")
	ada.notes(t, "bob joined")
	for _, p := range []*page{ada, bob} {
		p.present(t, "ada,bob")
	}
	ada.typed(t, "#text", "Hello, Bob!")
	for _, p := range []*page{ada, bob} {
		p.shows(t, "ada", "Hello, Bob!")
		p.until(t, `document.querySelectorAll(".gap").length === 0`)
	}

	redis.Kill(t)
	ada.typed(t, "#text", "Where are you?")
	ada.shows(t, "ada", "Where are you?")
	ada.until(t, `document.querySelector("#problem").textContent.includes("only some of the members")`)
	redis.Restart(t)
	for _, p := range []*page{ada, bob} {
		p.gaps(t, 1)
	}
	for _, p := range []*page{ada, bob} {
		p.present(t, "ada,bob")
	}
	// A message may still meet a connection from before, which its sender is told.
	bob.typed(t, "#text", "Is it back?")
	bob.shows(t, "bob", "Is it back?")
	bob.typed(t, "#text", "Here!")
	ada.shows(t, "bob", "Here!")

	addr := strings.TrimPrefix(one.url, "http://")
	one.stop(t)
	bob.present(t, "bob")
	ada.until(t, `document.querySelector("#state").dataset.state === "waiting"`)
	bob.typed(t, "#text", "To nobody.")
	bob.shows(t, "bob", "To nobody.")
	start(t, "-redis", redis.URL, "-addr", addr)
	ada.connected(t)
	ada.gaps(t, 2)
	bob.gaps(t, 1)
	for _, p := range []*page{ada, bob} {
		p.present(t, "ada,bob")
	}
}
