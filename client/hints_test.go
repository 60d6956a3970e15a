package client

import (
	"testing"
	"time"

	"switchboard/internal/wire"
)

func TestTypingIsWrittenAsOftenAsTheServerTakesIt(t *testing.T) {
	New(Config{}).Typing(t.Context(), talk, true) // Without a connection nothing is said.
	s := newScript(t)
	d := s.device()
	c := s.next()
	d.await()
	for range 50 {
		d.Typing(t.Context(), talk, true)
	}
	d.MarkRead(t.Context(), talk, 3)
	d.mu.Lock()
	d.typingFrom = time.Time{}
	d.mu.Unlock()
	d.Typing(t.Context(), talk, false)
	for _, want := range []string{"typing", "mark_read", "typing"} {
		if got := c.hear().Type; got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
	}
}

// await waits until the device has a connection.
func (d *device) await() {
	d.t.Helper()
	for late := time.After(patience); ; {
		d.mu.Lock()
		conn := d.conn
		d.mu.Unlock()
		if conn != nil {
			return
		}
		select {
		case <-late:
			d.t.Fatal("there is no connection")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestHintsAreHandedOn(t *testing.T) {
	s := newScript(t)
	typing, presence := make(chan wire.Typing, 1), make(chan wire.Presence, 1)
	s.device(func(cfg *Config) {
		cfg.Typing = func(m wire.Typing) { typing <- m }
		cfg.Presence = func(m wire.Presence) { presence <- m }
		cfg.Signal = func(e Event) { t.Errorf("%s went to Signal", e.Type) }
	})
	c := s.next()
	wantTyping := wire.Typing{ConversationID: talk, UserID: alice, IsTyping: true}
	wantPresence := wire.Presence{UserID: alice, Status: "offline", LastSeen: 7}
	c.say("typing", wantTyping)
	c.say("presence_update", wantPresence)
	if got := <-typing; got != wantTyping {
		t.Errorf("got %+v, want %+v", got, wantTyping)
	}
	if got := <-presence; got != wantPresence {
		t.Errorf("got %+v, want %+v", got, wantPresence)
	}
}

func TestHintsThatNobodyWantsGoToSignal(t *testing.T) {
	s := newScript(t)
	signals := make(chan string, 2)
	s.device(func(cfg *Config) { cfg.Signal = func(e Event) { signals <- e.Type } })
	c := s.next()
	c.say("typing", wire.Typing{ConversationID: talk})
	c.say("presence_update", wire.Presence{UserID: alice})
	for _, want := range []string{"typing", "presence_update"} {
		if got := <-signals; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
