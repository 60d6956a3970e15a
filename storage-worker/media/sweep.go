package media

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"switchboard/internal/chat"
)

const (
	// SweepEvery is how often uploads that nobody has sent are looked for.
	SweepEvery = time.Hour
	// sweepBack is how far back a sweep looks for hours that none has finished.
	sweepBack = 30 * 24 * time.Hour
	// swept is where the hours are noted that are finished.
	swept = "swept/"
)

// Run sweeps until ctx ends. Several processes may: removing twice is harmless.
func (l *Library) Run(ctx context.Context) error {
	ticker := time.NewTicker(SweepEvery)
	defer ticker.Stop()
	for {
		if err := l.Sweep(ctx); err != nil && ctx.Err() == nil {
			l.failed.Inc()
			l.Logger.Warn("sweep uploads", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Sweep removes the uploads that are older than [chat.MediaKept] and in no message,
// and what uploads have left behind that did not end. An hour in which everything
// was looked at is not looked at again: no message can name its uploads anew.
func (l *Library) Sweep(ctx context.Context) error {
	end := l.Now().Add(-chat.MediaKept).Truncate(time.Hour)
	if err := l.Store.Abandon(ctx, end); err != nil {
		return fmt.Errorf("remove unfinished uploads: %w", err)
	}
	begin := end.Add(-sweepBack)
	done, err := l.sweptHours(ctx, hourOf(begin))
	if err != nil {
		return err
	}
	for hour := begin; hour.Before(end); hour = hour.Add(time.Hour) {
		if done[hourOf(hour)] {
			continue
		}
		if err := l.sweepHour(ctx, hourOf(hour)); err != nil {
			return fmt.Errorf("sweep the hour %s: %w", hourOf(hour), err)
		}
	}
	return nil
}

// sweptHours returns the hours that are finished, and forgets those that are too
// old to be asked for.
func (l *Library) sweptHours(ctx context.Context, begin string) (map[string]bool, error) {
	done := map[string]bool{}
	err := l.Store.List(ctx, swept, func(key string) error {
		done[strings.TrimPrefix(key, swept)] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the hours that are swept: %w", err)
	}
	for hour := range done {
		if hour >= begin {
			continue
		}
		if err := l.Store.Remove(ctx, swept+hour); err != nil {
			return nil, fmt.Errorf("forget a swept hour: %w", err)
		}
	}
	return done, nil
}

func (l *Library) sweepHour(ctx context.Context, hour string) error {
	found := map[chat.MediaID]bool{}
	err := l.Store.List(ctx, hour+"/", func(key string) error {
		name, _, _ := strings.Cut(strings.TrimPrefix(key, hour+"/"), "/")
		if id, err := chat.ParseMediaID(name); err == nil {
			found[id] = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list uploads: %w", err)
	}
	for _, id := range slices.Collect(maps.Keys(found)) {
		kept, err := l.Referenced(ctx, id)
		if err != nil {
			return fmt.Errorf("ask who has upload %s: %w", id, err)
		}
		if kept {
			continue
		}
		if err := l.remove(ctx, id); err != nil {
			return err
		}
		l.removed.Inc()
	}
	if len(found) == 0 {
		return nil // It costs less to ask again than to note it.
	}
	if err := l.Store.Put(ctx, swept+hour, strings.NewReader("swept\n")); err != nil {
		return fmt.Errorf("note that it is done: %w", err)
	}
	return nil
}
