package fold

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// partition is one claim at work: the driver around a [decider]. Its effects on
// the world are Store.Write, Producer.Produce, Store.SetProgress and
// Claim.Commit, in this order for each batch, and nothing else; the last two may
// be under way while the next batches are. It is owned by the goroutine that runs
// it.
type partition struct {
	// Fixed after construction.
	fold     *Fold
	claim    bus.Claim
	number   int32
	inbound  string
	accepted string

	decider *decider
	next    int64 // offset of the next record to decide

	// Reused from batch to batch.
	requests []request
	outcomes []bus.Accepted
	encoded  []byte

	noted   int64 // next, when progress was last noted
	notedAt time.Time
	noting  *noting // nil: none is under way
	notes   sync.WaitGroup
}

func newPartition(f *Fold, claim bus.Claim) *partition {
	return &partition{
		fold:     f,
		claim:    claim,
		number:   claim.Partition(),
		inbound:  bus.InboundTopic(f.generation),
		accepted: bus.AcceptedTopic(f.generation),
		decider: &decider{
			generation: f.generation,
			partition:  claim.Partition(),
			partitions: f.partitions,
			largeAbove: f.largeAbove,
			faults:     f.faults,
			known:      newCache(f.cached),
			seen:       make(map[archive.Key]archive.Seen),
		},
	}
}

// run works the partition off until ctx ends or something fails that no waiting
// heals.
func (p *partition) run(ctx context.Context) error {
	if err := p.start(ctx); err != nil {
		return err
	}
	reader := p.fold.log.Open(p.inbound, p.number, p.next)
	defer reader.Close()
	beside, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		p.notes.Wait()
	}()
	for {
		records, err := p.read(ctx, reader)
		if err != nil {
			return err
		}
		for len(records) > 0 {
			n := min(len(records), batchRecords)
			if err := p.work(ctx, records[:n]); err != nil {
				return err
			}
			records = records[n:]
		}
		if err := p.noteBeside(beside); err != nil {
			return err
		}
	}
}

// read waits for the next records, but not beyond the time at which progress is
// due: of a partition that falls idle, the last position must be noted before
// its records expire. It then returns none.
func (p *partition) read(ctx context.Context, reader bus.Reader) ([]bus.Record, error) {
	wait := ctx
	if p.noted != p.next {
		var cancel context.CancelFunc
		wait, cancel = p.fold.host.within(ctx, noteEvery)
		defer cancel()
	}
	records, err := reader.Next(wait)
	switch {
	case err == nil:
	case ctx.Err() == nil && wait.Err() != nil:
		return nil, nil
	case errors.Is(err, bus.ErrOffsetOutOfRange):
		return nil, fmt.Errorf("%w: read %s at offset %d: %w", bus.ErrUnsafe, p.inbound, p.next, err)
	default:
		return nil, fmt.Errorf("read %s: %w", p.inbound, err)
	}
	for len(records) > 0 && records[0].Offset < p.next {
		records = records[1:]
	}
	for i := range records {
		if want := p.next + int64(i); records[i].Offset != want {
			return nil, fmt.Errorf("%w: %s has offset %d where %d belongs", bus.ErrUnsafe, p.inbound, records[i].Offset, want)
		}
	}
	return records, nil
}

// work carries one batch through: decide, save, answer. A batch is begun only
// when all of the former is acknowledged, so what a successor finds half done is
// never more than one.
func (p *partition) work(ctx context.Context, records []bus.Record) error {
	counts, now := &p.fold.counts, p.fold.host.now
	begun := now()
	counts.waits.Update(max(begun.Sub(time.UnixMilli(records[0].Millis)).Seconds(), 0))
	p.parse(records)
	p.decider.begin()
	if err := p.load(ctx); err != nil {
		return err
	}
	loaded := now()
	counts.reads.Update(loaded.Sub(begun).Seconds())
	for i := range p.requests {
		p.decider.decide(&p.requests[i], &p.outcomes[i])
		counts.outcomes[p.outcomes[i].Outcome].Inc()
	}
	batch := p.decider.finish(len(records))
	counts.decides.Update(now().Sub(loaded).Seconds())
	counts.batches.Update(float64(len(records)))
	p.next = records[len(records)-1].Offset + 1

	if p.fold.faults.appendBeforeWrite {
		if err := p.answer(ctx); err != nil {
			return err
		}
		return p.save(ctx, batch)
	}
	if err := p.save(ctx, batch); err != nil {
		return err
	}
	if p.fold.faults.noteBeforeAppend {
		if err := p.note(ctx); err != nil {
			return err
		}
	}
	return p.answer(ctx)
}

