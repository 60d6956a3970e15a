package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// devices checks what every device saw.
func (a *auditor) devices() {
	for _, d := range a.evidence.Devices {
		seen := make(map[chat.ConversationID]map[chat.Seq]Way)
		pushed, answered := make(map[chat.ConversationID]Sighting), make(map[chat.ConversationID]Sighting)
		for i := range d.Seen {
			s := &d.Seen[i]
			id := s.Message.ConversationID
			a.sighting(d, a.talks[id], s)
			switch s.Way {
			case Live:
				a.connection(d, pushed, s)
				if t := a.talks[id]; t != nil {
					a.body(d, t, s)
				}
			case Sync, Page:
				a.answer(d, answered, s)
			case Told, Carried:
			}
			if seen[id] == nil {
				seen[id] = make(map[chat.Seq]Way)
			}
			seen[id][s.Message.Seq] = s.Way
		}
		applied := make(map[chat.ConversationID][]*wire.Message)
		for i := range d.Applied {
			m := &d.Applied[i]
			applied[m.ConversationID] = append(applied[m.ConversationID], m)
		}
		for id, t := range a.talks {
			if len(t.spans[d.User]) > 0 {
				a.complete(d, t, seen[id], applied[id])
				a.pushed(d, t)
			}
		}
	}
}

// sighting checks one event that came to a device.
func (a *auditor) sighting(d *Device, t *talk, s *Sighting) {
	m := &s.Message
	if t == nil {
		a.check(Inside, false, "%s of %s saw seq %d of %s, where nobody is", d.Name, d.User, m.Seq, m.ConversationID)
		return
	}
	a.check(Inside, t.visible(d.User, m.Seq),
		"%s of %s saw seq %d of %s, %s; the memberships are %v", d.Name, d.User, m.Seq, t.ID, s.Way, t.spans[d.User])
	truth, ok := t.event(m.Seq)
	a.check(Unaltered, ok && same(m, truth), "%s of %s saw at seq %d of %s: %s; history has %s",
		d.Name, d.User, m.Seq, t.ID, brief(m), brief(truth))
	if s.Way != Carried { // a head is the same for everybody
		a.mark(d.User, m)
	}
}

// connection checks the order of the events that were pushed on one connection.
func (a *auditor) connection(d *Device, newest map[chat.ConversationID]Sighting, s *Sighting) {
	id := s.Message.ConversationID
	before, ok := newest[id]
	if ok && before.Connection == s.Connection {
		a.check(InOrder, s.Message.Seq > before.Message.Seq,
			"%s of %s, connection %d: seq %d of %s after seq %d", d.Name, d.User, s.Connection,
			s.Message.Seq, id, before.Message.Seq)
	}
	newest[id] = *s
}

// answer checks an event among those of the same answer of /sync or history.
func (a *auditor) answer(d *Device, newest map[chat.ConversationID]Sighting, s *Sighting) {
	id := s.Message.ConversationID
	above := s.Have
	if before, ok := newest[id]; ok && before.Answer == s.Answer {
		above = max(above, before.Message.Seq)
	}
	a.check(Fresh, s.Message.Seq > above, "%s of %s, answer %d: seq %d of %s, which is not above seq %d",
		d.Name, d.User, s.Answer, s.Message.Seq, id, above)
	newest[id] = *s
}

// complete checks that a device saw all that is owed to it of a conversation, and
// applied exactly that.
func (a *auditor) complete(d *Device, t *talk, seen map[chat.Seq]Way, applied []*wire.Message) {
	view := t.owed(d.User, seen)
	for i := range view {
		a.check(Delivered, seen[view[i].Seq] != 0, "%s of %s never saw seq %d of %s; the memberships are %v, it saw%s",
			d.Name, d.User, view[i].Seq, t.ID, t.spans[d.User], ways(seen))
	}
	a.check(AppliedOnce, len(applied) == len(view),
		"%s of %s applied %d events of %s, %d are visible", d.Name, d.User, len(applied), t.ID, len(view))
	for i := range min(len(applied), len(view)) {
		a.check(AppliedOnce, applied[i].Seq == view[i].Seq && same(applied[i], &view[i]),
			"%s of %s applied seq %d of %s as event %d, where seq %d is", d.Name, d.User, applied[i].Seq, t.ID, i+1, view[i].Seq)
	}
}

// owed returns what a device must have seen of a conversation. /sync tells of a
// membership that has ended only if the client names the conversation, so a device
// that could not be pushed to while its user came and went again does not learn of
// that stay. Once it has seen anything of the conversation, everything later is
// owed.
func (t *talk) owed(user chat.UserID, seen map[chat.Seq]Way) []wire.Message {
	from := chat.Seq(1)
	for _, s := range t.spans[user] {
		if s.last == 0 || sawAny(seen, s) {
			break
		}
		from = s.last + 1
	}
	view := t.view(user)
	return slices.DeleteFunc(view, func(m wire.Message) bool { return m.Seq < from })
}

