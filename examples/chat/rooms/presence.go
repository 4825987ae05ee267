package rooms

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Presence knows which names are in which rooms. A name is in a room while at
// least one connection of that name is. Its methods may be called from any
// goroutine, and none fails: a Presence that depends on something which may be
// out of reach goes on with what it knows.
type Presence interface {
	// Join says that a connection has come into a room, and Leave that it has gone.
	// id tells it from all others. They return what that has changed, and what else
	// they found changed, for the room to be told.
	Join(ctx context.Context, room, name, id string) Change
	Leave(ctx context.Context, room, name, id string) Change

	// Present returns the names in a room, sorted, and the Order of the last change
	// that they reflect.
	Present(ctx context.Context, room string) (names []string, order int64)

	// Run does what has to be done all the time, until ctx ends. It calls tell for
	// what it finds changed in rooms in which there are connections of this process.
	Run(ctx context.Context, tell func(room string, c Change)) error
}

// Change is who came into a room, first of that name, and who left it, last of
// that name.
type Change struct {
	Joined, Left []string
	// Order is larger for later changes of a room, which may arrive in another
	// order when several processes tell of them. 0 says that they cannot.
	Order int64
}

// memory is the Presence of one process.
type memory struct {
	mu    sync.Mutex
	rooms map[string]map[string]int // how many connections a name has; never empty
}

func (p *memory) Join(_ context.Context, room, name, _ string) (c Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rooms == nil {
		p.rooms = make(map[string]map[string]int)
	}
	names := p.rooms[room]
	if names == nil {
		names = make(map[string]int)
		p.rooms[room] = names
	}
	if names[name]++; names[name] == 1 {
		c.Joined = []string{name}
	}
	return c
}

func (p *memory) Leave(_ context.Context, room, name, _ string) (c Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := p.rooms[room]
	if names[name]--; names[name] == 0 {
		delete(names, name)
		c.Left = []string{name}
	}
	if len(names) == 0 {
		delete(p.rooms, room)
	}
	return c
}

func (p *memory) Present(_ context.Context, room string) (names []string, order int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.rooms[room])), 0
}

func (p *memory) Run(ctx context.Context, _ func(string, Change)) error {
	<-ctx.Done()
	return ctx.Err()
}
