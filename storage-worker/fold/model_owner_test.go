package fold

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
)

// owner is one claim of one partition: the real fold, and all that it sees of
// the world. Each call is a step, each row of a write and each append as well.
type owner struct {
	archive.Store // The methods that REST alone calls are not there.

	w      *world
	a      *actor // nil: a replay after the schedule, all in one step
	number int32
	ctx    context.Context
	cancel context.CancelFunc // the claim ends, and the owner hears of it
	expire context.CancelFunc // the read at hand has lasted long enough

	archive  *modelArchive
	inbound  *[]bus.Record
	accepted *[]acceptedRecord

	pending []pendingAppend // enqueued, not yet on the log
}

// acceptedRecord is one record of an accepted log.
type acceptedRecord struct {
	value []byte
	out   bus.Accepted
}

type pendingAppend struct {
	record acceptedRecord
	done   func(int64, error)
}

var errUnknown = errors.New("timed out: it may or may not have happened")

// newOwner returns an owner of a partition of the world as it is.
func (w *world) newOwner(p int32) *owner {
	o := &owner{w: w, number: p, archive: w.archive, inbound: &w.inbound[p], accepted: &w.accepted[p]}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

func (w *world) startOwner(p int32) {
	o := w.newOwner(p)
	o.a = w.start("fold", func(*actor) { o.run() })
	w.owners[p] = o
}

func (w *world) crashOwner(p int) {
	if o := w.owners[p]; !o.a.ended {
		w.kill(o.a)
	}
	w.startOwner(int32(p))
}

// run is the life of an owner.
func (o *owner) run() {
	f := &Fold{
		store: o, log: o, producer: o, generation: 1, partitions: int32(len(o.w.inbound)),
		logger: slog.New(slog.DiscardHandler), counts: o.w.counts, largeAbove: modelLargeAbove, cached: o.w.cached,
		faults: o.w.faults.fold,
		host: host{
			now:   func() time.Time { return time.Unix(0, 0).Add(time.Duration(o.w.steps) * 20 * time.Millisecond) },
			sleep: func(ctx context.Context, _ time.Duration) error { o.a.step(); o.deliver(); return ctx.Err() },
			await: o.await,
			within: func(ctx context.Context, _ time.Duration) (context.Context, context.CancelFunc) {
				ctx, o.expire = context.WithCancel(ctx)
				return ctx, o.expire
			},
			inline: true,
		},
	}
	defer func() { // A crash leaves what was sent on the wire.
		if len(o.pending) > 0 && o.w.chance(2) {
			var wire []func()
			for _, r := range o.pending {
				wire = append(wire, func() { o.append(r.record) })
			}
			o.w.wires = append(o.w.wires, wire)
		}
	}()
	if err := f.own(o.ctx, o); err != nil {
		o.w.fail("an owner of partition %d ends: %w", o.number, err)
	}
}

// call is a step that may fail in a way that says nothing.
func (o *owner) call() error {
	o.a.step()
	if o.a != nil && o.w.chance(50) {
		return errUnknown
	}
	return o.ctx.Err()
}

func (o *owner) Write(_ context.Context, b *archive.Batch) error {
	ops := o.archive.ops(b, func(r archive.Row) { o.w.fail("seq %d is given to a second event", r.Seq) })
	if o.a == nil {
		for _, apply := range ops {
			apply()
		}
		return nil
	}
	o.w.rng.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	fails := -1
	if o.w.chance(12) {
		fails = o.w.rng.IntN(len(ops) + 1)
	}
	defer func() {
		if o.w.chance(2) { // Whatever is left when the caller is gone may still arrive.
			o.w.rowsUnderWay = append(o.w.rowsUnderWay, ops...)
		}
	}()
	for len(ops) > 0 && len(ops) != fails {
		o.a.step()
		ops[0]()
		ops = ops[1:]
	}
	if len(ops) > 0 || fails == 0 {
		return errUnknown
	}
	return o.ctx.Err()
}

func (o *owner) Tip(_ context.Context, c chat.ConversationID, border chat.MessageID) (archive.Tip, error) {
	if err := o.call(); err != nil {
		return archive.Tip{}, err
	}
	return o.archive.tip(c, border), nil
}

func (o *owner) Info(_ context.Context, c chat.ConversationID) (archive.Info, error) {
	if err := o.call(); err != nil {
		return archive.Info{}, err
	}
	info, ok := o.archive.infos[c]
	if !ok {
		return archive.Info{}, archive.ErrNotFound
	}
	return info.Info, nil
}

func (o *owner) Spans(_ context.Context, c chat.ConversationID) ([]archive.Span, error) {
	if err := o.call(); err != nil {
		return nil, err
	}
	return o.archive.spansOf(c), nil
}

func (o *owner) SeenKeys(_ context.Context, keys []archive.Key) (seen []archive.Seen, err error) {
	if err := o.call(); err != nil {
		return nil, err
	}
	for k, v := range o.archive.seen {
		if slices.Contains(keys, k.Key) {
			seen = append(seen, v)
		}
	}
	slices.SortFunc(seen, func(a, b archive.Seen) int { return a.Position.Compare(b.Position) })
	return seen, nil
}

func (o *owner) Progress(context.Context, uint32, int32) (archive.Progress, error) {
	if err := o.call(); err != nil {
		return archive.Progress{}, err
	}
	return o.archive.progress[o.number], nil
}

func (o *owner) SetProgress(_ context.Context, p int32, at archive.Progress) error {
	if err := o.call(); err != nil {
		return err
	}
	if at.Position.Compare(o.archive.progress[p].Position) > 0 {
		o.archive.progress[p] = at
	}
	return nil
}

func (o *owner) Bounds(_ context.Context, topic string, _ int32) (int64, int64, error) {
	if err := o.call(); err != nil {
		return 0, 0, err
	}
	if topic == bus.AcceptedTopic(1) {
		return 0, int64(len(*o.accepted)), nil
	}
	return 0, int64(len(*o.inbound)), nil
}

func (o *owner) Last(context.Context, string, int32) (bus.Record, bool, error) {
	if err := o.call(); err != nil {
		return bus.Record{}, false, err
	}
	n := len(*o.accepted)
	if n == 0 {
		return bus.Record{}, false, nil
	}
	return bus.Record{Offset: int64(n - 1), Value: (*o.accepted)[n-1].value}, true, nil
}

func (o *owner) Open(_ string, _ int32, offset int64) bus.Reader { return &inboundReader{o, offset} }

// inboundReader reads as many records at a time as it likes.
type inboundReader struct {
	o  *owner
	at int64
}

func (r *inboundReader) Next(ctx context.Context) ([]bus.Record, error) {
	o := r.o
	left := func() int { return len(*o.inbound) - int(r.at) }
	if o.a == nil && left() == 0 {
		o.cancel() // A replay ends here.
	}
	for o.a != nil && ctx.Err() == nil {
		if left() == 0 && ctx != o.ctx {
			o.a.step() // A time-out of a read that must not last.
			o.expire()
			return nil, ctx.Err()
		}
		o.a.wait(func() bool { return left() > 0 || o.ctx.Err() != nil })
		if left() > 0 {
			break
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	n := 1 + o.w.rng.IntN(min(left(), 6))
	records := (*o.inbound)[r.at : r.at+int64(n)]
	r.at += int64(n)
	return records, nil
}

func (r *inboundReader) Close() {}

func (o *owner) Produce(m bus.Message, done func(int64, error)) error {
	if o.a != nil && o.w.chance(30) {
		return bus.ErrOverloaded
	}
	r := acceptedRecord{value: bytes.Clone(m.Value)}
	if err := bus.ParseAccepted(r.value, &r.out); err != nil {
		o.w.fail("an outcome cannot be read: %w", err)
	}
	if !bytes.Equal(m.Key, r.out.Conversation[:]) {
		o.w.fail("an outcome has the key %x", m.Key)
	}
	o.pending = append(o.pending, pendingAppend{r, done})
	return nil
}

// deliver appends the first of what was enqueued.
func (o *owner) deliver() {
	if len(o.pending) > 0 {
		r := o.pending[0]
		o.pending = o.pending[1:]
		at := o.append(r.record)
		o.a.step() // On the log, not yet acknowledged.
		r.done(at, nil)
	}
}

// await lets the producer work: some records each time, in order.
func (o *owner) await(ctx context.Context, done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return nil
		default:
		}
		o.a.step()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.deliver()
	}
}

// append puts an outcome on the log, whoever sent it.
func (o *owner) append(r acceptedRecord) int64 {
	if o.a != nil {
		o.w.checkAppend(o.number, r)
	}
	*o.accepted = append(*o.accepted, r)
	return int64(len(*o.accepted) - 1)
}

func (o *owner) Topic() string    { return bus.InboundTopic(1) }
func (o *owner) Partition() int32 { return o.number }

func (o *owner) Committed() int64 { return o.w.committed[o.number] }

func (o *owner) Commit(_ context.Context, offset int64) error {
	if o.a == nil {
		return nil
	}
	if err := o.call(); err != nil {
		return err
	}
	if o.w.owners[o.number] != o {
		return bus.ErrLostClaim
	}
	o.w.committed[o.number] = offset
	return nil
}

// replay folds the whole inbound log of a partition from the offset on, in one
// step, over an archive and the outcomes that came before. It returns the
// outcomes from there on.
func (w *world) replay(p int32, from int, m *modelArchive, outcomes []acceptedRecord) []acceptedRecord {
	accepted := slices.Clone(outcomes[:from])
	o := w.newOwner(p)
	o.archive, o.accepted = m, &accepted
	o.run()
	return accepted[from:]
}

// refold returns the archive that the inbound logs alone give.
func (w *world) refold() (*modelArchive, [][]acceptedRecord) {
	m := newModelArchive()
	m.replacesKeys = w.archive.replacesKeys
	var all [][]acceptedRecord
	for p := range w.inbound {
		all = append(all, w.replay(int32(p), 0, m, nil))
	}
	return m, all
}

func newModelCounts() counts { return newCounts(metrics.New()) }
