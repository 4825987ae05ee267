package conn_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"rfc6455/conn"
)

// BenchmarkCompressedEcho is one message there and back in memory. The ratio is
// that of the messages to what the client has written for them, headers
// included.
func BenchmarkCompressedEcho(b *testing.B) {
	settings := map[string]*conn.Compression{"off": nil, "on": {}, "takeover": {Takeover: true}}
	for _, size := range []int{512, 4096, 65536} {
		messages := chatMessages(size)
		for _, name := range []string{"off", "on", "takeover"} {
			b.Run(fmt.Sprintf("size=%d/compression=%s", size, name), func(b *testing.B) {
				o := &conn.Options{Compression: settings[name]}
				client, server := conn.Pipe(o, o)
				echoed := make(chan error, 1)
				go func() { echoed <- echo(server.Context(), server, "Messages") }()
				b.Cleanup(func() {
					client.CloseNow()
					soon(b, echoed)
				})
				buf := make([]byte, size)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for i := 0; b.Loop(); i++ {
					p := messages[i%len(messages)]
					if err := client.Write(client.Context(), conn.Text, p); err != nil {
						b.Fatal(err)
					}
					if _, got, err := client.ReadInto(client.Context(), buf); err != nil || !bytes.Equal(p, got) {
						b.Fatal(len(got), err)
					}
				}
				s := client.Stats()
				b.ReportMetric(float64(size)*float64(s.MessagesWritten)/float64(s.BytesWritten), "ratio")
			})
		}
	}
}

// chatMessages returns messages of a chat, of so many bytes each: records in JSON,
// of which the last one is cut off.
func chatMessages(size int) [][]byte {
	words := bytes.Fields([]byte(`the of and to in is that it was for on are with as his they at be this from
		have or by one had not but what all were when we there can an your which their said if do will each about how`))
	rnd := rand.New(rand.NewPCG(1, uint64(size)))
	messages := make([][]byte, 64)
	for i := range messages {
		var b bytes.Buffer
		for b.Len() < size {
			user := rnd.IntN(200)
			fmt.Fprintf(&b, `{"type":"message","id":"%016x","room":"room-%d","user":{"id":%d,"name":"user%d"},"text":"`,
				rnd.Uint64(), rnd.IntN(10), 1000+user, user)
			for range 3 + rnd.IntN(25) {
				b.Write(words[rnd.IntN(len(words))])
				b.WriteByte(' ')
			}
			b.WriteString(`"},`)
		}
		messages[i] = b.Bytes()[:size]
	}
	return messages
}
