package thrift

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestTide(t *testing.T) {
	start := time.Now()
	var tide tide
	for _, step := range []struct {
		at   time.Duration
		lent int64
		want bool
	}{
		{0, 100, false},
		{1 * time.Second, 1 << 20, false}, // too little to bother
		{3 * time.Second, 0, false},
		{4 * time.Second, 8 << 20, false}, // a burst
		{5 * time.Second, 2 << 20, false}, // still a quarter
		{7 * time.Second, 1 << 20, false}, // calm begins
		{8 * time.Second, 2 << 20, false}, // and ends
		{9 * time.Second, 0, false},
		{12900 * time.Millisecond, 0, false},
		{13 * time.Second, 0, true},
		{14 * time.Second, 0, false}, // once
		{15 * time.Second, 8 << 20, false},
		{16 * time.Second, 0, false},
		{22 * time.Second, 0, false}, // not again so soon
		{23 * time.Second, 0, true},
	} {
		if got := tide.ebbs(step.lent, heap{}, start.Add(step.at)); got != step.want {
			t.Errorf("at %v with %d lent: got %v, want %v", step.at, step.lent, got, step.want)
		}
	}
}

func TestWhatIsLentMakesNoRoomForGarbage(t *testing.T) {
	for _, tt := range []struct {
		usual               int
		live, scanned, lent int64
		want                int
	}{
		{100, 20 << 20, 20 << 20, tideBytes - 1, 100}, // too little to bother
		{100, 80 << 20, 80 << 20, 60 << 20, 25},       // 20 MiB, as without
		{50, 80 << 20, 80 << 20, 60 << 20, 12},
		{100, 300 << 20, 300 << 20, 60 << 20, 80},
		{100, 80 << 20, 80 << 20, 79 << 20, leastGarbage},
		{100, 20 << 20, 20 << 20, 60 << 20, leastGarbage}, // lent since the last collection
		{100, 0, 0, 60 << 20, 100},                        // before the first
	} {
		if got := garbage(tt.usual, tt.live, tt.scanned, tt.lent); got != tt.want {
			t.Errorf("garbage(%d, %d, %d, %d) is %d, want %d", tt.usual, tt.live, tt.scanned, tt.lent, got, tt.want)
		}
	}
}

func TestWhatHasNoPointersMakesNoRoomForGarbage(t *testing.T) {
	for _, tt := range []struct {
		what          string
		usual         int
		live, scanned int64
		want          int
	}{
		{"a small heap", 100, 5 << 20, 1 << 20, 100},
		{"64,000 sessions", 100, 16 << 20, 2 << 20, 50},
		{"a million: 8 MiB, not 120", 100, 120 << 20, 2 << 20, 6},
		{"two million: 5 %", 100, 240 << 20, 2 << 20, leastGarbage},
		{"much with pointers", 100, 120 << 20, 60 << 20, 50},
		{"all with pointers", 100, 120 << 20, 120 << 20, 100},
		{"a smaller setting", 50, 120 << 20, 60 << 20, 25},
		{"a setting below the least", 3, 120 << 20, 2 << 20, 3},
	} {
		if got := garbage(tt.usual, tt.live, tt.scanned, 0); got != tt.want {
			t.Errorf("%s: got %d percent, want %d", tt.what, got, tt.want)
		}
	}
}

// What sessions are made of is no reason to collect less often.
func TestSlabsAreNoticed(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	slabs := make([][]byte, 64)
	for i := range slabs {
		slabs[i] = make([]byte, 1<<20)
	}
	runtime.GC()
	start := time.Now()
	th := New()
	th.thrift.usual = 100
	th.Heed(0, start)
	if got := percent(); got < leastGarbage || got > 13 {
		t.Errorf("with 64 MiB of slabs %d percent may gather, want 8 MiB and no more", got)
	}
	runtime.KeepAlive(slabs)
	runtime.GC()
	th.Heed(0, start.Add(lookEvery/2))
	if got := percent(); got > 13 {
		t.Errorf("half a second later %d percent may gather, want as before", got)
	}
	th.Heed(0, start.Add(lookEvery))
	if got := percent(); got != 100 {
		t.Errorf("when the slabs are gone %d percent may gather, want 100", got)
	}
	th.End()
}

func TestThriftEndsWithTheNeedForIt(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	runtime.GC()
	th, h := thrift{usual: 100}, New().look()
	th.heed(1<<40, h)
	if got := percent(); got != leastGarbage {
		t.Errorf("with much lent %d percent may gather, want %d", got, leastGarbage)
	}
	th.heed(0, h)
	if got := percent(); got != 100 {
		t.Errorf("with nothing lent %d percent may gather, want 100", got)
	}
	th.heed(1<<40, h)
	th.restore()
	if got := percent(); got != 100 {
		t.Errorf("at the end %d percent may gather, want 100", got)
	}
}

