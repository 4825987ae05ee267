package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// display shows everything. Each call makes one Write, so that several
// goroutines may share it.
type display struct {
	out, err io.Writer
	terminal bool // out is one
	raw      bool // binary messages go to a pipe as they are
}

// isTerminal reports whether f is one, or another device that is not read or
// written by a program. The null device is not: whoever gives it as standard
// input has nothing to say, and has not typed Ctrl-D.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// received shows a message of the other end.
func (d *display) received(t conn.MessageType, p []byte) error {
	var err error
	switch {
	case d.terminal:
		_, err = io.WriteString(d.out, line("<", payload(t, p)))
	case t == conn.Text:
		_, err = d.out.Write(append(p, '\n'))
	case d.raw:
		_, err = d.out.Write(p)
	default:
		_, err = d.out.Write(append(hex.AppendEncode(nil, p), '\n'))
	}
	return err
}

// sent shows a message of this end, on a terminal.
func (d *display) sent(t conn.MessageType, p []byte) {
	if d.terminal {
		io.WriteString(d.out, line(">", payload(t, p)))
	}
}

// note tells what goes on beside the messages.
func (d *display) note(format string, args ...any) {
	io.WriteString(d.err, line("*", printable(fmt.Sprintf(format, args...))))
}

// connected tells of a new connection.
func (d *display) connected(c *conn.Conn) {
	with := ""
	if p := c.Subprotocol(); p != "" {
		with = ", subprotocol " + p
	}
	d.note("connected to %s%s", c.Request().URL.Host, with)
}

// end tells why the program ends.
func (d *display) end(err error) {
	text := strings.TrimPrefix(err.Error(), "websocket: ")
	if ce, ok := errors.AsType[*conn.CloseError](err); ok {
		if ce.Remote || d.terminal {
			d.note("%s", text)
		}
		return
	}
	more := ""
	if re, ok := errors.AsType[*handshake.ResponseError](err); ok {
		bare := *re
		bare.Body = nil // shown below, not quoted
		text, more = strings.TrimPrefix(bare.Error(), "websocket: "), response(re)
	}
	io.WriteString(d.err, "wscat: "+printable(text)+"\n"+more)
}

// response shows the response that refused a handshake, but for its status.
func response(re *handshake.ResponseError) string {
	var b strings.Builder
	for _, name := range []string{
		"Server", "Via", "Location", "Retry-After", "Www-Authenticate", "Content-Type", "Upgrade", "Connection",
		"Sec-Websocket-Version", "Sec-Websocket-Accept", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions",
	} {
		for _, value := range re.Header[http.CanonicalHeaderKey(name)] {
			fmt.Fprintf(&b, "  %s: %s\n", name, printable(value))
		}
	}
	if body := strings.TrimSpace(string(re.Body)); body != "" {
		b.WriteString("\n")
		for l := range strings.Lines(body) {
			b.WriteString("  " + printable(strings.TrimRight(l, "\r\n")) + "\n")
		}
	}
	return b.String()
}

// traceBytes is how much of a frame's payload -trace shows.
const traceBytes = 32

// trace returns what shows every frame.
func (d *display) trace() *conn.Trace {
	show := func(mark string) func(*conn.Conn, frame.Header, []byte) {
		return func(_ *conn.Conn, h frame.Header, start []byte) {
			fin := 0
			if h.Fin {
				fin = 1
			}
			text := fmt.Sprintf("frame %v fin=%d rsv=%03b length=%d", h.Opcode, fin, h.RSV, h.Length)
			if code, reason, err := frame.ParseClose(start); h.Opcode == frame.OpClose && err == nil {
				text += fmt.Sprintf(" %v %q", code, reason)
			} else if h.Length > 0 {
				text += " " + beginning(h, start)
			}
			io.WriteString(d.err, line(mark, printable(text)))
		}
	}
	return &conn.Trace{Received: show("<"), Sent: show(">")}
}

// beginning shows the first bytes of a frame's payload.
func beginning(h frame.Header, start []byte) string {
	start = start[:min(len(start), traceBytes)]
	text := strconv.Quote(string(start))
	if h.Opcode == frame.OpBinary || h.Opcode.IsControl() {
		text = fmt.Sprintf("% x", start)
	}
	if int64(len(start)) < h.Length {
		text += "..."
	}
	return text
}

// hexBytes is how much of a binary message a terminal shows.
const hexBytes = 32

// payload shows a message on a terminal.
func payload(t conn.MessageType, p []byte) string {
	if t == conn.Text {
		return printable(string(p))
	}
	more := ""
	if len(p) > hexBytes {
		more = " ..."
	}
	return fmt.Sprintf("binary, %d bytes: % x%s", len(p), p[:min(len(p), hexBytes)], more)
}

// line is what stands on a terminal at one time. Further lines of a text are set
// off, so that none can be mistaken for another message.
func line(mark, text string) string {
	return time.Now().Format("15:04:05.000 ") + mark + " " + strings.ReplaceAll(text, "\n", "\n             | ") + "\n"
}

// printable escapes what a terminal would obey instead of showing it: control
// characters but for tab and newline, and those that change the direction of
// writing. Joiners stay, emoji and some scripts are made with them.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsGraphic(r) || strings.ContainsRune("\t\n\u200c\u200d", r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}
