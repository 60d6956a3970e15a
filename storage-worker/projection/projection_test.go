package projection

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/roster"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/follower"
)

var (
	friday           = chat.ConversationID{0xf1}
	alice, bob, carl = chat.UserID{0xa}, chat.UserID{0xb}, chat.UserID{0xc}
)

// id is that of the event with a seq.
func id(seq chat.Seq) chat.MessageID { return chat.NewMessageID(chat.Clock(seq)*1000, generation, 0) }

// stored is an outcome with those events, of alice.
func stored(c chat.ConversationID, entries ...chat.Entry) *bus.Accepted {
	a := &bus.Accepted{Outcome: bus.Stored, Conversation: c, Sender: alice, Request: chat.RequestID{1}}
	for _, e := range entries {
		e.ID = id(e.Seq)
		a.Events = append(a.Events, bus.Event{Entry: e})
	}
	return a
}

func created(c chat.ConversationID, name string, users ...chat.UserID) *bus.Accepted {
	a := stored(c, chat.Entry{Seq: 1, Kind: chat.KindEvent, Change: chat.Created, Name: name, MembersVersion: 1})
	a.Events[0].Added, a.Events[0].Type = users, chat.Group
	return a
}

func message(c chat.ConversationID, seq chat.Seq) *bus.Accepted {
	return stored(c, chat.Entry{Seq: seq, Kind: chat.KindText, Content: "hi"})
}

func renamed(c chat.ConversationID, seq chat.Seq, name string) *bus.Accepted {
	return stored(c, chat.Entry{Seq: seq, Kind: chat.KindEvent, Change: chat.Renamed, Name: name})
}

// said is a change in one line.
func said(changes []roster.Change) (all []string) {
	for _, c := range changes {
		all = append(all, fmt.Sprintf("%d %s %q %d added, user %x role %s at %d", c.Seq, c.What, c.Name, len(c.Added), c.User[0], c.Role, c.At))
	}
	return all
}

func (w *world) expectApplied(want ...string) {
	w.t.Helper()
	if got := said(w.applied); !slices.Equal(got, want) {
		w.t.Errorf("applied %q, want %q", got, want)
	}
}

func TestEveryKindOfChangeReachesTheRosterOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		handOver := stored(friday,
			chat.Entry{Seq: 5, Kind: chat.KindEvent, Change: chat.MemberRemoved, User: alice},
			chat.Entry{Seq: 6, Kind: chat.KindEvent, Change: chat.RoleChanged, User: bob, Role: chat.Admin})
		added := stored(friday, chat.Entry{Seq: 2, Kind: chat.KindEvent, Change: chat.MemberAdded, User: carl, Role: chat.Member})
		w.accept(
			created(friday, "Friday", alice, bob), added, message(friday, 3), renamed(friday, 4, "Saturday"),
			added, // A zombie's.
			&bus.Accepted{Outcome: bus.Refused, Conversation: friday, Code: chat.NotMember},
			&bus.Accepted{Outcome: bus.Duplicate, Conversation: friday, Seq: 3, ID: id(3)},
			handOver, added, handOver,
		)
		w.run()
		w.expectApplied(
			`1 created "Friday" 2 added, user 0 role unknown at 1000`, `2 member_added "" 0 added, user c role member at 2000`,
			`4 renamed "Saturday" 0 added, user 0 role unknown at 4000`,
			`5 member_removed "" 0 added, user a role unknown at 5000`, `6 role_changed "" 0 added, user b role admin at 6000`,
		)
		first := w.applied[0]
		if first.Type != chat.Group || first.Creator != alice || !slices.Equal(first.Added, []chat.UserID{alice, bob}) {
			t.Errorf("created: got %v", first)
		}
		if want := (roster.Progress{Generation: generation, Next: 10, Last: 6}); w.progress != want {
			t.Errorf("progress: got %v, want %v", w.progress, want)
		}
	})
}

func TestWhileTheRosterIsAwayNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.away = errors.New("connection refused")
		w.accept(created(friday, "", alice, bob))
		w.run(
			elapse(time.Minute),
			func() { w.accept(renamed(friday, 2, "later")) },
			func() {
				if len(w.applied) > 0 || w.commits > 0 {
					t.Errorf("away: got %d changes and %d commits", len(w.applied), w.commits)
				}
			},
			w.locked(func() { w.away, w.deaf = nil, errors.New("lost in the middle of COMMIT") }),
			elapse(follower.RetryMost+time.Second),
			func() {
				lag, err := strconv.ParseFloat(w.metric("switchboard_projection_lag_seconds"), 64)
				if err != nil || lag < 60 {
					t.Errorf("lag: got %v, %v, want over a minute", lag, err)
				}
			},
			w.locked(func() { w.deaf, w.applied = nil, nil }),
			elapse(follower.RetryMost+settleEvery),
		)
		w.expectApplied(
			`1 created "" 2 added, user 0 role unknown at 1000`,
			`2 renamed "later" 0 added, user 0 role unknown at 2000`)
		if w.committed != 2 || w.metric("switchboard_projection_lag_seconds") != "0" {
			t.Errorf("committed %d, lag %s", w.committed, w.metric("switchboard_projection_lag_seconds"))
		}
		ill := slices.DeleteFunc(slices.Clone(w.health), func(s string) bool { return s != "ill" })
		if w.health[0] != "ill" || w.health[len(w.health)-1] != "well" {
			t.Errorf("health: got %q", w.health)
		}
		if got := w.metric("switchboard_projection_errors_total"); got != strconv.Itoa(len(ill)) {
			t.Errorf("errors: got %s, want %d", got, len(ill))
		}
	})
}

func TestMessagesAloneAreNotedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.accept(created(friday, "", alice, bob))
		talk := func() {
			for seq := range chat.Seq(1000) {
				w.accept(message(friday, 2+seq))
				time.Sleep(10 * time.Millisecond)
			}
		}
		w.run(talk, elapse(settleEvery+time.Second))
		if n := len(w.batches); n < 5 || n > 8 || slices.Max(w.batches[1:]) != 0 {
			t.Errorf("applied %v changes in 10 s of messages", w.batches)
		}
		if w.commits > 8 || w.committed != 1001 || w.progress.Next != 1001 {
			t.Errorf("%d commits, the last at %d, progress %v", w.commits, w.committed, w.progress)
		}
		idle := len(w.batches)
		w.run(elapse(10 * time.Minute))
		if len(w.batches) != idle || w.commits > 8 {
			t.Errorf("ten idle minutes: %d more writes, %d commits in all", len(w.batches)-idle, w.commits)
		}
	})
}

func TestTheRosterSaysWhereToGoOn(t *testing.T) {
	for name, test := range map[string]struct {
		progress  roster.Progress
		committed int64
		want      int
	}{
		"a new roster begins with the log, whatever is committed":   {committed: 4, want: 4},
		"a roster put back to its backup goes on from there":        {roster.Progress{Generation: generation, Next: 2, Last: 1}, 4, 2},
		"commits that are behind do not matter":                     {roster.Progress{Generation: generation, Next: 3, Last: 2}, 0, 1},
		"what was seen by its inbound offset is not applied again":  {roster.Progress{Generation: generation, Next: 1, Last: 2}, 0, 1},
		"a roster that knows the end waits":                         {roster.Progress{Generation: generation, Next: 4, Last: 3}, -1, 0},
		"a roster that is ahead of the log reads it from the start": {roster.Progress{Generation: generation, Next: 90, Last: 80}, -1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.accept(created(friday, "", alice, bob), renamed(friday, 2, "b"), renamed(friday, 3, "c"), renamed(friday, 4, "d"))
				w.progress, w.committed = test.progress, test.committed
				w.knows[friday] = test.progress.Next > 0
				w.run()
				if got := len(w.applied); got != test.want {
					t.Errorf("got %q, want the last %d", said(w.applied), test.want)
				}
				if w.metric("switchboard_projection_log_gaps_total") != "0" {
					t.Error("found a gap where there is none")
				}
			})
		})
	}
}

func TestALogThatJumpedIsFollowedFromItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.progress = roster.Progress{Generation: generation, Next: 5, Last: 4}
		w.knows[friday] = true
		w.start, w.inbound = 20, 19
		w.accept(renamed(friday, 30, "after the gap"))
		w.run(elapse(settleEvery + time.Second))
		w.expectApplied(`30 renamed "after the gap" 0 added, user 0 role unknown at 30000`)
		if w.committed != 21 || w.metric("switchboard_projection_log_gaps_total") != "1" {
			t.Errorf("committed %d, gaps %s", w.committed, w.metric("switchboard_projection_log_gaps_total"))
		}
	})
}