// parse reads the records into p.requests. A record that is none is refused like
// any other, in its place.
func (p *partition) parse(records []bus.Record) {
	for len(p.requests) < len(records) {
		p.requests = append(p.requests, request{})
		p.outcomes = append(p.outcomes, bus.Accepted{})
	}
	p.requests, p.outcomes = p.requests[:len(records)], p.outcomes[:len(records)]
	for i := range records {
		r := &p.requests[i]
		*r = request{offset: records[i].Offset, millis: records[i].Millis}
		if err := bus.ParseInbound(records[i].Value, &r.in); err != nil {
			r.in, r.malformed = bus.Inbound{}, true
			if len(records[i].Key) == len(r.in.Conversation) {
				r.in.Conversation = chat.ConversationID(records[i].Key)
			}
			continue
		}
		if _, ok := r.key(); ok {
			r.digest = bus.DigestOf(&r.in)
		}
	}
}

// load reads what the batch needs to know of the archive: the conversations that
// the cache does not have and the keys, all as of before the batch.
func (p *partition) load(ctx context.Context) error {
	d := p.decider
	var cold []*conversation
	var keys []archive.Key
	asked := make(map[archive.Key]bool)
	for i := range p.requests {
		r := &p.requests[i]
		if !d.placed(r) {
			continue
		}
		if key, ok := r.key(); ok && !asked[key] {
			asked[key] = true
			keys = append(keys, key)
		}
		if d.known.get(r.in.Conversation) == nil {
			c := &conversation{id: r.in.Conversation}
			d.known.put(c)
			cold = append(cold, c)
		}
	}
	if err := p.loadKeys(ctx, keys); err != nil {
		return err
	}
	return p.loadConversations(ctx, cold)
}

// loadKeys asks for the keys. Of each the newest row counts that lies before the
// batch; one inside it is a predecessor's unfinished work, and is done again.
func (p *partition) loadKeys(ctx context.Context, keys []archive.Key) error {
	if len(keys) == 0 {
		return nil
	}
	var rows []archive.Seen
	err := p.fold.repeat(ctx, "look up keys", func() (err error) {
		rows, err = p.fold.store.SeenKeys(ctx, keys)
		return err
	})
	d, first := p.decider, chat.Position{Generation: p.fold.generation, Offset: p.requests[0].offset}
	for _, row := range rows {
		if row.Position.Compare(first) >= 0 && !p.fold.faults.keyIgnoresPosition {
			continue
		}
		if known, ok := d.seen[row.Key]; !ok || known.Position.Compare(row.Position) < 0 {
			d.seen[row.Key] = row
		}
	}
	return err
}

