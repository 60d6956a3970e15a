// Package fanout takes outcomes to the servers where somebody waits for them.
//
//	accepted[p] ──▶ look up everybody concerned ──▶ chat.delivery.<server>   one record per outcome and server
//	                (presence, one batch at a time)  └─▶ chat.push            one record per member who is away
//
// It holds no state that cannot be looked up again: after a crash the next
// owner of the partition begins at the last commit and repeats what came after.
// Gateways drop the repetitions by inbound position. Nothing is committed before
// every delivery of it is acknowledged, and nothing is delivered without an
// answer from presence: while the directory is silent the router waits, and
// messages are late, not lost. A server whose topic takes nothing is late alone:
// see passage.go.
//
// What it does not do: it caches no presence, reads no membership (an outcome
// carries its recipients) and knows no socket.
package fanout

import (
	"context"
	"log/slog"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
)

// Config is what a Router needs.
type Config struct {
	Log        bus.Log
	Accepted   bus.Group // of the accepted log
	Producer   bus.Producer
	Directory  presence.Directory
	Partitions int32 // of accepted and of the push log
	Logger     *slog.Logger
	Metrics    *metrics.Set
}

// Router routes the partitions that its group gives it.
type Router struct {
	cfg     Config
	lookups *lookups
	roads   *roads

	deliveries, pushes *metrics.Counter
	skipped, forgotten *metrics.Counter
	unreadable, jumps  *metrics.Counter
	batch              *metrics.Histogram

	// The way of a batch through the router, in this order; the look-up of its
	// people lies between the first two.
	wait    *metrics.Histogram // from the oldest outcome's timestamp to the batch's begin
	writes  *metrics.Histogram // from the look-up's answer to the last acknowledgement
	seconds *metrics.Histogram // all of it, without the wait
}

// New returns a router; Run starts it.
func New(cfg Config) *Router {
	return &Router{
		cfg:        cfg,
		lookups:    newLookups(cfg),
		roads:      newRoads(cfg),
		deliveries: cfg.Metrics.Counter("switchboard_router_deliveries_total"),
		pushes:     cfg.Metrics.Counter("switchboard_router_pushes_total"),
		skipped:    cfg.Metrics.Counter("switchboard_router_skipped_records_total"),
		forgotten:  cfg.Metrics.Counter("switchboard_router_forgotten_topics_total"),
		unreadable: cfg.Metrics.Counter("switchboard_router_unreadable_records_total"),
		jumps:      cfg.Metrics.Counter("switchboard_router_log_jumps_total"),
		batch:      cfg.Metrics.Histogram("switchboard_router_batch_records"),
		wait:       cfg.Metrics.Histogram("switchboard_router_wait_seconds"),
		writes:     cfg.Metrics.Histogram("switchboard_router_produce_seconds"),
		seconds:    cfg.Metrics.Histogram("switchboard_router_batch_seconds"),
	}
}

// Run routes until ctx ends. Its error is the group's; a partition by itself has
// none, it only waits.
func (r *Router) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.lookups.run(ctx)
	}()
	err := r.cfg.Accepted.Run(ctx, func(ctx context.Context, claim bus.Claim) error {
		return newPassage(r, claim).run(ctx)
	})
	<-done
	return quiet(ctx, err)
}

// quiet turns an error that only says "ctx ended" into none.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is what it is for
	}
	return err
}

// parse returns the outcomes in the records that were not seen before.
func (r *Router) parse(records []bus.Record, seen *bus.Deduper) []bus.Accepted {
	outcomes := make([]bus.Accepted, 0, len(records))
	for _, record := range records {
		var a bus.Accepted
		if err := bus.ParseAccepted(record.Value, &a); err != nil {
			// Only a foreign writer can cause this, and waiting cannot heal it.
			r.unreadable.Inc()
			r.cfg.Logger.Error("unreadable record on the accepted log",
				"partition", record.Partition, "offset", record.Offset, "error", err)
			continue
		}
		if seen.New(a.Position) {
			outcomes = append(outcomes, a)
		}
	}
	return outcomes
}

// concerned returns every user in the outcomes' recipients, each once.
func concerned(outcomes []bus.Accepted) []chat.UserID {
	var (
		users []chat.UserID
		seen  = make(map[chat.UserID]struct{})
	)
	for i := range outcomes {
		for _, u := range outcomes[i].Recipients {
			if _, ok := seen[u]; !ok {
				seen[u] = struct{}{}
				users = append(users, u)
			}
		}
	}
	return users
}
