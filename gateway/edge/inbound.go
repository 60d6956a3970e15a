package edge

import (
	"unicode/utf8"

	"github.com/gobwas/ws"

	"switchboard/internal/chat"
)

// inbound is the state of the frame parser between two reads. A loop has one
// for all connections that are between frames, which is nearly all of them
// nearly always; a connection gets its own when a read ends inside a message.
type inbound struct {
	// A header whose end has not come.
	head     [maxHeader]byte
	headSize uint8

	// The frame whose payload has not come wholly.
	inFrame bool
	fin     bool
	op      ws.OpCode
	mask    [4]byte
	masked  int // bytes unmasked so far
	left    int // bytes to come

	// The message whose end has not come.
	messageOp ws.OpCode // 0 = none
	valid     int       // bytes of a text known to be whole runes
	message   *buffer

	// The payload of a control frame that came in pieces.
	controlSize uint8
	control     [maxControl]byte
}

// atRest reports whether the parser is between messages and holds nothing.
func (in *inbound) atRest() bool {
	return in.headSize == 0 && !in.inFrame && in.messageOp == 0 && in.message == nil
}

// reader is what the parsers of one server share.
type reader struct {
	buffers    *buffers
	maxMessage int
}

// release gives the memory of a message back.
func (r *reader) release(in *inbound) {
	r.buffers.put(in.message)
	in.message, in.valid = nil, 0
}

// next consumes data up to the end of the next message or control frame. op 0
// says that there is none in data, all of which is used. A code other than 0 is
// what the connection has to be failed with. payload lies in data, which is
// unmasked in place, or in the parser until release, which has to be called
// before next is called again.
func (r *reader) next(in *inbound, data []byte) (used int, op ws.OpCode, payload []byte, code chat.CloseCode) {
	for {
		if !in.inFrame {
			var h header
			size, code := r.header(in, data[used:], &h)
			used += size
			if code != 0 || !in.inFrame {
				return used, 0, nil, code
			}
			whole := h.fin && h.op != ws.OpContinuation && len(data)-used >= in.left
			if whole {
				payload = data[used : used+in.left]
				used += in.left
				in.inFrame = false
				ws.Cipher(payload, h.mask, 0)
				if h.op == ws.OpText && !utf8.Valid(payload) {
					return used, 0, nil, chat.CloseInvalidData
				}
				return used, h.op, payload, 0
			}
			if h.op.IsData() && h.op != ws.OpContinuation {
				in.messageOp = h.op
			}
			in.controlSize = 0
		}
		size := min(in.left, len(data)-used)
		if code := r.piece(in, data[used:used+size]); code != 0 {
			return used, 0, nil, code
		}
		used += size
		if in.left > 0 {
			return used, 0, nil, 0
		}
		in.inFrame = false
		if op, payload, code = r.frameEnd(in); op != 0 || code != 0 {
			return used, op, payload, code
		}
		if used == len(data) {
			return used, 0, nil, 0
		}
	}
}

// header reads a header or the next bytes of one. in.inFrame says that it is
// complete and may follow what came before.
func (r *reader) header(in *inbound, data []byte, h *header) (used int, code chat.CloseCode) {
	if in.headSize == 0 {
		used, code = parseHeader(data, h)
		if used == 0 && code == 0 {
			in.headSize = uint8(copy(in.head[:], data))
			return len(data), 0
		}
	} else {
		had := int(in.headSize)
		have := had + copy(in.head[had:], data)
		used, code = parseHeader(in.head[:have], h)
		if used == 0 && code == 0 {
			in.headSize = uint8(have)
			return have - had, 0
		}
		used = max(used-had, 0)
		in.headSize = 0
	}
	if code != 0 {
		return used, code
	}
	if h.op.IsData() {
		if (h.op == ws.OpContinuation) != (in.messageOp != 0) {
			return used, chat.CloseProtocol
		}
		if h.length > uint64(r.maxMessage-in.size()) {
			return used, chat.CloseTooBig
		}
	}
	in.inFrame, in.fin, in.op, in.mask, in.masked, in.left = true, h.fin, h.op, h.mask, 0, int(h.length)
	return used, 0
}

// size returns how many bytes of the message are there.
func (in *inbound) size() int {
	if in.message == nil {
		return 0
	}
	return len(in.message.b)
}

// piece takes bytes of the current frame's payload.
func (r *reader) piece(in *inbound, p []byte) chat.CloseCode {
	ws.Cipher(p, in.mask, in.masked)
	in.masked += len(p)
	in.left -= len(p)
	if in.op.IsControl() {
		in.controlSize += uint8(copy(in.control[in.controlSize:], p))
		return 0
	}
	if len(p) == 0 {
		return 0
	}
	var ok bool
	if in.message, ok = r.buffers.extend(in.message, p); !ok {
		return chat.CloseOverloaded
	}
	if in.messageOp == ws.OpText {
		n, ok := utf8Prefix(in.message.b[in.valid:])
		if !ok {
			return chat.CloseInvalidData
		}
		in.valid += n
	}
	return 0
}

// frameEnd returns the message or control frame that ends here, if one does.
func (r *reader) frameEnd(in *inbound) (op ws.OpCode, payload []byte, code chat.CloseCode) {
	if in.op.IsControl() {
		return in.op, in.control[:in.controlSize], 0
	}
	if !in.fin {
		return 0, nil, 0
	}
	op, in.messageOp = in.messageOp, 0
	if op == ws.OpText && in.valid < in.size() {
		return 0, nil, chat.CloseInvalidData
	}
	if in.message != nil {
		payload = in.message.b
	}
	return op, payload, 0
}
