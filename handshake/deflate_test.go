package handshake

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/testdata/capture"
)

// byName returns parameters by their names, nil if one stands there twice.
func byName(params []Param) map[string]Param {
	m := make(map[string]Param)
	for _, p := range params {
		if _, ok := m[p.Name]; ok {
			return nil
		}
		m[p.Name] = p
	}
	return m
}

// illegal says which rule of RFC 7692, section 7.1, an offer or the answer to it
// breaks, "" if none. It shares nothing with the code under test.
func illegal(offered, answered []Param, terms Deflate) string {
	offer, answer := byName(offered), byName(answered)
	if offer == nil || answer == nil {
		return "7.1: a parameter stands there twice"
	}
	number := func(p Param) int {
		n, err := strconv.Atoi(p.Value)
		if err != nil || n < 8 || n > 15 || strings.HasPrefix(p.Value, "0") || strings.HasPrefix(p.Value, "+") {
			return -1
		}
		return n
	}
	for name, p := range offer {
		switch name {
		case "server_no_context_takeover", "client_no_context_takeover":
			if p.HasValue {
				return "7.1.1: an offer with a value"
			}
		case "server_max_window_bits":
			if number(p) < 0 {
				return "7.1.2.1: the value of an offer"
			}
		case "client_max_window_bits":
			if p.HasValue && number(p) < 0 {
				return "7.1.2.2: the value of an offer"
			}
		default:
			return "7.1: an unknown parameter in an offer"
		}
	}
	for name, p := range answer {
		asked, ok := offer[name]
		switch name {
		case "server_no_context_takeover":
			if p.HasValue {
				return "7.1.1.1: a value"
			}
			if !ok && !terms.ServerNoContextTakeover {
				return "nobody asked for server_no_context_takeover"
			}
		case "client_no_context_takeover":
			if p.HasValue {
				return "7.1.1.2: a value"
			}
			if !ok && !terms.ClientNoContextTakeover {
				return "nobody asked for client_no_context_takeover"
			}
		case "server_max_window_bits":
			if number(p) < 0 {
				return "7.1.2.1: the value"
			}
			if ok && number(p) > number(asked) {
				return "7.1.2.1: more than offered"
			}
		case "client_max_window_bits":
			if number(p) < 0 {
				return "7.1.2.2: the value"
			}
			if !ok {
				return "7.1.2.2: not offered"
			}
			if asked.HasValue && number(p) > number(asked) {
				return "7.1.2.2: more than offered"
			}
		default:
			return "7.1: an unknown parameter"
		}
	}
	for _, name := range []string{"server_no_context_takeover", "server_max_window_bits"} {
		if _, ok := offer[name]; ok {
			if _, ok := answer[name]; !ok {
				return "7.1.1.1, 7.1.2.1: an offer is accepted by answering " + name
			}
		}
	}
	return ""
}

// parsed returns the parameters of permessage-deflate as they stand in a header.
func parsed(t testing.TB, d deflateParams) []Param {
	list, err := ParseExtensions([]string{string(d.appendTo(nil))})
	if err != nil || len(list) != 1 || list[0].Name != "permessage-deflate" {
		t.Fatalf("%+v: %v, %v", d, list, err)
	}
	return list[0].Params
}

// everyOffer calls f with every valid combination of parameters.
func everyOffer(f func(params []Param)) {
	for bitmap := range 4 {
		for server := 7; server <= 15; server++ {
			for client := 6; client <= 15; client++ {
				var params []Param
				if bitmap&1 != 0 {
					params = append(params, flag("server_no_context_takeover"))
				}
				if bitmap&2 != 0 {
					params = append(params, flag("client_no_context_takeover"))
				}
				if server >= 8 {
					params = append(params, valued("server_max_window_bits", strconv.Itoa(server)))
				}
				if client >= 8 {
					params = append(params, valued("client_max_window_bits", strconv.Itoa(client)))
				} else if client == 7 {
					params = append(params, flag("client_max_window_bits"))
				}
				f(params)
			}
		}
	}
}

