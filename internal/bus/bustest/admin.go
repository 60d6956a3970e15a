package bustest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/internal/bus"
)

func testEnsure(t *testing.T, b *Bus) {
	ctx, cancel := within(t)
	defer cancel()
	one := bus.Topic{Name: newName(), Partitions: 3, Retention: time.Hour, Durable: true}
	two := bus.Topic{Name: newName(), Partitions: 1}
	created, err := b.Admin.Ensure(ctx, []bus.Topic{one}, b.Replication)
	if err != nil || !slices.Equal(created, []string{one.Name}) {
		t.Fatalf("Ensure: %v, %v", created, err)
	}
	created, err = b.Admin.Ensure(ctx, []bus.Topic{one, two}, b.Replication)
	if err != nil || !slices.Equal(created, []string{two.Name}) {
		t.Fatalf("Ensure of two: %v, %v", created, err)
	}
	created, err = b.Admin.Ensure(ctx, []bus.Topic{one, two}, b.Replication)
	if err != nil || len(created) != 0 {
		t.Fatalf("Ensure again: %v, %v", created, err)
	}
	for _, topic := range []bus.Topic{one, two} {
		if n, err := b.Admin.Partitions(ctx, topic.Name); n != topic.Partitions || err != nil {
			t.Errorf("Partitions: %d, %v, want %d", n, err, topic.Partitions)
		}
	}
	b.write(t, one.Name, 2, "usable")
	if err := b.Admin.Check(ctx, []bus.Topic{one, two}, b.Replication); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func testCheck(t *testing.T, b *Bus) {
	ctx, cancel := within(t)
	defer cancel()
	there := bus.Topic{Name: b.topic(t, 2), Partitions: 2, Durable: true}
	missing := bus.Topic{Name: newName(), Partitions: 2}
	err := b.Admin.Check(ctx, []bus.Topic{there, missing}, b.Replication)
	if err == nil || errors.Is(err, bus.ErrUnsafe) || !errors.Is(err, bus.ErrUnknownTopic) || !strings.Contains(err.Error(), missing.Name) {
		t.Errorf("missing: %v", err)
	}
	if _, err := b.Admin.Partitions(ctx, missing.Name); !errors.Is(err, bus.ErrUnknownTopic) {
		t.Errorf("Partitions of a missing topic: %v", err)
	}
	other := there
	other.Partitions = 3
	if err := b.Admin.Check(ctx, []bus.Topic{other}, b.Replication); !errors.Is(err, bus.ErrUnsafe) || !strings.Contains(err.Error(), there.Name) {
		t.Errorf("another number of partitions: %v", err)
	}
}
