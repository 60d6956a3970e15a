package fold

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

func TestOnlyAdminsOfGroupsCommand(t *testing.T) {
	b := newTable(t)
	b.group(5, boris)
	b.pair()
	for _, c := range []struct {
		name string
		in   bus.Inbound
		want string
	}{
		{"member adds", set(boris, clara, 0), "forbidden"},
		{"member promotes itself", set(boris, boris, chat.Admin), "forbidden"},
		{"member removes another", remove(boris, anna), "forbidden"},
		{"member renames", rename(boris, "Mine"), "forbidden"},
		{"stranger adds itself", set(dina, dina, chat.Admin), "not_member"},
		{"stranger removes", remove(dina, anna), "not_member"},
		{"stranger leaves", remove(dina, dina), "not_member"},
		{"stranger renames", rename(dina, "Mine"), "not_member"},
		{"admin sets an unknown role", set(anna, boris, 7), "bad_request"},
		{"admin adds nobody", set(anna, chat.UserID{}, 0), "bad_request"},
		{"admin removes a stranger", remove(anna, dina), "not_found"},
		{"admin renames too long", rename(anna, strings.Repeat("x", 256)), "bad_request"},
		{"last admin steps down", set(anna, anna, chat.Member), "forbidden"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.T = t
			b.want(b.decide(c.in), c.want)
			c.in.Conversation = thePair
			if _, member := b.d.known.get(thePair).find(c.in.Sender); member {
				if got := b.decide(c.in).Code; got != chat.Forbidden && got != chat.BadRequest {
					t.Errorf("the same in a direct conversation: %q, want it forbidden", got)
				}
			}
		})
	}
	leave := remove(boris, boris)
	leave.Conversation = thePair
	b.T = t
	b.want(b.decide(leave), "forbidden") // Nobody leaves a direct conversation.
}

func TestSetMember(t *testing.T) {
	b := newTable(t)
	b.group(5, boris)
	b.want(b.decide(set(anna, clara, 0)), "2 event member_added v2")
	b.want(b.decide(set(anna, clara, 0)), "duplicate of 2")
	b.want(b.decide(set(anna, clara, chat.Member)), "duplicate of 2")
	b.want(b.decide(set(anna, clara, chat.Admin)), "3 event role_changed v3")
	wantSpans(t, b.last, "closed 3 at 3", "opened 3 at 3 as admin")
	b.want(b.decide(set(clara, anna, chat.Member)), "4 event role_changed v4")
	b.want(b.decide(set(clara, dina, chat.Admin)), "5 event member_added v5")
	full := set(clara, user(5), 0)
	full.Set.Limit = 4
	b.want(b.decide(full), "conversation_full")
	full.Set.Limit = 5
	b.want(b.decide(full), "6 event member_added v6")
}

// wantSpans compares what a batch does to spans, written as "closed USER at SEQ"
// and "opened USER at SEQ as ROLE".
func wantSpans(t *testing.T, b *archive.Batch, want ...string) {
	t.Helper()
	var got []string
	for _, s := range b.Closed {
		got = append(got, fmt.Sprintf("closed %d at %d", s.User[15], s.Left))
	}
	for _, s := range b.Opened {
		got = append(got, fmt.Sprintf("opened %d at %d as %s", s.User[15], s.Joined, s.Role))
	}
	if !slices.Equal(got, want) {
		t.Errorf("spans: %q, want %q", got, want)
	}
}

