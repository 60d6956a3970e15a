package fold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
)

// The limits of the fold. None of them is visible in an outcome.
const (
	// batchRecords bounds how many records are decided and written at once.
	batchRecords = 128
	// cacheWeight bounds what one partition remembers of its conversations:
	// each weighs one and one for each of its members (about 40 bytes).
	cacheWeight = 50_000
	// coldReads bounds how many conversations are read from the archive at a
	// time, over all partitions of this process.
	coldReads = 32
	// noteEvery is how often a busy partition notes its progress.
	noteEvery = time.Second
	// retryFirst and retryMost bound the pause before something is repeated.
	retryFirst, retryMost = 20 * time.Millisecond, 5 * time.Second
	// overloadPause is the wait for a producer that has too much pending.
	overloadPause = 2 * time.Millisecond
)

// Config is what a fold needs. Every field must be set.
type Config struct {
	Store    archive.Store
	Log      bus.Log
	Group    bus.Group // of the inbound topic
	Producer bus.Producer

	Generation uint32 // of the inbound log
	Partitions int32  // of the inbound and the accepted log, pinned for ever

	Logger  *slog.Logger
	Metrics *metrics.Set
}

// Fold works off the partitions of the inbound log that its group gives it.
type Fold struct {
	// Fixed after construction.
	store      archive.Store
	log        bus.Log
	group      bus.Group
	producer   bus.Producer
	generation uint32
	partitions int32
	logger     *slog.Logger
	counts     counts
	host       host
	largeAbove int // chat.LargeAbove; lower in the model test
	cached     int // cacheWeight; lower in the model test
	faults     faults

	reads chan struct{} // a place for each cold read under way
}

// New returns a fold. It does nothing before Run.
func New(c Config) *Fold {
	return &Fold{
		store:      c.Store,
		log:        c.Log,
		group:      c.Group,
		producer:   c.Producer,
		generation: c.Generation,
		partitions: c.Partitions,
		logger:     c.Logger,
		counts:     newCounts(c.Metrics),
		host:       realHost(),
		largeAbove: chat.LargeAbove,
		cached:     cacheWeight,
		reads:      make(chan struct{}, coldReads),
	}
}

// Run works until ctx ends, and then returns nil. It returns an error that
// wraps [bus.ErrUnsafe] when a partition's logs cannot be what they should be,
// and [bus.ErrClosed] when the producer ended first: what was pending is then
// unknown, and the partition's next owner does it again.
func (f *Fold) Run(ctx context.Context) error {
	err := f.group.Run(ctx, f.own)
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err()) || errors.Is(err, bus.ErrClosed)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fold inbound generation %d: %w", f.generation, err)
	}
	return nil
}

// own works on one partition for as long as the claim lasts.
func (f *Fold) own(ctx context.Context, claim bus.Claim) error {
	p := newPartition(f, claim)
	err := p.run(ctx)
	if ctx.Err() != nil && !errors.Is(err, bus.ErrUnsafe) {
		return nil // The claim ended; whoever has it now repeats what was cut off.
	}
	if err != nil {
		return fmt.Errorf("partition %d: %w", claim.Partition(), err)
	}
	return nil
}

// repeat tries until it succeeds, since what failed is unknown and may not be
// skipped. It returns ctx's error, or the first that no waiting heals.
func (f *Fold) repeat(ctx context.Context, what string, try func() error) error {
	pause := retryFirst
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
		if errors.Is(err, bus.ErrUnsafe) {
			return err
		}
		f.counts.retries.Inc()
		f.logger.WarnContext(ctx, "repeating what failed", "what", what, "pause", pause, "error", err)
		if err := f.host.sleep(ctx, pause); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		pause = min(2*pause, retryMost)
	}
}

// counts are the metrics of a fold.
type counts struct {
	outcomes [bus.Refused + 1]*metrics.Counter
	retries  *metrics.Counter
	cold     *metrics.Counter
	batches  *metrics.Histogram

	// The way of a batch through the fold, in this order.
	waits   *metrics.Histogram // from the oldest record's timestamp to the batch's begin
	reads   *metrics.Histogram // keys and cold conversations
	decides *metrics.Histogram
	writes  *metrics.Histogram
	appends *metrics.Histogram
}

func newCounts(set *metrics.Set) counts {
	c := counts{
		retries: set.Counter("switchboard_fold_retries_total"),
		cold:    set.Counter("switchboard_fold_cold_conversations_total"),
		batches: set.Histogram("switchboard_fold_batch_records"),
		waits:   set.Histogram("switchboard_fold_wait_seconds"),
		reads:   set.Histogram("switchboard_fold_read_seconds"),
		decides: set.Histogram("switchboard_fold_decide_seconds"),
		writes:  set.Histogram("switchboard_fold_write_seconds"),
		appends: set.Histogram("switchboard_fold_append_seconds"),
	}
	for o := range c.outcomes {
		c.outcomes[o] = set.Counter(fmt.Sprintf("switchboard_fold_outcomes_total{outcome=%q}", bus.Outcome(o)))
	}
	return c
}

// host is the machine as the driver sees it: its clock and its patience. No
// outcome depends on it; the model test puts a scheduler in its place.
type host struct {
	now func() time.Time
	// sleep waits for d, or returns ctx's error.
	sleep func(ctx context.Context, d time.Duration) error
	// await waits for done to be closed, or returns ctx's error.
	await func(ctx context.Context, done <-chan struct{}) error
	// within bounds ctx to d.
	within func(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
	// inline keeps cold reads on the caller's goroutine.
	inline bool
}

func realHost() host {
	return host{now: time.Now, sleep: sleep, await: await, within: context.WithTimeout}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
