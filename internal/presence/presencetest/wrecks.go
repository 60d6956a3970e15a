package presencetest

import (
	"slices"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// wreck returns when the lease of a boot of this test's slot ended; ok is false
// when that is not told.
func (s *suite) wreck(boot uint64) (ended time.Time, ok bool) {
	s.Helper()
	wrecks, err := s.Wrecks.Wrecks(s.Context())
	if err != nil {
		s.Fatalf("wrecks: %v", err)
	}
	for _, w := range wrecks {
		if w.Life == (presence.Life{Slot: s.slot, Boot: boot}) {
			return w.Ended, true
		}
	}
	return time.Time{}, false
}

// aboard returns who is on the list of a boot, in all parts.
func (s *suite) aboard(boot uint64) (users []chat.UserID) {
	s.Helper()
	for part := range presence.AboardParts {
		some, err := s.Wrecks.Aboard(s.Context(), presence.Life{Slot: s.slot, Boot: boot}, part)
		if err != nil {
			s.Fatalf("aboard: %v", err)
		}
		users = append(users, some...)
	}
	return users
}

func (s *suite) leftBehind() {
	two, gone, moved := newUser(), newUser(), newUser()
	s.claim(1)
	claimed := time.Now()
	s.register(two, 1, 1)
	s.register(two, 1, 2)
	s.leave(gone, s.register(gone, 1, 3), time.Now())
	s.apply(presence.Change{User: moved, Route: s.register(moved, 1, 4), Remove: true})
	s.register(moved, 2, 1)
	if _, ok := s.wreck(1); ok {
		s.Fatal("a gateway that has its lease is a wreck")
	}
	s.Advance(presence.LeaseTTL + time.Second)
	ended, ok := s.wreck(1)
	if want := claimed.Add(presence.LeaseTTL); !ok || ended.Sub(want).Abs() > 2*time.Second {
		s.Fatalf("the lease ended at %v, %v, want %v", ended, ok, want)
	}
	if got := s.aboard(1); !slices.Equal(got, []chat.UserID{two}) {
		s.Fatalf("%v are on the list, want who did not leave, once", got)
	}
	life := presence.Life{Slot: s.slot, Boot: 1}
	for part := range presence.AboardParts {
		if err := s.Wrecks.Disembark(s.Context(), life, part); err != nil {
			s.Fatal(err)
		}
	}
	if got := s.aboard(1); len(got) != 0 {
		s.Fatalf("%v are still on the list", got)
	}
	if got := s.aboard(2); !slices.Equal(got, []chat.UserID{moved}) {
		s.Fatalf("%v are on the next boot's list, want who is", got)
	}
	if err := s.Wrecks.Remove(s.Context(), life); err != nil {
		s.Fatal(err)
	}
	if _, ok := s.wreck(1); ok {
		s.Fatal("a wreck that was removed is there")
	}
}

// A gateway that was cut off takes its lease again, and its sessions the list.
func (s *suite) resurfaced() {
	u := newUser()
	s.claim(1)
	r := s.register(u, 1, 1)
	s.Advance(presence.LeaseTTL + time.Second)
	if _, ok := s.wreck(1); !ok {
		s.Fatal("the lease has lapsed, and there is no wreck")
	}
	for part := range presence.AboardParts {
		if err := s.Wrecks.Disembark(s.Context(), presence.Life{Slot: s.slot, Boot: 1}, part); err != nil {
			s.Fatal(err)
		}
	}
	if err := s.Wrecks.Remove(s.Context(), presence.Life{Slot: s.slot, Boot: 1}); err != nil {
		s.Fatal(err)
	}
	if _, err := s.Directory.Renew(s.Context(), s.slot, 1); err != nil {
		s.Fatal(err)
	}
	s.apply(presence.Change{User: u, Route: r})
	if _, ok := s.wreck(1); ok {
		s.Fatal("a gateway that has its lease again is a wreck")
	}
	if got := s.aboard(1); !slices.Equal(got, []chat.UserID{u}) {
		s.Fatalf("%v are on the list, want who was registered again", got)
	}
	s.Advance(presence.LeaseTTL + time.Second)
	if _, ok := s.wreck(1); !ok {
		s.Fatal("the second end of the lease is not told")
	}
}

func (s *suite) successor() {
	u := newUser()
	s.claim(1)
	s.register(u, 1, 1)
	s.Advance(presence.LeaseTTL + time.Second)
	s.claim(2)
	s.register(newUser(), 2, 1)
	if _, ok := s.wreck(2); ok {
		s.Error("the boot that has the lease is a wreck")
	}
	if _, ok := s.wreck(1); !ok {
		s.Error("the boot before it is none")
	}
	if got := s.aboard(1); !slices.Equal(got, []chat.UserID{u}) {
		s.Errorf("%v are on the first boot's list, want who was", got)
	}
}

func (s *suite) releasedWreck() {
	s.claim(1)
	if err := s.Directory.Release(s.Context(), s.slot, 1); err != nil {
		s.Fatal(err)
	}
	s.Advance(time.Second)
	ended, ok := s.wreck(1)
	if !ok || time.Since(ended).Abs() > 2*time.Second {
		s.Errorf("the lease ended at %v, %v, want just now", ended, ok)
	}
}

// A notice is lost together with the session that it is about, and comes back with
// it; a new session is none that was lost.
func (s *suite) noticeRestored() {
	lost, comes := newUser(), newUser()
	s.claim(1)
	s.apply(
		presence.Change{User: comes, Route: presence.Route{Slot: s.slot, Boot: 1, Session: 1}, Begins: true},
		presence.Change{User: lost, Route: presence.Route{Slot: s.slot, Boot: 1, Session: 2}})
	for _, want := range [][]bool{{false, true}, {false, false}} {
		news, err := s.Notices.NoticeOnline(s.Context(), []chat.UserID{lost, comes})
		if err != nil || !slices.Equal(news, want) {
			s.Fatalf("news: got %v, %v, want %v", news, err, want)
		}
	}
	gone, err := s.Notices.NoticeOffline(s.Context(), []chat.UserID{lost, newUser(), comes, comes})
	if want := []bool{true, false, true, true}; err != nil || !slices.Equal(gone, want) {
		s.Fatalf("news of the end: got %v, %v, want %v", gone, err, want)
	}
}

// Of a slot that never had a lease, or whose lease was forgotten, nobody can say
// whether a session on it is there.
func (s *suite) unknownSlot() {
	u := newUser()
	s.register(u, 1, 1)
	unknown := func() bool {
		places, err := s.Directory.Where(s.Context(), []chat.UserID{u})
		if err != nil {
			s.Fatal(err)
		}
		return places[0].Unknown && !places[0].Online && len(places[0].Routes) == 0
	}
	if !unknown() {
		s.Fatal("it is known where somebody is on a slot that is not")
	}
	s.claim(1)
	if unknown() {
		s.Fatal("a slot with a lease is not known")
	}
}