// everyDeflate calls f with all that a user can write.
func everyDeflate(f func(d Deflate)) {
	windows := []int{0, 8, 9, 10, 11, 12, 13, 14, 15}
	for bitmap := range 4 {
		for _, server := range windows {
			for _, client := range windows {
				f(Deflate{bitmap&1 != 0, bitmap&2 != 0, server, client})
			}
		}
	}
}

// or15 is a number of window bits with the RFC's default.
func or15(n int) int {
	if n == 0 {
		return 15
	}
	return n
}

func TestDeflateAccept(t *testing.T) {
	everyOffer(func(params []Param) {
		everyDeflate(func(terms Deflate) {
			offer := byName(params)
			_, canLimit := offer["client_max_window_bits"]
			agreed, answer, ok := terms.accept(params)
			if ok != (canLimit || or15(terms.ClientMaxWindowBits) == 15) {
				t.Fatalf("offer %v, terms %+v: accepted is %v", params, terms, ok)
			}
			if !ok {
				if answer != (deflateParams{}) || agreed != (Deflate{}) {
					t.Fatalf("offer %v, terms %+v: declined with %+v", params, terms, answer)
				}
				return
			}
			answered := parsed(t, answer)
			if s := illegal(params, answered, terms); s != "" {
				t.Fatalf("offer %v, terms %+v: answer %+v: %s", params, terms, answer, s)
			}
			// What was agreed is what the answer says, and within the terms.
			said := byName(answered)
			window := func(name string) int {
				n, _ := strconv.Atoi(said[name].Value)
				return or15(n)
			}
			_, server := said["server_no_context_takeover"]
			_, client := said["client_no_context_takeover"]
			want := Deflate{server, client, window("server_max_window_bits"), window("client_max_window_bits")}
			if agreed != want {
				t.Fatalf("offer %v, terms %+v: answer %v, but agreed on %+v", params, terms, answer, agreed)
			}
			if terms.ServerNoContextTakeover && !server || terms.ClientNoContextTakeover && !client ||
				want.ServerMaxWindowBits > or15(terms.ServerMaxWindowBits) || want.ClientMaxWindowBits > or15(terms.ClientMaxWindowBits) {
				t.Fatalf("offer %v, terms %+v: answer %v is not on these terms", params, terms, answer)
			}
		})
	})
}

// Our client accepts whatever our server answers it, and both agree on the same.
func TestDeflateMirror(t *testing.T) {
	everyDeflate(func(wants Deflate) {
		offer := parsed(t, wants.offer())
		everyDeflate(func(terms Deflate) {
			agreed, answer, ok := terms.accept(offer)
			if !ok {
				if wants.ClientMaxWindowBits != 0 || or15(terms.ClientMaxWindowBits) == 15 {
					t.Fatalf("client %+v, server %+v: declined", wants, terms)
				}
				return
			}
			got, err := wants.accepted(parsed(t, answer))
			if err != nil || *got != agreed {
				t.Fatalf("client %+v, server %+v: answer %v: client got %+v, %v, server %+v", wants, terms, answer, got, err, agreed)
			}
		})
	})
}

func TestDeflateOffer(t *testing.T) {
	tests := []struct {
		wants Deflate
		offer string
	}{
		{Deflate{}, "permessage-deflate"},
		{Deflate{ServerMaxWindowBits: 15}, "permessage-deflate"},
		{Deflate{ClientMaxWindowBits: 15}, "permessage-deflate; client_max_window_bits"},
		{Deflate{ClientMaxWindowBits: 8}, "permessage-deflate; client_max_window_bits=8"},
		{Deflate{true, true, 10, 9}, "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; client_max_window_bits=9"},
	}
	for _, test := range tests {
		require.Equal(t, test.offer, string(test.wants.offer().appendTo(nil)))
	}
}

