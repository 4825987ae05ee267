package rooms

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"rfc6455/conn"
	"rfc6455/conn/group"
)

// Chat is all the rooms. The layer knows who gets a room's messages, in which
// each room is a group, and presence who is there.
//
// In one process the events of a room are numbered. With a Backplane they come
// from several processes, which share no numbers.
type Chat struct {
	layer    *group.Layer
	presence Presence
	own      *memory // presence, if it is that of this process alone

	mu    sync.Mutex
	rooms map[string]*room // those that have members
}

// New returns the rooms of a layer, and has its Gap tell the members of a room. A
// nil layer is one of this process, and a nil presence tells of this process
// alone, to its own members.
func New(layer *group.Layer, presence Presence) *Chat {
	if layer == nil {
		layer = new(group.Layer)
	}
	ch := &Chat{layer: layer, presence: presence, rooms: make(map[string]*room)}
	if presence == nil {
		ch.own = new(memory)
		ch.presence = ch.own
	}
	layer.Gap = ch.gap
	return ch
}

// Run receives what other processes send, until ctx ends or that cannot go on.
func (ch *Chat) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	present := make(chan error, 1)
	go func() {
		defer cancel()
		present <- ch.presence.Run(ctx, ch.changed)
	}()
	err := ch.layer.Run(ctx)
	cancel()
	return cmp.Or(<-present, err)
}

// room is a room while it has members.
type room struct {
	name    string
	life    string // tells this room from a later one of the same name; "": nothing is numbered
	members int    // under Chat.mu

	// In one process it is held while an event is numbered and queued, so that all
	// see the same order. It locks nothing where nothing is numbered: no lock is
	// held while others are told over the network.
	sync.Locker
	n, messages int64
}

// unlocked is a Locker that does nothing.
type unlocked struct{}

func (unlocked) Lock()   {}
func (unlocked) Unlock() {}

// member is one connection to a room.
type member struct {
	*Chat
	room *room
	name string
	id   string
	c    *conn.Conn
}

