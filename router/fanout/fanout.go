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
// messages are late, not lost.
//
// What it does not do: it caches no presence, reads no membership (an outcome
// carries its recipients) and knows no socket.
package fanout

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
)

// CommitEvery is the longest time for which finished work stays uncommitted: the
// most that a successor repeats.
const CommitEvery = time.Second

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

	deliveries, pushes *metrics.Counter
	unreadable, jumps  *metrics.Counter
	batch              *metrics.Histogram
	seconds            *metrics.Histogram
}

// New returns a router; Run starts it.
func New(cfg Config) *Router {
	return &Router{
		cfg:        cfg,
		lookups:    newLookups(cfg),
		deliveries: cfg.Metrics.Counter("switchboard_router_deliveries_total"),
		pushes:     cfg.Metrics.Counter("switchboard_router_pushes_total"),
		unreadable: cfg.Metrics.Counter("switchboard_router_unreadable_records_total"),
		jumps:      cfg.Metrics.Counter("switchboard_router_log_jumps_total"),
		batch:      cfg.Metrics.Histogram("switchboard_router_batch_records"),
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
	err := r.cfg.Accepted.Run(ctx, r.route)
	<-done
	return quiet(ctx, err)
}

// route works on one partition until the claim ends.
func (r *Router) route(ctx context.Context, claim bus.Claim) error {
	finished := atomic.Int64{}
	finished.Store(claim.Committed())
	var commits sync.WaitGroup
	commits.Go(func() { r.commit(ctx, claim, &finished) })
	defer commits.Wait()

	offset := max(claim.Committed(), 0)
	for ctx.Err() == nil {
		err := r.follow(ctx, claim, offset, &finished)
		switch {
		case errors.Is(err, bus.ErrOffsetOutOfRange):
			// The log no longer holds what was to be routed next. Those events
			// are in the archive; clients find them with /sync.
			expected := max(finished.Load(), offset)
			r.jumps.Inc()
			offset, _, err = r.cfg.Log.Bounds(ctx, claim.Topic(), claim.Partition())
			if err != nil {
				return quiet(ctx, err)
			}
			r.cfg.Logger.Error("the accepted log jumped: events were not pushed",
				"partition", claim.Partition(), "expected", expected, "first", offset)
		case errors.Is(err, bus.ErrClosed):
			<-ctx.Done() // the next owner repeats what was not acknowledged
		case err != nil:
			return quiet(ctx, err)
		}
	}
	return nil
}

// commit notes how far the partition is finished, once every CommitEvery and at
// the end of the claim.
func (r *Router) commit(ctx context.Context, claim bus.Claim, finished *atomic.Int64) {
	ticker := time.NewTicker(CommitEvery)
	defer ticker.Stop()
	committed := finished.Load()
	for ending := false; !ending; {
		select {
		case <-ctx.Done():
			ending = true
		case <-ticker.C:
		}
		offset := finished.Load()
		if offset == committed {
			continue
		}
		// The last commit happens after ctx ended, while the group still waits
		// for this partition's handler.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*CommitEvery)
		err := claim.Commit(last, offset)
		cancel()
		if err == nil {
			committed = offset
		} else if !errors.Is(err, bus.ErrLostClaim) {
			r.cfg.Logger.Warn("commit failed; a successor would repeat more",
				"partition", claim.Partition(), "error", err)
		}
	}
}

// quiet turns an error that only says "ctx ended" into none.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that is what it is for
	}
	return err
}

// follow routes a partition from offset on until something stops it.
func (r *Router) follow(ctx context.Context, claim bus.Claim, offset int64, finished *atomic.Int64) error {
	reader := r.cfg.Log.Open(claim.Topic(), claim.Partition(), offset)
	defer reader.Close()
	var seen bus.Deduper
	for {
		records, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		outcomes := r.parse(records, &seen)
		if err := r.deliver(ctx, claim.Partition(), outcomes); err != nil {
			return err
		}
		r.batch.Update(float64(len(records)))
		r.seconds.UpdateDuration(began)
		finished.Store(records[len(records)-1].Offset + 1)
	}
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

// deliver looks up everybody whom the outcomes concern, writes what follows from
// the answer and waits until all of it is on the log.
func (r *Router) deliver(ctx context.Context, partition int32, outcomes []bus.Accepted) error {
	places, err := r.lookups.where(ctx, concerned(outcomes))
	if err != nil {
		return err
	}
	acks := newAcks()
	for i := range outcomes {
		p := newPlan(&outcomes[i], partition, places)
		if err := r.write(ctx, p, partition, acks); err != nil {
			return err
		}
	}
	return acks.wait(ctx)
}

// write produces the deliveries and pushes of one outcome.
func (r *Router) write(ctx context.Context, p *plan, partition int32, acks *acks) error {
	key := binary.BigEndian.AppendUint32(nil, uint32(partition))
	for _, d := range p.deliveries {
		m := bus.Message{Topic: bus.DeliveryTopic(d.server), Key: key, Value: d.record.Append(nil)}
		if err := r.produce(ctx, m, acks); err != nil {
			return fmt.Errorf("deliver to %s: %w", d.server, err)
		}
		r.deliveries.Inc()
	}
	for _, push := range p.pushes {
		m := bus.Message{
			Topic:     bus.TopicPush,
			Partition: bus.PartitionOfUser(push.User, r.cfg.Partitions),
			Key:       append([]byte(nil), push.User[:]...),
			Value:     push.Append(nil),
		}
		if err := r.produce(ctx, m, acks); err != nil {
			return fmt.Errorf("push: %w", err)
		}
		r.pushes.Inc()
	}
	return nil
}

// produce enqueues one record, waiting while the producer is overloaded: the
// router has nobody to refuse.
func (r *Router) produce(ctx context.Context, m bus.Message, acks *acks) error {
	const pause = 5 * time.Millisecond
	for {
		err := r.cfg.Producer.Produce(m, acks.expect())
		if err == nil {
			return nil
		}
		acks.unexpect()
		if errors.Is(err, bus.ErrTooLarge) {
			// No retry would help. Receivers repair by the gap rule and /sync.
			r.cfg.Logger.Error("a delivery exceeds the batch limit", "topic", m.Topic, "bytes", len(m.Value))
			return nil
		}
		if !errors.Is(err, bus.ErrOverloaded) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
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
