package bus

import (
	"context"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"switchboard/internal/chat"
)

// schema is records.proto, compiled, and says how each Go record looks as a
// message of the official library. It shares no code with the codecs.
type schema struct{ file protoreflect.FileDescriptor }

func compileSchema(t testing.TB) schema {
	t.Helper()
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	files, err := compiler.Compile(context.Background(), "records.proto")
	if err != nil {
		t.Fatalf("compile records.proto: %v", err)
	}
	return schema{files[0]}
}

// fields are the values of one message by the names in records.proto.
type fields map[string]any

// message returns the official library's form. A zero value stays away, as
// proto3 has it; an inner message that is nil does, too.
func (s schema) message(name string, values fields) *dynamicpb.Message {
	m := dynamicpb.NewMessage(s.file.Messages().ByName(protoreflect.Name(name)))
	for key, value := range values {
		field := m.Descriptor().Fields().ByName(protoreflect.Name(key))
		switch v := value.(type) {
		case *dynamicpb.Message:
			if v != nil {
				m.Set(field, protoreflect.ValueOfMessage(v))
			}
		case []*dynamicpb.Message:
			list := m.Mutable(field).List()
			for _, inner := range v {
				list.Append(protoreflect.ValueOfMessage(inner))
			}
		default:
			m.Set(field, protoreflect.ValueOf(value))
		}
	}
	return m
}

func (s schema) bytes(t testing.TB, m *dynamicpb.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatalf("marshal with the official library: %v", err)
	}
	return b
}

