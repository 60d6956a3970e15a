package client

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

func TestGapIsHeldUntilItFills(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	for _, seq := range []chat.Seq{3, 4, 2, 2, 3, 5} { // out of order, and twice
		c.say("new_message", at(seq))
	}
	d.wants(2, 3, 4, 5)
	if got := d.Have()[talk]; got != 5 {
		t.Errorf("have %d, want 5", got)
	}
}

func TestGapThatStaysIsPulled(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	s.mu.Lock()
	s.history = []wire.Message{at(4), at(5)} // 2 and 3 are not ours to see
	s.mu.Unlock()
	c.say("new_message", at(6))
	d.wants(4, 5, 6)
}

func fromNothing(cfg *Config) { cfg.Have = nil }

// news says how far talk has come, with the message if there is one.
func news(head chat.Seq, m *wire.Message) wire.ConversationUpdated {
	return wire.ConversationUpdated{ConversationID: talk, Change: "head", HeadSeq: head, Message: m}
}

func TestHeadBringsTheOneNewMessage(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	for seq := chat.Seq(2); seq <= 3; seq++ {
		m := at(seq)
		c.say("conversation_updated", news(seq, &m))
	}
	d.wants(2, 3)
	stale := at(2)
	c.say("conversation_updated", news(2, &stale))
	c.say("new_message", at(4))
	d.wants(4)
	if got := d.Have()[talk]; got != 4 {
		t.Errorf("has %d, want 4", got)
	}
}

func TestHeadWithoutTheNextMessageIsPulled(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	s.mu.Lock()
	s.history = []wire.Message{at(2), at(3), at(4), at(5)}
	s.mu.Unlock()
	far := at(5)
	c.say("conversation_updated", news(5, &far)) // 2 to 4 are missing below it
	d.wants(2, 3, 4, 5)
	s.mu.Lock()
	s.history = append(s.history, at(6), at(7))
	s.mu.Unlock()
	c.say("conversation_updated", news(7, nil))
	d.wants(6, 7)
}

func TestHeadOfAConversationThatIsNotKnownIsPulledFromItsBeginning(t *testing.T) {
	s := newScript(t)
	d := s.device(func(c *Config) { c.Have = nil })
	c := s.next()
	s.mu.Lock()
	s.history = []wire.Message{at(7), at(8)} // what this user may see of it
	s.mu.Unlock()
	c.say("conversation_updated", news(8, nil))
	d.wants(7, 8)
}

func TestNewConversationBeginsWithItsCreationOrOnesOwnJoining(t *testing.T) {
	for name, first := range map[string]wire.ConversationUpdated{
		"created": {ConversationID: talk, Seq: 1, Change: "created"},
		"joined":  {ConversationID: talk, Seq: 7, Change: "member_added", UserID: &alice},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			d := s.device(fromNothing)
			c := s.next()
			c.say("conversation_updated", first)
			c.say("new_message", at(first.Seq+1))
			d.wants(first.Seq, first.Seq+1)
			for len(s.asked) > 0 {
				if path := <-s.asked; strings.Contains(path, "messages") {
					t.Errorf("asked for %s, though nothing is missing", path)
				}
			}
		})
	}
}

func TestNewConversationWhoseBeginningWasMissedIsPulled(t *testing.T) {
	s := newScript(t)
	d := s.device(fromNothing)
	c := s.next()
	s.mu.Lock()
	s.history = []wire.Message{at(12), at(13)} // 12 is this user's joining, not pushed
	s.mu.Unlock()
	c.say("new_message", at(14))
	c.say("behind", map[string]string{"reason": "routing"})
	d.wants(12, 13, 14)
}

// The joining and all that followed was missed; the removal alone is pushed.
func TestStayOfWhichOnlyTheEndCameIsSynced(t *testing.T) {
	s := newScript(t)
	d := s.device(fromNothing)
	c := s.next()
	for <-s.asked != "/api/v1/sync" { // the one after `connected`
	}
	s.mu.Lock()
	s.left = true
	s.synced = []wire.Message{at(51), at(52)}
	s.mu.Unlock()
	c.say("conversation_updated", wire.ConversationUpdated{ConversationID: talk, Seq: 53, Change: "member_removed", UserID: &alice})
	d.wants(51, 52, 53)
}

