package handshake

import (
	"net/http"
	"testing"
)

// browserRequest returns what Chromium sends, as net/http reads it.
func browserRequest() *http.Request {
	return &http.Request{
		Method:     "GET",
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Host:       "chat.example.com",
		RequestURI: "/",
		Header: http.Header{
			"Connection":               {"Upgrade"},
			"Pragma":                   {"no-cache"},
			"Cache-Control":            {"no-cache"},
			"User-Agent":               {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"},
			"Upgrade":                  {"websocket"},
			"Origin":                   {"https://chat.example.com"},
			"Sec-Websocket-Version":    {"13"},
			"Accept-Encoding":          {"gzip, deflate, br, zstd"},
			"Accept-Language":          {"en-US,en;q=0.9"},
			"Sec-Websocket-Key":        {"dGhlIHNhbXBsZSBub25jZQ=="},
			"Sec-Websocket-Extensions": {"permessage-deflate; client_max_window_bits"},
		},
	}
}

// benchmarkServers are the terms that the benchmarks compare.
var benchmarkServers = []struct {
	name   string
	server *Server
}{
	{"terms=none", &Server{}},
	{"terms=deflate", &Server{Deflate: &Deflate{}}},
	{"terms=all", &Server{
		Origins:      []string{"https://app.example.com", "https://*.example.org"},
		Subprotocols: []string{"chat", "superchat"},
		Deflate:      &Deflate{ServerMaxWindowBits: 12},
		Header:       http.Header{"Set-Cookie": {"a=b"}, "X-Server": {"1"}},
	}},
}

func BenchmarkServerCheck(b *testing.B) {
	for _, bm := range benchmarkServers {
		b.Run(bm.name, func(b *testing.B) {
			r := browserRequest()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bm.server.Check(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	for _, bm := range benchmarkServers {
		b.Run(bm.name, func(b *testing.B) {
			a, err := bm.server.Check(browserRequest())
			if err != nil {
				b.Fatal(err)
			}
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = a.AppendResponse(buf[:0])
			}
		})
	}
}
