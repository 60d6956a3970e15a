package audit

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

var (
	anna, boris, clara = chat.DemoUser("anna"), chat.DemoUser("boris"), chat.DemoUser("clara")
	start              = time.Unix(1_800_000_000, 0)
	group              = chat.GroupConversation(anna, request(0))
)

func request(n int) (r chat.RequestID) {
	r[0], r[15] = 0xb0, byte(n)
	return r
}

// at is the moment of the n-th thing that happens.
func at(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }

// run makes evidence of a flawless run, event by event.
type run struct {
	Evidence
	id      chat.ConversationID
	words   string // what messages begin with
	history []wire.Message
	members []chat.UserID
}

func (r *run) event(e wire.Message) wire.Message {
	n := len(r.history) + 1
	e.Seq, e.ConversationID = chat.Seq(n), r.id
	e.MessageID = chat.NewMessageID(chat.ClockAt(at(n).Unix()), 1, 0)
	e.Timestamp = at(n).Unix()
	r.history = append(r.history, e)
	return e
}

// show shows an event to both devices of whoever is there, in the form in which
// it is pushed.
func (r *run) show(e wire.Message, users ...chat.UserID) {
	for _, d := range r.Devices {
		if !slices.Contains(users, d.User) {
			continue
		}
		m := e
		if m.Event != nil {
			m.MessageID, m.SenderID, m.Timestamp = chat.MessageID{}, chat.UserID{}, 0
		}
		if m.Event == nil && m.SenderID == d.User {
			for _, s := range r.Sends {
				if s.Content == m.Content {
					m.ClientMessageID = &s.Request
				}
			}
		}
		d.Seen = append(d.Seen, Sighting{At: at(len(r.history)), Way: Live, Connection: 1, Message: m})
		d.Applied = append(d.Applied, m)
	}
}

func (r *run) say(who chat.UserID) {
	n := len(r.history) + 1
	s := Send{User: who, Conversation: r.id, Request: request(n), Content: fmt.Sprintf("%s %d", r.words, n), Begun: at(n)}
	r.Sends = append(r.Sends, s)
	e := r.event(wire.Message{SenderID: who, Content: s.Content, Type: "text"})
	r.Answers = append(r.Answers, Answer{
		User: who, Conversation: r.id, Request: s.Request, Message: e.MessageID, Seq: e.Seq, At: at(n).Add(time.Millisecond),
	})
	r.show(e, r.members...)
}

func (r *run) change(what chat.Change, who chat.UserID) {
	n := len(r.history) + 1
	e := r.event(wire.Message{SenderID: anna, Type: "event", Event: &wire.Event{
		Change: what.String(), UserID: &who, MembersVersion: chat.Seq(n),
	}})
	r.Commands = append(r.Commands, Command{
		Conversation: r.id, User: who, Change: what, Begun: at(n), Answered: at(n).Add(time.Millisecond),
	})
	if what == chat.MemberAdded {
		r.members = append(r.members, who)
	}
	r.show(e, r.members...)
	if what == chat.MemberRemoved {
		r.members = slices.DeleteFunc(slices.Clone(r.members), func(u chat.UserID) bool { return u == who })
	}
}

// resume has a device be told again what it saw from a seq on, by /sync and by a
// page, as if it had forgotten it.
func (r *run) resume(d *Device, from chat.Seq) {
	pushed := slices.Clone(d.Seen)
	for i, way := range []Way{Sync, Page} {
		for _, s := range pushed {
			if s.Message.Seq >= from {
				s.Way, s.Answer, s.Have = way, i+1, from-1
				d.Seen = append(d.Seen, s)
			}
		}
	}
}

