package group

import (
	"hash/maphash"
	"sync"
)

// members knows who is in which group. It is a pure structure: M is whatever
// belongs to groups. It is safe for concurrent use.
//
// Groups are spread over shards by their names, so that joining and leaving one
// does not wait for another. A member's own list of groups is kept by its owner,
// see Layer.
type members[M comparable] struct {
	seed   maphash.Seed
	shards [64]shard[M]
}

type shard[M comparable] struct {
	mu     sync.Mutex
	groups map[string]*set[M]
}

// set is the members of a group, in no order. index[all[i]] == i.
type set[M comparable] struct {
	all   []M
	index map[M]int
}

func newMembers[M comparable]() *members[M] {
	m := &members[M]{seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].groups = make(map[string]*set[M])
	}
	return m
}

func (m *members[M]) shard(group string) *shard[M] {
	return &m.shards[maphash.String(m.seed, group)%uint64(len(m.shards))]
}

// add puts a member into a group. It reports whether it was not there before,
// and whether it is the first one.
func (m *members[M]) add(group string, member M) (added, first bool) {
	s := m.shard(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group]
	if g == nil {
		g = &set[M]{index: make(map[M]int, 1)}
		s.groups[group] = g
	}
	if _, ok := g.index[member]; ok {
		return false, false
	}
	g.index[member] = len(g.all)
	g.all = append(g.all, member)
	return true, len(g.all) == 1
}

// remove takes a member out of a group. It reports whether it was there, and
// whether it was the last one.
func (m *members[M]) remove(group string, member M) (removed, last bool) {
	s := m.shard(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[group]
	if g == nil {
		return false, false
	}
	i, ok := g.index[member]
	if !ok {
		return false, false
	}
	end := len(g.all) - 1
	moved := g.all[end]
	g.all[i] = moved
	g.index[moved] = i
	clear(g.all[end:]) // for the garbage collector
	g.all = g.all[:end]
	delete(g.index, member)
	if end == 0 {
		delete(s.groups, group)
		return true, true
	}
	if cap(g.all) > 64 && end < cap(g.all)/4 {
		g.all = append(make([]M, 0, cap(g.all)/2), g.all...)
	}
	return true, false
}

// of appends the members of a group to dst.
func (m *members[M]) of(dst []M, group string) []M {
	s := m.shard(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[group]; g != nil {
		dst = append(dst, g.all...)
	}
	return dst
}

// size returns how many members a group has.
func (m *members[M]) size(group string) int {
	s := m.shard(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[group]; g != nil {
		return len(g.all)
	}
	return 0
}

// names returns the groups that have members, in no order.
func (m *members[M]) names() []string {
	var names []string
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for name := range s.groups {
			names = append(names, name)
		}
		s.mu.Unlock()
	}
	return names
}