// A connection ended before its frames were handled: if the conversation is left when
// the next one is there, only who names it is told.
func TestConversationOfAnUnhandledFrameIsNamed(t *testing.T) {
	for _, frame := range []string{"new_message", "conversation_updated", "message_sent"} {
		c := New(Config{})
		frames := make(chan Event, 2)
		frames <- Event{Type: "typing", Data: json.RawMessage(`{"conversation_id":"` + (chat.ConversationID{0x7b}).String() + `"}`)}
		frames <- Event{Type: frame, Data: json.RawMessage(`{"conversation_id":"` + talk.String() + `","seq":12}`)}
		c.notice(frames)
		if have := c.Have(); !maps.Equal(have, map[chat.ConversationID]chat.Seq{talk: 0}) {
			t.Errorf("%s: the next sync names %v", frame, have)
		}
	}
}

// Sync says that there is a conversation, and it is left before it can be read.
func TestConversationThatSyncTellsOfIsNamed(t *testing.T) {
	s := newScript(t)
	s.left, s.heads = true, []wire.Head{{ConversationID: talk, HeadSeq: 12}}
	d := s.device(fromNothing)
	c := s.next()
	for <-s.asked != "/api/v1/conversations/"+talk.String()+"/messages" {
	}
	s.mu.Lock()
	s.synced, s.heads = []wire.Message{at(11), at(12)}, nil
	s.mu.Unlock()
	d.wants(11, 12) // With the next try, or on the next connection.
	_ = c.CloseNow()
}

// A removal was pushed and what came before it was not. The user is back when sync is
// asked, and gone again when history is: the gap is still there.
func TestGapBeforeARemovalIsFilledWhoeverComesAndGoesMeanwhile(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	for <-s.asked != "/api/v1/sync" { // the one after `connected`
	}
	s.mu.Lock()
	s.left, s.brief = true, []wire.Head{{ConversationID: talk, HeadSeq: 9, Large: true}}
	s.synced = []wire.Message{at(2), at(3)}
	s.mu.Unlock()
	c.say("conversation_updated", wire.ConversationUpdated{ConversationID: talk, Seq: 4, Change: "member_removed", UserID: &alice})
	d.wants(2, 3, 4)
}

func TestSyncComesBeforeWhatIsLive(t *testing.T) {
	s := newScript(t)
	s.synced = []wire.Message{at(2), at(3)}
	d := s.device()
	c := s.next()
	c.say("new_message", at(4))
	d.wants(2, 3, 4)
	s.mu.Lock()
	s.synced = []wire.Message{at(5)}
	s.mu.Unlock()
	c.say("behind", map[string]string{"reason": "routing"})
	d.wants(5)
}

func TestOwnRemovalIsAppliedAlthoughHistoryIsClosed(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	s.mu.Lock()
	s.left = true
	s.mu.Unlock()
	c.say("conversation_updated", wire.ConversationUpdated{ConversationID: talk, Seq: 3, Change: "member_removed"})
	d.wants(3)
}

func TestSendIsRepeatedOnTheNextConnectionWithTheSameID(t *testing.T) {
	s := newScript(t)
	d := s.device()
	first := s.next()
	done := make(chan error, 1)
	go func() {
		_, err := d.Send(t.Context(), Outgoing{Conversation: talk, Content: "hello"})
		done <- err
	}()
	before := first.hear()
	_ = first.CloseNow() // the answer is lost with the connection
	second := s.next()
	after := second.hear()
	if after.Data != before.Data || after.Data.ClientMessageID.IsZero() {
		t.Errorf("sent %+v, then %+v, want the same", before, after)
	}
	answer := wire.MessageSent{ClientMessageID: after.Data.ClientMessageID, ConversationID: talk, Seq: 2, Duplicate: true}
	second.say("message_sent", answer)
	if err := <-done; err != nil {
		t.Error(err)
	}
	second.say("message_sent", answer)
	second.say("new_message", at(3))
	d.wants(2, 3)
	if len(d.outbox) != 0 || len(d.order) != 0 {
		t.Errorf("the outbox keeps %d and %d entries", len(d.outbox), len(d.order))
	}
}

func TestTemporaryErrorIsTriedAgainAndAnyOtherEndsTheSend(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	done := make(chan error, 1)
	go func() {
		_, err := d.Send(t.Context(), Outgoing{Conversation: talk, Content: "hello"})
		done <- err
	}()
	id := c.hear().Data.ClientMessageID
	began := time.Now()
	c.say("error", wire.Error{ClientMessageID: &id, Code: chat.Unavailable, Temporary: true, RetryAfterMS: 500})
	if again := c.hear().Data.ClientMessageID; again != id || time.Since(began) < 400*time.Millisecond {
		t.Errorf("sent %s again after %v, want %s after 500 ms", again, time.Since(began), id)
	}
	c.say("error", wire.Error{ClientMessageID: &id, Code: chat.NotMember})
	var refused *chat.Error
	if err := <-done; !errors.As(err, &refused) || refused.Code != chat.NotMember {
		t.Errorf("got %v, want not_member", err)
	}
}

