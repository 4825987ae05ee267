package handshake

import (
	"encoding/base64"
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
	// Header is added to the request. The fields of the handshake itself may
	// not be in it; "Host" sets the request's host.
	Header http.Header
}

// Request returns the request that opens a connection to a URL, whose scheme is
// ws, wss, http or https. Credentials in the URL are sent as basic
// authentication, unless Header has Authorization. Every request has a key of
// its own and is good for one attempt. (RFC 6455, sections 3 and 4.1)
func (c *Client) Request(rawURL string) (*http.Request, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("websocket: %w", err)
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return nil, wrong("3", "URL %s has scheme %s, it must be ws or wss", quote(u.Redacted()), quote(u.Scheme))
	}
	if u.Host == "" {
		return nil, wrong("3", "URL %s has no host", quote(u.Redacted()))
	}
	// A fragment means nothing here and MUST NOT be used. (RFC 6455, section 3)
	if u.Fragment != "" || strings.Contains(rawURL, "#") {
		return nil, wrong("3", "URL %s has a fragment: write %%23 for a # in the path", quote(u.Redacted()))
	}
	if err := c.check(); err != nil {
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
		Header:     make(http.Header, len(c.Header)+6),
	}
	for name, values := range c.Header {
		if name = http.CanonicalHeaderKey(name); name == "Host" {
			r.Host = values[0]
			continue
		}
		r.Header[name] = append(r.Header[name], values...)
	}
	if user != nil && len(r.Header["Authorization"]) == 0 {
		password, _ := user.Password()
		r.Header["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))}
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
		r.Header[headerExtensions] = []string{string(AppendExtension(nil, c.Deflate.offer()))}
	}
	return r, nil
}

// check says what is wrong with the user's settings.
func (c *Client) check() error {
	for i, p := range c.Subprotocols {
		if !isToken(p) {
			return wrong("4.1", "Subprotocols: %q is not a token", p)
		}
		if slices.Contains(c.Subprotocols[:i], p) {
			return wrong("4.1", "Subprotocols: %q stands there twice", p)
		}
	}
	if !isFieldValue(c.Origin) {
		return fmt.Errorf("websocket: Origin has control characters")
	}
	if v, ok := c.Header["Host"]; ok && len(v) != 1 {
		return fmt.Errorf("websocket: Header: Host must have one value")
	}
	if err := checkHeader(c.Header); err != nil {
		return err
	}
	if c.Deflate != nil {
		return c.Deflate.check()
	}
	return nil
}

// Check looks at the response to a request of this Client and returns what was
// agreed on. The error is always a [*ResponseError]. The body is not read.
// (RFC 6455, section 4.1)
func (c *Client) Check(req *http.Request, resp *http.Response) (*Agreement, error) {
	fail := func(err error) (*Agreement, error) {
		return nil, &ResponseError{Status: resp.StatusCode, Header: resp.Header, Err: err}
	}
	h := resp.Header
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fail(wrong("4.1", "server answered the opening handshake with %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	}
	if !hasToken(h[headerUpgrade], "websocket") {
		return fail(wrong("4.1", "server's Upgrade is %s, it must be \"websocket\"", quote(h.Get(headerUpgrade))))
	}
	if !hasToken(h[headerConnection], "upgrade") {
		return fail(wrong("4.1", "server's Connection is %s, it must have \"Upgrade\"", quote(h.Get(headerConnection))))
	}
	key := req.Header.Get(headerKey)
	switch accept := h[headerAccept]; {
	case len(accept) == 0:
		return fail(wrong("4.1", "server's Sec-WebSocket-Accept is missing"))
	case len(accept) > 1:
		return fail(wrong("4.1", "server sent more than one Sec-WebSocket-Accept"))
	case trim(accept[0]) != AcceptKey(key):
		return fail(wrong("4.1", "server's Sec-WebSocket-Accept is %s, which is not the answer to this request's key", quote(accept[0])))
	}
	a := &Agreement{key: key}
	if values := h[headerProtocol]; len(values) > 1 {
		return fail(wrong("4.2.2", "server sent more than one Sec-WebSocket-Protocol"))
	} else if len(values) == 1 {
		if !slices.Contains(c.Subprotocols, values[0]) {
			return fail(wrong("4.1", "server chose subprotocol %s, which was not offered", quote(values[0])))
		}
		a.Subprotocol = values[0]
	}
	extensions, err := ParseExtensions(h[headerExtensions])
	if err != nil {
		return fail(err)
	}
	for _, x := range extensions {
		if x.Name != deflateName || c.Deflate == nil {
			return fail(wrong("4.1", "server chose extension %s, which was not offered", quote(x.Name)))
		}
		if a.Deflate != nil {
			return fail(wrong("9.1", "server chose %s twice", deflateName))
		}
		if a.Deflate, err = c.Deflate.accepted(x.Params); err != nil {
			return fail(err)
		}
	}
	return a, nil
}
