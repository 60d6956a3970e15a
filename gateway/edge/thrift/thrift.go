// Package thrift gives memory back to the kernel after a burst, and keeps what
// connections are and what they are lent from making room for garbage. It watches
// how much is lent and how much memory the process has, and lends nothing itself.
package thrift

import (
	"math"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync"
	"time"
)

// The pools keep what a burst needed until the garbage collector has come by
// twice, which in an idle program takes minutes. So does garbage, of many handshakes
// or of a long rest, and so do the pages that it lay in. A burst of at least tideBytes
// that has sunk to an eighth, or as much waste as wasteAllowed, is therefore given back
// to the kernel once there has been calm for tideCalm, in which the sessions, too,
// forget what they knew of newcomers; at most once in tideEvery, since it costs two
// collections. They run beside the loops: with two million sessions' slabs, which hold
// no pointers, and as many small objects both took 45 ms, and no goroutine stood still
// for more than 7. A gateway at rest makes 10 KB of garbage a second and 1 B for each
// session, so that it pays for them once in a minute or two.
const (
	tideBytes = 4 << 20
	tideCalm  = 4 * time.Second
	tideEvery = 10 * time.Second
)

// wasteAllowed is how much waste there may be beside so much that lives, and how much
// may be allocated while there is calm.
func wasteAllowed(live int64) int64 { return max(1<<20, live/16) }

// The least garbage that may gather: in percent of what lives, and as long as little
// is lent, in bytes. The collector then runs a dozen times a second where 100 MB of
// garbage are made in one.
const (
	leastGarbage      = 5
	leastGarbageBytes = 8 << 20
)

// lookEvery is how often the heap is looked at while little is lent.
const lookEvery = time.Second

// heap is how much memory the process has.
type heap struct {
	live, scanned int64 // when it was last collected, and what of it has pointers
	waste         int64 // garbage since then, and free pages that the kernel could have
	allocated     int64 // since the process began
}

// tide watches how much memory connections are lent, and how much is wasted.
type tide struct {
	high  int64     // most that was lent since the last ebb
	calm  time.Time // since when little is lent and allocated; zero = much is
	until int64     // how much may have been allocated then
	ebbed time.Time
}

// ebbs reports whether memory may go.
func (t *tide) ebbs(lent int64, h heap, now time.Time) bool {
	t.high = max(t.high, lent)
	allowed := wasteAllowed(h.live)
	if t.high < tideBytes && h.waste < allowed || lent > t.high/8 {
		t.calm = time.Time{}
		return false
	}
	if t.calm.IsZero() || h.allocated > t.until {
		t.calm, t.until = now, h.allocated+allowed
	}
	if now.Sub(t.calm) < tideCalm || now.Sub(t.ebbed) < tideEvery {
		return false
	}
	t.high, t.calm, t.ebbed = lent, time.Time{}, now
	return true
}

// thrift keeps what connections are and are lent from making room for garbage. The
// collector lets as much garbage gather as there is memory in use, so that both would
// cost up to twice their size: a million idle sessions 116 MB more. What it has to
// look at is another matter, since slots and sessions have no pointers. So as much
// may gather as it has looked at the last time, or leastGarbageBytes; and while
// tideBytes or more are lent, as much as if nothing were. The setting is the whole
// process's (the last server to change it is heeded), and is put back as it was.
type thrift struct {
	usual, set int // percent; usual is usualPercent, set is 0 while nothing is changed
}

// usualPercent returns the setting as it was before any server changed it.
var usualPercent = sync.OnceValue(func() int {
	now := []runtimemetrics.Sample{{Name: "/gc/gogc:percent"}}
	runtimemetrics.Read(now)
	return int(min(now[0].Value.Uint64(), math.MaxInt32)) // "off" is more than that
})

// heed is told how much is lent.
func (t *thrift) heed(lent int64, h heap) {
	if t.usual > maxPercent {
		return // Memory is bounded in another way, or not at all.
	}
	want := garbage(t.usual, h.live, h.scanned, lent)
	switch {
	case want > t.usual-t.usual/8: // as good as usual
		t.restore()
	case t.set == 0 || want > t.set+t.set/4 || want < t.set-t.set/4:
		t.set = want
		debug.SetGCPercent(want) // It locks the heap and paces the collector anew: not for every change.
	}
}

// maxPercent is more than anybody sets who wants the collector to run.
const maxPercent = 100_000

// garbage returns how much may gather, in percent of what lived at the last
// collection, of which some was scanned, and some is lent.
func garbage(usual int, live, scanned, lent int64) int {
	if live <= 0 {
		return usual
	}
	want := min(usual, int(max(int64(usual)*scanned, 100*leastGarbageBytes)/live))
	if lent >= tideBytes {
		want = min(want, int(int64(usual)*(live-lent)/live))
	}
	return max(want, min(usual, leastGarbage))
}

// restore puts the setting back.
func (t *thrift) restore() {
	if t.set != 0 {
		debug.SetGCPercent(t.usual)
		t.set = 0
	}
}

// giveBack empties the pools and returns their memory.
func giveBack() {
	runtime.GC() // the pools keep their victims for one round
	debug.FreeOSMemory()
}

// Watch is both for one server. Only one goroutine may use it.
type Watch struct {
	tide   tide
	thrift thrift
	looked time.Time
	gauges []runtimemetrics.Sample // see look
}

// New returns a watch that has seen nothing.
func New() *Watch {
	w := &Watch{thrift: thrift{usual: usualPercent()}}
	for _, name := range []string{
		"/gc/heap/live:bytes", "/gc/scan/heap:bytes",
		"/memory/classes/heap/objects:bytes", "/memory/classes/heap/free:bytes", "/gc/heap/allocs:bytes",
	} {
		w.gauges = append(w.gauges, runtimemetrics.Sample{Name: name})
	}
	return w
}

// Heed is told how many bytes connections are lent.
func (w *Watch) Heed(lent int64, now time.Time) {
	if lent < tideBytes && now.Sub(w.looked) < lookEvery {
		return
	}
	w.looked = now
	h := w.look()
	w.thrift.heed(lent, h)
	if w.tide.ebbs(lent, h, now) {
		giveBack()
	}
}

// look reads how much memory there is.
func (w *Watch) look() heap {
	runtimemetrics.Read(w.gauges)
	read := func(i int) int64 { return int64(w.gauges[i].Value.Uint64()) }
	h := heap{live: read(0), scanned: read(1), allocated: read(4)}
	h.waste = read(2) - h.live + read(3)
	return h
}

// End puts the collector's setting back as it was.
func (w *Watch) End() { w.thrift.restore() }
