package projection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/roster"
	"switchboard/storage-worker/follower"
)

// passage is one claim at work: everything of one accepted partition, in order.
// It is owned by the goroutine that runs it.
type passage struct {
	*Projection
	claim bus.Claim
	// oldest is when the oldest outcome that waits to be applied was said, in
	// Unix milliseconds; 0 when none waits. The gauge of the lag reads it.
	oldest *atomic.Int64

	next      int64 // offset of the record to read next
	seen      bus.Deduper
	begun     bool  // seen knows what came before
	noted     int64 // next, as the roster has it
	committed int64 // next, as the group has it
	settledAt time.Time

	changes []roster.Change // read, and not applied
	members int             // that they name
	large   map[chat.ConversationID]struct{}
	outcome bus.Accepted
}

func newPassage(p *Projection, claim bus.Claim, oldest *atomic.Int64) *passage {
	return &passage{Projection: p, claim: claim, oldest: oldest, large: make(map[chat.ConversationID]struct{})}
}

// run works until ctx ends.
func (p *passage) run(ctx context.Context) error {
	if err := p.start(ctx); err != nil {
		return err
	}
	for {
		err := p.follow(ctx)
		if errors.Is(err, bus.ErrOffsetOutOfRange) {
			err = p.jump(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// start asks the roster where to go on. It has never heard of the partition when
// it is new, whatever the group has committed.
func (p *passage) start(ctx context.Context) error {
	var at roster.Progress
	err := p.repeat(ctx, "read the roster's progress", func() (err error) {
		at, p.begun, err = p.cfg.Roster.Progress(ctx, p.cfg.Generation, p.claim.Partition())
		return err
	})
	if err != nil {
		return err
	}
	p.committed, p.settledAt = p.claim.Committed(), time.Now()
	if p.begun {
		p.next, p.noted = at.Next, at.Next
		p.seen = bus.After(chat.Position{Generation: p.cfg.Generation, Offset: at.Last})
		return nil
	}
	p.next, err = p.follower.First(ctx, p.cfg.Log, p.claim)
	p.noted = p.next
	return err
}

// jump goes on at the beginning of a log that does not hold what comes next. What
// happened in between is not known; see [passage.gap].
func (p *passage) jump(ctx context.Context) error {
	expected := p.next
	start, err := p.follower.First(ctx, p.cfg.Log, p.claim)
	if err != nil {
		return err
	}
	p.cfg.Logger.Error("the accepted log does not hold what the roster needs next",
		"partition", p.claim.Partition(), "expected", expected, "first", start)
	p.next = start
	return nil
}

// follow reads from next on until something stops it.
func (p *passage) follow(ctx context.Context) error {
	reader := p.cfg.Log.Open(p.claim.Topic(), p.claim.Partition(), p.next)
	defer reader.Close()
	for {
		records, err := p.read(ctx, reader)
		if err != nil {
			return fmt.Errorf("read %s: %w", p.claim.Topic(), err)
		}
		for i := range records {
			p.take(&records[i])
			if len(p.changes) < batchChanges && p.members < batchMembers {
				continue
			}
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
		if len(p.changes) > 0 {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
		p.oldest.Store(0)
		if time.Since(p.settledAt) >= settleEvery {
			if err := p.settle(ctx); err != nil {
				return err
			}
		}
	}
}

// read waits for records, but not beyond the time at which to settle, if there is
// something to; it then returns none.
func (p *passage) read(ctx context.Context, reader bus.Reader) ([]bus.Record, error) {
	var wait time.Duration
	if p.next != p.noted || p.next != p.committed {
		wait = settleEvery
	}
	return follower.Next(ctx, reader, wait)
}

// take turns one record into changes.
func (p *passage) take(record *bus.Record) {
	p.next = record.Offset + 1
	a := &p.outcome
	if err := bus.ParseAccepted(record.Value, a); err != nil {
		// Only a foreign writer can cause this, and waiting cannot heal it.
		p.counts.unreadable.Inc()
		p.cfg.Logger.Error("unreadable record on the accepted log",
			"partition", record.Partition, "offset", record.Offset, "error", err)
		return
	}
	if !p.fresh(a.Position) || a.Outcome != bus.Stored {
		return
	}
	if len(p.changes) == 0 {
		p.oldest.Store(record.Millis)
	}
	for i := range a.Events {
		e := &a.Events[i]
		if e.Change == chat.ChangeNone && (!a.Large || p.knows(e.Conversation)) {
			continue
		}
		p.changes = append(p.changes, changeOf(e))
		p.members += 1 + len(e.Added)
	}
}

// fresh reports whether the outcome is one that was not seen. One that is missing
// between the last and this one was lost with a part of the log.
func (p *passage) fresh(at chat.Position) bool {
	if !p.begun {
		p.begun = true
		return p.seen.New(at)
	}
	fresh, err := p.seen.Next(at)
	if err == nil {
		return fresh
	}
	// Conversations that the roster knows keep what they have until they change
	// again; an operator decides whether that is worth beginning anew.
	p.counts.gaps.Inc()
	p.cfg.Logger.Error("the accepted log has a gap: the roster may have missed changes",
		"partition", p.claim.Partition(), "error", err)
	return p.seen.New(at)
}

// knows reports whether a large conversation was mentioned lately.
func (p *passage) knows(c chat.ConversationID) bool {
	if _, ok := p.large[c]; ok {
		return true
	}
	if len(p.large) >= knownLarge {
		clear(p.large)
	}
	p.large[c] = struct{}{}
	return false
}

// changeOf is an event in the roster's words. Nothing in it is e's.
func changeOf(e *bus.Event) roster.Change {
	return roster.Change{
		Conversation: e.Conversation, Seq: e.Seq, At: chat.ClockOf(e.ID), What: e.Change,
		Type: e.Type, Creator: e.Sender, Added: slices.Clone(e.Added), Name: e.Name, User: e.User, Role: e.Role,
	}
}

// flush applies what was read, together with how far that is.
func (p *passage) flush(ctx context.Context) error {
	began := time.Now()
	for {
		err := p.repeat(ctx, "apply to the roster", func() error {
			return p.cfg.Roster.Apply(ctx, p.changes, p.progress())
		})
		if unknown, ok := errors.AsType[*roster.UnknownError](err); ok {
			if err := p.acquaint(ctx, unknown.Conversations); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	p.counts.batches.Inc()
	p.counts.changes.Add(len(p.changes))
	p.counts.seconds.UpdateDuration(began)
	clear(p.changes) // Lets go of members.
	p.changes, p.members, p.noted = p.changes[:0], 0, p.next
	return nil
}

func (p *passage) progress() roster.Progress {
	last := p.seen.Last()
	if last == (chat.Position{}) {
		last.Offset = -1 // Not even the first outcome was seen.
	}
	return roster.Progress{Generation: p.cfg.Generation, Partition: p.claim.Partition(), Next: p.next, Last: last.Offset}
}

// settle notes how far only messages came and commits what is noted.
func (p *passage) settle(ctx context.Context) error {
	p.settledAt = time.Now()
	if p.noted != p.next {
		p.oldest.Store(time.Now().UnixMilli())
		defer p.oldest.Store(0)
		err := p.repeat(ctx, "note the roster's progress", func() error {
			return p.cfg.Roster.Apply(ctx, nil, p.progress())
		})
		if err != nil {
			return err
		}
		p.noted = p.next
	}
	if p.committed == p.noted {
		return nil
	}
	if p.follower.Commit(ctx, p.claim, p.noted) {
		p.committed = p.noted
	}
	return nil
}