func TestThriftOfTwoServersEndsWhereItBegan(t *testing.T) {
	usual := usualPercent()
	defer debug.SetGCPercent(debug.SetGCPercent(usual))
	live := make([]*int, 8<<20) // 64 MiB that have to be looked at
	runtime.GC()
	h := New().look()
	first := thrift{usual: usualPercent()}
	first.heed(20<<20, h)
	second := thrift{usual: usualPercent()}
	second.heed(40<<20, h)
	first.heed(0, h)
	second.heed(0, h)
	runtime.KeepAlive(live)
	if got := percent(); got != usual {
		t.Errorf("at the end %d percent may gather, want %d", got, usual)
	}
}

// percent returns the setting.
func percent() int {
	now := debug.SetGCPercent(100)
	debug.SetGCPercent(now)
	return now
}

func TestTideOfGarbage(t *testing.T) {
	const kb, mb = 1 << 10, 1 << 20
	for name, steps := range map[string][]struct {
		at          time.Duration
		waste, made int64 // made since the step before
		live        int64
		want        bool
	}{
		"little, for long": {
			{0, 100 * kb, 0, mb, false},
			{time.Hour, 900 * kb, 0, mb, false},
		},
		"of a rest": {
			{0, 1020 * kb, 0, mb, false},
			{10 * time.Second, 1030 * kb, 10 * kb, mb, false},
			{11 * time.Second, 1040 * kb, 10 * kb, mb, false},
			{14 * time.Second, 1070 * kb, 30 * kb, mb, true},
			{15 * time.Second, 20 * kb, 10 * kb, mb, false},
			{90 * time.Second, 1025 * kb, 750 * kb, mb, false},
			{94 * time.Second, 1065 * kb, 40 * kb, mb, true},
		},
		"of handshakes": {
			{0, 0, 0, mb, false},
			{1 * time.Second, 2 * mb, 2 * mb, mb, false},
			{2 * time.Second, 3 * mb, 9 * mb, 2 * mb, false},
			{5 * time.Second, 4 * mb, 9 * mb, 3 * mb, false}, // they still come
			{6 * time.Second, 4 * mb, 100 * kb, 3 * mb, false},
			{8 * time.Second, 4 * mb, 100 * kb, 3 * mb, false}, // a few more are no wave
			{9 * time.Second, 4 * mb, 100 * kb, 3 * mb, true},
			{12 * time.Second, 3 * mb, 3 * mb, 3 * mb, false}, // nor are these, but they left something
			{16 * time.Second, 3 * mb, 10 * kb, 3 * mb, false},
			{19 * time.Second, 3 * mb, 10 * kb, 3 * mb, true},
		},
		"of a million sessions": {
			{0, 7 * mb, 0, 116 * mb, false},
			{4 * time.Second, 7 * mb, 3 * mb, 116 * mb, false},
			{5 * time.Second, 8 * mb, 3 * mb, 116 * mb, false},
			{9 * time.Second, 8 * mb, 3 * mb, 116 * mb, true},
		},
		"of work": {
			{0, 7 * mb, 0, mb, false},
			{4 * time.Second, 2 * mb, 20 * mb, mb, false},
			{8 * time.Second, 4 * mb, 20 * mb, mb, false},
			{12 * time.Second, 3 * mb, 20 * mb, mb, false},
		},
	} {
		start, made := time.Now(), int64(0)
		var tide tide
		for _, step := range steps {
			made += step.made
			h := heap{live: step.live, waste: step.waste, allocated: made}
			if got := tide.ebbs(0, h, start.Add(step.at)); got != step.want {
				t.Errorf("garbage %s: at %v got %v, want %v", name, step.at, got, step.want)
			}
		}
	}
}

// What is wasted is seen, and is no more when it was given back.
func TestWasteIsGivenBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	w := New()
	giveBack()
	before := w.look()
	const made = 16 << 20
	for range made / (64 << 10) {
		kept = make([]byte, 64<<10)
	}
	kept = nil
	if h := w.look(); h.waste < made-made/16 || h.allocated < before.allocated+made {
		t.Errorf("%d bytes of garbage later there is %+v, before %+v", made, h, before)
	}
	runtime.GC() // Now there are free pages.
	if h := w.look(); h.waste < made/2 {
		t.Errorf("after a collection there is %+v, want its pages to count", h)
	}
	giveBack()
	if h := w.look(); h.waste > before.waste+made/16 {
		t.Errorf("after all was given back there is %+v, before %+v", h, before)
	}
}

// kept makes the compiler use the heap.
var kept []byte
