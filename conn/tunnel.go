package conn

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
)

// tunnel dials through an HTTP proxy with CONNECT. (RFC 9110, section 9.3.6)
type tunnel struct {
	base  *http.Transport // the user's
	proxy *url.URL
	bytes int64 // of the header of its response; 0: no limit
}

// dial returns a connection to addr. It is an http.Transport's DialContext.
func (t tunnel) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := t.dialProxy(ctx, network)
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", t.proxy.Host, err)
	}
	if nc, err = t.connect(ctx, nc, addr); err != nil {
		return nil, fmt.Errorf("proxy %s: %w", t.proxy.Host, err)
	}
	return nc, nil
}

// dialProxy connects to the proxy, as base would.
func (t tunnel) dialProxy(ctx context.Context, network string) (net.Conn, error) {
	host, port := t.proxy.Hostname(), t.proxy.Port()
	secure := t.proxy.Scheme == "https"
	if port == "" {
		port = "80"
		if secure {
			port = "443"
		}
	}
	addr := net.JoinHostPort(host, port)
	switch {
	case secure && t.base.DialTLSContext != nil:
		return t.base.DialTLSContext(ctx, network, addr)
	case secure && t.base.DialTLS != nil:
		return t.base.DialTLS(network, addr)
	}
	var nc net.Conn
	var err error
	switch {
	case t.base.DialContext != nil:
		nc, err = t.base.DialContext(ctx, network, addr)
	case t.base.Dial != nil:
		nc, err = t.base.Dial(network, addr)
	default:
		nc, err = new(net.Dialer).DialContext(ctx, network, addr)
	}
	if err != nil || !secure {
		return nc, err
	}
	return t.secure(ctx, nc, host)
}

// secure puts TLS on a connection to the proxy at host. nc is closed on an error.
func (t tunnel) secure(ctx context.Context, nc net.Conn, host string) (net.Conn, error) {
	config := t.base.TLSClientConfig.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	config.NextProtos = nil
	tc := tls.Client(nc, config)
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	err := tc.HandshakeContext(ctx)
	if trace != nil && trace.TLSHandshakeDone != nil {
		trace.TLSHandshakeDone(tc.ConnectionState(), err)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}

// connect asks the proxy to connect to addr. nc is closed on an error.
func (t tunnel) connect(ctx context.Context, nc net.Conn, addr string) (_ net.Conn, err error) {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		if nc.SetDeadline(longAgo) != nil {
			nc.Close() // nothing else ends a blocked call
		}
		close(interrupted)
	})
	defer func() {
		if !stop() {
			<-interrupted
			err = ctx.Err()
		}
		if err != nil {
			nc.Close()
		}
	}()
	if strings.ContainsFunc(addr, func(r rune) bool { return r <= ' ' || r >= 0x7F }) {
		return nil, fmt.Errorf("address %q cannot stand in a CONNECT request", addr)
	}
	header, err := t.header(ctx, addr)
	if err != nil {
		return nil, err
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: header}
	if err := req.Write(nc); err != nil {
		return nil, err
	}
	limit := &limitReader{r: nc, left: 1<<31 - 1}
	if t.bytes > 0 {
		limit.left = int(min(t.bytes, 1<<31-1))
	}
	br := bufio.NewReader(limit)
	resp, err := http.ReadResponse(br, req)
	switch {
	case err != nil && limit.left == 0:
		return nil, fmt.Errorf("its response's header is over %d bytes (DialOptions.HandshakeBytes)", t.bytes)
	case err == io.ErrUnexpectedEOF:
		return nil, fmt.Errorf("it ended the stream before its response: %w", err)
	case err != nil:
		return nil, err
	}
	limit.left = max(limit.left, bodyBytes)
	if f := t.base.OnProxyConnectResponse; f != nil {
		if err := f(ctx, t.proxy, req, resp); err != nil {
			return nil, err
		}
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		err := fmt.Errorf("it answered CONNECT %s with %q", addr, resp.Status)
		if body := strings.TrimSpace(string(text)); body != "" {
			err = fmt.Errorf("%w: %q", err, body)
		}
		return nil, err
	}
	if br.Buffered() > 0 {
		// Only the proxy can have sent it: the server waits for the request.
		return nil, errors.New("it sent more than its response to CONNECT")
	}
	return nc, nil
}

// header returns the header of the CONNECT request.
func (t tunnel) header(ctx context.Context, addr string) (http.Header, error) {
	header := t.base.ProxyConnectHeader
	if f := t.base.GetProxyConnectHeader; f != nil {
		var err error
		if header, err = f(ctx, t.proxy, addr); err != nil {
			return nil, err
		}
	}
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if user := t.proxy.User; user != nil {
		password, _ := user.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	return header, nil
}

// limitReader reads at most left bytes and keeps the error of r.
type limitReader struct {
	r    io.Reader
	left int
	err  error
}

func (l *limitReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if len(p) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= n
	l.err = err
	return n, err
}
