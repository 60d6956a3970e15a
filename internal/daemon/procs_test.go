package daemon

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestCollectLess(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "50")
	CollectLess()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("the operator has chosen: got %d, want 100 as it was", got)
	}
	t.Setenv("GOGC", "")
	CollectLess()
	if got := debug.SetGCPercent(100); got != collectAt {
		t.Errorf("got %d, want %d", got, collectAt)
	}
}

func TestRoomForLoops(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	t.Setenv("GOMAXPROCS", "")
	RoomForLoops(3)
	if got, want := runtime.GOMAXPROCS(0), before+3; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
	t.Setenv("GOMAXPROCS", "2")
	RoomForLoops(3)
	if got, want := runtime.GOMAXPROCS(0), before+3; got != want {
		t.Errorf("the operator has chosen: got %d, want %d as it was", got, want)
	}
}
