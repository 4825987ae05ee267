// Echo is a WebSocket server that sends every message back, on every path.
//
//	go run ./examples/echo
//
// It prints the address that it listens on, and shuts down at an interrupt: its
// clients are told with close code 1001.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"rfc6455/conn"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	maxMessage := flag.Int64("max-message", 32<<20, "largest message in `bytes`, -1 for no limit")
	raw := flag.Bool("raw", false, "serve without net/http")
	cert := flag.String("cert", "", "certificate `file` in PEM, for wss; with -key")
	key := flag.String("key", "", "private key `file` in PEM, for wss; with -cert")
	compress := flag.Bool("compress", true, "agree to compression (permessage-deflate)")
	var origins []string
	flag.Func("origin", "further `origin` that pages may come from, such as https://example.com, or * for any; repeatable", func(s string) error {
		origins = append(origins, s)
		return nil
	})
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if (*cert == "") != (*key == "") {
		return errors.New("-cert and -key go together")
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	scheme := "ws"
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return err
		}
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
		scheme = "wss"
	}
	fmt.Printf("listening on %s://%s/\n", scheme, ln.Addr())

	var tracker conn.Tracker
	o := &conn.AcceptOptions{Origins: origins, Options: conn.Options{
		ReadLimit: *maxMessage,
		Tracker:   &tracker,
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}}
	if *compress {
		o.Compression = &conn.Compression{}
	}
	failed := make(chan error, 1)
	go func() {
		if *raw {
			failed <- conn.Serve(ln, echo, o)
			return
		}
		s := &http.Server{Handler: conn.Handler(echo, o), ReadHeaderTimeout: 10 * time.Second}
		failed <- s.Serve(ln)
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop() // a second interrupt ends the program at once
	ln.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := tracker.Shutdown(ctx); err != nil {
		slog.Warn("some clients did not complete the closing handshake", "error", err)
	}
	return nil
}

// echo sends every message back.
func echo(ctx context.Context, c *conn.Conn) error {
	for m, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		if err := c.Write(ctx, m.Type, m.Data); err != nil {
			return err
		}
	}
	return nil
}
