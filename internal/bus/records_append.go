package bus

import (
	"google.golang.org/protobuf/encoding/protowire"

	"switchboard/internal/chat"
)

// The appenders write a field in the order of its number and, as proto3 wants
// it, leave out what is zero. Strings must be UTF-8, which everything that
// passed package wire is.

func appendUint(dst []byte, num protowire.Number, n uint64) []byte {
	if n == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.VarintType)
	return protowire.AppendVarint(dst, n)
}

func appendFixed(dst []byte, num protowire.Number, n uint64) []byte {
	if n == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.Fixed64Type)
	return protowire.AppendFixed64(dst, n)
}

func appendBytes[T string | []byte](dst []byte, num protowire.Number, b T) []byte {
	if len(b) == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func appendID[Kind any](dst []byte, num protowire.Number, id chat.ID[Kind]) []byte {
	if id.IsZero() {
		return dst
	}
	return appendBytes(dst, num, id[:])
}

func appendUsers(dst []byte, num protowire.Number, users []chat.UserID) []byte {
	if len(users) == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(len(users)*idBytes))
	for i := range users {
		dst = append(dst, users[i][:]...)
	}
	return dst
}

// open begins an inner message, whose length is not known yet: it reserves one
// byte for it, enough below 128 bytes, and returns where the body begins.
func open(dst []byte, num protowire.Number) (out []byte, body int) {
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	dst = append(dst, 0)
	return dst, len(dst)
}

// shut ends the inner message that began at body; a longer one moves up to make
// room for its length.
func shut(dst []byte, body int) []byte {
	n := len(dst) - body
	if more := protowire.SizeVarint(uint64(n)) - 1; more > 0 {
		var room [9]byte
		dst = append(dst, room[:more]...)
		copy(dst[body+more:], dst[body:body+n])
	}
	protowire.AppendVarint(dst[:body-1], uint64(n))
	return dst
}
