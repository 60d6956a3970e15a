package signals

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

func came(u chat.UserID) bus.Hint { return bus.Hint{User: u, Presence: chat.Online} }
func left(u chat.UserID) bus.Hint { return bus.Hint{User: u, Presence: chat.Offline} }

// saidOfBob is what alice is told when bob comes or goes.
func saidOfBob(what chat.Presence, at time.Time) string {
	return fmt.Sprintf(`gw-1 2 [alice] {"type":"presence_update","data":{"user_id":"bob","status":"%v","last_seen":%d}}`,
		what, at.Unix())
}

// pair is a world in which bob has alice as a peer, who is on gw-1.
func pair() *world {
	w := newWorld()
	w.peers[bob] = []chat.UserID{alice, carol}
	w.at(alice, "gw-1")
	return w
}

func TestComingAndGoingIsToldToDirectPeers(t *testing.T) {
	w := pair()
	inTime(t, w, func(func()) {
		w.at(bob, "gw-2")
		began := time.Now()
		w.say(came(bob))
		wants(t, w, saidOfBob(chat.Online, began))
		w.say(came(bob)) // Another device is no news.
		wants(t, w)
		w.say(left(bob))
		time.Sleep(Grace + time.Second)
		wants(t, w) // The other one is still there.
		w.at(bob)
		ended := time.Now()
		w.say(left(bob))
		time.Sleep(Grace - time.Second)
		wants(t, w)
		time.Sleep(2 * time.Second)
		wants(t, w, saidOfBob(chat.Offline, ended))
		time.Sleep(time.Minute)
		wants(t, w) // Once.
		w.at(bob, "gw-2")
		began = time.Now()
		w.say(came(bob))
		wants(t, w, saidOfBob(chat.Online, began))
	})
}

func TestWhoIsBackWithinTheGraceWasNeverGone(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		w.say(left(bob))
		time.Sleep(Grace - 2*time.Second)
		w.at(bob, "gw-3")
		w.say(came(bob))
		time.Sleep(time.Minute)
		wants(t, w)
	})
}

func TestTheGraceBeginsWithTheLastDeparture(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		w.say(left(bob))
		time.Sleep(Grace - time.Second)
		last := time.Now()
		w.say(left(bob))
		time.Sleep(Grace - time.Second)
		wants(t, w)
		time.Sleep(2 * time.Second)
		wants(t, w, saidOfBob(chat.Offline, last))
	})
}

// While nobody can say where somebody is, nobody is called offline.
func TestASilentDirectoryCallsNobodyOffline(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		ended := time.Now()
		w.say(left(bob))
		w.do(func() { w.silent = "directory" })
		time.Sleep(time.Minute)
		wants(t, w)
		w.do(func() { w.silent = "" })
		time.Sleep(SettledAfter / 2)
		wants(t, w) // The gateways may not even know yet that it is back.
		time.Sleep(SettledAfter/2 + 2*Patience + presence.RenewEvery)
		wants(t, w, saidOfBob(chat.Offline, ended))
	})
}

// One partition that gets no answer waits by itself: the dead gateways are still known.
func TestAPartitionInDoubtDoubtsForItself(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	users := make([]chat.UserID, 500)
	for i := range users {
		users[i] = chat.UserID{9, byte(i), byte(i >> 8)}
	}
	inTime(t, w, func(func()) {
		ended := time.Now()
		w.say(left(bob))
		time.Sleep(Grace - time.Second)
		w.do(func() { w.silent = "places" })
		w.wreck(users...)
		time.Sleep(SettledAfter + presence.RenewEvery - time.Second)
		if got := w.hinted(); got != uint64(len(users)) {
			t.Errorf("%d hints of %d were given meanwhile", got, len(users))
		}
		wants(t, w)
		w.do(func() { w.silent = "" })
		time.Sleep(SettledAfter)
		wants(t, w)
		time.Sleep(Patience + presence.RenewEvery + time.Second)
		wants(t, w, saidOfBob(chat.Offline, ended))
	})
}

// A gateway whose clock is an hour ahead makes nobody wait for an hour.
func TestAClockThatIsAheadIsNotBelieved(t *testing.T) {
	w := pair()
	w.noticed[bob] = true
	inTime(t, w, func(func()) {
		ended, hint := time.Now(), left(bob)
		hint.Millis = ended.Add(time.Hour).UnixMilli()
		w.say(hint)
		time.Sleep(Grace + 2*time.Second)
		wants(t, w, saidOfBob(chat.Offline, ended))
	})
}

