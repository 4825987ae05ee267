//go:build unix

package browser

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
)

// Chat is a page of examples/chat, which examples/cluster serves, too.
type Chat struct{ *Page }

// Enter opens the first page of the chat at base, and goes through its form.
func (b *Browser) Enter(t testing.TB, base, room, name string) Chat {
	t.Helper()
	p := Chat{b.Open(t, base+"/?room="+url.QueryEscape(room))}
	p.Type(t, "#name", name)
	p.Connected(t)
	return p
}

// Connected waits until the page says so.
func (p Chat) Connected(t testing.TB) {
	t.Helper()
	p.Until(t, `document.querySelector("#state").dataset.state === "connected"`)
}

// Shows waits for a message from somebody.
func (p Chat) Shows(t testing.TB, name, text string) {
	t.Helper()
	who, err := json.Marshal(name)
	check(t, err)
	what, err := json.Marshal(text)
	check(t, err)
	p.Until(t, fmt.Sprintf(`[...document.querySelectorAll(".message")].some((m) =>
		m.querySelector(".name").textContent === %s && [...m.querySelectorAll(".text")].some((x) => x.textContent === %s))`, who, what))
}

// Notes waits for a line between the messages.
func (p Chat) Notes(t testing.TB, text string) {
	t.Helper()
	p.Until(t, fmt.Sprintf(`[...document.querySelectorAll(".note, .gap")].some((e) => e.textContent.startsWith(%q))`, text))
}
