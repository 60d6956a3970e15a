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
	pair = chat.DirectConversation(anna, boris)
	many = chat.GroupConversation(anna, request(200))
)

// Anna's devices are 0 and 1, boris's 2 and 3, clara's 4 and 5.
const (
	borisPhone, borisLaptop = 2, 3
	claraPhone              = 4
)

// lively is a run without a fault of a conversation of two, which has marks and
// typing, and of one that becomes large when clara is added, at seq 2, and small
// again when she is removed, at seq 5.
func lively() *run {
	r := sound()
	direct, crowd := r.direct(), r.crowd()
	for _, other := range []*run{direct, crowd} {
		r.Conversations = append(r.Conversations, other.Conversations...)
		r.Sends = append(r.Sends, other.Sends...)
		r.Answers = append(r.Answers, other.Answers...)
		r.Commands = append(r.Commands, other.Commands...)
		r.Histories = append(r.Histories, other.Histories...)
		r.Rosters = append(r.Rosters, other.Rosters...)
		r.Marks, r.Words = append(r.Marks, other.Marks...), append(r.Words, other.Words...)
		r.Readings = append(r.Readings, other.Readings...)
	}
	for i, read := range map[int][2]wire.Conversation{
		0: {{ID: pair, HeadSeq: 2, MembersCount: 2, ReadSeq: 2}, {ID: many, HeadSeq: 6, MembersCount: 100, ReadSeq: 4, Unread: 1}},
		1: {{ID: pair, HeadSeq: 2, MembersCount: 2, ReadSeq: 2}, {ID: many, HeadSeq: 6, MembersCount: 100, ReadSeq: 6}},
	} {
		for j := range r.Lists {
			if r.Lists[j].User == []chat.UserID{anna, boris}[i] {
				r.Lists[j].Conversations = append(r.Lists[j].Conversations, read[:]...)
			}
		}
	}
	return r
}

// part begins another conversation that the same devices see.
func (r *run) part(id chat.ConversationID, words string, members ...chat.UserID) *run {
	p := &run{id: id, words: words, members: members}
	p.Devices = r.Devices
	p.Conversations = []Conversation{{ID: id, Direct: id == pair, Creator: anna, Members: members}}
	created := p.event(wire.Message{SenderID: anna, Type: "event", Event: &wire.Event{Change: "created", MembersVersion: 1}})
	p.show(created, members...)
	return p
}

// close notes what everybody reads in the end.
func (r *run) close(standings ...wire.Member) {
	t := r.talk()
	for _, u := range []chat.UserID{anna, boris} {
		view := t.view(u)
		for i := range view {
			for _, s := range r.Sends {
				if view[i].SenderID == u && view[i].Content == s.Content {
					view[i].ClientMessageID = &s.Request
				}
			}
		}
		r.Histories = append(r.Histories, History{User: u, Conversation: r.id, Messages: view})
	}
	r.Rosters = []Roster{{Conversation: r.id, Version: t.version, Members: standings}}
	r.Readings = []Roster{{Conversation: r.id, Version: 1, Members: []wire.Member{{UserID: anna, ReadSeq: 1, DeliveredSeq: 1}}}}
}

// direct is anna, who writes to boris, who reads it, types, and is called online.
func (r *run) direct() *run {
	p := r.part(pair, "between us", anna, boris)
	p.say(anna)
	for i, m := range []Mark{{Status: chat.Delivered, At: at(3)}, {Status: chat.Read, At: at(4)}} {
		m.User, m.Conversation, m.Seq = boris, pair, 2
		p.Marks = append(p.Marks, m)
		for _, d := range []int{phone, laptop, borisLaptop} {
			p.hint(d, Hint{At: at(5 + i), Status: &wire.MessageStatus{
				ConversationID: pair, UserID: boris, Status: m.Status.String(), Seq: 2, MessageID: p.history[1].MessageID,
			}})
		}
	}
	p.hint(laptop, Hint{At: at(3), Status: &wire.MessageStatus{ // What anna sent is read by her.
		ConversationID: pair, UserID: anna, Status: "read", Seq: 2, MessageID: p.history[1].MessageID,
	}})
	p.Words = []Word{{User: boris, Conversation: pair, IsTyping: true, At: at(4)}}
	p.hint(phone, Hint{At: at(5), Typing: &wire.Typing{ConversationID: pair, UserID: boris, IsTyping: true}})
	p.hint(phone, Hint{At: at(2), Presence: &wire.Presence{UserID: boris, Status: "online"}})
	p.hint(phone, Hint{At: at(2), Presence: &wire.Presence{UserID: boris, Status: "offline"}})
	p.close(wire.Member{UserID: anna, ReadSeq: 2, DeliveredSeq: 2}, wire.Member{UserID: boris, ReadSeq: 2, DeliveredSeq: 2})
	return p
}

