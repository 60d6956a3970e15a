package single

import (
	"encoding/json"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

// Bob and carol are on a gateway that dies. Carol comes back to another: alice is
// told of bob, when his gateway's lease was over, and of nobody else.
func TestOfADeadGatewayThoseAreAnnouncedWhoDoNotComeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a lease, and for a grace after it")
	}
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	alice, bob, carol := s.person(t, "alice", ""), chat.DemoUser("bob"), chat.DemoUser("carol")
	for _, u := range []chat.UserID{bob, carol} {
		if _, err := alice.rest.Direct(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
	dead := presence.Route{Slot: "gw-9", Boot: 1, Session: 1}
	if err := s.directory.Claim(ctx, dead.Slot, dead.Boot); err != nil {
		t.Fatal(err)
	}
	over := time.Now().Add(presence.LeaseTTL)
	if _, err := s.directory.NoticeOnline(ctx, []chat.UserID{bob, carol}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.directory.Apply(ctx, []presence.Change{
		{User: bob, Route: dead, Begins: true}, {User: carol, Route: dead, Begins: true},
	}); err != nil {
		t.Fatal(err)
	}
	heard := alice.listen("presence_update")
	s.person(t, "carol", "")
	select {
	case e := <-heard:
		var got wire.Presence
		if err := json.Unmarshal(e.Data, &got); err != nil {
			t.Fatal(err)
		}
		if got.UserID != bob || got.Status != chat.Offline.String() || time.Unix(got.LastSeen, 0).Sub(over).Abs() > 5*time.Second {
			t.Errorf("alice heard %+v, want that bob is offline since %v", got, over.Unix())
		}
	case <-time.After(6 * patience): // A lease, ten seconds, and what is left of a grace.
		t.Fatal("alice heard of nobody")
	}
	back := s.set.Counter("switchboard_router_presence_back_total")
	again(t, func() bool { return back.Get() > 0 })
	if got := s.set.Counter("switchboard_router_presence_announced_total").Get(); got != 1 {
		t.Errorf("%d were announced, want bob alone", got)
	}
}
