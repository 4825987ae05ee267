package conn

import (
	"bytes"
	"errors"
	"sync"

	"rfc6455/frame"
)

// Prepared is a message for many connections: it is encoded, and compressed, at
// most once for each form that their peers want. It may be sent by any number of
// goroutines.
type Prepared struct {
	t       MessageType
	payload []byte

	mu    sync.Mutex // not held while compressing
	forms map[form]*prepared
}

// form is what a frame of a Prepared depends on.
type form struct {
	role   frame.Role
	level  int // of compression; 0 without
	window uint8
}

// prepared is a Prepared in one form.
type prepared struct {
	once  sync.Once
	size  int    // of the payload
	frame []byte // of a server
	m     packed // of a client, whose frames have a key each; without buf
}

// Prepare returns a message that is ready to be sent with
// [Conn.SendPrepared]. p is copied. Text that is not UTF-8 is refused with
// [frame.ErrText].
func Prepare(t MessageType, p []byte) (*Prepared, error) {
	op, err := t.opcode()
	if err != nil {
		return nil, err
	}
	s := frame.Sender{Role: frame.Server}
	if _, err := s.Next(op, true, 0, p); err != nil {
		return nil, err
	}
	return &Prepared{t: t, payload: bytes.Clone(p)}, nil
}

// SendPrepared is [Conn.Send] for a message that was prepared. It never waits: a
// full queue whose policy is [Block] does not take the message, and the error is
// [ErrQueueFull].
func (c *Conn) SendPrepared(m *Prepared) error {
	e, err := c.newPrepared(m)
	if err != nil {
		return err
	}
	policy := c.o.Overflow
	if policy == Block {
		policy = DropNewest
	}
	return c.enqueue("", e, policy)
}

func (c *Conn) newPrepared(m *Prepared) (*entry, error) {
	if m == nil {
		return nil, errors.New("websocket: SendPrepared of nil")
	}
	op, err := m.t.opcode()
	if err != nil {
		return nil, err
	}
	f := form{role: c.role}
	if c.compresses(m.t, m.payload) {
		if c.compressor.takeover() {
			return newEntry(op, packed{payload: m.payload, late: true}, len(m.payload)), nil
		}
		f.level, f.window = c.o.Compression.Level, c.compressor.own.window
	}
	m.mu.Lock()
	p := m.forms[f]
	if p == nil {
		if m.forms == nil {
			m.forms = make(map[form]*prepared, 1)
		}
		p = new(prepared)
		m.forms[f] = p
	}
	m.mu.Unlock()
	p.once.Do(func() {
		one := packed{payload: m.payload}
		if f.level > 0 {
			one = c.pack(m.t, m.payload)
			defer one.free()
		}
		p.size = len(one.payload)
		if f.role != frame.Server {
			p.m = packed{payload: bytes.Clone(one.payload), rsv: one.rsv}
			return
		}
		h := frame.Header{Fin: true, RSV: one.rsv, Opcode: op}
		p.frame = frame.AppendFrame(make([]byte, 0, frame.MaxHeader+p.size), h, one.payload)
	})
	if f.role == frame.Server {
		return newEntry(op, packed{payload: p.frame}, p.size), nil
	}
	return c.newFrame(op, p.m)
}
