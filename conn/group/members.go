package group

import (
	"hash/maphash"
	"sync"
)

// members knows who is in which group, both ways round. It is a pure structure:
// M is whatever belongs to groups. It is safe for concurrent use.
//
// Groups are spread over shards by their names and members by their values, so
// that joining and leaving one does not wait for another. A member's shard is
// locked before a group's, and one of each at most.
//
// m is in the set of g if and only if g is in the set of m.
type members[M comparable] struct {
	seed   maphash.Seed
	groups [64]shard[string, M]
	owners [64]shard[M, string]
}

// shard is the sets of some groups, or of some members. The set of a group is
// never empty; that of a member may be, until it is forgotten.
type shard[K, V comparable] struct {
	mu   sync.Mutex
	sets map[K]*set[V]
}

func newMembers[M comparable]() *members[M] {
	m := &members[M]{seed: maphash.MakeSeed()}
	for i := range m.groups {
		m.groups[i].sets = make(map[string]*set[M])
	}
	for i := range m.owners {
		m.owners[i].sets = make(map[M]*set[string])
	}
	return m
}

func (m *members[M]) group(name string) *shard[string, M] {
	return &m.groups[maphash.String(m.seed, name)%uint64(len(m.groups))]
}

func (m *members[M]) owner(member M) *shard[M, string] {
	return &m.owners[maphash.Comparable(m.seed, member)%uint64(len(m.owners))]
}

// add puts a member into a group. It reports whether it was not there before,
// and whether the member was not known: it is from its first group on, also
// without any, until it is forgotten.
func (m *members[M]) add(group string, member M) (added, unknown bool) {
	o := m.owner(member)
	o.mu.Lock()
	defer o.mu.Unlock()
	own := o.sets[member]
	if own == nil {
		unknown = true
		own = new(set[string])
		o.sets[member] = own
	}
	if !own.add(group) {
		return false, false
	}
	g := m.group(group)
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.sets[group]
	if all == nil {
		all = new(set[M])
		g.sets[group] = all
	}
	all.add(member)
	return true, unknown
}

// remove takes a member out of a group. It reports whether it was there.
func (m *members[M]) remove(group string, member M) bool {
	o := m.owner(member)
	o.mu.Lock()
	defer o.mu.Unlock()
	own := o.sets[member]
	if own == nil || !own.remove(group) {
		return false
	}
	m.drop(group, member)
	return true
}

// forget takes a member out of all its groups, and returns them.
func (m *members[M]) forget(member M) []string {
	o := m.owner(member)
	o.mu.Lock()
	defer o.mu.Unlock()
	own := o.sets[member]
	if own == nil {
		return nil
	}
	delete(o.sets, member)
	for _, group := range own.all {
		m.drop(group, member)
	}
	return own.all
}

// drop takes a member out of a group's set. Under the lock of the member's shard.
func (m *members[M]) drop(group string, member M) {
	g := m.group(group)
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.sets[group]
	all.remove(member)
	if len(all.all) == 0 {
		delete(g.sets, group)
	}
}

// of appends the members of a group to dst.
func (m *members[M]) of(dst []M, group string) []M {
	g := m.group(group)
	g.mu.Lock()
	defer g.mu.Unlock()
	if all := g.sets[group]; all != nil {
		dst = append(dst, all.all...)
	}
	return dst
}

// size returns how many members a group has.
func (m *members[M]) size(group string) int {
	g := m.group(group)
	g.mu.Lock()
	defer g.mu.Unlock()
	if all := g.sets[group]; all != nil {
		return len(all.all)
	}
	return 0
}

// names returns the groups that have members, in no order.
func (m *members[M]) names() []string {
	var names []string
	for i := range m.groups {
		g := &m.groups[i]
		g.mu.Lock()
		for name := range g.sets {
			names = append(names, name)
		}
		g.mu.Unlock()
	}
	return names
}

// set is a set of values, in no order: a slice, so that it is copied at once, and
// an index when it is too long to be searched.
type set[V comparable] struct {
	all   []V
	index map[V]int // index[all[i]] == i; nil only if len(all) <= unindexed
}

// unindexed is the length up to which searching a slice takes no longer than
// looking in a map.
const unindexed = 16

// find returns where v is, or -1.
func (s *set[V]) find(v V) int {
	if s.index != nil {
		if i, ok := s.index[v]; ok {
			return i
		}
		return -1
	}
	for i := range s.all {
		if s.all[i] == v {
			return i
		}
	}
	return -1
}

// add reports whether v was not there.
func (s *set[V]) add(v V) bool {
	if s.find(v) >= 0 {
		return false
	}
	s.all = append(s.all, v)
	if s.index != nil {
		s.index[v] = len(s.all) - 1
	} else if len(s.all) > unindexed {
		s.reindex()
	}
	return true
}

// remove reports whether v was there.
func (s *set[V]) remove(v V) bool {
	i := s.find(v)
	if i < 0 {
		return false
	}
	end := len(s.all) - 1
	moved := s.all[end]
	s.all[i] = moved
	clear(s.all[end:]) // for the garbage collector
	s.all = s.all[:end]
	if s.index != nil {
		s.index[moved] = i
		delete(s.index, v)
	}
	if cap(s.all) > 4*unindexed && end < cap(s.all)/4 {
		// A group that was large once must not hold its memory for ever; nor does
		// a map shrink by itself.
		s.all = append(make([]V, 0, cap(s.all)/2), s.all...)
		s.reindex()
	}
	return true
}

// reindex makes the index anew.
func (s *set[V]) reindex() {
	s.index = nil
	if len(s.all) <= unindexed {
		return
	}
	s.index = make(map[V]int, len(s.all))
	for i, v := range s.all {
		s.index[v] = i
	}
}
