package audit

import (
	"slices"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// Plant is something that a chat system can do wrong. Put into the evidence of a
// sound run, it shows that Check would have named it there.
type Plant struct {
	Name   string
	Breaks Obligation
	// put changes the evidence, of which a knows who was where; false: the run had
	// nothing to change.
	put func(e *Evidence, a *auditor) bool
}

// Plants returns all of them.
func Plants() []Plant {
	return slices.Concat(storedPlants(), shownPlants(), missedPlants(), markPlants(), headPlants(), hintPlants())
}

// Try puts the mistake into a copy of the evidence, which must be without
// violations, and reports whether that was possible and whether Check names it.
func (p *Plant) Try(e *Evidence) (planted, found bool) {
	e = e.clone()
	if !p.put(e, newAuditor(e)) {
		return false, false
	}
	return true, Check(e).Broken[p.Breaks] > 0
}

// clone copies what plants change. Events and hints are shared: who changes one
// puts another in its place.
func (e *Evidence) clone() *Evidence {
	c := *e
	c.Sends, c.Answers, c.Commands = slices.Clone(e.Sends), slices.Clone(e.Answers), slices.Clone(e.Commands)
	c.Histories, c.Rosters = slices.Clone(e.Histories), slices.Clone(e.Rosters)
	c.Readings, c.Lists = slices.Clone(e.Readings), slices.Clone(e.Lists)
	c.Devices = nil
	for _, d := range e.Devices {
		d := *d
		d.Seen, d.Hints, d.Applied = slices.Clone(d.Seen), slices.Clone(d.Hints), slices.Clone(d.Applied)
		d.Lags = slices.Clone(d.Lags)
		c.Devices = append(c.Devices, &d)
	}
	for i := range c.Histories {
		c.Histories[i].Messages = slices.Clone(c.Histories[i].Messages)
	}
	for i := range c.Rosters {
		c.Rosters[i].Members = slices.Clone(c.Rosters[i].Members)
	}
	for i := range c.Lists {
		c.Lists[i].Conversations = slices.Clone(c.Lists[i].Conversations)
	}
	return &c
}

// seen returns the first sighting that fits.
func (e *Evidence) seen(fits func(d *Device, i int) bool) (d *Device, i int) {
	for _, d := range e.Devices {
		for i := range d.Seen {
			if fits(d, i) {
				return d, i
			}
		}
	}
	return nil, 0
}

// live is a push of a message that is not the first of all.
func live(d *Device, i int) bool {
	return d.Seen[i].Way == Live && d.Seen[i].Message.Event == nil && i > 0
}

// hinted returns the first hint that fits.
func (e *Evidence) hinted(fits func(d *Device, h *Hint) bool) (*Device, *Hint) {
	for _, d := range e.Devices {
		for i := range d.Hints {
			if fits(d, &d.Hints[i]) {
				return d, &d.Hints[i]
			}
		}
	}
	return nil, nil
}

// stranger returns a device of somebody who was never in a conversation.
func (a *auditor) stranger(id chat.ConversationID) *Device {
	for _, d := range a.evidence.Devices {
		if t := a.talks[id]; t != nil && len(t.spans[d.User]) == 0 {
			return d
		}
	}
	return nil
}

// hidden returns a device and an event that came after its user had left.
func (a *auditor) hidden() (*Device, *wire.Message) {
	for _, c := range a.evidence.Conversations {
		t := a.talks[c.ID]
		for _, d := range a.evidence.Devices {
			for _, s := range t.spans[d.User] {
				m, ok := t.event(s.last + 1)
				if s.last > 0 && ok && !t.visible(d.User, m.Seq) {
					return d, m
				}
			}
		}
	}
	return nil, nil
}

// late has a message that came before a removal be sent after its answer.
func (a *auditor) late() bool {
	for _, t := range a.talks {
		for user, commands := range t.commands {
			if len(commands) != len(t.changes[user]) {
				continue
			}
			for i, c := range commands {
				if s := a.before(t, t.changes[user][i].seq); s != nil && c.Change == chat.MemberRemoved && !c.Answered.IsZero() {
					s.Begun = c.Answered.Add(1)
					return true
				}
			}
		}
	}
	return false
}

// before returns a message below a seq.
func (a *auditor) before(t *talk, seq chat.Seq) *Send {
	for i := range t.history[:seq-1] {
		if s := a.contents[t.history[i].Content]; s != nil {
			return s
		}
	}
	return nil
}

// storedPlants are mistakes of what is stored and answered.
func storedPlants() []Plant {
	return []Plant{
		{"an acknowledged message vanishes from history", Kept, func(e *Evidence, a *auditor) bool {
			for _, n := range e.Answers {
				if t := a.talks[n.Conversation]; t != nil {
					e.vanish(t.ID, n.Seq)
					return true
				}
			}
			return false
		}},
		{"a message is stored twice", Once, func(e *Evidence, a *auditor) bool {
			return a.pair(func(before, m *wire.Message) { before.Content, before.SenderID = m.Content, m.SenderID })
		}},
		{"ids do not ascend", Ascending, func(e *Evidence, a *auditor) bool {
			return a.pair(func(before, m *wire.Message) { before.MessageID, m.MessageID = m.MessageID, before.MessageID })
		}},
		{"a retry is answered as if it were new", OneFirst, func(e *Evidence, _ *auditor) bool {
			i := slices.IndexFunc(e.Answers, func(n Answer) bool { return !n.Duplicate })
			if i < 0 {
				return false
			}
			e.Answers = append(e.Answers, e.Answers[i])
			return true
		}},
		{"a removal is in force after its answer only", InForce, func(_ *Evidence, a *auditor) bool { return a.late() }},
	}
}

// pair changes two messages of one history that stand side by side.
func (a *auditor) pair(change func(before, m *wire.Message)) bool {
	for _, t := range a.talks {
		for i := 1; i < len(t.history); i++ {
			if t.history[i-1].Event == nil && t.history[i].Event == nil {
				change(&t.history[i-1], &t.history[i])
				return true
			}
		}
	}
	return false
}

// vanish takes an event out of everybody's history, as if it had never been.
func (e *Evidence) vanish(id chat.ConversationID, seq chat.Seq) {
	for i := range e.Histories {
		h := &e.Histories[i]
		if h.Conversation != id {
			continue
		}
		h.Messages = slices.DeleteFunc(h.Messages, func(m wire.Message) bool { return m.Seq == seq })
		for j := range h.Messages {
			if h.Messages[j].Seq > seq {
				h.Messages[j].Seq--
			}
		}
	}
}

// shownPlants are mistakes of what is shown to devices.
func shownPlants() []Plant {
	return []Plant{
		{"an event is lost on the way to one device", Delivered, func(e *Evidence, _ *auditor) bool {
			d, i := e.seen(live)
			if d == nil {
				return false
			}
			m := d.Seen[i].Message
			lost := func(o *wire.Message) bool { return o.ConversationID == m.ConversationID && o.Seq == m.Seq }
			d.Seen = slices.DeleteFunc(d.Seen, func(s Sighting) bool { return lost(&s.Message) })
			d.Applied = slices.DeleteFunc(d.Applied, func(o wire.Message) bool { return lost(&o) })
			return true
		}},
		{"an event is pushed twice", InOrder, func(e *Evidence, _ *auditor) bool {
			d, i := e.seen(live)
			if d == nil {
				return false
			}
			d.Seen = slices.Insert(d.Seen, i, d.Seen[i])
			return true
		}},
		{"two events are pushed in another order", InOrder, func(e *Evidence, _ *auditor) bool {
			after := 0
			d, i := e.seen(func(d *Device, i int) bool {
				s := &d.Seen[i]
				after = i + 1 + slices.IndexFunc(d.Seen[i+1:], func(o Sighting) bool {
					return o.Way == Live && o.Connection == s.Connection && o.Message.ConversationID == s.Message.ConversationID
				})
				return live(d, i) && after > i
			})
			if d == nil {
				return false
			}
			d.Seen[i].Message, d.Seen[after].Message = d.Seen[after].Message, d.Seen[i].Message
			return true
		}},
		{"a message is altered on the way", Unaltered, func(e *Evidence, _ *auditor) bool {
			d, i := e.seen(live)
			if d == nil {
				return false
			}
			d.Seen[i].Message.Content += "!"
			return true
		}},
	}
}

// missedPlants are more of them, about who must be shown what.
func missedPlants() []Plant {
	return []Plant{
		{"a push is missing, and no behind tells", NotSilent, func(e *Evidence, a *auditor) bool {
			d, i := e.seen(func(d *Device, i int) bool {
				m := &d.Seen[i].Message
				s, t := a.contents[m.Content], a.talks[m.ConversationID]
				return live(d, i) && d.Seen[i].Connection == d.Last.Number && s != nil && s.Begun.After(d.Last.Connected) &&
					t != nil && !t.large(m.Seq) && m.SenderID != d.User &&
					!slices.ContainsFunc(d.Last.Behinds, s.Begun.Before)
			})
			if d == nil {
				return false
			}
			d.Seen[i].Way, d.Seen[i].Answer = Sync, -1
			return true
		}},
		{"an event is shown after the removal", Inside, func(_ *Evidence, a *auditor) bool {
			d, m := a.hidden()
			if d == nil {
				return false
			}
			d.Seen = append(d.Seen, Sighting{Way: Page, Answer: -1, Message: *m})
			return true
		}},
		{"an event is applied twice", AppliedOnce, func(e *Evidence, _ *auditor) bool {
			for _, d := range e.Devices {
				if n := len(d.Applied); n > 0 {
					d.Applied = append(d.Applied, d.Applied[n-1])
					return true
				}
			}
			return false
		}},
	}
}
