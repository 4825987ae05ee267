package frame

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// requireNoAllocs fails the test if f allocates.
func requireNoAllocs(t *testing.T, f func()) {
	t.Helper()
	require.Zero(t, testing.AllocsPerRun(100, f), "allocations in a run")
}
