package fanout

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// delivered returns the inbound offsets of what is on a server's topic, as its
// gateway would see them: without what is not above the last.
func (w *world) delivered(t *testing.T, server string) (offsets []int64) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	last := int64(-1)
	for _, m := range w.produced {
		if m.Topic != bus.DeliveryTopic(server) {
			continue
		}
		var d bus.Delivery
		if err := bus.ParseDelivery(m.Value, &d); err != nil {
			t.Fatal(err)
		}
		if d.Position.Offset > last {
			last = d.Position.Offset
			offsets = append(offsets, last)
		}
	}
	return offsets
}

// to is an outcome for one user, which nobody waits for.
func to(u chat.UserID, offset int64) *bus.Accepted {
	a := said(u)
	a.Position.Offset, a.ReplyTo = offset, bus.ReplyTo{}
	return a
}

// twoServers is a world with bob on gw-2, whose topic takes nothing, and carol on
// gw-3.
func twoServers() *world {
	w := newWorld()
	w.places[bob], w.places[carol] = at("gw-2"), at("gw-3")
	w.stuck = bus.DeliveryTopic("gw-2")
	return w
}

func (w *world) confirmed() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.committed
}

func (w *world) unstick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reopen()
}

// reopen is unstick for those who hold mu.
func (w *world) reopen() {
	w.stuck, w.filled = "", nil
	for _, done := range w.unacked {
		done(0, nil)
	}
	w.unacked = nil
}

func TestOneBlockedServerDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoServers()
		w.accept(to(bob, 1), to(carol, 2))
		w.run(t,
			func() { time.Sleep(2 * StallAfter) },
			func() { w.accept(to(bob, 3), to(carol, 4), to(bob, 5)) },
			func() { time.Sleep(lookAgain) },
			func() {
				if got, want := w.delivered(t, "gw-3"), []int64{2, 4}; !slices.Equal(got, want) {
					t.Errorf("gw-3 got %v, want %v although gw-2 takes nothing", got, want)
				}
			},
			func() { w.accept(to(carol, 6)) },
			func() { time.Sleep(2 * CommitEvery) },
			func() {
				if got, want := w.delivered(t, "gw-3"), []int64{2, 4, 6}; !slices.Equal(got, want) {
					t.Errorf("gw-3 got %v, want %v", got, want)
				}
				if got := w.confirmed(); got != -1 {
					t.Errorf("committed %d, want nothing: gw-2 lacks the first", got)
				}
				w.unstick()
				time.Sleep(2 * CommitEvery)
			})
		if got, want := w.delivered(t, "gw-2"), []int64{1, 3, 5}; !slices.Equal(got, want) {
			t.Errorf("gw-2 got %v at last, want %v in order", got, want)
		}
		if w.committed != 6 {
			t.Errorf("committed %d, want 6", w.committed)
		}
	})
}

// A road may open while the next batch is being written. A gateway drops what is not
// above the last that it has, so what was left out must come first even then.
func TestWhatWasLeftOutComesBeforeWhatFollows(t *testing.T) {
	for name, during := range map[string]func(w *world){
		"between two batches": func(w *world) {
			w.unstick()
			w.accept(to(bob, 4))
		},
		"within a batch": func(w *world) {
			w.mu.Lock()
			w.before = func(m bus.Message) {
				if m.Topic == bus.DeliveryTopic("gw-3") {
					w.before = nil
					w.reopen()
				}
			}
			w.mu.Unlock()
			w.accept(to(bob, 4), to(carol, 5), to(bob, 6))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := twoServers()
				w.accept(to(bob, 1))
				w.run(t, func() { time.Sleep(2 * StallAfter) },
					func() { w.accept(to(bob, 2), to(bob, 3)) },
					func() { time.Sleep(lookAgain / 2) },
					func() { during(w) },
					func() { time.Sleep(2 * CommitEvery) })
				got := w.delivered(t, "gw-2")
				if last := int64(len(got)); len(got) < 4 || got[last-1] < 4 || !slices.Equal(got[:4], []int64{1, 2, 3, 4}) {
					t.Errorf("gw-2 got %v, want 1, 2, 3, 4 and what follows", got)
				}
				if got := w.confirmed(); got != int64(len(w.records)) {
					t.Errorf("committed %d of %d", got, len(w.records))
				}
			})
		})
	}
}

