package bus

import (
	"math"

	"pgregory.net/rapid"

	"switchboard/internal/chat"
)

// The generators draw every field, zero values often enough.

// anyID is of no named type, so that it may stand for an id of any kind.
func anyID(t *rapid.T, name string) (id [16]byte) {
	if rapid.IntRange(0, 4).Draw(t, name+" absent") == 0 {
		return id
	}
	copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
	return id
}

func anyUsers(t *rapid.T, name string) []chat.UserID {
	n := rapid.IntRange(0, 12).Draw(t, name+" count")
	var users []chat.UserID
	for range n {
		var id chat.UserID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
		users = append(users, id)
	}
	return users
}

func anyBytes(t *rapid.T, name string) []byte {
	b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, name)
	if len(b) == 0 {
		return nil
	}
	return b
}

func anyText(t *rapid.T, name string) string { return rapid.String().Draw(t, name) }

func anySeq(t *rapid.T, name string) chat.Seq {
	return chat.Seq(rapid.Int64Range(0, math.MaxInt64).Draw(t, name))
}

func anyPosition(t *rapid.T) chat.Position {
	return chat.Position{
		Generation: rapid.Uint32().Draw(t, "generation"),
		Offset:     rapid.Int64Range(0, math.MaxInt64).Draw(t, "offset"),
	}
}

func anyReplyTo(t *rapid.T) ReplyTo {
	if rapid.Bool().Draw(t, "nobody waits") {
		return ReplyTo{}
	}
	return ReplyTo{
		Server: anyText(t, "server"), Boot: rapid.Uint64().Draw(t, "boot"),
		Session: rapid.Uint64().Draw(t, "session"), ID: anyText(t, "id"),
	}
}

func anyInbound(t *rapid.T) Inbound {
	r := Inbound{
		Conversation: anyID(t, "conversation"),
		Sender:       anyID(t, "sender"),
		Request:      anyID(t, "request"),
		ReplyTo:      anyReplyTo(t),
	}
	user := anyID(t, "user")
	limit := rapid.IntRange(0, math.MaxInt32).Draw(t, "limit")
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0:
		r.Send = &Send{
			Kind: chat.Kind(rapid.Byte().Draw(t, "kind")), Content: anyText(t, "content"),
			MediaURL: anyText(t, "media_url"), ReplyTo: anyID(t, "reply_to"),
		}
	case 1:
		r.Create = &Create{
			Type: chat.Type(rapid.Byte().Draw(t, "type")), Name: anyText(t, "name"),
			Members: anyUsers(t, "members"), Limit: limit,
		}
	case 2:
		r.Set = &SetMember{User: user, Role: chat.Role(rapid.Byte().Draw(t, "role")), Limit: limit}
	case 3:
		r.Remove = &RemoveMember{User: user}
	case 4:
		r.Rename = &Rename{Name: anyText(t, "name")}
	case 5:
		r.Anchor = &Anchor{Clock: chat.Clock(rapid.Int64().Draw(t, "clock"))}
	}
	return r
}

