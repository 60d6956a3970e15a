package client

import (
	"strings"
	"testing"
	"time"

	"switchboard/internal/wire"
)

// syncs returns how many syncs were asked for since it was last called.
func (s *script) syncs() (n int) {
	for len(s.asked) > 0 {
		if path := <-s.asked; strings.HasSuffix(path, "/sync") {
			n++
		}
	}
	return n
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
