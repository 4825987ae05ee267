package conn

import (
	"rfc6455/frame"
	"rfc6455/frame/deflate"
	"rfc6455/handshake"
)

// Compression are the settings of permessage-deflate. The zero value is right
// for most: every message stands alone, so an idle connection needs no memory for
// what it sends, but up to 32 KiB for what it has received last, as the peer
// wishes; Deflate can ask it not to.
//
// Messages get smaller, JSON by two thirds and more, at the price of time: some 5
// µs for a message of 500 bytes. Whoever can make a peer send what he chose
// beside a secret, and can watch the length of what is sent, can find the secret
// out; see [MessageType.Uncompressed]. (RFC 7692, section 7)
type Compression struct {
	// Level says how hard to try, from 1, the fastest, to 9. Default
	// [deflate.DefaultLevel].
	Level int
	// Threshold is the length in bytes of the shortest message that is
	// compressed. Default 512.
	Threshold int
	// Takeover lets messages refer to earlier ones, if the handshake allows it:
	// they get smaller still, and every connection takes 320 KiB more from its
	// first message on, less with a smaller window.
	Takeover bool
	// Deflate are the parameters that a client offers, or that a server asks for.
	// With the zero value a server agrees to whatever the client offers.
	Deflate handshake.Deflate
}

const defaultThreshold = 512

func (z *Compression) resolved() *Compression {
	r := *z
	if r.Level == 0 {
		r.Level = deflate.DefaultLevel
	}
	r.Threshold = or(r.Threshold, defaultThreshold)
	return &r
}

// terms returns what to negotiate.
func (z *Compression) terms() *handshake.Deflate {
	if z == nil {
		return nil
	}
	terms := z.Deflate
	return &terms
}

// compressor is a connection's state of permessage-deflate. It is small: without
// takeover an idle connection has nothing else for it.
type compressor struct {
	own, peer side // constant

	// With takeover, whoever is busy writing. Without it, everyone compresses for
	// himself.
	out *deflate.Compressor

	// Whoever has the reader's turn. While a compressed message is under way, and
	// with the peer's takeover from the first one on.
	in *inflation
}

// side is what was agreed for the messages of one side.
type side struct {
	takeover bool
	window   uint8 // in bits; 0: the largest
}

// compress sets compression up as it was agreed.
func (c *Conn) compress(agreed *handshake.Deflate) {
	server := side{!agreed.ServerNoContextTakeover, uint8(agreed.ServerMaxWindowBits)}
	client := side{!agreed.ClientNoContextTakeover, uint8(agreed.ClientMaxWindowBits)}
	z := &compressor{own: server, peer: client}
	if c.role != frame.Server {
		z.own, z.peer = client, server
	}
	if c.o.Compression == nil {
		o := *c.o
		o.Compression = new(Compression).resolved()
		c.o = &o
	}
	if z.own.takeover = z.own.takeover && c.o.Compression.Takeover; z.own.takeover {
		z.out = &deflate.Compressor{Level: c.o.Compression.Level, Window: int(z.own.window), Takeover: true}
	}
	c.recv.RSV = frame.RSV1
	c.sender.RSV = frame.RSV1
	c.compressor = z
}

// compresses reports whether a message is to be compressed.
func (c *Conn) compresses(t MessageType, p []byte) bool {
	return c.compressor != nil && t&uncompressed == 0 && len(p) >= c.o.Compression.Threshold
}

// packed is a message as it is to be sent.
type packed struct {
	payload []byte
	rsv     uint8
	late    bool    // it is compressed when its frame is made, in the order of the frames
	buf     *buffer // where payload stands, if it was compressed
}

// pack compresses a message if that is worth it, or with takeover notes that it
// is to be. Text that is no text stays as it is, for the Sender to refuse. free
// gives the memory back when the message was written.
func (c *Conn) pack(t MessageType, p []byte) packed {
	if !c.compresses(t, p) || t == Text && !isUTF8(p) {
		return packed{payload: p}
	}
	if c.compressor.out != nil {
		return packed{payload: p, late: true}
	}
	one := deflate.Compressor{Level: c.o.Compression.Level, Window: int(c.compressor.own.window)}
	b := getBuffer(len(p))
	out, ok := one.Append(b.b[:0], p)
	if !ok {
		putBuffer(b)
		return packed{payload: p}
	}
	return packed{payload: out, rsv: frame.RSV1, buf: b}
}

func isUTF8(p []byte) bool {
	var u frame.UTF8
	return u.Valid(p) && u.Complete()
}

func (m *packed) free() { putBuffer(m.buf) }

// squeeze compresses a late message, whose frame is made now; buf is to be
// freed when that has been done. By whoever is busy.
func (z *compressor) squeeze(p []byte) packed {
	b := getBuffer(len(p))
	out, ok := z.out.Append(b.b[:0], p)
	if !ok {
		putBuffer(b)
		return packed{payload: p}
	}
	return packed{payload: out, rsv: frame.RSV1, buf: b}
}

// takeover reports whether a message may refer to the one before it.
func (z *compressor) takeover() bool { return z != nil && z.out != nil }

// drop gives up the memory for a window, at the end: the connection's context may be
// kept, and the connection with it. By whoever is busy, or under mu while nobody is.
func (z *compressor) drop() {
	if z.takeover() {
		*z.out = deflate.Compressor{Level: z.out.Level, Window: z.out.Window, Takeover: true}
	}
}

// forget is called when a frame was made that is not sent after all: nothing may
// refer to it. By whoever is busy.
func (z *compressor) forget() {
	if z.takeover() {
		z.out.Reset()
	}
}