func anyAccepted(t *rapid.T) Accepted {
	r := Accepted{
		Outcome:  Outcome(rapid.IntRange(1, 3).Draw(t, "outcome")),
		Position: anyPosition(t), Clock: chat.Clock(rapid.Int64().Draw(t, "clock")),
		Conversation: anyID(t, "conversation"),
		Sender:       anyID(t, "sender"),
		Request:      anyID(t, "request"),
		ReplyTo:      anyReplyTo(t), Recipients: anyUsers(t, "recipients"),
		Large: rapid.Bool().Draw(t, "large"), Seq: anySeq(t, "seq"),
		ID:   anyID(t, "id"),
		Code: chat.Code(anyText(t, "code")), Message: anyText(t, "message"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "events") {
		r.Events = append(r.Events, anyEvent(t, &r))
	}
	return r
}

func anyEvent(t *rapid.T, r *Accepted) Event {
	return Event{
		Entry: chat.Entry{
			Conversation: r.Conversation, Sender: r.Sender, Request: r.Request,
			Seq: anySeq(t, "seq"), ID: anyID(t, "id"),
			Kind: chat.Kind(rapid.Byte().Draw(t, "kind")), Content: anyText(t, "content"),
			MediaURL: anyText(t, "media_url"), ReplyTo: anyID(t, "reply_to"),
			Change: chat.Change(rapid.Byte().Draw(t, "change")),
			User:   anyID(t, "user"),
			Role:   chat.Role(rapid.Byte().Draw(t, "role")), Name: anyText(t, "name"),
			MembersVersion: anySeq(t, "members_version"),
		},
		Added: anyUsers(t, "added"), Type: chat.Type(rapid.Byte().Draw(t, "type")),
	}
}

func anyDelivery(t *rapid.T) Delivery {
	r := Delivery{
		Class: Class(rapid.IntRange(1, 3).Draw(t, "class")), Position: anyPosition(t),
		Partition: rapid.Int32Range(0, math.MaxInt32).Draw(t, "partition"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "frames") {
		r.Frames = append(r.Frames, Frame{
			Payload: anyBytes(t, "payload"), Recipients: anyUsers(t, "recipients"),
			ExceptBoot: rapid.Uint64().Draw(t, "boot"), ExceptSession: rapid.Uint64().Draw(t, "session"),
			Key: anyBytes(t, "key"), Order: int64(anySeq(t, "order")),
		})
	}
	if rapid.Bool().Draw(t, "answered") {
		r.Answer = &Answer{
			Boot: rapid.Uint64().Draw(t, "boot"), Session: rapid.Uint64().Draw(t, "session"),
			Payload: anyBytes(t, "payload"), Outcome: Outcome(rapid.Byte().Draw(t, "outcome")),
			Seq: anySeq(t, "seq"), ID: anyID(t, "id"),
			Code: chat.Code(anyText(t, "code")), Message: anyText(t, "message"),
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "closes") {
		r.Closes = append(r.Closes, Close{
			User: anyID(t, "user"), Boot: rapid.Uint64().Draw(t, "boot"), Session: rapid.Uint64().Draw(t, "session"),
		})
	}
	return r
}

func anyPush(t *rapid.T) Push {
	return Push{
		User: anyID(t, "user"), Position: anyPosition(t),
		Partition:    rapid.Int32Range(0, math.MaxInt32).Draw(t, "partition"),
		Conversation: anyID(t, "conversation"),
		ID:           anyID(t, "id"), Seq: anySeq(t, "seq"),
		Sender: anyID(t, "sender"), Kind: chat.Kind(rapid.Byte().Draw(t, "kind")),
	}
}

func anyReceipt(t *rapid.T) Receipt {
	r := Receipt{
		Conversation: anyID(t, "conversation"), User: anyID(t, "user"),
		ReplyTo: anyReplyTo(t), Answer: rapid.Bool().Draw(t, "answer"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "marks") {
		r.Marks = append(r.Marks, Mark{
			Status: chat.Status(rapid.Byte().Draw(t, "status")), Seq: anySeq(t, "seq"),
			Message: anyID(t, "message"), ID: anyText(t, "id"),
		})
	}
	return r
}

func anyStatus(t *rapid.T) Status {
	return Status{
		Conversation: anyID(t, "conversation"), User: anyID(t, "user"),
		Status: chat.Status(rapid.Byte().Draw(t, "status")), Seq: anySeq(t, "seq"), Message: anyID(t, "message"),
		Millis: int64(anySeq(t, "millis")), Recipients: anyUsers(t, "recipients"), ReplyTo: anyReplyTo(t),
		Outcome: Outcome(rapid.Byte().Draw(t, "outcome")), Code: chat.Code(anyText(t, "code")), Text: anyText(t, "text"),
	}
}

func anyHint(t *rapid.T) Hint {
	return Hint{
		User: anyID(t, "user"), Millis: int64(anySeq(t, "millis")), Conversation: anyID(t, "conversation"),
		IsTyping: rapid.Bool().Draw(t, "typing"), Presence: chat.Presence(rapid.Byte().Draw(t, "presence")),
	}
}
