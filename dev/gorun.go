package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// goRunTick is how often a program under `go run` looks whether that still lives.
const goRunTick = 250 * time.Millisecond

// followGoRun ends the context when this program runs under `go run` and that
// has ended. A SIGTERM that reaches the go tool alone, as from a script that
// knows only its pid, kills the tool and would leave us behind unnoticed.
func followGoRun(ctx context.Context) (context.Context, context.CancelFunc) {
	parent := os.Getppid()
	tool, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", parent))
	if err != nil || filepath.Base(tool) != "go" {
		return ctx, func() {} // Started by a shell, which may go and leave us running.
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(goRunTick)
		defer tick.Stop()
		for os.Getppid() == parent {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		cancel()
	}()
	return ctx, cancel
}
