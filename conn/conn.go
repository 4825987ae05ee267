package conn

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"weak"

	"rfc6455/frame"
	"rfc6455/handshake"
	"rfc6455/mask"
)

// MessageType says how the payload of a message is to be interpreted. It is not
// an opcode, so that no control frame can be written as a message.
// (RFC 6455, section 5.6)
type MessageType uint8

const (
	Text   MessageType = MessageType(frame.OpText)   // UTF-8
	Binary MessageType = MessageType(frame.OpBinary) // any bytes
)

// uncompressed is set in what Uncompressed returns.
const uncompressed MessageType = 0x80

// Uncompressed returns the type for a message that is to be sent as it is, also
// on a connection that compresses: one that has a secret beside what an attacker
// may have chosen, whose compressed length would tell of it, or one that is
// compressed already. Received messages never have it.
func (t MessageType) Uncompressed() MessageType { return t | uncompressed }

// String returns "text" or "binary".
func (t MessageType) String() string { return frame.Opcode(t &^ uncompressed).String() }

// opcode returns the opcode of a message's first frame.
func (t MessageType) opcode() (frame.Opcode, error) {
	if t &^= uncompressed; t != Text && t != Binary {
		return 0, errors.New("websocket: message type is neither Text nor Binary")
	}
	return frame.Opcode(t), nil
}

// Conn is a WebSocket connection after its opening handshake. The methods that
// write, Close and the accessors may be called from any number of goroutines at
// any time; the methods that read from one goroutine at a time.
type Conn struct {
	// The fields that every message needs stand together, reading first, so that
	// one of an idle connection costs few cache misses.

	// Constant.
	o          *Options      // resolved
	compressor *compressor   // nil without compression
	start      time.Duration // since epoch; times below are durations since then

	// Whoever has the reader's turn.
	// 0 <= r <= w <= len(buf.b)
	buf       *buffer // nil while idle on a raw transport
	r, w      int
	bufSize   int             // of the next buffer to lend
	silence   time.Duration   // since when reads have found nothing; 0: the last one found bytes
	readCount int64           // messages, not in stats yet
	readCtx   context.Context // of the call under way
	streaming *messageReader
	readErr   error        // came with the last bytes, not reported yet
	big       *buffer      // where Messages assembles what does not fit buf
	head      frame.Header // of the frame under way
	ahead     frame.Header // of the next one, whose first byte is at r, if aheadLen > 0
	aheadLen  uint8
	lent      bool  // the application holds a message inside buf or big
	inControl bool  // the frame under way is a control frame, not whole yet
	inData    bool  // it is a data frame, not whole yet
	pingSeen  bool  // ping was not made a Pong yet
	traceHead bool  // head was not given to Trace yet
	bigBits   uint8 // the last message that did not fit buf had at most 1<<bigBits bytes
	rawBuf    bool  // rawTarget is the end of buf; nil while buf is given back
	droppable bool  // request is there and can be made again

	// Constant.
	vectored bool // nc writes several slices with one call
	exact    bool // an interrupted Write of nc tells how much is on the wire
	role     frame.Role

	// Anyone.
	corkable atomic.Bool  // the next message is in buf already: the reader is back soon
	over     atomic.Bool  // ended, for those who are not under mu
	reading  atomic.Int32 // the reader's turn: free, taken or wanted
	waiting  atomic.Int64 // since when no byte came to the reads, while one waits; 0: none waits
	parked   atomic.Int64 // since when that one waits; 1 if it is sure that nothing has come
	stats    counters

	// The raw transport; see raw_unix.go. The first half is the reader's, the second
	// belongs to whoever is busy writing.
	raw       syscall.RawConn
	rawTry    func(fd uintptr) bool
	rawTarget []byte
	rawN      int // -1: the end of the stream
	rawErrno  uint32
	rawSend   func(fd uintptr) bool // made for the first write
	rawOut    []byte
	rawOutErr uint32

	recv frame.Receiver // of whoever has the reader's turn

	mu sync.Mutex // never held across I/O or a callback

	// Under mu; sender, out, tail and ownStart belong to whoever is busy, while
	// somebody is.
	busy       bool
	open       bool // a Writer's message is under way
	pongDue    bool
	pingDue    bool
	closeDue   bool
	ended      bool
	closed     bool // nc was closed
	rawWait    bool // rawSend waits until all is written
	corked     bool // output waits for more
	corkListed bool // c.o.corks looks at this connection
	corkIdle   uint8
	sender     frame.Sender
	tailMasked bool     // tail is to be masked
	tailKey    mask.Key // with this
	out        []byte   // encoded bytes that wait, inside outBuf
	outBuf     *buffer
	tail       []byte         // what follows out, not copied
	ownStart   int            // where the leader's own frame begins in out
	*extra                    // see needExtra
	closing    *closing       // nil: no Close frame is due or was sent
	writeErr   error          // writing failed, the reader may still find the reason
	timerAt    time.Duration  // when timer fires; 0: it does not
	writeStart time.Duration  // of the write under way, for the time-out; 0: none
	lastWrite  time.Duration  // when a write began, was to begin, or ended; 0: this very moment
	traced     *[]tracedFrame // nil without a Trace that wants to know

	// What follows is needed now and then. Constant.
	nc          io.ReadWriteCloser
	subprotocol *string         // nil: none
	parent      context.Context // whose values its own context has

	watches     atomic.Pointer[watches]      // see watching
	made        atomic.Pointer[madeContext]  // nil until somebody needs it
	request     atomic.Pointer[http.Request] // nil if it was dropped
	requestText string                       // of which a dropped request is made again; "": it is not dropped

	// Whoever has the reader's turn.
	aside *aside // see needAside

	// Under mu.
	requestAgain weak.Pointer[http.Request] // made again
	readFree     chan struct{}              // a Close waits for the reader's turn; one value
	pingNumber   uint64
	err          error // sticky; set when ended
	closeResult  error // what Close returns after the end
	timer        *time.Timer
	closeAt      time.Duration // when the closing handshake is given up; 0: none
	keepalive    keepalive
}