func TestLastAdminWhoLeavesHandsOverToTheLongestMember(t *testing.T) {
	b := newTable(t)
	b.group(5, clara)
	b.decide(set(anna, boris, 0))
	out := b.decide(remove(anna, anna))
	b.want(out, "3 event member_removed v3, 4 event role_changed v4")
	first, second := out.Events[0], out.Events[1]
	if second.User != clara || second.Role != chat.Admin {
		t.Errorf("handed over to %v as %v, want the longest member, clara, as admin", second.User, second.Role)
	}
	if chat.ClockOf(second.ID) != chat.ClockOf(first.ID)+1 || out.Clock != chat.ClockOf(second.ID) {
		t.Errorf("ids at %d and %d, clock at %d: want two ticks of the clock",
			chat.ClockOf(first.ID), chat.ClockOf(second.ID), out.Clock)
	}
	b.wantRecipients(out, false, boris, clara, anna)
	wantSpans(t, b.last, "closed 1 at 3", "closed 3 at 4", "opened 3 at 4 as admin")

	b.want(b.decide(remove(clara, clara)), "5 event member_removed v5, 6 event role_changed v6")
	b.want(b.decide(remove(boris, boris)), "7 event member_removed v7") // Nobody to hand over to.
	b.want(b.decide(message(theGroup, boris, 10, "echo")), "not_member")
}

func TestOneOfSeveralAdminsLeavesWithoutHandingOver(t *testing.T) {
	b := newTable(t)
	b.group(5, boris, clara)
	b.decide(set(anna, boris, chat.Admin))
	b.want(b.decide(remove(anna, anna)), "3 event member_removed v3")
}

func TestAmongEquallyLongMembersTheSmallestIdTakesOver(t *testing.T) {
	b := newTable(t)
	b.group(5, dina, clara, boris)
	b.decide(remove(anna, boris))
	b.decide(set(anna, boris, 0)) // Back again, but not for long.
	out := b.decide(remove(anna, anna))
	if got := out.Events[1].User; got != clara {
		t.Errorf("handed over to %v, want clara", got)
	}
}

func TestRecipientsAreTheMembersAfterTheChangeAndWhoeverItRemoved(t *testing.T) {
	b := newTable(t)
	b.wantRecipients(b.group(9, boris), false, anna, boris)
	b.wantRecipients(b.decide(message(theGroup, boris, 10, "hi")), false, anna, boris)
	b.wantRecipients(b.decide(set(anna, clara, 0)), false, anna, boris, clara)
	b.wantRecipients(b.decide(remove(anna, boris)), false, anna, clara, boris)
	b.wantRecipients(b.decide(remove(dina, boris)), false) // Refused.
	b.wantRecipients(b.pair(), false, anna, boris)
}

func TestMessagesOfLargeConversationsSayTheMembersVersion(t *testing.T) {
	b := newTable(t) // Large above 3.
	b.group(9, boris, clara)
	for i, step := range []struct {
		change  bus.Inbound
		version chat.Seq // of the message that follows
	}{
		{rename(anna, "small"), 0}, // 2, and the message is 3
		{set(anna, dina, 0), 4},
		{rename(anna, "large"), 4},
		{set(anna, dina, chat.Admin), 8},
		{remove(anna, dina), 0},
	} {
		b.decide(step.change)
		out := b.decide(message(theGroup, boris, 20+i, "hi"))
		if got := out.Events[0].MembersVersion; got != step.version {
			t.Errorf("message %d says version %d, want %d", out.Events[0].Seq, got, step.version)
		}
	}
}

func TestLargeConversationNamesOnlyThoseConcerned(t *testing.T) {
	b := newTable(t) // Large above 3.
	b.group(9, boris, clara)
	b.wantRecipients(b.decide(set(anna, dina, 0)), true, anna, dina)
	b.wantRecipients(b.decide(message(theGroup, clara, 10, "hi")), true, clara)
	b.wantRecipients(b.decide(rename(anna, "Go")), true, anna)
	b.wantRecipients(b.decide(remove(dina, dina)), false, anna, boris, clara, dina)
	other := chat.GroupConversation(anna, ask(3))
	b.wantRecipients(b.decide(bus.Inbound{
		Conversation: other, Sender: anna, Request: ask(3),
		Create: &bus.Create{Type: chat.Group, Members: []chat.UserID{dina, anna, boris, clara}, Limit: 4},
	},
	), true, anna, boris, clara, dina) // A created group concerns all whom it begins with.
}

