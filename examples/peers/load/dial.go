package load

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const defaultPatience = 20 * time.Second

func errPatience(d time.Duration) error {
	return fmt.Errorf("load: the server did nothing for %v", d)
}

// Raise raises the limit of open descriptors as far as the system allows, and
// returns it.
func Raise() (int, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	l.Cur = l.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	return int(min(l.Cur, 1<<30)), nil
}

// target is a server and the opening handshake that it is sent.
type target struct {
	addr    unix.SockaddrInet4
	request []byte
	dialled int // connections so far

	patience time.Duration
}

func newTarget(o Options, path string) (*target, error) {
	ap, err := netip.ParseAddrPort(o.Addr)
	if err != nil {
		return nil, err
	}
	if !ap.Addr().Is4() || !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("load: %s is not in 127.0.0.0/8", o.Addr)
	}
	t := &target{
		addr:    unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())},
		request: request(o.Addr, path),

		patience: o.Patience,
	}
	if t.patience == 0 {
		t.patience = defaultPatience
	}
	return t, nil
}

// request is an opening handshake with the header fields that browsers send.
func request(host, path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\n"+
		"Host: %s\r\n"+
		"Connection: Upgrade\r\n"+
		"Pragma: no-cache\r\n"+
		"Cache-Control: no-cache\r\n"+
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n"+
		"Upgrade: websocket\r\n"+
		"Origin: http://%s\r\n"+
		"Sec-WebSocket-Version: 13\r\n"+
		"Accept-Encoding: gzip, deflate, br, zstd\r\n"+
		"Accept-Language: en-GB,en;q=0.9\r\n"+
		"Cookie: session=0123456789abcdef0123456789abcdef\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n", path, host, host)
}

// checkResponse looks for the end of the response, and returns its length, or 0
// if more has to come. The key is that of RFC 6455, section 1.3.
func checkResponse(b []byte) (int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) >= maxResponse {
			return 0, errors.New("load: the response does not end")
		}
		return 0, nil
	}
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) || !bytes.Contains(b[:end], []byte("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) {
		return 0, fmt.Errorf("load: the response is %.200q", b[:end])
	}
	return end + 4, nil
}

const maxResponse = 4 << 10

// open begins to connect and returns the descriptor, which does not block. The
// source addresses are spread over 127.0.0.0/8, since one has 28,000 ports and
// they stay in use for a minute after a connection.
func (t *target) open() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("load: socket: %w", err)
	}
	n := t.dialled
	t.dialled++
	from := unix.SockaddrInet4{Addr: [4]byte{127, byte(1 + n%100), byte(n / 100 % 250), 1}}
	unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("load: no delay: %w", err)
	}
	if err := unix.Bind(fd, &from); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("load: bind: %w", err)
	}
	if err := unix.Connect(fd, &t.addr); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, fmt.Errorf("load: connect: %w", err)
	}
	return fd, nil
}

// dial connects and does the opening handshake.
func (t *target) dial() (int, error) {
	fd, err := t.open()
	if err != nil {
		return -1, err
	}
	if err := t.handshake(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (t *target) handshake(fd int) error {
	if err := t.writeAll(fd, t.request); err != nil {
		return err
	}
	b := make([]byte, maxResponse)
	for n := 0; ; {
		m, err := t.readSome(fd, b[n:])
		if err != nil {
			return err
		}
		n += m
		switch end, err := checkResponse(b[:n]); {
		case err != nil:
			return err
		case end == n:
			return nil
		case end > 0:
			return errors.New("load: more than the response came")
		}
	}
}

// dialAll dials n times.
func (t *target) dialAll(n int, progress func(int)) ([]int, error) {
	var fds []int
	for i := range n {
		fd, err := t.dial()
		if err != nil {
			closeAll(fds)
			return nil, fmt.Errorf("%w (connection %d)", err, i)
		}
		fds = append(fds, fd)
		if progress != nil {
			progress(i + 1)
		}
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// writeAll writes all of b, as long as the server goes on reading.
func (t *target) writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := write(fd, b)
		if err != nil {
			return err
		}
		b = b[n:]
		if len(b) > 0 {
			if err := t.wait(fd, unix.POLLOUT); err != nil {
				return err
			}
		}
	}
	return nil
}

// readSome reads at least one byte.
func (t *target) readSome(fd int, b []byte) (int, error) {
	for {
		n, err := read(fd, b)
		if n > 0 || err != nil {
			return n, err
		}
		if err := t.wait(fd, unix.POLLIN); err != nil {
			return 0, err
		}
	}
}

func (t *target) wait(fd int, events int16) error {
	deadline := time.Now().Add(t.patience)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errPatience(t.patience)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, int(left/time.Millisecond)+1)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("load: poll: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
}

// read reads what there is: 0 if there is nothing. The end of the stream is an
// error.
func read(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, nil
		case err != nil:
			return 0, fmt.Errorf("load: read: %w", err)
		case n == 0 && len(b) > 0:
			return 0, errors.New("load: the server closed the connection")
		}
		return n, nil
	}
}

// write writes what there is room for, which may be nothing.
func write(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Write(fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN || err == unix.ENOTCONN:
			return 0, nil
		case err != nil:
			return 0, fmt.Errorf("load: write: %w", err)
		}
		return n, nil
	}
}
