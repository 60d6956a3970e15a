// Package presencetest is the suite that every presence.Directory passes, and
// what tells sightings of it.
package presencetest

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// Backend is a directory under test. Advance lets the server's time pass: by
// moving a clock where there is one, by waiting where there is none. Slots and
// users are made unique by the suite, so a shared server may be used again.
type Backend struct {
	Directory presence.Directory
	Sightings presence.Sightings
	Notices   presence.Notices
	Wrecks    presence.Wrecks
	Advance   func(time.Duration)
}

// Run runs the suite; open is called for each test. They run at the same time: on a
// real server most of their time is that of leases.
func Run(t *testing.T, open func(t *testing.T) Backend) {
	tests := []struct {
		name string
		run  func(s *suite)
	}{
		{"a registered session is found", (*suite).registered},
		{"a removed session is gone, the others stay", (*suite).removed},
		{"changes apply in order", (*suite).ordered},
		{"registering again tells whether the entry was lost", (*suite).fresh},
		{"who begins later has the higher order", (*suite).laterIsHigher},
		{"beginning again keeps the order and says that it was there", (*suite).begunTwice},
		{"who is registered again keeps the order, who was lost is the oldest", (*suite).orderAgain},
		{"whoever begins at once has an order of its own", (*suite).begunAtOnce},
		{"who begins hears of entries on other slots", (*suite).company},
		{"where says which leases hold", (*suite).leased},
		{"users are answered in the order asked", (*suite).manyUsers},
		{"the last boot of a slot wins", (*suite).lastBootWins},
		{"entries of an older boot are no routes", (*suite).olderBoot},
		{"a lapsed lease is offline but routed", (*suite).lapsedLease},
		{"a released lease is offline", (*suite).released},
		{"a replaced boot cannot release its successor", (*suite).foreignRelease},
		{"a lease renewed in time never lapses", (*suite).renewed},
		{"an ended context is an error", (*suite).cancelled},
		{"who was never there was never seen", (*suite).neverSeen},
		{"who left was last seen then", (*suite).lastSeen},
		{"who is there with one of two is online", (*suite).oneOfTwo},
		{"who was on a dead gateway was last seen when its lease ended", (*suite).seenOnDead},
		{"the end of a boot that was replaced is remembered", (*suite).seenOnReplaced},
		{"who was on a gateway that ended was last seen then", (*suite).seenOnReleased},
		{"a later sighting is not forgotten for a dead gateway's", (*suite).laterSighting},
		{"sightings in an ended context are an error", (*suite).sightingCancelled},
		{"who comes is news once", (*suite).news},
		{"who was lost is none, and who leaves is news once", (*suite).noticeRestored},
		{"who was left behind is on the list of the dead boot", (*suite).leftBehind},
		{"a gateway that was cut off is no wreck when it is back", (*suite).resurfaced},
		{"a boot that was replaced is a wreck, its successor is not", (*suite).successor},
		{"a boot that ended is a wreck at once", (*suite).releasedWreck},
		{"a slot of which nothing is known is said to be so", (*suite).unknownSlot},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			test.run(&suite{T: t, Backend: b, slot: "gw-" + chat.NewRequestID().String()[:8]})
		})
	}
}

// suite is one test with a slot of its own.
type suite struct {
	*testing.T
	Backend
	slot string
}

func newUser() chat.UserID { return chat.UserID(chat.NewRequestID()) }

func (s *suite) claim(boot uint64) {
	s.Helper()
	if err := s.Directory.Claim(s.Context(), s.slot, boot); err != nil {
		s.Fatalf("claim boot %d: %v", boot, err)
	}
}

func (s *suite) register(u chat.UserID, boot, session uint64) presence.Route {
	s.Helper()
	r := presence.Route{Slot: s.slot, Boot: boot, Session: session, Device: "phone"}
	s.apply(presence.Change{User: u, Route: r})
	return r
}

func (s *suite) apply(changes ...presence.Change) []presence.Applied {
	s.Helper()
	applied, err := s.Directory.Apply(s.Context(), changes)
	if err != nil {
		s.Fatalf("apply: %v", err)
	}
	return applied
}

// where returns where one user is.
func (s *suite) where(u chat.UserID) presence.Places {
	s.Helper()
	places, err := s.Directory.Where(s.Context(), []chat.UserID{u})
	if err != nil {
		s.Fatalf("where: %v", err)
	}
	return places[0]
}

// want checks where one user is; routes may come in any order, and neither their
// order nor their leases are looked at.
func (s *suite) want(u chat.UserID, online bool, routes ...presence.Route) {
	s.Helper()
	got := s.where(u)
	for i := range got.Routes {
		got.Routes[i].Order, got.Routes[i].Leased = 0, false
	}
	bySession := func(a, b presence.Route) int { return int(a.Session) - int(b.Session) }
	slices.SortFunc(got.Routes, bySession)
	slices.SortFunc(routes, bySession)
	if got.Online != online || !slices.Equal(got.Routes, routes) {
		s.Fatalf("got %+v, want online=%v routes=%+v", got, online, routes)
	}
}

