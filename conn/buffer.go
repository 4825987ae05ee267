package conn

import (
	"math/bits"
	"sync"
)

// buffer is memory lent from a pool. len(b) is its size, a power of two unless
// it is larger than the largest class.
type buffer struct {
	b []byte
}

// The classes of buffers are powers of two from 512 bytes to 4 MiB. What is
// larger is left to the garbage collector.
const (
	minBufferBits = 9
	maxBufferBits = 22
)

var buffers [maxBufferBits - minBufferBits + 1]sync.Pool

// class returns the index of the smallest class that holds n bytes.
func class(n int) int {
	if n <= 1<<minBufferBits {
		return 0
	}
	return bits.Len(uint(n-1)) - minBufferBits
}

// getBuffer lends a buffer of at least n bytes, whose contents are undefined.
func getBuffer(n int) *buffer {
	i := class(n)
	if i >= len(buffers) {
		return &buffer{make([]byte, n)}
	}
	if b, ok := buffers[i].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, 1<<(i+minBufferBits))}
}

// pooledBuffer is getBuffer for a size of a class, without an allocation: it
// returns nil if the pool has none.
func pooledBuffer(n int) *buffer {
	b, _ := buffers[class(n)].Get().(*buffer)
	return b
}

// putBuffer takes a buffer back, which nobody may use any more. nil is allowed.
func putBuffer(b *buffer) {
	if b == nil {
		return
	}
	if i := class(len(b.b)); i < len(buffers) && len(b.b) == 1<<(i+minBufferBits) {
		buffers[i].Put(b)
	}
}
