package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
)

// collectAt is the growth of the heap, in percent, at which garbage is collected
// in a program that calls CollectLess.
const collectAt = 400

// CollectLess lets garbage grow to four times what is alive before it is
// collected, unless the operator has set GOGC: for a program of which little is
// alive, and that at any time. With some 4 MB alive the router collected eight
// times a second, and each time stops everything for as long as a busy machine
// takes to run all its threads: up to 30 ms.
func CollectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}

// RoomForLoops lets the Go scheduler run n threads more than there are
// processors, for a program with n event loops of its own, unless the operator
// has set GOMAXPROCS.
//
// A loop that waits in epoll keeps its place in the scheduler for up to 10 ms. If
// loops hold all places, nobody waits for the sockets of everything else: Kafka,
// Redis, HTTP. On two processors with two loops that made round trips of 10 ms
// out of 0.2, for seconds on end, while the processors idled; `bench road` shows
// it with GOMAXPROCS=2.
func RoomForLoops(n int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
	}
}
