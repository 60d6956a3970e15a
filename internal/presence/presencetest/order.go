package presencetest

import (
	"slices"
	"sync"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// begin is the beginning of a session on a slot.
func (s *suite) begin(u chat.UserID, slot string, session uint64) presence.Change {
	return presence.Change{User: u, Begins: true, Route: presence.Route{Slot: slot, Boot: 1, Session: session, Device: "5 phones"}}
}

// orders returns the orders of a user's sessions.
func (s *suite) orders(u chat.UserID) map[uint64]uint64 {
	s.Helper()
	orders := make(map[uint64]uint64)
	for _, r := range s.where(u).Routes {
		orders[r.Session] = r.Order
		if r.Device != "5 phones" {
			s.Errorf("session %d is on device %q, want what was registered", r.Session, r.Device)
		}
	}
	return orders
}

func (s *suite) laterIsHigher() {
	u := newUser()
	other := s.slot + "-b"
	s.claim(1)
	if err := s.Directory.Claim(s.Context(), other, 1); err != nil {
		s.Fatal(err)
	}
	s.apply(s.begin(u, s.slot, 30), s.begin(u, other, 20)) // Of one batch, too.
	s.apply(s.begin(u, s.slot, 10))
	if o := s.orders(u); o[30] == 0 || o[20] <= o[30] || o[10] <= o[20] {
		s.Fatalf("orders %v, want 30 < 20 < 10", o)
	}
	remove := s.begin(u, s.slot, 30)
	remove.Begins, remove.Remove = false, true
	s.apply(remove, s.begin(u, s.slot, 40))
	if o := s.orders(u); len(o) != 3 || o[40] <= o[10] {
		s.Fatalf("orders %v, want 40 above all", o)
	}
}

func (s *suite) begunTwice() {
	u := newUser()
	s.claim(1)
	first := s.begin(u, s.slot, 1)
	if a := s.apply(first)[0]; !a.Fresh {
		s.Fatalf("a new entry: got %+v", a)
	}
	s.apply(s.begin(u, s.slot, 2))
	before := s.orders(u)
	if a := s.apply(first)[0]; a.Fresh { // Its acknowledgement was lost.
		s.Errorf("the same again: got %+v", a)
	}
	if o := s.orders(u); o[1] != before[1] || o[2] != before[2] || o[1] >= o[2] {
		s.Errorf("orders were %v and are %v", before, o)
	}
}

func (s *suite) orderAgain() {
	u := newUser()
	s.claim(1)
	kept, lost := s.begin(u, s.slot, 1), s.begin(u, s.slot, 2)
	s.apply(kept)
	kept.Begins, lost.Begins = false, false
	a := s.apply(kept, lost)
	if a[0].Fresh || !a[1].Fresh {
		s.Errorf("got %+v, want that one was there and one was lost", a)
	}
	if o := s.orders(u); o[1] == 0 || o[2] != 0 {
		s.Errorf("orders %v, want 1 as it was and 2 without one", o)
	}
}

func (s *suite) begunAtOnce() {
	const many = 20
	u := newUser()
	s.claim(1)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			if _, err := s.Directory.Apply(s.Context(), []presence.Change{s.begin(u, s.slot, uint64(i+1))}); err != nil {
				s.Error(err)
			}
		})
	}
	all.Wait()
	var got []uint64
	for _, order := range s.orders(u) {
		got = append(got, order)
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != many || got[0] == 0 {
		s.Errorf("orders %v, want %d that differ", got, many)
	}
}

func (s *suite) company() {
	u := newUser()
	s.claim(1)
	older := s.begin(u, s.slot, 9)
	older.Route.Boot = 0 // The same slot in another life.
	s.apply(older)
	for i, step := range []struct {
		slot string
		want bool
	}{{s.slot, false}, {s.slot, false}, {s.slot + "-b", true}, {s.slot, true}} {
		if a := s.apply(s.begin(u, step.slot, uint64(i+1)))[0]; a.Company != step.want {
			s.Errorf("session %d: got %+v, want company %v", i+1, a, step.want)
		}
	}
}

func (s *suite) leased() {
	u := newUser()
	s.claim(1)
	s.apply(s.begin(u, s.slot, 1))
	if r := s.where(u).Routes; len(r) != 1 || !r[0].Leased {
		s.Errorf("got %+v, want a valid lease", r)
	}
	s.Advance(presence.LeaseTTL + time.Second)
	if r := s.where(u).Routes; len(r) != 1 || r[0].Leased {
		s.Errorf("got %+v, want a lapsed lease", r)
	}
}
