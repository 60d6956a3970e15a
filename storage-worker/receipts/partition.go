package receipts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"switchboard/internal/bus"
	"switchboard/storage-worker/archive"
)

// partition is one claim at work. Its effects on the world are Store.Write,
// Producer.Produce and Claim.Commit, in this order for each batch, and nothing
// else. It is owned by the goroutine that runs it.
type partition struct {
	*Keeper
	claim  bus.Claim
	number int32

	next int64 // offset of the next record to judge
	// repeats is where the records end that were there when this owner began:
	// a predecessor may have moved their marks without telling anybody.
	repeats int64

	committed   int64
	committedAt time.Time
}

// run works until ctx ends.
func (p *partition) run(ctx context.Context) error {
	if err := p.start(ctx); err != nil {
		return err
	}
	defer p.lastCommit(ctx)
	for {
		if err := p.follow(ctx); !errors.Is(err, bus.ErrOffsetOutOfRange) {
			return err
		}
		if err := p.start(ctx); err != nil {
			return err
		}
	}
}

// start finds out where to go on: where the group was, unless the log does not
// hold that place.
func (p *partition) start(ctx context.Context) error {
	var first, end int64
	err := p.repeat(ctx, "ask for the bounds of the receipts", func() (err error) {
		first, end, err = p.Log.Bounds(ctx, bus.TopicReceipts, p.number)
		return err
	})
	if err != nil {
		return err
	}
	p.next, p.repeats = max(p.claim.Committed(), p.committed), end
	if p.next < first || p.next > end {
		if p.next > 0 {
			// Nothing is undone by it, and a client marks again when it connects.
			p.counts.jumps.Inc()
			p.Logger.Error("the receipts jumped: marks were not kept",
				"partition", p.number, "expected", p.next, "first", first)
		}
		p.next = first
	}
	p.committed, p.committedAt = p.next, time.Now()
	return nil
}

// follow works off the log from next on.
func (p *partition) follow(ctx context.Context) error {
	reader := p.Log.Open(bus.TopicReceipts, p.number, p.next)
	defer reader.Close()
	for {
		records, err := p.read(ctx, reader)
		if err != nil {
			return err
		}
		for len(records) > 0 {
			n := min(len(records), BatchRecords)
			if err := p.work(ctx, records[:n]); err != nil {
				return err
			}
			records = records[n:]
		}
		if p.committed != p.next && time.Since(p.committedAt) >= commitEvery {
			p.commit(ctx)
		}
	}
}

// read waits for records, but while something is not committed only until that
// is due; then it returns none.
func (p *partition) read(ctx context.Context, reader bus.Reader) ([]bus.Record, error) {
	wait, cancel := ctx, context.CancelFunc(func() {})
	if p.committed != p.next {
		wait, cancel = context.WithTimeout(ctx, commitEvery)
	}
	defer cancel()
	records, err := reader.Next(wait)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return nil, nil
	}
	return records, err
}

// work carries one batch through: judge, save, tell.
func (p *partition) work(ctx context.Context, records []bus.Record) error {
	began := time.Now()
	p.counts.wait.Update(max(began.Sub(time.UnixMilli(records[0].Millis)).Seconds(), 0))
	v, err := p.judge(ctx, records)
	if err != nil {
		return err
	}
	if err := p.save(ctx, v); err != nil {
		return err
	}
	if err := p.tell(ctx, v); err != nil {
		return err
	}
	p.next = records[len(records)-1].Offset + 1
	p.counts.batch.Update(float64(len(records)))
	p.counts.seconds.UpdateDuration(began)
	return nil
}

// save writes the watermarks until the archive has them.
func (p *partition) save(ctx context.Context, v *verdict) error {
	if len(v.marks) == 0 {
		return nil
	}
	return p.repeat(ctx, "write watermarks", func() error {
		return p.Store.Write(ctx, &archive.Batch{Marks: v.marks, Records: len(v.marks)})
	})
}

// tell appends the statuses, in order, and waits until all are acknowledged.
func (p *partition) tell(ctx context.Context, v *verdict) error {
	acks := make(chan error, len(v.statuses))
	for i := range v.statuses {
		s := &v.statuses[i]
		const idBytes = 16
		buffer := s.Append(append(make([]byte, 0, 256), s.Conversation[:]...))
		m := bus.Message{
			Topic: bus.TopicStatus, Partition: p.number,
			Key: buffer[:idBytes:idBytes], Value: buffer[idBytes:],
		}
		if err := p.produce(ctx, m, func(_ int64, err error) { acks <- err }); err != nil {
			return err
		}
	}
	for range v.statuses {
		select {
		case err := <-acks:
			if err != nil && !errors.Is(err, bus.ErrTooLarge) {
				// Unknown, and so are those after it: only the next owner can tell.
				return fmt.Errorf("append to %s: %w", bus.TopicStatus, err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.counts.statuses.Add(len(v.statuses))
	return nil
}

// commit notes how far the partition is worked off. A failure is no error: the
// next owner repeats more.
func (p *partition) commit(ctx context.Context) {
	err := p.claim.Commit(ctx, p.next)
	if err == nil {
		p.committed = p.next
	} else if !errors.Is(err, bus.ErrLostClaim) && ctx.Err() == nil {
		p.Logger.WarnContext(ctx, "commit failed; a successor would repeat more", "partition", p.number, "error", err)
	}
	p.committedAt = time.Now()
}

// lastCommit happens after the claim has ended, while the group still waits for
// this partition's handler.
func (p *partition) lastCommit(ctx context.Context) {
	if p.committed == p.next {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*commitEvery)
	defer cancel()
	p.commit(last)
}

// gather reads the records and sorts their marks by conversation and user. What
// cannot be read is left out: only a foreign writer can cause it.
func (p *partition) gather(records []bus.Record) []*talk {
	var talks []*talk
	at := make(map[[16]byte]*talk)
	for i := range records {
		r := new(bus.Receipt)
		if err := bus.ParseReceipt(records[i].Value, r); err != nil || r.Conversation.IsZero() || r.User.IsZero() ||
			bus.PartitionOf(r.Conversation, p.Partitions) != p.number {
			p.counts.unreadable.Inc()
			p.Logger.Error("unreadable receipt", "partition", p.number, "offset", records[i].Offset, "error", err)
			continue
		}
		t := at[r.Conversation]
		if t == nil {
			t = &talk{partition: p, id: r.Conversation, stays: make(map[user]*archive.Stay)}
			at[r.Conversation] = t
			talks = append(talks, t)
		}
		t.add(r, records[i].Millis, records[i].Offset < p.repeats)
	}
	return talks
}

// judge decides all marks of a batch.
func (p *partition) judge(ctx context.Context, records []bus.Record) (*verdict, error) {
	talks := p.gather(records)
	errs := make([]error, len(talks))
	var judges sync.WaitGroup
	for i, t := range talks {
		p.places <- struct{}{}
		judges.Go(func() {
			defer func() { <-p.places }()
			errs[i] = t.judge(ctx)
		})
	}
	judges.Wait()
	v := new(verdict)
	for _, t := range talks {
		v.marks = append(v.marks, t.marks...)
		v.statuses = append(v.statuses, t.statuses...)
	}
	return v, errors.Join(errs...)
}

// verdict is what a batch leaves: in the archive first, then on the log.
type verdict struct {
	marks    []archive.Watermark
	statuses []bus.Status
}
