package frame

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rfc6455/testdata/capture"
)

// captured returns the frames of a captured stream.
func captured(t testing.TB, name string) []byte {
	stream, err := capture.Read(name)
	require.NoError(t, err)
	_, frames := stream.Handshake()
	return frames
}

// messages makes messages of frames, a control frame being one of its own, each
// at the place of its last frame. This package does not inflate: the payload of
// a compressed message is taken from want.
func messages(frames []event, want []capture.Event) (all []capture.Event) {
	var open capture.Event
	for _, f := range frames {
		if f.Opcode.IsControl() {
			all = append(all, capture.Event{Opcode: uint8(f.Opcode), Payload: []byte(f.Payload), Fragments: 1})
			continue
		}
		if f.Opcode != OpContinuation {
			open = capture.Event{Opcode: uint8(f.Opcode), Payload: []byte{}, Compressed: f.RSV == RSV1}
		}
		open.Fragments++
		open.Payload = append(open.Payload, f.Payload...)
		if !f.Fin {
			continue
		}
		if open.Compressed && len(all) < len(want) {
			open.Payload = want[len(all)].Payload
		}
		all = append(all, open)
	}
	return all
}

// What real clients and servers sent, whole, byte by byte and in random pieces,
// is what another implementation found in it.
func TestCaptures(t *testing.T) {
	for _, name := range capture.Names("") {
		t.Run(name, func(t *testing.T) {
			stream := captured(t, name)
			want, err := capture.Expected(name)
			require.NoError(t, err)
			r := Receiver{Role: Client, MessageLimit: 1 << 20, FragmentLimit: 10}
			if strings.HasSuffix(name, ".c2s") {
				r.Role = Server
			}
			if want.Extensions != "" {
				require.True(t, strings.HasPrefix(want.Extensions, "permessage-deflate"))
				r.RSV = RSV1
			}

			d := decode(t, r, stream)
			var frames []capture.Frame
			for _, e := range d.events {
				frames = append(frames, capture.Frame{
					Opcode: uint8(e.Opcode),
					Fin:    e.Fin,
					RSV:    e.RSV,
					Length: len(e.Payload),
					Sum:    capture.Sum([]byte(e.Payload)),
				})
			}
			require.Equal(t, want.Frames, frames)
			require.Equal(t, want.Events, messages(d.events, want.Events))
			requireObedient(t, r, d.events)
			if want.AfterClose > 0 {
				require.Equal(t, ErrClosed, d.err)
			} else {
				require.NoError(t, d.err)
				require.False(t, d.inside)
				require.Empty(t, d.pending)
			}

			code, reason, err := ParseClose([]byte(d.events[len(d.events)-1].Payload))
			require.NoError(t, err)
			require.Equal(t, CloseNormal, code)
			require.Contains(t, []string{"", "bye"}, reason)

			requirePieces(t, d, r, stream, rand.New(rand.NewPCG(6455, 0)))
		})
	}
}
