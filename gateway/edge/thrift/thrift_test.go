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
		{9900 * time.Millisecond, 0, false},
		{10 * time.Second, 0, true},
		{11 * time.Second, 0, false}, // once
		{12 * time.Second, 8 << 20, false},
		{13 * time.Second, 0, false},
		{15 * time.Second, 0, false}, // not again so soon
		{20 * time.Second, 0, true},
	} {
		if got := tide.ebbs(step.lent, 0, start.Add(step.at)); got != step.want {
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
	th := thrift{usual: 100}
	th.heed(0, start)
	if got := percent(); got < leastGarbage || got > 13 {
		t.Errorf("with 64 MiB of slabs %d percent may gather, want 8 MiB and no more", got)
	}
	runtime.KeepAlive(slabs)
	runtime.GC()
	th.heed(0, start.Add(lookEvery/2))
	if got := percent(); got > 13 {
		t.Errorf("half a second later %d percent may gather, want as before", got)
	}
	th.heed(0, start.Add(lookEvery))
	if got := percent(); got != 100 {
		t.Errorf("when the slabs are gone %d percent may gather, want 100", got)
	}
	th.restore()
}

func TestThriftEndsWithTheNeedForIt(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	runtime.GC()
	th := thrift{usual: 100}
	th.heed(1<<40, time.Now())
	if got := percent(); got != leastGarbage {
		t.Errorf("with much lent %d percent may gather, want %d", got, leastGarbage)
	}
	th.heed(0, time.Now().Add(lookEvery))
	if got := percent(); got != 100 {
		t.Errorf("with nothing lent %d percent may gather, want 100", got)
	}
	th.heed(1<<40, time.Now())
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
	first := thrift{usual: usualPercent()}
	first.heed(20<<20, time.Now())
	second := thrift{usual: usualPercent()}
	second.heed(40<<20, time.Now())
	first.heed(0, time.Now().Add(lookEvery))
	second.heed(0, time.Now().Add(lookEvery))
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

func TestTideOfHandshakes(t *testing.T) {
	start := time.Now()
	var tide tide
	for _, step := range []struct {
		at    time.Duration
		opens uint64
		want  bool
	}{
		{0, 0, false},
		{2 * time.Second, 999, false}, // too few to bother
		{4 * time.Second, 4000, false},
		{5 * time.Second, 8000, false}, // they still come
		{5900 * time.Millisecond, 8010, false},
		{6100 * time.Millisecond, 8020, true}, // a few more are no wave
		{20 * time.Second, 8500, false},       // nor are these
		{21 * time.Second, 9100, false},       // but together with these
		{21500 * time.Millisecond, 9100, false},
		{22 * time.Second, 9100, true},
	} {
		if got := tide.ebbs(0, step.opens, start.Add(step.at)); got != step.want {
			t.Errorf("at %v with %d opened: got %v, want %v", step.at, step.opens, got, step.want)
		}
	}
}
