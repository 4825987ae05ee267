package conn

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// message returns an entry of Send that has nothing but a key and a size.
func message(key string, size int) *entry { return &entry{kind: kindQueued, key: key, size: size} }

// waiting returns an entry whose writer waits.
func waiting(key string) *entry {
	return &entry{kind: kindFrame, key: key, ready: make(chan verdict, 2)}
}

// keys returns the keys of l's entries in order, and checks its links and its
// counters.
func keys(t *testing.T, l *list) (keys []string) {
	t.Helper()
	var prev *entry
	messages, bytes := 0, int64(0)
	for e := l.head; e != nil; e = e.next {
		require.True(t, e.prev == prev, "%s: prev", e.key)
		require.True(t, e.list == l, "%s: list", e.key)
		if e.kind == kindQueued {
			messages++
			bytes += int64(e.size)
		}
		keys = append(keys, e.key)
		prev = e
	}
	require.True(t, l.tail == prev, "tail")
	require.Equal(t, messages, l.messages)
	require.Equal(t, bytes, l.bytes)
	return keys
}

func TestListRemove(t *testing.T) {
	for _, tt := range []struct {
		name   string
		remove []int
		want   []string
	}{
		{"first", []int{0}, []string{"b", "c"}},
		{"middle", []int{1}, []string{"a", "c"}},
		{"last", []int{2}, []string{"a", "b"}},
		{"all from the front", []int{0, 1, 2}, nil},
		{"all from the end", []int{2, 1, 0}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l list
			entries := []*entry{message("a", 1), waiting("b"), message("c", 100)}
			for _, e := range entries {
				l.push(e)
			}
			for _, i := range tt.remove {
				l.remove(entries[i])
				require.Nil(t, entries[i].list)
				require.Nil(t, entries[i].prev)
				require.Nil(t, entries[i].next)
			}
			require.Equal(t, tt.want, keys(t, &l))
		})
	}
}

func TestListReplace(t *testing.T) {
	for _, tt := range []struct {
		name string
		keys []string
		old  int
		want []string
	}{
		{"the only one", []string{"a"}, 0, []string{"new"}},
		{"first of two", []string{"a", "b"}, 0, []string{"new", "b"}},
		{"last of two", []string{"a", "b"}, 1, []string{"a", "new"}},
		{"first", []string{"a", "b", "c"}, 0, []string{"new", "b", "c"}},
		{"middle", []string{"a", "b", "c"}, 1, []string{"a", "new", "c"}},
		{"last", []string{"a", "b", "c"}, 2, []string{"a", "b", "new"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l list
			var entries []*entry
			for i, key := range tt.keys {
				e := message(key, 10*i)
				entries = append(entries, e)
				l.push(e)
			}
			l.replace(entries[tt.old], message("new", 7))
			require.Equal(t, tt.want, keys(t, &l))
			require.Nil(t, entries[tt.old].list)
		})
	}
}

func TestListFits(t *testing.T) {
	tests := []struct {
		name     string
		sizes    []int // that wait already
		size     int
		messages int
		bytes    int64
		want     bool
	}{
		{"empty", nil, 10, 1, 10, true},
		{"empty, over the bytes", nil, 11, 1, 10, true},
		{"as many as are allowed", []int{1}, 1, 2, 10, true},
		{"one message over", []int{1, 1}, 1, 2, 10, false},
		{"as many bytes as are allowed", []int{4}, 6, 2, 10, true},
		{"one byte over", []int{4}, 7, 2, 10, false},
		{"behind one that is over", []int{11}, 0, 2, 10, false},
		{"no limit on messages", []int{1, 1}, 1, 0, 10, true},
		{"no limit on bytes", []int{1}, 1 << 30, 2, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l list
			l.push(waiting("counts for nothing"))
			for _, n := range tt.sizes {
				l.push(message("", n))
			}
			require.Equal(t, tt.want, l.fits(tt.size, tt.messages, tt.bytes))
		})
	}
}

func TestListFind(t *testing.T) {
	var l list
	require.Nil(t, l.oldest())
	require.Nil(t, l.waiter())
	require.Nil(t, l.keyed("k"))
	w1, w2 := waiting("k"), waiting("")
	m1, m2, m3 := message("", 0), message("k", 0), message("l", 0)
	for _, e := range []*entry{w1, m1, w2, m2, m3} {
		l.push(e)
	}
	require.True(t, m1 == l.oldest())
	require.True(t, w1 == l.waiter())
	require.True(t, m2 == l.keyed("k"), "a waiter has no key")
	require.True(t, m3 == l.keyed("l"))
	require.Nil(t, l.keyed("m"))
	l.remove(w1)
	require.True(t, w2 == l.waiter())
}

// Any sequence of operations leaves the list as a slice would be.
func TestListRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var l list
		var model []*entry
		for i := range 60 {
			key := fmt.Sprint(i)
			switch n := rnd.IntN(4); {
			case n == 0:
				e := waiting(key)
				l.push(e)
				model = append(model, e)
			case n == 1 || len(model) == 0:
				e := message(key, rnd.IntN(100))
				l.push(e)
				model = append(model, e)
			case n == 2:
				at := rnd.IntN(len(model))
				l.remove(model[at])
				model = append(model[:at:at], model[at+1:]...)
			case n == 3:
				at := rnd.IntN(len(model))
				e := message(key, rnd.IntN(100))
				l.replace(model[at], e)
				model[at] = e
			}
			var want []string
			for _, e := range model {
				want = append(want, e.key)
			}
			require.Equal(t, want, keys(t, &l))
		}
	}
}
