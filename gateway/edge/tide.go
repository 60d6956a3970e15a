package edge

import (
	"runtime"
	"runtime/debug"
	"time"
)

// The pools keep what a burst needed until the garbage collector has come by
// twice, which in an idle program takes minutes; so does the garbage of many
// handshakes, a request, a token and an answer each. A burst of at least
// tideBytes that has sunk to an eighth, or of tideOpens new connections of which
// hardly any more come, for tideCalm, is therefore given back to the kernel, at
// most once in tideEvery, since it costs two collections. They run beside the
// loops: with two million sessions' slabs, which hold no pointers, and as many
// small objects both took 45 ms, and no goroutine stood still for more than 7.
const (
	tideBytes = 4 << 20
	tideOpens = 1000
	tideCalm  = time.Second
	tideEvery = 10 * time.Second
)

// tide watches how much memory connections are lent, and how many are opened.
// The ticker owns it.
type tide struct {
	high  int64     // most that was lent since the last ebb
	calm  time.Time // since when little is lent and opened; zero = much is
	ebbed time.Time

	opens, calmOpens uint64 // opened up to the last ebb, and up to calm
}

// ebbs reports whether the memory of a burst may go. opens counts all
// connections ever opened.
func (t *tide) ebbs(lent int64, opens uint64, now time.Time) bool {
	t.high = max(t.high, lent)
	wave := opens - t.opens
	if t.high < tideBytes && wave < tideOpens || lent > t.high/8 {
		t.calm = time.Time{}
		return false
	}
	if t.calm.IsZero() || opens-t.calmOpens > wave/100 {
		t.calm, t.calmOpens = now, opens
	}
	if now.Sub(t.calm) < tideCalm || now.Sub(t.ebbed) < tideEvery {
		return false
	}
	t.high, t.opens, t.calm, t.ebbed = lent, opens, time.Time{}, now
	return true
}

// giveBack empties the pools and returns their memory.
func giveBack() {
	runtime.GC() // the pools keep their victims for one round
	debug.FreeOSMemory()
}