func TestEachRepetitionWaitsTwiceAsLong(t *testing.T) {
	c := New(Config{})
	now := time.Unix(1_800_000_000, 0)
	id := chat.NewRequestID()
	p := &parcel{patience: SendAgain}
	p.written(now)
	c.outbox[id], c.order = p, append(c.order, id)
	for _, want := range []time.Duration{5, 10, 20, 40, 40} {
		later := now.Add(want * time.Second)
		if early := c.waiting(later.Add(-1)); len(early) != 0 {
			t.Errorf("repeated before %d s have passed", want)
		}
		if due := c.waiting(later); len(due) != 1 {
			t.Errorf("not repeated after %d s", want)
		}
		now = later
	}
}

func TestAbandonedSendIsStillApplied(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := d.Send(ctx, Outgoing{Conversation: talk, Content: "hello"})
		done <- err
	}()
	id := c.hear().Data.ClientMessageID
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the outcome is unknown", err)
	}
	s.mu.Lock()
	s.history = []wire.Message{at(2)}
	s.mu.Unlock()
	c.say("message_sent", wire.MessageSent{ClientMessageID: id, ConversationID: talk, Seq: 2})
	d.wants(2)
}

// The connection is the device's: whoever ends a call of it gives up that call alone.
func TestWhoGivesUpDoesNotCutTheConnection(t *testing.T) {
	for name, call := range map[string]func(context.Context, *device){
		"a message": func(ctx context.Context, d *device) {
			if _, err := d.Send(ctx, Outgoing{Conversation: talk, Content: "hello"}); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want that the outcome is unknown", err)
			}
		},
		"a mark": func(ctx context.Context, d *device) { d.MarkRead(ctx, talk, 1) },
		"typing": func(ctx context.Context, d *device) { d.Typing(ctx, talk, true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, reach := piped(t)
				d := s.device(reach)
				c := s.next()
				synctest.Wait()
				ctx, cancel := context.WithCancel(t.Context())
				var calls sync.WaitGroup
				calls.Go(func() { call(ctx, d) })
				synctest.Wait() // Nobody reads: the frame is being written.
				cancel()
				synctest.Wait()
				c.listening()
				calls.Wait()
				c.say("new_message", at(2))
				d.wants(2)
			})
		})
	}
}

func TestMessageThatNoFrameHoldsIsRefusedHere(t *testing.T) {
	c := New(Config{})
	for _, content := range []string{strings.Repeat("x", chat.ContentBytes+1), strings.Repeat("\x00", chat.ContentBytes)} {
		var refused *chat.Error
		_, err := c.Send(t.Context(), Outgoing{Conversation: talk, Content: content})
		if !errors.As(err, &refused) || refused.Code != chat.TooLarge {
			t.Errorf("got %v, want too_large: the server would close every connection for it", err)
		}
	}
}

func TestOneRequestIsUnderWayOnce(t *testing.T) {
	c := New(Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := Outgoing{Conversation: talk, Content: "hello", Request: chat.NewRequestID()}
	c.outbox[m.Request] = &parcel{}
	if _, err := c.Send(ctx, m); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestFinalCloseEndsTheDevice(t *testing.T) {
	s := newScript(t)
	d := s.device()
	_ = s.next().Close(websocket.StatusCode(4504), "replaced")
	var closed *CloseError
	if err := <-d.ended; !errors.As(err, &closed) || closed.Code != 4504 {
		t.Errorf("got %v, want 4504", err)
	}
}

func TestRefusedUpgradeEndsTheDevice(t *testing.T) {
	s := newScript(t)
	s.refuse = 401
	var status *StatusError
	if err := <-s.device().ended; !errors.As(err, &status) || status.Status != 401 {
		t.Errorf("got %v, want 401", err)
	}
}

func TestOtherClosesAreComeBackFrom(t *testing.T) {
	s := newScript(t)
	d := s.device()
	_ = s.next().Close(websocket.StatusCode(4001), "draining")
	s.next().say("new_message", at(2))
	d.wants(2)
	d.cancel()
	if err := <-d.ended; err != nil {
		t.Errorf("got %v, want none: the caller ended it", err)
	}
}
