package redisplane

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// On which host a group is may never change: processes of two versions would not
// meet.
func TestPlaceStays(t *testing.T) {
	hosts := []string{"10.0.0.1:6379/0", "10.0.0.2:6379/0", "10.0.0.3:6379/0"}
	for group, want := range map[string]string{
		"lobby": hosts[0], "room-1": hosts[2], "room-2": hosts[0], "a.b": hosts[0], "x": hosts[1],
	} {
		assert.Equal(t, want, hosts[place(hosts, group)], group)
	}
}

func TestPlace(t *testing.T) {
	var hosts []string
	for n := range 5 {
		hosts = append(hosts, fmt.Sprintf("10.0.0.%d:6379/0", n+1))
	}
	const groups = 20000
	load := map[string]int{}
	moved := 0
	for n := range groups {
		group := fmt.Sprint("room-", n)
		at := hosts[place(hosts, group)]
		load[at]++
		backwards := slices.Clone(hosts)
		slices.Reverse(backwards)
		require.Equal(t, at, backwards[place(backwards, group)], "in whatever order")
		// Without the last host, only its groups go elsewhere.
		if less := hosts[place(hosts[:4], group)]; less != at {
			require.Equal(t, hosts[4], at)
			moved++
		}
	}
	require.Equal(t, load[hosts[4]], moved)
	for _, host := range hosts {
		assert.InEpsilon(t, groups/len(hosts), load[host], 0.06, host)
	}
	require.Zero(t, place(hosts[:1], "room"))
}
