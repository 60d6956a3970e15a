package faults

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"switchboard/dev/servers"
)

// patience bounds what must come back after a fault.
const patience = 90 * time.Second

// start starts servers of the test's own, or skips the test.
func start(t *testing.T, config servers.Config) *servers.Set {
	t.Helper()
	if os.Getenv("SWITCHBOARD_TEST_SERVERS") == "" {
		t.Skip("SWITCHBOARD_TEST_SERVERS is not set: no real servers to be started")
	}
	cache, err := filepath.Abs("../../.cache/servers")
	if err != nil {
		t.Fatal(err)
	}
	config.Cache = cache
	config.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	set, err := servers.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			set.Keep()
		}
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	return set
}

// addresses returns where the servers of a kind answer.
func addresses(t *testing.T, set *servers.Set, kind string) []string {
	t.Helper()
	for _, line := range set.Env() {
		if list, ok := strings.CutPrefix(line, "SWITCHBOARD_TEST_"+kind+"="); ok {
			return strings.Split(list, ",")
		}
	}
	t.Fatalf("the set has no %s: %v", kind, set.Env())
	return nil
}

func kill(t *testing.T, set *servers.Set, name string) {
	t.Helper()
	if err := set.Kill(name); err != nil {
		t.Fatal(err)
	}
}

func restart(t *testing.T, set *servers.Set, name string) {
	t.Helper()
	if err := set.Restart(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// freeze stops a server as it stands: its connections live and nothing answers.
// thaw lets it go on.
func freeze(t *testing.T, set *servers.Set, name string) (thaw func()) {
	t.Helper()
	pid := set.PID(name)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Errorf("thaw %s: %v", name, err)
		}
	}
}

// pass lets some time pass under load: a fault that lasts.
func pass(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