// agreed returns what a server with these terms answers to the offers in a
// header, "" for nothing.
func agreed(t testing.TB, terms Deflate, values ...string) string {
	r := browserRequest()
	r.Header[headerExtensions] = values
	a, err := (&Server{Deflate: &terms}).Check(r)
	require.NoError(t, err)
	resp, _ := readResponse(t, a.AppendResponse(nil), r)
	require.Equal(t, a.Deflate != nil, len(resp.Header[headerExtensions]) == 1)
	require.Equal(t, a.Deflate != nil, resp.Header.Get(headerExtensions) != "")
	return resp.Header.Get(headerExtensions)
}

// Offers that are declined. (RFC 7692, sections 5.1 and 7.1)
var declinedOffers = []struct{ name, offer string }{
	{"unknown parameter", "x"},
	{"unknown parameter with a value", "x=1"},
	{"unknown among known", "client_max_window_bits; x"},
	{"parameter of another extension", "no_context_takeover"},
	{"capitals", "Server_No_Context_Takeover"},
	{"server takeover twice", "server_no_context_takeover; server_no_context_takeover"},
	{"client takeover twice", "client_no_context_takeover; client_no_context_takeover"},
	{"server bits twice", "server_max_window_bits=10; server_max_window_bits=10"},
	{"client bits twice", "client_max_window_bits=10; client_max_window_bits=11"},
	{"client bits twice, no values", "client_max_window_bits; client_max_window_bits"},
	{"client bits twice, first without", "client_max_window_bits; client_max_window_bits=10"},
	{"client bits twice, second without", "client_max_window_bits=10; client_max_window_bits"},
	{"server takeover with a value", "server_no_context_takeover=1"},
	{"client takeover with a value", "client_no_context_takeover=true"},
	{"server bits without a value", "server_max_window_bits"},
	{"bits 7", "server_max_window_bits=7"},
	{"bits 16", "server_max_window_bits=16"},
	{"bits 0", "server_max_window_bits=0"},
	{"bits 1", "server_max_window_bits=1"},
	{"bits 20", "server_max_window_bits=20"},
	{"bits 150", "server_max_window_bits=150"},
	{"bits negative", "server_max_window_bits=-8"},
	{"bits with a sign", "server_max_window_bits=+8"},
	{"bits with a leading zero", "server_max_window_bits=08"},
	{"bits with a leading zero, two digits", "server_max_window_bits=010"},
	{"bits with a point", "server_max_window_bits=10.0"},
	{"bits hexadecimal", "server_max_window_bits=0xa"},
	{"bits a word", "server_max_window_bits=max"},
	{"bits huge", "server_max_window_bits=99999999999999999999999999"},
	{"bits that overflow to 8", "server_max_window_bits=18446744073709551624"},
	{"client bits 7", "client_max_window_bits=7"},
	{"client bits 16", "client_max_window_bits=16"},
	{"client bits 0", "client_max_window_bits=0"},
	{"client bits with a leading zero", "client_max_window_bits=09"},
}

func TestDeflateDeclined(t *testing.T) {
	for _, test := range declinedOffers {
		t.Run(test.name, func(t *testing.T) {
			offer := "permessage-deflate; " + test.offer
			require.Empty(t, agreed(t, Deflate{}, offer))
			// The next offer is tried, on this line or another.
			require.Equal(t, "permessage-deflate", agreed(t, Deflate{}, offer+", permessage-deflate"))
			require.Equal(t, "permessage-deflate", agreed(t, Deflate{}, "foo; bar", offer, "permessage-deflate", "permessage-deflate; client_no_context_takeover"))
		})
	}
}

