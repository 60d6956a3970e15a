package client

import (
	"testing"
	"time"

	"github.com/coder/websocket"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// hears waits for marks, in any order.
func (c *socket) hears(want map[string]chat.Seq) {
	c.t.Helper()
	for range len(want) {
		if f := c.hear(); want[f.Type] != f.Data.Seq || f.Data.Seq == 0 {
			c.t.Errorf("heard %s %d, want %v", f.Type, f.Data.Seq, want)
		}
	}
}

func TestMarksAreWrittenOnceAndAgainWhereTheyMayBeLost(t *testing.T) {
	s := newScript(t)
	d := s.device()
	first := s.next()
	d.MarkRead(t.Context(), talk, 3)
	first.hears(map[string]chat.Seq{"mark_read": 3})
	d.MarkRead(t.Context(), talk, 3)
	d.MarkRead(t.Context(), talk, 2) // Neither says anything.
	d.MarkDelivered(t.Context(), talk, 4)
	first.hears(map[string]chat.Seq{"mark_delivered": 4})
	d.mu.Lock()
	d.marks[markKey{chat.ConversationID{1}, chat.Read}] = mark{seq: 9, written: time.Now().Add(-time.Hour)} // long kept
	d.mu.Unlock()
	_ = first.CloseNow()
	second := s.next()
	second.hears(map[string]chat.Seq{"mark_read": 3, "mark_delivered": 4})
	_ = second.Close(websocket.StatusCode(4001), "draining")
	d.MarkRead(t.Context(), talk, 7) // There may be no connection now.
	s.next().hears(map[string]chat.Seq{"mark_read": 7, "mark_delivered": 4})
}

func TestARefusedMarkIsWrittenAgainIfThatHelps(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	d.MarkRead(t.Context(), talk, 3)
	c.hears(map[string]chat.Seq{"mark_read": 3})
	began := time.Now()
	c.say("error", wire.Error{ID: markID, Code: chat.RateLimited, Temporary: true, RetryAfterMS: 300})
	c.hears(map[string]chat.Seq{"mark_read": 3})
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("written again after %v, want 300 ms", took)
	}
	c.say("error", wire.Error{ID: markID, Code: chat.BadRequest})
	d.MarkRead(t.Context(), talk, 4)
	c.hears(map[string]chat.Seq{"mark_read": 4})
}

func TestStatusesAreHandedOn(t *testing.T) {
	s := newScript(t)
	heard := make(chan wire.MessageStatus, 1)
	d := s.device(func(cfg *Config) { cfg.Status = func(m wire.MessageStatus) { heard <- m } })
	want := wire.MessageStatus{ConversationID: talk, UserID: alice, Status: "read", Seq: 3}
	c := s.next()
	c.say("message_status", want)
	c.say("new_message", at(2))
	d.wants(2)
	if got := <-heard; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