// index returns the rows of the user index that a batch writes, as
// "USER joined–left head large", by user.
func index(b *archive.Batch) (rows []string) {
	for _, s := range b.Stays {
		rows = append(rows, fmt.Sprintf("%d %d–%d head %d %v", s.User[15], s.Joined, s.Left, s.Head.Seq, s.Large))
	}
	slices.Sort(rows)
	return rows
}

func (t *table) wantIndex(want ...string) {
	t.Helper()
	if got := index(t.last); !slices.Equal(got, want) {
		t.Errorf("user index: %q, want %q", got, want)
	}
}

func TestUserIndexFollowsEveryMemberOfASmallConversation(t *testing.T) {
	b := newTable(t)
	b.group(9, boris)
	b.wantIndex("1 1–0 head 1 false", "2 1–0 head 1 false")
	b.decide(message(theGroup, boris, 10, "hi"))
	b.wantIndex("1 1–0 head 2 false", "2 1–0 head 2 false")
	b.decide(set(anna, boris, chat.Admin)) // One stay spans changes of role.
	b.wantIndex("1 1–0 head 3 false", "2 1–0 head 3 false")
	b.decide(remove(anna, boris))
	b.wantIndex("1 1–0 head 4 false", "2 1–4 head 4 false")
	b.decide(set(anna, boris, 0))
	b.wantIndex("1 1–0 head 5 false", "2 5–0 head 5 false")
}

func TestUserIndexOfALargeConversationIsWrittenOnlyForThoseConcerned(t *testing.T) {
	b := newTable(t) // Large above 3.
	b.group(9, boris, clara)
	b.decide(set(anna, dina, 0)) // Crossing upwards writes all.
	b.wantIndex("1 1–0 head 2 true", "2 1–0 head 2 true", "3 1–0 head 2 true", "4 2–0 head 2 true")
	b.decide(message(theGroup, anna, 10, "hi"))
	b.wantIndex()
	b.decide(set(anna, user(5), 0))
	b.wantIndex("5 4–0 head 4 true")
	b.decide(remove(anna, user(5)))
	b.wantIndex("5 4–5 head 5 true")
	b.decide(remove(anna, dina)) // Crossing downwards writes all.
	b.wantIndex("1 1–0 head 6 false", "2 1–0 head 6 false", "3 1–0 head 6 false", "4 2–6 head 6 false")
}

func TestABatchWritesEachRowOnce(t *testing.T) {
	b := newTable(t)
	b.group(9, boris)
	b.d.begin()
	for i := range 5 {
		b.add(message(theGroup, boris, 10+i, "hi"))
	}
	b.add(set(anna, clara, 0))
	b.add(remove(clara, clara))
	b.add(set(anna, clara, 0))
	b.last = b.d.finish(8)
	b.wantIndex("1 1–0 head 9 false", "2 1–0 head 9 false", "3 7–8 head 8 false", "3 9–0 head 9 false")
	if got := b.last.Marks; len(got) != 1 || got[0].Read != 6 || got[0].Delivered != 6 || got[0].User != boris {
		t.Errorf("marks %+v, want boris's at his last message", got)
	}
}

func TestCrossingTheBorderTwiceInABatchLeavesWhatTwoBatchesWould(t *testing.T) {
	b := newTable(t)
	b.group(9, boris, clara)
	b.d.begin()
	b.add(set(anna, dina, 0))
	b.add(remove(anna, dina))
	b.add(message(theGroup, boris, 10, "hi"))
	b.last = b.d.finish(3)
	b.wantIndex("1 1–0 head 4 false", "2 1–0 head 4 false", "3 1–0 head 4 false", "4 2–3 head 3 false")
	b.d.begin()
	b.add(message(theGroup, boris, 11, "hi"))
	b.add(set(anna, dina, 0))
	b.add(message(theGroup, boris, 12, "hi"))
	b.last = b.d.finish(3)
	b.wantIndex("1 1–0 head 6 true", "2 1–0 head 6 true", "3 1–0 head 6 true", "4 6–0 head 6 true")
}