func TestDeflateAgreed(t *testing.T) {
	tests := []struct {
		name   string
		terms  Deflate
		values []string
		want   string
	}{
		{"nothing offered", Deflate{}, nil, ""},
		{"empty header", Deflate{}, []string{""}, ""},
		{"other extensions", Deflate{}, []string{"x-webkit-deflate-frame, permessage-bzip2"}, ""},
		{"name in capitals", Deflate{}, []string{"Permessage-Deflate"}, ""},
		{"Chromium", Deflate{}, []string{"permessage-deflate; client_max_window_bits"}, "permessage-deflate"},
		{"Firefox", Deflate{}, []string{"permessage-deflate"}, "permessage-deflate"},
		{"the first of two", Deflate{}, []string{"permessage-deflate; client_no_context_takeover, permessage-deflate"}, "permessage-deflate; client_no_context_takeover"},
		{"quoted value", Deflate{}, []string{`permessage-deflate; server_max_window_bits="10"`}, "permessage-deflate; server_max_window_bits=10"},
		{"Boost.Beast", Deflate{}, []string{"permessage-deflate; server_max_window_bits=15; client_max_window_bits=15"}, "permessage-deflate; server_max_window_bits=15"},
		{"takeover offered", Deflate{}, []string{"permessage-deflate; client_no_context_takeover; server_no_context_takeover"}, "permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
		{"takeover wanted", Deflate{ServerNoContextTakeover: true, ClientNoContextTakeover: true}, []string{"permessage-deflate"}, "permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
		{"window that the client cannot do", Deflate{ClientMaxWindowBits: 10}, []string{"permessage-deflate"}, ""},
		{"window that the client can do in the second offer", Deflate{ClientMaxWindowBits: 10}, []string{"permessage-deflate, permessage-deflate; client_max_window_bits"}, "permessage-deflate; client_max_window_bits=10"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, agreed(t, test.terms, test.values...))
		})
	}
}

func TestDeflateAccepted(t *testing.T) {
	const notAllowed = `websocket: server answered "permessage-deflate; %s", whose parameters are not allowed in an answer (RFC 7692, section 7.1)`
	tests := []struct {
		name   string
		wants  Deflate
		answer string
		want   Deflate
		err    string
	}{
		{"plain", Deflate{}, "", Deflate{false, false, 15, 15}, ""},
		{"everything", Deflate{ClientMaxWindowBits: 15}, "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8; client_max_window_bits=9", Deflate{true, true, 8, 9}, ""},
		// A server may choose what was not offered but for client_max_window_bits.
		{"not offered", Deflate{}, "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8", Deflate{true, true, 8, 15}, ""},
		{"own offer ignored", Deflate{ClientNoContextTakeover: true, ClientMaxWindowBits: 9}, "", Deflate{false, true, 15, 9}, ""},
		{"larger window than ours", Deflate{ClientMaxWindowBits: 9}, "client_max_window_bits=12", Deflate{false, false, 15, 9}, ""},
		{"smaller window than asked", Deflate{ServerMaxWindowBits: 12}, "server_max_window_bits=9", Deflate{false, false, 9, 15}, ""},
		{"client bits not offered", Deflate{}, "client_max_window_bits=15", Deflate{}, "websocket: server chose client_max_window_bits, which was not offered (RFC 7692, section 7.1.2.2)"},
		{"no server takeover ignored", Deflate{ServerNoContextTakeover: true}, "client_no_context_takeover", Deflate{}, "websocket: server did not agree to server_no_context_takeover (RFC 7692, section 7.1.1.1)"},
		{"server bits ignored", Deflate{ServerMaxWindowBits: 10}, "", Deflate{}, "websocket: server did not agree to server_max_window_bits=10 (RFC 7692, section 7.1.2.1)"},
		{"server bits exceeded", Deflate{ServerMaxWindowBits: 10}, "server_max_window_bits=11", Deflate{}, "websocket: server did not agree to server_max_window_bits=10 (RFC 7692, section 7.1.2.1)"},
		{"client bits without a value", Deflate{ClientMaxWindowBits: 15}, "client_max_window_bits", Deflate{}, fmt.Sprintf(notAllowed, "client_max_window_bits")},
		{"unknown", Deflate{}, "x=y; z", Deflate{}, fmt.Sprintf(notAllowed, "x=y; z")},
	}
	parse := func(t *testing.T, params string) []Param {
		list, err := ParseExtensions([]string{strings.TrimSuffix("permessage-deflate; "+params, "; ")})
		require.NoError(t, err)
		require.Len(t, list, 1)
		return list[0].Params
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.wants.accepted(parse(t, test.answer))
			if test.err != "" {
				require.EqualError(t, err, test.err)
				require.Nil(t, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, *got)
		})
	}
	// What makes a server decline an offer makes a client fail.
	for _, test := range declinedOffers {
		t.Run(test.name, func(t *testing.T) {
			_, err := (&Deflate{ClientMaxWindowBits: 15}).accepted(parse(t, test.offer))
			require.EqualError(t, err, fmt.Sprintf(notAllowed, test.offer))
		})
	}
}

