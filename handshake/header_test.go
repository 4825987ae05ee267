package handshake

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostileBytes is how long the input of a test of linear time is: a quadratic
// loop over it takes minutes.
const hostileBytes = 1 << 20

// requireLinear fails if f is quadratic in hostileBytes. It leaves much room
// for a slow machine and the race detector.
func requireLinear(t *testing.T, f func()) {
	start := time.Now()
	f()
	require.Less(t, time.Since(start), 20*time.Second)
}

func TestIsToken(t *testing.T) {
	// RFC 9110, section 5.6.2: VCHAR without the delimiters.
	for c := range 256 {
		want := c > ' ' && c < 0x7F && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, rune(c))
		assert.Equal(t, want, isToken(string([]byte{byte(c)})), "%q", c)
		assert.Equal(t, want, isToken("a"+string([]byte{byte(c)})+"b"), "%q", c)
	}
	require.False(t, isToken(""))
}

func TestIsFieldValue(t *testing.T) {
	for c := range 256 {
		want := c >= ' ' && c != 0x7F || c == '\t'
		assert.Equal(t, want, isFieldValue("a"+string([]byte{byte(c)})+"b"), "%q", c)
	}
	require.True(t, isFieldValue(""))
}

var hasTokenTests = []struct {
	name   string
	values []string
	has    bool // has the token "upgrade"
	only   bool // and no other
}{
	{"none", nil, false, false},
	{"empty", []string{""}, false, false},
	{"alone", []string{"upgrade"}, true, true},
	{"capital", []string{"Upgrade"}, true, true},
	{"capitals", []string{"UPGRADE"}, true, true},
	{"of Firefox", []string{"keep-alive, Upgrade"}, true, false},
	{"of lighttpd", []string{"close, upgrade"}, true, false},
	{"first", []string{"upgrade,close"}, true, false},
	{"on the second line", []string{"close", "Upgrade"}, true, false},
	{"on every line", []string{"Upgrade", "upgrade"}, true, true},
	{"white space", []string{"\t keep-alive \t,\t upgrade \t"}, true, false},
	{"white space alone", []string{"\t upgrade \t"}, true, true},
	{"empty elements", []string{",, ,upgrade,,"}, true, true},
	{"empty lines", []string{"", "upgrade", " "}, true, true},
	{"of a longer word", []string{"upgrades"}, false, false},
	{"end of a longer word", []string{"no-upgrade"}, false, false},
	{"two words", []string{"upgrade now"}, false, false},
	{"with a version", []string{"upgrade/13"}, false, false},
	{"quoted", []string{`"upgrade"`}, false, false},
	{"semicolon", []string{"close; upgrade"}, false, false},
	{"split over lines", []string{"upg", "rade"}, false, false},
	{"vertical tab", []string{"\vupgrade"}, false, false},
	{"no-break space", []string{"\u00a0upgrade"}, false, false},
	{"full width", []string{"ｕpgrade"}, false, false},
	{"NUL", []string{"upgrade\x00"}, false, false},
}

func TestHasToken(t *testing.T) {
	for _, test := range hasTokenTests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.has, hasToken(test.values, "upgrade"))
			require.Equal(t, test.only, isOnlyToken(test.values, "upgrade"))
		})
	}
	// Unicode folds these two into ASCII letters, HTTP does not.
	require.False(t, hasToken([]string{"web\u017focket"}, "websocket"))
	require.False(t, hasToken([]string{"websoc\u212aet"}, "websocket"))
}

func TestHasTokenLinear(t *testing.T) {
	for _, unit := range []string{",", " ", "a", "a,", "upgrad,", "upgrade ,x"} {
		value := strings.Repeat(unit, hostileBytes/len(unit))
		requireLinear(t, func() {
			hasToken([]string{value}, "upgrade")
			isOnlyToken([]string{value}, "upgrade")
			appendTokens(nil, []string{value})
		})
	}
}

