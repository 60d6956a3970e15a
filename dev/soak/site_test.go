package soak

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"switchboard/internal/auth"
)

// ward is a data folder with one process that is started again when it dies, as
// `dev cluster` does it, unless it is held.
func ward(t *testing.T, name string) *Site {
	t.Helper()
	data := t.TempDir()
	run := filepath.Join(data, "run")
	keys := filepath.Join(data, "keys.json")
	if err := auth.Generate(keys); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"rest":["http://127.0.0.1:1"],"ws":["ws://127.0.0.1:2/api/v1/ws"],"ops":{},"auth_keys":%q}`, keys)
	if err := os.WriteFile(filepath.Join(run, "addresses.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for first := true; ctx.Err() == nil; {
			if _, err := os.Stat(filepath.Join(run, name+".hold")); err == nil {
				_ = pause(ctx, lookEvery)
				continue
			}
			c := exec.CommandContext(ctx, "sleep", "600")
			if err := c.Start(); err != nil {
				if ctx.Err() == nil { // the test may have ended since it was asked
					t.Error(err)
				}
				return
			}
			_ = os.WriteFile(filepath.Join(run, name+".pid"), fmt.Appendf(nil, "%d\n", c.Process.Pid), 0o600)
			if first {
				close(begun)
				first = false
			}
			_ = c.Wait() // says by which signal it ended
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	<-begun
	s, err := OpenSite(data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKilledProcessIsAwaited(t *testing.T) {
	s := ward(t, "router-1")
	if got := s.Names("router"); !slices.Equal(got, []string{"router-1"}) {
		t.Fatalf("names %v", got)
	}
	before, err := s.PID("router-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(t.Context(), "router-1"); err != nil {
		t.Fatal(err)
	}
	after, err := s.PID("router-1")
	if err != nil || after == before || syscall.Kill(before, 0) == nil {
		t.Errorf("pid %d before, %d after, %v", before, after, err)
	}
}

func TestDeathThatNobodyAskedForIsTold(t *testing.T) {
	s := ward(t, "router-1")
	if err := s.Kill(t.Context(), "router-1"); err != nil {
		t.Fatal(err)
	}
	if died := s.unasked(); len(died) != 0 {
		t.Errorf("a fault is told: %q", died)
	}
	if err := s.signal("router-1", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), backWithin)
	defer cancel()
	for len(s.unasked()) == 0 {
		if err := pause(ctx, lookEvery); err != nil {
			t.Fatalf("a death is not told: %v", err)
		}
	}
}

func TestHeldProcessStaysAway(t *testing.T) {
	s := ward(t, "postgres")
	before, err := s.PID("postgres")
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.hold(t.Context(), 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if away := o.over.Sub(o.begun); away < 300*time.Millisecond {
		t.Errorf("away for %s", away)
	}
	if after, err := s.PID("postgres"); err != nil || after == before {
		t.Errorf("pid %d before, %d after, %v", before, after, err)
	}
}

func TestFaultsFollowFromTheSeed(t *testing.T) {
	s := ward(t, "worker-1")
	names := func(seed uint64) (names []string) {
		for _, more := range []string{"gateway-1", "gateway-2", "router-1", "worker-2", "kafka", "cassandra", "redis", "postgres"} {
			if err := os.WriteFile(filepath.Join(s.run, more+".pid"), []byte("1"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range s.Faults(seed) {
			names = append(names, f.Name)
		}
		return names
	}
	first := names(3)
	if !slices.Equal(first, names(3)) {
		t.Error("the same seed gave another order")
	}
	if len(first) != 14 { // five programs killed and two stopped, two servers killed and three stopped, two for Redis
		t.Errorf("%d faults: %v", len(first), first)
	}
	if got := Pick(s.Faults(3), "redis flushed", "router"); len(got) != 2 || got[0].Name != "redis flushed" {
		t.Errorf("picked %v", got)
	}
}
