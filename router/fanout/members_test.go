package fanout

import (
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// came is bob's joining with a seq.
func came(seq chat.Seq) *bus.Event {
	return &bus.Event{Entry: chat.Entry{
		Conversation: talk, Kind: chat.KindEvent, Change: chat.MemberAdded, User: bob,
		Seq: seq, MembersVersion: seq, ID: chat.NewMessageID(clockOf(seq), 1, 0),
	}}
}

// A passage that goes back meets changes again that a later one has undone.
func TestListGoesNoStepBack(t *testing.T) {
	n := &news{version: 9, members: &members{version: 9}}
	n.note(came(5), true, chat.Position{}, 0)
	if got := n.members.since(clockOf(9)); len(got) != 0 {
		t.Errorf("got %v, want nobody: bob was removed between 5 and 9", got)
	}
	n.members, n.reading = nil, &reading{base: 9}
	n.note(came(5), true, chat.Position{}, 0)
	if got := n.reading.done(nil); len(got.list) != 0 || got.version != 9 {
		t.Errorf("got %v, want nobody, as of 9", got)
	}
	n.note(came(10), true, chat.Position{}, 0)
	if got := n.reading.done(nil); len(got.list) != 1 || got.version != 10 {
		t.Errorf("got %v, want bob, as of 10", got)
	}
}

// What is read after a gap knows nothing of what the gap held, whatever comes next.
func TestListThatIsReadAfterAGapIsNotCarriedOn(t *testing.T) {
	n := &news{version: 3}
	n.distrust()
	n.members = (&reading{base: n.version}).done([]attendee{{carol, clockOf(1)}}) // As of 3, and 7 removed her.
	n.note(came(10), true, chat.Position{}, 0)
	if n.known() || n.members != nil {
		t.Errorf("knows %v, want that it has to be read again", n.members)
	}
	n.reading = &reading{base: n.version}
	n.note(came(11), true, chat.Position{}, 0)
	if n.reading.void || n.reading.base != 10 {
		t.Errorf("got %+v, want a reading of 10 that counts", n.reading)
	}
}

func TestTooManyChangesHaveTheListReadAgain(t *testing.T) {
	r := &reading{base: 1}
	for seq := chat.Seq(1); seq <= recordedMax+1; seq++ {
		r.record(change{seq: seq})
	}
	if r.void {
		t.Errorf("void at %d changes, and it holds %d", len(r.changes), recordedMax)
	}
	r.record(change{seq: recordedMax + 2})
	if !r.void || len(r.changes) != recordedMax {
		t.Errorf("got void %v at %d changes, want no more than %d", r.void, len(r.changes), recordedMax)
	}
}

// Between two readings nobody keeps the changes, so the second has to be newer
// than they are; those of a time when the conversation was small too.
func TestChangesBetweenTwoReadingsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		w.accept(g.adds(dave, true))
		w.run(t, elapse(500*time.Millisecond),
			func() { w.accept(g.removes(carol, false)); g.project(1) }, elapse(3*time.Second),
			func() { w.accept(g.removes(dave, true)) }, elapse(3*time.Second),
			func() { w.wantHeads(t); g.project(2) }, elapse(3*time.Second))
		w.wantHeads(t, "4  ab")
	})
}

func TestListsAreReadAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob)
		g.delay = time.Minute // It does not answer in time.
		cached := chat.ConversationID{0xcc}
		w.run(t, func() {
			for i := range 3 * listsAtATime {
				a := g.says("hello")
				a.Conversation = chat.ConversationID{byte(i + 1)}
				w.accept(a)
			}
		}, elapse(ListTimeout/2), func() {
			if g.asked != listsAtATime {
				t.Errorf("%d lists are being read, want %d", g.asked, listsAtATime)
			}
			g.delay = 0
			a := g.says("hello")
			a.Conversation = cached
			w.accept(a)
		}, elapse(3*ListTimeout))
		if got := len(w.heads(t, "gw-2", time.Time{})); got != 3*listsAtATime+1 {
			t.Errorf("told of %d conversations, want %d", got, 3*listsAtATime+1)
		}
	})
}

func TestMembersBeyondTheLimitAreLetGo(t *testing.T) {
	w, _ := crowd(alice)
	h := newHerald(New(Config{Roster: w.roster, Producer: w, Metrics: metrics.New(), Partitions: 4}), 0)
	first, second := &news{}, &news{}
	h.news[talk], h.news[chat.ConversationID{1}] = first, second
	h.keep(first, &members{list: make([]attendee, membersMax/2+1)})
	if first.members == nil {
		t.Fatal("the first list was let go below the limit")
	}
	h.keep(second, &members{list: make([]attendee, membersMax/2+1)})
	if got := h.heads.members.Load(); first.members != nil || second.members == nil || got != membersMax/2+1 {
		t.Errorf("keeps %d members, want the second list alone", got)
	}
}

func TestConversationsBeyondTheLimitHaveNoHeads(t *testing.T) {
	w, g := crowd(alice)
	h := newHerald(New(Config{Roster: w.roster, Producer: w, Metrics: metrics.New(), Partitions: 4}), 0)
	now := time.Now()
	for i := range conversationsMax + 1 {
		e := g.says("hello").Events[0]
		e.Conversation = chat.ConversationID{0xee, byte(i), byte(i >> 8)}
		h.event(&e, &outcome{bus.Accepted{Large: true}}, 0, now)
	}
	if len(h.news) != conversationsMax || h.heads.dropped.Get() != 1 {
		t.Errorf("remembers %d, dropped %d, want %d and 1", len(h.news), h.heads.dropped.Get(), conversationsMax)
	}
	for c, n := range h.news { // All are said, and some time goes by.
		n.fresh, n.unread = 0, bus.Push{}
		delete(h.pending, c)
	}
	e := g.says("hello").Events[0]
	h.event(&e, &outcome{bus.Accepted{Large: true}}, 0, now.Add(2*HeadEvery))
	if len(h.news) != 1 || h.pending[talk] == nil {
		t.Errorf("remembers %d, want the new one in place of those that are quiet", len(h.news))
	}
}
