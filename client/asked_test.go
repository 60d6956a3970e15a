package client

import (
	"errors"
	"strings"
	"testing"
	"time"

	"switchboard/internal/wire"
)

// calls returns how many connections were opened and syncs asked for since it was last
// called.
func (s *script) calls() (opened, synced int) {
	for len(s.asked) > 0 {
		switch path := <-s.asked; {
		case strings.HasSuffix(path, "/ws"):
			opened++
		case strings.HasSuffix(path, "/sync"):
			synced++
		}
	}
	return opened, synced
}

// syncs is calls without the connections.
func (s *script) syncs() int {
	_, synced := s.calls()
	return synced
}

func TestBehindIsHeededWhenTheServerSays(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	c.say("new_message", at(2))
	d.wants(2) // The sync after `connected` is over.
	s.syncs()
	s.mu.Lock()
	s.synced = append(s.synced, at(3))
	s.mu.Unlock()
	began := time.Now()
	c.say("behind", wire.Behind{Reason: "routing", AfterMS: 400})
	c.say("behind", wire.Behind{Reason: "routing", AfterMS: 60_000})
	d.wants(3)
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("synced after %v, want 400 ms", took)
	}
	c.say("new_message", at(4))
	d.wants(4)
	if n := s.syncs(); n != 1 {
		t.Errorf("synced %d times, want once", n)
	}
}

// A server that has too much to do refuses a sync: it is made again when that was told,
// on the same connection, which goes on serving.
func TestBehindThatIsRefusedForNowIsHeededLater(t *testing.T) {
	for _, status := range []int{503, 504} {
		s := newScript(t)
		d := s.device()
		c := s.next()
		c.say("new_message", at(2))
		d.wants(2)
		s.syncs()
		s.mu.Lock()
		s.busy = []int{status}
		s.synced = []wire.Message{at(3), at(4)}
		s.mu.Unlock()
		began := time.Now()
		c.say("behind", wire.Behind{Reason: "slow"})
		c.say("behind", wire.Behind{Reason: "slow"}) // hurries nothing
		c.say("new_message", at(3))
		d.wants(3, 4)
		if took := time.Since(began); took < 400*time.Millisecond {
			t.Errorf("%d: synced after %v, want 400 ms", status, took)
		}
		c.say("new_message", at(5))
		d.wants(5)
		opened, synced := s.calls()
		if opened != 0 || synced != 2 {
			t.Errorf("%d: connected %d times and synced %d times, want 0 and 2", status, opened, synced)
		}
	}
}

func TestBehindThatIsRefusedForGoodEndsTheDevice(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	c.say("new_message", at(2))
	d.wants(2)
	s.mu.Lock()
	s.busy = []int{403}
	s.mu.Unlock()
	c.say("behind", wire.Behind{Reason: "slow"})
	select {
	case err := <-d.ended:
		if status, ok := errors.AsType[*StatusError](err); !ok || status.Status != 403 {
			t.Errorf("ended with %v, want 403", err)
		}
	case <-time.After(patience):
		t.Error("it goes on")
	}
}

// Somebody who is behind may have come and gone before the joining that is pushed.
func TestOwnJoiningWhileBehindIsNotTakenForTheBeginning(t *testing.T) {
	s := newScript(t)
	d := s.device(fromNothing)
	c := s.next()
	s.mu.Lock()
	s.history = []wire.Message{at(3), at(4), at(10)}
	s.mu.Unlock()
	c.say("behind", wire.Behind{Reason: "routing", AfterMS: 60_000})
	c.say("conversation_updated", wire.ConversationUpdated{ConversationID: talk, Seq: 10, Change: "member_added", UserID: &alice})
	d.wants(3, 4, 10)
}

func TestReconnectIsHeededWithinItsJitterAndUntilThenTheConnectionServes(t *testing.T) {
	s := newScript(t)
	d := s.device()
	first := s.next()
	began := time.Now()
	first.say("reconnect", wire.Reconnect{AfterMS: 1100, JitterMS: 100, Reason: "drain"})
	first.say("new_message", at(2))
	d.wants(2)
	second := s.next()
	if took := time.Since(began); took < 1100*time.Millisecond {
		t.Errorf("connected elsewhere after %v, want 1.1 s", took)
	}
	second.say("new_message", at(3))
	d.wants(3)
}

// Two devices that are asked together do not choose the same moment.
func TestMomentsOfReconnectingAreSpread(t *testing.T) {
	const devices, seconds = 1000, 10
	var counts [seconds]int
	began := time.Now()
	for range devices {
		c := New(Config{})
		if err := c.reconnect([]byte(`{"after_ms":0,"jitter_ms":10000,"reason":"drain"}`)); err != nil {
			t.Fatal(err)
		}
		counts[min(int(c.asked.leave.Sub(began)/time.Second), seconds-1)]++
	}
	for second, n := range counts {
		if n < devices/seconds/2 || n > devices/seconds*2 {
			t.Errorf("in second %d %d of %d leave, want about %d", second, n, devices, devices/seconds)
		}
	}
}

// What a server asks for is bounded, whatever numbers it sends.
func TestNothingIsPutOffForEver(t *testing.T) {
	for _, ms := range []string{"-9223372036854775808", "-1", "0", "9223372036854775807"} {
		c := New(Config{})
		began := time.Now()
		if err := c.reconnect([]byte(`{"after_ms":` + ms + `,"jitter_ms":` + ms + `}`)); err != nil {
			t.Fatal(err)
		}
		if wait := c.asked.leave.Sub(began); wait < 0 || wait > 2*AskedMost+time.Second {
			t.Errorf("reconnect of %s ms is heeded after %v", ms, wait)
		}
	}
}

// A history that is busy is asked again when it said, not at every tick.
func TestAGapThatCannotBeFilledWaitsAsLongAsItIsTold(t *testing.T) {
	s := newScript(t)
	d := s.device()
	c := s.next()
	c.say("new_message", at(2))
	d.wants(2)
	s.mu.Lock()
	s.full = []int{503}
	s.history = []wire.Message{at(3), at(4)}
	s.mu.Unlock()
	began := time.Now()
	c.say("new_message", at(4))
	d.wants(3, 4)
	if took := time.Since(began); took < HoldFor+2*time.Second {
		t.Errorf("filled after %v, want %v and the 2 s that history asked for", took, HoldFor)
	}
}
