package audit

import (
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// readings checks what the lists of members said of watermarks while people
// talked: none ever moves back. A new stay begins with both at its joining event,
// which is above all that was marked before.
func (a *auditor) readings() {
	last := make(map[place]wire.Member)
	for _, rosters := range [][]Roster{a.evidence.Readings, a.evidence.Rosters} {
		for i := range rosters {
			r := &rosters[i]
			for _, m := range r.Members {
				k := place{m.UserID, r.Conversation}
				before := last[k]
				a.check(MarkForward, m.ReadSeq >= before.ReadSeq && m.DeliveredSeq >= before.DeliveredSeq,
					"%s: the marks of %s went from %d read and %d delivered to %d and %d", r.Conversation, m.UserID,
					before.ReadSeq, before.DeliveredSeq, m.ReadSeq, m.DeliveredSeq)
				last[k] = m
				a.check(MarkBounded, m.ReadSeq <= m.DeliveredSeq && a.within(r.Conversation, m.DeliveredSeq),
					"%s: %s has read %d and received %d", r.Conversation, m.UserID, m.ReadSeq, m.DeliveredSeq)
			}
		}
	}
}

// within reports whether a conversation has come that far.
func (a *auditor) within(id chat.ConversationID, seq chat.Seq) bool {
	t := a.talks[id]
	return t != nil && seq <= t.head()
}

// standings checks that in the end everybody stands where their own marks and
// messages of the present stay put them, and no further.
func (a *auditor) standings(t *talk) {
	own := make(map[chat.UserID]chat.Seq)
	for i := range t.history {
		if m := &t.history[i]; m.Event == nil {
			own[m.SenderID] = m.Seq
		}
	}
	for user, m := range t.standing {
		if !t.present(user) {
			continue // rosters has said so
		}
		read := max(t.joined(user), own[user])
		delivered := read
		for _, mark := range a.marks[place{user, t.ID}] {
			switch {
			case mark.Seq < t.joined(user) || mark.Seq > t.head():
			case mark.Status == chat.Read:
				read = max(read, mark.Seq)
			default:
				delivered = max(delivered, mark.Seq)
			}
		}
		delivered = max(delivered, read)
		a.check(MarkKept, m.ReadSeq >= read && m.DeliveredSeq >= delivered,
			"%s: %s marked %d read and %d delivered, the list says %d and %d", t.ID, user, read, delivered, m.ReadSeq, m.DeliveredSeq)
		a.check(MarkEarned, m.ReadSeq <= read && m.DeliveredSeq <= delivered,
			"%s: %s marked %d read and %d delivered only, the list says %d and %d", t.ID, user, read, delivered, m.ReadSeq, m.DeliveredSeq)
	}
}

// watermark is whose, where and of which kind.
type watermark struct {
	place

	connection int
	status     string
}

// statuses checks what a device was told of how far people have come.
func (a *auditor) statuses(d *Device) {
	told := make(map[watermark]chat.Seq)
	for i := range d.Hints {
		h := &d.Hints[i]
		m := h.Status
		if m == nil {
			continue
		}
		k := watermark{place{m.UserID, m.ConversationID}, h.Connection, m.Status}
		a.check(StatusForward, m.Seq >= told[k], "%s of %s, connection %d: %s of %s in %s is %d, after %d",
			d.Name, d.User, h.Connection, m.Status, m.UserID, m.ConversationID, m.Seq, told[k])
		told[k] = m.Seq
		t := a.talks[m.ConversationID]
		if t == nil {
			a.check(StatusInside, false, "%s of %s was told of a mark in %s, where nobody is", d.Name, d.User, m.ConversationID)
			continue
		}
		truth, there := t.event(m.Seq)
		made, ok := a.made(m, h.At)
		own := ownMessage(d, m, truth) // sending moves the sender's own mark, which the other devices hear
		a.check(StatusTrue, (ok || own) && there && truth.MessageID == m.MessageID,
			"%s of %s was told that %s of %s in %s is %d, id %s; nobody had marked that", d.Name, d.User, m.Status, m.UserID,
			m.ConversationID, m.Seq, m.MessageID)
		concerned := t.visible(d.User, m.Seq) && (d.User == m.UserID || t.Direct || t.wrote(d.User, m.Seq))
		a.check(StatusInside, concerned, "%s of %s was told that %s of %s in %s is %d, which is not for them",
			d.Name, d.User, m.Status, m.UserID, m.ConversationID, m.Seq)
		if ok && concerned && !own {
			since, out := t.outside(d.User, made)
			a.check(StatusInside, !out, "%s of %s was told of a mark by %s, made at %s in %s; they left by %s",
				d.Name, d.User, m.UserID, made.Format(time.TimeOnly), m.ConversationID, since.Format(time.TimeOnly))
		}
	}
}

// made returns when a mark was first made that a status may tell of.
func (a *auditor) made(m *wire.MessageStatus, told time.Time) (at time.Time, ok bool) {
	for _, mark := range a.marks[place{m.UserID, m.ConversationID}] {
		if mark.Seq == m.Seq && mark.Status.String() == m.Status && mark.At.Before(told) && (!ok || mark.At.Before(at)) {
			at, ok = mark.At, true
		}
	}
	return at, ok
}

// ownMessage reports whether a read mark is at a message of the device's own user.
func ownMessage(d *Device, m *wire.MessageStatus, truth *wire.Message) bool {
	return truth != nil && truth.Event == nil && truth.SenderID == m.UserID && d.User == m.UserID && m.Status == chat.Read.String()
}

// wrote reports whether a user has a message at a seq or below.
func (t *talk) wrote(user chat.UserID, seq chat.Seq) bool {
	for i := range t.history[:min(int(seq), len(t.history))] {
		if m := &t.history[i]; m.Event == nil && m.SenderID == user {
			return true
		}
	}
	return false
}
