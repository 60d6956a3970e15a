package session

import "time"

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
// frames so far, and free says that there is nobody to make way for all the same.
func (a *allotment) turn(after, late time.Duration, served uint64, free bool) {
	used := a.most - a.left
	fewest := min(fewestOpenings*max(int(after/verifyEvery), 1), mostOpenings)
	if a.quiet++; served != a.served {
		a.quiet = 0
	}
	switch {
	case free || a.quiet >= quietTurns:
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
