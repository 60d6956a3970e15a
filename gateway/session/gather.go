package session

import (
	"context"
	"time"
)

// gather makes batches of what comes one by one. What an opening needs is little beside
// the wake-ups on its way: a few milliseconds, in which others come too, halve the
// processor time of each. What comes in a quiet time does not wait. For one goroutine at
// a time.
type gather struct {
	every time.Duration
	last  time.Time // when a wait ended last
}

// wait returns when about every has passed since it last did, or when ctx ends. late is
// by how much the runtime missed the moment that was asked for: whole milliseconds, since
// Go's scheduler waits for nothing else while it is idle, and would be late by the rest.
func (g *gather) wait(ctx context.Context) (late time.Duration) {
	begun := time.Now()
	pause := g.every - begun.Sub(g.last)
	if pause <= 0 {
		g.last = begun
		return 0
	}
	pause = max(pause.Round(time.Millisecond), time.Millisecond)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	g.last = time.Now()
	return max(g.last.Sub(begun)-pause, 0)
}

// The limits of an allotment.
const (
	// lateTurn is by how much a turn may be late before processors are short.
	lateTurn = 300 * time.Microsecond
	// quietTurns is after how many turns without a frame nobody is in the way.
	quietTurns = 25
	// fewestOpenings are begun for each verifyEvery that passes, however late turns are: 500
	// a second. The last of a full queue waits for eight seconds then, a client for fifteen.
	fewestOpenings = 2
	// calmOpenings are begun in a turn after a time in which few came.
	calmOpenings = 8
	// mostOpenings are begun in a turn while nobody is in the way.
	mostOpenings = verifyQueue
)

// allotment is how many openings may begin in a turn: half as many as in the last when
// this one is late, as every frame is late then; one more when all were taken and it is
// not, as TCP shares a link. So thousands who come at once, because another gateway died,
// take the processors that those who are connected leave. While nobody sends or receives
// anything there is nobody to make way for. See docs/adr/0032-openings-make-way.md.
type allotment struct {
	most   int    // of the turn
	left   int    // of them
	served uint64 // frames until its beginning
	quiet  int    // turns since the last of them
}

func newAllotment() allotment { return allotment{most: mostOpenings, quiet: quietTurns} }

// turn begins the next one, so long after the last and late by so much; served are all
// frames so far.
func (a *allotment) turn(after, late time.Duration, served uint64) {
	used := a.most - a.left
	fewest := min(fewestOpenings*max(int(after/verifyEvery), 1), mostOpenings)
	if a.quiet++; served != a.served {
		a.quiet = 0
	}
	switch {
	case a.quiet >= quietTurns:
		a.most = mostOpenings
	case late >= verifyEvery: // Whatever came between was late as well.
		a.most = fewest
	case late > lateTurn:
		a.most = max(a.most/2, fewest)
	case used == a.most:
		a.most = min(a.most+1, mostOpenings)
	case a.most > 2*used:
		a.most = max(2*used, calmOpenings)
	}
	a.left, a.served = a.most, served
}
