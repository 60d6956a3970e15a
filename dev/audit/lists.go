package audit

import (
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// unreadMax is among how many of the newest events the server counts.
const unreadMax = 1000

// lists checks what users are told of their conversations.
func (a *auditor) lists() {
	for _, l := range a.evidence.Lists {
		listed := make(map[chat.ConversationID]bool)
		for i := range l.Conversations {
			c := &l.Conversations[i]
			t := a.talks[c.ID]
			inside := t != nil && t.present(l.User)
			a.check(Listed, inside && !listed[c.ID], "%s is told of %s, where they are not, or told twice", l.User, c.ID)
			listed[c.ID] = true
			if inside {
				a.listed(t, l.User, c)
			}
		}
		for id, t := range a.talks {
			if t.present(l.User) {
				a.check(Listed, listed[id], "%s is in %s and not told of it", l.User, id)
			}
		}
	}
}

// listed checks one line of a list.
func (a *auditor) listed(t *talk, user chat.UserID, c *wire.Conversation) {
	members := 0
	for u := range t.spans {
		if t.present(u) {
			members++
		}
	}
	head := t.head()
	a.check(Listed, c.HeadSeq == head && c.MembersCount == members,
		"%s: %s is told of head %d and %d members, there are %d and %d", t.ID, user, c.HeadSeq, c.MembersCount, head, members)
	joined := t.joined(user)
	own, unread := joined, int64(0)
	for i := range t.history {
		m := &t.history[i]
		switch {
		case m.Event != nil || m.Seq < joined:
		case m.SenderID == user:
			own = m.Seq
		case m.Seq > c.ReadSeq && m.Seq > head-unreadMax:
			unread++
		}
	}
	a.check(OwnRead, own <= c.ReadSeq && c.ReadSeq <= head,
		"%s: %s has read up to %d, sent or joined at %d, and the head is %d", t.ID, user, c.ReadSeq, own, head)
	a.check(Unread, c.Unread == unread, "%s: %s has %d unread, %d are above seq %d", t.ID, user, c.Unread, unread, c.ReadSeq)
	if m := t.standing[user]; m != nil {
		a.check(SameMark, c.ReadSeq == m.ReadSeq, "%s: %s is told to have read up to %d, the list of members says %d",
			t.ID, user, c.ReadSeq, m.ReadSeq)
	}
}
