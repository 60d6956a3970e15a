package gather

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestInterval holds a Wait to its moment: the first of a quiet time does not wait, who
// comes soon after waits until the time is over, and no longer.
func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Interval{Every: 5 * time.Millisecond}
		begun := time.Now()
		for i, step := range []struct{ pause, until time.Duration }{
			{0, 0},
			{time.Millisecond, 5 * time.Millisecond},
			{0, 10 * time.Millisecond},
			{20 * time.Millisecond, 30 * time.Millisecond},
		} {
			time.Sleep(step.pause)
			late := g.Wait(t.Context())
			if took := time.Since(begun); took != step.until || late != 0 {
				t.Errorf("wait %d ended after %v, late by %v, want %v and 0", i, took, late, step.until)
			}
		}
	})
}
