package sqlite

import (
	"encoding/binary"
	"fmt"

	"switchboard/internal/chat"
)

// timeOrdered returns a message id as it is stored: octets re-ordered so that
// byte order is the order of chat.CompareMessageIDs. Every UUID survives the
// way there and back.
func timeOrdered(id chat.MessageID) []byte {
	ticks := uint64(binary.BigEndian.Uint16(id[6:])&0x0fff)<<48 |
		uint64(binary.BigEndian.Uint16(id[4:]))<<32 |
		uint64(binary.BigEndian.Uint32(id[0:]))
	b := make([]byte, 16)
	binary.BigEndian.PutUint64(b, ticks<<4|uint64(id[6]>>4))
	copy(b[8:], id[8:])
	return b
}

// fromTimeOrdered is the inverse of timeOrdered; no bytes are the zero id.
func fromTimeOrdered(b []byte) (id chat.MessageID) {
	if len(b) != 16 {
		return id
	}
	v := binary.BigEndian.Uint64(b)
	binary.BigEndian.PutUint32(id[0:], uint32(v>>4))
	binary.BigEndian.PutUint16(id[4:], uint16(v>>36))
	binary.BigEndian.PutUint16(id[6:], uint16(v>>52)|uint16(v&0xf)<<12)
	copy(id[8:], b[8:])
	return id
}

// optional returns NULL for nothing: it costs no byte.
func optional[T ~[]byte | ~string](b T) any {
	if len(b) == 0 {
		return nil
	}
	return []byte(b)
}

func optionalID[K any](id *chat.ID[K]) any {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

func optionalInt[T ~int64 | ~uint8](i T) any {
	if i == 0 {
		return nil
	}
	return int64(i)
}

// parseKind reads a stored message_type.
func parseKind(s string) (chat.Kind, error) {
	if s == chat.KindEvent.String() {
		return chat.KindEvent, nil
	}
	k, ok := chat.ParseKind(s)
	if !ok {
		return 0, fmt.Errorf("stored message_type %q is unknown", s)
	}
	return k, nil
}
