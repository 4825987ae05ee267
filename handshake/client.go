package handshake

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Client is what a client asks for. The zero value asks for no subprotocol and
// no extension.
type Client struct {
	// Subprotocols are those that the client speaks, the preferred one first.
	Subprotocols []string
	// Origin is sent as it stands, if it is not empty. Browsers send one;
	// other clients do so only where a server wants it.
	Origin string
	// Deflate, if set, offers permessage-deflate on these terms.
	Deflate *Deflate
	// Header is added to the request; Host in it becomes the request's host.
	// Upgrade, Connection, Content-Length, Transfer-Encoding and
	// Sec-WebSocket-* belong to the handshake and may not be in it, nor Origin
	// beside the field of that name.
	Header http.Header
}

// Request returns the request that opens a connection to a URL, whose scheme is
// ws, wss, http or https. In the request it is http or https, so that net/http
// can send it. Credentials in the URL are sent as basic authentication, unless
// Header has Authorization; errors do not show them. Every request has a key of
// its own and is good for one attempt. (RFC 6455, sections 3 and 4.1)
func (c *Client) Request(rawURL string) (*http.Request, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if err := c.checkSettings(); err != nil {
		return nil, err
	}
	user := u.User
	u.User = nil
	r := &http.Request{
		Method:     http.MethodGet,
		URL:        u,
		Host:       u.Host,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     make(http.Header, len(c.Header)+8),
	}
	for name, values := range c.Header {
		name = http.CanonicalHeaderKey(name)
		r.Header[name] = append(r.Header[name], values...)
	}
	if hosts := r.Header[headerHost]; len(hosts) > 0 {
		r.Host = hosts[0]
	}
	delete(r.Header, headerHost)
	if user != nil && user.String() != "" && len(r.Header[headerAuth]) == 0 {
		password, _ := user.Password()
		r.Header[headerAuth] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))}
	}
	r.Header[headerUpgrade] = []string{"websocket"}
	r.Header[headerConnection] = []string{"Upgrade"}
	r.Header[headerVersion] = []string{version}
	r.Header[headerKey] = []string{NewKey()}
	if c.Origin != "" {
		r.Header[headerOrigin] = []string{c.Origin}
	}
	if len(c.Subprotocols) > 0 {
		r.Header[headerProtocol] = []string{strings.Join(c.Subprotocols, ", ")}
	}
	if c.Deflate != nil {
		r.Header[headerExtensions] = []string{string(c.Deflate.offer().appendTo(nil))}
	}
	return r, nil
}

// parseURL reads a ws or wss URL, the scheme of which becomes http or https.
// (RFC 6455, section 3)
func parseURL(rawURL string) (*url.URL, error) {
	shown := quote(redact(rawURL))
	u, err := url.Parse(rawURL)
	if err != nil {
		// The error has a piece of the URL in it, of a password perhaps.
		if strings.Contains(rawURL, "@") {
			return nil, fmt.Errorf("websocket: URL %s cannot be parsed: in a password write %%2F for a /, %%3F for a ?, %%23 for a #", shown)
		}
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return nil, fmt.Errorf("websocket: URL %s cannot be parsed: %w", shown, err)
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	case "":
		return nil, wrong("3", "URL %s has no scheme, it must be ws or wss", shown)
	default:
		return nil, wrong("3", "URL %s has scheme %s, it must be ws or wss", shown, quote(u.Scheme))
	}
	if u.Hostname() == "" {
		return nil, wrong("3", "URL %s has no host", shown)
	}
	// A fragment means nothing here and MUST NOT be used. (RFC 6455, section 3)
	if strings.Contains(rawURL, "#") {
		return nil, wrong("3", "URL %s has a fragment: write %%23 for a # in the path", shown)
	}
	u.RawQuery = escapeQuery(u.RawQuery)
	return u, nil
}

// redact returns a URL without what may be credentials, in the query too, also
// one that is malformed.
func redact(rawURL string) string {
	if i := strings.IndexByte(rawURL, '?'); i >= 0 && strings.IndexByte(rawURL[i:], '@') < 0 {
		rawURL = rawURL[:i+1] + "xxxxx"
	}
	i := strings.LastIndexByte(rawURL, '@')
	if i < 0 {
		return rawURL
	}
	scheme, _, ok := strings.Cut(rawURL[:i], "://")
	if !ok || !isScheme(scheme) {
		return "xxxxx" + rawURL[i:]
	}
	return scheme + "://xxxxx" + rawURL[i:]
}

