// Package thrift gives memory back to the kernel after a burst, and keeps what
// connections are and what they are lent from making room for garbage. It watches
// two numbers, how much is lent and how many connections were opened, and lends
// nothing itself.
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

// The least garbage that may gather: in percent of what lives, and as long as little
// is lent, in bytes. The collector then runs a dozen times a second where 100 MB of
// garbage are made in one.
const (
	leastGarbage      = 5
	leastGarbageBytes = 8 << 20
)

// lookEvery is how often the heap is looked at while little is lent.
const lookEvery = time.Second

// tide watches how much memory connections are lent, and how many are opened.
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

// thrift keeps what connections are and are lent from making room for garbage. The
// collector lets as much garbage gather as there is memory in use, so that both would
// cost up to twice their size: a million idle sessions 116 MB more. What it has to
// look at is another matter, since slots and sessions have no pointers. So as much
// may gather as it has looked at the last time, or leastGarbageBytes; and while
// tideBytes or more are lent, as much as if nothing were. The setting is the whole
// process's (the last server to change it is heeded), and is put back as it was.
type thrift struct {
	usual, set int // percent; usual is usualPercent, set is 0 while nothing is changed
	looked     time.Time
	heap       []runtimemetrics.Sample // live and scanned bytes, made once
}

// usualPercent returns the setting as it was before any server changed it.
var usualPercent = sync.OnceValue(func() int {
	now := []runtimemetrics.Sample{{Name: "/gc/gogc:percent"}}
	runtimemetrics.Read(now)
	return int(min(now[0].Value.Uint64(), math.MaxInt32)) // "off" is more than that
})

// heed is told how much is lent.
func (t *thrift) heed(lent int64, now time.Time) {
	if lent < tideBytes && now.Sub(t.looked) < lookEvery {
		return
	}
	if t.usual > maxPercent {
		return // Memory is bounded in another way, or not at all.
	}
	t.looked = now
	if t.heap == nil {
		t.heap = []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/heap:bytes"}}
	}
	runtimemetrics.Read(t.heap)
	want := garbage(t.usual, int64(t.heap[0].Value.Uint64()), int64(t.heap[1].Value.Uint64()), lent)
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
}

// New returns a watch that has seen nothing.
func New() *Watch { return &Watch{thrift: thrift{usual: usualPercent()}} }

// Heed is told how many bytes connections are lent, and how many were ever opened.
func (w *Watch) Heed(lent int64, opens uint64, now time.Time) {
	w.thrift.heed(lent, now)
	if w.tide.ebbs(lent, opens, now) {
		giveBack()
	}
}

// End puts the collector's setting back as it was.
func (w *Watch) End() { w.thrift.restore() }
