package fold

import (
	"bytes"
	"slices"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// member is someone who is in a conversation now.
type member struct {
	user chat.UserID
	role chat.Role
	span chat.Seq // where the present role began
	stay chat.Seq // where the unbroken membership began
}

// conversation is what decisions need of one: exactly what the archive holds of
// the records before the one at hand. Whether it was read or carried along
// makes no difference.
type conversation struct {
	id      chat.ConversationID
	tip     archive.Tip // zero: there is no such conversation
	kind    chat.Type
	members []member // ascending by user
	version chat.Seq // of the newest change of membership or role

	pending pending // what the batch at hand will write

	// Owned by the cache.
	newer, older *conversation
	weight       int
}

// pending gathers writes that later records of the same batch replace.
type pending struct {
	touched bool // stands in the decider's list
	// heads: every member's index row gets the tip when the batch ends.
	heads bool
	stays []archive.StayWrite // rows that are due in any case, each stay once
	at    map[stayKey]int     // where in stays; nil in the common case of none
	marks []archive.Watermark // each sender's once
}

// stayKey names a stay of a conversation.
type stayKey struct {
	user   chat.UserID
	joined chat.Seq
}

// remember fills a cold conversation from the archive's answers as of tip. Spans
// are ordered by user and Joined, and those of the future may be among them.
func (c *conversation) remember(tip archive.Tip, kind chat.Type, spans []archive.Span, f faults) {
	c.tip, c.kind, c.members, c.version = tip, kind, nil, 0
	candidate := tip.Seq + 1
	var before archive.Span
	var stay chat.Seq
	for _, s := range spans {
		if s.User != before.User || before.Left != s.Joined {
			stay = s.Joined
		}
		before = s
		counts := s.Counts(candidate)
		if f.liveMembership {
			counts = s.Left == 0
		}
		if counts {
			c.members = append(c.members, member{user: s.User, role: s.Role, span: s.Joined, stay: stay})
		}
		for _, seq := range [2]chat.Seq{s.Joined, s.Left} {
			if seq < candidate {
				c.version = max(c.version, seq)
			}
		}
	}
}

// find returns where u is, or would be, among the members.
func (c *conversation) find(u chat.UserID) (int, bool) {
	return slices.BinarySearchFunc(c.members, u, func(m member, u chat.UserID) int {
		return bytes.Compare(m.user[:], u[:])
	})
}

// member returns the member u, or nil. It is valid until the members change.
func (c *conversation) member(u chat.UserID) *member {
	if at, ok := c.find(u); ok {
		return &c.members[at]
	}
	return nil
}

// join adds a member; u must not be one.
func (c *conversation) join(m member) {
	at, _ := c.find(m.user)
	c.members = slices.Insert(c.members, at, m)
}

// leave takes u out, who must be a member.
func (c *conversation) leave(u chat.UserID) {
	at, _ := c.find(u)
	c.members = slices.Delete(c.members, at, at+1)
}

// admins returns how many admins there are.
func (c *conversation) admins() (n int) {
	for i := range c.members {
		if c.members[i].role == chat.Admin {
			n++
		}
	}
	return n
}

// longest returns the member whose stay began first, the smallest id among
// equals. There must be one.
func (c *conversation) longest() *member {
	first := &c.members[0]
	for i := range c.members {
		if c.members[i].stay < first.stay {
			first = &c.members[i]
		}
	}
	return first
}

// due sets the index row of a stay that this batch will write.
func (p *pending) due(w archive.StayWrite) {
	key := stayKey{w.User, w.Joined}
	if at, ok := p.at[key]; ok {
		p.stays[at] = w
		return
	}
	if p.at == nil {
		p.at = make(map[stayKey]int)
	}
	p.at[key] = len(p.stays)
	p.stays = append(p.stays, w)
}

// mark sets how far a sender has read.
func (p *pending) mark(w archive.Watermark) {
	for i := range p.marks {
		if p.marks[i].User == w.User && p.marks[i].Joined == w.Joined {
			p.marks[i] = w
			return
		}
	}
	p.marks = append(p.marks, w)
}
