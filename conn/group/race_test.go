//go:build race

package group

// race reports that the race detector is on. sync.Pool then forgets things at
// random, so that buffers are allocated now and then.
const race = true