// escapeQuery escapes what would end the request line, or is not allowed in it.
// net/url leaves a query as it stands. (RFC 9112, section 3)
func escapeQuery(query string) string {
	plain := func(c byte) bool { return ' ' < c && c < 0x7F }
	i := 0
	for i < len(query) && plain(query[i]) {
		i++
	}
	if i == len(query) {
		return query
	}
	escaped := []byte(query[:i])
	for ; i < len(query); i++ {
		if c := query[i]; plain(c) {
			escaped = append(escaped, c)
		} else {
			escaped = fmt.Appendf(escaped, "%%%02X", c)
		}
	}
	return string(escaped)
}

// checkSettings says which of the user's settings cannot be meant.
func (c *Client) checkSettings() error {
	for _, p := range c.Subprotocols {
		if !isToken(p) {
			return wrong("4.1", "Subprotocols: %q is not a token", p)
		}
	}
	if p, ok := duplicate(c.Subprotocols); ok {
		return wrong("4.1", "Subprotocols: %q stands there twice", p)
	}
	if !isFieldValue(c.Origin) {
		return errors.New("websocket: Origin has control characters")
	}
	if err := checkHeader(c.Header); err != nil {
		return err
	}
	hosts := 0
	for name, values := range c.Header {
		switch http.CanonicalHeaderKey(name) {
		case headerHost:
			hosts += len(values)
			if len(values) == 0 || hosts > 1 || values[0] == "" {
				return errors.New("websocket: Header: Host must have one value")
			}
			if host, _, ok := splitHost(values[0]); !ok || !isHost(host) {
				return fmt.Errorf("websocket: Header: Host %s is no host", quote(values[0]))
			}
		case headerOrigin:
			if c.Origin != "" {
				return errors.New("websocket: Header: Origin cannot be set, it is set by the field Origin")
			}
		}
	}
	if c.Deflate != nil {
		return c.Deflate.check()
	}
	return nil
}

// Check looks at resp, the response to a request of this Client, and returns
// what was agreed on. The error is always a [*ResponseError]. The body is not
// read. (RFC 6455, section 4.1)
func (c *Client) Check(req *http.Request, resp *http.Response) (*Agreement, error) {
	a, err := c.check(req, resp)
	if err != nil {
		return nil, &ResponseError{Status: resp.StatusCode, Header: resp.Header, Err: err}
	}
	return a, nil
}

func (c *Client) check(req *http.Request, resp *http.Response) (*Agreement, error) {
	h := resp.Header
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, errors.New("websocket: server answered the opening handshake with " + strings.TrimSpace(statusLine(resp.StatusCode)))
	}
	if len(h[headerUpgrade]) == 0 {
		return nil, wrong("4.1", "server's Upgrade is missing")
	}
	if !isOnlyToken(h[headerUpgrade], "websocket") {
		return nil, wrong("4.1", "server's Upgrade is %s, it must be \"websocket\"", quote(strings.Join(h[headerUpgrade], ", ")))
	}
	if len(h[headerConnection]) == 0 {
		return nil, wrong("4.1", "server's Connection is missing")
	}
	if !hasToken(h[headerConnection], "upgrade") {
		return nil, wrong("4.1", "server's Connection is %s, it must have \"Upgrade\"", quote(strings.Join(h[headerConnection], ", ")))
	}
	a := &Agreement{key: req.Header.Get(headerKey)}
	switch accept := h[headerAccept]; {
	case len(accept) == 0:
		return nil, wrong("4.1", "server's Sec-WebSocket-Accept is missing")
	case len(accept) > 1:
		return nil, wrong("11.3.3", "server sent more than one Sec-WebSocket-Accept")
	case trim(accept[0]) != AcceptKey(a.key):
		return nil, wrong("4.1", "server's Sec-WebSocket-Accept is %s, which is not the answer to the key of this request", quote(accept[0]))
	}
	switch chosen := h[headerProtocol]; {
	case len(chosen) > 1:
		return nil, wrong("11.3.4", "server sent more than one Sec-WebSocket-Protocol")
	case len(chosen) == 1:
		a.Subprotocol = trim(chosen[0])
		if !slices.Contains(c.Subprotocols, a.Subprotocol) {
			return nil, wrong("4.1", "server chose subprotocol %s, which was not offered", quote(a.Subprotocol))
		}
	}
	extensions, err := ParseExtensions(h[headerExtensions])
	if err != nil {
		return nil, err
	}
	for _, x := range extensions {
		if x.Name != deflateName || c.Deflate == nil {
			return nil, wrong("4.1", "server chose extension %s, which was not offered", quote(x.Name))
		}
		if a.Deflate != nil {
			return nil, wrong("9.1", "server chose %s twice", deflateName)
		}
		if a.Deflate, err = c.Deflate.accepted(x.Params); err != nil {
			return nil, err
		}
	}
	return a, nil
}
