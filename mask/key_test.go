package mask

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Keys that repeat would show that a batch is lent twice or read again. Among
// 100,000 keys of 32 bits about one pair is equal by chance, so what is compared
// is eight keys in a row: equal ones would not turn up by chance.
func TestNewKeyDoesNotRepeat(t *testing.T) {
	seen := make(map[[8]Key]bool)
	for range 100_000 {
		var run [8]Key
		for i := range run {
			run[i] = NewKey()
		}
		require.False(t, seen[run], "the keys %x came twice", run)
		seen[run] = true
	}
}

// Concurrent callers get no key in common, save by chance: n keys of 32 bits
// have n*n/2^33 equal pairs on average, here about 1.2, and more than 20 with a
// chance under 1e-17. One batch used twice would be 128 pairs.
func TestNewKeyConcurrent(t *testing.T) {
	const callers, each = 8, 12_500
	keys := make([][]Key, callers)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			for range each {
				keys[i] = append(keys[i], NewKey())
			}
		})
	}
	wg.Wait()

	seen := make(map[Key]bool)
	for _, from := range keys {
		for _, k := range from {
			seen[k] = true
		}
	}
	require.Greater(t, len(seen), callers*each-20)
}

// Every bit of a key is set about half of the time: over 100,000 keys the count
// strays from the half by 158 (one standard deviation), and by eight times that
// with a chance of about 1e-15.
func TestNewKeyBits(t *testing.T) {
	const n = 100_000
	var set [32]int
	for range n {
		k := NewKey()
		for bit := range set {
			set[bit] += int(k[bit/8] >> (bit % 8) & 1)
		}
	}
	for bit, count := range set {
		require.InDelta(t, n/2, count, 8*158, "bit %d", bit)
	}
}

func BenchmarkNewKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewKey()
	}
}

func BenchmarkNewKeyParallel(b *testing.B) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			NewKey()
		}
	})
}
