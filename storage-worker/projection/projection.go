// Package projection carries what the accepted log says about conversations and
// their members over to the roster, where SQL can ask.
//
//	accepted[p] ──▶ changes ──▶ roster.Apply (rows and progress in one transaction) ──▶ commit
//	                  │
//	                  └─ a conversation that the roster does not know ──▶ read it from the archive
//
// It is a reader of its own, with a consumer group of its own: it waits for the
// roster as long as that takes and holds up nothing but itself. What it has read
// and not applied is one fetch for each partition.
//
// The roster's own progress says where to go on, not the group's commits, which
// only show the lag. A roster that was put back to yesterday's backup is brought
// forward from yesterday; an empty one begins where the log does. What the log no
// longer holds by then comes from the archive, one conversation at a time, when
// something happens to it or, if it is large, when somebody speaks in it.
//
// What it does not do: it decides nothing, and asks nothing of the log twice that
// the archive cannot answer. Messages leave no trace in the roster.
package projection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/roster"
	"switchboard/storage-worker/archive"
)

// The limits of the projection.
const (
	// batchChanges and batchMembers bound what one transaction applies: changes,
	// and the members that they name. A single `created` may name more.
	batchChanges, batchMembers = 500, 10_000
	// settleEvery is how often the progress of a partition on which only messages
	// come is noted, and how often what was noted is committed.
	settleEvery = 2 * time.Second
	// retryFirst and retryMost bound the pause before something is repeated.
	retryFirst, retryMost = 100 * time.Millisecond, 5 * time.Second
	// complainEvery is how often an outage that goes on is logged.
	complainEvery = 30 * time.Second
	// knownLarge bounds how many large conversations of a partition are remembered
	// as known to the roster.
	knownLarge = 10_000
)

// Archive is what the projection asks of the archive.
type Archive interface {
	Info(ctx context.Context, c chat.ConversationID) (archive.Info, error)
	Spans(ctx context.Context, c chat.ConversationID) ([]archive.Span, error)
}

// Config is what a Projection needs. Every field but Health must be set.
type Config struct {
	Log        bus.Log
	Accepted   bus.Group // of the accepted log, with the name [bus.ProjectionGroup]
	Generation uint32    // of the accepted log
	Roster     roster.Store
	Archive    Archive
	// Health is told when the roster or what is asked beside it fails, and with
	// nil when it works again. It must not block.
	Health  func(error)
	Logger  *slog.Logger
	Metrics *metrics.Set
}

// Projection projects the partitions that its group gives it.
type Projection struct {
	// Fixed after construction.
	cfg    Config
	counts counts

	mu         sync.Mutex
	failing    error // the last, nil when the roster works
	complained time.Time
	waiting    map[*atomic.Int64]struct{} // of each partition: see passage.oldest
}

// counts are the metrics of a projection.
type counts struct {
	batches, changes, errors *metrics.Counter
	loads, orphans           *metrics.Counter
	gaps, unreadable         *metrics.Counter
	seconds                  *metrics.Histogram
}

// New returns a projection; Run starts it.
func New(c Config) *Projection {
	if c.Health == nil {
		c.Health = func(error) {}
	}
	p := &Projection{
		cfg: c,
		counts: counts{
			batches:    c.Metrics.Counter("switchboard_projection_batches_total"),
			changes:    c.Metrics.Counter("switchboard_projection_changes_total"),
			errors:     c.Metrics.Counter("switchboard_projection_errors_total"),
			loads:      c.Metrics.Counter("switchboard_projection_loaded_conversations_total"),
			orphans:    c.Metrics.Counter("switchboard_projection_orphaned_conversations_total"),
			gaps:       c.Metrics.Counter("switchboard_projection_log_gaps_total"),
			unreadable: c.Metrics.Counter("switchboard_projection_unreadable_records_total"),
			seconds:    c.Metrics.Histogram("switchboard_projection_apply_seconds"),
		},
		waiting: make(map[*atomic.Int64]struct{}),
	}
	c.Metrics.Gauge("switchboard_projection_lag_seconds", p.lag)
	return p
}

// Run projects until ctx ends, and then returns nil. Nothing else ends it but a
// group that cannot be joined as it is configured.
func (p *Projection) Run(ctx context.Context) error {
	err := p.cfg.Accepted.Run(ctx, func(ctx context.Context, claim bus.Claim) error {
		oldest := p.enter()
		defer p.leave(oldest)
		err := newPassage(p, claim, oldest).run(ctx)
		if ctx.Err() != nil {
			return nil // The claim ended; whoever has it now goes on.
		}
		return err
	})
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("project the accepted log: %w", err)
	}
	return nil
}

// enter and leave keep the list of partitions at work.
func (p *Projection) enter() *atomic.Int64 {
	oldest := new(atomic.Int64)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[oldest] = struct{}{}
	return oldest
}

func (p *Projection) leave(oldest *atomic.Int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, oldest)
}

// lag returns how long the oldest outcome that was read waits to be applied, in
// seconds since it was said; 0 when none does.
func (p *Projection) lag() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var most time.Duration
	for oldest := range p.waiting {
		if millis := oldest.Load(); millis > 0 {
			most = max(most, time.Since(time.UnixMilli(millis)))
		}
	}
	return most.Seconds()
}

// repeat tries until it succeeds or ctx ends, and then returns ctx's error; or an
// [roster.UnknownError], which is an answer.
func (p *Projection) repeat(ctx context.Context, what string, try func() error) error {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := try()
		_, unknown := errors.AsType[*roster.UnknownError](err)
		if err == nil || unknown {
			p.succeeded()
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
		p.failed(what, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// failed says so, but not for each partition and each try.
func (p *Projection) failed(what string, err error) {
	p.counts.errors.Inc()
	p.mu.Lock()
	loud := p.failing == nil || time.Since(p.complained) >= complainEvery
	if loud {
		p.complained = time.Now()
	}
	p.failing = err
	p.mu.Unlock()
	if loud {
		p.cfg.Logger.Warn("the roster falls behind; messages do not wait for it", "what", what, "error", err)
	}
	p.cfg.Health(err)
}

func (p *Projection) succeeded() {
	p.mu.Lock()
	before := p.failing
	p.failing = nil
	p.mu.Unlock()
	if before != nil {
		p.cfg.Logger.Info("the roster takes changes again")
		p.cfg.Health(nil)
	}
}