func TestAnUnknownConversationComesFromTheArchive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.infos[friday] = archive.Info{Type: chat.Group, Name: "Friday", Creator: alice, Created: id(1)}
		w.spans[friday] = []archive.Span{
			{User: alice, Joined: 1, Left: 9, Role: chat.Admin, At: id(1)},
			{User: bob, Joined: 1, Left: 5, Role: chat.Member, At: id(1)},
			{User: bob, Joined: 5, Role: chat.Admin, At: id(5)},
			{User: carl, Joined: 3, Left: 4, Role: chat.Member, At: id(3)},
			{User: carl, Joined: 6, Left: 12, Role: chat.Member, At: id(6)}, // Leaves after the change at hand.
			{User: chat.UserID{0xd}, Joined: 10, Role: chat.Member, At: id(10)},
		}
		w.start, w.inbound = 7, 7
		remove := stored(friday, chat.Entry{Seq: 12, Kind: chat.KindEvent, Change: chat.MemberRemoved, User: carl})
		w.accept(message(friday, 11), remove, renamed(friday, 13, "x"))
		w.run()
		want := roster.Snapshot{
			Conversation: friday, Type: chat.Group, Name: "Friday", Created: 1000, Updated: 10_000, Version: 11,
			Members: []roster.Member{
				{User: bob, Role: chat.Admin, Joined: 1000},
				{User: carl, Role: chat.Member, Joined: 6000},
				{User: chat.UserID{0xd}, Role: chat.Member, Joined: 10_000},
			},
		}
		if len(w.loaded) != 1 || !reflect.DeepEqual(w.loaded[0], want) {
			t.Errorf("loaded %v, want %v", w.loaded, want)
		}
		w.expectApplied(
			`12 member_removed "" 0 added, user c role unknown at 12000`, `13 renamed "x" 0 added, user 0 role unknown at 13000`)
		if w.metric("switchboard_projection_loaded_conversations_total") != "1" {
			t.Error("the load was not counted")
		}
	})
}

func TestALargeConversationIsLoadedWhenSomebodySpeaksInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.infos[friday] = archive.Info{Type: chat.Group, Created: id(1)}
		for seq := range chat.Seq(500) {
			m := message(friday, 1000+seq)
			m.Large = true
			w.accept(m)
		}
		w.run()
		if len(w.loaded) != 1 || w.loaded[0].Version != 999 || len(w.applied) != 1 {
			t.Errorf("loaded %v and applied %d, want one of each", w.loaded, len(w.applied))
		}
	})
}

func TestWhatTheArchiveDoesNotKnowIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		other := chat.ConversationID{0xee}
		w.accept(renamed(other, 5, "lost"), created(friday, "", alice, bob), renamed(other, 6, "lost"))
		w.run()
		w.expectApplied(`1 created "" 2 added, user 0 role unknown at 1000`)
		if w.metric("switchboard_projection_orphaned_conversations_total") != "1" || w.progress.Next != 3 {
			t.Errorf("progress %v", w.progress)
		}
	})
}

func TestAnUnreadableRecordIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.append([]byte("no record"))
		w.run(elapse(settleEvery + time.Second))
		w.run(func() { w.accept(created(friday, "", alice, bob)) }, elapse(time.Second))
		w.expectApplied(`1 created "" 2 added, user 0 role unknown at 1000`)
		if w.metric("switchboard_projection_unreadable_records_total") != "1" || w.metric("switchboard_projection_log_gaps_total") != "0" {
			t.Error("want one unreadable record and no gap")
		}
	})
}

func TestALongFetchIsAppliedInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.accept(created(friday, "", alice, bob))
		for seq := range chat.Seq(2 * batchChanges) {
			w.accept(renamed(friday, 2+seq, "x"))
		}
		crowd := make([]chat.UserID, chat.MembersMax)
		for i := range crowd {
			crowd[i] = chat.UserID{1, byte(i >> 8), byte(i)}
		}
		for i := range byte(3) {
			w.accept(created(chat.ConversationID{i}, "", crowd...))
		}
		w.run()
		if want := []int{batchChanges, batchChanges, 2, 1, 1}; !slices.Equal(w.batches, want) {
			t.Errorf("got batches of %v, want %v", w.batches, want)
		}
	})
}
