package seal

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// key returns a key of one byte, for tests.
func key(b byte) []byte { return bytes.Repeat([]byte{b}, KeySize) }

func keys(t testing.TB, all ...byte) *Keys {
	t.Helper()
	var raw [][]byte
	for _, b := range all {
		raw = append(raw, key(b))
	}
	k, err := New(raw...)
	require.NoError(t, err)
	return k
}

func TestRoundTrip(t *testing.T) {
	k := keys(t, 'a')
	for _, m := range []string{"", "x", "hello", strings.Repeat("long ", 100000)} {
		b := k.Seal("lobby", []byte(m))
		assert.Len(t, b, Overhead+len(m))
		assert.NotEqual(t, b, k.Seal("lobby", []byte(m)), "no two are the same")
		if len(m) > 4 {
			assert.NotContains(t, string(b), m[:5])
		}
		got, err := k.Open("lobby", b)
		require.NoError(t, err)
		assert.Equal(t, m, string(got))
	}
}

// Somebody who can write to the broker changes every bit of a message, cuts it at
// every place, and takes it elsewhere.
func TestTampering(t *testing.T) {
	k := keys(t, 'a', 'b')
	m := k.Seal("lobby", []byte("hello"))
	for i := range m {
		for bit := range 8 {
			m[i] ^= 1 << bit
			_, err := k.Open("lobby", m)
			require.Equal(t, ErrOpen, err, "byte %d, bit %d", i, bit)
			m[i] ^= 1 << bit
		}
	}
	for n := range m {
		_, err := k.Open("lobby", m[:n])
		require.Equal(t, ErrOpen, err, "cut to %d", n)
		_, err = k.Open("lobby", m[n+1:])
		require.Equal(t, ErrOpen, err, "without the first %d", n+1)
	}
	_, err := k.Open("lobby", append(bytes.Clone(m), 0))
	require.Equal(t, ErrOpen, err)
	for _, group := range []string{"", "lobb", "lobby2", "Lobby", "obby"} {
		_, err := k.Open(group, m)
		require.Equal(t, ErrOpen, err, group)
	}
	_, err = k.Open("lobby", []byte("hello"))
	require.Equal(t, ErrOpen, err, "never sealed")
	_, err = k.Open("lobby", m)
	require.NoError(t, err)
}

// A key is replaced in three steps, and at each of them processes that have made
// it and those that have not understand each other.
func TestRotation(t *testing.T) {
	steps := []*Keys{keys(t, 'a'), keys(t, 'a', 'b'), keys(t, 'b', 'a'), keys(t, 'b')}
	for from, seals := range steps {
		for to, opens := range steps {
			m, err := opens.Open("lobby", seals.Seal("lobby", []byte("hello")))
			if near := from-to <= 1 && to-from <= 1; near {
				require.NoError(t, err, "from step %d to %d", from, to)
				require.Equal(t, "hello", string(m))
			}
		}
	}
	_, err := steps[3].Open("lobby", steps[0].Seal("lobby", []byte("hello")))
	require.Equal(t, ErrOpen, err, "the old key is gone")
	_, err = steps[0].Open("lobby", steps[3].Seal("lobby", []byte("hello")))
	require.Equal(t, ErrOpen, err)
}

func TestNoKeys(t *testing.T) {
	k, err := Parse()
	require.NoError(t, err)
	require.Nil(t, k)
	assert.Equal(t, "hello", string(k.Seal("lobby", []byte("hello"))))
	m, err := k.Open("lobby", []byte("hello"))
	require.NoError(t, err)
	assert.Equal(t, "hello", string(m))
}

func TestParse(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(key('a'))
	for _, tt := range []struct {
		name string
		keys []string
		says string
	}{
		{"one", []string{good}, ""},
		{"two", []string{good, good}, ""},
		{"not base64", []string{good, "secret!"}, "key 2 is not in base64"},
		{"without its end", []string{strings.TrimRight(good, "=")}, "key 1 is not in base64"},
		{"short", []string{base64.StdEncoding.EncodeToString(key('a')[1:])}, "key 1 has 31 bytes, not 32"},
		{"long", []string{base64.StdEncoding.EncodeToString(append(key('a'), 'a'))}, "key 1 has 33 bytes, not 32"},
		{"empty", []string{""}, "key 1 has 0 bytes, not 32"},
	} {
		k, err := Parse(tt.keys...)
		if tt.says == "" {
			require.NoError(t, err, tt.name)
			require.Len(t, k.all, len(tt.keys))
			continue
		}
		require.ErrorContains(t, err, tt.says, tt.name)
		require.NotContains(t, err.Error(), "secret")
	}
	_, err := New()
	require.Error(t, err)
}

// Whatever stands on the broker: only what was sealed opens, and nothing panics.
func FuzzOpen(f *testing.F) {
	k := keys(f, 'a', 'b')
	f.Add("lobby", []byte(nil))
	f.Add("lobby", []byte("hello"))
	f.Add("lobby", keys(f, 'b').Seal("lobby", []byte("hello")))
	f.Add("lobby", keys(f, 'c').Seal("lobby", []byte("hello")))
	f.Add("", k.Seal("lobby", nil))
	f.Add("lobby", append([]byte{version}, make([]byte, Overhead)...))
	f.Fuzz(func(t *testing.T, group string, b []byte) {
		before := bytes.Clone(b)
		m, err := k.Open(group, b)
		require.Equal(t, before, b)
		if err != nil {
			require.Equal(t, ErrOpen, err)
			require.Nil(t, m)
		} else {
			require.Len(t, m, len(b)-Overhead)
		}
		// And any bytes may be a message.
		got, err := k.Open(group, k.Seal(group, b))
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, got))
	})
}
