package fanout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
)

// recordedMax bounds how many changes of membership are kept while a list is
// being read. Beyond it the list is read again.
const recordedMax = 4096

// attendee is a member and when the present stay began.
type attendee struct {
	user   chat.UserID
	joined chat.Clock
}

// members is who is in a conversation: a list that the roster gave, carried on by
// what the log says.
//
// Of everybody whom the log has mentioned since the list was read it says what is
// so at that place of the log. The roster may have been ahead of it: then somebody
// who leaves later is missing, which costs a hint, and somebody who joins later is
// there, and told apart by when that was.
type members struct {
	version chat.Seq // the newest change that is in it for certain
	list    []attendee
}

// change is one change of membership, as the log has it.
type change struct {
	seq  chat.Seq
	what chat.Change
	user chat.UserID
	at   chat.Clock
}

// changeOf returns the change of membership that an event is; ok is false for any
// other event.
func changeOf(e *bus.Event) (c change, ok bool) {
	switch e.Change {
	case chat.MemberAdded, chat.MemberRemoved, chat.RoleChanged:
		return change{seq: e.Seq, what: e.Change, user: e.User, at: chat.ClockOf(e.ID)}, true
	default:
		return change{}, false
	}
}

// apply brings the list forward. What is not above its version is in it, or
// comes again because the passage went back.
func (m *members) apply(c change) {
	if c.seq <= m.version {
		return
	}
	m.version = c.seq
	if c.what == chat.RoleChanged {
		return
	}
	m.list = slices.DeleteFunc(m.list, func(a attendee) bool { return a.user == c.user })
	if c.what == chat.MemberAdded {
		m.list = append(m.list, attendee{c.user, c.at})
	}
}

// since returns those whose stay covers an event with the clock at.
func (m *members) since(at chat.Clock) []chat.UserID {
	users := make([]chat.UserID, 0, len(m.list))
	for _, a := range m.list {
		if a.joined <= at {
			users = append(users, a.user)
		}
	}
	return users
}

// reading is a list on its way from the roster. The list has to be at least base,
// the version when the reading began; what changes meanwhile is applied to it
// when it is there. So constant coming and going cannot keep it from arriving.
type reading struct {
	base    chat.Seq
	changes []change
	void    bool // the list must be read again
}

func (r *reading) record(c change) {
	switch {
	case c.seq <= r.base:
	case len(r.changes) == recordedMax:
		r.void = true
	default:
		r.changes = append(r.changes, c)
	}
}

// done makes the list of what the roster answered.
func (r *reading) done(list []attendee) *members {
	m := &members{version: r.base, list: list}
	for _, c := range r.changes {
		m.apply(c)
	}
	return m
}

// oldError says that the roster has not heard yet of what happened.
type oldError struct{ got, want chat.Seq }

func (e oldError) Error() string {
	return fmt.Sprintf("the roster is at version %d, and %d is needed", e.got, e.want)
}

// list reads the members of a conversation, as of base or later.
func (r *Router) list(ctx context.Context, c chat.ConversationID, base chat.Seq) ([]attendee, error) {
	select {
	case r.reading <- struct{}{}:
		defer func() { <-r.reading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, ListTimeout)
	defer cancel()
	defer r.heads.listSeconds.UpdateDuration(time.Now())
	rows, version, err := r.cfg.Roster.List(ctx, c)
	if err != nil {
		return nil, err
	}
	if version < base {
		return nil, oldError{version, base}
	}
	list := make([]attendee, len(rows))
	for i, m := range rows {
		list[i] = attendee{m.User, m.Joined}
	}
	return list, nil
}