func TestDeflateCheck(t *testing.T) {
	everyDeflate(func(d Deflate) { require.NoError(t, d.check()) })
	for _, n := range []int{-1, 1, 7, 16, 1 << 30} {
		want := fmt.Sprintf("websocket: Deflate: %d window bits are not possible, 8 to 15 are (RFC 7692, section 7.1.2)", n)
		require.EqualError(t, (&Deflate{ServerMaxWindowBits: n}).check(), want)
		require.EqualError(t, (&Deflate{ClientMaxWindowBits: n}).check(), want)
	}
}

// A server's answer is legal for one of the offers, it is on the server's terms,
// and a client that made that offer would agree.
func FuzzDeflate(f *testing.F) {
	for i, test := range declinedOffers {
		f.Add("permessage-deflate; "+test.offer+", permessage-deflate", uint16(i*547))
	}
	// Declined, though without the unknown parameter the answer would do for it.
	f.Add("permessage-deflate;0;client_no_context_takeover,permessage-deflate", uint16(3440))
	for _, name := range capture.Names(".c2s") {
		for _, v := range capturedHeader(f, name)[headerExtensions] {
			f.Add(v, uint16(0))
			f.Add(v, uint16(0x1234))
		}
	}
	f.Fuzz(func(t *testing.T, header string, choice uint16) {
		// All terms, by number.
		n := int(choice)
		window := []int{0, 8, 9, 10, 11, 12, 13, 14, 15}
		terms := Deflate{n&1 != 0, n&2 != 0, window[n>>2%9], window[n>>6%9]}
		offers, err := ParseExtensions([]string{header})
		r := browserRequest()
		r.Header[headerExtensions] = []string{header}
		a, refusal := (&Server{Deflate: &terms}).Check(r)
		require.Equal(t, err == nil, refusal == nil)
		if err != nil || a.Deflate == nil {
			return
		}
		resp, _ := readResponse(t, a.AppendResponse(nil), r)
		answers, err := ParseExtensions(resp.Header[headerExtensions])
		require.NoError(t, err)
		require.Len(t, answers, 1)
		require.Equal(t, deflateName, answers[0].Name)
		var offer *Extension
		for _, x := range offers {
			if x.Name == deflateName && illegal(x.Params, answers[0].Params, terms) == "" {
				offer = &x
				break
			}
		}
		require.NotNil(t, offer, "%q answered to %q", answers, header)

		// client asks for what any of the offers asks for that can be written in
		// a Deflate.
		o := byName(offer.Params)
		number := func(name string) int {
			n, _ := strconv.Atoi(o[name].Value)
			return n
		}
		has := func(name string) bool { _, ok := o[name]; return ok }
		wants := Deflate{
			ServerNoContextTakeover: has("server_no_context_takeover"),
			ClientNoContextTakeover: has("client_no_context_takeover"),
			ServerMaxWindowBits:     number("server_max_window_bits"),
			ClientMaxWindowBits:     number("client_max_window_bits"),
		}
		if has("client_max_window_bits") && wants.ClientMaxWindowBits == 0 {
			wants.ClientMaxWindowBits = 15
		}
		got, err := (&Client{Deflate: &wants}).Check(r, resp)
		require.NoError(t, err)
		require.Equal(t, *a.Deflate, *got.Deflate)

		// The client's own offer is one that is accepted, too.
		r.Header[headerExtensions] = []string{string(wants.offer().appendTo(nil))}
		again, refusal := (&Server{Deflate: &terms}).Check(r)
		require.NoError(t, refusal)
		require.Equal(t, a.Deflate, again.Deflate)
		require.False(t, slices.Contains(resp.Header[headerExtensions], ""))
	})
}
