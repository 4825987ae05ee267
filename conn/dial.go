package conn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"rfc6455/frame"
	"rfc6455/handshake"
)

// Dial opens a connection to a URL, whose scheme is ws or wss (http and https
// are the same):
//
//	c, _, err := conn.Dial(ctx, "wss://example.com/chat", nil)
//
// The opening handshake goes through [DialOptions.HTTPClient]: its Transport
// says which proxy to use (http, https, socks5; those of the environment by
// default), how to dial, and with what TLS settings; its Jar has the cookies; its
// CheckRedirect is asked about redirects. Credentials in the URL are sent as
// basic authentication. An httptrace.ClientTrace in ctx is told of every step.
//
// A redirect is followed to another origin without Authorization and Cookie
// headers, but with all others and the subprotocols, and never from wss to ws.
//
// ctx bounds the opening handshake, as [DialOptions.HandshakeTimeout] does; what
// becomes of it after that does not matter to the connection, whose Context has
// its values.
//
// The response is that of the server, if there was one, also beside an error. A
// refused handshake is a [*handshake.ResponseError] with status, header and the
// first 1024 bytes of the body; the response has these too. Nothing has to be
// closed. (RFC 6455, section 4.1)
func Dial(ctx context.Context, url string, o *DialOptions) (*Conn, *http.Response, error) {
	return newDialer(o).dial(ctx, url)
}

// Client does the opening handshake on a net.Conn that the caller has dialed,
// and for wss has put TLS on, as tls.Client is used. The URL says what to ask
// for. It takes until ctx ends at most, or HandshakeTimeout; HTTPClient is not
// used, and there are no redirects. On an error nc is closed; it is a
// [*handshake.ResponseError] if the server refused. (RFC 6455, section 4.1)
func Client(ctx context.Context, nc net.Conn, url string, o *DialOptions) (*Conn, error) {
	d := newDialer(o)
	c, err := d.client(ctx, nc, url)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// bodyBytes is how much of the body of a refusal is kept.
const bodyBytes = 1 << 10

// dialer is a DialOptions made ready for any number of handshakes.
type dialer struct {
	terms   handshake.Client
	http    *http.Client  // the user's
	timeout time.Duration // 0: none
	bytes   int           // 0: no limit
	options *Options      // resolved
}

func newDialer(o *DialOptions) *dialer {
	if o == nil {
		o = &DialOptions{}
	}
	d := &dialer{
		terms: handshake.Client{
			Subprotocols: o.Subprotocols,
			Origin:       o.Origin,
			Header:       o.Header,
			Deflate:      o.Compression.terms(),
		},
		http:    o.HTTPClient,
		timeout: or(o.HandshakeTimeout, defaultHandshakeTimeout),
		bytes:   or(o.HandshakeBytes, defaultHandshakeBytes),
		options: o.Options.resolved(),
	}
	if d.http == nil {
		d.http = http.DefaultClient
	}
	return d
}

// errHandshakeTimeout is the cause of a handshake's context that ran out of
// HandshakeTimeout.
type errHandshakeTimeout time.Duration

func (e errHandshakeTimeout) Error() string {
	return fmt.Sprintf("the opening handshake took longer than %v (DialOptions.HandshakeTimeout)", time.Duration(e))
}

func (errHandshakeTimeout) Is(target error) bool { return target == context.DeadlineExceeded }
func (errHandshakeTimeout) Timeout() bool        { return true }
func (errHandshakeTimeout) Temporary() bool      { return true }

// limited returns a context for one handshake.
func (d *dialer) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d.timeout, errHandshakeTimeout(d.timeout))
}

func (d *dialer) dial(parent context.Context, rawURL string) (*Conn, *http.Response, error) {
	req, err := d.terms.Request(rawURL)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := d.limited(parent)
	defer cancel()
	if d.http.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, d.http.Timeout)
		defer cancel()
	}
	var got net.Conn
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { got = info.Conn },
	}))
	last := req
	// A copy: its Timeout would go on after the handshake, and wrap the body.
	hc := *d.http
	hc.Timeout = 0
	hc.Transport = d.transport()
	hc.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if err := redirect(r, via); err != nil {
			return err
		}
		last = r
		if d.http.CheckRedirect != nil {
			return d.http.CheckRedirect(r, via)
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}
	resp, err := hc.Do(req)
	if err != nil {
		return nil, bodyless(resp), dialError(ctx, req.URL, err)
	}
	if resp.Request == nil { // a RoundTripper of the user's
		resp.Request = last
	}
	agreement, err := d.check(resp.Request, resp)
	if err != nil {
		return nil, resp, refused(err, resp)
	}
	c, err := d.connect(ctx, parent, got, resp, agreement)
	if err != nil {
		resp.Body.Close()
		return nil, bodyless(resp), dialError(ctx, req.URL, err)
	}
	return c, bodyless(resp), nil
}