func (r *run) hint(device int, h Hint) {
	h.Connection = 1
	r.Devices[device].Hints = append(r.Devices[device].Hints, h)
}

// crowd is a hundred, and clara for a time.
func (r *run) crowd() *run {
	people := []chat.UserID{anna, boris}
	standings := []wire.Member{{UserID: anna, ReadSeq: 4, DeliveredSeq: 4}, {UserID: boris, ReadSeq: 6, DeliveredSeq: 6}}
	for i := range chat.LargeAbove - 2 {
		u := chat.DemoUser(fmt.Sprint("absent ", i))
		people, standings = append(people, u), append(standings, wire.Member{UserID: u, ReadSeq: 1, DeliveredSeq: 1})
	}
	p := r.part(many, "to all", people...)
	p.quietly(func() { p.change(chat.MemberAdded, clara) }, anna, clara)
	p.quietly(func() { p.say(boris) }, boris)
	p.tell(3, true, phone, laptop, borisPhone, borisLaptop, claraPhone, claraPhone+1)
	p.quietly(func() { p.say(anna) }, anna)
	p.tell(4, false, phone, laptop, borisPhone, borisLaptop, claraPhone, claraPhone+1)
	for i, d := range p.Devices {
		for _, m := range p.history[1:4] {
			pushed := d.User == anna && m.Seq != 3 || d.User == boris && m.Seq == 3 || d.User == clara && m.Seq == 2
			if pushed {
				continue
			}
			way := Page
			if m.Seq == 3 {
				way = Carried
			}
			d.Seen = append(d.Seen, Sighting{At: at(20), Way: way, Connection: 1, Answer: 100 + i, Have: m.Seq - 1, Message: m})
		}
		d.Applied = slices.DeleteFunc(d.Applied, func(m wire.Message) bool { return m.ConversationID == many && m.Seq > 1 })
		d.Applied = append(d.Applied, p.history[1:4]...)
		d.Lags = []Lag{{Head: wire.Head{ConversationID: many, HeadSeq: 4, ReadSeq: 1}, Asked: at(20), Answered: at(20)}}
	}
	p.members = append(people, clara)
	p.change(chat.MemberRemoved, clara)
	p.Commands[len(p.Commands)-1].Begun, p.Commands[len(p.Commands)-1].Answered = at(30), at(31)
	p.say(boris)
	p.Sends[len(p.Sends)-1].Begun = at(32)
	p.Answers[len(p.Answers)-1].At = at(33)
	p.close(standings...)
	return p
}

// quietly has what happens pushed to some only.
func (r *run) quietly(do func(), to ...chat.UserID) {
	all := r.members
	r.members = to
	do()
	r.members = all
}

// tell tells devices of a head.
func (r *run) tell(seq chat.Seq, carries bool, devices ...int) {
	u := &wire.ConversationUpdated{ConversationID: r.id, Change: "head", HeadSeq: seq}
	if carries {
		m := r.history[seq-1]
		u.Message = &m
	}
	for _, d := range devices {
		r.hint(d, Hint{At: at(int(seq)), Head: u})
	}
}

func TestFlawlessLivelyRunHasNoViolation(t *testing.T) {
	report := Check(&lively().Evidence)
	for _, v := range report.Violations {
		t.Error(v)
	}
	for _, k := range kinds() {
		for _, o := range k.obligations {
			if report.Checked[o] == 0 && o != Closed && o != NotRefused && o != SameAnswer {
				t.Errorf("never checked: %s", o)
			}
		}
	}
}

