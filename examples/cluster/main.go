// Cluster is the chat of examples/chat on several processes, which find each other
// over Redis or NATS:
//
//	go run . -redis redis://127.0.0.1:6379 -addr 127.0.0.1:8081
//	go run . -redis redis://127.0.0.1:6379 -addr 127.0.0.1:8082
//
// Whoever is in a room of one is in the same room of the other. The rooms are
// those of examples/chat/rooms; what is new is the Backplane of their layer, in
// redisplane and natsplane, and who is present in all processes, in presence.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"rfc6455/conn/group"
	"rfc6455/examples/chat/rooms"
	"rfc6455/examples/cluster/natsplane"
	"rfc6455/examples/cluster/presence"
	"rfc6455/examples/cluster/redisplane"
	"rfc6455/examples/cluster/seal"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run() error {
	c := cluster{logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	c.flags(flag.CommandLine)
	s := rooms.Server{Logger: c.logger}
	s.Flags(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if err := s.Check(); err != nil {
		return err
	}
	if s.SignIn && s.Key == "" {
		return errors.New("-auth wants a -key, the same for all processes: a session counts in each of them")
	}
	plane, err := c.open()
	if err != nil {
		return err
	}
	defer plane.Close()

	layer := &group.Layer{Backplane: plane, Logger: c.logger}
	var chat *rooms.Chat
	if p, ok := plane.(*redisplane.Plane); ok {
		who := presence.New(p.Reach, &presence.Options{Prefix: c.prefix + "presence:", TTL: c.ttl, Logger: c.logger})
		s.Tickets = who
		chat = rooms.New(layer, who)
		tell := layer.Gap
		layer.Gap = func(room string) {
			who.Refresh()
			tell(room)
		}
	} else {
		chat = rooms.New(layer, nil)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	return s.Run(ctx, chat)
}

// cluster is how the processes find each other.
type cluster struct {
	redis  list
	nats   string
	prefix string
	keys   list
	ttl    time.Duration
	logger *slog.Logger
}

func (c *cluster) flags(f *flag.FlagSet) {
	f.Var(&c.redis, "redis", "`URL` of a Redis host, such as redis://:password@127.0.0.1:6379/0; may be given several times, alike for all processes")
	f.StringVar(&c.nats, "nats", "", "`URL` of NATS instead, such as nats://127.0.0.1:4222; who is present, and which tickets have been used, is known for each process alone then")
	f.StringVar(&c.prefix, "prefix", "chat.", "begins the `name` of all that stands in Redis or NATS; the same for all processes")
	f.Var(&c.keys, "seal-key", "`key` of 32 bytes in base64 that messages are sealed with; may be given several times: the first seals, all open. Or CLUSTER_KEYS in the environment, with commas")
	f.DurationVar(&c.ttl, "presence", 30*time.Second, "how long after the death of a process its members are present in others, with Redis")
}

// plane is a Backplane that can be closed.
type plane interface {
	group.Backplane
	io.Closer
}

// open returns the Backplane that was asked for.
func (c *cluster) open() (plane, error) {
	keys := c.keys
	if env := os.Getenv("CLUSTER_KEYS"); len(keys) == 0 && env != "" {
		keys = strings.Split(env, ",")
	}
	sealed, err := seal.Parse(keys...)
	if err != nil {
		return nil, err
	}
	if c.ttl < 100*time.Millisecond {
		return nil, errors.New("-presence is shorter than 100ms")
	}
	switch {
	case len(c.redis) > 0 && c.nats != "":
		return nil, errors.New("-redis or -nats, not both")
	case len(c.redis) > 0:
		logging.Disable() // go-redis writes to standard error what its errors say anyway
		return redisplane.New(c.redis, &redisplane.Options{Prefix: c.prefix + "group:", Keys: sealed, Offline: true, Logger: c.logger})
	case c.nats != "":
		return natsplane.New(c.nats, &natsplane.Options{Prefix: c.prefix + "group", Keys: sealed, Offline: true, Logger: c.logger})
	}
	return nil, errors.New("-redis or -nats is missing")
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return "" } // no secrets in -h
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}
