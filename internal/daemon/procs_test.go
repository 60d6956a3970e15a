package daemon

import (
	"runtime"
	"testing"
)

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