// sound is a run without a fault: clara comes at seq 4, goes at seq 6 and is back
// from seq 9 on.
func sound() *run {
	r := &run{id: group, words: "message", members: []chat.UserID{anna, boris}}
	r.Conversations = []Conversation{{ID: group, Creator: anna, Members: r.members}}
	for _, u := range []chat.UserID{anna, boris, clara} {
		r.Devices = append(r.Devices,
			&Device{User: u, Name: "phone", Last: Connection{Number: 1, Connected: start}, Links: []Link{{Connected: start}}},
			&Device{User: u, Name: "laptop", Last: Connection{Number: 1, Connected: start}, Links: []Link{{Connected: start}}})
	}
	r.show(r.event(wire.Message{SenderID: anna, Type: "event", Event: &wire.Event{Change: "created", MembersVersion: 1}}), r.members...)
	r.say(anna)
	r.say(boris)
	r.change(chat.MemberAdded, clara)
	r.say(clara)
	r.change(chat.MemberRemoved, clara)
	r.say(boris)
	r.say(anna)
	r.change(chat.MemberAdded, clara)
	r.say(clara)
	t := r.talk()
	for _, u := range []chat.UserID{anna, boris, clara} {
		view := t.view(u)
		for i := range view {
			for _, s := range r.Sends {
				if view[i].SenderID == u && view[i].Content == s.Content {
					view[i].ClientMessageID = &s.Request
				}
			}
		}
		r.Histories = append(r.Histories, History{User: u, Conversation: group, Messages: view})
	}
	r.resume(r.Devices[3], 7)
	r.Rosters = []Roster{{Conversation: group, Version: 9, Members: []wire.Member{
		{UserID: anna, ReadSeq: 8, DeliveredSeq: 8}, {UserID: boris, ReadSeq: 7, DeliveredSeq: 7}, {UserID: clara, ReadSeq: 10, DeliveredSeq: 10},
	}}}
	for u, c := range map[chat.UserID]wire.Conversation{anna: {ReadSeq: 8, Unread: 1}, boris: {ReadSeq: 7, Unread: 2}, clara: {ReadSeq: 10}} {
		c.ID, c.HeadSeq, c.MembersCount = group, 10, 3
		r.Lists = append(r.Lists, List{User: u, Conversations: []wire.Conversation{c}})
	}
	return r
}

// talk is the run's conversation as the auditor opens it.
func (r *run) talk() *talk {
	t := &talk{Conversation: r.Conversations[0], history: r.history, spans: map[chat.UserID][]span{}, changes: map[chat.UserID][]change{}}
	t.follow()
	return t
}

func TestFlawlessRunHasNoViolation(t *testing.T) {
	report := Check(&sound().Evidence)
	for _, v := range report.Violations {
		t.Error(v)
	}
	for _, o := range []Obligation{
		Readable, Dense, Ascending, Stamped, Sent, ByMember, Once, Kept, OneFirst, SameHistory,
		Delivered, NotSilent, Inside, Unaltered, OwnMark, InOrder, Fresh, AppliedOnce, Obeyed, InForce, SameRoster, Listed, OwnRead, Unread,
	} {
		if report.Checked[o] == 0 {
			t.Errorf("never checked: %s", o)
		}
	}
	if report.Obligations() < 200 {
		t.Errorf("%d checks are too few to mean something:\n%s", report.Obligations(), report.Table())
	}
}

// drop removes the sighting of a seq.
func drop(d *Device, seq chat.Seq) {
	d.Seen = slices.DeleteFunc(d.Seen, func(s Sighting) bool { return s.Message.Seq == seq })
}

// renumber takes an event out of everybody's history, as if it had never been.
func (r *run) renumber(seq chat.Seq) {
	for i := range r.Histories {
		h := &r.Histories[i]
		h.Messages = slices.DeleteFunc(h.Messages, func(m wire.Message) bool { return m.Seq == seq })
		for j := range h.Messages {
			if h.Messages[j].Seq > seq {
				h.Messages[j].Seq--
			}
		}
	}
}

// fault is something that a chat system can do wrong, planted into a flawless run.
type fault struct {
	plant func(r *run)
	want  Obligation // the promise that it breaks
}

// Anna's devices are 0 and 1, boris's 2 and 3, clara's 4 and 5.
const phone, laptop = 0, 1

