//go:build unix

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/examples/cluster/brokers"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// each runs a test over every kind of broker.
func each(t *testing.T, f func(t *testing.T, b *brokers.Broker, flags []string)) {
	t.Run("redis", func(t *testing.T) {
		brokers.NoLeaks(t)
		b := brokers.Redis(t)
		f(t, b, []string{"-redis", b.URL})
	})
	t.Run("nats", func(t *testing.T) {
		brokers.NoLeaks(t)
		b := brokers.NATS(t)
		f(t, b, []string{"-nats", b.URL})
	})
}

// sealKey returns a key for -seal-key.
func sealKey() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// Every message reaches every member in three processes exactly once, and those of
// each sender in order.
func TestEachOnce(t *testing.T) {
	each(t, func(t *testing.T, b *brokers.Broker, flags []string) {
		const members, senders, messages = 300, 6, 20
		flags = append(flags, "-seal-key", sealKey())
		processes := []*process{start(t, flags...), start(t, flags...), start(t, flags...)}

		all := make([]*peer, members)
		var wg sync.WaitGroup
		limit := make(chan struct{}, 16)
		for i := range all {
			limit <- struct{}{}
			wg.Go(func() {
				defer func() { <-limit }()
				all[i] = join(t, processes[i%len(processes)], "room", fmt.Sprint("member-", i))
			})
		}
		wg.Wait()

		var arrived [senders]atomic.Int64
		var passed [senders]chan struct{} // a message has reached everybody
		for i := range passed {
			passed[i] = make(chan struct{}, messages)
		}
		ctx := bounded(t)
		for _, m := range all {
			wg.Go(func() {
				var next [senders]int
				for total := 0; total < senders*messages; {
					in, err := conn.ReadJSON[incoming](ctx, m.Conn)
					if !assert.NoError(t, err, "after %v", next) {
						return
					}
					if in.Type != "message" {
						assert.NotEqual(t, "error", in.Type, in.Text)
						assert.NotEqual(t, "gap", in.Type)
						continue
					}
					var sender, n int
					_, err = fmt.Sscanf(in.Text, "%d %d", &sender, &n)
					if !assert.NoError(t, err) || !assert.Equal(t, next[sender], n, "of sender %d", sender) {
						return
					}
					next[sender]++
					total++
					if arrived[sender].Add(1)%members == 0 {
						passed[sender] <- struct{}{}
					}
				}
			})
		}
		for sender := range senders {
			wg.Go(func() {
				for n := range messages {
					err := conn.WriteJSON(ctx, all[sender].Conn, map[string]string{"type": "message", "text": fmt.Sprint(sender, " ", n)})
					if !assert.NoError(t, err) {
						return
					}
					select {
					case <-passed[sender]: // so no queue is ever full
					case <-ctx.Done():
						assert.Fail(t, "a message does not arrive", "sender %d, message %d: %d", sender, n, arrived[sender].Load())
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// The broker is killed and comes back. Each process goes on by itself meanwhile,
// and its members are told that they may have missed something.
func TestBrokerRestarts(t *testing.T) {
	each(t, func(t *testing.T, b *brokers.Broker, flags []string) {
		flags = append(flags, "-push-token", "let-me-push")
		one, two := start(t, flags...), start(t, flags...)
		ada, amy := join(t, one, "lobby", "ada"), join(t, one, "lobby", "amy")
		bob := join(t, two, "lobby", "bob")
		ada.say(t, "hello")
		for _, m := range []*peer{ada, amy, bob} {
			m.hears(t, "ada", "hello")
		}
		require.Empty(t, ada.settles(t))

		b.Kill(t)
		ada.say(t, "is anybody there?")
		ada.hears(t, "ada", "is anybody there?")
		amy.hears(t, "ada", "is anybody there?")
		require.Contains(t, ada.settles(t), "only some of the members")
		// People come and go, in rooms old and new.
		dan, eve := join(t, one, "lobby", "dan"), join(t, one, "new", "eve")
		amy.leave(t)
		ada.sees(t, "ada", "dan") // she has asked meanwhile, and bob is out of reach
		eve.say(t, "new room")
		eve.hears(t, "eve", "new room")
		require.NotEmpty(t, eve.settles(t))
		status, _ := push(t, one, "lobby", "lost")
		require.Equal(t, http.StatusBadGateway, status)
		ada.hears(t, "build", "lost")
		dan.hears(t, "build", "lost")

		b.Restart(t)
		for _, m := range []*peer{ada, bob, dan, eve} {
			m.until(t, "gap")
		}
		// The first message may meet a connection from before: it is told then.
		said := 0
		for again := true; again; said++ {
			require.Less(t, said, 100)
			ada.say(t, fmt.Sprint("again ", said))
			ada.hears(t, "ada", fmt.Sprint("again ", said))
			problem := ada.settles(t)
			status, _ := push(t, one, "lobby", fmt.Sprint("pushed ", said))
			again = problem != "" || status != http.StatusAccepted
			ada.hears(t, "build", fmt.Sprint("pushed ", said))
		}
		for bob.until(t, "message").Text != fmt.Sprint("pushed ", said-1) {
		}
		bob.say(t, "welcome back")
		bob.hears(t, "bob", "welcome back")
		ada.hears(t, "bob", "welcome back")
		if strings.HasPrefix(b.URL, "redis") { // with NATS each process has its own
			for _, m := range []*peer{ada, bob} {
				m.asks(t, "ada", "bob", "dan")
			}
		}
	})
}

// push sends a message by plain HTTP.
func push(t *testing.T, p *process, room, text string) (status int, body string) {
	t.Helper()
	return post(t, p, "/rooms/"+room+"/messages", fmt.Sprintf(`{"name": "build", "text": %q}`, text), "let-me-push")
}

// post posts JSON with a bearer token.
func post(t *testing.T, p *process, path, body, token string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(bounded(t), "POST", p.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// A message pushed in one process reaches the members of another, also when the
// first has nobody in that room.
func TestPush(t *testing.T) {
	each(t, func(t *testing.T, b *brokers.Broker, flags []string) {
		flags = append(flags, "-push-token", "let-me-push")
		one, two := start(t, flags...), start(t, flags...)
		ada := join(t, two, "a.b..c", "ada")
		status, body := push(t, one, "a.b..c", "all tests pass")
		require.Equal(t, http.StatusAccepted, status)
		require.JSONEq(t, `{"members": 0}`, body, "in that process")
		ada.hears(t, "build", "all tests pass")
	})
}

// Who is present is known in all processes; one that is killed loses its members
// when their entries expire.
func TestPresence(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	flags := []string{"-redis", b.URL, "-presence", "3s"}
	one, two, three := start(t, flags...), start(t, flags...), start(t, flags...)
	ada := join(t, one, "lobby", "ada")
	bob, carl := join(t, two, "lobby", "bob"), join(t, three, "lobby", "carl")
	for _, m := range []*peer{ada, bob, carl} {
		m.asks(t, "ada", "bob", "carl")
	}
	again, dora := join(t, one, "lobby", "bob"), join(t, two, "lobby", "dora")
	ada.sees(t, "ada", "bob", "carl", "dora")
	bob.leave(t)
	dora.leave(t)
	ada.sees(t, "ada", "bob", "carl")
	eve := join(t, three, "lobby", "bob")
	again.leave(t)

	three.kill()
	ada.sees(t, "ada")
	fay := join(t, two, "lobby", "fay")
	fay.asks(t, "ada", "fay")
	require.Error(t, eve.Close(frame.CloseNormal, ""))

	// A process that ends in order takes its members along at once.
	fay.drains(t)
	two.stop(t)
	ada.sees(t, "ada")
	ada.leave(t)
	one.stop(t)
	c := client(t, b)
	keys, err := c.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	for _, key := range keys {
		ttl, err := c.PTTL(t.Context(), key).Result()
		require.NoError(t, err)
		require.NotEqual(t, time.Duration(-1), ttl, "%s stays for ever", key)
	}
}

// client returns a client of a broker of its own.
func client(t *testing.T, b *brokers.Broker) *redis.Client {
	o, err := redis.ParseURL(b.URL)
	require.NoError(t, err)
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// Rooms are on one of two hosts. When one is killed, those of the other go on as
// if nothing was.
func TestTwoHosts(t *testing.T) {
	brokers.NoLeaks(t)
	near, far := brokers.Redis(t), brokers.Redis(t)
	one := start(t, "-redis", near.URL, "-redis", far.URL)
	two := start(t, "-redis", far.URL, "-redis", near.URL)
	// A room on each.
	on := map[*brokers.Broker]string{}
	for n := 0; len(on) < 2; n++ {
		require.Less(t, n, 100)
		room := fmt.Sprint("room-", n)
		join(t, one, room, "somebody")
		for _, b := range []*brokers.Broker{near, far} {
			channels, err := client(t, b).PubSubChannels(t.Context(), "*"+room).Result()
			require.NoError(t, err)
			if len(channels) > 0 {
				on[b] = room
			}
		}
	}
	type pair struct{ here, there *peer }
	pairs := map[*brokers.Broker]pair{}
	for b, room := range on {
		p := pair{join(t, one, room, "ada"), join(t, two, room, "bob")}
		p.here.asks(t, "ada", "bob", "somebody")
		p.here.say(t, "hello")
		p.here.hears(t, "ada", "hello")
		p.there.hears(t, "ada", "hello")
		require.Empty(t, p.here.settles(t))
		pairs[b] = p
	}
	near.Kill(t)
	for n := range 20 {
		pairs[near].here.say(t, fmt.Sprint("alone ", n))
		pairs[near].here.hears(t, "ada", fmt.Sprint("alone ", n))
		require.NotEmpty(t, pairs[near].here.settles(t))
		pairs[far].here.say(t, fmt.Sprint("both ", n))
		pairs[far].here.hears(t, "ada", fmt.Sprint("both ", n))
		pairs[far].there.hears(t, "ada", fmt.Sprint("both ", n))
	}
	carl := join(t, two, on[far], "carl")
	carl.asks(t, "ada", "bob", "carl", "somebody")
	near.Restart(t)
	pairs[near].here.until(t, "gap")
	pairs[near].there.until(t, "gap")
	// Whatever came to the others, no gap was among it.
	carl.say(t, "the end")
	for _, m := range []*peer{pairs[far].here, pairs[far].there} {
		for {
			in := m.next(t)
			require.NotEqual(t, "gap", in.Type)
			if in.Type == "message" {
				require.Equal(t, "the end", in.Text)
				break
			}
		}
	}
}

// A member that does not read loses messages; nobody else does, in any process.
func TestSlowMember(t *testing.T) {
	each(t, func(t *testing.T, b *brokers.Broker, flags []string) {
		one, two := start(t, flags...), start(t, flags...)
		// With little room on the way.
		narrow := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		}}).DialContext}}
		slow, err := dial(t, two, "/ws/room/lobby?name=slow", &conn.DialOptions{HTTPClient: narrow})
		require.NoError(t, err)
		slow.until(t, "welcome")
		near, far := join(t, two, "lobby", "near"), join(t, two, "lobby", "far")
		ada := join(t, one, "lobby", "ada")

		const messages = 3500 // more than all buffers between the two take
		text := make([]byte, 1400)
		for n := range messages {
			rand.Read(text) // which does not compress
			said := fmt.Sprintf("%d %s", n, base64.StdEncoding.EncodeToString(text))
			ada.say(t, said)
			for _, m := range []*peer{ada, near, far} {
				m.hears(t, "ada", said)
			}
		}
		// It may go on when it reads again, with what was not dropped.
		got, last := 0, -1
		for last < messages-1 {
			in, err := conn.ReadJSON[incoming](bounded(t), slow.Conn)
			if err != nil {
				// On a slow machine it has tried the server's patience, Options.WriteTimeout.
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				break
			}
			if in.Type != "message" {
				continue
			}
			var n int
			_, err = fmt.Sscanf(in.Text, "%d ", &n)
			require.NoError(t, err)
			require.Greater(t, n, last, "in order")
			got, last = got+1, n
		}
		require.Less(t, got, messages)
	})
}

// A session counts in every process, and a ticket in one of them, once.
func TestAuth(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	flags := []string{"-redis", b.URL, "-auth", "-key", "a key of thirty-two characters or more", "-password", "open sesame"}
	one, two := start(t, flags...), start(t, flags...)
	var answer struct{ Token, Ticket string }
	status, body := post(t, one, "/token", `{"name": "ada", "password": "open sesame"}`, "")
	require.Equal(t, 200, status, body)
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	m, err := dial(t, two, "/ws/room/lobby", &conn.DialOptions{Header: http.Header{"Authorization": {"Bearer " + answer.Token}}})
	require.NoError(t, err)
	require.Equal(t, "ada", m.until(t, "welcome").Name)

	ticket := func() string {
		status, body := post(t, one, "/ticket", "", answer.Token)
		require.Equal(t, 200, status, body)
		require.NoError(t, json.Unmarshal([]byte(body), &answer))
		return answer.Ticket
	}
	refused := func(p *process, ticket string, status int) {
		t.Helper()
		_, err := dial(t, p, "/ws/room/lobby?token="+ticket, nil)
		var response *handshake.ResponseError
		require.ErrorAs(t, err, &response)
		require.Equal(t, status, response.Status, string(response.Body))
	}
	used := ticket()
	_, err = dial(t, two, "/ws/room/lobby?token="+used, nil)
	require.NoError(t, err)
	refused(one, used, 401)
	refused(two, used, 401)
	b.Kill(t)
	refused(one, ticket(), 503)
}

// What Redis sees of a message is sealed, and processes with other keys hear
// nothing of it.
func TestSealed(t *testing.T) {
	brokers.NoLeaks(t)
	b := brokers.Redis(t)
	old, now := sealKey(), sealKey()
	watch := client(t, b).PSubscribe(t.Context(), "chat.group:*")
	defer watch.Close()
	_, err := watch.Receive(bounded(t))
	require.NoError(t, err)
	one := start(t, "-redis", b.URL, "-seal-key", old)
	two := start(t, "-redis", b.URL, "-seal-key", now, "-seal-key", old)
	other := start(t, "-redis", b.URL, "-seal-key", sealKey())
	ada, bob, eve := join(t, one, "lobby", "ada"), join(t, two, "lobby", "bob"), join(t, other, "lobby", "eve")
	ada.say(t, "a secret for two")
	ada.hears(t, "ada", "a secret for two")
	bob.hears(t, "ada", "a secret for two")
	eve.say(t, "alone")
	eve.hears(t, "eve", "alone")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for seen := 0; seen < 2; {
		m, err := watch.ReceiveMessage(ctx)
		require.NoError(t, err)
		require.NotContains(t, m.Payload, "secret")
		require.NotContains(t, m.Payload, `"type"`)
		if len(m.Payload) > 0 {
			seen++
		}
	}
}

// At an interrupt the members are told, and the program ends.
func TestShutdown(t *testing.T) {
	each(t, func(t *testing.T, b *brokers.Broker, flags []string) {
		one, two := start(t, flags...), start(t, flags...)
		ada, bob := join(t, one, "lobby", "ada"), join(t, two, "lobby", "bob")
		ended := ada.drains(t)
		one.stop(t)
		closed := new(conn.CloseError)
		require.ErrorAs(t, <-ended, &closed)
		require.Equal(t, frame.CloseGoingAway, closed.Code)
		if strings.HasPrefix(b.URL, "redis") {
			bob.sees(t, "bob")
		}
		ended = bob.drains(t)
		b.Kill(t)
		two.stop(t) // also without the broker
		require.ErrorAs(t, <-ended, &closed)
		require.Equal(t, frame.CloseGoingAway, closed.Code)
	})
}

func TestWrongUse(t *testing.T) {
	brokers.NoLeaks(t)
	const url = "redis://127.0.0.1:1"
	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"nothing", nil, "-redis or -nats is missing"},
		{"both", []string{"-redis", url, "-nats", "nats://127.0.0.1:1"}, "not both"},
		{"twice", []string{"-redis", url, "-redis", url}, "named twice"},
		{"no URL", []string{"-redis", "127.0.0.1:6379"}, "no URL of Redis"},
		{"sign-in without a key", []string{"-redis", url, "-auth"}, "-auth wants a -key"},
		{"short key", []string{"-redis", url, "-auth", "-key", "secret"}, "shorter than 32"},
		{"seal key", []string{"-redis", url, "-seal-key", "hush"}, "key 1"},
		{"presence", []string{"-redis", url, "-presence", "1ms"}, "shorter than"},
		{"prefix", []string{"-nats", "nats://127.0.0.1:1", "-prefix", "a b"}, "prefix"},
		{"argument", []string{"127.0.0.1:8080"}, "unexpected argument"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := exec.Command(program, tt.args...).CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Contains(t, string(out), tt.says)
			assert.NotContains(t, string(out), "listening")
			assert.NotContains(t, string(out), "hush")
		})
	}
	help := exec.Command(program, "-h")
	help.Env = append(os.Environ(), "CLUSTER_KEYS=hush-1", "CHAT_KEY=hush-2")
	out, _ := help.CombinedOutput()
	assert.NotContains(t, string(out), "hush")
	bad := exec.Command(program, "-redis", url)
	bad.Env = append(os.Environ(), "CLUSTER_KEYS="+sealKey()+",hush!")
	out, err := bad.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "key 2 is not in base64")
}
