package rest

import (
	"slices"
	"testing"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// A change of role goes on with the stay; coming back begins another.
func TestMembersOfSpans(t *testing.T) {
	at := func(seq chat.Seq) chat.MessageID { return chat.NewMessageID(chat.Clock(seq), 1, 1) }
	span := func(u chat.UserID, joined, left chat.Seq, role chat.Role) archive.Span {
		return archive.Span{User: u, Joined: joined, Left: left, Role: role, At: at(joined)}
	}
	members, version := membersOfSpans([]archive.Span{
		span(alice, 1, 4, chat.Member), span(alice, 4, 9, chat.Admin), span(alice, 9, 0, chat.Member),
		span(bob, 1, 3, chat.Member), span(bob, 7, 0, chat.Admin),
		span(carol, 4, 12, chat.Member),
	})
	want := []member{{alice, chat.Member, 1, at(1)}, {bob, chat.Admin, 7, at(7)}}
	if !slices.Equal(members, want) || version != 12 {
		t.Errorf("got %v, version %d; want %v, version 12", members, version, want)
	}
	if members, version := membersOfSpans(nil); members != nil || version != 0 {
		t.Errorf("of nothing: got %v, %d", members, version)
	}
}
