package fold

import (
	"context"
	"errors"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// noting is a note of progress that is being written beside the work.
type noting struct {
	next int64      // what it says
	done chan error // gets one value
}

// noteBeside notes the progress when that is due, and does not wait for it: a
// note is a write to the archive and one to the group, some 20 ms each second in
// which nothing of the partition would move, and every fortieth message would
// meet one. There is one under way at most, and what it says was acknowledged
// before it began, so that it may be read at any time.
func (p *partition) noteBeside(ctx context.Context) error {
	due := p.fold.host.now().Sub(p.notedAt) >= noteEvery
	if p.fold.host.inline {
		if !due {
			return nil
		}
		return p.note(ctx)
	}
	if n := p.noting; n != nil {
		select {
		case err := <-n.done:
			if p.noting = nil; err != nil {
				return err
			}
			p.noted = n.next
		default:
			return nil
		}
	}
	if !due {
		return nil
	}
	if at, some := p.progress(); some {
		n := &noting{next: p.next, done: make(chan error, 1)}
		p.noting = n
		p.notes.Go(func() { n.done <- p.keep(ctx, at) })
	}
	return nil
}

// note notes the progress and waits until that is done.
func (p *partition) note(ctx context.Context) error {
	at, some := p.progress()
	if !some {
		return nil
	}
	if err := p.keep(ctx, at); err != nil {
		return err
	}
	p.noted = p.next
	return nil
}

// progress returns what there is to note, if anything.
func (p *partition) progress() (at archive.Progress, some bool) {
	if p.next == 0 {
		p.noted = 0 // Nothing was decided yet: there is nothing to say.
	}
	if p.noted == p.next {
		return at, false
	}
	p.notedAt = p.fold.host.now()
	return archive.Progress{
		Position: chat.Position{Generation: p.fold.generation, Offset: p.next - 1},
		Clock:    p.decider.clock,
	}, true
}

// keep keeps how far the partition was worked off: for the next owner in the
// archive, for those who watch the lag in the group. Losing the group's claim is
// no error: the end of the claim comes with ctx, and until then this owner does
// no harm. It touches nothing that the partition's own goroutine changes.
func (p *partition) keep(ctx context.Context, at archive.Progress) error {
	err := p.fold.repeat(ctx, "note progress", func() error {
		return p.fold.store.SetProgress(ctx, p.number, at)
	})
	if err != nil {
		return err
	}
	err = p.claim.Commit(ctx, at.Position.Offset+1)
	if err != nil && !errors.Is(err, bus.ErrLostClaim) && ctx.Err() == nil {
		p.fold.logger.WarnContext(ctx, "the lag shown is behind", "partition", p.number, "error", err)
	}
	return nil
}
