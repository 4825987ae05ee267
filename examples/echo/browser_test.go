//go:build unix

package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

//go:embed testdata/page.html
var pages embed.FS

// browser returns the command line of a headless Chromium. Without one the test
// is skipped, and fails where CI=true.
func browser(t *testing.T) []string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return []string{
				path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
				"--disable-background-networking", "--disable-component-update", "--disable-sync",
				"--ignore-certificate-errors", "--remote-debugging-port=0",
			}
		}
	}
	if os.Getenv("CI") == "true" {
		require.Fail(t, "no chromium, chromium-browser or google-chrome on PATH")
	}
	t.Skip("no chromium, chromium-browser or google-chrome on PATH: the browser test needs one")
	return nil
}

// result is what the page posts for each of its cases.
type result struct {
	Name   string
	OK     bool
	Detail string
}

// TestBrowser has a real browser talk to the program, and to a server that
// pings, closes and refuses as the page asks.
func TestBrowser(t *testing.T) {
	command := browser(t)
	cert, key := certificate(t)
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"net/http", nil},
		{"raw", []string{"-raw"}},
		{"TLS", []string{"-cert", cert, "-key", key}},
	} {
		t.Run(tt.name, func(t *testing.T) { browse(t, command, tt.args) })
	}
}

func browse(t *testing.T, command, args []string) {
	results := make(chan result, 100)
	seen := make(chan conn.CloseError, 100)
	mux := http.NewServeMux()
	var compressed struct{ received, sent atomic.Int64 } // frames with RSV1
	script(mux, seen, &conn.Trace{
		Received: func(_ *conn.Conn, h frame.Header, _ []byte) { compressed.received.Add(int64(h.RSV >> 2)) },
		Sent:     func(_ *conn.Conn, h frame.Header, _ []byte) { compressed.sent.Add(int64(h.RSV >> 2)) },
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, pages, "testdata/page.html")
	})
	mux.HandleFunc("POST /result", func(w http.ResponseWriter, r *http.Request) {
		var got result
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		results <- got
	})
	own := httptest.NewServer(mux)
	defer own.Close()
	echo := start(t, append(args, "-origin", own.URL, "-max-message", strconv.Itoa(2<<20))...)

	query := url.Values{"echo": {echo.url}, "scripted": {"ws" + strings.TrimPrefix(own.URL, "http")}}
	cmd := exec.Command(command[0], append(command[1:], "--user-data-dir="+t.TempDir(), own.URL+"/?"+query.Encode())...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(t, cmd.Start())
	defer func() {
		// Its children are in its process group.
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if t.Failed() {
			t.Log("browser: ", output.String())
		}
	}()

	deadline := time.After(2 * patience)
	count := 0
	for done := false; !done; {
		select {
		case got := <-results:
			done = got.Name == "done"
			assert.True(t, got.OK, "%s: %s", got.Name, got.Detail)
			count++
		case <-deadline:
			require.Fail(t, "the page does not finish", "%d cases came", count)
		}
	}
	assert.Equal(t, 24, count, "cases of the page, and its end")

	assert.EqualValues(t, 4, compressed.received.Load(), "the browser compresses every message")
	assert.EqualValues(t, 3, compressed.sent.Load(), "the server does, but for the short one")

	// What the server saw when the page closed.
	for _, want := range []conn.CloseError{
		{Code: frame.CloseNoStatus, Remote: true},
		{Code: frame.CloseNormal, Remote: true},
		{Code: 3001, Reason: "reason", Remote: true},
	} {
		assert.Equal(t, want, <-seen)
	}
}

// script adds the endpoints that do what the page asks of them. seen gets what
// /closed was closed with, trace the frames of /compressed.
func script(mux *http.ServeMux, seen chan<- conn.CloseError, trace *conn.Trace) {
	mux.Handle("/compressed", conn.Handler(echo, &conn.AcceptOptions{Options: conn.Options{
		Compression: &conn.Compression{},
		Trace:       trace,
	}}))
	mux.Handle("/close", conn.Handler(func(ctx context.Context, c *conn.Conn) error {
		q := c.Request().URL.Query()
		code, err := strconv.ParseUint(q.Get("code"), 10, 16)
		if err != nil {
			return err
		}
		return &conn.CloseError{Code: frame.CloseCode(code), Reason: q.Get("reason")}
	}, nil))
	mux.Handle("/closed", conn.Handler(func(ctx context.Context, c *conn.Conn) error {
		_, _, err := c.Read(ctx)
		var closed *conn.CloseError
		if errors.As(err, &closed) {
			seen <- *closed
		}
		return err
	}, nil))
	mux.Handle("/ping", conn.Handler(func(ctx context.Context, c *conn.Conn) error {
		read := make(chan error, 1)
		go func() {
			_, _, err := c.Read(ctx)
			read <- err
		}()
		if _, err := c.Ping(ctx); err != nil {
			return err
		}
		if err := c.Write(ctx, conn.Text, []byte("pong came")); err != nil {
			return err
		}
		return <-read
	}, nil))
	drain := func(ctx context.Context, c *conn.Conn) error {
		for _, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	mux.Handle("/subprotocol", conn.Handler(drain, &conn.AcceptOptions{Subprotocols: []string{"chat.v2", "chat.v1"}}))
	foreign := conn.Handler(drain, nil)
	mux.HandleFunc("/foreign", func(w http.ResponseWriter, r *http.Request) {
		r.Host = "elsewhere.example" // as if the page came from another site
		foreign.ServeHTTP(w, r)
	})
}
