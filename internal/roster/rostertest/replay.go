package rostertest

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"

	"switchboard/internal/chat"
	"switchboard/internal/roster"
)

// story is some lives of groups, as one partition's log has them: the changes of
// each conversation in order, those of different ones mixed.
type story struct {
	conversations []chat.ConversationID
	changes       []roster.Change
}

// newStory makes a story of that many changes, the same for each seed but for the
// ids.
func newStory(seed uint64, changes int) story {
	random := rand.New(rand.NewPCG(seed, 1))
	var s story
	users := newUsers(6)
	type life struct {
		seq     chat.Seq
		members map[chat.UserID]bool
	}
	lives := map[chat.ConversationID]*life{}
	for range 5 {
		c := newConversation()
		s.conversations = append(s.conversations, c)
		lives[c] = &life{}
	}
	for len(s.changes) < changes {
		c := s.conversations[random.IntN(len(s.conversations))]
		l, u := lives[c], users[1+random.IntN(len(users)-1)]
		l.seq++
		switch kind := random.IntN(5); {
		case l.seq == 1:
			s.changes = append(s.changes, group(c, "began", users[0], users[1], users[2]))
			l.members = map[chat.UserID]bool{users[0]: true, users[1]: true, users[2]: true}
		case kind == 0:
			s.changes = append(s.changes, renamed(c, l.seq, string(rune('a'+len(s.changes)%26))))
		case kind == 1:
			l.seq++ // Messages lie between.
			s.changes = append(s.changes, roster.Change{Conversation: c, Seq: l.seq, At: at(l.seq)})
		case !l.members[u]:
			s.changes = append(s.changes, added(c, l.seq, u, chat.Member))
			l.members[u] = true
		case kind == 2:
			s.changes = append(s.changes, removed(c, l.seq, u))
			l.members[u] = false
		default:
			s.changes = append(s.changes, role(c, l.seq, u, chat.Role(1+random.IntN(2))))
		}
	}
	return s
}

// batches cuts changes into batches of up to most.
func batches(random *rand.Rand, changes []roster.Change, most int) (all [][]roster.Change) {
	for len(changes) > 0 {
		n := min(1+random.IntN(most), len(changes))
		all = append(all, changes[:n])
		changes = changes[n:]
	}
	return all
}

func (s *suite) rows(st story) (all [][]string) {
	s.Helper()
	for _, c := range st.conversations {
		all = append(all, s.tables(s.T, c))
	}
	return all
}