// extra is what a connection does not need that reads messages and writes answers.
// All of it is under mu; taken belongs to whoever is busy, too.
type extra struct {
	taken       list // the entries whose frames are in out and tail
	urgent      list // control frames and fragments
	queue       list // messages, in order
	room        chan struct{}
	freeWaiters *entry
	pong        []byte // payload of the Pong that is due
	flusher     func() // flushQueued, made once
	pings       []*pingWaiter
}

// noExtra stands for an empty one, which nobody writes to.
var noExtra extra

// needExtra returns one to write to. Under mu.
func (c *Conn) needExtra() *extra {
	if c.extra == &noExtra {
		c.extra = &extra{flusher: c.flushQueued}
	}
	return c.extra
}

// aside is what a reader keeps that many never need.
type aside struct {
	saved []byte // of a message that an interrupted call had collected
	ping  []byte // payload of the newest Ping
}

// needAside returns one to write to.
func (c *Conn) needAside() *aside {
	if c.aside == nil {
		c.aside = new(aside)
	}
	return c.aside
}

// saved returns what an interrupted call had collected of a message.
func (c *Conn) saved() []byte {
	if c.aside == nil {
		return nil
	}
	return c.aside.saved
}

// save keeps p for the next call.
func (c *Conn) save(p []byte) {
	if p != nil || c.aside != nil {
		c.needAside().saved = p
	}
}

