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
// not count. It fails with [bus.ErrUnsafe] when the inbound log does not hold
// that place: records would be skipped, or offsets mean others than they did.
func (p *partition) start(ctx context.Context) error {
	var at archive.Progress
	err := p.fold.repeat(ctx, "find the start", func() (err error) {
		at, err = p.lastOutcome(ctx)
		if err != nil {
			return err
		}
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
	if err := p.checkBounds(ctx); err != nil {
		return err
	}
	p.noted = -1
	return p.note(ctx)
}

// lastOutcome returns what the newest record of the accepted log answers; the
// zero value when it holds none. That may be a zombie's repetition, which is
// behind others: then what follows is done again, with the same outcomes.
func (p *partition) lastOutcome(ctx context.Context) (archive.Progress, error) {
	r, ok, err := p.fold.log.Last(ctx, p.accepted, p.number)
	if err != nil {
		return archive.Progress{}, fmt.Errorf("read the end of %s: %w", p.accepted, err)
	}
	if !ok {
		return archive.Progress{}, nil
	}
	var out bus.Accepted
	if err := bus.ParseAccepted(r.Value, &out); err != nil {
		return archive.Progress{}, fmt.Errorf("%w: %s offset %d: %w", bus.ErrUnsafe, p.accepted, r.Offset, err)
	}
	if out.Position.Generation != p.fold.generation {
		return archive.Progress{}, fmt.Errorf("%w: %s offset %d answers generation %d, not %d",
			bus.ErrUnsafe, p.accepted, r.Offset, out.Position.Generation, p.fold.generation)
	}
	return archive.Progress{Position: out.Position, Clock: out.Clock}, nil
}

func (p *partition) checkBounds(ctx context.Context) error {
	var start, end int64
	err := p.fold.repeat(ctx, "ask for the bounds of "+p.inbound, func() (err error) {
		start, end, err = p.fold.log.Bounds(ctx, p.inbound, p.number)
		return err
	})
	if err != nil {
		return err
	}
	if p.next < start || p.next > end {
		return fmt.Errorf("%w: %s holds offsets %d to %d, but %d is the next to decide",
			bus.ErrUnsafe, p.inbound, start, end-1, p.next)
	}
	return nil
}

// note keeps how far the partition was worked off: for the next owner in the
// archive, for those who watch the lag in the group. Losing the group's claim is
// no error: the end of the claim comes with ctx, and until then this owner does
// no harm.
func (p *partition) note(ctx context.Context) error {
	p.notedAt = p.fold.host.now()
	if p.next == 0 {
		p.noted = 0 // Nothing was decided yet: there is nothing to say.
	}
	if p.noted == p.next {
		return nil
	}
	at := archive.Progress{
		Position: chat.Position{Generation: p.fold.generation, Offset: p.next - 1},
		Clock:    p.decider.clock,
	}
	err := p.fold.repeat(ctx, "note progress", func() error {
		return p.fold.store.SetProgress(ctx, p.number, at)
	})
	if err != nil {
		return err
	}
	p.noted = p.next
	if err := p.claim.Commit(ctx, p.next); err != nil && !errors.Is(err, bus.ErrLostClaim) && ctx.Err() == nil {
		p.fold.logger.WarnContext(ctx, "the lag shown is behind", "partition", p.number, "error", err)
	}
	return nil
}
