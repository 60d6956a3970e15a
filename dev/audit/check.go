package audit

import (
	"slices"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// key is what makes the attempts of one message the same.
type key struct {
	user         chat.UserID
	conversation chat.ConversationID
	request      chat.RequestID
}

// place is one person in one conversation.
type place struct {
	user         chat.UserID
	conversation chat.ConversationID
}

// span is one stay of a member, both ends included. last is 0 while it lasts.
type span struct{ first, last chat.Seq }

// auditor holds the evidence by what it concerns.
type auditor struct {
	*Report
	evidence  *Evidence
	contents  map[string]*Send
	sends     map[chat.ConversationID][]*Send
	answers   map[key][]*Answer
	marks     map[place][]*Mark
	words     map[place][]*Word
	histories map[place]*History
	talks     map[chat.ConversationID]*talk
}

// talk is one conversation under examination.
type talk struct {
	Conversation
	history []wire.Message // the creator's; seq i+1 at i once it is dense
	version chat.Seq       // the newest change of membership
	spans   map[chat.UserID][]span
	changes map[chat.UserID][]change // by person, in order
	at      map[chat.RequestID]chat.Seq
	// sizes is how many members there were after each event.
	sizes    []int
	commands map[chat.UserID][]*Command
	standing map[chat.UserID]*wire.Member // what the list of members says in the end
}

// change is an event that added or removed somebody.
type change struct {
	chat.Change
	seq chat.Seq
}

// Check compares everything with everything.
func Check(e *Evidence) *Report {
	a := newAuditor(e)
	for _, t := range a.talks {
		a.conversation(t)
	}
	a.rosters()
	a.readings()
	for _, t := range a.talks {
		a.standings(t)
	}
	a.devices()
	for _, d := range e.Devices {
		a.hints(d)
	}
	a.lists()
	return a.Report
}

// newAuditor puts the evidence where it is looked up, and reads who was in which
// conversation when.
func newAuditor(e *Evidence) *auditor {
	a := &auditor{
		Report: newReport(), evidence: e,
		contents:  make(map[string]*Send, len(e.Sends)),
		sends:     make(map[chat.ConversationID][]*Send),
		answers:   make(map[key][]*Answer),
		marks:     make(map[place][]*Mark),
		words:     make(map[place][]*Word),
		histories: make(map[place]*History),
		talks:     make(map[chat.ConversationID]*talk, len(e.Conversations)),
	}
	a.sort()
	for _, c := range e.Conversations {
		if t := a.open(c); t != nil {
			a.talks[c.ID] = t
			t.follow()
		}
	}
	for i := range e.Commands {
		c := &e.Commands[i]
		if t := a.talks[c.Conversation]; t != nil {
			t.commands[c.User] = append(t.commands[c.User], c)
		}
	}
	return a
}

// sort makes the tables.
func (a *auditor) sort() {
	e := a.evidence
	for i := range e.Sends {
		s := &e.Sends[i]
		a.contents[s.Content] = s
		a.sends[s.Conversation] = append(a.sends[s.Conversation], s)
	}
	for i := range e.Answers {
		n := &e.Answers[i]
		k := key{n.User, n.Conversation, n.Request}
		a.answers[k] = append(a.answers[k], n)
	}
	for i := range e.Marks {
		m := &e.Marks[i]
		k := place{m.User, m.Conversation}
		a.marks[k] = append(a.marks[k], m)
	}
	for i := range e.Words {
		w := &e.Words[i]
		k := place{w.User, w.Conversation}
		a.words[k] = append(a.words[k], w)
	}
	for i := range e.Histories {
		h := &e.Histories[i]
		a.histories[place{h.User, h.Conversation}] = h
	}
}

// open reads the history that counts as the truth; nil if there is none.
func (a *auditor) open(c Conversation) *talk {
	h := a.histories[place{c.Creator, c.ID}]
	readable := h != nil && !h.Denied && len(h.Messages) > 0
	a.check(Readable, readable, "conversation %s", c.ID)
	if !readable {
		return nil
	}
	return &talk{
		Conversation: c, history: h.Messages,
		spans:   make(map[chat.UserID][]span),
		changes: make(map[chat.UserID][]change),
		at:      make(map[chat.RequestID]chat.Seq),

		commands: make(map[chat.UserID][]*Command), standing: make(map[chat.UserID]*wire.Member),
	}
}

// conversation checks one conversation as such.
func (a *auditor) conversation(t *talk) {
	for i := 1; i < len(t.sizes); i++ {
		if (t.sizes[i] > chat.LargeAbove) != (t.sizes[i-1] > chat.LargeAbove) {
			a.Crossings++
		}
	}
	a.order(t)
	a.origins(t)
	for _, s := range a.sends[t.ID] {
		a.answered(t, s)
	}
	a.obeyed(t)
	a.inForce(t)
	for user := range t.spans {
		a.reading(t, user)
	}
}

// order checks the numbers and ids of history.
func (a *auditor) order(t *talk) {
	for i := range t.history {
		m := &t.history[i]
		a.check(Dense, m.Seq == chat.Seq(i+1), "%s: place %d of history has seq %d", t.ID, i+1, m.Seq)
		a.check(Stamped, m.Timestamp == chat.ClockOf(m.MessageID).Unix(),
			"%s: seq %d has timestamp %d, its id says %d", t.ID, m.Seq, m.Timestamp, chat.ClockOf(m.MessageID).Unix())
		if i > 0 {
			a.check(Ascending, chat.CompareMessageIDs(t.history[i-1].MessageID, m.MessageID) < 0,
				"%s: seq %d has id %s, the one before it %s", t.ID, m.Seq, m.MessageID, t.history[i-1].MessageID)
		}
	}
}

// follow computes who was in the conversation when. An event that changes nothing,
// since the person is in or out already, is a change all the same: nobody's command
// may leave one.
func (t *talk) follow() {
	for _, u := range t.Members {
		t.spans[u] = []span{{first: 1}}
	}
	t.version = 1
	members := len(t.spans)
	for i := range t.history {
		m := &t.history[i]
		if m.Event != nil && m.Event.UserID != nil {
			members += t.change(m.Seq, m.Event)
		}
		t.sizes = append(t.sizes, members)
	}
}

// change takes an event that concerns somebody, and returns how many more members
// there are after it.
func (t *talk) change(seq chat.Seq, e *wire.Event) (more int) {
	user := *e.UserID
	spans := t.spans[user]
	inside := len(spans) > 0 && spans[len(spans)-1].last == 0
	switch e.Change {
	case chat.MemberAdded.String():
		if !inside {
			t.spans[user] = append(spans, span{first: seq})
			more = 1
		}
		t.changes[user] = append(t.changes[user], change{chat.MemberAdded, seq})
	case chat.MemberRemoved.String():
		if inside {
			spans[len(spans)-1].last = seq
			more = -1
		}
		t.changes[user] = append(t.changes[user], change{chat.MemberRemoved, seq})
	}
	t.version = max(t.version, e.MembersVersion)
	return more
}

// large reports whether an event was told of by heads: what counts is how many
// members there are after it.
func (t *talk) large(seq chat.Seq) bool {
	return seq > 1 && int(seq) <= len(t.sizes) && t.sizes[seq-1] > chat.LargeAbove
}

// head is the newest seq.
func (t *talk) head() chat.Seq { return chat.Seq(len(t.history)) }

// joined is where the present stay of a user began.
func (t *talk) joined(user chat.UserID) chat.Seq { return t.spans[user][len(t.spans[user])-1].first }

// visible reports whether a user may see an event.
func (t *talk) visible(user chat.UserID, seq chat.Seq) bool {
	return slices.ContainsFunc(t.spans[user], func(s span) bool {
		return s.first <= seq && (s.last == 0 || seq <= s.last)
	})
}

// view returns history as a user may see it.
func (t *talk) view(user chat.UserID) []wire.Message {
	var seen []wire.Message
	for i := range t.history {
		if t.visible(user, t.history[i].Seq) {
			seen = append(seen, t.history[i])
		}
	}
	return seen
}

// present reports whether a user is in the conversation at the end.
func (t *talk) present(user chat.UserID) bool {
	spans := t.spans[user]
	return len(spans) > 0 && spans[len(spans)-1].last == 0
}

// event returns the event with a seq, if history has it at its place.
func (t *talk) event(seq chat.Seq) (*wire.Message, bool) {
	if seq < 1 || int(seq) > len(t.history) || t.history[seq-1].Seq != seq {
		return nil, false
	}
	return &t.history[seq-1], true
}

// origins checks that history holds nothing that nobody sent, and nothing twice.
func (a *auditor) origins(t *talk) {
	for i := range t.history {
		m := &t.history[i]
		if m.Event != nil {
			continue
		}
		s := a.contents[m.Content]
		fits := s != nil && s.Conversation == t.ID && s.User == m.SenderID
		a.check(Sent, fits, "%s: nobody sent seq %d (%.60q by %s) here", t.ID, m.Seq, m.Content, m.SenderID)
		if !fits {
			continue
		}
		a.check(ByMember, t.visible(m.SenderID, m.Seq), "%s: seq %d is by %s; the memberships are %v", t.ID, m.Seq, m.SenderID, t.spans[m.SenderID])
		before, twice := t.at[s.Request]
		a.check(Once, !twice, "%s: request %s is at seq %d and %d", t.ID, s.Request, before, m.Seq)
		if !twice {
			t.at[s.Request] = m.Seq
		}
	}
}

// answered compares what the sender of a message was told with history.
func (a *auditor) answered(t *talk, s *Send) {
	seq, stored := t.at[s.Request]
	if s.Refused {
		a.check(NotRefused, !stored, "%s: request %s was refused and is at seq %d", t.ID, s.Request, seq)
	}
	answers := a.answers[key{s.User, t.ID, s.Request}]
	firsts := 0
	for i, n := range answers {
		if !n.Duplicate {
			firsts++
		}
		m, ok := t.event(n.Seq)
		a.check(Kept, ok && m.MessageID == n.Message && m.Content == s.Content && m.SenderID == s.User,
			"%s: request %s was acknowledged as seq %d, id %s; in history it is at seq %d", t.ID, s.Request, n.Seq, n.Message, seq)
		if i > 0 {
			a.check(SameAnswer, n.Seq == answers[0].Seq && n.Message == answers[0].Message,
				"%s: request %s was acknowledged as seq %d, id %s, and as seq %d, id %s",
				t.ID, s.Request, answers[0].Seq, answers[0].Message, n.Seq, n.Message)
		}
	}
	if len(answers) > 0 {
		a.check(OneFirst, firsts <= 1, "%s: request %s was acknowledged %d times as no duplicate", t.ID, s.Request, firsts)
	}
}

// reading compares the history that a user could read with the truth.
func (a *auditor) reading(t *talk, user chat.UserID) {
	h := a.histories[place{user, t.ID}]
	if h == nil {
		return
	}
	if !t.present(user) {
		a.check(Closed, h.Denied, "%s: %s left and can read %d events", t.ID, user, len(h.Messages))
		return
	}
	want := t.view(user)
	a.check(SameHistory, len(h.Messages) == len(want),
		"%s: %s reads %d events of %d", t.ID, user, len(h.Messages), len(want))
	for i := range min(len(want), len(h.Messages)) {
		a.check(SameHistory, h.Messages[i].Seq == want[i].Seq && same(&h.Messages[i], &want[i]) &&
			h.Messages[i].MessageID == want[i].MessageID,
			"%s: %s reads seq %d at place %d, where seq %d is", t.ID, user, h.Messages[i].Seq, i+1, want[i].Seq)
		a.mark(user, &h.Messages[i])
	}
}