// Faults of what is stored and answered.
var storedWrong = map[string]fault{
	"acknowledged and missing":      {func(r *run) { r.renumber(8) }, Kept},
	"acknowledged with a wrong seq": {func(r *run) { r.Answers[0].Seq++ }, Kept},
	"acknowledged with a wrong id":  {func(r *run) { r.Answers[0].Message = r.Answers[1].Message }, Kept},
	"two seqs for one client_message_id": {func(r *run) {
		again := r.Answers[1]
		again.Seq, again.Duplicate = 2, true
		r.Answers = append(r.Answers, again)
	}, SameAnswer},
	"a retry answered as if it were new": {func(r *run) { r.Answers = append(r.Answers, r.Answers[1]) }, OneFirst},
	"stored twice": {func(r *run) {
		r.Histories[0].Messages[2].Content = "message 2"
		r.Histories[0].Messages[2].SenderID = anna
	}, Once},
	"refused and stored":          {func(r *run) { r.Sends[2].Refused = true }, NotRefused},
	"never sent":                  {func(r *run) { r.Sends = r.Sends[1:] }, Sent},
	"stored under a wrong sender": {func(r *run) { r.Histories[0].Messages[1].SenderID = boris }, Sent},
	"a hole in seq":               {func(r *run) { r.Histories[0].Messages = slices.Delete(r.Histories[0].Messages, 2, 3) }, Dense},
	"ids do not ascend": {func(r *run) {
		h := r.Histories[0].Messages
		h[1].MessageID, h[2].MessageID = h[2].MessageID, h[1].MessageID
	}, Ascending},
	"another time than the id's": {func(r *run) { r.Histories[0].Messages[1].Timestamp += 2 }, Stamped},
	"history cannot be read":     {func(r *run) { r.Histories[0].Denied = true }, Readable},
	"histories differ in order": {func(r *run) {
		h := r.Histories[1].Messages
		h[6], h[7] = h[7], h[6]
	}, SameHistory},
	"histories differ in length": {func(r *run) { r.Histories[1].Messages = r.Histories[1].Messages[:9] }, SameHistory},
	"a member reads what came before": {func(r *run) {
		r.Histories[2].Messages = append(r.history[1:2:2], r.Histories[2].Messages...)
	}, SameHistory},
}

// Faults of what is shown to devices.
var shownWrong = map[string]fault{
	"lost on the way to one device": {func(r *run) { drop(r.Devices[laptop], 3) }, Delivered},
	"not pushed, and no behind":     {func(r *run) { r.Devices[laptop].Seen[2].Way = Sync }, NotSilent},
	"not pushed, and behind too early": {func(r *run) {
		r.Devices[laptop].Seen[2].Way = Page
		r.Devices[laptop].Last.Behinds = []time.Time{at(2)}
	}, NotSilent},
	"delivered twice on a connection": {func(r *run) {
		d := r.Devices[phone]
		d.Seen = append(d.Seen, d.Seen[len(d.Seen)-1])
	}, InOrder},
	"delivered in another order": {func(r *run) {
		d := r.Devices[phone]
		d.Seen[1], d.Seen[2] = d.Seen[2], d.Seen[1]
	}, InOrder},
	"synced again": {func(r *run) {
		seen := r.Devices[3].Seen // Two answers, with seq 7 to 10.
		for i := range seen {
			if seen[i].Way == Sync {
				seen[i].Have = 8
			}
		}
	}, Fresh},
	"twice in one answer": {func(r *run) {
		d := r.Devices[3]
		d.Seen = append(d.Seen, d.Seen[len(d.Seen)-1])
	}, Fresh},
	"a page in another order": {func(r *run) {
		seen := r.Devices[3].Seen
		n := len(seen)
		seen[n-2], seen[n-1] = seen[n-1], seen[n-2]
	}, Fresh},
	"delivered after the removal": {func(r *run) {
		r.Devices[4].Seen = append(r.Devices[4].Seen, Sighting{Way: Sync, Message: r.history[6]})
	}, Inside},
	"delivered before the joining": {func(r *run) {
		r.Devices[4].Seen = append(r.Devices[4].Seen, Sighting{Way: Page, Message: r.history[1]})
	}, Inside},
	"delivered to a stranger": {func(r *run) {
		r.Devices = append(r.Devices, &Device{User: chat.DemoUser("dave"), Seen: []Sighting{{Way: Live, Message: r.history[1]}}})
	}, Inside},
	"delivered from a conversation that nobody made": {func(r *run) {
		m := r.history[1]
		m.ConversationID = chat.GroupConversation(boris, request(99))
		r.Devices[phone].Seen = append(r.Devices[phone].Seen, Sighting{Way: Live, Message: m})
	}, Inside},
	"content altered on the way": {func(r *run) { r.Devices[phone].Seen[2].Message.Content += "!" }, Unaltered},
	"another id on the way":      {func(r *run) { r.Devices[phone].Seen[2].Message.MessageID = r.history[1].MessageID }, Unaltered},
	"another member in the event": {func(r *run) {
		e := *r.Devices[phone].Seen[3].Message.Event
		e.UserID = &boris
		r.Devices[phone].Seen[3].Message.Event = &e
	}, Unaltered},
	"client_message_id told to others": {func(r *run) {
		id := request(2)
		r.Devices[2].Seen[1].Message.ClientMessageID = &id
	}, OwnMark},
	"client_message_id kept from the sender's other device": {func(r *run) {
		r.Devices[laptop].Seen[1].Message.ClientMessageID = nil
	}, OwnMark},
	"applied twice": {func(r *run) {
		d := r.Devices[phone]
		d.Applied = append(d.Applied, d.Applied[len(d.Applied)-1])
	}, AppliedOnce},
	"applied out of order": {func(r *run) {
		d := r.Devices[phone]
		d.Applied[4], d.Applied[5] = d.Applied[5], d.Applied[4]
	}, AppliedOnce},
}

