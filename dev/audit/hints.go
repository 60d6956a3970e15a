package audit

import (
	"slices"
	"time"

	"switchboard/internal/chat"
)

const (
	// typingMoment is for how long after the answer to a removal typing may still
	// be told to the removed, and of them: it goes by the roster, which is late,
	// later still while it is away.
	typingMoment = 30 * time.Second
	// grace is how long somebody is gone before that is told. Whoever has been
	// connected for that long cannot be.
	grace = 15 * time.Second
	// thawing is how long a gateway that stood still may take to be counted among the
	// living again, and its people.
	thawing = 10 * time.Second
)

// hints checks what was pushed to a device besides durable events and answers.
func (a *auditor) hints(d *Device) {
	a.statuses(d)
	a.heads(d)
	a.lags(d)
	for i := range d.Hints {
		switch h := &d.Hints[i]; {
		case h.Typing != nil:
			a.typing(d, h)
		case h.Presence != nil:
			a.presence(d, h)
		}
	}
}

// typing checks that a word of a member came to another member of a small
// conversation.
func (a *auditor) typing(d *Device, h *Hint) {
	m := h.Typing
	t := a.talks[m.ConversationID]
	inside := t != nil && len(t.spans[d.User]) > 0 && len(t.spans[m.UserID]) > 0 && d.User != m.UserID
	a.check(TypingInside, inside, "%s of %s was told that %s types in %s", d.Name, d.User, m.UserID, m.ConversationID)
	if !inside {
		return
	}
	a.check(TypingSmall, slices.Min(t.sizes) <= chat.TypingMembers,
		"%s of %s was told that %s types in %s, which never had less than %d members", d.Name, d.User, m.UserID, t.ID, slices.Min(t.sizes))
	var said time.Time
	for _, w := range a.words[place{m.UserID, t.ID}] {
		if w.IsTyping == m.IsTyping && w.At.Before(h.At) && w.At.After(said) {
			said = w.At
		}
	}
	a.check(TypingSaid, !said.IsZero(), "%s of %s was told that %s types in %s, who had not said so", d.Name, d.User, m.UserID, t.ID)
	for _, user := range []chat.UserID{d.User, m.UserID} {
		since, out := t.outside(user, h.At)
		a.check(TypingInside, !out || said.Sub(since) <= typingMoment, "%s of %s was told that %s typed in %s at %s; %s left by %s",
			d.Name, d.User, m.UserID, t.ID, said.Format(time.TimeOnly), user, since.Format(time.TimeOnly))
	}
}

// presence checks that coming and going is told to direct peers, and that nobody is
// called gone who is there.
func (a *auditor) presence(d *Device, h *Hint) {
	m := h.Presence
	a.check(PeersOnly, a.peers(d.User, m.UserID), "%s of %s was told that %s is %s", d.Name, d.User, m.UserID, m.Status)
	if m.Status != chat.Offline.String() || a.frozen(h.At) {
		return
	}
	for _, other := range a.evidence.Devices {
		if other.User != m.UserID {
			continue
		}
		there := slices.ContainsFunc(other.Links, func(l Link) bool {
			return !l.Connected.IsZero() && l.Connected.Before(h.At.Add(-grace)) && (l.Closed.IsZero() || l.Closed.After(h.At))
		})
		a.check(NotGone, !there, "%s of %s was told at %s that %s is offline, whose %s was connected",
			d.Name, d.User, h.At.Format(time.TimeOnly), m.UserID, other.Name)
	}
}

// frozen reports whether people on a gateway may be taken for gone at a moment.
func (a *auditor) frozen(at time.Time) bool {
	return slices.ContainsFunc(a.evidence.Frozen, func(s Span) bool {
		return at.After(s.From) && at.Before(s.To.Add(thawing))
	})
}

// peers reports whether two have a direct conversation with each other.
func (a *auditor) peers(u, v chat.UserID) bool {
	for _, t := range a.talks {
		if t.Direct && u != v && len(t.spans[u]) > 0 && len(t.spans[v]) > 0 {
			return true
		}
	}
	return false
}
