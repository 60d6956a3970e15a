package media

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"switchboard/internal/chat"
)

const (
	// SweepEvery is how often uploads that nobody has sent are looked for.
	SweepEvery = time.Hour
	// SweepTimeout bounds a sweep; what it did not come to is for the next one.
	SweepTimeout = SweepEvery
	// sweepBack is how far back a sweep looks for hours that none has finished.
	sweepBack = 30 * 24 * time.Hour
	// swept is where the hours are noted that are finished.
	swept = "swept/"
	// troublesTold is how many errors of a sweep are told of.
	troublesTold = 10
)

// troubles are what went wrong in a sweep, which goes on with what it can do.
type troubles struct {
	first []error
	more  int
}

func (t *troubles) add(err error) {
	switch {
	case err == nil:
	case len(t.first) < troublesTold:
		t.first = append(t.first, err)
	default:
		t.more++
	}
}

// err returns nil if there were none.
func (t *troubles) err() error {
	if t.more > 0 {
		return fmt.Errorf("%w\nand %d errors more", errors.Join(t.first...), t.more)
	}
	return errors.Join(t.first...)
}

// Run sweeps until ctx ends. Several processes may: removing twice is harmless.
func (l *Library) Run(ctx context.Context) error {
	ticker := time.NewTicker(SweepEvery)
	defer ticker.Stop()
	for {
		if err := l.sweep(ctx); err != nil && ctx.Err() == nil {
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

func (l *Library) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, SweepTimeout)
	defer cancel()
	return l.Sweep(ctx)
}

// Sweep removes the uploads that are older than [chat.MediaKept] and in no message,
// and what uploads have left behind that did not end. An hour in which everything
// was looked at is not looked at again: no message can name its uploads anew. What
// cannot be removed holds up nothing else, and is tried again by the next sweep.
func (l *Library) Sweep(ctx context.Context) error {
	var t troubles
	end := l.Now().Add(-chat.MediaKept).Truncate(time.Hour)
	if err := l.Store.Abandon(ctx, end); err != nil {
		t.add(fmt.Errorf("remove unfinished uploads: %w", err))
	}
	if err := l.sweepPending(ctx, end); err != nil {
		t.add(fmt.Errorf("remove direct uploads that were not completed: %w", err))
	}
	begin := end.Add(-sweepBack)
	done, err := l.sweptHours(ctx, hourOf(begin))
	t.add(err)
	for hour := begin; hour.Before(end) && ctx.Err() == nil; hour = hour.Add(time.Hour) {
		if done[hourOf(hour)] {
			continue
		}
		if err := l.sweepHour(ctx, hourOf(hour)); err != nil {
			t.add(fmt.Errorf("sweep the hour %s: %w", hourOf(hour), err))
		}
	}
	t.add(ctx.Err())
	return t.err()
}

// sweptHours returns the hours that are finished, and forgets those that are too
// old to be asked for. What could be found out is returned with an error as well: an
// hour that is swept once more does no harm.
func (l *Library) sweptHours(ctx context.Context, begin string) (map[string]bool, error) {
	done := map[string]bool{}
	err := l.Store.List(ctx, swept, func(key string) error {
		done[strings.TrimPrefix(key, swept)] = true
		return nil
	})
	var t troubles
	if err != nil {
		t.add(fmt.Errorf("list the hours that are swept: %w", err))
	}
	for hour := range done {
		if hour >= begin {
			continue
		}
		if err := l.Store.Remove(ctx, swept+hour); err != nil {
			t.add(fmt.Errorf("forget a swept hour: %w", err))
		}
	}
	return done, t.err()
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
	var t troubles
	for id := range found {
		if ctx.Err() != nil {
			break
		}
		t.add(l.sweepOne(ctx, id))
	}
	if err := errors.Join(t.err(), ctx.Err()); err != nil {
		return err // It is no hour that is done.
	}
	if len(found) == 0 {
		return nil // It costs less to ask again than to note it.
	}
	if err := l.Store.Put(ctx, swept+hour, strings.NewReader("swept\n")); err != nil {
		return fmt.Errorf("note that it is done: %w", err)
	}
	return nil
}

// sweepOne removes an upload that is in no message.
func (l *Library) sweepOne(ctx context.Context, id chat.MediaID) error {
	kept, err := l.Referenced(ctx, id)
	if err != nil {
		return fmt.Errorf("ask who has upload %s: %w", id, err)
	}
	if kept {
		return nil
	}
	if err := l.remove(ctx, id); err != nil {
		return err
	}
	l.removed.Inc()
	return nil
}
