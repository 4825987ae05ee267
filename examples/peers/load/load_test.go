package load

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"rfc6455/examples/peers"
)

// listen serves a library until the test is over, and returns the address.
func listen(t *testing.T, serve func(net.Listener) error) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- serve(ln) }()
	t.Cleanup(func() {
		ln.Close()
		require.ErrorIs(t, <-ended, net.ErrClosed)
	})
	return ln.Addr().String()
}

// eachLib runs f with a server of each library.
func eachLib(t *testing.T, f func(t *testing.T, l peers.Lib, o Options)) {
	eachOf(t, peers.Libs, f)
}

func eachOf(t *testing.T, libs []peers.Lib, f func(t *testing.T, l peers.Lib, o Options)) {
	require.NotEmpty(t, libs)
	for _, l := range libs {
		t.Run("lib="+l.Name, func(t *testing.T) {
			f(t, l, Options{Addr: listen(t, l.Serve), Raw: l.Raw})
		})
	}
}

func TestEcho(t *testing.T) {
	eachLib(t, func(t *testing.T, l peers.Lib, o Options) {
		for _, test := range []Options{
			{Op: Binary, Size: 0},
			{Op: Text, Size: 0, Depth: 4},
			{Op: Binary, Size: 125},
			{Op: Text, Size: 4 << 10},
			{Op: Binary, Size: 1 << 10, Depth: 16},
			{Op: Text, Size: 70000, Depth: 3},
			{Op: Binary, Size: 1 << 20},
		} {
			test.Addr, test.Raw, test.Conns = o.Addr, o.Raw, 3
			e, err := NewEcho(test)
			require.NoError(t, err)
			r, err := e.RunCount(60)
			require.NoError(t, err, test)
			require.GreaterOrEqual(t, r.Count, int64(60))
			require.Positive(t, r.Latency.Quantile(0.5))
			require.LessOrEqual(t, r.Latency.Quantile(0.5), r.Latency.Quantile(0.99))
			e.Close()
		}
	})
}

func TestEchoFragments(t *testing.T) {
	// Bare TCP knows nothing of fragments.
	libs := slices.DeleteFunc(slices.Clone(peers.Libs), func(l peers.Lib) bool { return l.Raw })
	eachOf(t, libs, func(t *testing.T, l peers.Lib, o Options) {
		o.Conns = 2
		s := fragmented(l.Splits)
		// All messages of the stream at once; what comes back is more where
		// fragments come back as messages.
		e, err := newEcho(o, s, len(s.outEnd))
		require.NoError(t, err)
		defer e.Close()
		_, err = e.RunCount(int64(20 * len(s.inEnd)))
		require.NoError(t, err)
	})
}

func TestBroadcast(t *testing.T) {
	eachLib(t, func(t *testing.T, l peers.Lib, o Options) {
		o.Conns, o.Op, o.Size, o.Depth = 20, Binary, 128, 8
		b, err := NewBroadcast(o)
		require.NoError(t, err)
		defer b.Close()
		for range 5 {
			r, err := b.Run(0)
			require.NoError(t, err)
			require.Positive(t, r.Count)
		}
	})
}

func TestHandshakes(t *testing.T) {
	eachLib(t, func(t *testing.T, l peers.Lib, o Options) {
		o.Conns = 4
		h, err := NewHandshakes(o)
		require.NoError(t, err)
		defer h.Close()
		for range 20 {
			r, err := h.Run(0)
			require.NoError(t, err)
			require.Positive(t, r.Count)
		}
	})
}

func TestIdle(t *testing.T) {
	eachLib(t, func(t *testing.T, l peers.Lib, o Options) {
		o.Conns, o.Op, o.Size = 20, Binary, 64<<10
		last := 0
		idle, err := NewIdle(o, func(n int) { last = n })
		require.NoError(t, err)
		defer idle.Close()
		require.Equal(t, 20, last)
		require.NoError(t, idle.Echo(nil))
		require.NoError(t, idle.Echo(func(n int) { last = n }))
	})
}

