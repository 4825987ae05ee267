package peers

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// gathered is how many bytes of replies wait at most for more to come.
const gathered = 64 << 10

// serveGobwasHand is github.com/gobwas/ws with a loop of our own around
// ReadHeader and Cipher: what its low-level interface allows. Payloads are read
// to where the replies leave from, and replies leave together when no more
// input is buffered.
func serveGobwasHand(ln net.Listener) error {
	var subscribers members[net.Conn]
	return serveGobwasUpgrade(ln, func(nc net.Conn, path string) {
		h := &gobwasHand{nc: nc, br: bufio.NewReaderSize(nc, 16<<10)}
		switch path {
		case "/pub":
			h.publish = gobwasPublish(&subscribers)
		case "/sub":
			subscribers.add(nc)
			defer subscribers.remove(nc)
		}
		for h.frame() == nil {
		}
	})
}

// gobwasHand is a connection.
type gobwasHand struct {
	nc      net.Conn
	br      *bufio.Reader
	publish func(ws.OpCode, []byte) error // nil: echo
	scratch [ws.MaxHeaderSize]byte
	out     bytes.Buffer // replies

	state     ws.State
	op        ws.OpCode // of the message that the fragments belong to
	fragments []byte
}

// frame reads one frame and answers it.
func (h *gobwasHand) frame() error {
	head, err := ws.ReadHeaderBuffer(h.br, h.scratch[:])
	if err != nil {
		return err
	}
	if err := ws.CheckHeader(head, ws.StateServerSide|h.state); err != nil {
		return err
	}
	if head.Length > Limit-int64(len(h.fragments)) {
		return errors.New("message too big")
	}
	if head.Fin && head.OpCode.IsData() && head.OpCode != ws.OpContinuation && h.publish == nil {
		if err := h.echo(head); err != nil {
			return err
		}
		return h.flush()
	}
	start := len(h.fragments)
	h.fragments = slices.Grow(h.fragments, int(head.Length))[:start+int(head.Length)]
	p := h.fragments[start:]
	if _, err := io.ReadFull(h.br, p); err != nil {
		return err
	}
	ws.Cipher(p, head.Mask, 0)
	switch {
	case head.OpCode.IsControl():
		h.fragments = h.fragments[:start]
		if err := h.control(head.OpCode, p); err != nil {
			return err
		}
	case !head.Fin:
		if head.OpCode != ws.OpContinuation {
			h.op = head.OpCode
		}
		h.state = h.state.Set(ws.StateFragmented)
	default:
		if head.OpCode != ws.OpContinuation {
			h.op = head.OpCode
		}
		h.state = h.state.Clear(ws.StateFragmented)
		if err := h.message(); err != nil {
			return err
		}
	}
	return h.flush()
}

// echo reads the payload of a whole message into the replies.
func (h *gobwasHand) echo(head ws.Header) error {
	mask := head.Mask
	head.Masked = false
	if err := ws.WriteHeaderBuffer(&h.out, head, h.scratch[:]); err != nil {
		return err
	}
	h.out.Grow(int(head.Length))
	p := h.out.AvailableBuffer()[:head.Length]
	if _, err := io.ReadFull(h.br, p); err != nil {
		return err
	}
	ws.Cipher(p, mask, 0)
	if head.OpCode == ws.OpText && !utf8.Valid(p) {
		return errors.New("not UTF-8")
	}
	h.out.Write(p)
	return nil
}

// message answers a message that came in fragments, or is to be published.
func (h *gobwasHand) message() error {
	p := h.fragments
	h.fragments = p[:0]
	if h.op == ws.OpText && !utf8.Valid(p) {
		return errors.New("not UTF-8")
	}
	if h.publish != nil {
		return h.publish(h.op, p)
	}
	return h.write(h.op, p)
}

func (h *gobwasHand) control(op ws.OpCode, p []byte) error {
	switch op {
	case ws.OpPing:
		return h.write(ws.OpPong, p)
	case ws.OpClose:
		h.write(ws.OpClose, p)
		h.nc.Write(h.out.Bytes())
		return io.EOF
	}
	return nil
}

func (h *gobwasHand) write(op ws.OpCode, p []byte) error {
	if err := ws.WriteHeaderBuffer(&h.out, ws.Header{Fin: true, OpCode: op, Length: int64(len(p))}, h.scratch[:]); err != nil {
		return err
	}
	h.out.Write(p)
	return nil
}

// flush writes the replies unless more are about to come.
func (h *gobwasHand) flush() error {
	if h.out.Len() == 0 || h.br.Buffered() > 0 && h.out.Len() < gathered {
		return nil
	}
	_, err := h.nc.Write(h.out.Bytes())
	h.out.Reset()
	return err
}
