// Package receipts keeps the watermarks: how far each member has received and
// read each conversation.
//
//	chat.receipts[p] ──▶ member? there? ──▶ merge a batch ──▶ archive (a maximum)
//	                       │ no                                  │ then
//	                       ▼                                     ▼
//	                  chat.status[p]: refusals         chat.status[p]: what moved, for whom
//
// It is beside the messages' road and not on it: a consumer group of its own, a
// producer of its own and, where the archive is a cluster, connections of its
// own, so that a storm of marks costs no message a millisecond.
//
// # Why a mark never moves back
//
// The archive keeps the maximum of all that was ever written, whoever writes and
// however often, so crashes, replays and owners that do not know that they were
// replaced need no protocol. What is pushed is decided by reading the watermark
// first: a mark that is not above it moves nothing and is told to nobody. Two
// owners of one partition, for as long as one does not know of the other, may
// still say something lower after something higher; gateways drop it by the order
// that the frame carries.
//
// A watermark is written before anybody is told. An owner that dies in between
// has moved it without a word, so the next one treats the records that were
// there before it began differently: a mark that equals the watermark is told
// again.
//
// # What is checked
//
// A mark counts for the stay in which its user is when it is worked on; who is
// not a member is refused. It must name an event that is there: what a client was
// shown is in the archive before it is shown, so a mark beyond the newest event
// is no matter of timing. A mark from before the stay is no mistake and moves
// nothing, since a stay begins with both marks at its joining event.
//
// # Who is told
//
// The user's own other devices; the other one of a direct conversation; in a group
// the last [Senders] senders whose messages the mark newly covers, looked for
// among the newest [Covered] events of them. It is a hint for those whom it
// concerns most. The truth is the archive.
package receipts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
)

// The limits of the work.
const (
	// Senders is how many senders of a group learn that a mark covers their
	// messages.
	Senders = 8
	// Covered is among how many of the events that a mark covers they are looked
	// for.
	Covered = 64
	// BatchRecords bounds how many receipts are judged and written at once.
	BatchRecords = 512
	// ConversationsAtOnce bounds how many conversations are judged at the same
	// time, over all partitions of this process, each by one read after another: a
	// fraction of what the fold may have under way.
	ConversationsAtOnce = 32
	// ConversationsKnown bounds of how many conversations the newest events are
	// kept, in this process: some 3 KiB each, and up to twice as many.
	ConversationsKnown = 4096
	// commitEvery is how often a busy partition commits: what a successor repeats.
	commitEvery = time.Second
	// retryFirst and retryMost bound the pause before something is repeated.
	retryFirst, retryMost = 20 * time.Millisecond, 5 * time.Second
	// overloadPause is the wait for a producer that has too much pending.
	overloadPause = 5 * time.Millisecond
)

// Config is what a Keeper needs. Every field must be set.
type Config struct {
	Store      archive.Store
	Log        bus.Log
	Group      bus.Group // of the receipts
	Producer   bus.Producer
	Partitions int32 // of the receipts and of the statuses
	Logger     *slog.Logger
	Metrics    *metrics.Set
}

// Keeper works off the partitions of the receipts that its group gives it.
type Keeper struct {
	// Fixed after construction.
	Config
	known  *known
	places chan struct{} // one for each conversation that is being judged
	counts counts
}

// New returns a keeper. It does nothing before Run.
func New(c Config) *Keeper {
	return &Keeper{
		Config: c, known: new(known), places: make(chan struct{}, ConversationsAtOnce), counts: newCounts(c.Metrics),
	}
}

// Run works until ctx ends, and then returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	err := k.Group.Run(ctx, k.own)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that ctx ended is no failure
	}
	if err != nil {
		return fmt.Errorf("keep watermarks: %w", err)
	}
	return nil
}

// own works on one partition for as long as the claim lasts.
func (k *Keeper) own(ctx context.Context, claim bus.Claim) error {
	p := &partition{Keeper: k, claim: claim, number: claim.Partition()}
	err := p.run(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the claim ended: whoever has it now repeats what was cut off
	}
	if err != nil {
		return fmt.Errorf("receipts of partition %d: %w", p.number, err)
	}
	return nil
}

// repeat tries until it succeeds: what failed is unknown and may not be skipped.
// The error is ctx's.
func (k *Keeper) repeat(ctx context.Context, what string, try func() error) error {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
		k.counts.retries.Inc()
		k.Logger.WarnContext(ctx, "repeating what failed", "what", what, "pause", pause, "error", err)
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// produce hands m to the producer, waiting while that has too much pending.
func (k *Keeper) produce(ctx context.Context, m bus.Message, done func(int64, error)) error {
	for {
		err := k.Producer.Produce(m, done)
		if err == nil {
			return nil
		}
		if !errors.Is(err, bus.ErrOverloaded) {
			return fmt.Errorf("append to %s: %w", m.Topic, err)
		}
		if err := sleep(ctx, overloadPause); err != nil {
			return fmt.Errorf("append to %s: %w", m.Topic, err)
		}
	}
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

// counts are the metrics.
type counts struct {
	moved, unmoved, refused *metrics.Counter // marks, by what became of them
	statuses                *metrics.Counter
	unreadable, jumps       *metrics.Counter
	retries                 *metrics.Counter
	batch                   *metrics.Histogram
	wait, seconds           *metrics.Histogram
}

func newCounts(set *metrics.Set) counts {
	mark := func(outcome string) *metrics.Counter {
		return set.Counter(fmt.Sprintf("switchboard_receipts_marks_total{outcome=%q}", outcome))
	}
	return counts{
		moved: mark("moved"), unmoved: mark("unmoved"), refused: mark("refused"),
		statuses:   set.Counter("switchboard_receipts_statuses_total"),
		unreadable: set.Counter("switchboard_receipts_unreadable_records_total"),
		jumps:      set.Counter("switchboard_receipts_log_jumps_total"),
		retries:    set.Counter("switchboard_receipts_retries_total"),
		batch:      set.Histogram("switchboard_receipts_batch_records"),
		wait:       set.Histogram("switchboard_receipts_wait_seconds"),
		seconds:    set.Histogram("switchboard_receipts_batch_seconds"),
	}
}
