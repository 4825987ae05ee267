package frame_test

import (
	"errors"
	"fmt"

	"rfc6455/frame"
)

// A server reads the frames of a client, as far as they have come.
func Example() {
	client := frame.Sender{Role: frame.Client}
	input, _ := client.Append(nil, frame.OpText, false, 0, []byte("Hel"))
	input, _ = client.Append(input, frame.OpPing, true, 0, []byte("there?"))
	input, _ = client.Append(input, frame.OpContinuation, true, 0, []byte("lo"))

	r := frame.Receiver{Role: frame.Server, MessageLimit: 1 << 20, FragmentLimit: 4096}
	var message []byte
	for {
		h, n, err := frame.ParseHeader(input)
		if err == nil && n > 0 {
			err = r.Next(h)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		if n == 0 {
			return // more bytes are needed
		}
		// All of the payload has come here. Payload takes it in pieces as well.
		payload := input[n : n+int(h.Length)]
		input = input[n+int(h.Length):]
		if err := r.Payload(payload); err != nil {
			fmt.Println(err)
			return
		}
		if h.Opcode.IsControl() {
			fmt.Printf("%s %q\n", h.Opcode, payload)
			continue
		}
		message = append(message, payload...)
		if h.Fin {
			op, _ := r.Message()
			fmt.Printf("%s %q\n", op, message)
			message = nil
		}
	}
	// Output:
	// ping "there?"
	// text "Hello"
}

func ExampleParseHeader() {
	header := []byte{0x82, 0x7e, 0x01, 0x00}
	_, n, err := frame.ParseHeader(header[:3])
	fmt.Println(n, err)
	h, n, err := frame.ParseHeader(header)
	fmt.Println(h.Opcode, h.Length, n, err)
	// Output:
	// 0 <nil>
	// binary 256 4 <nil>
}

func ExampleAppendHeader() {
	b := frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.OpBinary, Length: 65536})
	fmt.Printf("% x\n", b)
	// Output:
	// 82 7f 00 00 00 00 00 01 00 00
}

func ExampleReceiver_Next() {
	r := frame.Receiver{Role: frame.Server, MessageLimit: 1000}
	for _, h := range []frame.Header{
		{Fin: true, Opcode: frame.OpText, Length: 5},
		{Fin: true, Opcode: frame.OpText, Length: 5000, Masked: true},
	} {
		err := r.Next(h)
		e, _ := errors.AsType[*frame.ProtocolError](err)
		fmt.Println(err)
		fmt.Println(errors.Is(err, frame.ErrUnmasked), e.Code)
	}
	// Output:
	// websocket: frame from client is not masked (RFC 6455, section 5.1)
	// true 1002 (protocol error)
	// websocket: message of at least 5000 bytes is over the limit of 1000
	// false 1009 (message too big)
}

func ExampleSender_Append() {
	s := frame.Sender{Role: frame.Server}
	b, err := s.Append(nil, frame.OpText, true, 0, []byte("Hello"))
	fmt.Printf("% x %v\n", b, err)
	b, err = s.Append(nil, frame.OpText, true, 0, []byte("H\xe9llo"))
	fmt.Printf("% x %v\n", b, err)
	// Output:
	// 81 05 48 65 6c 6c 6f <nil>
	//  websocket: text message is not UTF-8: it must be sent as binary (RFC 6455, section 8.1)
}

func ExampleAppendClose() {
	payload := frame.AppendClose(nil, frame.CloseGoingAway, "restarting")
	code, reason, err := frame.ParseClose(payload)
	fmt.Println(code, reason, err)
	// Output:
	// 1001 (going away) restarting <nil>
}

func ExampleCloseCode_Sendable() {
	for _, code := range []frame.CloseCode{frame.CloseNormal, frame.CloseNoStatus, 4000} {
		fmt.Println(code, code.Sendable())
	}
	// Output:
	// 1000 (normal closure) true
	// 1005 (no close code received) false
	// 4000 true
}

func ExampleUTF8() {
	var u frame.UTF8
	world := []byte("世界")
	fmt.Println(u.Valid(world[:4]), u.Complete())
	fmt.Println(u.Valid(world[4:]), u.Complete())
	fmt.Println(u.Valid([]byte{0xff}))
	// Output:
	// true false
	// true true
	// false
}
