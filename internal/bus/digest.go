package bus

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"switchboard/internal/chat"
)

// The first bytes of what a digest covers. They keep a message and a new
// conversation apart, and this serialization from any later one.
const (
	sendDomain   = "switchboard.send.v1\x00"
	createDomain = "switchboard.create.v1\x00"
)

// DigestOf returns what tells a retry from another request under the same key.
// It is SHA-256 over these bytes, lengths and counts being 4 bytes big-endian:
//
//	Send    "switchboard.send.v1" 00 | kind, 1 byte | length, content |
//	        length, media_url | reply_to, 16 bytes, zeros for none
//	Create  "switchboard.create.v1" 00 | type, 1 byte | length, name |
//	        count, member ids in ascending byte order, 16 bytes each
//
// It covers what the sender meant, not how it was asked: neither the reply
// address nor a limit in force is in it, nor the key itself. The other requests
// have no key; their digest is zero. The archive keeps digests for
// [chat.KeyTTL], so the bytes can never change.
func DigestOf(r *Inbound) [32]byte {
	switch {
	case r.Send != nil:
		return sha256.Sum256(r.Send.digestible())
	case r.Create != nil:
		return sha256.Sum256(r.Create.digestible())
	}
	return [32]byte{}
}

func (s *Send) digestible() []byte {
	b := make([]byte, 0, len(sendDomain)+1+4+len(s.Content)+4+len(s.MediaURL)+idBytes)
	b = append(b, sendDomain...)
	b = append(b, byte(s.Kind))
	b = appendCounted(b, s.Content)
	b = appendCounted(b, s.MediaURL)
	return append(b, s.ReplyTo[:]...)
}

func (c *Create) digestible() []byte {
	b := make([]byte, 0, len(createDomain)+1+4+len(c.Name)+4+idBytes*len(c.Members))
	b = append(b, createDomain...)
	b = append(b, byte(c.Type))
	b = appendCounted(b, c.Name)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.Members)))
	sorted := slices.SortedFunc(slices.Values(c.Members), func(x, y chat.UserID) int {
		return bytes.Compare(x[:], y[:])
	})
	for i := range sorted {
		b = append(b, sorted[i][:]...)
	}
	return b
}

func appendCounted(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
