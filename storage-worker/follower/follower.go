// Package follower is what those do alike that read the accepted log beside the
// road and bring it somewhere else: the projection into the roster, the indexer into
// the search index. No message waits for them, so whatever fails is tried until it
// works, and how far they are behind is a metric.
package follower

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/metrics"
)

const (
	// retryFirst is the pause before something is tried again; it doubles each time.
	retryFirst = 100 * time.Millisecond
	// RetryMost bounds it.
	RetryMost = 5 * time.Second
	// complainEvery is how often an outage that goes on is logged.
	complainEvery = 30 * time.Second
)

// Config is what a [Follower] needs. Every field but Health must be set.
type Config struct {
	// Behind and Again are the lines that are logged when a try fails, and when the
	// next one has succeeded.
	Behind, Again string
	// Health is told the same, with nil for the latter. It must not block.
	Health func(error)
	Logger *slog.Logger
	Errors *metrics.Counter // tries that failed
}

// Follower keeps account of the partitions at work. It may be used concurrently.
type Follower struct {
	cfg Config // fixed after construction

	mu         sync.Mutex
	failing    error // the last, nil when all works
	complained time.Time
	waiting    map[*atomic.Int64]struct{} // of each partition: see Run
}

// New returns a follower that has not begun.
func New(c Config) *Follower {
	if c.Health == nil {
		c.Health = func(error) {}
	}
	return &Follower{cfg: c, waiting: make(map[*atomic.Int64]struct{})}
}

// Run works on the partitions that the group gives it until ctx ends, and then
// returns nil. Nothing else ends it but a group that cannot be joined as it is
// configured, or an error of work. That keeps in oldest when the oldest outcome was
// said that it has read and not brought over, in Unix milliseconds; 0 when there is none.
func (f *Follower) Run(ctx context.Context, accepted bus.Group,
	work func(ctx context.Context, claim bus.Claim, oldest *atomic.Int64) error,
) error {
	err := accepted.Run(ctx, func(ctx context.Context, claim bus.Claim) error {
		oldest := f.enter()
		defer f.leave(oldest)
		err := work(ctx, claim, oldest)
		if ctx.Err() != nil {
			return nil // The claim ended; whoever has it now goes on.
		}
		return err
	})
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return nil
	}
	return err
}

// enter and leave keep the list of partitions at work.
func (f *Follower) enter() *atomic.Int64 {
	oldest := new(atomic.Int64)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting[oldest] = struct{}{}
	return oldest
}

func (f *Follower) leave(oldest *atomic.Int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiting, oldest)
}

// Lag returns how long the oldest outcome that was read waits to be brought over, in
// seconds since it was said; 0 when none does.
func (f *Follower) Lag() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var most time.Duration
	for oldest := range f.waiting {
		if millis := oldest.Load(); millis > 0 {
			most = max(most, time.Since(time.UnixMilli(millis)))
		}
	}
	return most.Seconds()
}

// Repeat tries until it succeeds or ctx ends, and then returns ctx's error.
func (f *Follower) Repeat(ctx context.Context, what string, try func() error) error {
	for pause := retryFirst; ; pause = min(2*pause, RetryMost) {
		err := try()
		if err == nil {
			f.succeeded()
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
		f.failed(what, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// failed says so, but not for each partition and each try.
func (f *Follower) failed(what string, err error) {
	f.cfg.Errors.Inc()
	f.mu.Lock()
	loud := f.failing == nil || time.Since(f.complained) >= complainEvery
	if loud {
		f.complained = time.Now()
	}
	f.failing = err
	f.mu.Unlock()
	if loud {
		f.cfg.Logger.Warn(f.cfg.Behind, "what", what, "error", err) //nolint:sloglint // each follower's line is a constant
	}
	f.cfg.Health(err)
}

func (f *Follower) succeeded() {
	f.mu.Lock()
	before := f.failing
	f.failing = nil
	f.mu.Unlock()
	if before != nil {
		f.cfg.Logger.Info(f.cfg.Again) //nolint:sloglint // each follower's line is a constant
		f.cfg.Health(nil)
	}
}

// First returns where the claimed partition's log begins now.
func (f *Follower) First(ctx context.Context, log bus.Log, claim bus.Claim) (start int64, err error) {
	err = f.Repeat(ctx, "ask where the accepted log begins", func() (err error) {
		start, _, err = log.Bounds(ctx, claim.Topic(), claim.Partition())
		return err
	})
	return start, err
}

// Commit notes with the group that everything below next is brought over, and
// reports whether that worked. Nothing but the lag that Kafka shows depends on it.
func (f *Follower) Commit(ctx context.Context, claim bus.Claim, next int64) bool {
	err := claim.Commit(ctx, next)
	if err != nil && !errors.Is(err, bus.ErrLostClaim) && ctx.Err() == nil {
		f.cfg.Logger.Warn("commit failed; only the lag that Kafka shows depends on it",
			"partition", claim.Partition(), "error", err)
	}
	return err == nil
}

// Next waits for records. A wait above 0 bounds that: when it has passed there are
// none, and no error.
func Next(ctx context.Context, reader bus.Reader, wait time.Duration) ([]bus.Record, error) {
	bounded := ctx
	if wait > 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	records, err := reader.Next(bounded)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return nil, nil
	}
	return records, err
}
