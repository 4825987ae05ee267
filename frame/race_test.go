//go:build race

package frame

// race reports that the race detector is on. sync.Pool then forgets things at
// random, so that mask.NewKey allocates now and then.
const race = true
