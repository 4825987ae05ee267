package handshake

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	rfcKey    = "dGhlIHNhbXBsZSBub25jZQ==" // RFC 6455, section 1.3
	rfcAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func TestAcceptKey(t *testing.T) {
	require.Equal(t, rfcAccept, AcceptKey(rfcKey))
	// It is hashed as it stands, whatever it is, and however long.
	require.Equal(t, "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=", AcceptKey(""))
	require.Len(t, AcceptKey(strings.Repeat("x", 1000)), acceptLength)
}

func TestNewKey(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		key := NewKey()
		require.Len(t, key, keyLength)
		b, err := base64.StdEncoding.Strict().DecodeString(key)
		require.NoError(t, err)
		require.Len(t, b, keyBytes)
		require.NoError(t, checkKey(key))
		require.False(t, seen[key])
		seen[key] = true
	}
}

var keyTests = []struct{ name, key, want string }{
	{"example of section 1.3", rfcKey, ""},
	// Its last four bits are not zero, as RFC 4648, section 3.5, wants them.
	{"example of section 4.1", "AQIDBAUGBwgJCgsMDQ4PEC==", ""},
	{"plus and slash", "++++++++++//////////+A==", ""},
	{"empty", "", "websocket: Sec-WebSocket-Key is empty (RFC 6455, section 4.2.1)"},
	{"15 bytes", "AQIDBAUGBwgJCgsMDQ4P", `websocket: Sec-WebSocket-Key "AQIDBAUGBwgJCgsMDQ4P" is base64 of 15 bytes, it must be of 16 (RFC 6455, section 4.2.1)`},
	{"17 bytes", "AQIDBAUGBwgJCgsMDQ4PEBE=", `websocket: Sec-WebSocket-Key "AQIDBAUGBwgJCgsMDQ4PEBE=" is base64 of 17 bytes, it must be of 16 (RFC 6455, section 4.2.1)`},
	{"18 bytes", "AQIDBAUGBwgJCgsMDQ4PEBES", `websocket: Sec-WebSocket-Key "AQIDBAUGBwgJCgsMDQ4PEBES" is base64 of 18 bytes, it must be of 16 (RFC 6455, section 4.2.1)`},
	{"20 bytes", "AQIDBAUGBwgJCgsMDQ4PEBESExQ=", "is base64 of 20 bytes"},
	{"no padding", "AQIDBAUGBwgJCgsMDQ4PEA", "is not base64"},
	{"half the padding", "AQIDBAUGBwgJCgsMDQ4PEA=", "is not base64"},
	{"padding within", "AQIDBAUG==gJCgsMDQ4PEA==", `websocket: Sec-WebSocket-Key "AQIDBAUG==gJCgsMDQ4PEA==" is not base64 (RFC 6455, section 4.2.1)`},
	{"alphabet of URLs", "----------__________-A==", "is not base64"},
	{"space after", rfcKey + " ", "is not base64"},
	{"space within", "dGhlIHNhbXBs SBub25jZQ==", "is not base64"},
	{"line feed within", "dGhlIHNhbXBs\nSBub25jZQ==", "is not base64"},
	{"line feeds after", "dGhlIHNhbXBsZSBub25j\n\n\n\n", "is base64 of 15 bytes"},
	{"line feeds beside", "\r\n" + rfcKey + "\r\n", "has line breaks"},
	{"not ASCII", strings.Repeat("é", 12), "is not base64"},
	{"two in one", rfcKey + ", " + rfcKey, "is not base64"},
	{"huge", strings.Repeat("A", 1<<20), `AAAA"... is base64 of 786432 bytes`},
}

func TestCheckKey(t *testing.T) {
	for _, test := range keyTests {
		t.Run(test.name, func(t *testing.T) {
			err := checkKey(test.key)
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
			require.Less(t, len(err.Error()), 4*maxQuote+100)
		})
	}
}

func BenchmarkAcceptKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		AcceptKey(rfcKey)
	}
}