func rawID[Kind any](id chat.ID[Kind]) []byte {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

func rawUsers(users []chat.UserID) []byte {
	var b []byte
	for i := range users {
		b = append(b, users[i][:]...)
	}
	return b
}

func (s schema) replyTo(r ReplyTo) *dynamicpb.Message {
	if r == (ReplyTo{}) {
		return nil
	}
	return s.message("ReplyTo", fields{"server": r.Server, "boot": r.Boot, "session": r.Session, "id": r.ID})
}

func (s schema) inbound(r *Inbound) *dynamicpb.Message {
	f := fields{
		"codec": uint32(1), "conversation_id": rawID(r.Conversation), "sender_id": rawID(r.Sender),
		"request_id": rawID(r.Request), "reply_to": s.replyTo(r.ReplyTo),
	}
	switch {
	case r.Send != nil:
		f["send"] = s.message("Send", fields{
			"kind": uint32(r.Send.Kind), "content": []byte(r.Send.Content),
			"media_url": r.Send.MediaURL, "reply_to": rawID(r.Send.ReplyTo),
		})
	case r.Create != nil:
		f["create"] = s.message("Create", fields{
			"type": uint32(r.Create.Type), "name": r.Create.Name,
			"member_ids": rawUsers(r.Create.Members), "member_limit": uint32(r.Create.Limit),
		})
	case r.Set != nil:
		f["set_member"] = s.message("SetMember", fields{
			"user_id": rawID(r.Set.User), "role": uint32(r.Set.Role), "member_limit": uint32(r.Set.Limit),
		})
	case r.Remove != nil:
		f["remove_member"] = s.message("RemoveMember", fields{"user_id": rawID(r.Remove.User)})
	case r.Rename != nil:
		f["rename"] = s.message("Rename", fields{"name": r.Rename.Name})
	case r.Anchor != nil:
		f["anchor"] = s.message("Anchor", fields{"clock": int64(r.Anchor.Clock)})
	}
	return s.message("Inbound", f)
}

func (s schema) accepted(r *Accepted) *dynamicpb.Message {
	var events []*dynamicpb.Message
	for i := range r.Events {
		e := &r.Events[i]
		events = append(events, s.message("Event", fields{
			"seq": int64(e.Seq), "message_id": rawID(e.ID), "kind": uint32(e.Kind),
			"content": []byte(e.Content), "media_url": e.MediaURL, "reply_to": rawID(e.ReplyTo),
			"change": uint32(e.Change), "user_id": rawID(e.User), "role": uint32(e.Role), "name": e.Name,
			"members_version": int64(e.MembersVersion), "added": rawUsers(e.Added), "type": uint32(e.Type),
		}))
	}
	return s.message("Accepted", fields{
		"codec": uint32(1), "outcome": uint32(r.Outcome), "generation": r.Position.Generation,
		"offset": r.Position.Offset, "clock": int64(r.Clock), "conversation_id": rawID(r.Conversation),
		"sender_id": rawID(r.Sender), "request_id": rawID(r.Request), "reply_to": s.replyTo(r.ReplyTo),
		"events": events, "recipients": rawUsers(r.Recipients), "large": r.Large, "seq": int64(r.Seq),
		"message_id": rawID(r.ID), "code": string(r.Code), "message": r.Message,
	})
}

func (s schema) delivery(r *Delivery) *dynamicpb.Message {
	var frames []*dynamicpb.Message
	for _, f := range r.Frames {
		frames = append(frames, s.message("Frame", fields{
			"codec": uint32(1), "payload": f.Payload, "recipients": rawUsers(f.Recipients),
			"except_boot": f.ExceptBoot, "except_session": f.ExceptSession, "key": f.Key, "order": f.Order,
		}))
	}
	var answer *dynamicpb.Message
	if a := r.Answer; a != nil {
		answer = s.message("Answer", fields{
			"boot": a.Boot, "session": a.Session, "payload": a.Payload, "outcome": uint32(a.Outcome),
			"seq": int64(a.Seq), "message_id": rawID(a.ID), "code": string(a.Code), "message": a.Message,
		})
	}
	var closes []*dynamicpb.Message
	for _, c := range r.Closes {
		closes = append(closes, s.message("Close", fields{"user_id": rawID(c.User), "boot": c.Boot, "session": c.Session}))
	}
	return s.message("Delivery", fields{
		"codec": uint32(1), "class": uint32(r.Class), "generation": r.Position.Generation,
		"partition": uint32(r.Partition), "offset": r.Position.Offset, "frames": frames, "answer": answer, "closes": closes,
	})
}

func (s schema) push(r *Push) *dynamicpb.Message {
	return s.message("Push", fields{
		"codec": uint32(1), "user_id": rawID(r.User), "generation": r.Position.Generation,
		"partition": uint32(r.Partition), "offset": r.Position.Offset,
		"conversation_id": rawID(r.Conversation), "message_id": rawID(r.ID), "seq": int64(r.Seq),
		"sender_id": rawID(r.Sender), "kind": uint32(r.Kind),
	})
}

func (s schema) receipt(r *Receipt) *dynamicpb.Message {
	var marks []*dynamicpb.Message
	for _, m := range r.Marks {
		marks = append(marks, s.message("Mark", fields{
			"status": uint32(m.Status), "seq": int64(m.Seq), "message_id": rawID(m.Message), "id": m.ID,
		}))
	}
	return s.message("Receipt", fields{
		"codec": uint32(1), "conversation_id": rawID(r.Conversation), "user_id": rawID(r.User),
		"reply_to": s.replyTo(r.ReplyTo), "answer": r.Answer, "marks": marks,
	})
}

func (s schema) hint(r *Hint) *dynamicpb.Message {
	return s.message("Hint", fields{
		"codec": uint32(1), "user_id": rawID(r.User), "time": r.Millis, "conversation_id": rawID(r.Conversation),
		"is_typing": r.IsTyping, "presence": uint32(r.Presence),
	})
}

func (s schema) status(r *Status) *dynamicpb.Message {
	return s.message("Status", fields{
		"codec": uint32(1), "conversation_id": rawID(r.Conversation), "user_id": rawID(r.User),
		"status": uint32(r.Status), "seq": int64(r.Seq), "message_id": rawID(r.Message), "time": r.Millis,
		"recipients": rawUsers(r.Recipients), "reply_to": s.replyTo(r.ReplyTo), "outcome": uint32(r.Outcome),
		"code": string(r.Code), "message": r.Text,
	})
}