// Faults of who belongs to a conversation.
var membersWrong = map[string]fault{
	"removal answered and not done":                         {func(r *run) { r.renumber(6) }, Obeyed},
	"sent after the removal's answer, placed before it":     {func(r *run) { r.Commands[1].Answered = at(4); r.Commands[1].Begun = at(4) }, InForce},
	"answered before the adding was asked, placed after it": {func(r *run) { r.Commands[2].Begun = at(30); r.Commands[2].Answered = at(31) }, InForce},
	"a change that nobody asked for":                        {func(r *run) { r.Commands = nil }, Obeyed},
	"added twice, once asked for": {func(r *run) {
		again := *r.history[3].Event
		r.Histories[0].Messages[4] = wire.Message{
			ConversationID: group, Seq: 5, MessageID: r.history[4].MessageID, Timestamp: r.history[4].Timestamp, SenderID: anna, Type: "event", Event: &again,
		}
	}, Obeyed},
	"sent by somebody who had left": {func(r *run) {
		for i := range r.Sends {
			if r.Sends[i].Content == "message 7" {
				r.Sends[i].User = clara
			}
		}
		r.Histories[0].Messages[6].SenderID = clara
	}, ByMember},
	"left and still reading": {func(r *run) {
		r.renumber(9)
		r.Commands = r.Commands[:2]
		r.Histories[2].Messages = r.Histories[2].Messages[:3]
	}, Closed},
	"listed and no member": {func(r *run) {
		r.Rosters[0].Members = append(r.Rosters[0].Members, wire.Member{UserID: chat.DemoUser("dave")})
	}, SameRoster},
	"member and not listed":            {func(r *run) { r.Rosters[0].Members = r.Rosters[0].Members[:2] }, SameRoster},
	"a conversation missing in a list": {func(r *run) { r.Lists[0].Conversations = nil }, Listed},
	"an old head in a list":            {func(r *run) { r.Lists[0].Conversations[0].HeadSeq-- }, Listed},
	"a wrong count of members":         {func(r *run) { r.Lists[0].Conversations[0].MembersCount++ }, Listed},
	"a wrong count of unread":          {func(r *run) { r.Lists[0].Conversations[0].Unread++ }, Unread},
	"a read mark that went back":       {func(r *run) { r.Lists[0].Conversations[0].ReadSeq = 3 }, OwnRead},
	"members_version behind":           {func(r *run) { r.Rosters[0].Version = 6 }, SameRoster},
}

func TestPlantedFaultsAreFound(t *testing.T) {
	for _, faults := range []map[string]fault{storedWrong, shownWrong, membersWrong} {
		findsEach(t, faults, sound)
	}
}

// findsEach plants each fault in a run of its own, and wants it to be found.
func findsEach(t *testing.T, faults map[string]fault, begin func() *run) {
	t.Helper()
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			r := begin()
			fault.plant(r)
			report := Check(&r.Evidence)
			if report.Broken[fault.want] == 0 {
				t.Errorf("not found; the report says:\n%s", report.Table())
			}
		})
	}
}

func TestMissedPushesAreNoViolationWhenBehindTells(t *testing.T) {
	r := sound()
	r.Devices[laptop].Seen[2].Way = Sync
	r.Devices[laptop].Last.Behinds = []time.Time{at(4)}
	if report := Check(&r.Evidence); report.Failures() != 0 {
		t.Errorf("violations: %v", report.Violations)
	}
}

// Clara's first stay, seq 4 to 6, began and ended while her phone could not be
// reached: no /sync tells of it.
func TestStayThatEndedUnseenIsNotOwed(t *testing.T) {
	r := sound()
	d := r.Devices[4]
	for _, seq := range []chat.Seq{4, 5, 6} {
		drop(d, seq)
	}
	d.Last = Connection{}
	d.Applied = slices.DeleteFunc(d.Applied, func(m wire.Message) bool { return m.Seq <= 6 })
	if report := Check(&r.Evidence); report.Failures() != 0 {
		t.Errorf("violations: %v", report.Violations)
	}
}
