package session

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

const typingFrame = `{"type":"typing","data":{"conversation_id":"bb595a9e-6971-5656-be51-9156a7dd9901","is_typing":true}}`

func (u *uplink) noted() int { u.mu.Lock(); defer u.mu.Unlock(); return u.notes }

func TestOneTypingInThreeSecondsIsPassedOn(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c, other := w.connect(0, "alice", "phone"), w.connect(0, "alice", "desk")
		began := time.Now()
		for _, step := range []struct {
			at   time.Duration
			want int
		}{
			{0, 1},
			{0, 1},
			{time.Second, 1},
			{2700 * time.Millisecond, 1},
			{3 * time.Second, 2},
			{4 * time.Second, 2},
			{6 * time.Second, 3},
			{9 * time.Second, 4},
		} {
			time.Sleep(step.at - time.Since(began))
			w.send(c, typingFrame)
			synctest.Wait()
			if got := w.uplink.noted(); got != step.want {
				t.Errorf("after %v: %d passed on, want %d", step.at, got, step.want)
			}
		}
		w.send(other, typingFrame) // The limit is of a connection.
		synctest.Wait()
		if got := w.uplink.noted(); got != 5 {
			t.Errorf("%d passed on, want another one's too", got)
		}
		w.want(c) // Nothing is ever answered.
	})
}

// Whoever comes and goes is told of once each, after the directory knows; a sweep
// tells nothing.
func TestComingAndGoingIsHinted(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		hinted := func() []string { w.uplink.mu.Lock(); defer w.uplink.mu.Unlock(); return w.uplink.hints }
		c := w.connect(0, "alice", "phone")
		synctest.Wait()
		want := []string{"online " + alice.String()}
		if got := hinted(); !slices.Equal(got, want) {
			t.Errorf("hinted %v, want %v", got, want)
		}
		for range 2 * SweepEvery / time.Second {
			time.Sleep(time.Second)
			w.visit(c, 0)
		}
		w.directory.do(func() { w.directory.away = true })
		w.leave(c)
		time.Sleep(time.Minute)
		if got := hinted(); !slices.Equal(got, want) {
			t.Errorf("before the directory knows: hinted %v, want %v", got, want)
		}
		w.directory.do(func() { w.directory.away = false })
		time.Sleep(2 * presenceLast)
		synctest.Wait()
		want = append(want, "offline "+alice.String())
		if got := hinted(); !slices.Equal(got, want) {
			t.Errorf("hinted %v, want %v", got, want)
		}
	})
}

// The time of the last typing is a byte, which is right since every connection is
// visited now and then.
func TestTypingAfterALongTime(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "phone")
		w.send(c, typingFrame)
		for range 64 {
			time.Sleep(time.Second)
			w.visit(c, 0)
		}
		w.send(c, typingFrame) // 64 seconds later: the byte is what it was.
		synctest.Wait()
		if got := w.uplink.noted(); got != 2 {
			t.Errorf("%d passed on, want 2", got)
		}
	})
}
