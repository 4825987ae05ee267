package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are at most 1/16 wide, relative to
// what they hold.
type Histogram struct {
	counts [64 * 16]int64
	total  int64
}

// add counts n durations of d.
func (h *Histogram) add(d time.Duration, n int) {
	v := uint64(max(d, 16))
	shift := bits.Len64(v) - 5 // v>>shift has five bits, the first of them set
	h.counts[shift*16+int(v>>shift)-16] += int64(n)
	h.total += int64(n)
}

// Quantile returns a duration that a share of q, from 0 to 1, does not exceed,
// and 0 if nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int64(q * float64(h.total))
	for i, n := range h.counts {
		if rank -= n; rank < 0 && n > 0 {
			return time.Duration(i%16+17) << (i / 16)
		}
	}
	return 0
}
