package roster

import (
	"bytes"
	"slices"

	"switchboard/internal/chat"
)

// Versions are the guards of a conversation as they are stored.
type Versions struct {
	Members chat.Seq // of the newest event that is in the members' rows
	Name    chat.Seq // of the newest event that is in the name
}

// Begun is a conversation that a batch creates. A store puts its row there, with
// zero versions and no name, unless it has one; only then are versions locked and
// read and a [Plan] made. So two that create it at the same time meet at the row.
type Begun struct {
	ID      chat.ConversationID
	Type    chat.Type
	Created chat.Clock
}

// ConversationRow is what is written to a conversation's row, which is there.
type ConversationRow struct {
	ID       chat.ConversationID
	Updated  chat.Clock
	Renamed  bool // Name counts
	Name     string
	Versions Versions
}

// MemberKey names a member's row.
type MemberKey struct {
	Conversation chat.ConversationID
	User         chat.UserID
}

// MemberRow is a member to be written.
type MemberRow struct {
	MemberKey
	Role   chat.Role
	Joined chat.Clock
}

// RoleRow is a role to be written to a member's row, which keeps the rest.
type RoleRow struct {
	MemberKey
	Role chat.Role
}

// Plan is what a batch comes to: each row at most once in one of the lists, so
// that a store may write each list by one statement and in any order. The lists
// are ordered by key.
type Plan struct {
	Conversations []ConversationRow
	Removed       []MemberKey // to be deleted
	Members       []MemberRow // to be inserted, or to replace what is there
	Roles         []RoleRow   // to be updated where there is a row
}

// Created returns the conversations that the changes create, each once, ascending:
// a store that takes its locks in this order cannot meet another crosswise.
func Created(changes []Change) []Begun {
	var begun []Begun
	for i := range changes {
		if c := &changes[i]; c.What == chat.Created {
			begun = append(begun, Begun{ID: c.Conversation, Type: c.Type, Created: c.At})
		}
	}
	slices.SortStableFunc(begun, func(a, b Begun) int { return compareConversations(a.ID, b.ID) })
	return slices.CompactFunc(begun, func(a, b Begun) bool { return a.ID == b.ID })
}

// Named returns the conversations that the changes name, each once, ascending:
// those whose versions a store locks and reads before it asks for a [Plan].
func Named(changes []Change) []chat.ConversationID {
	ids := make([]chat.ConversationID, 0, len(changes))
	for i := range changes {
		ids = append(ids, changes[i].Conversation)
	}
	slices.SortFunc(ids, compareConversations)
	return slices.Compact(ids)
}

func compareConversations(a, b chat.ConversationID) int { return bytes.Compare(a[:], b[:]) }

func compareKeys(a, b MemberKey) int {
	if c := compareConversations(a.Conversation, b.Conversation); c != 0 {
		return c
	}
	return bytes.Compare(a.User[:], b.User[:])
}

// effect is what becomes of one member's row.
type effect struct {
	gone   bool
	joined bool // the row is written whole
	role   chat.Role
	at     chat.Clock
}

// planner builds a plan.
type planner struct {
	rows    map[chat.ConversationID]*ConversationRow
	effects map[MemberKey]effect
	unknown []chat.ConversationID
}

// NewPlan says what the changes come to for a store whose conversations have
// the given versions. It returns an [UnknownError] when the changes name one that
// is not among them.
func NewPlan(changes []Change, known map[chat.ConversationID]Versions) (Plan, error) {
	p := planner{
		rows:    make(map[chat.ConversationID]*ConversationRow, len(known)),
		effects: make(map[MemberKey]effect),
	}
	for id, v := range known {
		p.rows[id] = &ConversationRow{ID: id, Versions: v}
	}
	for i := range changes {
		p.change(&changes[i])
	}
	if len(p.unknown) > 0 {
		slices.SortFunc(p.unknown, compareConversations)
		return Plan{}, &UnknownError{Conversations: slices.Compact(p.unknown)}
	}
	return p.plan(known), nil
}

// change folds one change into what is planned.
func (p *planner) change(c *Change) {
	row := p.rows[c.Conversation]
	if row == nil {
		p.unknown = append(p.unknown, c.Conversation)
		return
	}
	if c.What == chat.Created || c.What == chat.Renamed {
		p.rename(row, c)
	}
	if c.What != chat.Renamed && c.What != chat.ChangeNone && c.Seq > row.Versions.Members {
		p.membership(row, c)
	}
}

func (p *planner) rename(row *ConversationRow, c *Change) {
	if c.Seq <= row.Versions.Name {
		return
	}
	row.Renamed, row.Name, row.Versions.Name = true, Name(c.Name), c.Seq
	row.Updated = max(row.Updated, c.At)
}

func (p *planner) membership(row *ConversationRow, c *Change) {
	row.Versions.Members = c.Seq
	row.Updated = max(row.Updated, c.At)
	key := MemberKey{c.Conversation, c.User}
	switch c.What {
	case chat.Created:
		for _, u := range c.Added {
			role := chat.Member
			if c.Type == chat.Group && u == c.Creator {
				role = chat.Admin
			}
			p.effects[MemberKey{c.Conversation, u}] = effect{joined: true, role: role, at: c.At}
		}
	case chat.MemberAdded:
		p.effects[key] = effect{joined: true, role: c.Role, at: c.At}
	case chat.MemberRemoved:
		p.effects[key] = effect{gone: true}
	case chat.RoleChanged:
		e := p.effects[key]
		e.role = c.Role
		p.effects[key] = e
	case chat.Renamed, chat.ChangeNone: // Not about members.
	}
}

// plan puts what was folded into lists.
func (p *planner) plan(known map[chat.ConversationID]Versions) Plan {
	var plan Plan
	for id, row := range p.rows {
		if row.Versions != known[id] {
			plan.Conversations = append(plan.Conversations, *row)
		}
	}
	for key, e := range p.effects {
		switch {
		case e.gone:
			plan.Removed = append(plan.Removed, key)
		case e.joined:
			plan.Members = append(plan.Members, MemberRow{MemberKey: key, Role: e.role, Joined: e.at})
		default:
			plan.Roles = append(plan.Roles, RoleRow{MemberKey: key, Role: e.role})
		}
	}
	slices.SortFunc(plan.Conversations, func(a, b ConversationRow) int { return compareConversations(a.ID, b.ID) })
	slices.SortFunc(plan.Removed, compareKeys)
	slices.SortFunc(plan.Members, func(a, b MemberRow) int { return compareKeys(a.MemberKey, b.MemberKey) })
	slices.SortFunc(plan.Roles, func(a, b RoleRow) int { return compareKeys(a.MemberKey, b.MemberKey) })
	return plan
}
