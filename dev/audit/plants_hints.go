package audit

import (
	"slices"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// markPlants are mistakes of how far people have come.
func markPlants() []Plant {
	return []Plant{
		{"a mark is told after a higher one", StatusForward, func(e *Evidence, _ *auditor) bool {
			d, h := e.hinted(func(_ *Device, h *Hint) bool { return h.Status != nil && h.Status.Seq > 1 })
			if d == nil {
				return false
			}
			lower, again := *h.Status, *h
			lower.Seq--
			again.Status = &lower
			d.Hints = append(d.Hints, again)
			return true
		}},
		{"a mark is told to a stranger", StatusInside, func(e *Evidence, a *auditor) bool {
			var stranger *Device
			d, h := e.hinted(func(_ *Device, h *Hint) bool {
				stranger = nil
				if h.Status != nil {
					stranger = a.stranger(h.Status.ConversationID)
				}
				return stranger != nil
			})
			if d == nil {
				return false
			}
			stranger.Hints = append(stranger.Hints, *h)
			return true
		}},
		{"a mark is lost", MarkKept, func(e *Evidence, a *auditor) bool {
			for i := range e.Rosters {
				r := &e.Rosters[i]
				for j := range r.Members {
					m := &r.Members[j]
					if t := a.talks[r.Conversation]; t != nil && t.present(m.UserID) && m.ReadSeq > t.joined(m.UserID) {
						m.ReadSeq--
						return true
					}
				}
			}
			return false
		}},
		{"a mark moves back for a while", MarkForward, func(e *Evidence, _ *auditor) bool {
			for i := range e.Rosters {
				r := e.Rosters[i]
				if len(r.Members) == 0 || r.Members[0].DeliveredSeq < 2 {
					continue
				}
				e.Readings = append(e.Readings, r)
				r.Members = slices.Clone(r.Members)
				r.Members[0].ReadSeq, r.Members[0].DeliveredSeq = 1, 1
				e.Readings = append(e.Readings, r)
				return true
			}
			return false
		}},
		{"unread is miscounted", Unread, func(e *Evidence, _ *auditor) bool {
			for i := range e.Lists {
				if l := &e.Lists[i]; len(l.Conversations) > 0 {
					l.Conversations[0].Unread++
					return true
				}
			}
			return false
		}},
	}
}

// headPlants are mistakes of what is told of large conversations.
func headPlants() []Plant {
	head := func(_ *Device, h *Hint) bool { return h.Head != nil }
	return []Plant{
		{"a head carries another message", HeadTrue, func(e *Evidence, _ *auditor) bool {
			d, h := e.hinted(func(_ *Device, h *Hint) bool { return h.Head != nil && h.Head.Message != nil })
			if d == nil {
				return false
			}
			u, m := *h.Head, *h.Head.Message
			m.Content += "!"
			u.Message, h.Head = &m, &u
			return true
		}},
		{"a head is told after a higher one", HeadForward, func(e *Evidence, _ *auditor) bool {
			d, h := e.hinted(head)
			if d == nil {
				return false
			}
			higher, again := *h.Head, *h
			higher.HeadSeq++
			h.Head = &higher
			d.Hints = append(d.Hints, again)
			return true
		}},
		{"a head is told to somebody who had left", HeadInside, func(_ *Evidence, a *auditor) bool {
			d, m := a.hidden()
			if d == nil {
				return false
			}
			d.Hints = append(d.Hints, Hint{Head: &wire.ConversationUpdated{ConversationID: m.ConversationID, HeadSeq: m.Seq}})
			return true
		}},
		{"a storm of heads", HeadPace, func(e *Evidence, a *auditor) bool {
			d, h := e.hinted(head)
			if d == nil {
				return false
			}
			d.Hints = append(slices.Repeat([]Hint{*h}, 2*a.ahead()), d.Hints...)
			return true
		}},
		{"a message of a large conversation is pushed to all", HeadInstead, func(e *Evidence, a *auditor) bool {
			d, i := e.seen(func(d *Device, i int) bool {
				s := &d.Seen[i]
				return (s.Way == Carried || s.Way == Page) && s.Message.Event == nil && s.Message.SenderID != d.User &&
					a.talks[s.Message.ConversationID].large(s.Message.Seq)
			})
			if d == nil {
				return false
			}
			d.Seen[i].Way = Live
			return true
		}},
	}
}

// hintPlants are mistakes of what is fleeting.
func hintPlants() []Plant {
	return []Plant{
		{"typing is told to a stranger", TypingInside, func(e *Evidence, a *auditor) bool {
			for _, c := range e.Conversations {
				if d := a.stranger(c.ID); d != nil {
					d.Hints = append(d.Hints, Hint{Typing: &wire.Typing{ConversationID: c.ID, UserID: c.Creator, IsTyping: true}})
					return true
				}
			}
			return false
		}},
		{"somebody is called offline who is connected", NotGone, func(e *Evidence, a *auditor) bool {
			for _, d := range e.Devices {
				for _, l := range d.Links {
					at := l.Connected.Add(2 * grace)
					for a.frozen(at) {
						at = at.Add(grace)
					}
					peer := a.acquainted(d.User, true)
					if l.Connected.IsZero() || peer == nil || !l.Closed.IsZero() && l.Closed.Before(at) {
						continue
					}
					peer.Hints = append(peer.Hints, Hint{At: at, Presence: &wire.Presence{UserID: d.User, Status: chat.Offline.String()}})
					return true
				}
			}
			return false
		}},
		{"coming is told to a stranger", PeersOnly, func(e *Evidence, a *auditor) bool {
			for _, d := range e.Devices {
				if other := a.acquainted(d.User, false); other != nil {
					other.Hints = append(other.Hints, Hint{Presence: &wire.Presence{UserID: d.User, Status: chat.Online.String()}})
					return true
				}
			}
			return false
		}},
	}
}

// acquainted returns a device of somebody else who has, or has not, a direct
// conversation with a user.
func (a *auditor) acquainted(user chat.UserID, has bool) *Device {
	for _, d := range a.evidence.Devices {
		if d.User != user && a.peers(d.User, user) == has {
			return d
		}
	}
	return nil
}
