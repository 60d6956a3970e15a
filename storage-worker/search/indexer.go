package search

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
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/follower"
)

// The limits of the indexer.
const (
	// batchDocuments bounds what one Apply writes.
	batchDocuments = 500
	// settleEvery is how often what is in the index is committed.
	settleEvery = 2 * time.Second
	// gatherFor is how long what is said gathers before it is indexed, once an indexer is
	// not behind: by more than fresh.
	gatherFor = 250 * time.Millisecond
	fresh     = time.Second
	// knownConversations bounds for how many conversations of a partition it is
	// remembered how far they are, at some 100 bytes each.
	knownConversations = 100_000
)

// Archive is what the indexer asks of the archive.
type Archive interface {
	Entries(ctx context.Context, c chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]archive.Row, error)
}

// Config is what an [Indexer] needs. Every field but Health must be set, and Prepare
// for a store that may be gone.
type Config struct {
	Log        bus.Log
	Accepted   bus.Group // of the accepted log, with the name [bus.SearchGroup]
	Generation uint32    // of the accepted log
	Store      Store
	// Prepare makes an index that is gone anew, or finds the one that others made.
	Prepare func(context.Context) error
	Archive Archive
	// Health is told when the index or the archive fails, and with nil when it works
	// again. It must not block.
	Health  func(error)
	Logger  *slog.Logger
	Metrics *metrics.Set
}

// Indexer brings the messages of the partitions that its group gives it into the index.
type Indexer struct {
	// Fixed after construction.
	cfg      Config
	counts   counts
	follower *follower.Follower
}

// counts are the metrics of an indexer.
type counts struct {
	batches, documents   *metrics.Counter
	recalled, unreadable *metrics.Counter
	seconds              *metrics.Histogram
}

// NewIndexer returns an indexer; Run starts it.
func NewIndexer(c Config) *Indexer {
	x := &Indexer{
		cfg: c,
		counts: counts{
			batches:    c.Metrics.Counter("switchboard_search_batches_total"),
			documents:  c.Metrics.Counter("switchboard_search_documents_total"),
			recalled:   c.Metrics.Counter("switchboard_search_recalled_documents_total"),
			unreadable: c.Metrics.Counter("switchboard_search_unreadable_records_total"),
			seconds:    c.Metrics.Histogram("switchboard_search_apply_seconds"),
		},
		follower: follower.New(follower.Config{
			Behind: "the search index falls behind; messages do not wait for it", Again: "the search index takes messages again",
			Health: c.Health, Logger: c.Logger, Errors: c.Metrics.Counter("switchboard_search_errors_total"),
		}),
	}
	c.Metrics.Gauge("switchboard_search_lag_seconds", x.follower.Lag)
	return x
}

// Run indexes until ctx ends, and then returns nil. Nothing else ends it but a group
// that cannot be joined as it is configured. When the index is gone it fills another,
// of which no passage may know what it knew of the old one: all begin anew.
func (x *Indexer) Run(ctx context.Context) error {
	for {
		err := x.follower.Run(ctx, x.cfg.Accepted, func(ctx context.Context, claim bus.Claim, oldest *atomic.Int64) error {
			p := &passage{Indexer: x, claim: claim, oldest: oldest, reached: make(map[chat.ConversationID]chat.Seq)}
			return p.run(ctx)
		})
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrGone) || x.cfg.Prepare == nil {
			return fmt.Errorf("index the accepted log: %w", err)
		}
		x.cfg.Logger.Warn("the search index is gone and is built anew", "error", err)
		// It fails when ctx ends, and so does what comes next.
		_ = x.follower.Repeat(ctx, "prepare the index", func() error { return x.cfg.Prepare(ctx) })
	}
}
