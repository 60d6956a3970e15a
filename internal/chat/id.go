package chat

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1" // RFC 9562 defines version 5 with SHA-1; nothing secret hangs on it.
	"encoding/hex"
	"fmt"
)

// ID is a UUID. The type parameter names the kind of thing identified, so that
// the compiler keeps a user's id out of a conversation's place. The zero value
// means "none".
type ID[Kind any] [16]byte

// The kinds of things that have ids. They are never instantiated.
type (
	user         struct{}
	conversation struct{}
	message      struct{}
	request      struct{}
	media        struct{}
)

type (
	// UserID is the subject of a valid token. Identity is the operator's:
	// there is no registration.
	UserID = ID[user]
	// ConversationID names a direct conversation or a group.
	ConversationID = ID[conversation]
	// MessageID is a TIMEUUID made by [NewMessageID]; it names any durable
	// event of a conversation, message or not.
	MessageID = ID[message]
	// RequestID is chosen by a client to make a retry safe: the protocol's
	// client_message_id or client_conversation_id.
	RequestID = ID[request]
	// MediaID names an upload; it is made by [NewMediaID].
	MediaID = ID[media]
)

// Namespaces of the version 5 ids that this system derives. They are part of
// every conversation's id and never change.
var (
	directNamespace = [16]byte{0x6b, 0x1f, 0x8e, 0x0a, 0x5d, 0x0c, 0x4c, 0x3e, 0x9a, 0x57, 0x21, 0xd4, 0xf0, 0x83, 0xb6, 0x01}
	groupNamespace  = [16]byte{0x6b, 0x1f, 0x8e, 0x0a, 0x5d, 0x0c, 0x4c, 0x3e, 0x9a, 0x57, 0x21, 0xd4, 0xf0, 0x83, 0xb6, 0x02}
	demoNamespace   = [16]byte{0x6b, 0x1f, 0x8e, 0x0a, 0x5d, 0x0c, 0x4c, 0x3e, 0x9a, 0x57, 0x21, 0xd4, 0xf0, 0x83, 0xb6, 0x03}
)

// DirectConversation returns the id of the one direct conversation of two
// users: UUIDv5 over the two raw ids, the smaller first.
func DirectConversation(a, b UserID) ConversationID {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return ConversationID(version5(directNamespace, a[:], b[:]))
}

// GroupConversation returns the id of the group that creator asks for with the
// request id r: UUIDv5 over the raw creator id and the raw request id.
func GroupConversation(creator UserID, r RequestID) ConversationID {
	return ConversationID(version5(groupNamespace, creator[:], r[:]))
}

// DemoUser returns the id under which demonstrations know a person by name:
// UUIDv5 over the name. Real users are whoever the operator's tokens say.
func DemoUser(name string) UserID { return UserID(version5(demoNamespace, []byte(name))) }

func version5(namespace [16]byte, parts ...[]byte) (id [16]byte) {
	h := sha1.New()
	h.Write(namespace[:])
	for _, p := range parts {
		h.Write(p)
	}
	copy(id[:], h.Sum(nil))
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

// NewRequestID returns a random (version 4) request id, for a client that sent
// none. Only gateways and REST nodes may call it: the storage worker must be a
// function of the log.
func NewRequestID() RequestID {
	var id RequestID
	rand.Read(id[:]) // never fails: crypto/rand crashes the program instead
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// IsZero reports whether id is absent.
func (id ID[Kind]) IsZero() bool { return id == ID[Kind]{} }

// String returns the 36 characters of the lower-case text form.
func (id ID[Kind]) String() string {
	return string(id.Append(make([]byte, 0, 36)))
}

// Append appends the 36 characters of the text form to dst.
func (id ID[Kind]) Append(dst []byte) []byte {
	dst = hex.AppendEncode(dst, id[0:4])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[4:6])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[6:8])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[8:10])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, id[10:16])
}

// MarshalText returns the text form, also for encoding/json.
func (id ID[Kind]) MarshalText() ([]byte, error) {
	return id.Append(make([]byte, 0, 36)), nil
}

// UnmarshalText accepts the 36 characters of a UUID in either case, nothing
// shorter, longer or in braces.
func (id *ID[Kind]) UnmarshalText(text []byte) error {
	parsed, err := parseUUID(text)
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseUserID reads a user's id.
func ParseUserID(s string) (UserID, error) { return parseUUID(s) }

// ParseConversationID reads a conversation's id.
func ParseConversationID(s string) (ConversationID, error) { return parseUUID(s) }

// ParseMessageID reads a message's id; that it is a TIMEUUID of ours is not
// checked, an unknown one simply names nothing.
func ParseMessageID(s string) (MessageID, error) { return parseUUID(s) }

// ParseRequestID reads an id that a client chose.
func ParseRequestID(s string) (RequestID, error) { return parseUUID(s) }

// ParseMediaID reads an upload's id.
func ParseMediaID(s string) (MediaID, error) { return parseUUID(s) }

// parseUUID reads 8-4-4-4-12 hexadecimal digits without allocating.
func parseUUID[T string | []byte](s T) (id [16]byte, err error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("not a UUID: want 8-4-4-4-12 hexadecimal digits, have %d bytes", len(s))
	}
	for i, at := range digits {
		high, low := nibble(s[at]), nibble(s[at+1])
		if high > 15 || low > 15 {
			return [16]byte{}, fmt.Errorf("not a UUID: no hexadecimal digits at byte %d", at)
		}
		id[i] = high<<4 | low
	}
	return id, nil
}

// digits says where the two digits of each octet stand in the text. They are
// looked for nowhere else, so that a hyphen too many is no digit and not a step
// beyond the end.
var digits = [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// nibble returns the value of a hexadecimal digit, 255 for anything else.
func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