// wrong serves connections whose answer to each message of want is made by
// answer, and which end after that if it is nil.
func wrong(t *testing.T, s *Stream, response string, answer func(i int, right []byte) []byte) string {
	serve := func(nc net.Conn) {
		defer nc.Close()
		br := bufio.NewReader(nc)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		response := response
		if response == "" {
			response = fmt.Sprintf("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
				peers.AcceptKey(r.Header.Get("Sec-WebSocket-Key")))
		}
		io.WriteString(nc, response)
		outStart, inStart := 0, 0
		for i := range s.outEnd {
			if _, err := io.CopyN(io.Discard, br, int64(s.outEnd[i]-outStart)); err != nil {
				return
			}
			b := answer(i, bytes.Clone(s.in[inStart:s.inEnd[i]]))
			if b == nil {
				return
			}
			nc.Write(b)
			outStart, inStart = s.outEnd[i], s.inEnd[i]
		}
		io.Copy(io.Discard, br)
	}
	return listen(t, func(ln net.Listener) error {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return err
			}
			go serve(nc)
		}
	})
}

// nothing is what the error says when patience is over.
const nothing = "the server did nothing"

// patience is short where the server does indeed do nothing.
func patience(want string) time.Duration {
	if want == nothing {
		return 50 * time.Millisecond
	}
	return 0
}

func TestEchoWrong(t *testing.T) {
	s := NewStream(Text, 200, 3, false)
	for _, test := range []struct {
		name   string
		answer func(i int, right []byte) []byte
		want   string
	}{
		{"binary for text", func(i int, right []byte) []byte {
			right[0] = 0x82
			return right
		}, "wrong header in message 0: byte 0 is 0x82, not 0x81"},
		{"reserved bit in the second message", func(i int, right []byte) []byte {
			if i == 1 {
				right[0] |= 0x40
			}
			return right
		}, "wrong header in message 1: byte 0 is 0xc1, not 0x81"},
		{"masked", func(i int, right []byte) []byte {
			return appendFrame(nil, 0x81, right[4:], 5)
		}, "wrong header in message 0: byte 1 is 0xfe, not 0x7e"},
		{"a byte less, honestly", func(i int, right []byte) []byte {
			return appendFrame(nil, 0x81, right[4:len(right)-1], 0)
		}, "wrong header in message 0: byte 3 is 0xc7, not 0xc8"},
		{"other payload", func(i int, right []byte) []byte {
			right[100] ^= 0x20
			return right
		}, "wrong payload in message 0: byte 100 is"},
		{"a byte less, and the end", func(i int, right []byte) []byte {
			if i == 1 {
				return nil
			}
			return right[:len(right)-1]
		}, nothing},
		{"the end", func(i int, right []byte) []byte { return nil }, "the server closed the connection"},
		{"too much", func(i int, right []byte) []byte {
			return append(right, right...)
		}, "load: "}, // a wrong answer, or too many of them
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := wrong(t, s, "", test.answer)
			e, err := newEcho(Options{Addr: addr, Conns: 1}, s, 1)
			require.NoError(t, err)
			defer e.Close()
			if d := patience(test.want); d > 0 {
				e.patience = d
			}
			_, err = e.RunCount(1 << 30)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestDialWrong(t *testing.T) {
	s := NewStream(Text, 0, 1, false)
	for _, test := range []struct {
		name     string
		response string
		want     string
	}{
		{"refused", "HTTP/1.1 403 Forbidden\r\n\r\n", `the response is "HTTP/1.1 403 Forbidden"`},
		{"wrong accept", "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\n\r\n", "the response is"},
		{"more than the response", "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x89\x00", "more than the response"},
		{"endless", string(bytes.Repeat([]byte("A"), 2*maxResponse)), "the response does not end"},
		{"unfinished", "HTTP/1.1 101 Switching Protocols\r\n", nothing},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := Options{Addr: wrong(t, s, test.response, nil), Conns: 1, Patience: patience(test.want)}
			_, err := NewIdle(o, nil)
			require.ErrorContains(t, err, test.want)
			h, err := NewHandshakes(o)
			require.NoError(t, err)
			defer h.Close()
			_, err = h.Run(0)
			require.ErrorContains(t, err, test.want)
		})
	}
	for _, addr := range []string{"192.0.2.1:80", "[::1]:80", "localhost:80", ""} {
		_, err := NewEcho(Options{Addr: addr, Conns: 1})
		require.Error(t, err, addr)
	}
}
