package frame

import "strconv"

// Role is the side of the connection that an endpoint is on. It decides who
// masks: frames from a client are masked, frames from a server are not.
// (RFC 6455, section 5.1)
type Role uint8

const (
	Client Role = iota // the endpoint that opened the connection
	Server             // the endpoint that accepted it
)

// String returns "client" or "server".
func (r Role) String() string {
	if r == Server {
		return "server"
	}
	return "client"
}

// Peer returns the role of the other endpoint.
func (r Role) Peer() Role {
	if r == Server {
		return Client
	}
	return Server
}

// Opcode says how the payload of a frame is to be interpreted. It has four
// bits. (RFC 6455, sections 5.2 and 11.8)
type Opcode uint8

const (
	OpContinuation Opcode = 0x0 // a further fragment of a message
	OpText         Opcode = 0x1 // starts a text message, UTF-8
	OpBinary       Opcode = 0x2 // starts a binary message
	OpClose        Opcode = 0x8 // starts or ends the closing handshake
	OpPing         Opcode = 0x9 // asks for a Pong with the same payload
	OpPong         Opcode = 0xA // answers a Ping, or comes unasked
)

// IsControl reports whether o is Close, Ping, Pong or one of the control
// opcodes that are still reserved: its most significant bit is set.
// (RFC 6455, section 5.5)
func (o Opcode) IsControl() bool { return o&0x8 != 0 }

// IsReserved reports whether o has no meaning yet: 0x3 to 0x7 and 0xB to 0xF.
// (RFC 6455, section 5.2)
func (o Opcode) IsReserved() bool { return o > OpPong || o > OpBinary && o < OpClose }

// String returns the lower-case name, "ping" for instance, or "opcode 0x3".
func (o Opcode) String() string {
	switch o {
	case OpContinuation:
		return "continuation"
	case OpText:
		return "text"
	case OpBinary:
		return "binary"
	case OpClose:
		return "close"
	case OpPing:
		return "ping"
	case OpPong:
		return "pong"
	}
	return "opcode 0x" + strconv.FormatUint(uint64(o), 16)
}
