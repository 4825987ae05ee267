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
// when it stands in a [Server] or [Client], what was agreed when it stands in an
// [Agreement]. The zero value asks for nothing beyond compression itself, which
// is what most peers understand. Either side may do without takeover, or with a
// smaller window, when it compresses; that needs no agreement.
// (RFC 7692, section 7.1)
type Deflate struct {
	// ServerNoContextTakeover: the server compresses every message on its own.
	// A Client that asks for it fails with servers that do not agree.
	ServerNoContextTakeover bool
	// ClientNoContextTakeover: the client compresses every message on its own.
	// Some clients do not understand a Server that asks for it.
	ClientNoContextTakeover bool
	// ServerMaxWindowBits: the server's window is at most 2^bits bytes, 8 to 15;
	// 0 is 15. A Client that asks for less than 15 fails with servers that do
	// not agree.
	ServerMaxWindowBits int
	// ClientMaxWindowBits: the client's window is at most 2^bits bytes, 8 to 15;
	// 0 is 15. A Server that asks for less than 15 agrees to compression only
	// with clients that say that they can do it. A Client says so if this is not
	// 0, with 15 that the server may choose.
	ClientMaxWindowBits int
}

// check says what is wrong with parameters that a user wrote.
func (d *Deflate) check() error {
	for _, n := range [...]int{d.ServerMaxWindowBits, d.ClientMaxWindowBits} {
		if n != 0 && (n < minWindowBits || n > maxWindowBits) {
			return fmt.Errorf("websocket: Deflate: %d window bits are not possible, 8 to 15 are (RFC 7692, section 7.1.2)", n)
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

// deflateParams are the parameters of an offer or answer as they stand there.
type deflateParams struct {
	serverTakeover, clientTakeover bool
	server, client                 int  // window bits; 0: not there, or without a value
	clientAny                      bool // client_max_window_bits without a value, in offers alone
}

// parseDeflate reads the parameters of an offer, or of an answer. ok is false
// if one is unknown, stands there twice, lacks its value, has one that it must
// not have, or one that is out of range: such an offer MUST be declined, and the
// handshake failed for such an answer. (RFC 7692, sections 5.1 and 7.1)
func parseDeflate(params []Param, offer bool) (d deflateParams, ok bool) {
	for _, p := range params {
		switch p.Name {
		case serverTakeover:
			ok = !d.serverTakeover && !p.HasValue
			d.serverTakeover = true
		case clientTakeover:
			ok = !d.clientTakeover && !p.HasValue
			d.clientTakeover = true
		case serverBits:
			twice := d.server != 0
			d.server, ok = windowBits(p)
			ok = ok && !twice
		case clientBits:
			twice := d.client != 0 || d.clientAny
			if !p.HasValue && offer {
				// It says that the client can limit its window.
				// (RFC 7692, section 7.1.2.2)
				d.clientAny, ok = true, !twice
				break
			}
			d.client, ok = windowBits(p)
			ok = ok && !twice
		default:
			ok = false
		}
		if !ok {
			return deflateParams{}, false
		}
	}
	return d, true
}

// windowBits reads 8 to 15, without leading zeros. (RFC 7692, section 7.1.2)
func windowBits(p Param) (int, bool) {
	switch p.Value {
	case "8", "9":
		return int(p.Value[0] - '0'), true
	case "10", "11", "12", "13", "14", "15":
		return 10 + int(p.Value[1]-'0'), true
	}
	return 0, false
}

// appendTo appends the extension with these parameters as it stands in a header.
func (d deflateParams) appendTo(dst []byte) []byte {
	dst = append(dst, deflateName...)
	if d.serverTakeover {
		dst = append(dst, "; "+serverTakeover...)
	}
	if d.clientTakeover {
		dst = append(dst, "; "+clientTakeover...)
	}
	if d.server != 0 {
		dst = strconv.AppendInt(append(dst, "; "+serverBits+"="...), int64(d.server), 10)
	}
	if d.client != 0 {
		dst = strconv.AppendInt(append(dst, "; "+clientBits+"="...), int64(d.client), 10)
	} else if d.clientAny {
		dst = append(dst, "; "+clientBits...)
	}
	return dst
}

// accept answers an offer. ok is false if the offer cannot be accepted on these
// terms. The answer names what the offer obliges it to, and what these terms ask
// for; nothing else, since some clients refuse what they did not name and others
// do not heed it. (RFC 7692, sections 7.1.1 and 7.1.2)
func (d *Deflate) accept(params []Param) (agreed Deflate, answer deflateParams, ok bool) {
	offer, ok := parseDeflate(params, true)
	if !ok {
		return Deflate{}, deflateParams{}, false
	}
	answer = deflateParams{
		serverTakeover: offer.serverTakeover || d.ServerNoContextTakeover,
		// The client offers to do without takeover; the answer makes it binding.
		clientTakeover: offer.clientTakeover || d.ClientNoContextTakeover,
	}
	agreed = Deflate{
		ServerNoContextTakeover: answer.serverTakeover,
		ClientNoContextTakeover: answer.clientTakeover,
		ServerMaxWindowBits:     min(bits(offer.server), bits(d.ServerMaxWindowBits)),
		ClientMaxWindowBits:     min(bits(offer.client), bits(d.ClientMaxWindowBits)),
	}
	// To accept an offer with server_max_window_bits is to answer it, 15 as well.
	if offer.server != 0 || agreed.ServerMaxWindowBits < maxWindowBits {
		answer.server = agreed.ServerMaxWindowBits
	}
	if agreed.ClientMaxWindowBits < maxWindowBits {
		if offer.client == 0 && !offer.clientAny {
			// The client cannot be told to limit its window.
			return Deflate{}, deflateParams{}, false
		}
		answer.client = agreed.ClientMaxWindowBits
	}
	return agreed, answer, true
}

// offer returns what a client with these parameters offers.
func (d *Deflate) offer() deflateParams {
	o := deflateParams{serverTakeover: d.ServerNoContextTakeover, clientTakeover: d.ClientNoContextTakeover}
	if bits(d.ServerMaxWindowBits) < maxWindowBits {
		o.server = d.ServerMaxWindowBits
	}
	if bits(d.ClientMaxWindowBits) < maxWindowBits {
		o.client = d.ClientMaxWindowBits
	}
	o.clientAny = d.ClientMaxWindowBits == maxWindowBits
	return o
}

// accepted reads the server's answer to the offer of d.
// (RFC 7692, sections 7.1.1 and 7.1.2)
func (d *Deflate) accepted(params []Param) (*Deflate, error) {
	offer := d.offer()
	a, ok := parseDeflate(params, false)
	switch {
	case !ok:
		return nil, fmt.Errorf("websocket: server answered %s, whose parameters are not allowed in an answer (RFC 7692, section 7.1)", quote(string(Extension{deflateName, params}.appendTo(nil))))
	case offer.serverTakeover && !a.serverTakeover:
		return nil, fmt.Errorf("websocket: server did not agree to %s (RFC 7692, section 7.1.1.1)", serverTakeover)
	case bits(a.server) > bits(offer.server):
		return nil, fmt.Errorf("websocket: server did not agree to %s=%d (RFC 7692, section 7.1.2.1)", serverBits, offer.server)
	case a.client != 0 && offer.client == 0 && !offer.clientAny:
		return nil, fmt.Errorf("websocket: server chose %s, which was not offered (RFC 7692, section 7.1.2.2)", clientBits)
	}
	// What the client offered to do without, it does without, even if the
	// server does not say so.
	return &Deflate{
		ServerNoContextTakeover: a.serverTakeover,
		ClientNoContextTakeover: a.clientTakeover || offer.clientTakeover,
		ServerMaxWindowBits:     bits(a.server),
		ClientMaxWindowBits:     min(bits(a.client), bits(offer.client)),
	}, nil
}