// What is planted into the evidence of real runs can be planted into this one too.
func TestPlantsAreFound(t *testing.T) {
	stopped := lively()
	stopped.Held = 20 * time.Second
	stopped.Frozen = []Span{{start.Add(grace), start.Add(grace + stopped.Held)}}
	for name, r := range map[string]*run{"nothing stood still": lively(), "a gateway stood still": stopped} {
		for _, p := range Plants() {
			if planted, found := p.Try(&r.Evidence); !planted || !found {
				t.Errorf("%s: %s: planted: %t, found: %t", name, p.Name, planted, found)
			}
		}
		if report := Check(&r.Evidence); report.Failures() != 0 {
			t.Errorf("%s: planting changed the evidence: %v", name, report.Violations)
		}
	}
}

// Further faults of marks, heads and hints, each of them different from a plant.
var toldWrong = map[string]fault{
	"a mark that nobody made": {func(r *run) { r.Marks = r.Marks[:1] }, StatusTrue},
	"a sent message told to others as read": {func(r *run) {
		r.hint(borisPhone, r.Devices[laptop].Hints[2])
	}, StatusTrue},
	"a mark with the id of another event": {func(r *run) {
		m := *r.Devices[phone].Hints[0].Status
		m.MessageID = r.history[0].MessageID
		r.Devices[phone].Hints[0].Status = &m
	}, StatusTrue},
	"a mark told before it was made": {func(r *run) { r.Devices[phone].Hints[0].At = at(3) }, StatusTrue},
	"a mark told to whom it does not concern": {func(r *run) {
		r.Marks = append(r.Marks, Mark{User: boris, Conversation: many, Status: chat.Read, Seq: 3, At: at(4)})
		r.told(claraPhone, boris, 3)
	}, StatusInside},
	"a mark made after a removal told to the removed": {func(r *run) {
		r.Marks = append(r.Marks, Mark{User: boris, Conversation: group, Status: chat.Read, Seq: 5, At: at(8)})
		r.Devices[claraPhone].Hints = append(r.Devices[claraPhone].Hints, Hint{At: at(9), Connection: 1, Status: &wire.MessageStatus{
			ConversationID: group, UserID: boris, Status: "read", Seq: 5, MessageID: r.history[4].MessageID,
		}})
	}, StatusInside},
	"a mark in a conversation that nobody made": {func(r *run) {
		m := *r.Devices[phone].Hints[0].Status
		m.ConversationID = chat.GroupConversation(boris, request(99))
		r.Devices[phone].Hints[0].Status = &m
	}, StatusInside},
	"a mark further than it was made": {func(r *run) {
		r.Rosters[2].Members[0].ReadSeq, r.Rosters[2].Members[0].DeliveredSeq = 5, 5
	}, MarkEarned},
	"more read than received":       {func(r *run) { r.Rosters[1].Members[0].DeliveredSeq = 1 }, MarkBounded},
	"a mark beyond the newest":      {func(r *run) { r.Rosters[1].Members[0].DeliveredSeq = 3 }, MarkBounded},
	"two lists that do not agree":   {func(r *run) { r.Rosters[0].Members[1].ReadSeq-- }, SameMark},
	"a head of a small one":         {func(r *run) { r.tell(6, true, phone) }, HeadTrue},
	"a head beyond the newest":      {func(r *run) { r.tellOf(7, phone) }, HeadTrue},
	"a head from before the adding": {func(r *run) { r.tellOf(1, claraPhone) }, HeadInside},
	"a head that carries the sender's id": {func(r *run) {
		u, id := *r.Devices[phone].heads()[0].Head, request(3)
		m := *u.Message
		m.ClientMessageID, u.Message = &id, &m
		r.Devices[phone].heads()[0].Head = &u
	}, HeadTrue},
	"the one concerned is not told": {func(r *run) {
		drop(r.Devices[claraPhone], 2)
	}, NotSilent},
	"a crowd's message told of to nobody": {func(r *run) {
		for _, d := range r.Devices[borisPhone : borisLaptop+1] {
			d.Hints = nil
			d.Seen = slices.DeleteFunc(d.Seen, func(s Sighting) bool { return s.Message.ConversationID == many && s.Way == Live && s.Message.Seq > 3 })
		}
	}, NotSilent},
	"/sync names what was left": {func(r *run) {
		r.Devices[claraPhone].Lags[0].Asked, r.Devices[claraPhone].Lags[0].Answered = at(40), at(41)
	}, LagInside},
	"/sync names what is to come": {func(r *run) {
		r.Devices[claraPhone].Lags[0].Asked, r.Devices[claraPhone].Lags[0].Answered = at(0), at(1)
	}, LagInside},
	"/sync names what nobody made": {func(r *run) {
		r.Devices[phone].Lags[0].ConversationID = chat.GroupConversation(boris, request(99))
	}, LagInside},
	"/sync names a head beyond":      {func(r *run) { r.Devices[phone].Lags[0].HeadSeq = 7 }, LagTrue},
	"typing that nobody said":        {func(r *run) { r.Words = nil }, TypingSaid},
	"typing told to the typist":      {func(r *run) { r.types(borisLaptop, pair, boris, at(5)) }, TypingInside},
	"typing told in a crowd":         {func(r *run) { r.types(phone, many, boris, at(5)) }, TypingSmall},
	"typing told long after leaving": {func(r *run) { r.types(claraPhone, many, boris, at(31).Add(2*typingMoment)) }, TypingInside},
	"typing told before the adding":  {func(r *run) { r.types(claraPhone, many, boris, at(1)) }, TypingInside},
	"typing of one who left long ago": {func(r *run) {
		r.types(phone, many, clara, at(31).Add(2*typingMoment))
	}, TypingInside},
	"gone, and connected since before the grace": {func(r *run) {
		r.hint(phone, Hint{At: at(60), Presence: &wire.Presence{UserID: boris, Status: "offline"}})
	}, NotGone},
}

