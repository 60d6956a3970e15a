package audit

import (
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

const (
	// headEvery is how often a device may be told of the head of a conversation.
	headEvery = time.Second
	// headsAhead is by how many the heads on one connection may exceed that, besides
	// what was held back: a router that takes over does not know when the one before
	// it spoke, and what a killed server kept comes at once.
	headsAhead = 5
)

// heads checks what a device was told of how far large conversations have come.
func (a *auditor) heads(d *Device) {
	said := make(map[line]*pace)
	for i := range d.Hints {
		h := &d.Hints[i]
		u := h.Head
		if u == nil {
			continue
		}
		t := a.talks[u.ConversationID]
		a.check(HeadInside, t != nil && t.visible(d.User, u.HeadSeq), "%s of %s was told of head %d of %s; the memberships are %v",
			d.Name, d.User, u.HeadSeq, u.ConversationID, spansOf(t, d.User))
		if t == nil {
			continue
		}
		truth, ok := t.event(u.HeadSeq)
		a.check(HeadTrue, ok && t.large(u.HeadSeq) && (u.Message == nil || carries(u.Message, truth)),
			"%s of %s was told of head %d of %s with %s; history has %s", d.Name, d.User, u.HeadSeq, t.ID, brief(u.Message), brief(truth))
		k := line{t.ID, h.Connection}
		p := said[k]
		if p == nil {
			p = &pace{since: h.At}
			said[k] = p
		}
		a.check(HeadForward, u.HeadSeq >= p.head, "%s of %s, connection %d: head %d of %s after head %d",
			d.Name, d.User, h.Connection, u.HeadSeq, t.ID, p.head)
		p.head = u.HeadSeq
		p.told++
		allowed := a.ahead() + int(h.At.Sub(p.since)/headEvery)
		a.check(HeadPace, p.told <= allowed, "%s of %s, connection %d: %d heads of %s within %s",
			d.Name, d.User, h.Connection, p.told, t.ID, h.At.Sub(p.since).Round(time.Millisecond))
	}
}

// ahead is how many heads may come at once.
func (a *auditor) ahead() int { return headsAhead + int(a.evidence.Held/headEvery) }

// line is one conversation on one connection.
type line struct {
	conversation chat.ConversationID
	connection   int
}

// pace is what was told on a line so far.
type pace struct {
	since time.Time
	told  int
	head  chat.Seq
}

func spansOf(t *talk, user chat.UserID) []span {
	if t == nil {
		return nil
	}
	return t.spans[user]
}

// carries reports whether a head carries the event that it speaks of, in the form
// in which everybody gets it: nobody's client_message_id is in it.
func carries(m, truth *wire.Message) bool {
	return m.Event == nil && m.ClientMessageID == nil && same(m, truth)
}

// body checks that an event of a large conversation is pushed itself only to those
// whom it concerns: its sender's devices, and the one whom it names.
func (a *auditor) body(d *Device, t *talk, s *Sighting) {
	m, ok := t.event(s.Message.Seq)
	if !ok || !t.large(m.Seq) {
		return
	}
	concerned := m.SenderID == d.User || m.Event != nil && userOf(m.Event) == d.User
	a.check(HeadInstead, concerned, "%s of %s was pushed seq %d of %s, which has %d members",
		d.Name, d.User, m.Seq, t.ID, t.sizes[m.Seq-1])
}

// lags checks the conversations that /sync told a device to page: not one in which
// its user certainly was not from the asking to the answer.
func (a *auditor) lags(d *Device) {
	for i := range d.Lags {
		l := &d.Lags[i]
		t := a.talks[l.ConversationID]
		if t == nil {
			a.check(LagInside, false, "%s of %s was told to page %s, where nobody is", d.Name, d.User, l.ConversationID)
			continue
		}
		since, out := t.outside(d.User, l.Answered)
		a.check(LagInside, !out || since.After(l.Asked), "%s of %s was told to page %s up to %d at %s; they left by %s", d.Name, d.User, t.ID, l.HeadSeq,
			l.Asked.Format(time.TimeOnly), since.Format(time.TimeOnly))
		a.check(LagTrue, l.HeadSeq <= t.head() && l.ReadSeq <= l.HeadSeq, "%s of %s was told to page %s up to %d, having read %d; the head is %d",
			d.Name, d.User, t.ID, l.HeadSeq, l.ReadSeq, t.head())
	}
}
