package search_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/search"
)

var (
	kitchen = chat.GroupConversation(alice, chat.RequestID{1})
	garden  = chat.GroupConversation(alice, chat.RequestID{2})
)

// passing lets the indexer read what was put on the log.
var passing = elapse(time.Second)

func TestMessagesAreFoundOnceTheyAreAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.event(kitchen, chat.Created, chat.UserID{})
		w.say(kitchen, alice, "salt and pepper")
		w.run(passing, func() { w.say(kitchen, bob, "no salt") }, passing, func() {
			w.finds("salt", everything(kitchen), "salt and pepper", "no salt")
			w.finds("salt", everything(garden))
		}, elapse(3*time.Second))
		if w.committed != 3 {
			t.Errorf("committed %d, want 3", w.committed)
		}
		if got := w.metric("switchboard_search_documents_total"); got != "2" {
			t.Errorf("%s documents, want 2", got)
		}
	})
}

// TestARemovedMemberFindsNothingOfLater takes the scope from the stays that the user
// index has of the removed, the one who came back, and the one who came late.
func TestARemovedMemberFindsNothingOfLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.event(kitchen, chat.Created, chat.UserID{})         // 1
		w.say(kitchen, alice, "word before")                  // 2
		w.event(kitchen, chat.MemberRemoved, carol)           // 3
		w.say(kitchen, alice, "word between")                 // 4
		w.event(kitchen, chat.MemberAdded, carol)             // 5
		w.say(kitchen, alice, "word after")                   // 6
		w.say(garden, alice, "word of the garden, first one") // 1
		w.run(passing)
		stay := func(u chat.UserID, c chat.ConversationID, joined, left chat.Seq) archive.Stay {
			return archive.Stay{User: u, Conversation: c, Joined: joined, Left: left}
		}
		for _, test := range []struct {
			who   string
			stays []archive.Stay
			want  []string
		}{
			{"a member of all the time", []archive.Stay{stay(alice, kitchen, 1, 0)}, []string{"word before", "word between", "word after"}},
			{"who was removed", []archive.Stay{stay(carol, kitchen, 1, 3)}, nil},
			{"who was removed, and is elsewhere", []archive.Stay{stay(carol, kitchen, 1, 3), stay(carol, garden, 1, 0)}, []string{"word of the garden, first one"}},
			{"who came back", []archive.Stay{stay(carol, kitchen, 1, 3), stay(carol, kitchen, 5, 0)}, []string{"word before", "word after"}},
			{"who came late", []archive.Stay{stay(bob, kitchen, 5, 0)}, []string{"word after"}},
			{"a stranger", nil, nil},
		} {
			t.Log(test.who)
			w.finds("word", search.ScopeOf(test.stays), test.want...)
			w.finds("from:me", search.ScopeOf(test.stays), test.want...)
			w.finds("word in:"+kitchen.String()+" in:"+garden.String(), search.ScopeOf(test.stays), test.want...)
		}
	})
}

func TestWhatTheLogNoLongerHoldsComesFromTheArchive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.event(kitchen, chat.Created, chat.UserID{})
		for i := range 1200 {
			w.say(kitchen, alice, fmt.Sprintf("old number%d", i))
		}
		w.forget(1201)()
		w.run(passing, func() { w.say(kitchen, bob, "new") }, passing, func() {
			w.finds("number0", everything(kitchen), "old number0")
			w.finds("number1199", everything(kitchen), "old number1199")
			w.finds("new", everything(kitchen), "new")
		})
		if got := w.metric("switchboard_search_recalled_documents_total"); got != "1200" {
			t.Errorf("%s recalled, want 1200", got)
		}
		asked := w.asked
		w.run(func() { w.say(kitchen, bob, "newer") }, passing)
		w.finds("newer", everything(kitchen), "newer")
		if w.asked != asked {
			t.Error("the archive was asked again for what is in the index")
		}
	})
}

func TestALogThatWasCutUnreadLeavesNoHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.say(kitchen, alice, "one", "two")
		w.run(passing)
		w.say(kitchen, alice, "three", "four", "five")
		w.forget(4)()
		w.run(passing)
		for _, word := range []string{"one", "two", "three", "four", "five"} {
			w.finds(word, everything(kitchen), word)
		}
	})
}

func TestMessagesSaidTwiceAreFoundOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.say(kitchen, alice, "one", "two")
		w.locked(func() { w.put(w.records[0].Value); w.put([]byte("rubbish")); w.put(w.records[1].Value) })()
		w.run(passing)
		w.finds("one", everything(kitchen), "one")
		w.finds("two", everything(kitchen), "two")
		if got := w.metric("switchboard_search_unreadable_records_total"); got != "1" {
			t.Errorf("%s unreadable, want 1", got)
		}
		w.finds("rubbish", everything(kitchen))
	})
}

func TestAnIndexThatIsAwayIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.say(kitchen, alice, "one")
		w.run(w.setAway(errors.New("away")), func() { w.say(kitchen, alice, "two") }, elapse(time.Minute), func() {
			w.finds("two", everything(kitchen))
			if lag := w.metric("switchboard_search_lag_seconds"); lag < "5" || w.committed > 1 {
				t.Errorf("lag %s s, committed %d", lag, w.committed)
			}
		}, w.setAway(nil), elapse(10*time.Second), func() {
			w.finds("two", everything(kitchen), "two")
			if lag := w.metric("switchboard_search_lag_seconds"); lag != "0" {
				t.Errorf("lag %s s when all is there", lag)
			}
		})
		if w.health[0] != "ill" || w.health[len(w.health)-1] != "well" {
			t.Errorf("health %v", w.health)
		}
	})
}

func TestAnIndexThatAnswersTooLateHasEachMessageOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.say(kitchen, alice, "one", "two")
		w.run(w.setDeaf(errors.New("timeout")), func() { w.say(kitchen, alice, "three") }, elapse(20*time.Second),
			w.setDeaf(nil), elapse(20*time.Second))
		w.finds("from:me", everything(kitchen), "one", "two", "three")
		if w.committed != 3 {
			t.Errorf("committed %d, want 3", w.committed)
		}
	})
}

func TestAnIndexThatIsDeletedWhileItIsFilledIsFilledAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.say(kitchen, alice, "one", "two")
		w.run(passing, w.locked(func() { w.gone = true }), func() { w.say(garden, alice, "three") }, passing, func() {
			w.finds("from:me", everything(kitchen, garden), "one", "two", "three")
		})
		if w.asked != 0 {
			t.Errorf("the archive was asked %d times, although the log has everything", w.asked)
		}
	})
}