// Many who go together are told of a thousand at a time.
func TestManyWhoGoTogetherAreAStream(t *testing.T) {
	const people = 2500
	w := newWorld()
	w.at(alice, "gw-1")
	inTime(t, w, func(func()) {
		for i := range people {
			u := chat.UserID{9, byte(i), byte(i >> 8)}
			w.do(func() { w.peers[u], w.noticed[u] = []chat.UserID{alice}, true })
			w.say(left(u))
		}
		time.Sleep(Grace - time.Second)
		if got := len(w.news()); got != 0 {
			t.Fatalf("%d were announced within the grace", got)
		}
		var told []int
		for range 5 {
			time.Sleep(900 * time.Millisecond) // And 100 ms in news.
			told = append(told, len(w.news()))
		}
		all := 0
		for _, n := range told {
			if all += n; n > 2*usersPerLookup {
				t.Errorf("%v were announced in a second each, want 1000 or 2000 at most", told)
			}
		}
		if all != people {
			t.Errorf("%v were announced, want %d in all", told, people)
		}
	})
}

func TestWhoWasNotAnnouncedIsNewsNextTime(t *testing.T) {
	w := pair()
	inTime(t, w, func(func()) {
		w.at(bob, "gw-2")
		w.do(func() { w.silent = "roster" })
		w.say(came(bob))
		time.Sleep(Patience + time.Second)
		wants(t, w)
		w.do(func() { w.silent = "" })
		began := time.Now()
		w.say(came(bob))
		wants(t, w, saidOfBob(chat.Online, began))
		w.do(func() { w.silent = "notices" })
		w.say(came(bob))
		time.Sleep(Patience + time.Second)
		wants(t, w)
		if got := w.count(`switchboard_router_hints_dropped_total{reason="no_answer"}`); got != 2 {
			t.Errorf("%d were lost, want 2", got)
		}
	})
}

func TestASuccessorKeepsTheGraces(t *testing.T) {
	w := pair()
	w.noticed[bob], w.committed = true, 0
	var ended time.Time
	inTime(t, w, func(stop func()) {
		ended = time.Now()
		w.say(left(bob), typing(carol, true))
		time.Sleep(5 * time.Second)
		stop()
		if w.committed != 0 {
			t.Errorf("committed %d, though bob's grace began at 0", w.committed)
		}
	})
	inTime(t, w, func(stop func()) { // Its clock begins anew, at the same time.
		time.Sleep(Grace + time.Second)
		wants(t, w, saidOfBob(chat.Offline, ended))
		time.Sleep(2 * CommitEvery)
		stop()
		if w.committed != 2 {
			t.Errorf("committed %d, want 2 after it", w.committed)
		}
	})
}

// A claim may end while somebody's arrival is being asked about. Nobody else hears of
// it if the next owner does not.
func TestASuccessorAnnouncesWhoCameAtTheEndOfAClaim(t *testing.T) {
	w := pair()
	w.at(bob, "gw-2")
	w.committed, w.silent = 0, "notices"
	inTime(t, w, func(stop func()) {
		w.say(came(bob))
		time.Sleep(Patience / 2)
		stop()
		if w.committed != 0 {
			t.Errorf("committed %d, though nothing was done for the first hint", w.committed)
		}
	})
	w.silent = ""
	inTime(t, w, func(func()) { wants(t, w, saidOfBob(chat.Online, time.Now())) })
}

// 5,000 people whose gateway restarts come back to another: each is asked for once,
// and nobody hears a word.
func TestARestartingGatewayIsNoNews(t *testing.T) {
	const people = 5000
	w := newWorld()
	users := make([]chat.UserID, people)
	for i := range users {
		users[i] = chat.UserID{9, byte(i), byte(i >> 8)}
		w.peers[users[i]] = []chat.UserID{alice}
		w.noticed[users[i]] = true
	}
	w.at(alice, "gw-1")
	inTime(t, w, func(func()) {
		for _, u := range users {
			w.say(left(u))
		}
		time.Sleep(5 * time.Second)
		for _, u := range users {
			w.at(u, "gw-2")
			w.say(came(u))
		}
		time.Sleep(2 * Grace)
		synctest.Wait()
		wants(t, w)
		if w.asked["roster"] != 0 || w.asked["channel"] != 0 {
			t.Errorf("asked %v, want nobody's peers and no publication", w.asked)
		}
		if least := people / usersPerLookup; w.asked["places"] > 4*least {
			t.Errorf("the directory was asked %d times for %d people, want about %d", w.asked["places"], people, least)
		}
		if got := w.count("switchboard_router_presence_back_total"); got != people {
			t.Errorf("%d were found to be back, want %d", got, people)
		}
	})
}
