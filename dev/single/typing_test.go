package single

import (
	"encoding/json"
	"testing"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// listen brings the next frame of a kind. If there is none its test waits in vain.
func (p *person) listen(kind string) <-chan client.Event {
	heard := make(chan client.Event, 1)
	go func() {
		for {
			e, err := p.conn.Next(p.t.Context())
			if err != nil {
				return
			}
			if e.Type == kind {
				heard <- e
				return
			}
		}
	}()
	return heard
}

func TestTypingIsSeenByTheOtherMembers(t *testing.T) {
	s := start(t)
	alice, bob, carol := s.person(t, "alice", ""), s.person(t, "bob", ""), s.person(t, "carol", "")
	pair, err := alice.rest.Direct(t.Context(), bob.id)
	if err != nil {
		t.Fatal(err)
	}
	// The router begins at the end of the log, whenever its partition gets there, so
	// this is said until it is heard; carol's, who is no member, never is.
	heard := bob.listen("typing")
	say := func(p *person) { p.write("typing", map[string]any{"conversation_id": pair, "is_typing": true}) }
	var e client.Event
	again(t, func() bool {
		say(carol)
		say(alice)
		select {
		case e = <-heard:
			return true
		default:
			return false
		}
	})
	var got wire.Typing
	if err := json.Unmarshal(e.Data, &got); err != nil {
		t.Fatal(err)
	}
	if want := (wire.Typing{ConversationID: pair, UserID: alice.id, IsTyping: true}); got != want {
		t.Errorf("bob heard %+v, want %+v", got, want)
	}
	if s.set.Counter(`switchboard_router_hints_dropped_total{reason="no_member"}`).Get() == 0 {
		t.Error("carol's typing was not even judged")
	}
}

func TestComingIsSeenByDirectPeers(t *testing.T) {
	s := start(t)
	alice := s.person(t, "alice", "")
	bob := chat.DemoUser("bob")
	if _, err := alice.rest.Direct(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	heard := alice.listen("presence_update")
	var e client.Event
	again(t, func() bool { // The router begins at the end of the log, whenever that is.
		s.person(t, "bob", "phone")
		select {
		case e = <-heard:
			return true
		default:
			return false
		}
	})
	var got wire.Presence
	if err := json.Unmarshal(e.Data, &got); err != nil {
		t.Fatal(err)
	}
	if got.UserID != bob || got.Status != "online" || got.LastSeen == 0 {
		t.Errorf("alice heard %+v, want that bob is online", got)
	}
}