func TestSuccessorRepeatsWhatABlockedServerMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoServers()
		w.accept(to(carol, 1))
		w.run(t, func() { time.Sleep(2 * CommitEvery) }, func() { w.accept(to(bob, 2)) },
			func() { time.Sleep(2 * StallAfter) }, func() { w.accept(to(bob, 3), to(carol, 4)) },
			func() { time.Sleep(2 * CommitEvery) })
		if w.committed != 1 {
			t.Fatalf("committed %d, want 1: what follows is not on gw-2's topic", w.committed)
		}
		w.stuck, w.unacked, w.produced = "", nil, nil
		w.run(t, func() { time.Sleep(2 * CommitEvery) })
		if got, want := w.delivered(t, "gw-2"), []int64{2, 3}; !slices.Equal(got, want) {
			t.Errorf("gw-2 got %v from the successor, want %v", got, want)
		}
	})
}

func TestServerThatIsGoneIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoServers()
		w.accept(to(bob, 1))
		w.run(t, func() { time.Sleep(2 * StallAfter) }, func() { w.accept(to(bob, 2)) },
			func() { time.Sleep(presence.RouteTTL - time.Minute) },
			func() { w.accept(to(bob, 3)) }, // somebody is still routed there
			func() { time.Sleep(presence.RouteTTL - time.Minute) },
			func() {
				if got := w.confirmed(); got != -1 {
					t.Errorf("committed %d while presence still led to the server", got)
				}
			},
			func() {
				w.mu.Lock()
				w.places[bob] = at("gw-3")
				w.mu.Unlock()
				time.Sleep(2 * time.Minute)
			})
		if w.committed != 3 {
			t.Errorf("committed %d, want 3", w.committed)
		}
	})
}

// That presence has named no route to a server says nothing where nobody there had
// anything to hear.
func TestQuietServerIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := twoServers()
		w.accept(to(bob, 1))
		w.run(t, func() { time.Sleep(2 * StallAfter) }, func() { w.accept(to(bob, 2), to(carol, 3)) },
			func() { time.Sleep(3 * presence.RouteTTL) },
			func() {
				if got := w.confirmed(); got != -1 {
					t.Errorf("committed %d while presence still leads to the server", got)
				}
				w.unstick()
			},
			func() { time.Sleep(2 * CommitEvery) })
		if got, want := w.delivered(t, "gw-2"), []int64{1, 2}; !slices.Equal(got, want) {
			t.Errorf("gw-2 got %v, want %v", got, want)
		}
		if w.committed != 3 {
			t.Errorf("committed %d, want 3", w.committed)
		}
	})
}

// All partitions of a topic share what may wait for it. One that takes nothing may
// fill that, and the others then have no room although they are open.
func TestAFullTopicDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.places[dave] = at("gw-3")
		if bus.PartitionOfUser(bob, 4) == bus.PartitionOfUser(carol, 4) {
			t.Fatal("bob and carol share a partition")
		}
		w.filled = &road{bus.TopicPush, bus.PartitionOfUser(bob, 4)}
		w.accept(to(bob, 1), to(carol, 2), to(dave, 3))
		w.run(t, func() { time.Sleep(3 * StallAfter) },
			func() {
				if got, want := w.delivered(t, "gw-3"), []int64{3}; !slices.Equal(got, want) {
					t.Errorf("gw-3 got %v, want %v although notifications wait", got, want)
				}
			},
			func() { w.accept(to(dave, 4)) },
			func() { time.Sleep(lookAgain) },
			func() {
				if got, want := w.delivered(t, "gw-3"), []int64{3, 4}; !slices.Equal(got, want) {
					t.Errorf("gw-3 got %v, want %v", got, want)
				}
				if got := w.confirmed(); got != -1 {
					t.Errorf("committed %d, though nobody is notified", got)
				}
				w.unstick()
			},
			func() { time.Sleep(2 * CommitEvery) })
		var notified []int64
		for _, p := range w.pushes(t) {
			notified = append(notified, p.Position.Offset)
		}
		if slices.Sort(notified); !slices.Equal(slices.Compact(notified), []int64{1, 2}) {
			t.Errorf("notified of %v, want 1 and 2", notified)
		}
		if w.committed != 4 {
			t.Errorf("committed %d, want 4", w.committed)
		}
	})
}

func TestRecordThatNoTopicTakesIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.places[bob], w.hold = at("gw-2"), true
		w.accept(to(bob, 1))
		w.run(t, func() {
			w.mu.Lock()
			refuse := w.unacked[0]
			w.hold, w.unacked = false, nil
			w.mu.Unlock()
			refuse(-1, bus.ErrTooLarge)
		}, func() { w.accept(to(bob, 2)) }, func() { time.Sleep(2 * CommitEvery) })
		if w.committed != 2 {
			t.Errorf("committed %d, want 2: a record that is too large must not end the router", w.committed)
		}
	})
}
