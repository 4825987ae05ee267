package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"rfc6455/conn"
	"rfc6455/frame"
)

// maxInput is the longest message from standard input in bytes.
const maxInput = 16 << 20

// client is what outlives a connection: with -reconnect the next one goes on
// where the last one was lost.
type client struct {
	*settings
	show *display

	input    chan []byte // messages to send, closed behind the last one
	inputErr error       // why there are no more; for who saw input closed

	// The sender's.
	unsent  []byte
	pending bool // unsent was taken from input and is not written yet

	// The receiver's.
	count  uint          // messages shown
	enough chan struct{} // closed when they are n
	heard  chan struct{} // has a value if one was shown since it was looked at
}

func newClient(s *settings, d *display) *client {
	return &client{
		settings: s,
		show:     d,
		input:    make(chan []byte),
		enough:   make(chan struct{}),
		heard:    make(chan struct{}, 1),
	}
}

// readInput fills k.input. Nobody waits for it to return: reading from a
// terminal cannot be interrupted.
func (k *client) readInput(r io.Reader) {
	defer close(k.input)
	for _, m := range k.messages {
		if !k.put([]byte(m), "a message of -x") {
			return
		}
	}
	if len(k.messages) > 0 {
		return
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxInput+1) // a line break
	if k.whole {
		lines.Split(splitNowhere)
	}
	n := 1
	for ; lines.Scan(); n++ {
		// A copy: the scanner reads on while this one is being sent.
		if !k.put(bytes.Clone(lines.Bytes()), fmt.Sprintf("message %d of standard input", n)) {
			return
		}
	}
	if k.inputErr = lines.Err(); k.inputErr == bufio.ErrTooLong {
		k.inputErr = fmt.Errorf("message %d of standard input is over %d bytes", n, maxInput)
	}
}

// splitNowhere is a bufio.SplitFunc that makes one token of everything, and
// none of nothing.
func splitNowhere(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if !atEOF || len(data) == 0 {
		return 0, nil, nil
	}
	return len(data), data, nil
}

// put hands a message to the sender, unless it cannot be sent.
func (k *client) put(p []byte, what string) bool {
	if !k.binary && !utf8.Valid(p) {
		k.inputErr = fmt.Errorf("%s is not UTF-8, as text has to be (-binary sends any bytes)", what)
		return false
	}
	k.input <- p
	return true
}

// talk sends what is put in and shows what comes until the connection ends, or
// until nothing is left to do: then it is finished, and closes the connection.
func (k *client) talk(ctx context.Context, c *conn.Conn) (finished bool, err error) {
	allSent := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		if k.send(c) {
			close(allSent)
		}
	})
	defer sender.Wait() // the next connection's sender goes on with unsent
	defer c.CloseNow()
	received := make(chan error, 1)
	go func() { received <- k.receive(c) }()
	if k.ping > 0 {
		go k.pings(c)
	}

	code, reason, enough := k.code, k.reason, k.enough
	var silence <-chan time.Time
	for !finished {
		select {
		case <-allSent:
			allSent = nil
			err = k.inputErr
			finished = err != nil || enough == nil
			if k.wait >= 0 {
				silence = time.After(k.wait)
			}
		case <-k.heard:
			if silence != nil {
				silence = time.After(k.wait)
			}
		case <-silence:
			finished = true
		case <-enough:
			// The messages of -x are sent in any case; lines may come for ever.
			enough = nil
			finished = allSent == nil || len(k.messages) == 0
		case <-ctx.Done():
			code, reason, finished = frame.CloseNormal, "", true
		case err = <-received:
			if err == nil {
				return false, context.Cause(c.Context())
			}
			finished = true
		}
	}
	// The receiver is not waited for: it may be writing to a pipe that nobody
	// reads. What came before the other end's Close frame it has shown.
	if closeErr := c.Close(code, reason); err == nil {
		err = closeErr
	}
	if err == nil {
		err = context.Cause(c.Context())
	}
	return true, err
}

// send sends the input, and reports whether that is over; otherwise the
// connection is.
func (k *client) send(c *conn.Conn) bool {
	for {
		if !k.pending {
			select {
			case k.unsent, k.pending = <-k.input:
				if !k.pending {
					return true
				}
			case <-c.Context().Done():
				return false
			}
		}
		t := conn.Text
		if k.binary {
			t = conn.Binary
		}
		// Before it is, or the answer might be shown first.
		k.show.sent(t, k.unsent)
		if err := c.Write(context.Background(), t, k.unsent); err != nil {
			return false // the receiver finds out why
		}
		k.unsent, k.pending = nil, false
	}
}

// receive shows what comes. The error is that of standard output; at the end of
// the connection there is none.
func (k *client) receive(c *conn.Conn) error {
	for {
		t, p, err := c.Read(context.Background())
		if err != nil {
			return nil
		}
		if k.n > 0 && k.count == k.n {
			continue // reading goes on for the closing handshake
		}
		if err := k.show.received(t, p); err != nil {
			return err
		}
		if k.count++; k.count == k.n {
			close(k.enough)
		}
		select {
		case k.heard <- struct{}{}:
		default:
		}
	}
}

// pings asks for a Pong again and again.
func (k *client) pings(c *conn.Conn) {
	for {
		took, err := c.Ping(c.Context())
		if err != nil {
			return
		}
		k.show.note("pong after %v", took.Round(time.Microsecond))
		select {
		case <-time.After(k.ping):
		case <-c.Context().Done():
			return
		}
	}
}
