package frame

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRole(t *testing.T) {
	require.Equal(t, "client", Client.String())
	require.Equal(t, "server", Server.String())
	require.Equal(t, Server, Client.Peer())
	require.Equal(t, Client, Server.Peer())
}

// Every value of the type; only the first sixteen can come over the wire.
func TestOpcode(t *testing.T) {
	names := map[int]string{0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
	for i := range 256 {
		o := Opcode(i)
		name, known := names[i]
		require.Equal(t, !known, o.IsReserved(), "%#x", i)
		if i < 16 {
			require.Equal(t, i >= 8, o.IsControl(), "%#x", i)
		}
		if known {
			require.Equal(t, name, o.String())
		}
	}
	require.Equal(t, "opcode 0x3", Opcode(3).String())
	require.Equal(t, "opcode 0xf", Opcode(15).String())
	require.Equal(t, "opcode 0xff", Opcode(255).String())
}
