package bus

import "switchboard/internal/chat"

// Append appends the record's bytes, which records.proto describes, to dst.
func (r *Hint) Append(dst []byte) []byte {
	dst = appendUint(dst, 1, Codec)
	dst = appendID(dst, 2, r.User)
	dst = appendUint(dst, 3, uint64(r.Millis))
	dst = appendID(dst, 4, r.Conversation)
	if r.IsTyping {
		dst = appendUint(dst, 5, 1)
	}
	return appendUint(dst, 6, uint64(r.Presence))
}

// ParseHint reads what [Hint.Append] wrote. Nothing in r points into b. The error
// wraps [ErrMalformed]; r is then half filled.
func ParseHint(b []byte, r *Hint) error {
	*r = Hint{}
	var codec bool
	s := scanner{rest: b}
	for s.next() {
		switch s.num {
		case 1:
			s.codec(&codec)
		case 2:
			r.User = s.id()
		case 3:
			r.Millis = s.natural()
		case 4:
			r.Conversation = s.id()
		case 5:
			r.IsTyping = s.flag()
		case 6:
			r.Presence = chat.Presence(s.uint8())
		}
	}
	return s.end("hint", codec)
}
