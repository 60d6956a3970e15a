package soak

import "encoding/binary"

// frames cuts the text messages out of one direction of a WebSocket's byte
// stream. It looks on: what the two ends check, it does not.
type frames struct {
	rest []byte // an unfinished frame
	text []byte // an unfinished message
}

// The bits of a frame's first two bytes, and the opcodes that carry text.
const (
	finBit, opcodeBits  = 0x80, 0x0f
	maskBit, lengthBits = 0x80, 0x7f

	opContinuation, opText = 0, 1
)

// feed takes the next bytes and calls emit for each message that they complete.
// The text is valid during the call.
func (f *frames) feed(p []byte, emit func(text []byte)) {
	f.rest = append(f.rest, p...)
	for {
		first, payload, n := cutFrame(f.rest)
		if n == 0 {
			return
		}
		if op := first & opcodeBits; op == opText || op == opContinuation {
			f.text = append(f.text, payload...)
			if first&finBit != 0 {
				emit(f.text)
				f.text = f.text[:0]
			}
		}
		f.rest = append(f.rest[:0], f.rest[n:]...)
	}
}

// cutFrame returns the first byte and the unmasked payload of the frame at the
// beginning of b, and how long the frame is; n is 0 while it is not complete.
func cutFrame(b []byte) (first byte, payload []byte, n int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	first, n = b[0], 2
	length := int(b[1] & lengthBits)
	switch {
	case length == 126 && len(b) >= 4:
		length, n = int(binary.BigEndian.Uint16(b[2:])), 4
	case length == 127 && len(b) >= 10:
		length, n = int(binary.BigEndian.Uint64(b[2:])), 10
	case length >= 126:
		return 0, nil, 0
	}
	masked := b[1]&maskBit != 0
	if masked {
		n += 4
	}
	if len(b) < n+length {
		return 0, nil, 0
	}
	payload = b[n : n+length]
	if masked {
		unmasked := make([]byte, length)
		for i := range payload {
			unmasked[i] = payload[i] ^ b[n-4+i%4]
		}
		payload = unmasked
	}
	return first, payload, n + length
}
