package presencetest

import (
	"context"
	"slices"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// leave removes a session as of a time.
func (s *suite) leave(u chat.UserID, r presence.Route, at time.Time) {
	s.Helper()
	s.apply(presence.Change{User: u, Route: r, Remove: true, Ended: at})
}

// sight returns a sighting of one user; asking twice gives the same.
func (s *suite) sight(u chat.UserID) presence.Sighting {
	s.Helper()
	var first presence.Sighting
	for range 2 {
		seen, err := s.Sightings.Seen(s.Context(), []chat.UserID{newUser(), u})
		if err != nil {
			s.Fatalf("seen: %v", err)
		}
		if first != (presence.Sighting{}) && first != seen[1] {
			s.Fatalf("asked again, got %+v after %+v", seen[1], first)
		}
		first = seen[1]
	}
	return first
}

// seen checks that a user is offline since a time, give or take two seconds: it
// is the time of a clock, and told to the second.
func (s *suite) seen(u chat.UserID, want time.Time) {
	s.Helper()
	got := s.sight(u)
	if got.Online || got.Last.Sub(want).Abs() > 2*time.Second {
		s.Fatalf("got %+v, want offline since %v", got, want)
	}
}

func (s *suite) neverSeen() {
	if got := s.sight(newUser()); got != (presence.Sighting{}) {
		s.Fatalf("got %+v, want nothing", got)
	}
	s.claim(1)
	u := newUser()
	s.apply(presence.Change{User: u, Route: s.register(u, 1, 1), Remove: true})
	if got := s.sight(u); got != (presence.Sighting{}) {
		s.Fatalf("nobody said when the session ended, got %+v", got)
	}
	if seen, err := s.Sightings.Seen(s.Context(), nil); err != nil || len(seen) != 0 {
		s.Fatalf("of nobody: got %v, %v", seen, err)
	}
}

func (s *suite) lastSeen() {
	u, ended := newUser(), time.Unix(1_790_000_000, 0)
	s.claim(1)
	s.leave(u, s.register(u, 1, 1), ended)
	s.seen(u, ended)
	s.leave(u, s.register(u, 1, 2), ended.Add(time.Hour))
	s.seen(u, ended.Add(time.Hour))
}

func (s *suite) oneOfTwo() {
	u, ended := newUser(), time.Unix(1_790_000_000, 0)
	s.claim(1)
	first, second := s.register(u, 1, 1), s.register(u, 1, 2)
	s.leave(u, first, ended)
	if !s.sight(u).Online {
		s.Fatal("one session is left, and its user is not online")
	}
	s.leave(u, second, ended.Add(time.Minute))
	s.seen(u, ended.Add(time.Minute))
}

func (s *suite) seenOnDead() {
	u := newUser()
	s.claim(1)
	claimed := time.Now()
	s.register(u, 1, 1)
	s.Advance(presence.LeaseTTL + time.Second)
	s.seen(u, claimed.Add(presence.LeaseTTL))
}

func (s *suite) seenOnReplaced() {
	inRoutes, inSightings := newUser(), newUser()
	s.claim(1)
	claimed := time.Now()
	s.register(inRoutes, 1, 1)
	s.register(inSightings, 1, 2)
	for boot := range uint64(10) {
		s.claim(2 + boot)
	}
	s.want(inRoutes, false) // Whoever routes finds the dead entry and removes it.
	s.seen(inRoutes, claimed.Add(presence.LeaseTTL))
	s.seen(inSightings, claimed.Add(presence.LeaseTTL))
}

func (s *suite) seenOnReleased() {
	u := newUser()
	s.claim(1)
	s.register(u, 1, 1)
	if err := s.Directory.Release(s.Context(), s.slot, 1); err != nil {
		s.Fatal(err)
	}
	s.seen(u, time.Now())
}

func (s *suite) laterSighting() {
	u, ended := newUser(), time.Now().Add(time.Hour)
	s.claim(1)
	s.register(u, 1, 1)
	s.claim(2)
	s.leave(u, s.register(u, 2, 1), ended)
	s.seen(u, ended)
	s.want(u, false)
	s.seen(u, ended)
}

func (s *suite) sightingCancelled() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if _, err := s.Sightings.Seen(ctx, []chat.UserID{newUser()}); err == nil {
		s.Fatal("got an answer in an ended context")
	}
}

func (s *suite) news() {
	first, second := newUser(), newUser()
	notice := func(want []bool, users ...chat.UserID) {
		s.Helper()
		news, err := s.Notices.NoticeOnline(s.Context(), users)
		if err != nil || !slices.Equal(news, want) {
			s.Fatalf("news: got %v, %v, want %v", news, err, want)
		}
	}
	forget := func(users ...chat.UserID) {
		s.Helper()
		if _, err := s.Notices.NoticeOffline(s.Context(), users); err != nil {
			s.Fatal(err)
		}
	}
	notice(nil)
	notice([]bool{true}, first)
	notice([]bool{false, true, false}, first, second, second)
	forget(second, newUser())
	forget()
	notice([]bool{false, true}, first, second)
	for range 2 { // Whoever did not hear the answer asks again.
		gone, err := s.Notices.NoticeOffline(s.Context(), []chat.UserID{second, newUser()})
		if err != nil || !slices.Equal(gone, []bool{true, false}) {
			s.Fatalf("news of the end: got %v, %v, want it of the first only, each time", gone, err)
		}
	}
	notice([]bool{false, true}, first, second)
	notice([]bool{false, false}, first, second)
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if _, err := s.Notices.NoticeOnline(ctx, []chat.UserID{first}); err == nil {
		s.Fatal("news in an ended context")
	}
}
