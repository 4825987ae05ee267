package handshake

import (
	"fmt"
	"strconv"
)

// The names of permessage-deflate and its parameters.
// (RFC 7692, sections 7 and 7.1)
const (
	deflateName    = "permessage-deflate"
	serverTakeover = "server_no_context_takeover"
	clientTakeover = "client_no_context_takeover"
	serverBits     = "server_max_window_bits"
	clientBits     = "client_max_window_bits"

	minWindowBits = 8
	maxWindowBits = 15
)

// Deflate are the parameters of permessage-deflate: what an endpoint asks for
// when it stands in a Server or Client, what was agreed when it stands in an
// Agreement. The zero value asks for nothing beyond compression itself, the
// answer that most peers understand. (RFC 7692, section 7.1)
type Deflate struct {
	// ServerNoContextTakeover: the server compresses every message on its own.
	ServerNoContextTakeover bool
	// ClientNoContextTakeover: the client compresses every message on its own.
	ClientNoContextTakeover bool
	// ServerMaxWindowBits: the server's window is at most 2^bits bytes, 8 to 15.
	// 0 is 15.
	ServerMaxWindowBits int
	// ClientMaxWindowBits: the client's window is at most 2^bits bytes, 8 to 15.
	// 0 is 15. A server can ask for it only if the client said that it can do
	// that.
	ClientMaxWindowBits int
}

// check says what is wrong with parameters that a user wrote.
func (d *Deflate) check() error {
	for _, bits := range []int{d.ServerMaxWindowBits, d.ClientMaxWindowBits} {
		if bits != 0 && (bits < minWindowBits || bits > maxWindowBits) {
			return fmt.Errorf("websocket: Deflate: %d window bits are not possible, 8 to 15 are (RFC 7692, section 7.1.2)", bits)
		}
	}
	return nil
}

// bits returns a number of window bits with the default filled in.
func bits(n int) int {
	if n == 0 {
		return maxWindowBits
	}
	return n
}

// deflateParams are the parameters of an offer or answer as they stood there.
type deflateParams struct {
	serverTakeover, clientTakeover bool
	server, client                 int // window bits; 0: not there
	clientAny                      bool
}

// parseDeflate reads the parameters of an offer, or of an answer. ok is false
// if one is unknown, stands there twice, lacks its value or has one that is out
// of range. (RFC 7692, sections 5.1 and 7.1)
func parseDeflate(params []Param, offer bool) (d deflateParams, ok bool) {
	for _, p := range params {
		switch p.Name {
		case serverTakeover:
			if d.serverTakeover || p.HasValue {
				return d, false
			}
			d.serverTakeover = true
		case clientTakeover:
			if d.clientTakeover || p.HasValue {
				return d, false
			}
			d.clientTakeover = true
		case serverBits:
			if d.server != 0 {
				return d, false
			}
			if d.server, ok = windowBits(p); !ok {
				return d, false
			}
		case clientBits:
			if d.client != 0 || d.clientAny {
				return d, false
			}
			if !p.HasValue && offer {
				// Without a value it only says that the client can limit its
				// window. (RFC 7692, section 7.1.2.2)
				d.clientAny = true
				continue
			}
			if d.client, ok = windowBits(p); !ok {
				return d, false
			}
		default:
			return d, false
		}
	}
	return d, true
}

// windowBits reads 8 to 15, without leading zeros.
func windowBits(p Param) (int, bool) {
	n, err := strconv.Atoi(p.Value)
	if !p.HasValue || err != nil || strconv.Itoa(n) != p.Value || n < minWindowBits || n > maxWindowBits {
		return 0, false
	}
	return n, true
}

// accept answers an offer. ok is false if the offer cannot be accepted on these
// terms. The answer names only what the offer allows.
// (RFC 7692, sections 7.1.1 and 7.1.2)
func (d *Deflate) accept(offer []Param) (agreed *Deflate, answer Extension, ok bool) {
	o, ok := parseDeflate(offer, true)
	if !ok {
		return nil, Extension{}, false
	}
	agreed = &Deflate{
		ServerNoContextTakeover: o.serverTakeover || d.ServerNoContextTakeover,
		// The client's own wish to do without takeover only concerns itself:
		// answering it makes it binding.
		ClientNoContextTakeover: o.clientTakeover || d.ClientNoContextTakeover,
		ServerMaxWindowBits:     min(bits(o.server), bits(d.ServerMaxWindowBits)),
		ClientMaxWindowBits:     maxWindowBits,
	}
	if o.clientAny || o.client != 0 {
		agreed.ClientMaxWindowBits = min(bits(o.client), bits(d.ClientMaxWindowBits))
	} else if bits(d.ClientMaxWindowBits) < maxWindowBits {
		// The client cannot be told to limit its window.
		return nil, Extension{}, false
	}
	answer.Name = deflateName
	if agreed.ServerNoContextTakeover {
		answer.Params = append(answer.Params, Param{Name: serverTakeover})
	}
	if agreed.ClientNoContextTakeover {
		answer.Params = append(answer.Params, Param{Name: clientTakeover})
	}
	if agreed.ServerMaxWindowBits < maxWindowBits {
		answer.Params = append(answer.Params, bitsParam(serverBits, agreed.ServerMaxWindowBits))
	}
	if agreed.ClientMaxWindowBits < maxWindowBits {
		answer.Params = append(answer.Params, bitsParam(clientBits, agreed.ClientMaxWindowBits))
	}
	return agreed, answer, true
}

func bitsParam(name string, n int) Param {
	return Param{Name: name, Value: strconv.Itoa(n), HasValue: true}
}

// offer returns what a client with these parameters offers.
func (d *Deflate) offer() Extension {
	x := Extension{Name: deflateName}
	if d.ServerNoContextTakeover {
		x.Params = append(x.Params, Param{Name: serverTakeover})
	}
	if d.ClientNoContextTakeover {
		x.Params = append(x.Params, Param{Name: clientTakeover})
	}
	if bits(d.ServerMaxWindowBits) < maxWindowBits {
		x.Params = append(x.Params, bitsParam(serverBits, d.ServerMaxWindowBits))
	}
	if bits(d.ClientMaxWindowBits) < maxWindowBits {
		x.Params = append(x.Params, bitsParam(clientBits, d.ClientMaxWindowBits))
	} else {
		x.Params = append(x.Params, Param{Name: clientBits})
	}
	return x
}

// accepted reads the server's answer to an offer of d.
// (RFC 7692, sections 7.1.1 and 7.1.2)
func (d *Deflate) accepted(answer []Param) (*Deflate, error) {
	a, ok := parseDeflate(answer, false)
	switch {
	case !ok:
		return nil, fmt.Errorf("websocket: server answered permessage-deflate with parameters that are not allowed: %s (RFC 7692, section 7.1)",
			quote(string(AppendExtension(nil, Extension{deflateName, answer}))))
	case d.ServerNoContextTakeover && !a.serverTakeover:
		return nil, fmt.Errorf("websocket: server did not agree to %s (RFC 7692, section 7.1.1.1)", serverTakeover)
	case bits(d.ServerMaxWindowBits) < bits(a.server):
		return nil, fmt.Errorf("websocket: server did not agree to %s=%d (RFC 7692, section 7.1.2.1)", serverBits, d.ServerMaxWindowBits)
	}
	return &Deflate{
		ServerNoContextTakeover: a.serverTakeover,
		ClientNoContextTakeover: a.clientTakeover || d.ClientNoContextTakeover,
		ServerMaxWindowBits:     bits(a.server),
		ClientMaxWindowBits:     min(bits(a.client), bits(d.ClientMaxWindowBits)),
	}, nil
}
