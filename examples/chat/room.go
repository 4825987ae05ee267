package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"rfc6455/conn"
	"rfc6455/conn/group"
)

const (
	subprotocol = "chat.v1"
	maxText     = 2000     // characters of a message; page/room.html says so, too
	maxBytes    = 32 << 10 // of a message in JSON, in which a character may take 12
)

// What a page sends:
//
//	{"type": "message", "text": "hello"}
//	{"type": "who"}                          asks for another welcome
type request struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// What it is sent:
//
//	{"type": "message", "n": 7, "time": "...", "name": "ada", "text": "hello"}
//	{"type": "join", "n": 8, "time": "...", "name": "bob"}
//	{"type": "leave", "n": 9, "time": "...", "name": "bob"}
//	{"type": "error", "text": "what was wrong with its message"}
//	{"type": "welcome", ...}
type event struct {
	Type   string    `json:"type"`
	N      int64     `json:"n,omitempty"` // counts the events of a room: where one is missing, it was dropped
	Time   time.Time `json:"time,omitzero"`
	Name   string    `json:"name,omitempty"`
	Text   string    `json:"text,omitempty"`
	Pushed bool      `json:"pushed,omitempty"` // came by a plain HTTP request
}

// welcome tells how things stand. A page that had another one before, from the
// same life of the room, can tell from Messages how many it has missed.
type welcome struct {
	Type     string   `json:"type"`
	Name     string   `json:"name"` // who you are
	Present  []string `json:"present"`
	N        int64    `json:"n"`        // of the last event
	Messages int64    `json:"messages"` // so far
	Life     string   `json:"life"`
}

// chat is all the rooms. The layer knows who gets a room's messages, in which
// each room is a group; the rest is for the sake of presence.
type chat struct {
	layer group.Layer

	mu    sync.Mutex
	rooms map[string]*room // those that have members
}

// room is a room while it has members.
type room struct {
	name    string
	life    string // tells this room from a later one of the same name
	members int    // under chat.mu

	mu          sync.Mutex // held while an event is numbered and queued: all see the same order
	n, messages int64
	present     map[string]int // how many connections a name has
}

// member is one connection to a room.
type member struct {
	*chat
	room *room
	name string
	c    *conn.Conn
}

// validRoom refuses what cannot be a room, before any handshake.
func validRoom(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if group.CheckName(r.PathValue("room")) != nil {
			http.Error(w, "there is no such room: a name is 1 to 99 of the characters A-Z a-z 0-9 . _ -", http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve is a connection's life: connect, receive for each message, disconnect
// however it ends.
func (ch *chat) serve(ctx context.Context, c *conn.Conn) error {
	m, err := ch.connect(ctx, c, c.Request().PathValue("room"), userOf(ctx).Name)
	if err != nil {
		return err
	}
	defer m.disconnect(context.WithoutCancel(ctx))
	for message, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		if err := m.receive(ctx, message); err != nil {
			m.send(event{Type: "error", Text: err.Error()})
		}
	}
	return nil
}

// connect brings a member into its room.
func (ch *chat) connect(ctx context.Context, c *conn.Conn, roomName, name string) (*member, error) {
	m := &member{chat: ch, room: ch.enter(roomName), name: name, c: c}
	r := m.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ch.layer.Add(ctx, r.name, c); err != nil {
		ch.exit(r)
		return nil, err
	}
	if r.present[name]++; r.present[name] == 1 {
		ch.tell(ctx, r, event{Type: "join", Name: name}, c)
	}
	m.welcome()
	return m, nil
}

// receive deals with a message from the page. The error is for the page.
func (m *member) receive(ctx context.Context, message conn.Message) error {
	var req request
	if message.Type != conn.Text || json.Unmarshal(message.Data, &req) != nil {
		return errors.New(`a message is text in JSON, such as {"type": "message", "text": "hello"}`)
	}
	switch req.Type {
	case "message":
		text, err := checkText(req.Text)
		if err != nil {
			return err
		}
		m.room.mu.Lock()
		defer m.room.mu.Unlock()
		return m.tell(ctx, m.room, event{Type: "message", Name: m.name, Text: text}, nil)
	case "who":
		m.room.mu.Lock()
		defer m.room.mu.Unlock()
		m.welcome()
		return nil
	}
	return fmt.Errorf("there are no messages of type %.20q", req.Type)
}

// disconnect takes a member out of its room.
func (m *member) disconnect(ctx context.Context) {
	r := m.room
	r.mu.Lock()
	m.layer.Discard(r.name, m.c)
	if r.present[m.name]--; r.present[m.name] == 0 {
		delete(r.present, m.name)
		m.tell(ctx, r, event{Type: "leave", Name: m.name}, m.c)
	}
	r.mu.Unlock()
	m.exit(r)
}

// push is a plain HTTP handler that sends a message to a room:
//
//	POST /rooms/{room}/messages   {"name": "build", "text": "All tests pass."}
//
// The answer tells how many members it was sent to.
func (ch *chat) push(w http.ResponseWriter, r *http.Request) {
	var e struct{ Name, Text string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBytes)).Decode(&e); err != nil {
		http.Error(w, `the body is not {"name": "...", "text": "..."}: `+err.Error(), http.StatusBadRequest)
		return
	}
	name, err := checkUser(e.Name)
	if err == nil {
		e.Text, err = checkText(e.Text)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	members := 0
	ch.mu.Lock()
	room := ch.rooms[r.PathValue("room")]
	ch.mu.Unlock()
	if room != nil {
		room.mu.Lock()
		err = ch.tell(r.Context(), room, event{Type: "message", Name: name, Text: e.Text, Pushed: true}, nil)
		members = ch.layer.Len(room.name)
		room.mu.Unlock()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	writeJSON(w, http.StatusAccepted, map[string]int{"members": members})
}

// tell numbers an event and sends it to the members of a room, but for one. Under
// r.mu.
func (ch *chat) tell(ctx context.Context, r *room, e event, except *conn.Conn) error {
	r.n++
	if e.Type == "message" {
		r.messages++
	}
	e.N, e.Time = r.n, time.Now()
	p, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return ch.layer.SendExcept(ctx, r.name, conn.Text, p, except)
}

// welcome tells a member how things stand. Under room.mu.
func (m *member) welcome() {
	r := m.room
	m.send(welcome{
		Type: "welcome", Name: m.name, Present: slices.Sorted(maps.Keys(r.present)),
		N: r.n, Messages: r.messages, Life: r.life,
	})
}

// send queues a message for one member. It does not wait, nor care: a connection
// that is over is noticed where it is read.
func (m *member) send(v any) {
	if p, err := json.Marshal(v); err == nil {
		m.c.Send(conn.Text, p)
	}
}

// enter returns a room for one more member.
func (ch *chat) enter(name string) *room {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	r := ch.rooms[name]
	if r == nil {
		r = &room{name: name, life: rand.Text(), present: make(map[string]int)}
		if ch.rooms == nil {
			ch.rooms = make(map[string]*room)
		}
		ch.rooms[name] = r
	}
	r.members++
	return r
}

// exit forgets a room with its last member.
func (ch *chat) exit(r *room) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if r.members--; r.members == 0 {
		delete(ch.rooms, r.name)
	}
}

func checkText(text string) (string, error) {
	text = strings.TrimSpace(text)
	if n := utf8.RuneCountInString(text); n == 0 || n > maxText {
		return "", fmt.Errorf("a text has 1 to %d characters, not %d", maxText, n)
	}
	return text, nil
}
