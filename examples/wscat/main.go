// Wscat is a WebSocket client for the command line: what is typed is sent, a
// message a line, and what comes is shown.
//
//	go run ./examples/wscat ws://127.0.0.1:8080/
//
// In a pipe its standard output has the payloads alone. -h tells the rest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"syscall"

	"rfc6455/conn"
	"rfc6455/frame"
)

func main() {
	s, err := parse(os.Args[1:], isTerminal(os.Stdin))
	if err == flag.ErrHelp {
		return
	}
	d := &display{out: os.Stdout, err: os.Stderr, terminal: isTerminal(os.Stdout)}
	if err == nil {
		d.raw = s.binary
		err = run(s, d)
	} else {
		err = fmt.Errorf("%w (-h shows how to use it)", err)
	}
	d.end(err)
	os.Exit(status(err))
}

// run returns what ended the last connection, or why there was none.
func run(s *settings, d *display) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		signal.Stop(interrupted) // a second one ends the program at once
		cancel()
	}()
	if s.trace {
		s.dial.Trace = d.trace()
	}
	k := newClient(s, d)
	go k.readInput(os.Stdin)
	for c, err := range dial(ctx, s) {
		if ctx.Err() != nil && err != nil {
			break
		}
		if re, ok := errors.AsType[*conn.RedialError](err); ok {
			d.note("%v", re)
			continue
		}
		if err != nil {
			return err
		}
		if s.redial || d.terminal {
			d.connected(c)
		}
		if finished, err := k.talk(ctx, c); finished || !s.redial {
			return err
		}
	}
	return errors.New("interrupted while there was no connection")
}

// dial yields a connection, and with -reconnect another one whenever it is lost.
func dial(ctx context.Context, s *settings) iter.Seq2[*conn.Conn, error] {
	if s.redial {
		return conn.Redial(ctx, s.url, &s.dial)
	}
	return func(yield func(*conn.Conn, error) bool) {
		c, _, err := conn.Dial(ctx, s.url, &s.dial)
		yield(c, err)
	}
}

// status returns the exit status for what ended the program, as the help has it.
func status(err error) int {
	var code frame.CloseCode
	if ce, ok := errors.AsType[*conn.CloseError](err); ok {
		if !ce.Remote || errors.Is(ce, io.EOF) {
			return 0
		}
		code = ce.Code
	} else if pe, ok := errors.AsType[*frame.ProtocolError](err); ok {
		code = pe.Code // that the other end was told
	}
	switch {
	case code == 0:
		return 1
	case code < 3000:
		return int(code - 1000)
	case code < 4000:
		return 30
	default:
		return 40
	}
}