// loadConversations reads cold conversations, several at a time.
func (p *partition) loadConversations(ctx context.Context, cold []*conversation) error {
	p.fold.counts.cold.Add(len(cold))
	if p.fold.host.inline || len(cold) == 1 {
		for _, c := range cold {
			if err := p.recall(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
	var readers sync.WaitGroup
	errs := make([]error, len(cold))
	for i, c := range cold {
		p.fold.reads <- struct{}{}
		readers.Go(func() {
			defer func() { <-p.fold.reads }()
			errs[i] = p.recall(ctx, c)
		})
	}
	readers.Wait()
	return errors.Join(errs...)
}

// recall fills c with what the archive knew before the batch: no id of the batch
// or of what follows is below the border, and all that came before is.
func (p *partition) recall(ctx context.Context, c *conversation) error {
	border := chat.FirstMessageID(p.decider.clock + 1)
	if p.fold.faults.headIsTruth {
		border = chat.MessageID{}
	}
	return p.fold.repeat(ctx, "read a conversation", func() error {
		tip, err := p.fold.store.Tip(ctx, c.id, border)
		if err != nil || tip.Seq == 0 {
			return err
		}
		info, err := p.fold.store.Info(ctx, c.id)
		if err != nil {
			return err
		}
		spans, err := p.fold.store.Spans(ctx, c.id)
		if err != nil {
			return err
		}
		c.remember(tip, info.Type, spans, p.fold.faults)
		return nil
	})
}

// save writes the batch until the archive has acknowledged all of it. The ends of
// memberships go first: a reader who finds a row that came after a removal must
// find the removal as well, whatever else is not there yet.
func (p *partition) save(ctx context.Context, b *archive.Batch) error {
	p.decider.known.trim()
	if len(b.Rows) == 0 {
		return nil
	}
	begun := p.fold.host.now()
	if ends, some := endings(b); some && !p.fold.faults.rowsBeforeEndings {
		if err := p.write(ctx, ends); err != nil {
			return err
		}
	}
	err := p.write(ctx, b)
	p.fold.counts.writes.Update(p.fold.host.now().Sub(begun).Seconds())
	return err
}

func (p *partition) write(ctx context.Context, b *archive.Batch) error {
	return p.fold.repeat(ctx, "write a batch", func() error {
		err := p.fold.store.Write(ctx, b)
		if p.fold.faults.unknownMeansDone {
			return nil
		}
		return err
	})
}

// endings returns what of the batch ends memberships, if anything does.
func endings(b *archive.Batch) (ends *archive.Batch, some bool) {
	for i := range b.Stays {
		if b.Stays[i].Left == 0 {
			continue
		}
		if ends == nil {
			ends = &archive.Batch{Opened: b.Opened, Closed: b.Closed}
		}
		ends.Stays = append(ends.Stays, b.Stays[i])
	}
	return ends, ends != nil
}

// answer appends the outcomes, in order, and waits until all are acknowledged.
func (p *partition) answer(ctx context.Context) error {
	begun := p.fold.host.now()
	acks := newAcks(len(p.outcomes))
	p.encoded = p.encoded[:0]
	for i := range p.outcomes {
		out := &p.outcomes[i]
		from := len(p.encoded)
		p.encoded = out.Append(p.encoded)
		m := bus.Message{
			Topic: p.accepted, Partition: p.number,
			Key:   out.Conversation[:],
			Value: p.encoded[from:len(p.encoded):len(p.encoded)],
		}
		if err := p.enqueue(ctx, m, acks.settle); err != nil {
			return err
		}
	}
	if err := p.fold.host.await(ctx, acks.done); err != nil {
		return fmt.Errorf("append to %s: %w", p.accepted, err)
	}
	p.fold.counts.appends.Update(p.fold.host.now().Sub(begun).Seconds())
	if err := acks.failed.Load(); err != nil {
		// Unknown, and so are those after it: only the next owner can tell.
		return fmt.Errorf("append to %s: %w", p.accepted, *err)
	}
	return nil
}

// enqueue hands m to the producer, waiting while that has too much pending.
func (p *partition) enqueue(ctx context.Context, m bus.Message, done func(int64, error)) error {
	for {
		err := p.fold.producer.Produce(m, done)
		if err == nil {
			return nil
		}
		if !errors.Is(err, bus.ErrOverloaded) {
			return fmt.Errorf("append to %s: %w", p.accepted, err)
		}
		if err := p.fold.host.sleep(ctx, overloadPause); err != nil {
			return fmt.Errorf("append to %s: %w", p.accepted, err)
		}
	}
}

// acks waits for the acknowledgements of a batch.
type acks struct {
	left   atomic.Int64
	failed atomic.Pointer[error]
	done   chan struct{} // closed when all have come
}

func newAcks(n int) *acks {
	a := &acks{done: make(chan struct{})}
	a.left.Store(int64(n))
	return a
}

func (a *acks) settle(_ int64, err error) {
	if err != nil {
		a.failed.CompareAndSwap(nil, &err)
	}
	if a.left.Add(-1) == 0 {
		close(a.done)
	}
}
