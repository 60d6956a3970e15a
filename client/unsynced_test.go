package client

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// A REST node dies as a device connects: the connection is none the worse for that, and
// what was sent is answered on it.
func TestASyncThatFailsForNowKeepsTheConnection(t *testing.T) {
	for name, fail := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, reach := piped(t)
				s.failing(fail)
				d := s.device(reach)
				done := d.sending("hello")
				c := s.next()
				id := c.hear().Data.ClientMessageID
				c.listening()
				c.say("message_sent", wire.MessageSent{ClientMessageID: id, ConversationID: talk, Seq: 2})
				if r := d.outcome(done); r.err != nil || r.sent.Seq != 2 {
					t.Errorf("sent as seq %d, %v, want 2", r.sent.Seq, r.err)
				}
				d.wants(2)
				opened, _ := s.calls()

				time.Sleep(10 * time.Minute)
				if _, synced := s.calls(); synced < 3 || synced > 150 {
					t.Errorf("synced %d times in ten minutes, want with pauses of up to %v", synced, BackoffLast)
				}
				c.say("new_message", at(5))
				time.Sleep(time.Minute) // History fails as well.
				s.mu.Lock()
				s.fail, s.synced, s.history = nil, []wire.Message{at(3), at(4)}, []wire.Message{at(3), at(4), at(5)}
				s.mu.Unlock()
				time.Sleep(CallLimit + BackoffLast + time.Second)
				d.wants(3, 4, 5)
				again, _ := s.calls()
				if opened+again != 1 {
					t.Errorf("connected %d times, want once", opened+again)
				}
				if synctest.Wait(); d.synced.IsZero() {
					t.Error("the connection was of use, and does not count as that")
				}
			})
		})
	}
}

// Until the sync has gone well, nothing says that what is pushed of a conversation is
// its beginning.
func TestNewConversationBeforeTheFirstSyncIsPulledFromItsBeginning(t *testing.T) {
	for name, live := range map[string]wire.ConversationUpdated{
		"joined":  {ConversationID: talk, Seq: 10, Change: "member_added", UserID: &alice},
		"renamed": {ConversationID: talk, Seq: 10, Change: "renamed"},
		"far":     news(10, nil),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, reach := piped(t)
				s.busy = slices.Repeat([]int{503}, 10_000)
				s.history = []wire.Message{at(3), at(4), at(10)}
				d := s.device(reach, fromNothing)
				c := s.next()
				c.listening()
				c.say("conversation_updated", live)
				d.wants(3, 4, 10)
				if have := d.Have(); !maps.Equal(have, map[chat.ConversationID]chat.Seq{talk: 10}) {
					t.Errorf("the next sync names %v", have)
				}
				if opened, _ := s.calls(); opened != 1 {
					t.Errorf("connected %d times, want once", opened)
				}
			})
		})
	}
}

func TestReconnectIsHeededBeforeTheFirstSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, reach := piped(t)
		s.failing(faults["refused"])
		d := s.device(reach)
		first := s.next()
		first.listening()
		first.say("new_message", at(2))
		d.wants(2)
		s.failing(nil)
		first.say("reconnect", wire.Reconnect{Reason: "drain"})
		second := s.next()
		second.listening()
		second.say("new_message", at(3))
		d.wants(3)
	})
}

func TestASyncThatIsRefusedForGoodEndsTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, reach := piped(t)
		s.busy = []int{503, 401}
		d := s.device(reach)
		s.next().listening()
		err := <-d.ended
		if status, ok := errors.AsType[*StatusError](err); !ok || status.Status != 401 {
			t.Errorf("ended with %v, want 401", err)
		}
	})
}

