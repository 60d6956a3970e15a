package daemon

import (
	"os"
	"runtime"
)

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
