// Package rostertest is the suite that every roster.Store passes: each promise of
// the interface, and above all that repeating a batch, or applying it beside
// another projector, changes nothing.
package rostertest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/roster"
)

// Tables lists what is stored of a conversation, one line for each row in a fixed
// order: the rows as an operator's SQL sees them. Names are quoted by %q, times
// are microseconds.
//
//	conversation group "Friday" created 1 updated 3 versions 3 1
//	member 62e4… admin joined 1
type Tables func(t *testing.T, c chat.ConversationID) []string

// Run runs the suite; open is called for each test and returns a store that may
// hold what others wrote, since all ids of the suite are new, and a way to look at
// its tables.
func Run(t *testing.T, open func(t *testing.T) (roster.Store, Tables)) {
	tests := []struct {
		name string
		run  func(s *suite)
	}{
		{"an empty roster answers with nothing", (*suite).empty},
		{"a direct conversation and a group", (*suite).created},
		{"members come, go, come back and change roles", (*suite).memberships},
		{"a list says which version it is of", (*suite).lists},
		{"several changes of a member in one batch", (*suite).oneBatch},
		{"an admin leaves and hands over", (*suite).handOver},
		{"the newest name wins", (*suite).renames},
		{"a name with U+0000 is kept with its symbol", (*suite).nulInName},
		{"a name that is too long is cut", (*suite).longName},
		{"a conversation grows beyond 100 and shrinks", (*suite).crossing},
		{"10,000 members come page by page", (*suite).tenThousand},
		{"a batch that is repeated changes nothing", (*suite).repeated},
		{"replaying from any offset gives the same rows", (*suite).replay},
		{"batches that come again in any order change nothing", (*suite).shuffled},
		{"projectors at the same time end with the rows of one", (*suite).concurrent},
		{"an unknown conversation refuses the whole batch", (*suite).unknown},
		{"an event that changes nothing asks whether the conversation is known", (*suite).mentioned},
		{"a conversation is loaded and goes on", (*suite).loaded},
		{"an older snapshot changes nothing", (*suite).oldSnapshot},
		{"progress moves forward only", (*suite).progress},
		{"progress of generations and partitions is kept apart", (*suite).progressApart},
		{"peers are those of direct conversations, the newest first", (*suite).peers},
		{"who shares a conversation", (*suite).sharing},
		{"an ended context is an error", (*suite).cancelled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			store, tables := open(t)
			test.run(&suite{T: t, store: store, tables: tables, generation: newGeneration()})
		})
	}
}

// suite is one test.
type suite struct {
	*testing.T
	store      roster.Store
	tables     Tables
	generation uint32 // of progress: nobody else's
}

func newConversation() chat.ConversationID { return chat.ConversationID(chat.NewRequestID()) }

func newGeneration() uint32 {
	id := chat.NewRequestID()
	return uint32(id[12])<<24 | uint32(id[13])<<16 | uint32(id[14])<<8 | uint32(id[15])
}

// newUsers returns n users, ascending.
func newUsers(n int) []chat.UserID {
	users := make([]chat.UserID, n)
	base := chat.UserID(chat.NewRequestID())
	for i := range users {
		users[i] = base
		users[i][0], users[i][1] = byte(i>>8), byte(i)
	}
	return users
}

// at is the time of the n-th event, in ticks that PostgreSQL must not round.
func at(n chat.Seq) chat.Clock { return chat.ClockAt(1_700_000_000) + chat.Clock(n)*1_000_001 }

func (s *suite) progressAt(next int64) roster.Progress {
	return roster.Progress{Generation: s.generation, Partition: 3, Next: next, Last: next - 1}
}

// apply applies the changes as one batch that ends at the last seq.
func (s *suite) apply(changes ...roster.Change) {
	s.Helper()
	if err := s.store.Apply(s.Context(), changes, s.progressAt(int64(changes[len(changes)-1].Seq))); err != nil {
		s.Fatal(err)
	}
}

