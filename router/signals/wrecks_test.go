package signals

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

func (w *world) Wrecks(ctx context.Context) ([]presence.Wreck, error) {
	if err := w.ask(ctx, "wrecks"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.wrecks), nil
}

func (w *world) Aboard(_ context.Context, _ presence.Life, part int) ([]chat.UserID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.aboard[part]), nil
}

func (w *world) Disembark(_ context.Context, _ presence.Life, part int) error {
	w.do(func() { delete(w.aboard, part) })
	return nil
}

func (w *world) Remove(_ context.Context, l presence.Life) error {
	w.do(func() {
		w.wrecks = slices.DeleteFunc(w.wrecks, func(x presence.Wreck) bool { return x.Life == l })
	})
	return nil
}

// Produce appends to the world's log.
func (w *world) Produce(m bus.Message, done func(int64, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent == "log" {
		return bus.ErrOverloaded
	}
	w.append(m.Value)
	go done(0, nil)
	return nil
}

// wreck has the lease of a gateway end now, with these people on it.
func (w *world) wreck(users ...chat.UserID) time.Time {
	now := time.Now()
	w.do(func() {
		w.wrecks = append(w.wrecks, presence.Wreck{Life: presence.Life{Slot: "gw-9", Boot: 1}, Ended: now})
		for i, u := range users {
			w.aboard[i%presence.AboardParts] = append(w.aboard[i%presence.AboardParts], u)
		}
	})
	return now
}

// hinted is of how many people it was said in the name of dead gateways that they
// are gone.
func (w *world) hinted() uint64 { return w.count("switchboard_router_wreck_users_total") }

// Of two who were on a gateway that died one is elsewhere by the end of the grace:
// the other is announced, and was last seen when the lease ended.
func TestWhoIsNotBackFromADeadGatewayIsAnnounced(t *testing.T) {
	w := pair()
	w.peers[bob], w.peers[carol] = []chat.UserID{alice}, []chat.UserID{alice}
	w.noticed[bob], w.noticed[carol] = true, true
	inTime(t, w, func(func()) {
		ended := w.wreck(bob, carol)
		time.Sleep(Grace - time.Second)
		wants(t, w)
		w.at(carol, "gw-2")
		time.Sleep(presence.RenewEvery)
		wants(t, w, saidOfBob(chat.Offline, ended))
		time.Sleep(time.Minute)
		wants(t, w)
		w.do(func() {
			if len(w.wrecks) != 0 || len(w.aboard) != 0 {
				t.Errorf("%v and %v are left of the wreck", w.wrecks, w.aboard)
			}
		})
		if w.hinted() != 2 || w.count("switchboard_router_wrecks_total") != 1 {
			t.Errorf("%d hints were given, want 2", w.hinted())
		}
		w.at(bob, "gw-9")
		began := time.Now()
		w.say(came(bob))
		wants(t, w, saidOfBob(chat.Online, began))
	})
}

// 25,000 people whose gateway is killed are back on another: they are asked for as
// fast as the limit allows, and nobody hears a word.
func TestADeadGatewayIsNoStorm(t *testing.T) {
	const people = 25_000
	w := newWorld()
	w.at(alice, "gw-1")
	users := make([]chat.UserID, people)
	for i := range users {
		users[i] = chat.UserID{9, byte(i), byte(i >> 8)}
		w.peers[users[i]] = []chat.UserID{alice}
		w.noticed[users[i]] = true
		w.at(users[i], "gw-2")
	}
	inTime(t, w, func(func()) {
		w.wreck(users...)
		for range 60 {
			before := w.hinted()
			time.Sleep(time.Second)
			if got := w.hinted() - before; got > SweptPerSecond*11/10 {
				t.Errorf("%d hints in a second, want %d at most", got, SweptPerSecond)
			}
		}
		if w.hinted() != people {
			t.Errorf("%d hints were given, want %d", w.hinted(), people)
		}
		synctest.Wait()
		wants(t, w)
		if got := w.count("switchboard_router_presence_back_total"); got != people {
			t.Errorf("%d were found to be back, want %d", got, people)
		}
		w.do(func() {
			if w.asked["roster"] != 0 || w.asked["channel"] != 0 {
				t.Errorf("asked %v, want nobody's peers and no publication", w.asked)
			}
			if most := 3 * people / usersPerLookup; w.asked["places"] > most {
				t.Errorf("the directory was asked %d times for %d people, want %d at most", w.asked["places"], people, most)
			}
		})
	})
}

// A gateway that was cut off for a moment takes its lease again, and nothing is said
// in its name.
func TestAGatewayThatIsBackIsNoWreck(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		w.wreck(bob)
		time.Sleep(SettledAfter - time.Second)
		w.do(func() { w.wrecks = nil })
		time.Sleep(time.Minute)
		wants(t, w)
		w.do(func() {
			if w.hinted() != 0 || len(w.aboard) != 1 {
				t.Errorf("%d hints were given of a gateway that lives", w.hinted())
			}
		})
	})
}

// One that was cut off for longer says again who is there: of those who were called
// offline that is news.
func TestWhoWasCalledOfflineIsAnnouncedWithTheGatewaysReturn(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		ended := w.wreck(bob)
		time.Sleep(Grace + presence.RenewEvery)
		wants(t, w, saidOfBob(chat.Offline, ended))
		w.at(bob, "gw-9")
		back := time.Now()
		w.say(came(bob))
		wants(t, w, saidOfBob(chat.Online, back))
		time.Sleep(time.Minute)
		wants(t, w)
	})
}

