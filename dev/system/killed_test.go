package system

import (
	"context"
	"testing"
	"time"
)

// suffer has faults happen one after another, and people go on for some time after
// each, and after nothing.
func suffer(t *testing.T, calm time.Duration, faults ...func(context.Context) error) {
	t.Helper()
	for _, fault := range append(faults, func(context.Context) error { return nil }) {
		if err := fault(t.Context()); err != nil {
			t.Error(err)
		}
		rest(t.Context(), calm)
	}
}

// Each program that has a hand in it dies, and PostgreSQL, which says who is in the
// crowd: what comes of a large conversation and of marks does not. Both are judged
// over the same deaths, since waiting for those is what takes long.
func TestCrowdAndMarksOnAKilledCluster(t *testing.T) {
	c := commonCluster(t)
	talk, marks := beginTalk(t, c.Site), beginReading(t, c.Site)
	calm := 12 * time.Second // Longer than a group waits for a dead member.
	suffer(t, calm, c.kills("router-1", "postgres", "worker-1", "router-2", "gateway-1", "worker-2")...)
	talk.judge()
	marks.judge()
}
