//go:build unix

package brokers

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// NoLeaks fails a test after whose end, cleanups too, goroutines are left that
// were not there before. It is called before anything else, by tests that are not
// parallel.
func NoLeaks(t testing.TB) {
	before := goroutines()
	t.Cleanup(func() {
		// What ends takes a moment.
		if assert.Eventually(t, func() bool { return len(left(before)) == 0 }, patience, 10*time.Millisecond) {
			return
		}
		t.Log(strings.Join(left(before), "\n\n"))
	})
}

// goroutines returns the stacks of all goroutines, by their first lines up to the
// number.
func goroutines() map[string]string {
	b := make([]byte, 1<<20)
	for {
		n := runtime.Stack(b, true)
		if n < len(b) {
			b = b[:n]
			break
		}
		b = make([]byte, 2*len(b))
	}
	all := make(map[string]string)
	for stack := range strings.SplitSeq(string(b), "\n\n") {
		number, _, _ := strings.Cut(stack, " [")
		all[number] = stack
	}
	return all
}

// left returns the stacks of the goroutines that are new, but for those of the
// tests themselves.
func left(before map[string]string) (stacks []string) {
	for number, stack := range goroutines() {
		if before[number] == "" && !strings.Contains(stack, "brokers.left") && !strings.Contains(stack, "testify/assert.Eventually") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}
