// Package redisplane carries the messages of groups between processes over the
// pub/sub of Redis: it is a [group.Backplane].
//
//	plane, err := redisplane.New([]string{"redis://127.0.0.1:6379"}, nil)
//	layer := &group.Layer{Backplane: plane}
//	go layer.Run(ctx)
//
// # Delivery
//
// A group is a channel of Redis, named by a prefix and the group. Each process has
// one connection to each host that receives, and some that publish. Nothing is
// stored: what is published while a process is cut off from its host is lost to
// that process, and Receive tells of a gap in the groups of that host when it has
// connected and subscribed again. A process whose messages wait too long in Redis
// (client-output-buffer-limit pubsub) is cut off by it, and has a gap as well.
//
// # Several hosts
//
// The groups are spread over the hosts by rendezvous hashing: a group is on the
// host for which the hash of both is the highest. So all processes find the same
// one, in whatever order the hosts are named, and a host that is added or taken
// away moves only its own share. All processes must be given the same hosts,
// written alike: 127.0.0.1 and localhost are two. Hosts know nothing of each
// other, and none stands in for another: while one is down its groups are within
// each process, and those of the others go on.
//
// # Time
//
// Redis is sent a PING every [Options.Keepalive], and a connection on which
// nothing comes for twice that time is given up. A lost connection is made again
// at once, and then after waits that double up to [Options.MaxWait] and are
// random. While a host cannot be reached, Publish fails at once.
package redisplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"rfc6455/conn/group"
	"rfc6455/examples/cluster/seal"
)

// Options says how messages travel. The zero value is right for a Redis of one's
// own; nil is the zero value.
type Options struct {
	// Prefix comes before each group's name. The default is "group:".
	Prefix string
	// Keys, if set, seals messages.
	Keys *seal.Keys
	// Offline has Subscribe succeed while the group's host cannot be reached:
	// members join then, and have their group within this process until Receive
	// tells of a gap. Otherwise it fails, and so does group.Layer.Add.
	Offline bool
	// Timeout bounds connecting, and each command. The default is 2 s.
	Timeout time.Duration
	// Keepalive is the time between two PINGs on a connection that receives. The
	// default is 3 s.
	Keepalive time.Duration
	// MaxWait bounds the time between two attempts to connect. The default is 2 s.
	MaxWait time.Duration
	// Logger, if set, is told of hosts that are lost and found.
	Logger *slog.Logger
}

// Plane is a Backplane over one or several Redis hosts. All methods may be called
// from any goroutine. Close it when nothing uses it any more.
type Plane struct {
	o     Options
	hosts []*host
	names []string // of hosts, for the hash
}

var _ group.Backplane = (*Plane)(nil)

// New returns a Plane over the hosts at these URLs, as redis.ParseURL of go-redis
// reads them: redis://user:password@host:port/db, rediss for TLS, or
// unix:///path?db=0. It connects when it is used.
func New(urls []string, o *Options) (*Plane, error) {
	p := &Plane{}
	if o != nil {
		p.o = *o
	}
	p.o.Prefix = cmp.Or(p.o.Prefix, "group:")
	p.o.Timeout = cmp.Or(p.o.Timeout, 2*time.Second)
	p.o.Keepalive = cmp.Or(p.o.Keepalive, 3*time.Second)
	p.o.MaxWait = cmp.Or(p.o.MaxWait, 2*time.Second)
	if len(urls) == 0 {
		return nil, errors.New("redisplane: there is no host")
	}
	for i, u := range urls {
		with, err := redis.ParseURL(u)
		if err != nil {
			if parse, ok := errors.AsType[*url.Error](err); ok {
				err = parse.Err // the URL may hold a password
			}
			return nil, fmt.Errorf("redisplane: host %d is no URL of Redis: %w", i+1, err)
		}
		name := fmt.Sprintf("%s/%d", with.Addr, with.DB)
		if slices.Contains(p.names, name) {
			return nil, fmt.Errorf("redisplane: host %s is named twice", name)
		}
		with.DialTimeout, with.ReadTimeout, with.WriteTimeout, with.PoolTimeout = p.o.Timeout, p.o.Timeout, p.o.Timeout, p.o.Timeout
		with.ContextTimeoutEnabled = true
		// A command that failed may have been carried out: once more is once too
		// often.
		with.MaxRetries, with.DialerRetries = -1, 1
		with.DisableIdentity = true
		with.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		p.names = append(p.names, name)
		p.hosts = append(p.hosts, newHost(name, with, &p.o))
	}
	return p, nil
}

// Close closes the connections that publish. It is called after Receive has
// returned.
func (p *Plane) Close() error {
	var err error
	for _, h := range p.hosts {
		err = cmp.Or(err, h.client.Close())
	}
	return err
}

// Reach returns a client for the host of a group, for others who keep something
// about it, or an error if the host cannot be reached as far as is known. The
// client tries nothing twice.
func (p *Plane) Reach(group string) (*redis.Client, error) {
	h := p.host(group)
	if err := h.unreachable(); err != nil {
		return nil, err
	}
	return h.client, nil
}

func (p *Plane) host(group string) *host { return p.hosts[place(p.names, group)] }

// Publish gives a message to Redis. An error says that it may not have got it;
// there is one at once while the host cannot be reached, and otherwise after
// Options.Timeout.
func (p *Plane) Publish(ctx context.Context, group string, m []byte) error {
	client, err := p.Reach(group)
	if err != nil {
		return err
	}
	return client.Publish(ctx, p.o.Prefix+group, p.o.Keys.Seal(group, m)).Err()
}

// Subscribe returns when Redis has confirmed that the messages of a group come, or
// with an error as soon as its host cannot be reached: see Options.Offline.
func (p *Plane) Subscribe(ctx context.Context, group string) error {
	return p.host(group).subscribe(ctx, group)
}

// Unsubscribe ends that. It never fails: a connection that does not take it is
// given up, and the next one does not subscribe to the group.
func (p *Plane) Unsubscribe(ctx context.Context, group string) error {
	p.host(group).unsubscribe(group)
	return nil
}

// Receive is as [group.Backplane] says. It calls deliver and gap from one
// goroutine for each host: one host does not wait for another, and a group is on
// one. It returns when ctx ends, and only then.
func (p *Plane) Receive(ctx context.Context, deliver func(group string, m []byte), gap func(groups ...string)) error {
	var wg sync.WaitGroup
	for _, h := range p.hosts {
		wg.Go(func() { h.receive(ctx, deliver, gap) })
	}
	wg.Wait()
	return ctx.Err()
}
