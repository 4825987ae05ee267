// Package peers has one echo server for each WebSocket library that is compared
// here, and one that is nothing but TCP.
//
// On the path /pub, messages go to all connections on the path /sub; on every
// other path, /sub included, a connection gets its own messages back. No server compresses, and all
// limit messages to Limit.
package peers

import (
	"crypto/sha1"
	"encoding/base64"
	"net"
	"slices"
	"sync"
)

// Limit is the longest message in bytes that the servers take.
const Limit = 2 << 20

// Lib is a library and its server.
type Lib struct {
	Name string
	// Raw says that bytes come back as they were sent: a client's frames with
	// their masking keys.
	Raw bool
	// Splits says that fragments come back as messages of their own.
	Splits bool
	// Serve accepts connections until ln is closed, and returns an error then.
	Serve func(ln net.Listener) error
}

// Libs are all of them, the floor first.
var Libs = []Lib{
	{Name: "rawtcp", Raw: true, Serve: serveRawTCP},
	{Name: "rfc6455-serve", Serve: serveRFC6455},
	{Name: "rfc6455", Serve: serveRFC6455HTTP},
	{Name: "gobwas-hand", Serve: serveGobwasHand},
	{Name: "gws", Serve: serveGWS},
	{Name: "gobwas", Serve: serveGobwas},
	{Name: "gorilla", Serve: serveGorilla},
	{Name: "coder", Serve: serveCoder},
	{Name: "xnet", Splits: true, Serve: serveXNet},
}

// Find returns the library of that name, and whether there is one.
func Find(name string) (Lib, bool) {
	i := slices.IndexFunc(Libs, func(l Lib) bool { return l.Name == name })
	if i < 0 {
		return Lib{}, false
	}
	return Libs[i], true
}

// AcceptKey returns the value of Sec-WebSocket-Accept for that of
// Sec-WebSocket-Key. (RFC 6455, section 4.2.2)
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// members are the connections on /sub of a library that has no groups of its own.
type members[C comparable] struct {
	mu   sync.Mutex
	list []C // replaced, never changed
}

func (m *members[C]) add(c C) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list[:len(m.list):len(m.list)], c)
}

func (m *members[C]) remove(c C) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = slices.DeleteFunc(slices.Clone(m.list), func(x C) bool { return x == c })
}

// all returns the members; the slice is not to be changed.
func (m *members[C]) all() []C {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list
}
