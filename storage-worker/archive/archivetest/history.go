package archivetest

import (
	"crypto/sha256"
	"fmt"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// history is the life of a group of four: created, messages by turns, roles
// that change, members who leave and come back, a new name. It is a function of
// the record's number, as the real one is a function of the log.
type history struct {
	conversation chat.ConversationID
	users        []chat.UserID
	keys         []archive.Key
}

func newHistory(c chat.ConversationID) history {
	h := history{conversation: c}
	for i := range 4 {
		u := chat.UserID(c)
		u[0] = byte(i) // so that their order is the same in every history
		u[15] ^= 0xff  // never the conversation's own
		h.users = append(h.users, u)
	}
	for record := 1; record <= 24; record++ {
		if record != usedAgain {
			h.keys = append(h.keys, h.key(record))
		}
	}
	return h
}

// usedAgain is the record that has the key of record 4 once more: it came after
// the window.
const usedAgain = 20

func (h history) key(record int) archive.Key {
	if record == usedAgain {
		record = 4
	}
	return archive.Key{Conversation: h.conversation, Sender: h.users[0], Request: chat.RequestID{byte(record)}}
}

// writes returns every single write of the first records.
func (h history) writes(records int) (all []*archive.Batch) {
	for record := 1; record <= records; record++ {
		all = append(all, split(h.batch(record))...)
	}
	return all
}

// batch is what a record leaves behind. Records 1, 6, 12 and 18 are events.
func (h history) batch(record int) *archive.Batch {
	seq, id := chat.Seq(record), idAt(record)
	b := &archive.Batch{Records: 1}
	row := archive.Row{
		Entry: chat.Entry{
			Conversation: h.conversation, Seq: seq, ID: id, Sender: h.users[record%2], Request: h.key(record).Request,
			Kind: chat.KindText, Content: fmt.Sprint("message ", record), MembersVersion: seq,
		},
		Position: chat.Position{Generation: 1, Offset: int64(record)},
	}
	b.Seen = append(b.Seen, archive.Seen{
		Key: h.key(record), Position: row.Position, Seq: seq, ID: id, Digest: sha256.Sum256([]byte(row.Content)),
	})
	for i := range h.users {
		b.Stays = append(b.Stays, h.stay(i, record))
		b.Marks = append(b.Marks, archive.Watermark{
			Conversation: h.conversation, User: h.users[i], Joined: h.joined(i, record),
			Read: seq - chat.Seq(i), Delivered: seq + chat.Seq(record%3) - 1,
		})
	}
	h.events(record, b, &row)
	b.Rows = append(b.Rows, row)
	return b
}

// joined is where the user's stay began: the last user is away from record 12
// to record 18.
func (h history) joined(user, record int) chat.Seq {
	if user == 3 && record >= 18 {
		return 18
	}
	return 1
}

func (h history) stay(user, record int) archive.StayWrite {
	w := archive.StayWrite{By: idAt(record), Stay: archive.Stay{
		User: h.users[user], Conversation: h.conversation, Joined: h.joined(user, record),
		Head: archive.Tip{Seq: chat.Seq(record), ID: idAt(record)}, Large: record >= 8 && record < 16,
	}}
	if user == 3 && record == 12 {
		w.Left = 12
	}
	return w
}

// events adds what changes the conversation or its members.
func (h history) events(record int, b *archive.Batch, row *archive.Row) {
	seq, id := chat.Seq(record), idAt(record)
	event := func(change chat.Change, user int) {
		row.Kind, row.Content, row.Change, row.User = chat.KindEvent, "", change, h.users[user]
	}
	opened := func(user int, role chat.Role) {
		b.Opened = append(b.Opened, archive.SpanOpened{Conversation: h.conversation, Span: archive.Span{
			User: h.users[user], Joined: seq, Role: role, At: id,
		}})
	}
	closed := func(user int, joined chat.Seq) {
		b.Closed = append(b.Closed, archive.SpanClosed{
			Conversation: h.conversation, User: h.users[user], Joined: joined, Left: seq, By: id,
		})
	}
	switch record {
	case 1:
		event(chat.Created, 0)
		b.Infos = append(b.Infos, archive.InfoWrite{Conversation: h.conversation, By: id, Info: archive.Info{
			Type: chat.Group, Name: "first", Creator: chat.UserID{7}, Created: id,
		}})
		for i := range h.users {
			opened(i, chat.Member)
		}
	case 6:
		event(chat.RoleChanged, 1)
		closed(1, 1)
		opened(1, chat.Admin)
	case 12:
		event(chat.MemberRemoved, 3)
		closed(3, 1)
	case 15, 21:
		b.Infos = append(b.Infos, archive.InfoWrite{
			Conversation: h.conversation, By: id, Info: archive.Info{Name: fmt.Sprint("name ", record)},
		})
	case 18:
		event(chat.MemberAdded, 3)
		opened(3, chat.Member)
	}
}
