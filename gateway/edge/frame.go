package edge

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"switchboard/internal/chat"
)

// The frame of RFC 6455, section 5.2, as clients send it:
//
//	0                   1                   2                   3
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//	|F|R|R|R| opcode|M| length      | 16 bits of length if it is 126,
//	|I|S|S|S|  (4)  |A|  (7)        | 64 bits if it is 127
//	|N|V|V|V|       |S|             |
//	+-+-+-+-+-------+-+-------------+- - - - - - - - - - - - - - - -+
//	| 32 bits of mask, then the payload, masked                     |
//	+---------------------------------------------------------------+
const (
	finBit     = 0x80
	rsvBits    = 0x70
	opBits     = 0x0f
	maskBit    = 0x80
	lengthBits = 0x7f

	maxHeader  = 14  // of a client's frame
	maxControl = 125 // payload of a control frame
)

// The close codes that are told to handlers and never sent.
const (
	closeNoStatus chat.CloseCode = 1005 // the peer's close frame was empty
	closeAbnormal chat.CloseCode = 1006 // the connection ended without one
)

// header is the parsed head of a frame from a client.
type header struct {
	op     ws.OpCode
	fin    bool
	mask   [4]byte
	length uint64
}

// parseHeader reads the header at the start of b. size 0 asks for more bytes.
// What is wrong is said at the first byte that shows it, so the answer does not
// depend on how the bytes were cut.
func parseHeader(b []byte, h *header) (size int, code chat.CloseCode) {
	if len(b) == 0 {
		return 0, 0
	}
	h.fin, h.op = b[0]&finBit != 0, ws.OpCode(b[0]&opBits)
	control := h.op.IsControl()
	if b[0]&rsvBits != 0 || h.op.IsReserved() || control && !h.fin {
		return 0, chat.CloseProtocol
	}
	if len(b) == 1 {
		return 0, 0
	}
	h.length = uint64(b[1] & lengthBits)
	if b[1]&maskBit == 0 || control && h.length > maxControl {
		return 0, chat.CloseProtocol
	}
	size = 2
	switch {
	case h.length < 126:
	case h.length == 126:
		if size = 4; len(b) < size {
			return 0, 0
		}
		if h.length = uint64(binary.BigEndian.Uint16(b[2:])); h.length < 126 {
			return 0, chat.CloseProtocol
		}
	default:
		if size = 10; len(b) < size {
			return 0, 0
		}
		if h.length = binary.BigEndian.Uint64(b[2:]); h.length < 1<<16 || h.length > 1<<63-1 {
			return 0, chat.CloseProtocol
		}
	}
	if len(b) < size+4 {
		return 0, 0
	}
	h.mask = [4]byte(b[size:])
	return size + 4, 0
}

// AppendText appends a whole unmasked text frame.
func AppendText(dst, payload []byte) []byte { return appendFrame(dst, ws.OpText, payload) }

// AppendBinary appends a whole unmasked binary frame.
func AppendBinary(dst, payload []byte) []byte { return appendFrame(dst, ws.OpBinary, payload) }

func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	dst = append(dst, finBit|byte(op))
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, byte(n))
	case n < 1<<16:
		dst = append(dst, 126, byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
	return append(dst, payload...)
}

// appendClose appends a close frame with the code and its word, or an empty one
// for closeNoStatus.
func appendClose(dst []byte, code chat.CloseCode) []byte {
	if code == closeNoStatus {
		return append(dst, finBit|byte(ws.OpClose), 0)
	}
	reason := code.Reason()
	dst = append(dst, finBit|byte(ws.OpClose), byte(2+len(reason)), byte(code>>8), byte(code))
	return append(dst, reason...)
}

// readClose returns the code in a close frame's payload, or with what the frame
// itself has to be refused.
func readClose(payload []byte) (code, violation chat.CloseCode) {
	switch {
	case len(payload) == 0:
		return closeNoStatus, 0
	case len(payload) == 1:
		return 0, chat.CloseProtocol
	}
	code = chat.CloseCode(binary.BigEndian.Uint16(payload))
	switch {
	case !sendable(code):
		return 0, chat.CloseProtocol
	case !utf8.Valid(payload[2:]):
		return 0, chat.CloseInvalidData
	}
	return code, 0
}

// sendable reports whether an endpoint may put the code into a close frame: the
// codes that RFC 6455 and IANA's registry give to endpoints, and the ranges of
// libraries and applications.
func sendable(code chat.CloseCode) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}

// utf8Prefix returns how much of b is whole runes. ok is false if no bytes that
// could follow would make b valid UTF-8.
func utf8Prefix(b []byte) (n int, ok bool) {
	n = len(b)
	for back := 1; back <= min(3, len(b)); back++ {
		if at := len(b) - back; utf8.RuneStart(b[at]) {
			if !utf8.FullRune(b[at:]) {
				n = at
			}
			break
		}
	}
	return n, utf8.Valid(b[:n])
}