// check looks at the response to req and returns what was agreed on.
func (d *dialer) check(req *http.Request, resp *http.Response) (*handshake.Agreement, error) {
	if resp.Close && resp.StatusCode == http.StatusSwitchingProtocols && resp.Header != nil && len(resp.Header["Connection"]) == 0 {
		// net/http takes a Connection field with "close" in it away.
		resp.Header.Set("Connection", "close")
	}
	agreement, err := d.terms.Check(req, resp)
	if err != nil {
		return nil, err
	}
	switch {
	case resp.ProtoMajor == 1 && resp.ProtoMinor == 0:
		err = errors.New("websocket: server's response is HTTP/1.0, which has no 101 (RFC 9110, section 15.2)")
	case resp.Header.Get("Upgrade") == "":
		// net/http looks at the first one alone, and keeps the connection.
		err = errors.New("websocket: server's first Upgrade is empty (RFC 6455, section 4.1)")
	default:
		return agreement, nil
	}
	return nil, &handshake.ResponseError{Status: resp.StatusCode, Header: resp.Header, Err: err}
}

// connect makes the connection of a response that was checked.
func (d *dialer) connect(ctx, parent context.Context, nc net.Conn, resp *http.Response, agreement *handshake.Agreement) (*Conn, error) {
	body, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return nil, fmt.Errorf("the Transport of DialOptions.HTTPClient gave a response whose body is a %T, which cannot be written to", resp.Body)
	}
	var rwc io.ReadWriteCloser = body
	var early []byte
	// A connection without deadlines, that of a tunnel through SSH for instance,
	// is used through the body.
	if nc != nil && nc.SetReadDeadline(longAgo) == nil {
		var err error
		if early, err = buffered(ctx, nc, body); err != nil {
			return nil, err
		}
		rwc = nc
	}
	return newConn(context.WithoutCancel(parent), rwc, frame.Client, agreement, d.options, opened{request: resp.Request, early: early}), nil
}

// buffered returns what net/http has read behind the response. It stands in a
// buffer behind body, whose next reads are from nc, and fail: the deadline of nc is
// over. In the end it has none.
func buffered(ctx context.Context, nc net.Conn, body io.Reader) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { nc.Close() }) // should it not know deadlines
	defer stop()
	var early []byte
	b := getBuffer(minReadBuffer)
	defer putBuffer(b)
	for {
		n, err := body.Read(b.b)
		early = append(early, b.b[:n]...)
		if err != nil {
			// Any error but this one comes again.
			break
		}
		if len(early) > 1<<20 {
			return nil, fmt.Errorf("%T does not heed its read deadline", nc)
		}
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return early, nc.SetReadDeadline(time.Time{})
}

// redirect makes a request that follows a redirect fit for a handshake, or says
// why it must not be made.
func redirect(r *http.Request, via []*http.Request) error {
	switch r.URL.Scheme {
	case "ws":
		r.URL.Scheme = "http"
	case "wss":
		r.URL.Scheme = "https"
	}
	if via[len(via)-1].URL.Scheme == "https" && r.URL.Scheme != "https" {
		return errors.New("redirected from wss to ws, which is not followed")
	}
	first := via[0].URL
	foreign := false
	for _, v := range append(via[1:len(via):len(via)], r) {
		foreign = foreign || v.URL.Scheme != first.Scheme || !strings.EqualFold(v.URL.Host, first.Host)
	}
	if foreign {
		for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization"} {
			r.Header.Del(name)
		}
	}
	// The address before this one is nobody's business.
	r.Header.Del("Referer")
	// A key is good for one attempt. (RFC 6455, section 4.1)
	r.Header.Set("Sec-WebSocket-Key", handshake.NewKey())
	return nil
}

// refused completes the error about a response that opens no connection, with
// what its body says, and closes it.
func refused(err error, resp *http.Response) error {
	var text []byte
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ = io.ReadAll(io.LimitReader(resp.Body, bodyBytes))
	}
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(text))
	if re, ok := errors.AsType[*handshake.ResponseError](err); ok {
		re.Body = text
	}
	return err
}

// bodyless returns a response whose body is of no use to the application.
func bodyless(resp *http.Response) *http.Response {
	if resp != nil {
		resp.Body = http.NoBody
	}
	return resp
}

var errNoResponse = fmt.Errorf("the server ended the stream before its response: %w", io.ErrUnexpectedEOF)

// dialError describes why there is no connection to u.
func dialError(ctx context.Context, u *url.URL, err error) error {
	// It has the URL, with its query, and a method that nobody asked for.
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if ctx.Err() != nil {
		// Whatever broke, this is why.
		if err = context.Cause(ctx); !errors.Is(err, ctx.Err()) {
			err = ctx.Err()
		}
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errNoResponse
	}
	text := "%w"
	switch {
	case strings.Contains(err.Error(), "response headers exceeded"):
		text = "%w (DialOptions.HandshakeBytes)"
	case strings.HasPrefix(err.Error(), "failed to parse Location"):
		// It quotes it; what a server adds to may be a query of ours.
		err = errors.New("redirected, to a Location that is no URL")
	}
	scheme := "ws"
	if u.Scheme == "https" {
		scheme = "wss"
	}
	return fmt.Errorf("websocket: no connection to %s://%s: "+text, scheme, u.Host, err)
}

