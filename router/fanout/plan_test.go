package fanout

import (
	"slices"
	"testing"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

// The cast of the tests.
var (
	alice = chat.UserID{0xa1}
	bob   = chat.UserID{0xb0}
	carol = chat.UserID{0xca}
	talk  = chat.ConversationID{0x7a}
)

// at places a user's sessions on slots, all with valid leases.
func at(slots ...string) presence.Places {
	p := presence.Places{Online: len(slots) > 0}
	for i, s := range slots {
		p.Routes = append(p.Routes, presence.Route{Slot: s, Boot: 1, Session: uint64(i + 1)})
	}
	return p
}

// said is the outcome of a message from alice to the recipients.
func said(recipients ...chat.UserID) *bus.Accepted {
	id := chat.NewMessageID(chat.ClockAt(1_700_000_000), 1, 3)
	return &bus.Accepted{
		Outcome:      bus.Stored,
		Position:     chat.Position{Generation: 1, Offset: 41},
		Conversation: talk, Sender: alice, Request: chat.RequestID{0x11},
		ReplyTo: bus.ReplyTo{Server: "gw-1", Boot: 1, Session: 1, ID: "c17"},
		Events: []bus.Event{{Entry: chat.Entry{
			Conversation: talk, Seq: 9, ID: id, Sender: alice, Request: chat.RequestID{0x11},
			Kind: chat.KindText, Content: "hello",
		}}},
		Recipients: recipients,
	}
}

// frameFor returns the payload that a delivery brings to a user, nil for none,
// and fails when it brings more than one.
func frameFor(t *testing.T, p *plan, server string, u chat.UserID) []byte {
	t.Helper()
	var payload []byte
	for _, d := range p.deliveries {
		if d.server != server {
			continue
		}
		for _, f := range d.record.Frames {
			if slices.Contains(f.Recipients, u) && f.Key == nil {
				if payload != nil {
					t.Fatalf("%s gets two frames for %s", server, u)
				}
				payload = f.Payload
			}
		}
	}
	return payload
}

func TestEachServerConcernedGetsOneRecord(t *testing.T) {
	p := newPlan(said(alice, bob, carol), 3, map[chat.UserID]presence.Places{
		alice: at("gw-1"), bob: at("gw-1", "gw-2", "gw-2"), carol: at("gw-2"),
	})
	if got := len(p.deliveries); got != 2 {
		t.Fatalf("got %d deliveries, want one for each of gw-1 and gw-2", got)
	}
	for _, d := range p.deliveries {
		if d.record.Class != bus.Durable || d.record.Partition != 3 || d.record.Position.Offset != 41 {
			t.Errorf("%s: got %+v, want a durable record of 3/41", d.server, d.record)
		}
	}
	for server, users := range map[string][]chat.UserID{"gw-1": {bob}, "gw-2": {bob, carol}} {
		for _, u := range users {
			if got, want := frameFor(t, p, server, u), wire.AppendEntry(nil, &said().Events[0].Entry, false); string(got) != string(want) {
				t.Errorf("%s for %s: got %s, want %s", server, u, got, want)
			}
		}
	}
	if frameFor(t, p, "gw-1", carol) != nil {
		t.Error("gw-1 gets a frame for carol, who is not there")
	}
	if len(p.pushes) != 0 {
		t.Errorf("got pushes %+v, want none: everybody is online", p.pushes)
	}
}

func TestSenderIsAnsweredOnTheSocketThatAsked(t *testing.T) {
	p := newPlan(said(alice, bob), 3, map[chat.UserID]presence.Places{alice: at("gw-1"), bob: at("gw-2")})
	a := p.on("gw-1").Answer
	if a == nil || a.Boot != 1 || a.Session != 1 || a.Seq != 9 {
		t.Fatalf("got answer %+v, want seq 9 for session 1 of boot 1", a)
	}
	want := wire.AppendMessageSent(nil, "c17", &wire.MessageSent{
		ClientMessageID: chat.RequestID{0x11}, ConversationID: talk,
		MessageID: a.ID, Seq: 9, Timestamp: 1_700_000_000,
	})
	if string(a.Payload) != string(want) {
		t.Errorf("got %s, want %s", a.Payload, want)
	}
	if p.on("gw-2").Answer != nil {
		t.Error("a server that nobody asked on gets an answer")
	}
}

func TestOtherDevicesOfTheSenderLearnItsOwnID(t *testing.T) {
	p := newPlan(said(alice, bob), 3, map[chat.UserID]presence.Places{alice: at("gw-1", "gw-2")})
	own := wire.AppendEntry(nil, &said().Events[0].Entry, true)
	for _, server := range []string{"gw-1", "gw-2"} {
		if got := frameFor(t, p, server, alice); string(got) != string(own) {
			t.Errorf("%s: got %s, want %s", server, got, own)
		}
	}
	status := statusLetter(&wire.MessageStatus{
		ConversationID: talk, UserID: alice, Status: "read", MessageID: said().Events[0].ID, Seq: 9, Timestamp: 1_700_000_000,
	})
	for _, server := range []string{"gw-1", "gw-2"} {
		f := p.on(server).Frames[1]
		if string(f.Payload) != string(status.payload) || string(f.Key) != string(status.key) || f.Order != 9 ||
			!slices.Equal(f.Recipients, []chat.UserID{alice}) || (f.ExceptSession == 1) != (server == "gw-1") {
			t.Errorf("%s: got %+v, want that alice has read 9", server, f)
		}
	}
	if f := p.on("gw-1").Frames[0]; f.ExceptBoot != 1 || f.ExceptSession != 1 {
		t.Errorf("gw-1: got exception %d/%d, want the socket that sent it", f.ExceptBoot, f.ExceptSession)
	}
	if f := p.on("gw-2").Frames[0]; f.ExceptSession != 0 {
		t.Errorf("gw-2: got exception %d, want none: it was sent elsewhere", f.ExceptSession)
	}
}

func TestMembersWhoAreAwayArePushed(t *testing.T) {
	lapsed := at("gw-3")
	lapsed.Online = false
	p := newPlan(said(alice, bob, carol), 3, map[chat.UserID]presence.Places{bob: lapsed})
	var pushed []chat.UserID
	for _, push := range p.pushes {
		pushed = append(pushed, push.User)
		if push.Seq != 9 || push.Conversation != talk || push.Sender != alice {
			t.Errorf("got %+v, want seq 9 of the conversation from alice", push)
		}
	}
	if want := []chat.UserID{bob, carol}; !slices.Equal(pushed, want) {
		t.Errorf("pushed to %v, want %v: the sender is not notified of its own message", pushed, want)
	}
	if frameFor(t, p, "gw-3", bob) == nil {
		t.Error("bob's gateway lost its lease, but is still to be written to")
	}
}

func TestEventsOfAConversationNotifyNobodyAway(t *testing.T) {
	a := said(alice, bob)
	a.Events[0].Kind, a.Events[0].Change, a.Events[0].User = chat.KindEvent, chat.MemberAdded, bob
	p := newPlan(a, 3, map[chat.UserID]presence.Places{alice: at("gw-1")})
	if len(p.pushes) != 0 {
		t.Errorf("got %+v, want none", p.pushes)
	}
	if got, want := frameFor(t, p, "gw-1", alice), wire.AppendEntry(nil, &a.Events[0].Entry, false); string(got) != string(want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHandOverSendsBothEvents(t *testing.T) {
	a := said(alice, bob)
	a.Events[0].Kind, a.Events[0].Change, a.Events[0].User = chat.KindEvent, chat.MemberRemoved, alice
	second := a.Events[0]
	second.Seq, second.Change, second.User, second.Role = 10, chat.RoleChanged, bob, chat.Admin
	a.Events = append(a.Events, second)
	p := newPlan(a, 3, map[chat.UserID]presence.Places{alice: at("gw-1"), bob: at("gw-2")})
	if got := len(p.on("gw-2").Frames); got != 2 {
		t.Fatalf("got %d frames, want both events in one record", got)
	}
	if got, want := frameFor(t, p, "gw-1", alice), wire.AppendEntry(nil, &a.Events[0].Entry, false); string(got) != string(want) {
		t.Errorf("who left sees %s, want its own departure and no more: %s", got, want)
	}
}

func TestRefusalReachesOnlyTheSender(t *testing.T) {
	a := said(alice, bob)
	a.Outcome, a.Events, a.Recipients = bus.Refused, nil, nil
	a.Code, a.Message = chat.NotMember, "you are not a member of this conversation"
	p := newPlan(a, 3, nil)
	if len(p.deliveries) != 1 || len(p.on("gw-1").Frames) != 0 {
		t.Fatalf("got %+v, want one delivery without frames", p.deliveries)
	}
	got := string(p.on("gw-1").Answer.Payload)
	want := string(wire.AppendError(nil, "c17", a.Request, chat.Errorf(chat.NotMember, "%s", a.Message)))
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDuplicateIsAnsweredAndNotPushedAgain(t *testing.T) {
	a := said(alice, bob)
	a.Outcome, a.Seq, a.ID = bus.Duplicate, 9, a.Events[0].ID
	a.Events, a.Recipients = nil, nil
	p := newPlan(a, 3, map[chat.UserID]presence.Places{bob: at("gw-2")})
	if len(p.deliveries) != 1 {
		t.Fatalf("got %d deliveries, want the answer alone", len(p.deliveries))
	}
	if got := p.on("gw-1").Answer; got.Outcome != bus.Duplicate || got.Seq != 9 {
		t.Errorf("got %+v, want the first send's seq 9", got)
	}
}