// A sweep ends when its gateway turns out to live: the rest stays on the list.
func TestASweepEndsWhenTheGatewayIsBack(t *testing.T) {
	w := newWorld()
	users := make([]chat.UserID, 10*SweptPerSecond)
	for i := range users {
		users[i] = chat.UserID{9, byte(i), byte(i >> 8), byte(i >> 16)}
	}
	inTime(t, w, func(func()) {
		w.wreck(users...)
		for w.hinted() == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		var left int
		w.do(func() { w.wrecks, left = nil, len(w.aboard) })
		time.Sleep(time.Minute)
		w.do(func() {
			if len(w.aboard) != left {
				t.Errorf("of %d parts %d are left of the list of a gateway that lives", left, len(w.aboard))
			}
		})
	})
}

// A directory that was away for a minute comes back with every lease lapsed, and all
// gateways look dead until they have renewed them. Bob, who changed places just
// before, looks gone.
func TestADirectoryThatWasAwayCallsNobodyOffline(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		time.Sleep(time.Minute)
		w.say(left(bob))
		w.do(func() { w.silent = "wrecks" }) // And with it all of the directory.
		time.Sleep(time.Minute)
		w.wreck(bob)
		w.do(func() { w.silent = "" })
		time.Sleep(presence.RenewEvery)
		w.do(func() { w.wrecks = nil })
		w.at(bob, "gw-9")
		time.Sleep(time.Minute)
		wants(t, w)
		if w.hinted() != 0 {
			t.Errorf("%d hints were given of gateways that live", w.hinted())
		}
	})
}

// Redis loses all it knows just before the end of bob's grace, who is on another
// gateway by then: nowhere is not gone.
func TestADirectoryThatForgotCallsNobodyOffline(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		w.say(left(bob))
		w.at(bob, "gw-2")
		w.say(came(bob))
		time.Sleep(Grace - time.Second)
		w.at(bob)
		w.do(func() { clear(w.noticed) })
		time.Sleep(time.Minute)
		wants(t, w)
		if got := w.count("switchboard_router_presence_unnoticed_total"); got != 1 {
			t.Errorf("%d were nowhere and not noticed, want bob", got)
		}
	})
}

// Redis forgot, and between the look where bob is and that at his notice both come
// back: he is there.
func TestWhoComesBackWhileItIsAskedIsNotGone(t *testing.T) {
	for _, silent := range []string{"", "directory"} { // Or the second look has no answer.
		w := pair()
		inTime(t, w, func(func()) {
			w.say(left(bob))
			w.do(func() {
				w.meanwhile = func() {
					w.noticed[bob], w.silent = true, silent
					w.places[bob] = presence.Places{Online: true, Routes: []presence.Route{{Slot: "gw-2", Boot: 1, Session: 1}}}
				}
			})
			time.Sleep(Grace + Patience + time.Second)
			w.do(func() { w.silent = "" })
			time.Sleep(time.Minute)
			wants(t, w)
			w.do(func() {
				if !w.noticed[bob] {
					t.Error("when bob goes, nobody will be told")
				}
			})
			if got := w.count("switchboard_router_presence_back_total"); got != 1 {
				t.Errorf("%d were found to be back, want bob", got)
			}
		})
	}
}

// A user's other session may have come back to a Redis that forgot everything before
// its gateway's lease has, and the notice with it: there is an entry, and nothing is
// known of the gateway.
func TestAGatewayThatWasForgottenIsWaitedFor(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		ended := time.Now()
		w.say(left(bob))
		w.do(func() { w.places[bob] = presence.Places{Unknown: true} })
		time.Sleep(Grace + SettledAfter - time.Second)
		wants(t, w)
		w.do(func() {
			if w.asked["places"] < 5 {
				t.Error("it was not asked whether the gateway is back")
			}
		})
		time.Sleep(2*lookAgain + time.Second) // It was gone long ago.
		wants(t, w, saidOfBob(chat.Offline, ended))
		w.do(func() { w.noticed[bob] = true })
		w.say(left(bob))
		time.Sleep(Grace + SettledAfter/2)
		w.at(bob, "gw-2")
		time.Sleep(SettledAfter)
		wants(t, w)
	})
}

// Two routers that sweep the same wreck, or one that begins again, say the same.
func TestHintsThatComeTwiceAreOneWord(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		ended := time.Now()
		w.say(left(bob), left(bob))
		time.Sleep(Grace + 2*time.Second)
		wants(t, w, saidOfBob(chat.Offline, ended))
		again := left(bob)
		again.Millis = ended.UnixMilli()
		w.say(again)
		time.Sleep(Grace + 2*time.Second)
		wants(t, w, saidOfBob(chat.Offline, ended)) // Whoever was told has it already.
	})
}

// What the log does not take is said later: nobody is taken off the list before.
func TestASweepWaitsForTheLog(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		w.do(func() { w.silent = "log" })
		ended := w.wreck(bob)
		time.Sleep(time.Minute)
		wants(t, w)
		w.do(func() {
			if len(w.aboard) != 1 {
				t.Error("bob was forgotten before the log knew of him")
			}
		})
		w.do(func() { w.silent = "" })
		time.Sleep(2*lookAgain + time.Second)
		wants(t, w, saidOfBob(chat.Offline, ended))
	})
}
