// Package conn makes WebSocket connections (RFC 6455) out of HTTP requests and
// network connections.
//
// # Servers
//
// [Handler] turns a function into an http.Handler, which is all that most
// servers need:
//
//	http.Handle("/echo", conn.Handler(func(ctx context.Context, c *conn.Conn) error {
//		for m, err := range c.Messages(ctx) {
//			if err != nil {
//				return err
//			}
//			if err := c.Write(ctx, m.Type, m.Data); err != nil {
//				return err
//			}
//		}
//		return nil
//	}, nil))
//
// [Accept] is for handlers that want to keep the connection themselves.
// [Serve] and [Server] work without net/http's server, at less memory a
// connection. [New] takes a stream whose opening handshake is over, [Pipe] makes
// both ends in memory, for tests.
//
// # Clients
//
// [Dial] opens a connection to a URL through an http.Client, with its proxies,
// TLS settings and cookies; [Redial] opens another one whenever it is lost.
// [Client] does the opening handshake on a net.Conn.
//
// # Reading
//
// A connection needs somebody to read: it is the reader that answers Pings and
// Close frames. [Conn.Read] returns memory of its own, [Conn.ReadInto] uses the
// caller's, [Conn.Messages] lends the connection's and allocates nothing,
// [Conn.Reader] streams a message that should not be in memory whole, and
// [ReadJSON] decodes one. [Conn.NetConn] makes a stream of bytes of it all.
//
// # Writing
//
// [Conn.Write] sends a message and waits for the transport to take it;
// [Conn.Writer] streams one. [Conn.Send] queues a message and returns: it is for
// broadcasts and for everything else that must not wait for a slow peer.
// [Prepare] encodes a message once for all the connections that it is sent on
// with [Conn.SendPrepared].
//
// # Concurrency
//
// Any number of goroutines may write, close and ask at any time. One goroutine
// at a time may read; a second gets [ErrConcurrentRead]. There is no goroutine
// behind a connection but the caller's own: only messages of Send are written by
// one, while there are any.
//
// # Deadlines
//
// Every call that can block takes a context. A read's context ends the call and
// leaves the connection as it was, in the middle of a message too. A write's
// context counts until the first byte of the message is on the wire; after that
// the connection is failed. On a transport that has no deadlines (an
// io.ReadWriteCloser that is no net.Conn) a context that ends while a call is
// blocked ends the connection. Passing [Conn.Context], or context.Background(),
// costs nothing; nor does the same context again and again.
//
// # Limits
//
// A message is limited to 1 MiB unless [Options.ReadLimit] says otherwise. A
// peer that is silent is asked for a sign of life after 30 s and given up after
// 60 s; a message that the peer does not take within 10 s fails the connection.
// Memory grows with the bytes that came, fourfold at most, or to what the message
// before needed, never with those that were announced.
//
// # Compression
//
// With [Options.Compression] set on both sides, messages of 512 bytes and more
// are compressed (permessage-deflate, RFC 7692). [Options.ReadLimit] then limits
// what they inflate to. Read what [Compression] says about secrets.
//
// # Closing
//
// [Conn.Close] performs the closing handshake within 5 s, [Conn.CloseNow] does
// without. However the connection ends, every call returns the same error from
// then on, and it is the cause of [Conn.Context]:
//
//   - a [*CloseError] after a Close frame of either side. errors.Is finds
//     net.ErrClosed in it, and io.EOF if the code is 1000, 1001 or 1005.
//   - a [*frame.ProtocolError], with one sentinel a rule, if the peer broke the
//     protocol; [ErrMessageTooBig] if it broke a limit.
//   - an error that wraps io.ErrUnexpectedEOF if the stream ended without a
//     Close frame, and the transport's own error if that failed.
//   - an error that wraps os.ErrDeadlineExceeded if the peer was silent or did
//     not take a message in time.
package conn