// client does the handshake on nc.
func (d *dialer) client(parent context.Context, nc net.Conn, rawURL string) (c *Conn, err error) {
	req, err := d.terms.Request(rawURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := d.limited(parent)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, dialError(ctx, req.URL, err)
	}
	// Before the end of ctx sets one.
	nc.SetDeadline(time.Time{})
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
			nc.SetDeadline(time.Time{})
			if c != nil {
				c.CloseNow()
			}
			if _, ok := errors.AsType[*handshake.ResponseError](err); !ok { // whose body took too long
				c, err = nil, dialError(ctx, req.URL, ctx.Err())
			}
		}
	}()
	var request bytes.Buffer
	if err := req.Write(&request); err != nil {
		return nil, dialError(ctx, req.URL, err)
	}
	if _, err := nc.Write(request.Bytes()); err != nil {
		return nil, dialError(ctx, req.URL, err)
	}
	resp, early, err := d.response(nc, req)
	if err != nil {
		return nil, dialError(ctx, req.URL, err)
	}
	agreement, err := d.check(req, resp)
	if err != nil {
		return nil, refused(err, resp)
	}
	return newConn(context.WithoutCancel(parent), nc, frame.Client, agreement, d.options, opened{request: req, early: early}), nil
}

// response reads the response to req, and returns what came behind it.
func (d *dialer) response(nc net.Conn, req *http.Request) (*http.Response, []byte, error) {
	limit := &limitReader{r: nc, left: d.bytes}
	if d.bytes == 0 {
		limit.left = 1<<31 - 1
	}
	// Not one of a pool: the body of a refusal is read from it.
	br := bufio.NewReaderSize(limit, minReadBuffer)
	for {
		resp, err := http.ReadResponse(br, req)
		switch {
		case err != nil && limit.left == 0:
			return nil, nil, fmt.Errorf("the response's header is over %d bytes (DialOptions.HandshakeBytes)", d.bytes)
		case err != nil && limit.err != nil && limit.err != io.EOF:
			return nil, nil, limit.err
		case err == io.ErrUnexpectedEOF:
			return nil, nil, err
		case err != nil:
			return nil, nil, fmt.Errorf("the response is not HTTP: %w", err)
		case resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols:
			continue // Early hints, for instance. (RFC 9110, section 15.2)
		}
		limit.left = max(limit.left, bodyBytes)
		// Closing the body would read to its end.
		resp.Body = io.NopCloser(resp.Body)
		early, _ := br.Peek(br.Buffered())
		return resp, early, nil
	}
}

// transport returns the user's RoundTripper, made fit for handshakes.
func (d *dialer) transport() http.RoundTripper {
	rt := d.http.Transport
	if rt == nil {
		rt = http.DefaultTransport
	}
	if t, ok := rt.(*http.Transport); ok {
		return &transport{base: t, bytes: d.bytes}
	}
	return rt
}

// transport sends requests with the settings of base, each over a connection of
// its own.
type transport struct {
	base  *http.Transport
	bytes int
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	one := t.base.Clone()
	// A server that also speaks HTTP/2 must not choose it: it has no Upgrade.
	one.Protocols = new(http.Protocols)
	one.Protocols.SetHTTP1(true)
	one.ForceAttemptHTTP2 = false
	one.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	one.DisableKeepAlives = true
	one.DisableCompression = true
	if one.MaxResponseHeaderBytes == 0 {
		one.MaxResponseHeaderBytes = int64(t.bytes)
	}
	if one.Proxy != nil {
		proxy, err := one.Proxy(r)
		if err != nil {
			if strings.Contains(err.Error(), "@") {
				err = errors.New("the proxy's address is no URL") // with a password
			}
			return nil, err
		}
		one.Proxy = http.ProxyURL(proxy)
		switch {
		case proxy == nil, proxy.Scheme == "socks5", proxy.Scheme == "socks5h":
		case proxy.Scheme == "http", proxy.Scheme == "https":
			// For net/http a request for http goes to the proxy as it is. A
			// WebSocket needs a tunnel. (RFC 6455, section 4.1) For https it makes
			// one, but does not tell who refused it and why.
			one.Proxy = nil
			one.DialContext = tunnel{t.base, proxy, one.MaxResponseHeaderBytes}.dial
			// These are for the proxy; TLS with the server goes over the tunnel.
			one.DialTLSContext, one.DialTLS = nil, nil
		default:
			return nil, fmt.Errorf("proxy %s has scheme %q, it must be http, https or socks5", proxy.Host, proxy.Scheme)
		}
	}
	resp, err := one.RoundTrip(r)
	if err != nil {
		// A dial that nobody waits for any more goes on, for the sake of requests
		// to come, unless it is told that there will be none.
		one.CloseIdleConnections()
	}
	return resp, err
}
