package single

import (
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// awaitPresence asks until the answer about one user is the wanted word.
func (p *person) awaitPresence(of chat.UserID, want string) wire.Presence {
	p.t.Helper()
	var got []wire.Presence
	again(p.t, func() bool {
		var err error
		if got, err = p.rest.Presence(p.t.Context(), []chat.UserID{of}); err != nil {
			p.t.Fatal(err)
		}
		return len(got) == 1 && got[0].Status == want
	})
	return got[0]
}

// again tries until it works.
func again(t *testing.T, try func() bool) {
	t.Helper()
	for late := time.After(patience); !try(); {
		select {
		case <-late:
			t.Fatal("it does not come to be")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestWhoIsOnlineIsAnsweredToThoseWhoShareAConversation(t *testing.T) {
	s := start(t)
	alice, bob, carol := s.person(t, "alice", ""), s.person(t, "bob", ""), s.person(t, "carol", "")
	if _, err := alice.rest.Direct(t.Context(), bob.id); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-2 * time.Second)
	alice.awaitPresence(bob.id, chat.Online.String())
	got, err := carol.rest.Presence(t.Context(), []chat.UserID{alice.id, bob.id, carol.id})
	if err != nil || len(got) != 1 || got[0].UserID != carol.id {
		t.Errorf("a stranger got %+v, %v, want itself only", got, err)
	}
	bob.conn.Drop()
	p := alice.awaitPresence(bob.id, chat.Offline.String())
	if at := time.Unix(p.LastSeen, 0); at.Before(before) || time.Since(at) > patience {
		t.Errorf("bob was last seen %v, want just now", at)
	}
}
