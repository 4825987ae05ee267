package group_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"rfc6455/conn"
	"rfc6455/conn/group"
)

// Rooms of a chat, and a page that tells a room something.
func Example() {
	var layer group.Layer
	mux := http.NewServeMux()
	mux.Handle("/ws/{room}", conn.Handler(func(ctx context.Context, c *conn.Conn) error {
		room := c.Request().PathValue("room")
		if err := layer.Add(ctx, room, c); err != nil {
			return err
		}
		if err := c.Write(ctx, conn.Text, []byte("welcome to the "+room)); err != nil {
			return err
		}
		for m, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			if err := layer.Send(ctx, room, m.Type, m.Data); err != nil {
				return err
			}
		}
		return nil
	}, nil))
	mux.HandleFunc("POST /dinner/{room}", func(w http.ResponseWriter, r *http.Request) {
		if err := layer.Send(r.Context(), r.PathValue("room"), conn.Text, []byte("dinner is ready")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	ctx := context.Background()
	enter := func(room string) *conn.Conn {
		c, _, err := conn.Dial(ctx, strings.Replace(server.URL, "http", "ws", 1)+"/ws/"+room, nil)
		if err != nil {
			panic(err)
		}
		return c
	}
	hear := func(name string, c *conn.Conn) {
		_, p, err := c.Read(ctx)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s hears: %s\n", name, p)
	}
	anna, ben, carl := enter("kitchen"), enter("kitchen"), enter("garden")
	defer anna.CloseNow()
	defer ben.CloseNow()
	defer carl.CloseNow()
	hear("anna", anna)
	hear("ben", ben)
	hear("carl", carl)

	anna.Write(ctx, conn.Text, []byte("who cooks?"))
	hear("anna", anna)
	hear("ben", ben)
	if _, err := http.Post(server.URL+"/dinner/garden", "", nil); err != nil {
		panic(err)
	}
	hear("carl", carl)

	// Output:
	// anna hears: welcome to the kitchen
	// ben hears: welcome to the kitchen
	// carl hears: welcome to the garden
	// anna hears: who cooks?
	// ben hears: who cooks?
	// carl hears: dinner is ready
}

// A message to everybody but its sender.
func ExampleLayer_SendExcept() {
	ctx := context.Background()
	var layer group.Layer
	anna, annaHere := conn.Pipe(nil, nil)
	ben, benHere := conn.Pipe(nil, nil)
	defer anna.CloseNow()
	defer ben.CloseNow()
	layer.Add(ctx, "kitchen", annaHere)
	layer.Add(ctx, "kitchen", benHere)

	layer.SendExcept(ctx, "kitchen", conn.Text, []byte("anna is typing"), annaHere)
	layer.Send(ctx, "kitchen", conn.Text, []byte("anna: hello"))
	_, p, _ := anna.Read(ctx)
	fmt.Printf("anna: %q\n", p)
	for range 2 {
		_, p, _ := ben.Read(ctx)
		fmt.Printf("ben: %q\n", p)
	}

	// Output:
	// anna: "anna: hello"
	// ben: "anna is typing"
	// ben: "anna: hello"
}

// wire is a broker, and station the way to it: the least that a Backplane does.
// It never loses anything, so there is never a gap.
type wire struct {
	mu       sync.Mutex
	stations []*station
}

type station struct {
	wire   *wire
	groups map[string]bool // under wire.mu
	in     chan letter
}

type letter struct {
	group string
	m     []byte
}

func (w *wire) station() *station {
	s := &station{wire: w, groups: make(map[string]bool), in: make(chan letter, 100)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stations = append(w.stations, s)
	return s
}

func (s *station) Publish(ctx context.Context, group string, m []byte) error {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	for _, other := range s.wire.stations {
		if other.groups[group] {
			other.in <- letter{group, bytes.Clone(m)}
		}
	}
	return nil
}

func (s *station) Subscribe(ctx context.Context, group string) error {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	s.groups[group] = true
	return nil
}

func (s *station) Unsubscribe(ctx context.Context, group string) error {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	delete(s.groups, group)
	return nil
}

func (s *station) Receive(ctx context.Context, deliver func(string, []byte), gap func(...string)) error {
	for {
		select {
		case l := <-s.in:
			deliver(l.group, l.m)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Two processes, which are joined by something that carries messages between
// them.
func ExampleBackplane() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var w wire
	berlin := &group.Layer{Backplane: w.station()}
	tokyo := &group.Layer{Backplane: w.station()}
	go berlin.Run(ctx)
	go tokyo.Run(ctx)

	anna, annaHere := conn.Pipe(nil, nil)
	ben, benHere := conn.Pipe(nil, nil)
	defer anna.CloseNow()
	defer ben.CloseNow()
	berlin.Add(ctx, "friends", annaHere)
	tokyo.Add(ctx, "friends", benHere)

	berlin.Send(ctx, "friends", conn.Text, []byte("hello from Berlin"))
	_, p, _ := anna.Read(ctx)
	fmt.Printf("anna: %s\n", p)
	_, p, _ = ben.Read(ctx)
	fmt.Printf("ben: %s\n", p)

	// Output:
	// anna: hello from Berlin
	// ben: hello from Berlin
}