func (s *suite) registered() {
	u := newUser()
	s.claim(1)
	s.want(u, false)
	s.want(u, true, s.register(u, 1, 7), s.register(u, 1, 1<<63+5))
}

func (s *suite) removed() {
	u := newUser()
	s.claim(1)
	gone, stays := s.register(u, 1, 1), s.register(u, 1, 2)
	s.apply(presence.Change{User: u, Route: gone, Remove: true})
	s.want(u, true, stays)
	s.apply(presence.Change{User: u, Route: stays, Remove: true})
	s.want(u, false)
}

func (s *suite) ordered() {
	u := newUser()
	s.claim(1)
	r := presence.Route{Slot: s.slot, Boot: 1, Session: 9, Device: ""}
	add := presence.Change{User: u, Route: r}
	remove := presence.Change{User: u, Route: r, Remove: true}
	s.apply(add, remove, add)
	s.want(u, true, r)
	s.apply(remove, add, remove)
	s.want(u, false)
}

func (s *suite) fresh() {
	u := newUser()
	s.claim(1)
	r := presence.Route{Slot: s.slot, Boot: 1, Session: 3, Device: "d"}
	add, remove := presence.Change{User: u, Route: r}, presence.Change{User: u, Route: r, Remove: true}
	var got []bool
	for _, a := range s.apply(add, add, remove, add) {
		got = append(got, a.Fresh)
	}
	if want := []bool{true, false, false, true}; !slices.Equal(got, want) {
		s.Fatalf("fresh: got %v, want %v", got, want)
	}
}

func (s *suite) manyUsers() {
	s.claim(1)
	users := make([]chat.UserID, 300)
	for i := range users {
		users[i] = newUser()
		binary.BigEndian.PutUint16(users[i][:], uint16(i))
		if i%2 == 0 {
			s.register(users[i], 1, uint64(i))
		}
	}
	users = append(users, users[0]) // asked twice, answered twice
	places, err := s.Directory.Where(s.Context(), users)
	if err != nil {
		s.Fatal(err)
	}
	for i, p := range places {
		if want := i%2 == 0; p.Online != want {
			s.Errorf("user %d: online %v, want %v", i, p.Online, want)
		}
	}
}

func (s *suite) lastBootWins() {
	s.claim(1)
	s.claim(2)
	if _, err := s.Directory.Renew(s.Context(), s.slot, 1); !errors.Is(err, presence.ErrReplaced) {
		s.Fatalf("older boot renewed: got %v, want ErrReplaced", err)
	}
	if err := s.Directory.Claim(s.Context(), s.slot, 1); !errors.Is(err, presence.ErrReplaced) {
		s.Fatalf("older boot claimed: got %v, want ErrReplaced", err)
	}
	if lapsed, err := s.Directory.Renew(s.Context(), s.slot, 2); err != nil || lapsed {
		s.Fatalf("younger boot: lapsed %v, err %v", lapsed, err)
	}
}

func (s *suite) olderBoot() {
	u := newUser()
	s.claim(1)
	s.register(u, 1, 1)
	s.claim(2)
	s.want(u, false)
	young := s.register(u, 2, 1)
	s.want(u, true, young)
}

func (s *suite) lapsedLease() {
	u := newUser()
	s.claim(1)
	r := s.register(u, 1, 1)
	s.Advance(presence.LeaseTTL + time.Second)
	s.want(u, false, r)
	if lapsed, err := s.Directory.Renew(s.Context(), s.slot, 1); err != nil || !lapsed {
		s.Fatalf("renew after the end: lapsed %v, err %v", lapsed, err)
	}
	s.want(u, true, r)
}

func (s *suite) released() {
	u := newUser()
	s.claim(1)
	r := s.register(u, 1, 1)
	if err := s.Directory.Release(s.Context(), s.slot, 1); err != nil {
		s.Fatal(err)
	}
	s.want(u, false, r)
}

func (s *suite) foreignRelease() {
	u := newUser()
	s.claim(1)
	s.claim(2)
	r := s.register(u, 2, 1)
	if err := s.Directory.Release(s.Context(), s.slot, 1); err != nil {
		s.Fatal(err)
	}
	s.want(u, true, r)
}

func (s *suite) renewed() {
	u := newUser()
	s.claim(1)
	r := s.register(u, 1, 1)
	for range 4 {
		s.Advance(presence.RenewEvery)
		if lapsed, err := s.Directory.Renew(s.Context(), s.slot, 1); err != nil || lapsed {
			s.Fatalf("lapsed %v, err %v", lapsed, err)
		}
	}
	s.want(u, true, r)
}

func (s *suite) cancelled() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if _, err := s.Directory.Where(ctx, []chat.UserID{newUser()}); err == nil {
		s.Fatal("got an answer in an ended context")
	}
	if _, err := s.Directory.Apply(ctx, []presence.Change{{User: newUser()}}); err == nil {
		s.Fatal("a change was taken in an ended context")
	}
}
