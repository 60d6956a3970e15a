package fold

import (
	"context"
	"errors"
	"fmt"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// start finds out where the partition goes on, and with which clock: after the
// newest outcome on the accepted log, or after the noted progress if that is
// further (an idle partition's outcomes expire). What the group committed does
// not count. It fails with [bus.ErrUnsafe] when the logs are not those of which
// outcomes and progress tell: records would be skipped, or offsets mean others
// than they did.
func (p *partition) start(ctx context.Context) error {
	var at archive.Progress
	var last bus.Accepted
	err := p.fold.repeat(ctx, "find the start", func() (err error) {
		if last, err = p.lastOutcome(ctx); err != nil {
			return err
		}
		at = archive.Progress{Position: last.Position, Clock: last.Clock}
		noted, err := p.fold.store.Progress(ctx, p.fold.generation, p.number)
		if err != nil {
			return fmt.Errorf("read progress: %w", err)
		}
		if noted.Position.Compare(at.Position) > 0 {
			at = noted
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.decider.clock = at.Clock
	if at.Position.Generation != 0 {
		p.next = at.Position.Offset + 1
	}
	if p.fold.faults.startAtCommitted {
		p.next = max(p.claim.Committed(), 0)
	}
	start, err := p.checkBounds(ctx)
	if err != nil {
		return err
	}
	if at.Position.Generation != 0 && start <= at.Position.Offset {
		if err := p.checkDecided(ctx, at, &last); err != nil {
			return err
		}
	}
	p.noted, p.notedAt = -1, p.fold.host.now()
	return p.note(ctx)
}

// lastOutcome returns the newest record of the accepted log; the zero value when
// it holds none. That may be a zombie's repetition, which is behind others: then
// what follows is done again, with the same outcomes.
func (p *partition) lastOutcome(ctx context.Context) (out bus.Accepted, err error) {
	r, ok, err := p.fold.log.Last(ctx, p.accepted, p.number)
	if err != nil {
		return out, fmt.Errorf("read the end of %s: %w", p.accepted, err)
	}
	if !ok {
		return out, nil
	}
	if err := bus.ParseAccepted(r.Value, &out); err != nil {
		return out, fmt.Errorf("%w: %s offset %d: %w", bus.ErrUnsafe, p.accepted, r.Offset, err)
	}
	if out.Position.Generation != p.fold.generation {
		return out, fmt.Errorf("%w: %s offset %d answers generation %d, not %d",
			bus.ErrUnsafe, p.accepted, r.Offset, out.Position.Generation, p.fold.generation)
	}
	return out, nil
}

// checkBounds compares the place with what the logs hold, and returns where the
// inbound log begins. Each decided record has at least one outcome, and offsets
// are never given twice: an accepted log that ends before the place is not the
// one that the outcomes went to, and what it lost was perhaps told to nobody.
func (p *partition) checkBounds(ctx context.Context) (start int64, err error) {
	var end, answers int64
	err = p.fold.repeat(ctx, "ask for the bounds of "+p.inbound, func() (err error) {
		if start, end, err = p.fold.log.Bounds(ctx, p.inbound, p.number); err == nil {
			_, answers, err = p.fold.log.Bounds(ctx, p.accepted, p.number)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if p.next < start || p.next > end {
		return 0, fmt.Errorf("%w: %s partition %d holds offsets %d to %d, but %d is the next to decide: records were deleted, or the topic was made anew",
			bus.ErrUnsafe, p.inbound, p.number, start, end-1, p.next)
	}
	if answers < p.next {
		return 0, fmt.Errorf("%w: %s partition %d ends at offset %d, but %d records of %s are decided: outcomes were lost, or the topic was made anew",
			bus.ErrUnsafe, p.accepted, p.number, answers, p.next, p.inbound)
	}
	return start, nil
}

// checkDecided looks whether the record before the place is the one that was
// decided. A topic that was made anew under its old name may have offsets enough
// by now, but has other records at them: no outcome fits, and they are younger
// than the clock that was noted.
func (p *partition) checkDecided(ctx context.Context, at archive.Progress, last *bus.Accepted) error {
	reader := p.fold.log.Open(p.inbound, p.number, at.Position.Offset)
	defer reader.Close()
	records, err := reader.Next(ctx)
	if errors.Is(err, bus.ErrOffsetOutOfRange) {
		return nil // It expires just now; the reading of the next record will tell.
	}
	if err != nil {
		return fmt.Errorf("read %s at offset %d: %w", p.inbound, at.Position.Offset, err)
	}
	r := records[0]
	p.parse(records[:1])
	in := &p.requests[0].in
	fits := r.Offset == at.Position.Offset && at.Clock >= chat.Clock(r.Millis)*chat.TicksPerMillisecond
	if last.Position == at.Position {
		fits = fits && in.Conversation == last.Conversation && in.Sender == last.Sender && in.Request == last.Request
	}
	if !fits {
		return fmt.Errorf("%w: %s partition %d has another record at offset %d than the one that was decided: the topic was made anew",
			bus.ErrUnsafe, p.inbound, p.number, at.Position.Offset)
	}
	return nil
}