// deadliner is the part of net.Conn that interrupts blocked I/O.
type deadliner interface {
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// deadlines returns nil if nc has none.
func (c *Conn) deadlines() deadliner {
	d, _ := c.nc.(deadliner)
	return d
}

// New makes a connection of a stream on which the opening handshake is over,
// done by the caller or by other means than HTTP. role is the role of this
// endpoint; a may be nil. The connection owns rwc and closes it.
//
// If rwc is a net.Conn, contexts interrupt reads and writes through its
// deadlines, which nobody else may then set. Otherwise a context that ends
// while a call is blocked ends the connection.
func New(rwc io.ReadWriteCloser, role frame.Role, a *handshake.Agreement, o *Options) *Conn {
	return newConn(context.Background(), rwc, role, a, o.resolved(), opened{})
}

// newConn makes a connection; o is resolved.
func newConn(parent context.Context, rwc io.ReadWriteCloser, role frame.Role, a *handshake.Agreement, o *Options, by opened) *Conn {
	c := new(Conn)
	c.setUp(parent, rwc, role, a, o, by)
	return c
}

// opened is what a connection has of its opening handshake.
type opened struct {
	request *http.Request   // nil: none, or the connection has it
	text    string          // if it is not empty, what the request can be made of again
	raw     syscall.RawConn // nil: none, or not asked for
	early   []byte          // came with the request or the response
}

// setUp makes a new Conn ready.
func (c *Conn) setUp(parent context.Context, rwc io.ReadWriteCloser, role frame.Role, a *handshake.Agreement, o *Options, by opened) {
	c.nc = rwc
	c.role = role
	c.o = o
	c.extra = &noExtra
	c.parent = parent
	c.start = time.Since(epoch)
	c.readCtx = context.Background()
	c.bufSize = minReadBuffer
	c.recv.Role = role
	c.recv.MessageLimit = o.ReadLimit
	c.recv.FragmentLimit = o.FragmentLimit
	c.sender.Role = role
	switch rwc.(type) {
	case *net.TCPConn, *net.UnixConn: // as in rawConn
		c.vectored, c.exact = true, true
	case *stream:
		c.exact = true
	}
	if by.raw == nil {
		by.raw = rawConn(rwc)
	}
	if by.raw != nil {
		c.openRaw(by.raw)
		c.requestText = by.text // and the transport tells its address at any time
	}
	if by.request != nil {
		c.keepRequest(by.request)
	}
	c.droppable = c.requestText != ""
	if a != nil {
		if a.Subprotocol != "" {
			c.subprotocol = &a.Subprotocol
		}
		if a.Deflate != nil {
			c.compress(a.Deflate)
		}
	}
	if t := o.Trace; t != nil && t.Sent != nil {
		c.traced = new([]tracedFrame)
	}
	if len(by.early) > 0 {
		c.buf = getBuffer(max(len(by.early), minReadBuffer))
		c.w = copy(c.buf.b, by.early)
	}
	c.mu.Lock()
	c.rearm()
	c.mu.Unlock()
	if o.Tracker != nil {
		o.Tracker.add(c)
	}
}

// now returns the time since the connection began, always positive.
func (c *Conn) now() time.Duration { return time.Since(epoch) - c.start + 1 }

// epoch is when no connection was there yet.
var epoch = time.Now()

// Subprotocol returns the subprotocol that the handshake agreed on, or "".
func (c *Conn) Subprotocol() string {
	if c.subprotocol == nil {
		return ""
	}
	return *c.subprotocol
}

// Role returns the role of this endpoint.
func (c *Conn) Role() frame.Role { return c.role }

// Request returns the request of the opening handshake: URL, header, path
// values, addresses and TLS state, without the body. It is nil on a connection
// made with New or Pipe. It must not be changed.
func (c *Conn) Request() *http.Request {
	if r := c.request.Load(); r != nil || c.requestText == "" {
		return r
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.requestAgain.Value()
	if r == nil {
		r = plain(c.requestText, c.Context())
		r.RemoteAddr = address(c.RemoteAddr())
		c.requestAgain = weak.Make(r)
	}
	return r
}

// dropRequest lets go of a request that can be made again of its text: applications
// look at it at the start, if at all. Whoever has the reader's turn calls it.
func (c *Conn) dropRequest() {
	if c.droppable {
		c.droppable = false
		c.request.Store(nil)
	}
}

// RemoteAddr returns the peer's address, or nil if the transport has none.
func (c *Conn) RemoteAddr() net.Addr {
	if nc, ok := c.nc.(net.Conn); ok {
		return nc.RemoteAddr()
	}
	return nil
}

// LocalAddr returns the address of this end, or nil if the transport has none.
func (c *Conn) LocalAddr() net.Addr {
	if nc, ok := c.nc.(net.Conn); ok {
		return nc.LocalAddr()
	}
	return nil
}

// end ends the connection with a sticky error. Only the first call does
// anything. result is what Close returns from now on. With linger the transport
// stays open, for the caller to read out and then close.
func (c *Conn) end(err, result error, linger bool) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	if linger && c.closeAt == 0 {
		c.closeAt = c.now() + defaultCloseTimeout
		c.arm(c.closeAt)
	}
	c.err = err
	c.over.Store(true) // after err, for the context
	c.closeResult = result
	c.closeDue = false
	c.closeWritten()
	c.failQueued(err)
	c.failPings(err)
	c.dropOutput()
	if !linger {
		c.closed = true
		c.stopTimer()
	}
	c.mu.Unlock()

	c.endContext(err)
	// A context that outlives the connection must not keep it.
	if w := c.watches.Load(); w != nil {
		w.read.release()
		w.write.release()
	}
	if c.o.Tracker != nil {
		c.o.Tracker.remove(c)
	}
	if !linger {
		c.closeTransport()
	}
	if c.o.Logger != nil {
		c.logEnd(err)
	}
}

func (c *Conn) logEnd(err error) {
	if !errors.Is(err, net.ErrClosed) {
		c.o.Logger.Info("websocket: connection failed", "remote", c.RemoteAddr(), "error", err)
	}
}

// hangUp closes the transport of a connection that lingers.
func (c *Conn) hangUp() {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.stopTimer()
	c.mu.Unlock()
	if !was {
		c.closeTransport()
	}
}

// closeTransport closes the transport, after the end. Closing TLS sends an alert,
// and waits for a read or write under way: where the closing handshake was not
// completed the peer may not be taking anything, so it is cut off below TLS.
func (c *Conn) closeTransport() {
	if c.closeResult != nil {
		if t, ok := c.nc.(interface{ NetConn() net.Conn }); ok {
			t.NetConn().Close()
		}
	}
	c.nc.Close()
}

// dropOutput forgets what was not written. Under mu; not while somebody is
// busy, who does it then.
func (c *Conn) dropOutput() {
	if c.busy {
		return
	}
	c.out, c.tail = nil, nil
	putBuffer(c.outBuf)
	c.outBuf = nil
	if c.traced != nil {
		*c.traced = nil
	}
	c.corked = false
	c.compressor.drop()
}

// sticky returns the error that ended the connection, nil while it lives.
func (c *Conn) sticky() error {
	if !c.over.Load() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