// expect compares the tables of a conversation.
func (s *suite) expect(c chat.ConversationID, want ...string) {
	s.Helper()
	if got := s.tables(s.T, c); !slices.Equal(got, want) {
		s.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// conversationLine and memberLine are lines of [Tables], times as numbers of
// events; a conversation was created by the first.
func conversationLine(kind chat.Type, name string, updated, members, named chat.Seq) string {
	return fmt.Sprintf("conversation %s %q created %d updated %d versions %d %d", kind, name, at(1), at(updated), members, named)
}

func memberLine(u chat.UserID, role chat.Role, joined chat.Seq) string {
	return fmt.Sprintf("member %s %s joined %d", u, role, at(joined))
}

func group(c chat.ConversationID, name string, users ...chat.UserID) roster.Change {
	return roster.Change{
		Conversation: c, Seq: 1, At: at(1), What: chat.Created, Type: chat.Group, Creator: users[0], Added: users, Name: name,
	}
}

func added(c chat.ConversationID, seq chat.Seq, u chat.UserID, role chat.Role) roster.Change {
	return roster.Change{Conversation: c, Seq: seq, At: at(seq), What: chat.MemberAdded, User: u, Role: role}
}

func removed(c chat.ConversationID, seq chat.Seq, u chat.UserID) roster.Change {
	return roster.Change{Conversation: c, Seq: seq, At: at(seq), What: chat.MemberRemoved, User: u}
}

func role(c chat.ConversationID, seq chat.Seq, u chat.UserID, r chat.Role) roster.Change {
	return roster.Change{Conversation: c, Seq: seq, At: at(seq), What: chat.RoleChanged, User: u, Role: r}
}

func renamed(c chat.ConversationID, seq chat.Seq, name string) roster.Change {
	return roster.Change{Conversation: c, Seq: seq, At: at(seq), What: chat.Renamed, Name: name}
}

func (s *suite) empty() {
	ctx, u := s.Context(), newUsers(2)
	members, err := s.store.Members(ctx, newConversation(), chat.UserID{}, 10)
	if err != nil || len(members) != 0 {
		s.Errorf("members: got %v, %v", members, err)
	}
	peers, err := s.store.Peers(ctx, u[0], 10)
	if err != nil || len(peers) != 0 {
		s.Errorf("peers: got %v, %v", peers, err)
	}
	sharing, err := s.store.Sharing(ctx, u[0], u)
	if err != nil || len(sharing) != 0 {
		s.Errorf("sharing: got %v, %v", sharing, err)
	}
	if p, ok, err := s.store.Progress(ctx, s.generation, 3); ok || err != nil {
		s.Errorf("progress: got %v, %v, %v", p, ok, err)
	}
	if err := s.store.Apply(ctx, nil, s.progressAt(7)); err != nil {
		s.Errorf("a batch without changes: %v", err)
	}
	s.expect(newConversation())
}

func (s *suite) created() {
	u, direct, friday := newUsers(3), newConversation(), newConversation()
	pair := group(direct, "", u[1], u[0])
	pair.Type = chat.Direct
	s.apply(pair, group(friday, "Friday", u[1], u[0], u[2]))
	s.expect(direct, conversationLine(chat.Direct, "", 1, 1, 1),
		memberLine(u[0], chat.Member, 1), memberLine(u[1], chat.Member, 1))
	s.expect(friday, conversationLine(chat.Group, "Friday", 1, 1, 1),
		memberLine(u[0], chat.Member, 1), memberLine(u[1], chat.Admin, 1), memberLine(u[2], chat.Member, 1))
}

func (s *suite) memberships() {
	u, c := newUsers(3), newConversation()
	for _, change := range []roster.Change{
		group(c, "", u[0], u[1]), added(c, 2, u[2], chat.Member), removed(c, 4, u[1]), role(c, 5, u[2], chat.Admin),
	} {
		s.apply(change)
	}
	s.expect(c, conversationLine(chat.Group, "", 5, 5, 1), memberLine(u[0], chat.Admin, 1), memberLine(u[2], chat.Admin, 2))
	s.apply(added(c, 9, u[1], chat.Admin))
	s.expect(c, conversationLine(chat.Group, "", 9, 9, 1),
		memberLine(u[0], chat.Admin, 1), memberLine(u[1], chat.Admin, 9), memberLine(u[2], chat.Admin, 2))
}

func (s *suite) lists() {
	u, c := newUsers(3), newConversation()
	want := func(version chat.Seq, members ...string) {
		s.Helper()
		list, v, err := s.store.List(s.Context(), c)
		if err != nil {
			s.Fatal(err)
		}
		var got []string
		for _, m := range list {
			got = append(got, fmt.Sprintf("member %s %s joined %d", m.User, m.Role, m.Joined))
		}
		slices.Sort(got)
		slices.Sort(members)
		if v != version || !slices.Equal(got, members) {
			s.Errorf("got %v as of %d, want %v as of %d", got, v, members, version)
		}
	}
	want(0)
	s.apply(group(c, "", u[0], u[1]))
	want(1, memberLine(u[0], chat.Admin, 1), memberLine(u[1], chat.Member, 1))
	s.apply(added(c, 2, u[2], chat.Member))
	s.apply(role(c, 3, u[2], chat.Admin))
	s.apply(removed(c, 4, u[1]), renamed(c, 5, "other"))
	want(4, memberLine(u[0], chat.Admin, 1), memberLine(u[2], chat.Admin, 2))
	s.apply(removed(c, 6, u[0]), removed(c, 7, u[2]))
	want(7)
}

func (s *suite) oneBatch() {
	u, c := newUsers(5), newConversation()
	s.apply(
		group(c, "one", u[0], u[1], u[2]), added(c, 2, u[3], chat.Member), role(c, 3, u[3], chat.Admin),
		removed(c, 4, u[1]), added(c, 5, u[1], chat.Member), removed(c, 6, u[2]), renamed(c, 7, "two"),
		added(c, 8, u[4], chat.Member), removed(c, 9, u[4]), renamed(c, 10, "three"),
	)
	s.expect(c, conversationLine(chat.Group, "three", 10, 9, 10),
		memberLine(u[0], chat.Admin, 1), memberLine(u[1], chat.Member, 5), memberLine(u[3], chat.Admin, 2))
}

func (s *suite) handOver() {
	u, c := newUsers(3), newConversation()
	s.apply(group(c, "", u[0], u[1], u[2]))
	leaves, follows := removed(c, 2, u[0]), role(c, 3, u[1], chat.Admin)
	s.apply(leaves, follows)
	want := []string{conversationLine(chat.Group, "", 3, 3, 1), memberLine(u[1], chat.Admin, 1), memberLine(u[2], chat.Member, 1)}
	s.expect(c, want...)
	s.apply(follows)
	s.apply(leaves, follows)
	s.expect(c, want...)
}

func (s *suite) renames() {
	u, c := newUsers(2), newConversation()
	s.apply(group(c, "first", u...), renamed(c, 2, "second"), renamed(c, 3, ""))
	s.expect(c, conversationLine(chat.Group, "", 3, 1, 3), memberLine(u[0], chat.Admin, 1), memberLine(u[1], chat.Member, 1))
	s.apply(renamed(c, 4, "Ёлка 🎄"))
	s.apply(renamed(c, 3, ""), renamed(c, 2, "second"))
	s.expect(c, conversationLine(chat.Group, "Ёлка 🎄", 4, 1, 4), memberLine(u[0], chat.Admin, 1), memberLine(u[1], chat.Member, 1))
}

func (s *suite) nulInName() {
	u, c := newUsers(2), newConversation()
	s.apply(group(c, "a\x00b", u...))
	s.expect(c, conversationLine(chat.Group, "a␀b", 1, 1, 1), memberLine(u[0], chat.Admin, 1), memberLine(u[1], chat.Member, 1))
	s.apply(renamed(c, 2, "\x00"))
	s.expect(c, conversationLine(chat.Group, "␀", 2, 1, 2), memberLine(u[0], chat.Admin, 1), memberLine(u[1], chat.Member, 1))
}

func (s *suite) longName() {
	u, c := newUsers(2), newConversation()
	s.apply(group(c, strings.Repeat("ё", chat.NameRunes+1), u...))
	s.expect(c, conversationLine(chat.Group, strings.Repeat("ё", chat.NameRunes), 1, 1, 1),
		memberLine(u[0], chat.Admin, 1), memberLine(u[1], chat.Member, 1))
}

// members reads all members by pages of that many.
func (s *suite) members(c chat.ConversationID, page int) (all []roster.Member, pages int) {
	s.Helper()
	for after := (chat.UserID{}); ; after = all[len(all)-1].User {
		got, err := s.store.Members(s.Context(), c, after, page)
		if err != nil {
			s.Fatal(err)
		}
		all, pages = append(all, got...), pages+1
		if len(got) < page {
			return all, pages
		}
	}
}

func (s *suite) crossing() {
	u, c := newUsers(chat.LargeAbove+1), newConversation()
	s.apply(group(c, "", u[:chat.LargeAbove]...))
	s.apply(added(c, 2, u[chat.LargeAbove], chat.Member))
	if got, _ := s.members(c, 40); len(got) != chat.LargeAbove+1 {
		s.Errorf("got %d members, want %d", len(got), chat.LargeAbove+1)
	}
	s.apply(removed(c, 3, u[7]))
	got, _ := s.members(c, 40)
	if len(got) != chat.LargeAbove || slices.ContainsFunc(got, func(m roster.Member) bool { return m.User == u[7] }) {
		s.Errorf("got %d members, want %d without the one who left", len(got), chat.LargeAbove)
	}
}

func (s *suite) tenThousand() {
	u, c := newUsers(chat.MembersMax), newConversation()
	s.apply(group(c, "", u...))
	s.apply(added(c, 2, chat.UserID{0xff}, chat.Member), removed(c, 3, chat.UserID{0xff}))
	got, pages := s.members(c, 3000)
	if pages != 4 {
		s.Errorf("got %d pages, want 4", pages)
	}
	want := make([]roster.Member, len(u))
	for i := range u {
		want[i] = roster.Member{User: u[i], Role: chat.Member, Joined: at(1)}
	}
	want[0].Role = chat.Admin
	if !reflect.DeepEqual(got, want) {
		s.Errorf("got %d members that are not the %d", len(got), len(want))
	}
	if one, err := s.store.Members(s.Context(), c, u[41], 1); err != nil || len(one) != 1 || one[0].User != u[42] {
		s.Errorf("after the 42nd: got %v, %v", one, err)
	}
}

func (s *suite) cancelled() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	u, c := newUsers(2), newConversation()
	if err := s.store.Apply(ctx, []roster.Change{group(c, "", u...)}, s.progressAt(1)); !errors.Is(err, context.Canceled) {
		s.Errorf("apply: got %v", err)
	}
	if _, err := s.store.Members(ctx, c, chat.UserID{}, 1); !errors.Is(err, context.Canceled) {
		s.Errorf("members: got %v", err)
	}
	if err := s.store.Load(ctx, roster.Snapshot{Conversation: c, Type: chat.Group}); !errors.Is(err, context.Canceled) {
		s.Errorf("load: got %v", err)
	}
	s.expect(c)
}
