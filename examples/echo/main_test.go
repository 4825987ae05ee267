//go:build unix

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
	"rfc6455/handshake"
)

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 60 * time.Second

// program is the echo server as its users start it; TestMain builds it.
var program string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "echo")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "echo")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// server is a running echo program.
type server struct {
	url    string
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	stdout []string      // its lines, complete then
}

// start runs the program on a free port. It is killed at the end of the test.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{exited: make(chan struct{})}
	s.cmd = exec.Command(program, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	s.cmd.Stderr = t.Output()
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.exited // what it says on standard error goes to t
	})
	first := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			s.stdout = append(s.stdout, lines.Text())
			if len(s.stdout) == 1 {
				first <- lines.Text()
			}
		}
		close(first)
		s.cmd.Wait()
		close(s.exited)
	}()
	line := <-first
	at, ok := strings.CutPrefix(line, "listening on ")
	require.True(t, ok, "the program's first line is %q", line)
	s.url = at
	return s
}

// stopped waits for the program's end and returns its exit status.
func (s *server) stopped(t *testing.T) int {
	t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		require.Fail(t, "the program does not end")
	}
	assert.Len(t, s.stdout, 1, "one line on standard output")
	return s.cmd.ProcessState.ExitCode()
}

// dial opens a client's connection to rawURL.
func dial(t *testing.T, rawURL string, terms handshake.Client) (*conn.Conn, error) {
	t.Helper()
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	nc, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	if u.Scheme == "wss" {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	req, err := terms.Request(rawURL)
	require.NoError(t, err)
	require.NoError(t, req.Write(nc))
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, req)
	require.NoError(t, err)
	agreement, err := terms.Check(req, resp)
	if err != nil {
		return nil, err
	}
	require.Zero(t, r.Buffered(), "the server speaks only when spoken to")
	return conn.New(nc, frame.Client, agreement, &conn.Options{ReadLimit: 64 << 20}), nil
}

func TestEcho(t *testing.T) {
	cert, key := certificate(t)
	for _, tt := range []struct {
		name string
		args []string
		url  string
	}{
		{"net/http", nil, "ws://127.0.0.1:"},
		{"raw", []string{"-raw"}, "ws://127.0.0.1:"},
		{"TLS", []string{"-cert", cert, "-key", key}, "wss://127.0.0.1:"},
		{"TLS, raw", []string{"-raw", "-cert", cert, "-key", key}, "wss://127.0.0.1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tt.args...)
			require.Regexp(t, "^"+tt.url+`\d+/$`, s.url)
			c, err := dial(t, s.url+"any/path?x=y", handshake.Client{})
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for _, size := range []int{0, 1, 125, 126, 65535, 65536, 3 << 20} {
				for _, mt := range []conn.MessageType{conn.Text, conn.Binary} {
					want := strings.Repeat("e", size)
					wrote := make(chan error, 1)
					go func() { wrote <- c.Write(ctx, mt, []byte(want)) }()
					gotType, got, err := c.Read(ctx)
					require.NoError(t, err)
					require.NoError(t, <-wrote)
					require.Equal(t, mt, gotType)
					require.Equal(t, want, string(got))
				}
			}
			require.NoError(t, c.Close(frame.CloseNormal, "done"))
		})
	}
}

func TestEchoRefusals(t *testing.T) {
	for _, mode := range [][]string{nil, {"-raw"}} {
		t.Run(fmt.Sprint("args=", mode), func(t *testing.T) {
			s := start(t, append(mode, "-origin", "https://page.example", "-max-message", "1000")...)
			resp, err := http.Get("http" + strings.TrimPrefix(s.url, "ws"))
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, http.StatusUpgradeRequired, resp.StatusCode)
			assert.Equal(t, "websocket", resp.Header.Get("Upgrade"))
			assert.Contains(t, string(body), "this is a WebSocket endpoint")

			_, err = dial(t, s.url, handshake.Client{Origin: "https://other.example"})
			var refused *handshake.ResponseError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, http.StatusForbidden, refused.Status)

			c, err := dial(t, s.url, handshake.Client{Origin: "https://page.example"})
			require.NoError(t, err)
			require.NoError(t, c.Write(t.Context(), conn.Binary, make([]byte, 1001)))
			_, _, err = c.Read(t.Context())
			var closed *conn.CloseError
			require.ErrorAs(t, err, &closed)
			assert.Equal(t, frame.CloseMessageTooBig, closed.Code)
			assert.Contains(t, closed.Reason, "1001")
		})
	}
}

func TestShutdown(t *testing.T) {
	for _, mode := range [][]string{nil, {"-raw"}} {
		for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
			t.Run(fmt.Sprint("args=", mode, " signal=", sig), func(t *testing.T) {
				t.Parallel() // each waits as long as the program does for the silent client
				s := start(t, mode...)
				var clients []*conn.Conn
				for range 3 {
					c, err := dial(t, s.url, handshake.Client{})
					require.NoError(t, err)
					clients = append(clients, c)
				}
				// One that never answers must not hold the program up.
				_, err := dial(t, s.url, handshake.Client{})
				require.NoError(t, err)
				require.NoError(t, s.cmd.Process.Signal(sig))
				for _, c := range clients {
					_, _, err := c.Read(t.Context())
					var closed *conn.CloseError
					require.ErrorAs(t, err, &closed)
					assert.Equal(t, conn.CloseError{Code: frame.CloseGoingAway, Remote: true}, *closed)
				}
				assert.Equal(t, 0, s.stopped(t))
			})
		}
	}
}

func TestWrongUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"certificate without key", []string{"-cert", "x"}, "-cert and -key go together"},
		{"no such certificate", []string{"-cert", "nowhere", "-key", "nowhere", "-addr", "127.0.0.1:0"}, "nowhere"},
		{"address in use", []string{"-addr", taken.Addr().String()}, "address already in use"},
		{"argument", []string{"127.0.0.1:8080"}, "unexpected argument"},
		{"unknown flag", []string{"-port", "1"}, "-port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := exec.Command(program, tt.args...).CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Contains(t, []int{1, 2}, exit.ExitCode())
			assert.Contains(t, string(out), tt.says)
			assert.NotContains(t, string(out), "listening")
		})
	}
}

// certificate makes a certificate for 127.0.0.1 and returns its files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return name
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8)
}
