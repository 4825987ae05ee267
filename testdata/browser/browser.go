//go:build unix

// Package browser drives a headless Chromium in tests.
package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rfc6455/conn"
)

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 60 * time.Second

// bounded returns a context that lives as long as the test's patience.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Browser is a headless Chromium, which is told what to do over a WebSocket: see
// https://chromedevtools.github.io/devtools-protocol/.
type Browser struct {
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

// Start starts one until the end of the test. Without one the test is
// skipped, and fails where CI=true.
func Start(t testing.TB) *Browser {
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
			t.Fatal("no chromium, chromium-browser or google-chrome on PATH")
		}
		t.Skip("no chromium, chromium-browser or google-chrome on PATH: the browser test needs one")
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := cmd.StderrPipe()
	check(t, err)
	check(t, cmd.Start())
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
	b := &Browser{waiting: map[int]chan answer{}}
	select {
	case address := <-at:
		b.c, _, err = conn.Dial(ctx, address, &conn.DialOptions{Options: conn.Options{ReadLimit: -1}})
		check(t, err)
	case <-ctx.Done():
		t.Fatal("the browser does not start")
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
func (b *Browser) call(ctx context.Context, session, method string, params, result any) error {
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

// Object is JSON's.
type Object = map[string]any

// Page is a window of the browser.
type Page struct {
	b       *Browser
	session string
}

// Open opens a page.
func (b *Browser) Open(t testing.TB, where string) *Page {
	t.Helper()
	var made struct{ TargetID, SessionID string }
	check(t, b.call(bounded(t), "", "Target.createTarget", Object{"url": "about:blank", "newWindow": true}, &made))
	check(t, b.call(bounded(t), "", "Target.attachToTarget", Object{"targetId": made.TargetID, "flatten": true}, &made))
	p := &Page{b, made.SessionID}
	p.Do(t, "Page.navigate", Object{"url": where}, nil)
	return p
}

// Do calls a method of the page and puts what it returns into result, if that is not
// nil.
func (p *Page) Do(t testing.TB, method string, params, result any) {
	t.Helper()
	check(t, p.b.call(bounded(t), p.session, method, params, result))
}

// Eval returns the value of an expression, a promise's too.
func (p *Page) Eval(ctx context.Context, expression string) (any, error) {
	var out struct {
		Result           struct{ Value any }
		ExceptionDetails any
	}
	err := p.b.call(ctx, p.session, "Runtime.evaluate", Object{"expression": expression, "awaitPromise": true, "returnByValue": true}, &out)
	if err == nil && out.ExceptionDetails != nil {
		err = fmt.Errorf("%s: %v", expression, out.ExceptionDetails)
	}
	return out.Result.Value, err
}

// Until waits until an expression is true, over loads of the page.
func (p *Page) Until(t testing.TB, expression string) {
	t.Helper()
	ctx := bounded(t)
	for {
		v, err := p.Eval(ctx, `new Promise((resolve) => {
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
			text, _ := p.Eval(t.Context(), `location.href + "\n" + document.body.innerText`)
			t.Fatalf("it never happens: %s (%v)\non the page: %v", expression, err, text)
		}
	}
}

// Type is what a user does: text into what has the focus, and Enter.
func (p *Page) Type(t testing.TB, focus, text string) {
	t.Helper()
	p.Until(t, `(document.querySelector("`+focus+`").focus(), document.activeElement.matches("`+focus+`"))`)
	p.Do(t, "Input.insertText", Object{"text": text}, nil)
	p.Key(t, "Enter", 0)
}

// Key presses a key that is no character, such as Enter.
func (p *Page) Key(t testing.TB, key string, modifiers int) {
	t.Helper()
	event := Object{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": 13, "text": "\r", "modifiers": modifiers}
	p.Do(t, "Input.dispatchKeyEvent", event, nil)
	p.Do(t, "Input.dispatchKeyEvent", Object{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": 13}, nil)
}

// Click clicks on the element that a selector finds.
func (p *Page) Click(t testing.TB, selector string) {
	t.Helper()
	p.Until(t, `(document.querySelector("`+selector+`").click(), true)`)
}
