package receipts

import (
	"context"
	"testing"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// asking counts the questions to a store.
type asking struct {
	archive.Store
	stays, marks, crowds int
}

func (a *asking) StaysIn(ctx context.Context, u user, c chat.ConversationID) ([]archive.Stay, error) {
	a.stays++
	return a.Store.StaysIn(ctx, u, c)
}

func (a *asking) Watermark(ctx context.Context, c chat.ConversationID, u user, joined chat.Seq) (archive.Watermark, error) {
	a.marks++
	return a.Store.Watermark(ctx, c, u, joined)
}

func (a *asking) Watermarks(ctx context.Context, c chat.ConversationID) ([]archive.Watermark, error) {
	a.crowds++
	return a.Store.Watermarks(ctx, c)
}

// The same marks are judged together, in a crowd, and one by one: with the same
// words, in the same order.
func TestACrowdIsReadAtOnceAndJudgedAlike(t *testing.T) {
	h := newHall(t)
	people := []user{anna, boris, clara}
	for i := range byte(20) {
		people = append(people, user{1, i})
	}
	h.create(theGroup, chat.Group, people...)
	for _, u := range []user{anna, people[5], people[6], anna} { // 2 … 5
		h.say(theGroup, u)
	}
	h.leave(theGroup, clara) // 6
	h.leave(theGroup, people[6])
	h.join(theGroup, people[6]) // 8
	h.write(&archive.Batch{     // 9: a change of role begins a span and no stay
		Closed: []archive.SpanClosed{{Conversation: theGroup, User: people[7], Joined: 1, Left: 9, By: idOf(9)}},
		Opened: []archive.SpanOpened{{Conversation: theGroup, Span: archive.Span{User: people[7], Joined: 9, Role: chat.Admin, At: idOf(9)}}},
	})
	h.happen(theGroup, chat.Entry{Sender: anna, Kind: chat.KindEvent, Change: chat.RoleChanged, User: people[7]}, new(archive.Batch))
	h.say(theGroup, people[8]) // 10

	var records []bus.Record
	for i, u := range people {
		records = append(records, receipt(int64(i), theGroup, u, read(chat.Seq(3+i%8)), delivered(chat.Seq(4+i%8))))
	}
	crowd := &asking{Store: h}
	together, err := h.keeper(crowd, nil).judge(t.Context(), records)
	if err != nil {
		t.Fatal(err)
	}
	if crowd.stays != 1 || crowd.marks != 0 || crowd.crowds != 1 {
		t.Errorf("asked for %d stays, %d marks and %d crowds, want 1, 0 and 1", crowd.stays, crowd.marks, crowd.crowds)
	}
	alone := new(verdict)
	p := h.keeper(h, nil)
	for _, r := range records {
		v, err := p.judge(t.Context(), []bus.Record{r})
		if err != nil {
			t.Fatal(err)
		}
		alone.marks, alone.statuses = append(alone.marks, v.marks...), append(alone.statuses, v.statuses...)
	}
	if got, want := tale(together.statuses), tale(alone.statuses); got != want {
		t.Errorf("together:\n%s\nalone:\n%s", got, want)
	}
	if len(together.marks) != len(alone.marks) {
		t.Fatalf("together %d marks move, alone %d", len(together.marks), len(alone.marks))
	}
	for i := range alone.marks {
		if together.marks[i] != alone.marks[i] {
			t.Errorf("together %+v, alone %+v", together.marks[i], alone.marks[i])
		}
	}
}
