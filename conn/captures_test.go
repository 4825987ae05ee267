package conn

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rfc6455/frame"
	"rfc6455/testdata/capture"
)

// TestCaptures replays what real peers sent, in both directions: as it was, a
// byte at a time and in random pieces, for every way to read.
func TestCaptures(t *testing.T) {
	messages, refused := 0, 0
	for suffix, role := range map[string]frame.Role{".c2s": frame.Server, ".s2c": frame.Client} {
		for _, name := range capture.Names(suffix) {
			t.Run(name, func(t *testing.T) {
				s, err := capture.Read(name)
				require.NoError(t, err)
				want, err := capture.Expected(name)
				require.NoError(t, err)
				_, frames := s.Handshake()
				heard := replayCapture(t, role, frames, want)
				messages += len(heard.Messages)
				if want.Compressed {
					refused++
				}
			})
		}
	}
	assert.Equal(t, 1626, messages)
	assert.Equal(t, 160, refused, "streams with compressed messages")
}

// replayCapture holds what an endpoint makes of frames against what was sent.
func replayCapture(t *testing.T, role frame.Role, frames []byte, want capture.Expectation) (first heard) {
	var types []MessageType
	var texts []string
	var pongs []string
	for _, e := range want.Events {
		if e.Compressed {
			// Nobody has agreed on compression here.
			break
		}
		switch op := frame.Opcode(e.Opcode); op {
		case frame.OpText, frame.OpBinary:
			types = append(types, MessageType(op))
			texts = append(texts, string(e.Payload))
		case frame.OpPing:
			pongs = append(pongs, string(e.Payload))
		}
	}
	last := want.Events[len(want.Events)-1]
	for seed := range uint64(4) {
		for method := range uint8(4) {
			nc := &replay{in: bytes.Clone(frames)}
			switch {
			case seed == 1:
				nc.pieces = func() int { return 1 }
			case seed > 1:
				nc.pieces = randomly(seed)
			}
			c := New(nc, role, nil, nil)
			h := hear(t, c, method)
			require.Equal(t, types, h.Types)
			require.Equal(t, texts, h.Messages)
			sent, closing := legal(t, role, nc.written(t).Bytes())
			require.Equal(t, frame.OpClose, sent[len(sent)-1].Opcode)
			code, _, err := frame.ParseClose(closing)
			require.NoError(t, err)
			if want.Compressed {
				require.ErrorIs(t, h.Err, frame.ErrReservedBits)
				require.Equal(t, frame.CloseProtocolError, code)
			} else {
				wantCode, wantReason, err := frame.ParseClose(last.Payload)
				require.NoError(t, err)
				var closed *CloseError
				require.True(t, errors.As(h.Err, &closed))
				require.Equal(t, CloseError{Code: wantCode, Reason: wantReason, Remote: true}, *closed)
				require.Equal(t, wantCode, code, "the same code is echoed")
				got := 0
				for _, f := range sent {
					if f.Opcode == frame.OpPong {
						got++
					}
				}
				require.LessOrEqual(t, got, len(pongs))
				if len(pongs) > 0 {
					require.NotZero(t, got)
				}
			}
			first = h
		}
	}
	return first
}

// TestCapturesFromTheStart replays whole connections, opening handshake and all:
// frames may come in the same read as the request.
func TestCapturesFromTheStart(t *testing.T) {
	for _, name := range capture.Names(".c2s") {
		t.Run(name, func(t *testing.T) {
			s, err := capture.Read(name)
			require.NoError(t, err)
			want, err := capture.Expected(name)
			require.NoError(t, err)
			for seed, pieces := range []func() int{nil, func() int { return 1 }, randomly(1), randomly(2)} {
				nc := &replay{in: s.Bytes(), pieces: pieces}
				c, err := Server(nc, &AcceptOptions{Origins: []string{"*"}})
				require.NoError(t, err)
				require.NotEmpty(t, c.Request().Header.Get("Sec-Websocket-Key"))
				h := hear(t, c, uint8(seed))
				if want.Compressed {
					require.ErrorIs(t, h.Err, frame.ErrReservedBits)
					continue
				}
				var texts []string
				for _, e := range want.Events {
					if op := frame.Opcode(e.Opcode); !op.IsControl() {
						texts = append(texts, string(e.Payload))
					}
				}
				require.Equal(t, texts, h.Messages)
				require.ErrorAs(t, h.Err, new(*CloseError))
			}
		})
	}
}