// validRoom refuses what cannot be a room, before any handshake.
func validRoom(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := checkRoom(r.PathValue("room")); err != nil {
			http.Error(w, "there is no such room: "+err.Error(), http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve is a connection's life: connect, receive for each message, disconnect
// however it ends.
func (ch *Chat) serve(ctx context.Context, c *conn.Conn) error {
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
			m.send(Event{Type: "error", Text: err.Error()})
		}
	}
	return nil
}

// connect brings a member into its room.
func (ch *Chat) connect(ctx context.Context, c *conn.Conn, roomName, name string) (*member, error) {
	m := &member{Chat: ch, room: ch.enter(roomName), name: name, id: rand.Text(), c: c}
	r := m.room
	r.Lock()
	defer r.Unlock()
	if err := ch.layer.Add(ctx, r.name, c); err != nil {
		ch.exit(r)
		return nil, err
	}
	ch.announce(ctx, r, ch.presence.Join(ctx, r.name, name, m.id), c)
	m.welcome(ctx)
	return m, nil
}

// receive deals with a message from the page. The error is for the page.
func (m *member) receive(ctx context.Context, message conn.Message) error {
	var req Request
	if message.Type != conn.Text || json.Unmarshal(message.Data, &req) != nil {
		return errors.New(`a message is text in JSON, such as {"type": "message", "text": "hello"}`)
	}
	switch req.Type {
	case "message":
		text, err := checkText(req.Text)
		if err != nil {
			return err
		}
		m.room.Lock()
		defer m.room.Unlock()
		return m.tell(ctx, m.room, Event{Type: "message", Name: m.name, Text: text}, nil)
	case "who":
		m.room.Lock()
		defer m.room.Unlock()
		m.welcome(ctx)
		return nil
	}
	return fmt.Errorf("there are no messages of type %.20q", req.Type)
}

// disconnect takes a member out of its room.
func (m *member) disconnect(ctx context.Context) {
	r := m.room
	r.Lock()
	m.layer.Discard(r.name, m.c)
	m.announce(ctx, r, m.presence.Leave(ctx, r.name, m.name, m.id), m.c)
	r.Unlock()
	m.exit(r)
}

// push is a plain HTTP handler that sends a message to a room:
//
//	POST /rooms/{room}/messages   {"name": "build", "text": "All tests pass."}
//
// The answer tells how many members of this process it was sent to.
func (ch *Chat) push(w http.ResponseWriter, r *http.Request) {
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
	room := ch.enter(r.PathValue("room"))
	defer ch.exit(room)
	room.Lock()
	err = ch.tell(r.Context(), room, Event{Type: "message", Name: name, Text: e.Text, Pushed: true}, nil)
	members := ch.layer.Len(room.name)
	room.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	writeJSON(w, http.StatusAccepted, map[string]int{"members": members})
}

var errApart = errors.New("this may have reached only some of the members: the connection to the others is lost")

// tell numbers an event and sends it to the members of a room, but for one. In
// one process under the room's lock.
func (ch *Chat) tell(ctx context.Context, r *room, e Event, except *conn.Conn) error {
	e.Time = time.Now()
	if r.life != "" {
		r.n++
		e.N = r.n
		if e.Type == "message" {
			r.messages++
		}
	}
	p, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if ch.own != nil && e.Type != "message" {
		return ch.tellHere(r, p, except)
	}
	if err := ch.layer.SendExcept(ctx, r.name, conn.Text, p, except); err != nil {
		if ch.layer.Logger != nil {
			ch.layer.Logger.Warn("a message has not reached everybody", "room", r.name, "error", err)
		}
		return errApart
	}
	return nil
}

// tellHere sends to the members of this process alone.
func (ch *Chat) tellHere(r *room, p []byte, except *conn.Conn) error {
	m, err := conn.Prepare(conn.Text, p)
	if err != nil {
		return err
	}
	for _, c := range ch.layer.Members(r.name) {
		if c != except {
			c.SendPrepared(m)
		}
	}
	return nil
}

// announce tells a room, but for one member, who has come and gone. In one process
// under the room's lock.
func (ch *Chat) announce(ctx context.Context, r *room, c Change, except *conn.Conn) {
	for _, e := range []Event{{Type: "join", Names: c.Joined}, {Type: "leave", Names: c.Left}} {
		switch len(e.Names) {
		case 0:
			continue
		case 1:
			e.Name, e.Names = e.Names[0], nil
		}
		e.Order = c.Order
		ch.tell(ctx, r, e, except)
	}
}

// changed is told what Presence found out by itself.
func (ch *Chat) changed(room string, c Change) {
	r := ch.enter(room)
	defer ch.exit(r)
	r.Lock()
	defer r.Unlock()
	ch.announce(context.Background(), r, c, nil)
}

// gap tells the members of a room in this process that they may have missed what
// others sent.
func (ch *Chat) gap(room string) {
	p, err := json.Marshal(Event{Type: "gap"})
	if err == nil {
		ch.layer.SendHere(room, conn.Text, p)
	}
}

// welcome tells a member how things stand. In one process under the room's lock.
func (m *member) welcome(ctx context.Context) {
	r := m.room
	present, order := m.presence.Present(ctx, r.name)
	m.send(Welcome{
		Type: "welcome", Name: m.name, Present: append([]string{}, present...), Order: order, // never null
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

// enter returns a room for one more member, or for whoever has something to tell.
func (ch *Chat) enter(name string) *room {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	r := ch.rooms[name]
	if r == nil {
		r = &room{name: name, Locker: unlocked{}}
		if ch.layer.Backplane == nil {
			r.life, r.Locker = rand.Text(), new(sync.Mutex)
		}
		ch.rooms[name] = r
	}
	r.members++
	return r
}

// exit forgets a room with its last member.
func (ch *Chat) exit(r *room) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if r.members--; r.members == 0 {
		delete(ch.rooms, r.name)
	}
}

// checkRoom returns an error for what cannot be the name of a room: what cannot be
// that of a group, or be in a URL. Browsers take %2e%2e for dots as well.
func checkRoom(name string) error {
	if group.CheckName(name) != nil {
		return errors.New("a name is 1 to 99 of the characters A-Z a-z 0-9 . _ -")
	}
	if name == "." || name == ".." {
		return errors.New("a name is not . or .. alone, since a browser takes them out of a URL")
	}
	return nil
}

func checkText(text string) (string, error) {
	text = strings.TrimSpace(text)
	if n := utf8.RuneCountInString(text); n == 0 || n > maxText {
		return "", fmt.Errorf("a text has 1 to %d characters, not %d", maxText, n)
	}
	return text, nil
}
