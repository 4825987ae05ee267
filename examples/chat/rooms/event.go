package rooms

import "time"

const (
	subprotocol = "chat.v1"
	maxText     = 2000     // characters of a message; page/room.html says so, too
	maxBytes    = 32 << 10 // of a message in JSON, in which a character may take 12
)

// Request is what a page sends:
//
//	{"type": "message", "text": "hello"}
//	{"type": "who"}                          asks for another welcome
type Request struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// Event is what a page is sent, but for a [Welcome]:
//
//	{"type": "message", "n": 7, "time": "...", "name": "ada", "text": "hello"}
//	{"type": "join", "n": 8, "time": "...", "name": "bob"}
//	{"type": "leave", "n": 9, "time": "...", "name": "bob"}
//	{"type": "gap"}                          what other processes sent may have been missed
//	{"type": "error", "text": "what was wrong with its message"}
type Event struct {
	Type   string    `json:"type"`
	N      int64     `json:"n,omitempty"` // counts the events of a room: where one is missing, it was dropped
	Time   time.Time `json:"time,omitzero"`
	Name   string    `json:"name,omitempty"`
	Text   string    `json:"text,omitempty"`
	Pushed bool      `json:"pushed,omitempty"` // came by a plain HTTP request
	Names  []string  `json:"names,omitempty"`  // of a join or a leave, instead of Name, if they are several
	Order  int64     `json:"order,omitempty"`  // see Change
}

// Welcome tells how things stand. A page that had another one before, from the
// same life of the room, can tell from Messages how many it has missed.
type Welcome struct {
	Type     string   `json:"type"`
	Name     string   `json:"name"` // who you are
	Present  []string `json:"present"`
	Order    int64    `json:"order,omitempty"`    // of Present: earlier joins and leaves are in it
	N        int64    `json:"n,omitempty"`        // of the last event
	Messages int64    `json:"messages,omitempty"` // so far
	Life     string   `json:"life,omitempty"`     // none: nothing is numbered
}