// told pushes a read mark of the crowd to a device.
func (r *run) told(device int, of chat.UserID, seq chat.Seq) {
	r.hint(device, Hint{At: at(9), Status: &wire.MessageStatus{
		ConversationID: many, UserID: of, Status: "read", Seq: seq, MessageID: r.crowdHistory()[seq-1].MessageID,
	}})
}

func (r *run) crowdHistory() []wire.Message {
	for _, h := range r.Histories {
		if h.Conversation == many {
			return h.Messages
		}
	}
	return nil
}

// tellOf tells a device of a head of the crowd.
func (r *run) tellOf(seq chat.Seq, device int) {
	r.hint(device, Hint{At: at(40), Head: &wire.ConversationUpdated{ConversationID: many, Change: "head", HeadSeq: seq}})
}

// types tells a device of typing that was said a moment ago.
func (r *run) types(device int, id chat.ConversationID, who chat.UserID, told time.Time) {
	r.Words = append(r.Words, Word{User: who, Conversation: id, IsTyping: true, At: told.Add(-time.Millisecond)})
	r.hint(device, Hint{At: told, Typing: &wire.Typing{ConversationID: id, UserID: who, IsTyping: true}})
}

// heads returns a device's hints from the first head on.
func (d *Device) heads() []Hint {
	return d.Hints[slices.IndexFunc(d.Hints, func(h Hint) bool { return h.Head != nil }):]
}

func TestFaultsOfWhatIsToldAreFound(t *testing.T) { findsEach(t, toldWrong, lively) }

// Clara is added, or removed, while /sync is being answered.
func TestSyncMayBeOvertaken(t *testing.T) {
	for _, during := range [][2]time.Time{{at(1), at(3)}, {at(29), at(40)}} {
		r := lively()
		r.Devices[claraPhone].Lags[0].Asked, r.Devices[claraPhone].Lags[0].Answered = during[0], during[1]
		if report := Check(&r.Evidence); report.Failures() > 0 {
			t.Errorf("violations: %v", report.Violations)
		}
	}
}

// Boris was gone for the grace when that was told, and is back; and typing may come to
// somebody who has just left.
func TestHintsAreAllowedTheirMoment(t *testing.T) {
	r := lively()
	r.types(claraPhone, group, boris, at(8))
	for _, d := range r.Devices[borisPhone : borisLaptop+1] {
		d.Links = []Link{{Connected: start, Closed: at(40)}, {Connected: at(58)}}
	}
	r.hint(phone, Hint{At: at(60), Presence: &wire.Presence{UserID: boris, Status: "offline"}})
	r.Frozen = []Span{{at(70), at(90)}} // Here he is there, and seems not to be.
	r.hint(phone, Hint{At: at(91), Presence: &wire.Presence{UserID: boris, Status: "offline"}})
	if report := Check(&r.Evidence); report.Broken[NotGone]+report.Broken[TypingInside] > 0 {
		t.Errorf("violations: %v", report.Violations)
	}
}
