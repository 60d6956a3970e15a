package edge

import (
	"runtime"
	"runtime/debug"
	"time"
)

// The pools keep what a burst needed until the garbage collector has come by
// twice, which in an idle program takes minutes. A burst of at least tideBytes
// that has sunk to an eighth for tideCalm is therefore given back to the kernel,
// at most once in tideEvery, since it costs two collections. They run beside the
// loops: with two million sessions' slabs, which hold no pointers, and as many
// small objects both took 45 ms, and no goroutine stood still for more than 7.
const (
	tideBytes = 4 << 20
	tideCalm  = time.Second
	tideEvery = 10 * time.Second
)

// tide watches how much memory connections are lent. The ticker owns it.
type tide struct {
	high  int64     // most that was lent since the last ebb
	calm  time.Time // since when little is lent; zero = much is
	ebbed time.Time
}

// ebbs reports whether the memory of a burst may go.
func (t *tide) ebbs(lent int64, now time.Time) bool {
	t.high = max(t.high, lent)
	if t.high < tideBytes || lent > t.high/8 {
		t.calm = time.Time{}
		return false
	}
	if t.calm.IsZero() {
		t.calm = now
	}
	if now.Sub(t.calm) < tideCalm || now.Sub(t.ebbed) < tideEvery {
		return false
	}
	t.high, t.calm, t.ebbed = lent, time.Time{}, now
	return true
}

// giveBack empties the pools and returns their memory.
func giveBack() {
	runtime.GC() // the pools keep their victims for one round
	debug.FreeOSMemory()
}
