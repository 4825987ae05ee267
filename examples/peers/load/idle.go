package load

// Idle is many connections that do nothing.
type Idle struct {
	t   *target
	s   *Stream
	fds []int
}

// NewIdle opens o.Conns connections, one after the other, and tells progress how
// many there are.
func NewIdle(o Options, progress func(n int)) (*Idle, error) {
	t, err := newTarget(o, "/echo")
	if err != nil {
		return nil, err
	}
	fds, err := t.dialAll(o.Conns, progress)
	if err != nil {
		return nil, err
	}
	return &Idle{t: t, s: NewStream(o.Op, o.Size, 1, o.Raw), fds: fds}, nil
}

// Echo has one message there and back on each connection, one after the other.
func (l *Idle) Echo(progress func(n int)) error {
	b := make([]byte, 256<<10)
	for i, fd := range l.fds {
		if err := l.t.writeAll(fd, l.s.out); err != nil {
			return err
		}
		in := reader{s: l.s}
		for in.count == 0 {
			n, err := l.t.readSome(fd, b)
			if err != nil {
				return err
			}
			if _, err := in.check(b[:n]); err != nil {
				return err
			}
		}
		if progress != nil {
			progress(i + 1)
		}
	}
	return nil
}

// Close ends the connections, without a closing handshake.
func (l *Idle) Close() { closeAll(l.fds) }
