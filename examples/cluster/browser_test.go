//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/examples/cluster/brokers"
	"rfc6455/testdata/browser"
)

// page is one of the chat's, in a browser.
type page struct{ *browser.Page }

func open(t *testing.T, b *browser.Browser, where string) *page {
	t.Helper()
	return &page{b.Open(t, where)}
}

// enter opens a page and goes through the first form.
func enter(t *testing.T, b *browser.Browser, s *process, room, name string) *page {
	t.Helper()
	p := open(t, b, s.url+"/?room="+url.QueryEscape(room))
	p.Type(t, "#name", name)
	p.connected(t)
	return p
}

func (p *page) connected(t *testing.T) {
	t.Helper()
	p.Until(t, `document.querySelector("#state").dataset.state === "connected"`)
}

// shows waits for a message from somebody.
func (p *page) shows(t *testing.T, name, text string) {
	t.Helper()
	who, err := json.Marshal(name)
	require.NoError(t, err)
	what, err := json.Marshal(text)
	require.NoError(t, err)
	p.Until(t, fmt.Sprintf(`[...document.querySelectorAll(".message")].some((m) =>
		m.querySelector(".name").textContent === %s && [...m.querySelectorAll(".text")].some((x) => x.textContent === %s))`, who, what))
}

// notes waits for a line between the messages.
func (p *page) notes(t *testing.T, text string) {
	t.Helper()
	p.Until(t, fmt.Sprintf(`[...document.querySelectorAll(".note, .gap")].some((e) => e.textContent.startsWith(%q))`, text))
}

// gaps waits until a page has shown so many times that something may be missing.
func (p *page) gaps(t *testing.T, times int) {
	t.Helper()
	p.Until(t, fmt.Sprintf(`document.querySelectorAll(".gap").length === %d`, times))
	p.notes(t, "Messages may have been missed")
}

// present waits until a page shows exactly these.
func (p *page) present(t *testing.T, names string) {
	t.Helper()
	p.Until(t, fmt.Sprintf(`[...document.querySelectorAll("#present bdi")].map((e) => e.textContent).join() === %q`, names))
}

// Two windows on two processes chat with each other, over a restart of Redis and
// one of a process.
func TestBrowser(t *testing.T) {
	redis := brokers.Redis(t)
	b := browser.Start(t)
	one, two := start(t, "-redis", redis.URL), start(t, "-redis", redis.URL)
	ada, bob := enter(t, b, one, "lobby", "ada"), enter(t, b, two, "lobby", "bob")
	ada.notes(t, "bob joined")
	for _, p := range []*page{ada, bob} {
		p.present(t, "ada,bob")
	}
	ada.Type(t, "#text", "Hello, Bob!")
	for _, p := range []*page{ada, bob} {
		p.shows(t, "ada", "Hello, Bob!")
		p.Until(t, `document.querySelectorAll(".gap").length === 0`)
	}

	redis.Kill(t)
	ada.Type(t, "#text", "Where are you?")
	ada.shows(t, "ada", "Where are you?")
	ada.Until(t, `document.querySelector("#problem").textContent.includes("only some of the members")`)
	redis.Restart(t)
	for _, p := range []*page{ada, bob} {
		p.gaps(t, 1)
	}
	for _, p := range []*page{ada, bob} {
		p.present(t, "ada,bob")
	}
	// A message may still meet a connection from before, which its sender is told.
	bob.Type(t, "#text", "Is it back?")
	bob.shows(t, "bob", "Is it back?")
	bob.Type(t, "#text", "Here!")
	ada.shows(t, "bob", "Here!")

	addr := strings.TrimPrefix(one.url, "http://")
	one.stop(t)
	bob.present(t, "bob")
	ada.Until(t, `document.querySelector("#state").dataset.state === "waiting"`)
	bob.Type(t, "#text", "To nobody.")
	bob.shows(t, "bob", "To nobody.")
	start(t, "-redis", redis.URL, "-addr", addr)
	ada.connected(t)
	ada.gaps(t, 2)
	bob.gaps(t, 1)
	for _, p := range []*page{ada, bob} {
		p.present(t, "ada,bob")
	}
}
