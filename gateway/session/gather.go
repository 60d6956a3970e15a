package session

import (
	"context"
	"time"
)

// gather makes batches of what comes one by one. What an opening needs is little beside
// the wake-ups on its way: a few milliseconds, in which others come too, halve the
// processor time of each. What comes in a quiet time does not wait.
//
// A gather is for one goroutine at a time.
type gather struct {
	every time.Duration
	last  time.Time // when a wait ended last
}

// wait returns when every has passed since it last did, or when ctx ends. late is by how
// much the runtime missed that moment: 0 in a quiet time.
func (g *gather) wait(ctx context.Context) (late time.Duration) {
	pause := g.every - time.Since(g.last)
	if pause <= 0 {
		g.last = time.Now()
		return 0
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	now := time.Now()
	late = now.Sub(g.last) - g.every
	g.last = now
	return max(late, 0)
}

// The limits of an allotment.
const (
	// lateTurn is by how much a turn may be late before processors are short.
	lateTurn = 300 * time.Microsecond
	// quietTurns is after how many turns without a frame nobody is in the way.
	quietTurns = 25
	// fewestOpenings are begun in each turn, however late it is: 500 a second, so that
	// the last of a full queue waits for eight seconds.
	fewestOpenings = 2
	// calmOpenings are begun in a turn after a time in which few came.
	calmOpenings = 8
	// mostOpenings are begun in a turn while nobody is in the way.
	mostOpenings = verifyQueue
)

// allotment is how many openings may begin in a turn: it halves when a turn is late, as
// every frame is late then, and grows by one when all were taken and it was not, as TCP
// shares a link. So thousands who come at once, because another gateway died, take the
// processors that those who are connected leave. While nobody sends or receives anything
// there is nobody to make way for. See docs/adr/0032-openings-make-way.md.
type allotment struct {
	most   int    // of the turn
	left   int    // of them
	served uint64 // frames until its beginning
	quiet  int    // turns since the last of them
}

func newAllotment() allotment { return allotment{most: mostOpenings, quiet: quietTurns} }

// turn begins the next one, which is late by so much; served are all frames so far.
func (a *allotment) turn(late time.Duration, served uint64) {
	used := a.most - a.left
	if a.quiet++; served != a.served {
		a.quiet = 0
	}
	switch {
	case a.quiet >= quietTurns:
		a.most = mostOpenings
	case late > lateTurn:
		a.most = max(a.most/2, fewestOpenings)
	case used == a.most:
		a.most = min(a.most+1, mostOpenings)
	case a.most > 2*used:
		a.most = max(2*used, calmOpenings)
	}
	a.left, a.served = a.most, served
}
