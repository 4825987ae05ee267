//go:build linux

package interop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/conn"
	"rfc6455/frame"
)

// message is what is sent to an echo.
type message struct {
	name string
	mt   conn.MessageType
	data []byte
}

// messages are those that every peer has to echo.
func messages() []message {
	list := []message{
		{"text ASCII", conn.Text, []byte("Hello, WebSocket! ~!@#$%^&*()_+")},
		{"text Chinese", conn.Text, []byte(strings.Repeat("网络套接字协议，双向通信。", 1000))},
		{"text emoji", conn.Text, []byte(strings.Repeat("👩‍👩‍👧‍👦🏳️‍🌈👍🏽", 1000))},
		{"text 0", conn.Text, nil},
	}
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
		list = append(list, message{fmt.Sprint("binary ", size), conn.Binary, pattern(size)})
	}
	return list
}

// pattern is a payload in which every position matters.
func pattern(size int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(i*31 + i>>8*7 + i>>16)
	}
	return p
}

// ids number the connections, for the peers to report about them.
var ids atomic.Int64

func newID() string { return fmt.Sprint(ids.Add(1)) }

// dial opens a connection, which is gone at the end of the test.
func dial(t *testing.T, url string, o *conn.DialOptions) *conn.Conn {
	t.Helper()
	c, _ := dialResponse(t, url, o)
	return c
}

func dialResponse(t *testing.T, url string, o *conn.DialOptions) (*conn.Conn, *http.Response) {
	t.Helper()
	c, resp, err := conn.Dial(bounded(t), url, o)
	require.NoError(t, err)
	t.Cleanup(func() { c.CloseNow() })
	return c, resp
}

// bounded returns a context that ends with the test, or with its patience.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// reading has a goroutine read c. The channel gets the error that ends that, and
// nothing may come before it.
func reading(t *testing.T, c *conn.Conn) <-chan error {
	ended := make(chan error, 1)
	ctx := bounded(t)
	go func() {
		mt, data, err := c.Read(ctx)
		if err == nil {
			err = fmt.Errorf("a %v message of %d bytes, which nobody expects", mt, len(data))
		}
		ended <- err
	}()
	return ended
}

// echo sends messages, one after the other, and gets each back.
func (p *peer) echo(t *testing.T, c *conn.Conn, list []message) {
	for _, m := range list {
		p.run(t, m.name, func(t *testing.T) {
			ctx := bounded(t)
			wrote := make(chan error, 1)
			go func() { wrote <- c.Write(ctx, m.mt, m.data) }()
			mt, data, err := c.Read(ctx)
			require.NoError(t, err)
			require.NoError(t, <-wrote)
			require.Equal(t, m.mt, mt)
			require.True(t, bytes.Equal(m.data, data), "%d bytes came back of %d", len(data), len(m.data))
		})
	}
}

// fragments sends a message in fragments, with a Ping in between, and gets it
// back.
func (p *peer) fragments(t *testing.T, c *conn.Conn) {
	p.run(t, "fragments to it", func(t *testing.T) {
		ctx := bounded(t)
		data := pattern(200_000)
		wrote := make(chan error, 1)
		go func() {
			wrote <- func() error {
				w, err := c.Writer(ctx, conn.Binary)
				if err != nil {
					return err
				}
				if _, err := w.Write(data[:100_000]); err != nil {
					return err
				}
				if _, err := c.Ping(ctx); err != nil {
					return err
				}
				if _, err := w.Write(data[100_000:]); err != nil {
					return err
				}
				return w.Close()
			}()
		}()
		mt, got, err := c.Read(ctx)
		require.NoError(t, err)
		require.NoError(t, <-wrote)
		require.Equal(t, conn.Binary, mt)
		require.True(t, bytes.Equal(data, got), "%d bytes came back", len(got))
	})
}

