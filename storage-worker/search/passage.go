package search

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/follower"
)

// passage is one claim at work: everything of one accepted partition, in order.
// It is owned by the goroutine that runs it.
type passage struct {
	*Indexer
	claim bus.Claim
	// oldest is when the oldest outcome that waits to be in the index was said, in
	// Unix milliseconds; 0 when none waits. The gauge of the lag reads it.
	oldest *atomic.Int64

	next      int64 // offset of the record to read next
	seen      bus.Deduper
	noted     int64 // next, as the index has it
	committed int64 // next, as the group has it
	settledAt time.Time

	entries []chat.Entry // read, and not in the index
	reached map[chat.ConversationID]chat.Seq
	outcome bus.Accepted
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

// start asks the index where to go on. It has never heard of the partition when it is
// new, whatever the group has committed.
func (p *passage) start(ctx context.Context) error {
	var at Progress
	known := false
	err := p.ask(ctx, "read the index's progress", func() (err error) {
		at, known, err = p.cfg.Store.Progress(ctx, p.cfg.Generation, p.claim.Partition())
		return err
	})
	if err != nil {
		return err
	}
	p.committed, p.settledAt = p.claim.Committed(), time.Now()
	if known {
		p.next, p.noted = at.Next, at.Next
		if at.Last >= 0 {
			p.seen = bus.After(chat.Position{Generation: p.cfg.Generation, Offset: at.Last})
		}
		return nil
	}
	p.next, err = p.follower.First(ctx, p.cfg.Log, p.claim)
	p.noted = p.next
	return err
}

// jump goes on at the beginning of a log that does not hold what comes next. What
// conversations lack is seen by their seqs, when something is said in them.
func (p *passage) jump(ctx context.Context) error {
	expected := p.next
	start, err := p.follower.First(ctx, p.cfg.Log, p.claim)
	if err != nil {
		return err
	}
	p.cfg.Logger.Error("the accepted log does not hold what the search index needs next",
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
			if len(p.entries) < batchDocuments {
				continue
			}
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
		if p.next != p.noted {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
		p.oldest.Store(0)
		if time.Since(p.settledAt) >= settleEvery {
			p.settle(ctx)
		}
		if err := p.gather(ctx, records); err != nil {
			return err
		}
	}
}

// gather lets more come before the next batch, if what was read is fresh: a batch costs a
// commit, however little is in it. Who is behind does not wait.
func (p *passage) gather(ctx context.Context, read []bus.Record) error {
	if len(read) == 0 || time.Since(time.UnixMilli(read[len(read)-1].Millis)) > fresh {
		return nil
	}
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// read waits for records, but not beyond the time at which to commit, if there is
// something to; it then returns none.
func (p *passage) read(ctx context.Context, reader bus.Reader) ([]bus.Record, error) {
	var wait time.Duration
	if p.noted != p.committed {
		wait = settleEvery
	}
	return follower.Next(ctx, reader, wait)
}

// take keeps what one record says of conversations.
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
	if !p.seen.New(a.Position) || a.Outcome != bus.Stored {
		return
	}
	if len(p.entries) == 0 {
		p.oldest.Store(record.Millis)
	}
	for i := range a.Events {
		p.entries = append(p.entries, a.Events[i].Entry)
	}
}

// flush brings what was read into the index, together with how far that is.
func (p *passage) flush(ctx context.Context) error {
	began := time.Now()
	if err := p.learn(ctx); err != nil {
		return err
	}
	b := Batch{Reached: make(map[chat.ConversationID]chat.Seq), Progress: p.progress()}
	for i := range p.entries {
		e := &p.entries[i]
		c := e.Conversation
		if have := p.reached[c]; e.Seq > have+1 {
			if err := p.recall(ctx, c, have+1, e.Seq-1); err != nil {
				return err
			}
		}
		if d, ok := NewDocument(e); ok {
			b.Documents = append(b.Documents, d)
		}
		p.reached[c] = max(p.reached[c], e.Seq)
		b.Reached[c] = p.reached[c]
	}
	if err := p.apply(ctx, &b); err != nil {
		return err
	}
	p.counts.documents.Add(len(b.Documents))
	p.counts.seconds.UpdateDuration(began)
	clear(p.entries) // Lets go of contents.
	p.entries, p.noted = p.entries[:0], p.next
	return nil
}

func (p *passage) apply(ctx context.Context, b *Batch) error {
	p.counts.batches.Inc()
	return p.ask(ctx, "write the index", func() error { return p.cfg.Store.Apply(ctx, b) })
}

// ask asks the store until it answers, the index is gone or ctx ends.
func (p *passage) ask(ctx context.Context, what string, try func() error) error {
	var gone error
	err := p.follower.Repeat(ctx, what, func() error {
		err := try()
		if errors.Is(err, ErrGone) {
			gone, err = fmt.Errorf("%s: %w", what, err), nil // Trying again does not help.
		}
		return err
	})
	if err != nil {
		return err
	}
	return gone
}

// learn asks how far the conversations are that are not known yet.
func (p *passage) learn(ctx context.Context) error {
	if len(p.reached) > knownConversations {
		clear(p.reached)
	}
	var unknown []chat.ConversationID
	for i := range p.entries {
		c := p.entries[i].Conversation
		if _, known := p.reached[c]; !known {
			p.reached[c] = 0
			unknown = append(unknown, c)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return p.ask(ctx, "read how far conversations are in the index", func() error {
		reached, err := p.cfg.Store.Reached(ctx, unknown)
		maps.Copy(p.reached, reached)
		return err
	})
}

// recall brings what a conversation lacks into the index, from the archive: all of
// it was durable before what comes next was told.
func (p *passage) recall(ctx context.Context, c chat.ConversationID, from, to chat.Seq) error {
	for from <= to {
		b := Batch{Reached: make(map[chat.ConversationID]chat.Seq)}
		last := to
		err := p.follower.Repeat(ctx, "read a conversation from the archive", func() error {
			rows, err := p.cfg.Archive.Entries(ctx, c, from, to, batchDocuments, false)
			if err != nil {
				return err
			}
			if len(rows) == batchDocuments {
				last = rows[len(rows)-1].Seq
			}
			for i := range rows {
				if d, ok := NewDocument(&rows[i].Entry); ok {
					b.Documents = append(b.Documents, d)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		b.Reached[c] = last
		if err := p.apply(ctx, &b); err != nil {
			return err
		}
		p.counts.recalled.Add(len(b.Documents))
		p.reached[c], from = last, last+1
	}
	return nil
}

func (p *passage) progress() Progress {
	last := p.seen.Last()
	if last == (chat.Position{}) {
		last.Offset = -1 // Not even the first outcome was seen.
	}
	return Progress{Generation: p.cfg.Generation, Partition: p.claim.Partition(), Next: p.next, Last: last.Offset}
}

// settle commits what is in the index, for the lag that Kafka shows.
func (p *passage) settle(ctx context.Context) {
	p.settledAt = time.Now()
	if p.committed == p.noted {
		return
	}
	if p.follower.Commit(ctx, p.claim, p.noted) {
		p.committed = p.noted
	}
}
