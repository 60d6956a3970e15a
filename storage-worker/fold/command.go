package fold

import (
	"unicode/utf8"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// commander returns the member who gives a command to a group, or refuses: only
// groups take commands, and all but leaving takes an admin.
func (d *decider) commander(t *turn, leaving bool) *member {
	m := t.c.member(t.in.Sender)
	switch {
	case m == nil:
		t.refuse(chat.NotMember, notMember)
	case t.c.kind != chat.Group:
		t.refuse(chat.Forbidden, "a direct conversation has the members that it has")
	case !leaving && m.role != chat.Admin:
		t.refuse(chat.Forbidden, "only an admin may do this")
	default:
		return m
	}
	return nil
}

// setMember adds a user or gives a member another role.
func (d *decider) setMember(t *turn) {
	set := t.in.Set
	if set.User.IsZero() || set.Role > chat.Admin {
		t.refuse(chat.BadRequest, "the member or the role is missing or unknown")
		return
	}
	if d.commander(t, false) == nil {
		return
	}
	if m := t.c.member(set.User); m != nil {
		d.setRole(t, m, set.Role)
		return
	}
	if len(t.c.members) >= set.Limit {
		t.refuse(chat.ConversationFull, "the group has as many members as the limit allows")
		return
	}
	role := max(set.Role, chat.Member)
	before := len(t.c.members)
	e := d.store(t, chat.Entry{Kind: chat.KindEvent, Change: chat.MemberAdded, User: set.User, Role: role})
	d.open(t.c, e, set.User, role)
	if d.large(t.c) {
		t.c.pending.due(d.stay(t.c, t.c.member(set.User)))
	}
	d.publish(t, before)
}

// setRole gives the member m another role, unless the group would be left
// without an admin.
func (d *decider) setRole(t *turn, m *member, role chat.Role) {
	switch {
	case role == 0 || role == m.role:
		t.unchanged()
	case m.role == chat.Admin && t.c.admins() == 1:
		t.refuse(chat.Forbidden, "the last admin cannot become a member; leave to hand over")
	default:
		d.changeRole(t, m, role)
		d.publish(t, len(t.c.members))
	}
}

// changeRole stores the event that closes a span and opens the next one of the
// same stay.
func (d *decider) changeRole(t *turn, m *member, role chat.Role) {
	e := d.store(t, chat.Entry{Kind: chat.KindEvent, Change: chat.RoleChanged, User: m.user, Role: role})
	d.close(t.c, e, m)
	m.role, m.span = role, e.Seq
	d.opened(t.c, e, m)
}

// removeMember takes a user out, or lets one leave. When the last admin leaves
// others behind, the one who has been there longest becomes admin, by a second
// event of the same record.
func (d *decider) removeMember(t *turn) {
	user := t.in.Remove.User
	leaving := user == t.in.Sender
	if d.commander(t, leaving) == nil {
		return
	}
	m := t.c.member(user)
	if m == nil {
		t.refuse(chat.NotFound, "there is no such member")
		return
	}
	before, last := len(t.c.members), m.role == chat.Admin && t.c.admins() == 1
	e := d.store(t, chat.Entry{Kind: chat.KindEvent, Change: chat.MemberRemoved, User: user})
	d.close(t.c, e, m)
	gone := *m
	t.c.leave(user)
	t.c.pending.due(archive.StayWrite{
		Stay: archive.Stay{
			User: user, Conversation: t.c.id, Joined: gone.stay, Left: e.Seq,
			Head: t.c.tip, Large: d.large(t.c),
		},
		By: e.ID,
	})
	if last && len(t.c.members) > 0 {
		d.changeRole(t, t.c.longest(), chat.Admin)
	}
	d.publish(t, before)
}

// rename gives the group another name, the same one included: what it is called
// now is not asked.
func (d *decider) rename(t *turn) {
	name := t.in.Rename.Name
	if utf8.RuneCountInString(name) > chat.NameRunes {
		t.refuse(chat.BadRequest, "the name is too long")
		return
	}
	if d.commander(t, false) == nil {
		return
	}
	e := d.store(t, chat.Entry{Kind: chat.KindEvent, Change: chat.Renamed, Name: name})
	d.batch.Infos = append(d.batch.Infos, archive.InfoWrite{
		Conversation: t.c.id, Info: archive.Info{Name: name}, By: e.ID,
	})
	d.publish(t, len(t.c.members))
}
