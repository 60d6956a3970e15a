package fanout

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"switchboard/internal/bus"
)

// acks are the acknowledgements that one batch of outcomes waits for.
type acks struct {
	roads *roads
	from  int64 // the accepted offset that the batch begins with

	mu      sync.Mutex
	waiting map[road]int
	err     error
	idle    chan struct{} // capacity 1: nothing is waited for
}

func newAcks(r *roads, from int64) *acks {
	return &acks{roads: r, from: from, waiting: make(map[road]int), idle: make(chan struct{}, 1)}
}

// expect announces one record and returns the callback for its acknowledgement.
func (a *acks) expect(k road) func(int64, error) {
	a.roads.leave(k)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[k]++
	return func(_ int64, err error) {
		a.roads.arrive(k)
		a.done(k, err)
	}
}

// unexpect takes the last expect back: the record was refused.
func (a *acks) unexpect(k road) {
	a.roads.withdraw(k)
	a.done(k, nil)
}

func (a *acks) done(k road, err error) {
	if errors.Is(err, bus.ErrTooLarge) {
		a.roads.tooLarge(k)
		err = nil // No retry would help, and everybody else would wait.
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if n, ok := a.waiting[k]; ok && n > 1 {
		a.waiting[k] = n - 1
	} else {
		delete(a.waiting, k) // Or it was forgotten before.
	}
	if err != nil {
		a.err = err
	}
	if len(a.waiting) == 0 || err != nil {
		select {
		case a.idle <- struct{}{}:
		default:
		}
	}
}

// forget waits no longer for what is on a road.
func (a *acks) forget(k road) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, k)
}

// left returns the roads on which something is not acknowledged.
func (a *acks) left() []road {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.waiting))
}

// settled reports whether every announced record is acknowledged. The error is
// the first that one of them met.
func (a *acks) settled() (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting) == 0, a.err
}

// wait returns when all announced records are acknowledged, or when those that
// are not are all on blocked roads: they arrive some day, and until then nobody
// else waits for them.
func (a *acks) wait(ctx context.Context) error {
	ticker := time.NewTicker(StallAfter / 4)
	defer ticker.Stop()
	for {
		if settled, err := a.settled(); settled || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.idle:
		case <-ticker.C:
			if a.blocked() {
				return nil
			}
		}
	}
}

// blocked reports whether nothing more is to be expected for now.
func (a *acks) blocked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := range a.waiting {
		if !a.roads.blocked(k) {
			return false
		}
	}
	return true
}
