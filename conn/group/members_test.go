package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMembers(t *testing.T) {
	m := newMembers[int]()
	added, unknown := m.add("a", 1)
	require.True(t, added)
	require.True(t, unknown)
	added, unknown = m.add("a", 1)
	require.False(t, added)
	require.False(t, unknown)
	added, unknown = m.add("b", 1)
	require.True(t, added)
	require.False(t, unknown)
	require.True(t, m.remove("a", 1))
	require.False(t, m.remove("a", 1))
	require.False(t, m.remove("a", 2))
	require.True(t, m.remove("b", 1))
	require.Empty(t, m.names())

	added, unknown = m.add("a", 1)
	require.True(t, added)
	require.False(t, unknown, "it is known though it was in no group")
	require.Equal(t, []string{"a"}, m.forget(1))
	require.Empty(t, m.forget(1))
	_, unknown = m.add("a", 1)
	require.True(t, unknown)
	require.Equal(t, []int{7, 1}, m.of([]int{7}, "a"))
	require.Equal(t, []int{7}, m.of([]int{7}, "b"))
}

// A set that was large once gives its memory back, and works at every size.
func TestSet(t *testing.T) {
	var s set[int]
	const most = 50 * unindexed
	for i := range most {
		require.True(t, s.add(i))
		require.False(t, s.add(i))
	}
	order := rand.New(rand.NewPCG(6, 455)).Perm(most)
	for n, v := range order {
		require.Equal(t, most-n, len(s.all))
		require.True(t, s.remove(v))
		require.False(t, s.remove(v))
		require.LessOrEqual(t, cap(s.all), max(4*unindexed, 4*len(s.all)+4))
		if n%50 == 0 || n > most-100 {
			checkSet(t, &s)
			require.Equal(t, slices.Sorted(slices.Values(order[n+1:])), slices.Sorted(slices.Values(s.all)))
		}
	}
	require.LessOrEqual(t, len(s.index), 4*unindexed)
}

func checkSet[V comparable](t testing.TB, s *set[V]) {
	if len(s.all) > unindexed {
		require.NotNil(t, s.index)
	}
	if s.index != nil {
		require.Len(t, s.index, len(s.all))
		for i, v := range s.all {
			require.Equal(t, i, s.index[v])
		}
	}
	var zero V
	for _, v := range s.all[len(s.all):cap(s.all)] {
		require.Equal(t, zero, v, "what was removed is not kept alive")
	}
}

// check holds that both ways round say the same, and no set of a group is empty.
func (m *members[M]) check(t testing.TB) {
	pairs := 0
	for i := range m.groups {
		for group, all := range m.groups[i].sets {
			require.Same(t, &m.groups[i], m.group(group))
			require.NotEmpty(t, all.all)
			checkSet(t, all)
			for _, member := range all.all {
				require.GreaterOrEqual(t, m.owner(member).sets[member].find(group), 0)
				pairs++
			}
		}
	}
	for i := range m.owners {
		for member, own := range m.owners[i].sets {
			require.Same(t, &m.owners[i], m.owner(member))
			checkSet(t, own)
			pairs -= len(own.all)
		}
	}
	require.Zero(t, pairs)
}

// FuzzMembers does the same things to members and to plain maps. A step is two
// bytes: what to do, and to whom.
func FuzzMembers(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 0, 1, 0, 2, 0, 0, 0})
	f.Add([]byte{0, 1, 0x10, 1, 0x20, 1, 0, 2, 2, 1, 0, 1, 1, 2})
	var many []byte
	for i := range byte(200) {
		many = append(many, 0, i)
	}
	f.Add(many)
	for i := range byte(200) {
		many = append(many, 1, i)
	}
	f.Add(many)
	for i := range byte(200) {
		many = append(many, i<<4, 7)
	}
	f.Add(append(many, 2, 7, 0, 7))
	f.Fuzz(func(t *testing.T, steps []byte) {
		m := newMembers[byte]()
		groups := map[string]map[byte]bool{}
		owners := map[byte]map[string]bool{}
		for ; len(steps) >= 2; steps = steps[2:] {
			member, group := steps[1], fmt.Sprint(steps[0]>>4)
			was := groups[group][member]
			switch steps[0] & 3 {
			case 0, 3:
				added, unknown := m.add(group, member)
				require.Equal(t, !was, added)
				require.Equal(t, owners[member] == nil, unknown)
				if groups[group] == nil {
					groups[group] = map[byte]bool{}
				}
				groups[group][member] = true
				if unknown {
					owners[member] = map[string]bool{}
				}
				owners[member][group] = true
			case 1:
				require.Equal(t, was, m.remove(group, member))
				delete(groups[group], member)
				delete(owners[member], group)
			case 2:
				left := m.forget(member)
				require.ElementsMatch(t, slices.Collect(maps.Keys(owners[member])), left)
				for group := range owners[member] {
					delete(groups[group], member)
				}
				delete(owners, member)
			}
			if len(groups[group]) == 0 {
				delete(groups, group)
			}
			maps.DeleteFunc(groups, func(_ string, all map[byte]bool) bool { return len(all) == 0 })
			require.Equal(t, len(groups[group]), m.size(group))
		}
		m.check(t)
		require.ElementsMatch(t, slices.Collect(maps.Keys(groups)), m.names())
		for group, all := range groups {
			require.ElementsMatch(t, slices.Collect(maps.Keys(all)), m.of(nil, group))
		}
	})
}

// Whatever goes on at the same time, both ways round agree afterwards.
func TestMembersConcurrently(t *testing.T) {
	m := newMembers[int]()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 6455))
			var all []int
			for range 5000 {
				group, member := fmt.Sprint(rnd.IntN(20)), rnd.IntN(50)
				switch rnd.IntN(8) {
				case 0, 1, 2:
					m.add(group, member)
				case 3, 4:
					m.remove(group, member)
				case 5:
					m.forget(member)
				case 6:
					all = m.of(all[:0], group)
				case 7:
					m.size(group)
					m.names()
				}
			}
		})
	}
	wg.Wait()
	m.check(t)
	for member := range 50 {
		m.forget(member)
	}
	m.check(t)
	require.Empty(t, m.names())
}
