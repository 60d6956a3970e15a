// Package gather makes batches of what comes one by one. What an opening needs is little
// beside the wake-ups on its way: a few milliseconds, in which others come too, halve the
// processor time of each. What comes in a quiet time does not wait. See
// docs/adr/0032-openings-make-way.md.
package gather

import (
	"context"
	"time"
)

// Interval spaces the batches of one goroutine.
type Interval struct {
	Every time.Duration // 0: nothing waits
	Last  time.Time     // when a Wait ended last
}

// Wait returns when about Every has passed since it last did, or when ctx ends. late is by
// how much the runtime missed the moment that was asked for: whole milliseconds, since Go's
// scheduler waits for nothing else while it is idle, and would be late by the rest.
func (i *Interval) Wait(ctx context.Context) (late time.Duration) {
	begun := time.Now()
	pause := i.Every - begun.Sub(i.Last)
	if pause <= 0 {
		i.Last = begun
		return 0
	}
	pause = max(pause.Round(time.Millisecond), time.Millisecond)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	i.Last = time.Now()
	return max(i.Last.Sub(begun)-pause, 0)
}
