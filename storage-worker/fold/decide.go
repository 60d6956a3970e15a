package fold

import (
	"unicode/utf8"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// decider is the pure half of the fold: it turns records into outcomes and into
// what the archive must hold before they are told, and does no I/O. Whatever it
// needs of the archive was put into known and seen before.
type decider struct {
	// Fixed after construction.
	generation uint32
	partition  int32
	partitions int32
	largeAbove int
	faults     faults

	// The state that every record advances.
	clock chat.Clock
	known *cache

	// Of the batch at hand.
	seen    map[archive.Key]archive.Seen
	touched []*conversation
	batch   archive.Batch
}

// request is one inbound record.
type request struct {
	offset    int64
	millis    int64
	in        bus.Inbound
	malformed bool // in holds no more than the conversation that the key names
	digest    [32]byte
}

// key returns what makes a retry of the request recognisable, for the requests
// that have such a key: messages and new conversations.
func (r *request) key() (k archive.Key, ok bool) {
	if r.malformed || r.in.Send == nil && r.in.Create == nil {
		return archive.Key{}, false
	}
	return archive.Key{Conversation: r.in.Conversation, Sender: r.in.Sender, Request: r.in.Request}, true
}

// placed reports whether the record can concern a conversation here. One that
// landed in a foreign partition must not: two partitions would number it.
func (d *decider) placed(r *request) bool {
	return !r.malformed && r.in.Anchor == nil && !r.in.Sender.IsZero() &&
		bus.PartitionOf(r.in.Conversation, d.partitions) == d.partition
}

// turn is a request while it is being decided.
type turn struct {
	*request
	c   *conversation
	out *bus.Accepted
}

func (t *turn) refuse(code chat.Code, message string) {
	t.out.Outcome, t.out.Code, t.out.Message = bus.Refused, code, message
}

func (t *turn) duplicate(seq chat.Seq, id chat.MessageID) {
	t.out.Outcome, t.out.Seq, t.out.ID = bus.Duplicate, seq, id
}

// unchanged answers a command that asks for what is so already.
func (t *turn) unchanged() { t.duplicate(t.c.tip.Seq, t.c.tip.ID) }

// decide gives the record its outcome and advances the state by it. The clock
// moves for every record, refused ones too: otherwise a later record could take
// an id below the time at which an earlier one looks for what came before it,
// and a replay of the earlier would see the later.
func (d *decider) decide(r *request, out *bus.Accepted) {
	before := d.clock
	d.clock = d.clock.Next(r.millis)
	*out = bus.Accepted{
		Position:     chat.Position{Generation: d.generation, Offset: r.offset},
		Conversation: r.in.Conversation,
		Sender:       r.in.Sender,
		Request:      r.in.Request,
		ReplyTo:      r.in.ReplyTo,
		Recipients:   out.Recipients[:0],
		Events:       out.Events[:0],
	}
	d.dispatch(&turn{request: r, out: out})
	if d.faults.clockSkipsRefused && out.Outcome == bus.Refused {
		d.clock = before
	}
	out.Clock = d.clock
}

func (d *decider) dispatch(t *turn) {
	in := &t.in
	if t.malformed {
		t.refuse(chat.BadRequest, "the record cannot be read")
		return
	}
	if in.Anchor != nil {
		d.clock = max(d.clock, in.Anchor.Clock)
		t.out.Outcome = bus.Duplicate
		return
	}
	if !d.placed(t.request) {
		t.refuse(chat.BadRequest, "the record names no sender or lies in a foreign partition")
		return
	}
	t.c = d.known.get(in.Conversation)
	switch {
	case in.Send != nil:
		d.send(t)
	case in.Create != nil:
		d.create(t)
	case in.Set != nil:
		d.setMember(t)
	case in.Remove != nil:
		d.removeMember(t)
	case in.Rename != nil:
		d.rename(t)
	default:
		t.refuse(chat.BadRequest, "the record asks for nothing")
	}
}

// send decides a message. A retry is recognised before membership is asked:
// whoever was removed since still learns what became of the first try.
func (d *decider) send(t *turn) {
	s := t.in.Send
	if t.in.Request.IsZero() || s.Kind != chat.KindText && s.Kind != chat.KindImage && s.Kind != chat.KindFile {
		t.refuse(chat.BadRequest, "the message has no request id or an unknown type")
		return
	}
	if d.faults.membershipBeforeKeys && t.c.member(t.in.Sender) == nil {
		t.refuse(chat.NotMember, notMember)
		return
	}
	if d.retry(t) {
		return
	}
	m := t.c.member(t.in.Sender)
	if m == nil {
		t.refuse(chat.NotMember, notMember)
		return
	}
	media, attached := chat.MediaOf(s.MediaURL)
	if attached && d.clock > chat.ClockAt(chat.MediaMade(media).Unix())+chat.Ticks(chat.MediaWindow) {
		t.refuse(chat.BadRequest, "the upload is too old to be sent: upload the file again")
		return
	}
	e := d.store(t, chat.Entry{Kind: s.Kind, Content: s.Content, MediaURL: s.MediaURL, ReplyTo: s.ReplyTo})
	t.c.pending.mark(archive.Watermark{
		Conversation: t.c.id, User: m.user, Joined: m.stay, Read: e.Seq, Delivered: e.Seq,
	})
	if attached {
		d.batch.Media = append(d.batch.Media, archive.MediaRef{Media: media, Conversation: t.c.id, By: e.ID})
	}
	d.remember(t, e)
	d.publish(t, len(t.c.members))
}

// notMember is said alike of a conversation that one is not in and of one that
// does not exist.
const notMember = "there is no such conversation for you"

// create decides a new conversation. Its id follows from what is asked for, so
// asking again, by another device or after the key has expired, finds it.
func (d *decider) create(t *turn) {
	if reason := invalidCreate(&t.in); reason != "" {
		t.refuse(chat.BadRequest, reason)
		return
	}
	if d.retry(t) {
		return
	}
	in := t.in.Create
	if t.c.tip.Seq > 0 {
		if t.c.member(t.in.Sender) == nil {
			t.refuse(chat.NotMember, notMember)
			return
		}
		t.unchanged()
		return
	}
	if in.Type == chat.Group && len(in.Members) > in.Limit {
		t.refuse(chat.ConversationFull, "the group would have more members than the limit")
		return
	}
	name := in.Name
	if in.Type == chat.Direct {
		name = "" // Each of the two sees the other's.
	}
	t.c.kind = in.Type
	e := d.store(t, chat.Entry{Kind: chat.KindEvent, Change: chat.Created, Name: name})
	d.batch.Infos = append(d.batch.Infos, archive.InfoWrite{
		Conversation: t.c.id,
		Info:         archive.Info{Type: in.Type, Name: name, Creator: t.in.Sender, Created: e.ID},
		By:           e.ID,
	})
	for _, u := range in.Members {
		role := chat.Member
		if in.Type == chat.Group && u == t.in.Sender {
			role = chat.Admin
		}
		d.open(t.c, e, u, role)
	}
	added := t.out.Events[len(t.out.Events)-1:]
	added[0].Added, added[0].Type = in.Members, in.Type
	d.remember(t, e)
	d.publish(t, 0)
}

// invalidCreate says what is wrong with the request in itself, or "".
func invalidCreate(in *bus.Inbound) string {
	c := in.Create
	named := make(map[chat.UserID]bool, len(c.Members))
	for _, u := range c.Members {
		if u.IsZero() || named[u] {
			return "a member is missing or named twice"
		}
		named[u] = true
	}
	switch {
	case in.Request.IsZero():
		return "the conversation has no request id"
	case !named[in.Sender]:
		return "the creator is not among the members"
	case utf8.RuneCountInString(c.Name) > chat.NameRunes:
		return "the name is too long"
	}
	want := chat.GroupConversation(in.Sender, in.Request)
	switch c.Type {
	case chat.Group:
	case chat.Direct:
		if len(c.Members) != 2 {
			return "a direct conversation has two members"
		}
		want = chat.DirectConversation(c.Members[0], c.Members[1])
	default:
		return "the type of conversation is unknown"
	}
	if in.Conversation != want {
		return "the conversation's id does not follow from the request"
	}
	return ""
}

// retry reports whether the request was decided here: its key belongs to an
// earlier record that was stored within the window.
func (d *decider) retry(t *turn) bool {
	key, _ := t.key()
	seen, ok := d.seen[key]
	if !ok || d.clock-chat.ClockOf(seen.ID) > chat.Ticks(chat.KeyWindow) {
		return false
	}
	if seen.Digest != t.digest {
		t.refuse(chat.IdempotencyConflict, "the same id was used for something else")
		return true
	}
	t.duplicate(seen.Seq, seen.ID)
	return true
}

// remember makes retries of t recognisable.
func (d *decider) remember(t *turn, e *chat.Entry) {
	key, _ := t.key()
	seen := archive.Seen{Key: key, Position: t.out.Position, Seq: e.Seq, ID: e.ID, Digest: t.digest}
	d.batch.Seen = append(d.batch.Seen, seen)
	if !d.faults.batchForgetsKeys {
		d.seen[key] = seen
	}
}
