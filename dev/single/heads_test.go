package single

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// told waits for the next durable event or head and names it.
func (p *person) told() string {
	p.t.Helper()
	e := p.next("new_message", "conversation_updated")
	if e.Type == "new_message" {
		var m wire.Message
		if err := json.Unmarshal(e.Data, &m); err != nil {
			p.t.Fatal(err)
		}
		return fmt.Sprint("message ", m.Seq)
	}
	var u wire.ConversationUpdated
	if err := json.Unmarshal(e.Data, &u); err != nil {
		p.t.Fatal(err)
	}
	switch {
	case u.Message != nil:
		return fmt.Sprintf("%s %d with %d", u.Change, u.HeadSeq, u.Message.Seq)
	case u.HeadSeq > 0:
		return fmt.Sprintf("%s %d", u.Change, u.HeadSeq)
	}
	return fmt.Sprintf("%s %d", u.Change, u.Seq)
}

// hearsOf waits for these, in this order and with none other in between.
func (p *person) hearsOf(wants ...string) {
	p.t.Helper()
	for _, want := range wants {
		if got := p.told(); got != want {
			p.t.Fatalf("was told %q, want %q", got, want)
		}
	}
}

// member adds or removes a user.
func (p *person) member(method string, c chat.ConversationID, u chat.UserID) {
	p.t.Helper()
	if err := p.rest.Do(p.t.Context(), method, "/api/v1/conversations/"+c.String()+"/members/"+u.String(), struct{}{}, nil); err != nil {
		p.t.Fatal(err)
	}
}

// A conversation of 101 members says how far it has come; one of 100 pushes. Who
// is away between the two hears nothing of it.
func TestConversationThatCrossesAHundredMembersBothWays(t *testing.T) {
	s := start(t)
	alice, bob, carol := s.person(t, "alice", ""), s.person(t, "bob", ""), s.person(t, "carol", "")
	members := []chat.UserID{bob.id, carol.id}
	for i := range chat.LargeAbove - 2 {
		members = append(members, chat.DemoUser(fmt.Sprint("crowd ", i)))
	}
	group, err := alice.rest.Group(t.Context(), chat.NewRequestID(), "crowd", members)
	if err != nil {
		t.Fatal(err)
	}
	phone := follow(t, bob)
	bob.hearsOf("created 1")
	carol.hearsOf("created 1")
	alice.say(group) // 2
	bob.hearsOf("head 2 with 2")
	carol.hearsOf("head 2 with 2")

	alice.member("DELETE", group, carol.id) // 3
	bob.hearsOf("member_removed 3")
	carol.hearsOf("member_removed 3")
	alice.say(group) // 4
	bob.hearsOf("message 4")

	alice.member("PUT", group, carol.id) // 5
	bob.hearsOf("head 5")
	// Her own joining is told to her as it is, and the head may come before it.
	joined := []string{carol.told(), carol.told()}
	if slices.Sort(joined); !slices.Equal(joined, []string{"head 5", "member_added 5"}) {
		t.Errorf("carol was told %q, want her joining and the head, and nothing of 4", joined)
	}
	alice.say(group) // 6
	bob.hearsOf("head 6 with 6")
	carol.hearsOf("head 6 with 6")
	phone.wants(t, 1, 2, 3, 4, 5, 6)
}

// follower is a device of the client library, which does what clients should.
type follower struct{ applied chan chat.Seq }

func follow(t *testing.T, p *person) *follower {
	f := &follower{applied: make(chan chat.Seq, 100)}
	device := client.New(client.Config{
		REST: p.rest, Device: "follower", Apply: func(m wire.Message) { f.applied <- m.Seq },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the follower ended with %v", err)
		}
	})
	return f
}

// wants waits for events with these seqs and no other in between.
func (f *follower) wants(t *testing.T, seqs ...chat.Seq) {
	t.Helper()
	for _, want := range seqs {
		select {
		case got := <-f.applied:
			if got != want {
				t.Fatalf("applied %d, want %d", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("%d is not applied", want)
		}
	}
}
