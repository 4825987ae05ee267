package handshake

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/testdata/capture"
)

func flag(name string) Param { return Param{Name: name} }

func valued(name, value string) Param { return Param{Name: name, Value: value, HasValue: true} }

var extensionTests = []struct {
	name   string
	values []string
	want   []Extension
	bad    string // the value that the error quotes; "" if there is none
}{
	// The examples of section 9.1.
	{"of section 9.1, name", []string{"deflate-stream"}, []Extension{{Name: "deflate-stream"}}, ""},
	{"of section 9.1, several", []string{"mux; max-channels=4; flow-control, deflate-stream"}, []Extension{
		{"mux", []Param{valued("max-channels", "4"), flag("flow-control")}},
		{Name: "deflate-stream"},
	}, ""},
	{"of section 9.1, one line", []string{"foo, bar; baz=2"}, []Extension{{Name: "foo"}, {"bar", []Param{valued("baz", "2")}}}, ""},
	{"of section 9.1, two lines", []string{"foo", "bar; baz=2"}, []Extension{{Name: "foo"}, {"bar", []Param{valued("baz", "2")}}}, ""},
	// What peers send.
	{"Chromium", []string{"permessage-deflate; client_max_window_bits"}, []Extension{{"permessage-deflate", []Param{flag("client_max_window_bits")}}}, ""},
	{"Netty", []string{"permessage-deflate;client_max_window_bits,deflate-frame,x-webkit-deflate-frame"}, []Extension{
		{"permessage-deflate", []Param{flag("client_max_window_bits")}},
		{Name: "deflate-frame"},
		{Name: "x-webkit-deflate-frame"},
	}, ""},
	{"the same twice", []string{"a; b; b=1, a"}, []Extension{{"a", []Param{flag("b"), valued("b", "1")}}, {Name: "a"}}, ""},
	{"case is kept", []string{"A; B=C"}, []Extension{{"A", []Param{valued("B", "C")}}}, ""},
	{"every byte of a token", []string{"!#$%&'*+-.^_`|~09azAZ"}, []Extension{{Name: "!#$%&'*+-.^_`|~09azAZ"}}, ""},
	// Lists. (RFC 9110, section 5.6.1)
	{"no line", nil, nil, ""},
	{"empty line", []string{""}, nil, ""},
	{"white space", []string{" \t"}, nil, ""},
	{"only empty elements", []string{",, ,", ","}, nil, ""},
	{"empty elements", []string{",a,, b ,\t,"}, []Extension{{Name: "a"}, {Name: "b"}}, ""},
	{"white space everywhere", []string{"\t a \t;\t b \t=\t c \t;\t d \t,\t e \t"}, []Extension{{"a", []Param{valued("b", "c"), flag("d")}}, {Name: "e"}}, ""},
	{"empty line between", []string{"a", "", "b"}, []Extension{{Name: "a"}, {Name: "b"}}, ""},
	// Quoted values.
	{"quoted", []string{`a; b="c"`}, []Extension{{"a", []Param{valued("b", "c")}}}, ""},
	{"quoted, spaces around", []string{`a; b = "c" ; d`}, []Extension{{"a", []Param{valued("b", "c"), flag("d")}}}, ""},
	{"quoted, backslashes", []string{`a; b="\c\1d\0"`}, []Extension{{"a", []Param{valued("b", "c1d0")}}}, ""},
	{"quoted, then another", []string{`a; b="c", d`}, []Extension{{"a", []Param{valued("b", "c")}}, {Name: "d"}}, ""},
	{"quoted, empty", []string{`a; b=""`}, nil, `a; b=""`},
	{"quoted, space", []string{`a; b="c d"`}, nil, `a; b="c d"`},
	{"quoted, comma", []string{`a; b="c,d"`}, nil, `a; b="c,d"`},
	{"quoted, semicolon", []string{`a; b="c;d"`}, nil, `a; b="c;d"`},
	{"quoted, quote", []string{`a; b="c\"d"`}, nil, `a; b="c\"d"`},
	{"quoted, backslash", []string{`a; b="c\\d"`}, nil, `a; b="c\\d"`},
	{"quoted, spaces beside", []string{`a; b=" c "`}, nil, `a; b=" c "`},
	{"quoted, not ASCII", []string{`a; b="ü"`}, nil, `a; b="ü"`},
	{"quoted, line break", []string{"a; b=\"c\r\nd\""}, nil, "a; b=\"c\r\nd\""},
	{"quoted, open", []string{`a; b="c`}, nil, `a; b="c`},
	{"quoted, open and empty", []string{`a; b="`}, nil, `a; b="`},
	{"quoted, open after a backslash", []string{`a; b="c\`}, nil, `a; b="c\`},
	{"quoted, over two lines", []string{`a; b="c`, `d"`}, nil, `a; b="c`},
	{"quoted, text after", []string{`a; b="c"d`}, nil, `a; b="c"d`},
	{"quoted, text before", []string{`a; b=c"d"`}, nil, `a; b=c"d"`},
	{"quoted name", []string{`"a"`}, nil, `"a"`},
	{"quoted name of a parameter", []string{`a; "b"`}, nil, `a; "b"`},
	{"single quotes are of a token", []string{`a; b='c'`}, []Extension{{"a", []Param{valued("b", "'c'")}}}, ""},
	// What does not fit.
	{"no name", []string{"; b"}, nil, "; b"},
	{"no parameter", []string{"a;"}, nil, "a;"},
	{"no parameter between", []string{"a;;b"}, nil, "a;;b"},
	{"no parameter before a comma", []string{"a; , b"}, nil, "a; , b"},
	{"no value", []string{"a; b="}, nil, "a; b="},
	{"no value before a semicolon", []string{"a; b=; c"}, nil, "a; b=; c"},
	{"no value before a comma", []string{"a; b=, c"}, nil, "a; b=, c"},
	{"no name of a parameter", []string{"a; =b"}, nil, "a; =b"},
	{"value of an extension", []string{"a=b"}, nil, "a=b"},
	{"two values", []string{"a; b=c=d"}, nil, "a; b=c=d"},
	{"two words", []string{"a b"}, nil, "a b"},
	{"two words as a parameter", []string{"a; b c"}, nil, "a; b c"},
	{"two words as a value", []string{"a; b=c d"}, nil, "a; b=c d"},
	{"slash", []string{"a/b"}, nil, "a/b"},
	{"not ASCII", []string{"ä"}, nil, "ä"},
	{"NUL", []string{"a\x00"}, nil, "a\x00"},
	{"line break", []string{"a\r\n b"}, nil, "a\r\n b"},
	{"vertical tab", []string{"a;\vb"}, nil, "a;\vb"},
	{"second line", []string{"a", "b;"}, nil, "b;"},
	{"second element", []string{"a, b;"}, nil, "a, b;"},
}

func TestParseExtensions(t *testing.T) {
	for _, test := range extensionTests {
		t.Run(test.name, func(t *testing.T) {
			list, err := ParseExtensions(test.values)
			if test.bad != "" {
				require.EqualError(t, err, "websocket: Sec-WebSocket-Extensions "+quote(test.bad)+" is malformed (RFC 6455, section 9.1)")
				require.Nil(t, list)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, list)

			// Lines are the same as one list.
			list, err = ParseExtensions([]string{strings.Join(test.values, ",")})
			require.NoError(t, err)
			require.Equal(t, test.want, list)
		})
	}
}

func TestAppendExtension(t *testing.T) {
	require.Equal(t, "x: a", string(AppendExtension([]byte("x: "), Extension{Name: "a"})))
	require.Equal(t, "a; b; c=d", string(AppendExtension(nil, Extension{"a", []Param{flag("b"), valued("c", "d")}})))
	for _, test := range extensionTests {
		for _, x := range test.want {
			list, err := ParseExtensions([]string{string(AppendExtension(nil, x))})
			require.NoError(t, err, test.name)
			require.Equal(t, []Extension{x}, list, test.name)
		}
	}
}

func TestParseExtensionsLinear(t *testing.T) {
	tests := []struct{ name, start, unit string }{
		{"commas", "", ","},
		{"spaces", "", " "},
		{"spaces and commas", "", " ,"},
		{"names", "", "a,"},
		{"one name", "", "a"},
		{"parameters", "a", ";b"},
		{"values", "a", ";b=c"},
		{"quoted values", "a", `;b="c"`},
		{"backslashes", `a;b="`, `\b`},
		{"one quoted value", `a;b="`, `b`},
		{"open quotes", "", `a;b="`},
		{"semicolons", "a", ";"},
		{"spaces after a name", "a", "          ;b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			value := test.start + strings.Repeat(test.unit, hostileBytes/len(test.unit))
			requireLinear(t, func() {
				_, err := ParseExtensions([]string{value})
				if err != nil {
					require.Less(t, len(err.Error()), 4*maxQuote+100)
				}
			})
		})
	}
}

// Whatever parses is the same after it was appended and parsed again.
func FuzzParseExtensions(f *testing.F) {
	for _, test := range extensionTests {
		f.Add(strings.Join(test.values, "\n"))
	}
	for _, name := range capture.Names("") {
		f.Add(strings.Join(capturedHeader(f, name)[headerExtensions], "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		values := strings.Split(text, "\n")
		list, err := ParseExtensions(values)
		if err != nil {
			require.ErrorContains(t, err, "is malformed (RFC 6455, section 9.1)")
			require.Nil(t, list)
			return
		}
		var again []string
		for _, x := range list {
			require.True(t, isToken(x.Name))
			for _, p := range x.Params {
				require.True(t, isToken(p.Name))
				require.Equal(t, p.HasValue, isToken(p.Value))
			}
			line := AppendExtension(nil, x)
			require.True(t, isFieldValue(string(line)))
			again = append(again, string(line))
		}
		relist, err := ParseExtensions(again)
		require.NoError(t, err)
		require.Equal(t, list, relist)
		relist, err = ParseExtensions([]string{strings.Join(again, ", ")})
		require.NoError(t, err)
		require.Equal(t, list, relist)
	})
}
