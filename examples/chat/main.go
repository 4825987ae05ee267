// Chat is a group chat: rooms by URL, who is present, messages from people and
// from plain HTTP requests.
//
//	go run ./examples/chat
//
// Then open http://127.0.0.1:8080/ in two windows. With -auth people sign in
// first. At an interrupt it shuts down: the pages are told with close code 1001
// and connect again by themselves once it is back.
//
// Read rooms/room.go first: connect, receive and disconnect of a member are
// there. The same rooms in several processes are in examples/cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"rfc6455/examples/chat/rooms"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run() error {
	s := rooms.Server{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	s.Flags(flag.CommandLine)
	flag.Func("redis", "not here: `URL` is a flag of the program in examples/cluster", func(string) error {
		return errors.New("several processes share their rooms with another program: cd examples/cluster && go run . -redis URL")
	})
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if err := s.Check(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	return s.Run(ctx, rooms.New(nil, nil))
}