func (s *suite) same(what string, got, want [][]string) {
	s.Helper()
	if !reflect.DeepEqual(got, want) {
		s.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

func (s *suite) repeated() {
	st := newStory(1, 60)
	random := rand.New(rand.NewPCG(1, 2))
	for _, b := range batches(random, st.changes, 7) {
		s.apply(b...)
		once := s.rows(st)
		s.apply(b...)
		s.same("after the second time", s.rows(st), once)
	}
}

// replay applies one change at a time, then everything again from each offset
// on, in batches of other sizes.
func (s *suite) replay() {
	st := newStory(2, 80)
	for _, c := range st.changes {
		s.apply(c)
	}
	want := s.rows(st)
	random := rand.New(rand.NewPCG(2, 2))
	for from := 0; from < len(st.changes); from += 1 + random.IntN(5) {
		for _, b := range batches(random, st.changes[from:], 1+random.IntN(30)) {
			s.apply(b...)
			s.same("in the middle of a replay", s.rows(st), want)
		}
	}
}

// shuffled repeats parts of what was applied while it goes on.
func (s *suite) shuffled() {
	st := newStory(3, 80)
	random := rand.New(rand.NewPCG(3, 2))
	var done [][]roster.Change
	for _, b := range batches(random, st.changes, 6) {
		s.apply(b...)
		done = append(done, b)
		want := s.rows(st)
		for _, i := range random.Perm(len(done))[:min(4, len(done))] {
			s.apply(done[i]...)
		}
		s.same("after old batches", s.rows(st), want)
	}
}

// concurrent lets three projectors apply the same log, each in batches of its own.
func (s *suite) concurrent() {
	st := newStory(4, 150)
	var projectors sync.WaitGroup
	for seed := range uint64(3) {
		projectors.Go(func() {
			random := rand.New(rand.NewPCG(4, seed))
			for _, b := range batches(random, st.changes, 9) {
				if err := s.store.Apply(s.Context(), b, s.progressAt(int64(b[len(b)-1].Seq))); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	projectors.Wait()
	got := s.rows(st)
	s.apply(st.changes...)
	s.same("repeating it after them", got, s.rows(st))
	s.same("what one would have made", got, model(st))
}

// model says what the tables of a story must hold.
func model(st story) (all [][]string) {
	for _, c := range st.conversations {
		var name string
		var updated, version, named chat.Seq
		roles, joined := map[chat.UserID]chat.Role{}, map[chat.UserID]chat.Seq{}
		for _, ch := range st.changes {
			if ch.Conversation != c || ch.What == chat.ChangeNone {
				continue
			}
			updated = ch.Seq
			if ch.What != chat.Renamed {
				version = ch.Seq
			}
			switch ch.What {
			case chat.Created:
				for _, u := range ch.Added {
					roles[u], joined[u] = chat.Member, ch.Seq
				}
				roles[ch.Creator] = chat.Admin
				name, named = ch.Name, ch.Seq
			case chat.Renamed:
				name, named = ch.Name, ch.Seq
			case chat.MemberAdded:
				roles[ch.User], joined[ch.User] = ch.Role, ch.Seq
			case chat.MemberRemoved:
				delete(roles, ch.User)
			case chat.RoleChanged:
				roles[ch.User] = ch.Role
			case chat.ChangeNone:
			}
		}
		lines := []string{}
		for u, r := range roles {
			lines = append(lines, memberLine(u, r, joined[u]))
		}
		slices.Sort(lines)
		all = append(all, append([]string{conversationLine(chat.Group, name, updated, version, named)}, lines...))
	}
	return all
}

func (s *suite) unknown() {
	u, known, c, d := newUsers(3), newConversation(), newConversation(), newConversation()
	s.apply(group(known, "", u[0], u[1]))
	before := s.tables(s.T, known)
	err := s.store.Apply(s.Context(), []roster.Change{
		added(known, 2, u[2], chat.Member), added(c, 5, u[0], chat.Member), renamed(c, 6, "x"), removed(d, 9, u[1]),
	}, s.progressAt(100))
	var unknown *roster.UnknownError
	if !errors.As(err, &unknown) {
		s.Fatalf("got %v, want an UnknownError", err)
	}
	want := roster.Named([]roster.Change{{Conversation: c}, {Conversation: d}})
	if !slices.Equal(unknown.Conversations, want) {
		s.Errorf("got %v, want %v", unknown.Conversations, want)
	}
	s.expect(known, before...)
	s.expect(c)
	if p, _, err := s.store.Progress(s.Context(), s.generation, 3); err != nil || p.Next != 1 {
		s.Errorf("progress: got %v, %v", p, err)
	}
}

func (s *suite) mentioned() {
	u, c := newUsers(2), newConversation()
	mention := roster.Change{Conversation: c, Seq: 7, At: at(7)}
	var unknown *roster.UnknownError
	if err := s.store.Apply(s.Context(), []roster.Change{mention}, s.progressAt(1)); !errors.As(err, &unknown) {
		s.Fatalf("got %v, want an UnknownError", err)
	}
	s.apply(group(c, "", u...))
	before := s.tables(s.T, c)
	s.apply(mention)
	s.expect(c, before...)
}

func (s *suite) loaded() {
	u, c := newUsers(4), newConversation()
	snapshot := roster.Snapshot{
		Conversation: c, Type: chat.Group, Name: "late\x00r", Created: at(1), Updated: at(20), Version: 20,
		Members: []roster.Member{{User: u[0], Role: chat.Admin, Joined: at(1)}, {User: u[2], Role: chat.Member, Joined: at(9)}},
	}
	load := func() {
		if err := s.store.Load(s.Context(), snapshot); err != nil {
			s.Fatal(err)
		}
	}
	load()
	s.expect(c, conversationLine(chat.Group, "late␀r", 20, 20, 20),
		memberLine(u[0], chat.Admin, 1), memberLine(u[2], chat.Member, 9))
	s.apply(group(c, "first", u[0], u[1]), renamed(c, 19, "old"), removed(c, 20, u[0]))
	s.apply(added(c, 21, u[3], chat.Member), renamed(c, 22, "new"))
	want := []string{
		conversationLine(chat.Group, "new", 22, 21, 22),
		memberLine(u[0], chat.Admin, 1), memberLine(u[2], chat.Member, 9), memberLine(u[3], chat.Member, 21),
	}
	s.expect(c, want...)
	load()
	s.expect(c, want...)
}

func (s *suite) oldSnapshot() {
	u, c := newUsers(3), newConversation()
	s.apply(group(c, "", u...), removed(c, 8, u[1]))
	want := s.tables(s.T, c)
	for _, version := range []chat.Seq{7, 8} {
		err := s.store.Load(s.Context(), roster.Snapshot{
			Conversation: c, Type: chat.Group, Name: "old", Version: version, Members: []roster.Member{{User: u[1], Role: chat.Member}},
		})
		if err != nil {
			s.Fatal(err)
		}
		s.expect(c, want...)
	}
	if err := s.store.Load(s.Context(), roster.Snapshot{
		Conversation: c, Type: chat.Group, Name: "newer", Created: at(1), Updated: at(9), Version: 9,
		Members: []roster.Member{{User: u[1], Role: chat.Admin, Joined: at(9)}},
	}); err != nil {
		s.Fatal(err)
	}
	s.expect(c, conversationLine(chat.Group, "newer", 9, 9, 9), memberLine(u[1], chat.Admin, 9))
}

func (s *suite) progress() {
	ctx := s.Context()
	for _, step := range []struct{ apply, want int64 }{{10, 10}, {15, 15}, {12, 15}, {15, 15}, {1 << 60, 1 << 60}} {
		if err := s.store.Apply(ctx, nil, s.progressAt(step.apply)); err != nil {
			s.Fatal(err)
		}
		got, ok, err := s.store.Progress(ctx, s.generation, 3)
		if want := s.progressAt(step.want); err != nil || !ok || got != want {
			s.Errorf("after %d: got %v, %v, %v, want %v", step.apply, got, ok, err, want)
		}
	}
}

func (s *suite) progressApart() {
	ctx := s.Context()
	all := []roster.Progress{
		{Generation: s.generation, Partition: 0, Next: 5, Last: 4},
		{Generation: s.generation, Partition: 1023, Next: 9, Last: 7},
		{Generation: s.generation ^ 1<<31, Partition: 0, Next: 1, Last: 0},
	}
	for _, p := range all {
		if err := s.store.Apply(ctx, nil, p); err != nil {
			s.Fatal(err)
		}
	}
	for _, want := range all {
		got, ok, err := s.store.Progress(ctx, want.Generation, want.Partition)
		if err != nil || !ok || got != want {
			s.Errorf("got %v, %v, %v, want %v", got, ok, err, want)
		}
	}
}

func (s *suite) peers() {
	ctx, n := s.Context(), roster.PeersMax+5
	u := newUsers(n + 2)
	own, stranger := u[n], u[n+1]
	var changes []roster.Change
	for i, peer := range u[:n] {
		c := group(newConversation(), "", own, peer)
		c.Type, c.At = chat.Direct, at(chat.Seq(i))
		changes = append(changes, c)
	}
	changes = append(changes, group(newConversation(), "", own, stranger))
	s.apply(changes...)
	for limit, want := range map[int]int{1: 1, 10: 10, roster.PeersMax: roster.PeersMax, 1 << 20: roster.PeersMax} {
		got, err := s.store.Peers(ctx, own, limit)
		newest := slices.Clone(u[n-want : n])
		slices.Reverse(newest)
		if err != nil || !slices.Equal(got, newest) {
			s.Errorf("limit %d: got %d peers, %v, want the newest %d", limit, len(got), err, want)
		}
	}
	if got, err := s.store.Peers(ctx, u[3], 10); err != nil || !slices.Equal(got, []chat.UserID{own}) {
		s.Errorf("the other way: got %v, %v", got, err)
	}
	if got, err := s.store.Peers(ctx, stranger, 10); err != nil || len(got) != 0 {
		s.Errorf("a group makes no peers: got %v, %v", got, err)
	}
}

func (s *suite) sharing() {
	u := newUsers(roster.SharingMax + 1)
	first, second := newConversation(), newConversation()
	s.apply(group(first, "", u[0], u[1], u[2]), group(second, "", u[0], u[1], u[3]), removed(second, 2, u[3]))
	got, err := s.store.Sharing(s.Context(), u[0], []chat.UserID{u[2], u[3], u[1], u[4]})
	if want := []chat.UserID{u[2], u[1]}; err != nil || !slices.Equal(got, want) {
		s.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := s.store.Sharing(s.Context(), u[3], u[:roster.SharingMax]); err != nil || len(got) != 0 {
		s.Errorf("who left: got %v, %v", got, err)
	}
	if _, err := s.store.Sharing(s.Context(), u[0], u); err == nil {
		s.Error("more than the limit were asked for without an error")
	}
}
