package edge

import (
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
