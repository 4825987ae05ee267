package load

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHistogram(t *testing.T) {
	var h Histogram
	require.Zero(t, h.Quantile(0.5))
	for d := range 1000 {
		h.add(time.Duration(d+1)*time.Microsecond, 2)
	}
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99} {
		want := q * 1000
		require.InDelta(t, want, float64(h.Quantile(q))/1e3, want/16+1, q)
	}
	for _, d := range []time.Duration{-1, 0, 1, 15, 16, 31, 32, math.MaxInt64} {
		h.add(d, 1)
	}
	require.Equal(t, int64(2008), h.total)
}