// sawAny reports whether anything of a stay that has ended was seen.
func sawAny(seen map[chat.Seq]Way, s span) bool {
	for seq := s.first; seq <= s.last; seq++ {
		if seen[seq] != 0 {
			return true
		}
	}
	return false
}

// waysShown bounds what a violation says of what was seen.
const waysShown = 40

// ways says in what way each event was seen, for who looks for the reason.
type ways map[chat.Seq]Way

// String returns the first of them, by seq.
func (w ways) String() string {
	var b strings.Builder
	for i, seq := range slices.Sorted(maps.Keys(w)) {
		if i == waysShown {
			b.WriteString(" …")
			break
		}
		fmt.Fprintf(&b, " %d %s", seq, w[seq])
	}
	return b.String()
}

// pushed checks the device's last connection: what was sent after it was registered
// has come over it, or `behind` came later and said that something may be missing.
// Whom a change of membership concerns gets it at any size; of the messages of a
// large conversation it is enough to be told of something later.
func (a *auditor) pushed(d *Device, t *talk) {
	if d.Last.Connected.IsZero() {
		return
	}
	came, newest := d.came(t.ID)
	owed := func(seq chat.Seq, begun time.Time) {
		if !begun.After(d.Last.Connected) || !t.visible(d.User, seq) {
			return
		}
		told := came[seq] || slices.ContainsFunc(d.Last.Behinds, func(at time.Time) bool { return at.After(begun) })
		if m, ok := t.event(seq); ok && m.Event == nil && t.large(seq) {
			told = told || newest >= seq
		}
		a.check(NotSilent, told, "%s of %s, connection %d since %s: seq %d of %s, asked for at %s, did not come, and no behind after it",
			d.Name, d.User, d.Last.Number, d.Last.Connected.Format(time.TimeOnly), seq, t.ID, begun.Format(time.TimeOnly))
	}
	for _, s := range a.sends[t.ID] {
		if seq, stored := t.at[s.Request]; stored {
			owed(seq, s.Begun)
		}
	}
	commands, changes := t.commands[d.User], t.changes[d.User]
	if len(commands) != len(changes) {
		return // obeyed has said so, or one is unknown
	}
	for i, c := range commands {
		owed(changes[i].seq, c.Begun)
	}
}

// came returns what was pushed of a conversation on a device's last connection, and
// the newest seq that was told of there.
func (d *Device) came(id chat.ConversationID) (seqs map[chat.Seq]bool, newest chat.Seq) {
	seqs = make(map[chat.Seq]bool)
	for i := range d.Seen {
		s := &d.Seen[i]
		if s.Connection == d.Last.Number && s.Way != Sync && s.Way != Page && s.Message.ConversationID == id {
			seqs[s.Message.Seq] = true
			newest = max(newest, s.Message.Seq)
		}
	}
	for i := range d.Hints {
		if h := &d.Hints[i]; h.Connection == d.Last.Number && h.Head != nil && h.Head.ConversationID == id {
			newest = max(newest, h.Head.HeadSeq)
		}
	}
	return seqs, newest
}

// mark checks that the sender's own id for a message comes to the sender only.
func (a *auditor) mark(user chat.UserID, m *wire.Message) {
	if m.Event != nil {
		return
	}
	s := a.contents[m.Content]
	own := s != nil && m.SenderID == user
	carries := m.ClientMessageID != nil && s != nil && *m.ClientMessageID == s.Request
	a.check(OwnMark, own == carries && (own || m.ClientMessageID == nil),
		"%s saw seq %d of %s, by %s, with client_message_id %v", user, m.Seq, m.ConversationID, m.SenderID, m.ClientMessageID)
}

// same compares an event that somebody saw with history. The live form of what is
// no message has no id and no sender.
func same(seen, truth *wire.Message) bool {
	if seen.Seq != truth.Seq || seen.ConversationID != truth.ConversationID || (seen.Event == nil) != (truth.Event == nil) {
		return false
	}
	if seen.Event == nil {
		return seen.MessageID == truth.MessageID && seen.SenderID == truth.SenderID && seen.Content == truth.Content &&
			seen.Type == truth.Type && seen.Timestamp == truth.Timestamp
	}
	a, b := seen.Event, truth.Event
	return a.Change == b.Change && a.Name == b.Name && a.Role == b.Role && a.MembersVersion == b.MembersVersion &&
		userOf(a) == userOf(b)
}

func userOf(e *wire.Event) (u chat.UserID) {
	if e.UserID != nil {
		u = *e.UserID
	}
	return u
}

// brief is what a violation says of an event.
func brief(m *wire.Message) string {
	switch {
	case m == nil:
		return "nothing"
	case m.Event != nil:
		return m.Event.Change
	}
	return m.MessageID.String() + " " + m.Content[:min(len(m.Content), 60)]
}
