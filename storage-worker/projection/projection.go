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
	"sync/atomic"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/roster"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/follower"
)

// The limits of the projection.
const (
	// batchChanges and batchMembers bound what one transaction applies: changes,
	// and the members that they name. A single `created` may name more.
	batchChanges, batchMembers = 500, 10_000
	// settleEvery is how often the progress of a partition on which only messages
	// come is noted, and how often what was noted is committed.
	settleEvery = 2 * time.Second
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
	cfg      Config
	counts   counts
	follower *follower.Follower
}

// counts are the metrics of a projection.
type counts struct {
	batches, changes *metrics.Counter
	loads, orphans   *metrics.Counter
	gaps, unreadable *metrics.Counter
	seconds          *metrics.Histogram
}

// New returns a projection; Run starts it.
func New(c Config) *Projection {
	p := &Projection{
		cfg: c,
		counts: counts{
			batches:    c.Metrics.Counter("switchboard_projection_batches_total"),
			changes:    c.Metrics.Counter("switchboard_projection_changes_total"),
			loads:      c.Metrics.Counter("switchboard_projection_loaded_conversations_total"),
			orphans:    c.Metrics.Counter("switchboard_projection_orphaned_conversations_total"),
			gaps:       c.Metrics.Counter("switchboard_projection_log_gaps_total"),
			unreadable: c.Metrics.Counter("switchboard_projection_unreadable_records_total"),
			seconds:    c.Metrics.Histogram("switchboard_projection_apply_seconds"),
		},
		follower: follower.New(follower.Config{
			Behind: "the roster falls behind; messages do not wait for it", Again: "the roster takes changes again",
			Health: c.Health, Logger: c.Logger, Errors: c.Metrics.Counter("switchboard_projection_errors_total"),
		}),
	}
	c.Metrics.Gauge("switchboard_projection_lag_seconds", p.follower.Lag)
	return p
}

// Run projects until ctx ends, and then returns nil. Nothing else ends it but a
// group that cannot be joined as it is configured.
func (p *Projection) Run(ctx context.Context) error {
	err := p.follower.Run(ctx, p.cfg.Accepted, func(ctx context.Context, claim bus.Claim, oldest *atomic.Int64) error {
		return newPassage(p, claim, oldest).run(ctx)
	})
	if err != nil {
		return fmt.Errorf("project the accepted log: %w", err)
	}
	return nil
}

// repeat tries until it succeeds or ctx ends, and then returns ctx's error; or an
// [roster.UnknownError], which is an answer.
func (p *Projection) repeat(ctx context.Context, what string, try func() error) error {
	var answer error
	err := p.follower.Repeat(ctx, what, func() error {
		err := try()
		if _, unknown := errors.AsType[*roster.UnknownError](err); unknown {
			answer = err
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return answer
}