// ping sends Pings, which are answered while a goroutine reads.
func (p *peer) ping(t *testing.T, c *conn.Conn) {
	p.run(t, "ping to it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(bounded(t))
		read := make(chan error, 1)
		go func() {
			_, _, err := c.Read(ctx)
			read <- err
		}()
		for range 3 {
			took, err := c.Ping(ctx)
			require.NoError(t, err)
			assert.Positive(t, took)
		}
		cancel()
		require.ErrorIs(t, <-read, context.Canceled)
	})
}

// pipeline sends many messages without waiting for their echoes.
func (p *peer) pipeline(t *testing.T, c *conn.Conn) {
	p.run(t, "2000 messages pipelined", func(t *testing.T) {
		const count = 2000
		ctx := bounded(t)
		wrote := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < count && err == nil; i++ {
				err = c.Write(ctx, conn.Text, fmt.Append(nil, "message ", i))
			}
			wrote <- err
		}()
		for i := range count {
			_, data, err := c.Read(ctx)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("message ", i), string(data))
		}
		require.NoError(t, <-wrote)
	})
}

// writers sends messages from many goroutines at once.
func (p *peer) writers(t *testing.T, c *conn.Conn) {
	p.run(t, "16 concurrent writers", func(t *testing.T) {
		const writers, each = 16, 50
		ctx := bounded(t)
		var wg sync.WaitGroup
		errs := make(chan error, writers*each)
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					data := fmt.Appendf(nil, "%d %d %s", w, i, bytes.Repeat([]byte{'x'}, i*w%7*900))
					errs <- c.Write(ctx, conn.Text, data)
				}
			})
		}
		next := [writers]int{}
		for range writers * each {
			_, data, err := c.Read(ctx)
			require.NoError(t, err)
			var w, i int
			_, err = fmt.Sscan(string(data), &w, &i)
			require.NoError(t, err)
			require.Equal(t, next[w], i, "messages of writer %d come in order", w)
			require.Equal(t, fmt.Sprintf("%d %d %s", w, i, strings.Repeat("x", i*w%7*900)), string(data))
			next[w]++
		}
		wg.Wait()
		for range writers * each {
			require.NoError(t, <-errs)
		}
	})
}

// closings are the Close frames that are exchanged in both directions.
var closings = []struct {
	code   frame.CloseCode
	reason string
}{
	{1000, "bye"},
	{3000, ""},
	{4999, "再见 👋"},
}

// requireClosed holds the end of a connection against a Close frame of the peer.
func requireClosed(t *testing.T, err error, code frame.CloseCode, reason string) {
	t.Helper()
	var closed *conn.CloseError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, conn.CloseError{Code: code, Reason: reason, Remote: true}, *closed)
	require.Equal(t, code == frame.CloseNormal || code == frame.CloseNoStatus, errors.Is(err, io.EOF))
	require.ErrorIs(t, err, net.ErrClosed)
}

// requireLost holds the end of a connection against one without a Close frame.
func requireLost(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	var closed *conn.CloseError
	require.False(t, errors.As(err, &closed), "%v", err)
	require.Truef(t, errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), "%v", err)
	require.True(t, strings.HasPrefix(err.Error(), "websocket: "), "%v", err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

// certificate makes a certificate for 127.0.0.1. The files are in PEM; both has
// the key behind the certificate.
type certificate struct {
	cert, key, both string
	pool            *x509.CertPool
}

func newCertificate(t *testing.T) certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	write := func(name string, data ...[]byte) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, bytes.Join(data, nil), 0o600))
		return name
	}
	c := certificate{
		cert: write("cert.pem", certPEM),
		key:  write("key.pem", keyPEM),
		both: write("both.pem", certPEM, keyPEM),
		pool: x509.NewCertPool(),
	}
	require.True(t, c.pool.AppendCertsFromPEM(certPEM))
	return c
}

// transport returns one that trusts the certificate and knows no proxy.
func (c certificate) transport() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.pool}}
}

// trusting returns options with that transport.
func (c certificate) trusting() *conn.DialOptions {
	return &conn.DialOptions{HTTPClient: &http.Client{Transport: c.transport()}}
}
