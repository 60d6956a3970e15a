// Package fanout takes outcomes to the servers where somebody waits for them.
//
//	accepted[p] ──▶ look up everybody concerned ──▶ chat.delivery.<server>   one record per outcome and server
//	                (presence, one batch at a time)  └─▶ chat.push            one record per member who is away
//	   └─ of large conversations ──▶ herald      ──▶ chat.delivery.<server>   how far each has come, once a second at most
//	                                             └─▶ chat.push                of the newest message, with a head
//	status[p]   ──▶ the same machine             ──▶ chat.delivery.<server>   how far somebody has read
//
// It holds no state that cannot be looked up again: after a crash the next
// owner of the partition begins at the last commit and repeats what came after.
// Gateways drop the repetitions by inbound position. Nothing is committed before
// every delivery of it is acknowledged, and nothing is delivered without an
// answer from presence: while the directory is silent the router waits, and
// messages are late, not lost. A server whose topic takes nothing is late alone:
// see passage.go.
//
// What it does not do: it caches no presence, reads no membership but that of
// large conversations (any other outcome carries its recipients) and knows no
// socket.
package fanout

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"switchboard/internal/bus"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/roster"
)

// Config is what a Router needs.
type Config struct {
	Log      bus.Log
	Accepted bus.Group // of the accepted log
	Producer bus.Producer
	// Status is the group of the statuses, and Statuses the producer of what
	// comes of them, one of its own so that no message waits behind them. Without
	// them statuses are left to other routers.
	Status    bus.Group
	Statuses  bus.Producer
	Directory presence.Directory
	// Roster says who is in the large conversations, whose members are told by
	// heads; without it there are none. They use Statuses, if that is set.
	Roster     roster.Lists
	Partitions int32 // of accepted and of the push log
	// Links gives the messages that are pushed a media_url that opens; nil: it has
	// no signature.
	Links   *mediaurl.Links
	Logger  *slog.Logger
	Metrics *metrics.Set
}

// Router routes the partitions that its group gives it.
type Router struct {
	cfg   Config
	roads *roads

	lookups *lookups      // of heads
	reading chan struct{} // a token for each list that is being read
	heads   *headCounts

	deliveries, pushes *metrics.Counter
	skipped, forgotten *metrics.Counter
	unreadable, jumps  *metrics.Counter
}

// New returns a router; Run starts it.
func New(cfg Config) *Router {
	return &Router{
		cfg:        cfg,
		roads:      newRoads(cfg),
		lookups:    newLookups(cfg, "switchboard_router_head"),
		reading:    make(chan struct{}, listsAtATime),
		heads:      newHeadCounts(cfg.Metrics),
		deliveries: cfg.Metrics.Counter("switchboard_router_deliveries_total"),
		pushes:     cfg.Metrics.Counter("switchboard_router_pushes_total"),
		skipped:    cfg.Metrics.Counter("switchboard_router_skipped_records_total"),
		forgotten:  cfg.Metrics.Counter("switchboard_router_forgotten_topics_total"),
		unreadable: cfg.Metrics.Counter("switchboard_router_unreadable_records_total"),
		jumps:      cfg.Metrics.Counter("switchboard_router_log_jumps_total"),
	}
}

// Run routes until ctx ends. Its error is a group's; a partition by itself has
// none, it only waits.
func (r *Router) Run(ctx context.Context) error {
	inputs := []*input{r.accepted()}
	if r.cfg.Status != nil {
		inputs = append(inputs, r.status())
	}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error {
		r.lookups.run(ctx)
		return nil
	})
	for _, in := range inputs {
		running.Go(func() error {
			in.lookups.run(ctx)
			return nil
		})
		running.Go(func() error {
			err := in.group.Run(ctx, func(ctx context.Context, claim bus.Claim) error {
				return newPassage(r, in, claim).run(ctx)
			})
			return quiet(ctx, err)
		})
	}
	return running.Wait()
}

// quiet turns an error that only says "ctx ended" into none.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is what it is for
	}
	return err
}
