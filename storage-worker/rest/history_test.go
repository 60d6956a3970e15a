package rest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/memory"
)

// torn reads an archive while a Write is under way: one event is missed by
// Entries.
type torn struct {
	archive.Store
	missed chat.Seq
}

func (s torn) Entries(ctx context.Context, c chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]archive.Row, error) {
	rows, err := s.Store.Entries(ctx, c, from, to, limit+1, newest)
	rows = slices.DeleteFunc(rows, func(r archive.Row) bool { return r.Seq == s.missed })
	switch over := len(rows) - limit; {
	case over <= 0:
	case newest:
		rows = rows[over:]
	default:
		rows = rows[:limit]
	}
	return rows, err
}

// No page steps over an event that is not there yet, and none that follows on
// begins above it.
func TestPagesEndBeforeAHole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawTold(t)
		missed := chat.Seq(rapid.IntRange(1, len(h.rows)).Draw(t, "missed"))
		h.store = torn{h.store, missed}
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		seq := chat.Seq(rapid.IntRange(0, len(h.rows)).Draw(t, "seq"))
		check := func(name string, p page, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			if len(p.rows) == 0 {
				return
			}
			if at := h.where(p.rows[0].Seq); seqsOf(p.rows) != seqsOf(h.visible[at:at+len(p.rows)]) {
				t.Fatalf("%s: page %s steps over %d of %s", name, seqsOf(p.rows), missed, seqsOf(h.visible))
			}
		}
		ctx := context.Background()
		p, err := h.upTo(ctx, forever, limit)
		check("newest", p, err)
		p, err = h.around(ctx, seq, limit)
		check("around_seq", p, err)
		p, err = h.beforeSecond(ctx, second(h.rows[len(h.rows)-1]), limit)
		check("before", p, err)
		p, err = h.after(ctx, seq, limit)
		check("after_seq", p, err)
		next := h.where(seq + 1)
		if len(p.rows) > 0 && p.rows[0].Seq != h.visible[next].Seq {
			t.Fatalf("after %d: page %s does not begin at %d", seq, seqsOf(p.rows), h.visible[next].Seq)
		}
		if p.more && h.visible[next+limit].Seq == missed {
			t.Fatalf("after %d: %d is said to follow %s, and it is not there yet", seq, missed, seqsOf(p.rows))
		}
	})
}

// An earlier stay whose last event is not there yet hides the later one: a client
// that was shown what lies above would take the rest for hidden.
func TestAHoleAtTheEndOfAStay(t *testing.T) {
	store := memory.New()
	c := chat.GroupConversation(alice, chat.RequestID{1})
	var b archive.Batch
	for seq := chat.Seq(1); seq <= 8; seq++ {
		b.Rows = append(b.Rows, archive.Row{Entry: chat.Entry{Conversation: c, Seq: seq, ID: chat.NewMessageID(chat.Clock(seq), 1, 1)}})
	}
	if err := store.Write(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	h := history{store: torn{store, 4}, conversation: c, stays: []archive.Stay{{Joined: 1, Left: 4}, {Joined: 7}}}
	p, err := h.after(t.Context(), 1, 50)
	if err != nil || seqsOf(p.rows) != "[2 3]" || p.more {
		t.Errorf("after_seq: got %s, more %v, %v", seqsOf(p.rows), p.more, err)
	}
	p, err = h.upTo(t.Context(), forever, 50)
	if err != nil || seqsOf(p.rows) != "[1 2 3]" || p.more {
		t.Errorf("newest: got %s, more %v, %v", seqsOf(p.rows), p.more, err)
	}
}

// ahead writes an index row whose head lies above what the archive has.
func (r *rig) ahead(c chat.ConversationID, head chat.Seq) {
	r.t.Helper()
	stays, err := r.Store.StaysIn(r.t.Context(), alice, c)
	if err != nil {
		r.t.Fatal(err)
	}
	stay := stays[len(stays)-1]
	by := r.road.next()
	stay.Head = archive.Tip{Seq: head, ID: by}
	if err := r.Store.Write(r.t.Context(), &archive.Batch{
		Stays: []archive.StayWrite{{Stay: stay, By: by}},
		Marks: []archive.Watermark{{Conversation: c, User: alice, Joined: stay.Joined, Read: head}},
	}); err != nil {
		r.t.Fatal(err)
	}
}

func TestAnIndexThatIsAheadOfTheEvents(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob) // 1
	r.say(bob, path, "two")  // 2
	other, _ := r.group(bob) // 1
	r.ahead(id, 4)
	r.ahead(other, 2)

	have := map[chat.ConversationID]chat.Seq{id: 1, other: 1}
	if got := r.sync(alice, have, 200); got.told() != "new_message 2" || len(got.Heads) != 0 || got.HasMore {
		t.Errorf("sync: got %+v", got)
	}
	got := r.sync(alice, map[chat.ConversationID]chat.Seq{other: 1}, 200)
	if want := []wire.Head{{ConversationID: id, HeadSeq: 2, ReadSeq: 2}}; fmt.Sprint(got.Heads) != fmt.Sprint(want) || got.HasMore {
		t.Errorf("heads: got %+v, want %v", got, want)
	}
	var c wire.Conversation
	if r.do(alice, 200, &c, "GET", path, ""); c.HeadSeq != 2 || c.ReadSeq != 2 || c.LastMessage.Content != "two" {
		t.Errorf("conversation: got %+v", c)
	}
	var p wire.MessagePage
	if r.do(alice, 200, &p, "GET", path+"/messages?after_seq=1", ""); p.LastSeq != 2 || p.HasMore {
		t.Errorf("page: got %+v", p)
	}
}

// What comes after the hole is told when the hole is filled.
func TestSyncAcrossAHole(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)
	for range 5 {
		r.say(bob, path, "x")
	}
	whole := r.Server.Store
	r.Server.Store = torn{whole, 4}
	got := r.sync(alice, map[chat.ConversationID]chat.Seq{id: 1}, 200)
	if got.told() != "new_message 2, new_message 3" || got.HasMore {
		t.Errorf("got %s, more %v", got.told(), got.HasMore)
	}
	r.Server.Store = whole
	if got = r.sync(alice, map[chat.ConversationID]chat.Seq{id: 3}, 200); got.told() != "new_message 4, new_message 5, new_message 6" {
		t.Errorf("when it is there: got %s", got.told())
	}
}

func TestTheLastEventsAreFoundByArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawTold(t)
		to := chat.Seq(rapid.IntRange(1, len(h.rows)).Draw(t, "to"))
		n := rapid.IntRange(1, 20).Draw(t, "n")
		want := min(n, h.where(to+1))
		if got := size(h.stays, lastOf(h.stays, to, int64(n)), to); got != int64(want) {
			t.Fatalf("the last %d up to %d are %d events, want %d", n, to, got, want)
		}
	})
}
