package peers_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/examples/peers"
	"rfc6455/examples/peers/load"
)

// listen serves a library until the test is over, and returns the address.
func listen(tb testing.TB, l peers.Lib) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ln) }()
	tb.Cleanup(func() {
		ln.Close()
		require.ErrorIs(tb, <-ended, net.ErrClosed)
	})
	return ln.Addr().String()
}

// BenchmarkEcho is one message there and back over TCP, on one connection.
// Server and load are in this process: the load allocates nothing for a message,
// but its time is in the figure.
func BenchmarkEcho(b *testing.B) {
	for _, l := range peers.Libs {
		for _, o := range []load.Options{
			{Op: load.Binary, Size: 125},
			{Op: load.Binary, Size: 125, Depth: 16},
			{Op: load.Binary, Size: 1 << 10},
			{Op: load.Text, Size: 4 << 10},
			{Op: load.Binary, Size: 16 << 10},
			{Op: load.Binary, Size: 1 << 20},
		} {
			opcode := map[load.Opcode]string{load.Text: "text", load.Binary: "binary"}[o.Op]
			b.Run(fmt.Sprintf("lib=%s/size=%d/op=%s/inflight=%d", l.Name, o.Size, opcode, max(o.Depth, 1)), func(b *testing.B) {
				o.Addr, o.Raw, o.Conns = listen(b, l), l.Raw, 1
				e, err := load.NewEcho(o)
				require.NoError(b, err)
				defer e.Close()
				b.ReportAllocs()
				b.SetBytes(int64(o.Size))
				// Not b.Loop: a batch comes back at once.
				b.ResetTimer()
				_, err = e.RunCount(int64(b.N))
				b.StopTimer()
				require.NoError(b, err)
			})
		}
	}
}
