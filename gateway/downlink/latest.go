package downlink

import (
	"hash/maphash"
	"time"
)

// The limits of what is remembered of frames that say the latest of something.
const (
	// latestKeys is how many things of one generation are remembered, some 40
	// bytes each.
	latestKeys = 1 << 16
	// latestFor is after what time a generation is forgotten in any case: longer
	// than a worker or a router can go on without knowing that it was replaced.
	latestFor = time.Minute
)

// latest keeps frames that say the latest of something, such as how far somebody
// has read, from coming after what is newer: a worker that does not know yet that
// it was replaced may still say what was so a moment ago. It remembers the order
// of what has passed for a minute or two, for the whole gateway and not for each
// connection: an idle connection costs nothing.
//
// Things are told apart by a hash of 64 bits with a secret seed. Where two ever
// collide, a hint is not shown; nothing depends on it.
type latest struct {
	seed         maphash.Seed
	young, older map[uint64]int64
	since        time.Time // when young began
}

// pass reports whether a frame may be shown, and remembers that it was.
func (l *latest) pass(key []byte, order int64, now time.Time) bool {
	if age := now.Sub(l.since); len(l.young) >= latestKeys || age >= latestFor {
		l.older = l.young
		if age >= 2*latestFor {
			l.older = nil
		}
		l.young, l.since = make(map[uint64]int64), now
	}
	h := maphash.Bytes(l.seed, key)
	last, known := l.young[h]
	if !known {
		last = l.older[h]
	}
	if order < last {
		return false
	}
	l.young[h] = order
	return true
}