func TestAppendTokens(t *testing.T) {
	tests := []struct {
		name   string
		values []string
		want   []string
		bad    string
	}{
		{"none", nil, nil, ""},
		{"empty", []string{""}, nil, ""},
		{"empty elements", []string{" ,, ", "\t"}, nil, ""},
		{"one", []string{"chat"}, []string{"chat"}, ""},
		{"several", []string{"chat, superchat,v1.2"}, []string{"chat", "superchat", "v1.2"}, ""},
		{"several lines", []string{"chat", "superchat , x"}, []string{"chat", "superchat", "x"}, ""},
		{"case matters", []string{"chat,CHAT"}, []string{"chat", "CHAT"}, ""},
		{"space within", []string{"ok, super chat"}, nil, "super chat"},
		{"quoted", []string{`"chat"`}, nil, `"chat"`},
		{"URL", []string{"http://example.com/chat"}, nil, "http://example.com/chat"},
		{"not ASCII", []string{"chät"}, nil, "chät"},
		{"bad second line", []string{"chat", "a;b"}, nil, "a;b"},
		{"line break", []string{"chat\r\nX: y"}, nil, "chat\r\nX: y"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			list, bad, ok := appendTokens(nil, test.values)
			require.Equal(t, test.want, list)
			require.Equal(t, test.bad, bad)
			require.Equal(t, test.bad == "", ok)
		})
	}
}

func TestDuplicate(t *testing.T) {
	for _, n := range []int{0, 1, 2, 15, 16, 17, 18, 100} {
		list := make([]string, n)
		for i := range list {
			list[i] = strings.Repeat("x", i+1)
		}
		_, ok := duplicate(list)
		require.False(t, ok, n)
		for i := range list {
			for j := range i {
				list[i] = list[j]
				s, ok := duplicate(list)
				require.True(t, ok, n)
				require.Equal(t, list[j], s)
				list[i] = strings.Repeat("x", i+1)
			}
		}
	}
}

var headerTests = []struct {
	name   string
	header http.Header
	want   string
}{
	{"nil", nil, ""},
	{"usual", http.Header{"Set-Cookie": {"a=b; Path=/", "c=d"}, "X-Server": {"1"}}, ""},
	{"not ASCII", http.Header{"X-Name": {"Jürgen"}}, ""},
	{"nil values", http.Header{"X-Name": nil}, ""},
	{"not canonical", http.Header{"x-name": {"1"}}, ""},
	{"tab", http.Header{"X-Name": {"a\tb"}}, ""},
	{"line break in a value", http.Header{"X-Name": {"ok", "a\r\nSec-WebSocket-Protocol: b"}}, `websocket: Header: the value of "X-Name" has control characters`},
	{"line feed in a value", http.Header{"X-Name": {"a\nb"}}, "control characters"},
	{"carriage return in a value", http.Header{"X-Name": {"a\rb"}}, "control characters"},
	{"NUL in a value", http.Header{"X-Name": {"a\x00b"}}, "control characters"},
	{"empty name", http.Header{"": {"1"}}, `websocket: Header: "" is no name of a header field`},
	{"line break in a name", http.Header{"X\r\nY": {"1"}}, `"X\r\nY" is no name`},
	{"colon in a name", http.Header{"X:": {"1"}}, "is no name"},
	{"space after a name", http.Header{"Connection ": {"close"}}, "is no name"},
	{"pseudo-header", http.Header{":protocol": {"websocket"}}, "is no name"},
	{"not ASCII in a name", http.Header{"Ü": {"1"}}, "is no name"},
	{"Upgrade", http.Header{"Upgrade": {"h2c"}}, `websocket: Header: "Upgrade" cannot be set, it belongs to the handshake itself`},
	{"Connection, nil values", http.Header{"Connection": nil}, `"Connection" cannot be set`},
	{"Content-Length", http.Header{"Content-Length": {"5"}}, `"Content-Length" cannot be set`},
	{"Transfer-Encoding", http.Header{"Transfer-Encoding": {"chunked"}}, `"Transfer-Encoding" cannot be set`},
	{"lower case", http.Header{"transfer-encoding": {"chunked"}}, `"transfer-encoding" cannot be set`},
	{"Sec-WebSocket-Accept", http.Header{"Sec-WebSocket-Accept": {"x"}}, `"Sec-WebSocket-Accept" cannot be set`},
	{"Sec-WebSocket-Protocol", http.Header{"sec-websocket-protocol": {"x"}}, `"sec-websocket-protocol" cannot be set`},
	{"Sec-WebSocket-Extensions", http.Header{"SEC-WEBSOCKET-EXTENSIONS": {"x"}}, `"SEC-WEBSOCKET-EXTENSIONS" cannot be set`},
	{"Sec-WebSocket of the future", http.Header{"Sec-Websocket-New": {"x"}}, "cannot be set"},
}

func TestCheckHeader(t *testing.T) {
	for _, test := range headerTests {
		t.Run(test.name, func(t *testing.T) {
			err := checkHeader(test.header)
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}
