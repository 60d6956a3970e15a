package audit

import (
	"slices"
	"time"

	"switchboard/internal/chat"
)

// obeyed checks that every answered command left one event, in the order of the
// commands, and nothing else did. One whose fate is unknown may have left one or
// none, and then nothing can be said of the order of those after it.
func (a *auditor) obeyed(t *talk) {
	for user, changes := range t.changes {
		a.check(Obeyed, len(changes) <= len(t.commands[user]),
			"%s: %d changes of %s were asked for, history has %d", t.ID, len(t.commands[user]), user, len(changes))
	}
	for user, commands := range t.commands {
		changes := t.changes[user]
		unknown := slices.ContainsFunc(commands, func(c *Command) bool { return c.Answered.IsZero() })
		if unknown {
			continue
		}
		a.check(Obeyed, len(changes) >= len(commands),
			"%s: %d changes of %s were answered, history has %d", t.ID, len(commands), user, len(changes))
		for i := range min(len(changes), len(commands)) {
			a.check(Obeyed, changes[i].Change == commands[i].Change,
				"%s: change %d of %s was %s, history has %s", t.ID, i+1, user, commands[i].Change, changes[i].Change)
		}
	}
}

// outside reports whether a user was certainly no member at a moment, and since
// when: the zero time for somebody who had never been one.
func (t *talk) outside(user chat.UserID, at time.Time) (since time.Time, out bool) {
	out = len(t.spans[user]) == 0 || t.spans[user][0].first > 1
	for _, c := range t.commands[user] {
		if c.Begun.After(at) {
			break
		}
		out = c.Change == chat.MemberRemoved && !c.Answered.IsZero() && c.Answered.Before(at)
		since = c.Answered
	}
	return since, out
}

// inForce goes by the clock of whoever gave the command: what was sent after the
// answer comes after the change, and what was answered before the command was given
// comes before it.
func (a *auditor) inForce(t *talk) {
	for user, commands := range t.commands {
		changes := t.changes[user]
		if len(changes) != len(commands) {
			continue // obeyed has said so
		}
		for i, c := range commands {
			for _, s := range a.sends[t.ID] {
				a.side(t, c, changes[i].seq, s)
			}
		}
	}
}

// side checks that a message is on the proper side of a change.
func (a *auditor) side(t *talk, c *Command, seq chat.Seq, s *Send) {
	at, stored := t.at[s.Request]
	if !stored {
		return
	}
	if !c.Answered.IsZero() && s.Begun.After(c.Answered) {
		a.check(InForce, at > seq, "%s: request %s was sent after %s of %s (seq %d) was answered, and is at seq %d",
			t.ID, s.Request, c.Change, c.User, seq, at)
	}
	for _, n := range a.answers[key{s.User, t.ID, s.Request}] {
		if n.At.Before(c.Begun) {
			a.check(InForce, at < seq, "%s: request %s was answered before %s of %s (seq %d) was asked, and is at seq %d",
				t.ID, s.Request, c.Change, c.User, seq, at)
			return
		}
	}
}

// rosters compares the lists of members with the events.
func (a *auditor) rosters() {
	for i := range a.evidence.Rosters {
		r := &a.evidence.Rosters[i]
		t := a.talks[r.Conversation]
		if t == nil {
			continue
		}
		a.check(SameRoster, r.Version == t.version, "%s: members_version %d, the events say %d", t.ID, r.Version, t.version)
		for j := range r.Members {
			m := &r.Members[j]
			t.standing[m.UserID] = m
			a.check(SameRoster, t.present(m.UserID), "%s: %s is listed, and no event added them", t.ID, m.UserID)
		}
		for user := range t.spans {
			_, listed := t.standing[user]
			a.check(SameRoster, listed == t.present(user),
				"%s: whether %s is a member: events say %t", t.ID, user, t.present(user))
		}
	}
}
