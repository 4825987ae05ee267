//go:build unix

package main

import (
	"fmt"
	"strings"
	"testing"

	"rfc6455/examples/cluster/brokers"
	"rfc6455/testdata/browser"
)

// page is one of the chat's, in a browser.
type page struct{ browser.Chat }

func open(t *testing.T, b *browser.Browser, where string) *page {
	t.Helper()
	return &page{browser.Chat{Page: b.Open(t, where)}}
}

// enter opens a page and goes through the first form.
func enter(t *testing.T, b *browser.Browser, s *process, room, name string) *page {
	t.Helper()
	return &page{b.Enter(t, s.url, room, name)}
}

// gaps waits until a page has shown so many times that something may be missing.
func (p *page) gaps(t *testing.T, times int) {
	t.Helper()
	p.Until(t, fmt.Sprintf(`document.querySelectorAll(".gap").length === %d`, times))
	p.Notes(t, "Messages may have been missed")
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
	ada.Notes(t, "bob joined")
	for _, p := range []*page{ada, bob} {
		p.present(t, "ada,bob")
	}
	ada.Type(t, "#text", "Hello, Bob!")
	for _, p := range []*page{ada, bob} {
		p.Shows(t, "ada", "Hello, Bob!")
		p.Until(t, `document.querySelectorAll(".gap").length === 0`)
	}

	redis.Kill(t)
	ada.Type(t, "#text", "Where are you?")
	ada.Shows(t, "ada", "Where are you?")
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
	bob.Shows(t, "bob", "Is it back?")
	bob.Type(t, "#text", "Here!")
	ada.Shows(t, "bob", "Here!")

	addr := strings.TrimPrefix(one.url, "http://")
	one.stop(t)
	bob.present(t, "bob")
	ada.Until(t, `document.querySelector("#state").dataset.state === "waiting"`)
	bob.Type(t, "#text", "To nobody.")
	bob.Shows(t, "bob", "To nobody.")
	start(t, "-redis", redis.URL, "-addr", addr)
	ada.Connected(t)
	ada.gaps(t, 2)
	bob.gaps(t, 1)
	for _, p := range []*page{ada, bob} {
		p.present(t, "ada,bob")
	}
}
