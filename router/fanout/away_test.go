package fanout

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
)

// pushes returns what is on the push log.
func (w *world) pushes(t *testing.T) (all []bus.Push) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.produced {
		var p bus.Push
		if m.Topic != bus.TopicPush {
			continue
		}
		if err := bus.ParsePush(m.Value, &p); err != nil {
			t.Fatal(err)
		}
		if want := bus.PartitionOfUser(p.User, 4); m.Partition != want {
			t.Errorf("a push for %s is on partition %d, want %d", p.User, m.Partition, want)
		}
		all = append(all, p)
	}
	return all
}

// wantPushes compares the push log, each record written as seq and name.
func (w *world) wantPushes(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, p := range w.pushes(t) {
		got = append(got, fmt.Sprint(p.Seq, " ", names([]chat.UserID{p.User})))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("notified %q, want %q", got, want)
	}
}

func TestWhoIsAwayIsNotifiedWithEachHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol, dave)
		w.places[alice], w.places[carol], w.places[dave] = at(), at(), at("gw-3")
		lapsed := w.places[dave]
		lapsed.Online = false
		w.places[dave] = lapsed
		w.run(t,
			func() { w.accept(g.says("one")) }, elapse(300*time.Millisecond),
			func() { w.accept(g.says("two"), g.says("three")) }, elapse(300*time.Millisecond),
			func() { w.accept(g.says("four")) }, elapse(5*time.Second))
		// Alice said it, bob is there, and dave's gateway lost its lease.
		w.wantPushes(t, "2 c", "2 d", "5 c", "5 d")
		p := w.pushes(t)[0]
		if p.Position != (chat.Position{Generation: 1, Offset: 2}) || p.Conversation != talk || p.Sender != alice ||
			p.ID != chat.NewMessageID(clockOf(2), 1, 0) || p.Kind != chat.KindText {
			t.Errorf("got %+v, want what the message is", p)
		}
	})
}

func TestEventsOfALargeConversationNotifyNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		w.places[carol], w.places[dave] = at(), at()
		renamed := func() *bus.Accepted {
			return g.happens(true, chat.Entry{Kind: chat.KindEvent, Change: chat.Renamed, Name: "new"})
		}
		w.run(t,
			func() { w.accept(renamed()) }, elapse(2*time.Second), func() { w.wantPushes(t) },
			// One head for a message and what came after it, which dave is told of alone.
			func() { w.accept(g.says("one")) }, elapse(100*time.Millisecond),
			func() { w.accept(g.says("two"), g.adds(dave, true), renamed()) }, elapse(2*time.Second))
		w.wantHeads(t, "2  ab", "3 one ab", "6  ab")
		w.wantPushes(t, "3 c", "4 c")
	})
}

// 20 messages a second to 10,000 members who are away cost 1,000 records a second,
// and everybody is notified of the last.
func TestTenThousandWhoAreAwayAreNotifiedEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages, seconds = 20 * 25, 25
		users, _ := multitude(1)
		w, g := newWorld(), newGroup(users...)
		w.roster = g
		var steps []func()
		for range messages {
			steps = append(steps, func() { w.accept(g.says("hello")) }, elapse(seconds*time.Second/messages))
		}
		w.run(t, append(steps, elapse(20*time.Second))...)
		times := make(map[chat.UserID]int)
		newest := make(map[chat.UserID]chat.Seq)
		for _, p := range w.pushes(t) {
			times[p.User]++
			newest[p.User] = p.Seq
		}
		if len(times) != len(users) {
			t.Fatalf("%d members were notified, want %d", len(times), len(users))
		}
		for u, n := range times {
			// At once, after 10 and 20 seconds, and of the last message after 30.
			if n != 4 || newest[u] != g.seq {
				t.Fatalf("somebody was notified %d times, at last of %d, want 4 and %d", n, newest[u], g.seq)
			}
		}
	})
}

