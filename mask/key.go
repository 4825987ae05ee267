package mask

import (
	"crypto/rand"
	"sync"
)

// keysPerBatch is how many keys one read of crypto/rand serves: a read costs
// some hundred nanoseconds however little is asked for, a key out of a batch a
// few.
const keysPerBatch = 128

// batch holds keys drawn ahead, one after the other. 0 <= next <= len(keys), in
// steps of 4; keys[next:] are unused.
type batch struct {
	keys [4 * keysPerBatch]byte
	next int
}

// batches lends each caller a batch of its own, so that NewKey needs no lock.
var batches = sync.Pool{New: func() any { return &batch{next: 4 * keysPerBatch} }}

// NewKey returns a masking key from crypto/rand that has not been returned
// before, save by chance. It never blocks once the system's generator is seeded
// and does not allocate. Concurrent calls are safe. (RFC 6455, sections 5.3 and
// 10.3)
func NewKey() Key {
	b := batches.Get().(*batch)
	if b.next == len(b.keys) {
		rand.Read(b.keys[:]) // does not fail: it ends the process instead
		b.next = 0
	}
	// The batch keeps a used key until the next read overwrites it. Wiping it
	// would hide nothing: the key goes over the wire in the clear.
	k := Key(b.keys[b.next:])
	b.next += len(k)
	batches.Put(b)
	return k
}
