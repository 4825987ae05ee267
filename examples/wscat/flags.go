package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"rfc6455/conn"
	"rfc6455/frame"
)

const help = `wscat is a WebSocket client for the command line.

  wscat [flags] ws://host/path      (or wss://)

Each line of standard input, of up to 16 MiB, is sent as a text message. On a
terminal messages are shown with their time, > for sent and < for received, binary
ones as hex, control characters escaped. In a pipe standard output has the payloads
that come and nothing else, one a line, binary ones as hex; all else goes to
standard error.

At the end of the input wscat waits until nothing has come for a second, or with
-n until that many messages have; then it closes the connection. After Ctrl-D on
a terminal it does not wait. -wait changes all of this. An interrupt (Ctrl-C)
closes the connection with 1000, a second one ends the program at once.

  wscat ws://127.0.0.1:8080/                              talk
  wscat -x '{"op":"time"}' -n 1 ws://host/ | jq .         ask, print the answer
  wscat -wait -1s ws://host/feed </dev/null >>feed        listen
  wscat -binary ws://host/ <picture.jpg >answer           one binary message
  wscat -H 'Authorization: Bearer x' -subprotocol chat wss://host/
  wscat -reconnect -ping 10s -trace wss://host/           watch

Flags:
`

const statuses = `
Exit status:
  0        closed by wscat, or by the other end with 1000, 1001 or without a code
  1        wrong use or input, no connection, or one that broke
  2 to 15  closed with 1002 to 1015, by either end for an error of the other
  30       closed with 3000 to 3999
  40       closed with 4000 to 4999
`

// settings are what the command line says.
type settings struct {
	url      string
	dial     conn.DialOptions
	messages []string // of -x
	binary   bool
	whole    bool          // standard input is one message
	n        uint          // messages to receive; 0: any number
	wait     time.Duration // after the input; negative: for ever
	code     frame.CloseCode
	reason   string
	ping     time.Duration // 0: none
	trace    bool
	redial   bool
}

// parse reads the command line. typed says that standard input is a terminal.
// The error is flag.ErrHelp when help was asked for and printed.
func parse(args []string, typed bool) (*settings, error) {
	s := &settings{}
	s.dial.Header = http.Header{}
	s.dial.WriteTimeout = -1 // a long message on a slow line; a lost peer is found by keepalive
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{}
	s.dial.HTTPClient = &http.Client{Transport: transport}

	f := flag.NewFlagSet("wscat", flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are told by the caller
	f.Func("H", "add a `header`, as 'Name: value', to the request; repeatable", func(v string) error {
		name, value, ok := strings.Cut(v, ":")
		if !ok {
			return errors.New("it is not 'Name: value'")
		}
		s.dial.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		return nil
	})
	f.Func("subprotocol", "offer a subprotocol `name`, the preferred one first; repeatable", func(v string) error {
		s.dial.Subprotocols = append(s.dial.Subprotocols, v)
		return nil
	})
	f.StringVar(&s.dial.Origin, "origin", "", "send an Origin header, such as `https://example.com`")
	f.Func("proxy", "go through a proxy at `URL`: http, https or socks5 (default: as\nHTTP_PROXY, HTTPS_PROXY and NO_PROXY say)", func(v string) error {
		u, err := url.Parse(v)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5") {
			return errors.New("it is not http://host:port, https://host:port or socks5://host:port")
		}
		transport.Proxy = http.ProxyURL(u)
		return nil
	})
	f.BoolVar(&transport.TLSClientConfig.InsecureSkipVerify, "insecure", false, "accept any certificate")
	f.DurationVar(&s.dial.HandshakeTimeout, "timeout", 10*time.Second, "how long connecting may take, with TLS and the handshake")
	f.Int64Var(&s.dial.ReadLimit, "max-message", 32<<20, "longest message to receive in `bytes`, -1 for any length")
	f.Func("x", "send a `message`, and read no standard input; repeatable", func(v string) error {
		s.messages = append(s.messages, v)
		return nil
	})
	f.BoolVar(&s.binary, "binary", false, "send binary messages; in a pipe all of standard input is one, and binary\nmessages that come are written as they are, with nothing between them")
	f.UintVar(&s.n, "n", 0, "end after `N` messages have come, and those of -x are sent")
	f.DurationVar(&s.wait, "wait", time.Second, "after the input, wait until nothing has come for so long; negative: for ever")
	code := f.Uint("close", uint(frame.CloseNormal), "close with this `code`, 1005 for none")
	f.StringVar(&s.reason, "reason", "", "close with this reason, at most 123 bytes")
	f.DurationVar(&s.ping, "ping", 0, "send a Ping so often, the first one at once, and show how long its Pong took")
	f.BoolVar(&s.trace, "trace", false, "show every frame on standard error: direction, opcode, FIN, RSV, length and\nthe first bytes of the payload")
	f.BoolVar(&s.redial, "reconnect", false, "connect again when the connection is lost or closed by the other end,\nand after a failed attempt; a message may be lost with the connection")
	f.DurationVar(&s.dial.RedialWait, "reconnect-wait", 5*time.Second, "longest wait before the first new attempt; it is random, and longer with\neach attempt that fails, up to a minute")
	if err := f.Parse(args); err != nil {
		if err == flag.ErrHelp {
			fmt.Print(help)
			f.SetOutput(os.Stdout)
			f.PrintDefaults()
			fmt.Print(statuses)
		}
		return nil, err
	}

	switch {
	case f.NArg() == 0:
		return nil, errors.New("which URL?")
	case f.NArg() > 1:
		return nil, fmt.Errorf("unexpected %q behind the URL: flags go before it", f.Arg(1))
	}
	s.url = f.Arg(0)
	s.code = frame.CloseCode(*code)
	if *code > 4999 || s.code != frame.CloseNoStatus && !s.code.Sendable() {
		return nil, fmt.Errorf("-close %d: that code cannot be sent: 1000 to 1003, 1007 to 1014 and 3000 to 4999 can", *code)
	}
	if len(s.reason) > frame.MaxControl-2 {
		return nil, fmt.Errorf("-reason has %d bytes, and a Close frame has room for %d", len(s.reason), frame.MaxControl-2)
	}
	s.whole = s.binary && !typed
	waitGiven := false
	f.Visit(func(g *flag.Flag) { waitGiven = waitGiven || g.Name == "wait" })
	switch {
	case waitGiven:
	case s.n > 0:
		s.wait = -1
	case typed && len(s.messages) == 0:
		s.wait = 0
	}
	return s, nil
}
