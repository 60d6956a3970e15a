package postgres_test

import (
	"fmt"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/roster"
)

// BenchmarkApply is new groups of five, so many to a batch; an operation is one
// group.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 10, 100} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			c := schema(b)
			migrate(b, c)
			s := open(b, c)
			n := 0
			for b.Loop() {
				if n++; n%size == 0 {
					applyGroups(b, s, size, int64(n))
				}
			}
		})
	}
}

func applyGroups(b *testing.B, s roster.Store, groups int, next int64) {
	changes := make([]roster.Change, groups)
	for i := range changes {
		users := make([]chat.UserID, 5)
		for j := range users {
			users[j] = chat.UserID(chat.NewRequestID())
		}
		changes[i] = roster.Change{
			Conversation: chat.ConversationID(chat.NewRequestID()), Seq: 1, At: chat.ClockAt(1_800_000_000),
			What: chat.Created, Type: chat.Group, Creator: users[0], Added: users, Name: "Friday",
		}
	}
	if err := s.Apply(b.Context(), changes, roster.Progress{Generation: 1, Next: next}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkMembers reads a conversation with 10,000 members whole.
func BenchmarkMembers(b *testing.B) {
	c := schema(b)
	migrate(b, c)
	s := open(b, c)
	crowd := roster.Change{Conversation: chat.ConversationID{1}, Seq: 1, What: chat.Created, Type: chat.Group}
	for range chat.MembersMax {
		crowd.Added = append(crowd.Added, chat.UserID(chat.NewRequestID()))
	}
	if err := s.Apply(b.Context(), []roster.Change{crowd}, roster.Progress{Generation: 1}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		got, err := s.Members(b.Context(), crowd.Conversation, chat.UserID{}, roster.PageMax)
		if err != nil || len(got) != chat.MembersMax {
			b.Fatalf("%d members, %v", len(got), err)
		}
	}
}

// BenchmarkPeers is a user in as many conversations as there may be, half of them
// direct.
func BenchmarkPeers(b *testing.B) {
	c := schema(b)
	migrate(b, c)
	s := open(b, c)
	own := chat.UserID{1}
	var changes []roster.Change
	for i := range chat.ConversationsPerUser {
		changes = append(changes, roster.Change{
			Conversation: chat.ConversationID(chat.NewRequestID()), Seq: 1, At: chat.Clock(i), What: chat.Created,
			Type: chat.Type(1 + i%2), Creator: own, Added: []chat.UserID{own, chat.UserID(chat.NewRequestID())},
		})
	}
	if err := s.Apply(b.Context(), changes, roster.Progress{Generation: 1}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got, err := s.Peers(b.Context(), own, roster.PeersMax); err != nil || len(got) != roster.PeersMax {
			b.Fatalf("%d peers, %v", len(got), err)
		}
	}
}
