package search

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
	"switchboard/storage-worker/archive"
)

// The limits of the indexer.
const (
	// batchDocuments bounds what one Apply writes.
	batchDocuments = 500
	// settleEvery is how often what is in the index is committed.
	settleEvery = 2 * time.Second
	// retryFirst and retryMost bound the pause before something is repeated.
	retryFirst, retryMost = 100 * time.Millisecond, 5 * time.Second
	// complainEvery is how often an outage that goes on is logged.
	complainEvery = 30 * time.Second
	// knownConversations bounds for how many conversations of a partition it is
	// remembered how far they are, at some 100 bytes each.
	knownConversations = 100_000
)

// Archive is what the indexer asks of the archive.
type Archive interface {
	Entries(ctx context.Context, c chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]archive.Row, error)
}

// Config is what an [Indexer] needs. Every field but Health must be set.
type Config struct {
	Log        bus.Log
	Accepted   bus.Group // of the accepted log, with the name [bus.SearchGroup]
	Generation uint32    // of the accepted log
	Store      Store
	Archive    Archive
	// Health is told when the index or the archive fails, and with nil when it works
	// again. It must not block.
	Health  func(error)
	Logger  *slog.Logger
	Metrics *metrics.Set
}

// Indexer brings the messages of the partitions that its group gives it into the index.
type Indexer struct {
	// Fixed after construction.
	cfg    Config
	counts counts

	mu         sync.Mutex
	failing    error // the last, nil when the index works
	complained time.Time
	waiting    map[*atomic.Int64]struct{} // of each partition: see passage.oldest
}

// counts are the metrics of an indexer.
type counts struct {
	batches, documents, errors *metrics.Counter
	recalled, unreadable       *metrics.Counter
	seconds                    *metrics.Histogram
}

// NewIndexer returns an indexer; Run starts it.
func NewIndexer(c Config) *Indexer {
	if c.Health == nil {
		c.Health = func(error) {}
	}
	x := &Indexer{
		cfg: c,
		counts: counts{
			batches:    c.Metrics.Counter("switchboard_search_batches_total"),
			documents:  c.Metrics.Counter("switchboard_search_documents_total"),
			errors:     c.Metrics.Counter("switchboard_search_errors_total"),
			recalled:   c.Metrics.Counter("switchboard_search_recalled_documents_total"),
			unreadable: c.Metrics.Counter("switchboard_search_unreadable_records_total"),
			seconds:    c.Metrics.Histogram("switchboard_search_apply_seconds"),
		},
		waiting: make(map[*atomic.Int64]struct{}),
	}
	c.Metrics.Gauge("switchboard_search_lag_seconds", x.lag)
	return x
}

// Run indexes until ctx ends, and then returns nil. Nothing else ends it but a group
// that cannot be joined as it is configured.
func (x *Indexer) Run(ctx context.Context) error {
	err := x.cfg.Accepted.Run(ctx, func(ctx context.Context, claim bus.Claim) error {
		p := &passage{Indexer: x, claim: claim, oldest: x.enter(), reached: make(map[chat.ConversationID]chat.Seq)}
		defer x.leave(p.oldest)
		err := p.run(ctx)
		if ctx.Err() != nil {
			return nil // The claim ended; whoever has it now goes on.
		}
		return err
	})
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("index the accepted log: %w", err)
	}
	return nil
}

// enter and leave keep the list of partitions at work.
func (x *Indexer) enter() *atomic.Int64 {
	oldest := new(atomic.Int64)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.waiting[oldest] = struct{}{}
	return oldest
}

func (x *Indexer) leave(oldest *atomic.Int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.waiting, oldest)
}

// lag returns how long the oldest outcome that was read waits to be in the index, in
// seconds since it was said; 0 when none does.
func (x *Indexer) lag() float64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	var most time.Duration
	for oldest := range x.waiting {
		if millis := oldest.Load(); millis > 0 {
			most = max(most, time.Since(time.UnixMilli(millis)))
		}
	}
	return most.Seconds()
}

// repeat tries until it succeeds or ctx ends, and then returns ctx's error.
func (x *Indexer) repeat(ctx context.Context, what string, try func() error) error {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := try()
		if err == nil {
			x.succeeded()
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
		x.failed(what, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// failed says so, but not for each partition and each try.
func (x *Indexer) failed(what string, err error) {
	x.counts.errors.Inc()
	x.mu.Lock()
	loud := x.failing == nil || time.Since(x.complained) >= complainEvery
	if loud {
		x.complained = time.Now()
	}
	x.failing = err
	x.mu.Unlock()
	if loud {
		x.cfg.Logger.Warn("the search index falls behind; messages do not wait for it", "what", what, "error", err)
	}
	x.cfg.Health(err)
}

func (x *Indexer) succeeded() {
	x.mu.Lock()
	before := x.failing
	x.failing = nil
	x.mu.Unlock()
	if before != nil {
		x.cfg.Logger.Info("the search index takes messages again")
		x.cfg.Health(nil)
	}
}
