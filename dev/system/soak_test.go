package system

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"switchboard/dev/soak"
	"switchboard/internal/auth"
)

// site is the house as a crowd meets it.
func (h *house) site() *soak.Site {
	h.t.Helper()
	keys, err := auth.Open(filepath.Join(h.data, "auth-keys.json"), "", "")
	if err != nil {
		h.t.Fatal(err)
	}
	return &soak.Site{REST: []string{h.rest}, WS: []string{"ws://" + h.args[5] + "/api/v1/ws"}, Keys: keys}
}

// judge prints a run and fails the test unless everything held, and unless the
// audit names each mistake that is then put into what was recorded.
func judge(t *testing.T, cfg soak.Config) {
	t.Helper()
	if len(cfg.Faults) == 0 {
		t.Fatal("nothing is to be killed")
	}
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	result, err := soak.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	result.Print(t.Output())
	if !result.OK() {
		t.Errorf("seed %d: %d violations, %d failures", cfg.Seed, result.Report.Failures(), len(result.Failed))
		return
	}
	found, missed := result.Plants()
	t.Logf("%d mistakes planted into what was recorded and found", found)
	for _, m := range missed {
		t.Error(m)
	}
}

// A small crowd in conversations of all sizes, with people who come and go, read and
// type and networks that break, while the whole system is killed twice.
func TestCrowdOnAKilledSystem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	killed := soak.Fault{Name: "dev killed", Calm: 3 * time.Second, Do: h.restarted}
	judge(t, soak.Config{
		Site: h.site(), Seed: 1, People: 24, Rate: 30, Moves: 500 * time.Millisecond,
		Least: 15 * time.Second, Faults: []soak.Fault{killed, killed},
	})
}
