package conn

import (
	"sync"
	"time"
)

// corks bounds how long output is corked, for all connections that share their
// Options. A timer each would fire for nearly every batch of messages; this looks
// after those that have corked something of late, with one timer.
type corks struct {
	mu    sync.Mutex  // taken under that of a Conn, never the other way round
	conns []*Conn     // those whose corkListed is set, but for the ones that check looks at
	spare []*Conn     // memory for the next conns
	timer *time.Timer // nil while there are no conns; never used again, for it belongs to its synctest bubble
}

// add has check look at c, at the latest when what is corked now must leave.
// Under c.mu.
func (s *corks) add(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
	if s.timer == nil {
		s.timer = time.AfterFunc(corkTime, s.check)
	}
}

// check lets go all that is corked, however short a time, so that nobody has to look
// at a clock for it.
func (s *corks) check() {
	s.mu.Lock()
	conns := s.conns
	s.conns, s.spare = s.spare[:0], nil
	s.mu.Unlock()
	next := time.Now().Add(corkTime)
	kept := conns[:0]
	for _, c := range conns {
		if c.uncork() {
			kept = append(kept, c)
		}
	}
	clear(conns[len(kept):])
	s.mu.Lock()
	defer s.mu.Unlock()
	added := s.conns
	s.conns = append(kept, added...)
	clear(added)
	s.spare = added[:0]
	if len(s.conns) == 0 {
		s.timer = nil
		return
	}
	s.timer.Reset(max(time.Until(next), 1))
}

// cork lets output wait for more, for corkTime at most. Under mu.
func (c *Conn) cork() {
	c.corked = true
	c.corkIdle = 0
	if !c.corkListed {
		c.corkListed = true
		c.o.corks.add(c)
	}
}

// maxCorkIdle is how many checks a connection is looked at in vain: to come and go
// costs more than to be looked at.
const maxCorkIdle = 16

// uncork lets go what is corked, and returns whether the connection is to be looked
// at again.
func (c *Conn) uncork() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.corked && !c.ended {
		c.corked = false
		c.startFlusher() // or whoever is busy takes it along
	} else {
		c.corkIdle++
	}
	c.corkListed = !c.ended && c.corkIdle < maxCorkIdle
	return c.corkListed
}