// The commit stays before a message of which nobody away knows, so that the next
// owner of the partition notifies them.
func TestSuccessorNotifiesWhoIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users, _ := multitude(1)
		w, g := newWorld(), newGroup(users...)
		w.roster = g
		w.run(t, func() { w.accept(g.says("one")) }, elapse(3*time.Second),
			func() { w.accept(g.says("two")) }, elapse(3*time.Second))
		if got := len(w.pushes(t)); got != len(users) {
			t.Fatalf("%d notifications before the end, want %d", got, len(users))
		}
		if w.committed != 1 {
			t.Errorf("committed %d, want 1", w.committed)
		}
		w.run(t, elapse(3*time.Second))
		if got := w.pushes(t)[len(users):]; len(got) != len(users) || got[0].Seq != 3 {
			t.Errorf("%d notifications after it, want %d of message 3", len(got), len(users))
		}
		if w.committed != 2 {
			t.Errorf("committed %d at the end, want 2", w.committed)
		}
	})
}

// A roster that is late holds no commit, but who is to be notified after the head
// that waited for it does.
func TestSuccessorNotifiesWhoIsAwayAfterALateHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users, _ := multitude(1)
		w, g := newWorld(), newGroup(users...)
		w.roster = g
		w.run(t, func() { w.accept(g.says("one")) }, elapse(3*time.Second),
			func() {
				g.answer(errDead)
				two := g.says("two")
				two.Position.Offset += 10 // Something is missing between, so the list has to be read again.
				w.accept(two)
			}, elapse(RosterPatience+2*CommitEvery),
			func() {
				if got := w.confirmed(); got != 2 {
					t.Errorf("committed %d, want 2: a dead roster holds nothing for long", got)
				}
				g.answer(nil)
			}, elapse(2*time.Second))
		if got := len(w.pushes(t)); got != len(users) {
			t.Fatalf("%d notifications before the end, want %d", got, len(users))
		}
		if w.committed != 1 {
			t.Errorf("committed %d at the end, want 1", w.committed)
		}
		w.run(t, elapse(3*time.Second))
		if got := w.pushes(t)[len(users):]; len(got) != len(users) || got[0].Seq != 3 {
			t.Errorf("%d notifications after it, want %d of message 3", len(got), len(users))
		}
	})
}

func TestNotificationsWaitForAPushLogThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		w.places[carol], w.stuck = at(), bus.TopicPush
		w.run(t, func() { w.accept(g.says("one")) }, elapse(2*StallAfter),
			func() { w.accept(g.says("two")) }, elapse(5*time.Second),
			func() {
				if got := w.confirmed(); got > 0 {
					t.Errorf("committed %d, want nothing: carol was not notified", got)
				}
				w.unstick()
			}, elapse(10*time.Second))
		if w.committed != 2 {
			t.Errorf("committed %d at the end, want 2", w.committed)
		}
		if got := w.pushes(t); got[len(got)-1].Seq != 3 {
			t.Errorf("notified of %d at last, want 3", got[len(got)-1].Seq)
		}
	})
}

// Heads of events that wait when the road opens again have nothing to do with whom
// it kept from being notified.
func TestNotificationsThatWereSkippedComeInSpiteOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		w.places[carol], w.stuck = at(), bus.TopicPush
		rename := func() {
			w.accept(g.happens(true, chat.Entry{Kind: chat.KindEvent, Change: chat.Renamed, Name: "new"}))
		}
		w.run(t, func() { w.accept(g.says("one")) }, elapse(2*StallAfter),
			func() { w.accept(g.says("two")) }, elapse(5*time.Second+CommitEvery/2),
			rename, elapse(100*time.Millisecond), // Its head is said, and that of the next waits a second.
			w.unstick, rename, elapse(800*time.Millisecond),
			func() {
				if got := w.confirmed(); got > 1 {
					t.Errorf("committed %d, want 1 at most: carol was not notified", got)
				}
			}, elapse(10*time.Second))
		if w.committed != 4 {
			t.Errorf("committed %d at the end, want 4", w.committed)
		}
		if got := w.pushes(t); got[len(got)-1].Seq != 3 {
			t.Errorf("notified of %d at last, want 3", got[len(got)-1].Seq)
		}
		w.wantHeads(t, "2 one ab", "3 two ab", "4  ab", "5  ab")
	})
}
