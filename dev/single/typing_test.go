package single

import (
	"context"
	"encoding/json"
	"testing"

	"switchboard/client"
	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/roster"
	"switchboard/internal/wire"
	"switchboard/router/signals"
)

// list is a roster of one conversation.
type list struct {
	conversation chat.ConversationID
	members      []roster.Member
}

func (l *list) Members(_ context.Context, c chat.ConversationID, _ chat.UserID, _ int) ([]roster.Member, error) {
	if c != l.conversation {
		return nil, nil
	}
	return l.members, nil
}

func (l *list) Peers(_ context.Context, user chat.UserID, _ int) (peers []chat.UserID, _ error) {
	for _, m := range l.members {
		if m.User != user {
			peers = append(peers, m.User)
		}
	}
	return peers, nil
}

// route runs a router of signals until the test ends.
func (s *System) route(t *testing.T, people signals.Roster) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	router := signals.New(signals.Config{
		Log: s.client.Log(), Signals: s.client.Group(bus.TopicSignals, bus.SignalsGroup, kafka.GroupConfig{}),
		Roster: people, Directory: s.directory, Notices: s.directory, Channel: s.channel, Logger: s.cfg.Logger, Metrics: s.set,
	})
	go func() { ended <- router.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("router of signals: %v", err)
		}
	})
}

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
	s.route(t, &list{pair, []roster.Member{{User: alice.id}, {User: bob.id}}})
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
	pair, err := alice.rest.Direct(t.Context(), bob)
	if err != nil {
		t.Fatal(err)
	}
	s.route(t, &list{pair, []roster.Member{{User: alice.id}, {User: bob}}})
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