// The connection ends while the client syncs: the answers that came before are answers.
func TestAnswersOfAConnectionThatEndedUnhandledCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, reach := piped(t)
		s.failing(faults["silent"])
		d := s.device(reach)
		kept, refused := d.sending("kept"), d.sending("refused")
		c := s.next()
		for range 2 {
			f := c.hear()
			if id := f.Data.ClientMessageID; f.Data.Content == "kept" {
				c.say("message_sent", wire.MessageSent{ClientMessageID: id, ConversationID: talk, Seq: 2})
			} else {
				c.say("error", wire.Error{ClientMessageID: &id, Code: chat.NotMember})
			}
		}
		synctest.Wait() // The sync is under way.
		_ = c.CloseNow()
		s.mu.Lock()
		s.fail, s.synced = nil, []wire.Message{at(2)}
		s.mu.Unlock()
		if r := d.outcome(kept); r.err != nil || r.sent.Seq != 2 {
			t.Errorf("sent as seq %d, %v, want 2", r.sent.Seq, r.err)
		}
		r := d.outcome(refused)
		if e, ok := errors.AsType[*chat.Error](r.err); !ok || e.Code != chat.NotMember {
			t.Errorf("got %v, want not_member", r.err)
		}
		s.next().listening()
		d.wants(2)
	})
}

// The same without chance: nobody handles these frames.
func TestUnhandledAnswersResolveTheirSends(t *testing.T) {
	c := New(Config{Have: map[chat.ConversationID]chat.Seq{talk: 1}})
	send := func() (chat.RequestID, *parcel) {
		id, p := chat.NewRequestID(), &parcel{done: make(chan result, 1)}
		c.outbox[id], c.order = p, append(c.order, id)
		return id, p
	}
	stored, first := send()
	refused, second := send()
	busy, third := send()
	frames := make(chan Event, 10)
	tell := func(kind string, data any) {
		text, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		frames <- Event{Type: kind, Data: text}
	}
	tell("message_sent", "no answer")
	tell("error", "no answer")
	tell("message_sent", wire.MessageSent{ClientMessageID: stored, ConversationID: talk, Seq: 4})
	tell("error", wire.Error{ClientMessageID: &refused, Code: chat.NotMember})
	tell("error", wire.Error{ClientMessageID: &busy, Code: chat.Unavailable, Temporary: true})
	c.notice(frames)
	if len(first.done) != 1 || len(second.done) != 1 || len(third.done) != 0 {
		t.Fatalf("%d, %d and %d outcomes, want 1, 1 and 0", len(first.done), len(second.done), len(third.done))
	}
	if r := <-first.done; r.err != nil || r.sent.Seq != 4 {
		t.Errorf("sent as seq %d, %v, want 4", r.sent.Seq, r.err)
	}
	if e, ok := errors.AsType[*chat.Error]((<-second.done).err); !ok || e.Code != chat.NotMember {
		t.Errorf("got %v, want not_member", e)
	}
	if !slices.Equal(c.order, []chat.RequestID{busy}) || len(c.outbox) != 1 {
		t.Errorf("the outbox keeps %v, want %v", c.order, busy)
	}
	if h := c.held[talk]; h == nil || h.head != 4 {
		t.Errorf("held %+v, want that seq 4 is there", h)
	}
}

// Frames wait while history is asked: where nobody answers, many gaps are not found to
// stay open one after another.
func TestGapsThatNobodyFillsKeepNoAnswerWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, reach := piped(t)
		d := s.device(reach)
		c := s.next()
		c.say("new_message", at(2))
		d.wants(2) // The sync after `connected` is over.
		s.failing(faults["silent"])
		for n := range byte(10) {
			m := at(5)
			m.ConversationID = chat.ConversationID{0x7b, n}
			c.say("new_message", m)
		}
		time.Sleep(2 * HoldFor) // The first of them is being asked for.
		done := d.sending("hello")
		id := c.hear().Data.ClientMessageID
		c.listening()
		began := time.Now()
		c.say("message_sent", wire.MessageSent{ClientMessageID: id, ConversationID: talk, Seq: 3})
		d.outcome(done)
		if took := time.Since(began); took > CallLimit {
			t.Errorf("answered after %v, want once that one call has failed, after %v at most", took, CallLimit)
		}
		d.wants(3)
	})
}
