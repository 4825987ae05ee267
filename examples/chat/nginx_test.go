//go:build unix

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// around is the rest of nginx's configuration, as a distribution brings it.
const around = `
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events {}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	include site.conf;
}
`

// startNginx runs nginx in front of a server with the file that people copy,
// other addresses in it, and returns its URLs.
func startNginx(t *testing.T, behind string) (plain, secure string) {
	t.Helper()
	path := ""
	// Where Debian has servers is not on every user's PATH.
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			require.Fail(t, "no nginx on PATH")
		}
		t.Skip("no nginx on PATH: this test needs one")
	}
	cert, key := certificate(t)
	site, err := os.ReadFile("nginx.conf")
	require.NoError(t, err)
	main := around
	if os.Geteuid() == 0 {
		main = "user root;" + main
	}
	for range 5 {
		dir := t.TempDir()
		addr := freeAddresses(t)
		text := string(site)
		for old, now := range map[string]string{
			"listen 80; ":                   "listen " + addr[0] + "; ",
			"listen 443 ssl;":               "listen " + addr[1] + " ssl;",
			"127.0.0.1:8080":                behind,
			"chat.example.com; ":            "127.0.0.1; ",
			"/etc/ssl/chat.example.com.pem": cert,
			"/etc/ssl/chat.example.com.key": key,
		} {
			require.Equal(t, 1, strings.Count(text, old), old)
			text = strings.Replace(text, old, now, 1)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "site.conf"), []byte(text), 0o600))
		file := filepath.Join(dir, "main.conf")
		require.NoError(t, os.WriteFile(file, []byte(main), 0o600))
		if runNginx(t, path, dir, file) {
			return "http://" + addr[0], "https://" + addr[1]
		}
	}
	require.Fail(t, "no port stays free")
	return "", ""
}

// runNginx runs nginx until the end of the test. ok is false if an address is in
// use.
func runNginx(t *testing.T, path, dir, file string) (ok bool) {
	t.Helper()
	cmd := exec.Command(path, "-p", dir, "-c", file, "-e", "stderr")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	exited := make(chan struct{})
	ready := make(chan bool, 1)
	go func() {
		defer close(exited)
		defer cmd.Wait()
		said := []string{}
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			said = append(said, lines.Text())
			if strings.Contains(lines.Text(), "start worker process ") {
				ready <- true
			}
		}
		if !regexp.MustCompile(`(?i)address already in use`).MatchString(strings.Join(said, "\n")) && t.Failed() {
			t.Log("nginx:\n" + strings.Join(said, "\n"))
		}
		close(ready)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(patience):
			cmd.Process.Kill()
		}
	})
	select {
	case ok = <-ready:
		return ok
	case <-time.After(patience):
		require.Fail(t, "nginx does not start")
		return false
	}
}

// freeAddresses returns two addresses on which nobody listened a moment ago.
func freeAddresses(t *testing.T) (addr [2]string) {
	t.Helper()
	for i := range addr {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		addr[i] = ln.Addr().String()
	}
	return addr
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

func TestNginx(t *testing.T) {
	s := authorized(t, "-push-token", "let-me-push")
	plain, secure := startNginx(t, s.addr)
	insecure := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer insecure.CloseIdleConnections()

	var all []*peer
	for _, front := range []string{plain, secure} {
		client := &http.Client{
			Transport:     insecure,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		name, _, _ := strings.Cut(front, ":")
		req, err := http.NewRequest("POST", front+"/login", strings.NewReader("room=lobby&name="+name+"&password=open+sesame"))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", front) // as browsers send it: nginx must pass the right Host on
		resp, err := client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusSeeOther, resp.StatusCode)
		require.Equal(t, "/room/lobby", resp.Header.Get("Location"))
		cookies := resp.Cookies()
		require.Len(t, cookies, 1)
		assert.Equal(t, name == "https", cookies[0].Secure)

		o := &conn.DialOptions{HTTPClient: client, Origin: front, Header: http.Header{"Cookie": {"session=" + cookies[0].Value}}}
		p, err := dial(t, front, "/ws/room/lobby", o)
		require.NoError(t, err)
		require.Equal(t, "welcome "+name, p.gets(t))
		for _, other := range all {
			require.Equal(t, "join "+name, other.gets(t))
		}
		all = append(all, p)

		o.Origin = s.url // the address behind the proxy is another origin
		_, err = dial(t, front, "/ws/room/lobby", o)
		var refused *handshake.ResponseError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, 403, refused.Status)
	}
	all[0].say(t, "from plain")
	all[1].say(t, "from TLS")
	for _, p := range all {
		assert.ElementsMatch(t, []string{"message http: from plain", "message https: from TLS"}, []string{p.gets(t), p.gets(t)})
	}
	status, _ := do(t, "POST", plain+"/rooms/lobby/messages", `{"name": "build", "text": "done"}`, http.Header{"Authorization": {"Bearer let-me-push"}})
	assert.Equal(t, http.StatusAccepted, status)
	for _, p := range all {
		assert.Equal(t, "message build: done", p.gets(t))
	}
	require.NoError(t, all[0].Close(frame.CloseNormal, ""))
	assert.Equal(t, "leave http", all[1].gets(t))
	ended := make(chan error, 1)
	go func() {
		_, _, err := all[1].Read(t.Context())
		ended <- err
	}()
	s.stop(t, os.Interrupt)
	requireClosed(t, <-ended, frame.CloseGoingAway)
}
