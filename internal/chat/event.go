package chat

// Seq numbers the durable events of one conversation from 1 without a gap. 0
// means "none": nothing yet, or an open end.
type Seq int64

// Bucket returns the archive bucket that holds the event.
func (s Seq) Bucket() int64 { return (int64(s) - 1) / BucketSize }

// Kind is what an entry of a conversation is.
type Kind uint8

// The kinds of entries. The numbers are on the log and in the archive.
const (
	KindText  Kind = 1
	KindImage Kind = 2
	KindFile  Kind = 3
	KindEvent Kind = 15 // not a message: something happened to the conversation
)

// ParseKind reads the `type` that a client may send; ok is false for anything
// that it may not, "event" included.
func ParseKind(s string) (k Kind, ok bool) {
	switch s {
	case "text":
		return KindText, true
	case "image":
		return KindImage, true
	case "file":
		return KindFile, true
	}
	return 0, false
}

// String returns the protocol's word.
func (k Kind) String() string {
	switch k {
	case KindText:
		return "text"
	case KindImage:
		return "image"
	case KindFile:
		return "file"
	case KindEvent:
		return "event"
	}
	return "unknown"
}

// Change is what happened to a conversation in an entry of [KindEvent].
type Change uint8

// The changes. The numbers are on the log and in the archive.
const (
	ChangeNone    Change = 0
	Created       Change = 1
	MemberAdded   Change = 2
	MemberRemoved Change = 3
	RoleChanged   Change = 4
	Renamed       Change = 5
)

// String returns the protocol's word.
func (c Change) String() string {
	switch c {
	case Created:
		return "created"
	case MemberAdded:
		return "member_added"
	case MemberRemoved:
		return "member_removed"
	case RoleChanged:
		return "role_changed"
	case Renamed:
		return "renamed"
	case ChangeNone:
	}
	return ""
}

// Type tells a direct conversation from a group.
type Type uint8

// The types of conversations. The numbers are on the log and in the archive.
const (
	Direct Type = 1
	Group  Type = 2
)

// String returns the protocol's word.
func (t Type) String() string {
	switch t {
	case Direct:
		return "direct"
	case Group:
		return "group"
	}
	return "unknown"
}

// Role is what a member may do.
type Role uint8

// The roles. The numbers are on the log and in the archive.
const (
	Member Role = 1
	Admin  Role = 2 // adds, removes, renames
)

// ParseRole reads the protocol's word.
func ParseRole(s string) (r Role, ok bool) {
	switch s {
	case "member":
		return Member, true
	case "admin":
		return Admin, true
	}
	return 0, false
}

// String returns the protocol's word.
func (r Role) String() string {
	switch r {
	case Member:
		return "member"
	case Admin:
		return "admin"
	}
	return "unknown"
}

// Status is what a mark says of the events up to a seq.
type Status uint8

// The statuses. The numbers are on the log. Who has read has received.
const (
	Delivered Status = 1
	Read      Status = 2
)

// String returns the protocol's word.
func (s Status) String() string {
	switch s {
	case Delivered:
		return "delivered"
	case Read:
		return "read"
	}
	return "unknown"
}

// Presence is whether somebody is there.
type Presence uint8

// The presences. The numbers are on the log.
const (
	Online  Presence = 1
	Offline Presence = 2
)

// String returns the protocol's word.
func (p Presence) String() string {
	switch p {
	case Online:
		return "online"
	case Offline:
		return "offline"
	}
	return "unknown"
}

// Entry is one durable event of a conversation, as it stands in history: a
// message, or something that happened to the conversation.
type Entry struct {
	Conversation ConversationID
	Seq          Seq
	ID           MessageID // carries the time: ClockOf(ID)
	Sender       UserID    // who sent the message or gave the command
	Request      RequestID // the sender's own id for it
	Kind         Kind

	// Of a message.
	Content  string // UTF-8, byte for byte what was sent, U+0000 included
	MediaURL string
	ReplyTo  MessageID // an entry of the same conversation, or zero

	// Of an event.
	Change         Change
	User           UserID // whom it concerns, zero where it concerns all
	Role           Role   // the new role, with MemberAdded and RoleChanged
	Name           string // the new name, with Created and Renamed
	MembersVersion Seq    // seq of the newest change of membership up to here
}

// Position is a place on the inbound log: which topic, by generation, and where
// in its partition. The zero value stands before everything.
type Position struct {
	Generation uint32
	Offset     int64
}

// Compare orders positions of one partition: a younger generation comes later.
func (p Position) Compare(q Position) int {
	switch {
	case p.Generation != q.Generation:
		if p.Generation < q.Generation {
			return -1
		}
		return 1
	case p.Offset < q.Offset:
		return -1
	case p.Offset > q.Offset:
		return 1
	}
	return 0
}
