package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A server that refuses is one line, not one for each try, and a line again when
// the reason is another or after a minute.
func TestRetrySaysEachReasonOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		log := slog.New(slog.NewTextHandler(&out, nil))
		tries, begun := 0, time.Now()
		err := Retry(t.Context(), log, "ask Redis", func(context.Context) error {
			tries++
			switch waited := time.Since(begun); {
			case waited < 40*time.Second:
				return fmt.Errorf("read from 127.0.0.1:%d: WRONGPASS", 40000+tries)
			case waited < 50*time.Second:
				return errors.New("connection refused")
			case waited < 90*time.Second:
				return errors.New("read from 127.0.0.1:1: WRONGPASS")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		want := []string{"WRONGPASS", "refused", "WRONGPASS"}
		if len(lines) != len(want) {
			t.Fatalf("%d lines of %d tries, want %d:\n%s", len(lines), tries, len(want), out.String())
		}
		for i, line := range lines {
			if !strings.Contains(line, want[i]) || !strings.Contains(line, "level=WARN") {
				t.Errorf("line %d is %q, want a warning with %s", i, line, want[i])
			}
		}
	})
}
