package fanout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// elapse lets virtual time go by.
func elapse(d time.Duration) func() { return func() { time.Sleep(d) } }

func TestHeadComesAtOnceThenOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob)
		began := time.Now()
		w.run(t,
			func() { w.accept(g.says("first")) }, elapse(500*time.Millisecond),
			func() { w.accept(g.says("second"), g.says("third")) }, elapse(100*time.Millisecond),
			func() { w.accept(g.says("fourth")) }, elapse(900*time.Millisecond),
			func() { w.accept(g.says("fifth")) }, elapse(10*time.Second),
			func() { w.accept(g.says("sixth")) }, elapse(time.Second))
		w.wantHeads(t, "2 first ab", "5  ab", "6 fifth ab", "7 sixth ab")
		times := w.heads(t, "gw-2", began)
		if first := times[0].after; first > 50*time.Millisecond {
			t.Errorf("the first head came after %v, want at once", first)
		}
		for i := range times[1:] {
			if gap := times[i+1].after - times[i].after; gap < HeadEvery {
				t.Errorf("head %d came %v after the one before, want %v at least", i+1, gap, HeadEvery)
			}
		}
		if gap := times[1].after - times[0].after; gap > HeadEvery+100*time.Millisecond {
			t.Errorf("the second head came %v after the first, want %v", gap, HeadEvery)
		}
	})
}

func TestHeadOfAnEventBringsNoMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob)
		w.accept(g.adds(carol, true))
		g.project(1)
		w.run(t, elapse(2*time.Second), func() {
			w.accept(g.happens(true, chat.Entry{Kind: chat.KindEvent, Change: chat.Renamed, Name: "new"}))
		}, elapse(2*time.Second))
		w.wantHeads(t, "2  abc", "3  abc")
	})
}

func TestNoHeadWithoutReason(t *testing.T) {
	for name, change := range map[string]func(a *bus.Accepted){
		"small":           func(a *bus.Accepted) { a.Large = false },
		"an old worker's": func(a *bus.Accepted) { a.Events[0].MembersVersion = 0 },
		"created":         func(a *bus.Accepted) { a.Events[0].Kind, a.Events[0].Change = chat.KindEvent, chat.Created },
		"a duplicate":     func(a *bus.Accepted) { a.Outcome = bus.Duplicate },
	} {
		synctest.Test(t, func(t *testing.T) {
			w, g := crowd(alice, bob)
			a := g.says("hello")
			change(a)
			w.accept(a)
			w.run(t, elapse(2*CommitEvery))
			if got := w.heads(t, "gw-2", time.Time{}); len(got) != 0 {
				t.Errorf("%s: told %v, want nothing", name, got)
			}
			if w.committed != 1 {
				t.Errorf("%s: committed %d, want 1", name, w.committed)
			}
		})
	}
}

func TestRosterThatLagsIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		w.accept(g.removes(carol, true), g.says("of carol, who is gone"))
		w.run(t, elapse(500*time.Millisecond),
			func() { w.wantHeads(t); g.project(1) }, // the removal
			elapse(2*time.Second))
		w.wantHeads(t, "3  ab")
	})
}

func TestRosterThatIsAheadNamesNobodyWhoCameLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		said := g.says("before carol came back and dave came")
		left, back, dave := g.removes(carol, true), g.adds(carol, true), g.adds(dave, true)
		g.project(10)
		w.run(t,
			func() { w.accept(said) }, elapse(2*time.Second),
			func() { w.accept(left, back, dave, g.says("to all")) }, elapse(2*time.Second))
		w.wantHeads(t, "2 before carol came back and dave came ab", "6  abcd")
	})
}

func TestLogKeepsTheListRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		w.accept(g.says("one"))
		w.run(t, elapse(2*time.Second),
			func() { g.answer(errDead); w.accept(g.removes(carol, true)) }, elapse(2*time.Second),
			func() { w.accept(g.says("two")) }, elapse(2*time.Second),
			func() { w.accept(g.adds(dave, true)) }, elapse(2*time.Second),
			func() { w.accept(g.says("three")) }, elapse(2*time.Second))
		w.wantHeads(t, "2 one abc", "3  ab", "4 two ab", "5  abd", "6 three abd")
		if g.asked != 1 {
			t.Errorf("the roster was asked %d times, want once", g.asked)
		}
	})
}

func TestConversationCrossesTheBorderBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		g.project(1)
		w.accept(g.says("large"))
		w.run(t, elapse(2*time.Second),
			// Small: all are told of each event, and of none by a head.
			func() { w.accept(g.removes(carol, false), g.adds(dave, false), g.removes(bob, false)) }, elapse(2*time.Second),
			func() { w.accept(g.adds(bob, true)) }, elapse(2*time.Second),
			func() { w.accept(g.says("large again")) }, elapse(2*time.Second))
		w.wantHeads(t, "2 large abc", "6  abd", "7 large again abd")
	})
}

func TestChangesWhileTheListIsReadCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		g.delay = 300 * time.Millisecond
		w.accept(g.says("one"))
		w.run(t, elapse(100*time.Millisecond),
			func() { w.accept(g.removes(carol, true), g.adds(dave, true), g.says("two")) }, elapse(3*time.Second))
		w.wantHeads(t, "5  abd")
		if g.asked != 1 {
			t.Errorf("the roster was asked %d times, want once: coming and going must not keep a list from arriving", g.asked)
		}
	})
}

func TestNothingIsCommittedBeforeItsHeadIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob)
		w.accept(g.says("one"))
		w.run(t, elapse(3*CommitEvery), func() {
			w.mu.Lock()
			w.silent = true
			w.mu.Unlock()
			w.accept(g.says("two"))
		}, elapse(time.Minute), func() {
			if got := w.confirmed(); got != 1 {
				t.Errorf("committed %d, want 1: nobody knows where the members are", got)
			}
			w.mu.Lock()
			w.silent = false
			w.mu.Unlock()
		}, elapse(3*CommitEvery))
		w.wantHeads(t, "2 one ab", "3 two ab")
		if w.committed != 2 {
			t.Errorf("committed %d, want 2", w.committed)
		}
	})
}

func TestUnacknowledgedHeadHoldsTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob)
		w.places[alice] = at() // so that only the head goes to gw-2
		w.stuck = bus.DeliveryTopic("gw-2")
		w.accept(g.says("one"))
		w.run(t, elapse(2*StallAfter),
			func() {
				if got := w.confirmed(); got != -1 {
					t.Errorf("committed %d, want nothing: the head is not on its topic", got)
				}
				w.unstick()
			}, elapse(3*CommitEvery))
		if w.committed != 1 {
			t.Errorf("committed %d, want 1", w.committed)
		}
	})
}

func TestDeadRosterHoldsTheCommitForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob)
		g.answer(errDead)
		w.accept(g.says("one"))
		w.run(t, elapse(RosterPatience-100*time.Millisecond),
			func() {
				if got := w.confirmed(); got != -1 {
					t.Errorf("committed %d, want nothing yet", got)
				}
			}, elapse(3*CommitEvery),
			func() {
				if got := w.confirmed(); got != 1 {
					t.Errorf("committed %d, want 1: a dead roster holds nothing for long", got)
				}
				w.accept(g.says("two"))
			}, elapse(time.Hour),
			func() { w.wantHeads(t); g.answer(nil) }, elapse(2*time.Second))
		w.wantHeads(t, "3  ab")
	})
}

func TestSuccessorSaysWhatWasNotSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob)
		w.accept(g.says("one"))
		w.run(t, elapse(2*CommitEvery), func() { w.accept(g.says("two")) }, elapse(100*time.Millisecond),
			func() { w.accept(g.says("three")) }, elapse(100*time.Millisecond)) // within the second
		w.wantHeads(t, "2 one ab", "3 two ab")
		w.run(t, elapse(2*CommitEvery))
		w.wantHeads(t, "2 one ab", "3 two ab", "4 three ab")
		if w.committed != 3 {
			t.Errorf("committed %d, want 3", w.committed)
		}
	})
}

func TestBlockedServerHearsOfItWhenItsRoadIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		w.places[alice], w.places[carol] = at(), at("gw-3")
		w.stuck = bus.DeliveryTopic("gw-2")
		w.accept(g.says("one"))
		w.run(t, elapse(2*StallAfter),
			func() { w.accept(g.says("two"), g.says("three")) }, elapse(2*time.Second),
			func() { w.wantHeads(t, "2 one b") }, // on its way, and stuck
			func() {
				if got := w.heads(t, "gw-3", time.Time{}); len(got) != 2 || got[1].seq != 4 {
					t.Errorf("gw-3 was told %v, want both heads although gw-2 takes nothing", got)
				}
			},
			func() { w.unstick() }, elapse(5*time.Second))
		got := w.heads(t, "gw-2", time.Time{})
		if last := got[len(got)-1]; last.seq != 4 || !slices.Equal(last.to, []chat.UserID{bob}) {
			t.Errorf("told %v at last, want 4 to bob", last)
		}
		if w.committed != 3 {
			t.Errorf("committed %d, want 3", w.committed)
		}
	})
}

func TestServerThatIsGoneHoldsNoHeadsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob)
		w.places[alice], w.stuck = at(), bus.DeliveryTopic("gw-2")
		w.accept(g.says("one"))
		w.run(t, elapse(2*StallAfter), func() { w.accept(g.says("two")) }, elapse(2*time.Second),
			func() {
				w.mu.Lock()
				w.places[bob] = at()
				w.mu.Unlock()
			}, elapse(presence.RouteTTL+time.Minute))
		if w.committed != 2 {
			t.Errorf("committed %d, want 2", w.committed)
		}
	})
}

func TestJumpOfTheLogForgetsTheLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		w.accept(g.says("one"))
		w.run(t, elapse(2*CommitEvery),
			func() {
				g.removes(carol, true) // This the log loses,
				w.mu.Lock()
				w.start, w.records = 10, nil
				w.mu.Unlock()
				w.accept(g.adds(dave, true)) // and this is newer, so that the list looks new.
			}, elapse(5*time.Second), func() { g.project(3) }, elapse(5*time.Second))
		w.wantHeads(t, "2 one abc", "4  abd")
	})
}

func TestRepetitionAtTheBeginningDoesNotMakeAListLookNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		said := g.says("one")
		w.accept(said, g.removes(carol, true))
		w.committed = 2 // by a predecessor
		w.accept(said)  // by a worker that did not know that it was replaced
		w.run(t, elapse(2*time.Second),
			func() { g.answer(errDead); w.accept(g.adds(dave, true)) }, elapse(2*time.Second),
			func() { w.wantHeads(t, "2 one abc"); g.answer(nil); g.project(3) }, elapse(2*time.Second))
		w.wantHeads(t, "2 one abc", "4  abd")
	})
}

func TestListThatIsOnItsWayAcrossAGapIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob, carol)
		g.delay = 300 * time.Millisecond
		w.accept(g.says("one"))
		w.run(t, elapse(100*time.Millisecond),
			func() { g.removes(carol, true); w.accept(g.adds(dave, true)) }, // The removal is lost.
			elapse(3*time.Second), func() { w.wantHeads(t); g.project(3) }, elapse(3*time.Second))
		w.wantHeads(t, "4  abd")
	})
}

func TestQuietConversationIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := crowd(alice, bob)
		w.accept(g.says("one"))
		w.run(t, elapse(keepFor/2), func() { w.accept(g.says("two")) },
			elapse(3*keepFor), func() { w.accept(g.says("three")) }, elapse(time.Second))
		if g.asked != 2 {
			t.Errorf("the roster was asked %d times, want twice", g.asked)
		}
		w.wantHeads(t, "2 one ab", "3 two ab", "4 three ab")
	})
}

// Somebody is told of nothing outside of their stay, whatever the roster has
// heard, wherever the router reads, and however often it goes back or begins
// anew; and whoever stays knows of the newest event at the end.
func TestNoHeadLeaks(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			w, g := crowd(alice, bob, carol)
			w.places[carol] = at() // Away: she is notified instead.
			g.delay = time.Duration(random.IntN(2)) * 40 * time.Millisecond
			var steps []func()
			for range 60 {
				steps = append(steps, func() { w.chance(g, random) })
			}
			w.run(t, steps[:30]...)
			w.run(t, append(steps[30:], func() {
				w.unstick()
				g.answer(nil)
				w.accept(g.says("last"))
				g.project(len(g.history))
			}, elapse(20*time.Second))...)
			w.check(t, g, fmt.Sprint("seed ", seed))
		})
	}
}

// chance lets something happen.
func (w *world) chance(g *group, random *rand.Rand) {
	users := []chat.UserID{bob, carol, dave}
	u := users[random.IntN(len(users))]
	large := random.IntN(4) > 0
	switch random.IntN(10) {
	case 0, 1, 2:
		if s := g.stays[u]; len(s) > 0 && s[len(s)-1].to == 0 {
			w.accept(g.removes(u, large))
		} else {
			w.accept(g.adds(u, large))
		}
	case 3, 4:
		w.accept(g.happens(large, chat.Entry{Kind: chat.KindText, Content: "hello"}))
	case 5:
		time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
	case 6, 7:
		g.project(random.IntN(4))
	case 8:
		w.mu.Lock()
		w.stuck = bus.DeliveryTopic("gw-2")
		w.mu.Unlock()
		time.Sleep(time.Duration(random.IntN(2)) * 2 * StallAfter)
	case 9:
		w.unstick()
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
	}
}

func (w *world) check(t *testing.T, g *group, name string) {
	t.Helper()
	newest := make(map[chat.UserID]chat.Seq)
	for _, h := range w.heads(t, "gw-2", time.Time{}) {
		for _, u := range h.to {
			newest[u] = max(newest[u], h.seq)
			if !g.inside(u, h.seq) {
				t.Errorf("%s: %s was told of %d, with stays %v", name, names([]chat.UserID{u}), h.seq, g.stays[u])
			}
		}
	}
	for _, p := range w.pushes(t) {
		newest[p.User] = max(newest[p.User], p.Seq)
		if p.User != carol || !g.inside(carol, p.Seq) {
			t.Errorf("%s: %s was notified of %d, with stays %v", name, names([]chat.UserID{p.User}), p.Seq, g.stays[p.User])
		}
	}
	for u, stays := range g.stays {
		if stays[len(stays)-1].to == 0 && newest[u] != g.seq {
			t.Errorf("%s: %s knows of %d at the end, want %d", name, names([]chat.UserID{u}), newest[u], g.seq)
		}
	}
}
