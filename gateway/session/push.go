package session

import (
	"sync/atomic"

	"switchboard/gateway/edge"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
)

// Batch is some frames on their way to the loops: each encoded once, in the
// order of the delivery topic. Every loop walks the whole batch and writes what
// is for its own sessions, so that all of a connection's frames come in order.
//
// A batch belongs to who fills it until [Keeper.Deliver], then to the loops
// until the last of them calls done, then to who filled it again.
type Batch struct {
	done func(*Batch)

	frames []byte // all frames, one after another
	items  []item

	parts []part       // for each loop
	left  atomic.Int32 // loops that have not finished
}

// item is one frame: an answer if number is set, else a push.
type item struct {
	from, to int // in frames
	class    bus.Class
	users    []chat.UserID
	except   uint64 // number of the session that gets an answer instead
	number   uint64
}

// keptBytes is how large a batch's memory may be to be used again.
const keptBytes = 1 << 20

// NewBatch returns an empty batch. done is called when all loops have finished
// with it, on one of them.
func NewBatch(done func(*Batch)) *Batch { return &Batch{done: done} }

// Push adds a payload for all sessions of some users but one. users must not
// change until the batch is done.
func (b *Batch) Push(class bus.Class, payload []byte, users []chat.UserID, except uint64) {
	b.add(payload, item{class: class, users: users, except: except})
}

// Answer adds a payload for one session.
func (b *Batch) Answer(number uint64, payload []byte) {
	if number != 0 {
		b.add(payload, item{number: number})
	}
}

func (b *Batch) add(payload []byte, it item) {
	it.from = len(b.frames)
	b.frames = edge.AppendText(b.frames, payload)
	it.to = len(b.frames)
	b.items = append(b.items, it)
}

// Len returns how many frames there are; Bytes, how many bytes.
func (b *Batch) Len() int { return len(b.items) }

// Bytes returns how many bytes the frames have.
func (b *Batch) Bytes() int { return len(b.frames) }

// Reset empties the batch for the next use.
func (b *Batch) Reset() {
	clear(b.items) // They hold on to records.
	b.items = b.items[:0]
	if cap(b.frames) > keptBytes {
		b.frames = nil
	}
	b.frames = b.frames[:0]
}

// Discard gives a batch back undelivered.
func (b *Batch) Discard() { b.done(b) }

// part is what one loop has of a batch. Parts are made once per batch, so that
// posting them allocates nothing.
type part struct {
	batch *Batch
	loop  *loop
}

// Deliver hands a batch to every loop. The batches of one goroutine are written in
// the order of its calls.
func (k *Keeper) Deliver(b *Batch) {
	if b.parts == nil {
		b.parts = make([]part, len(k.loops))
		for i, l := range k.loops {
			b.parts[i] = part{batch: b, loop: l}
		}
	}
	b.left.Store(int32(len(k.loops)))
	for i := range b.parts {
		k.sockets.Post(i, deliverPart, &b.parts[i])
	}
}

func deliverPart(arg any) {
	p := arg.(*part)
	p.loop.deliver(p.batch)
	if p.batch.left.Add(-1) == 0 {
		p.batch.done(p.batch)
	}
}

// deliver writes a batch's frames to the sessions of this loop that they are
// for.
func (l *loop) deliver(b *Batch) {
	for i := range b.items {
		it := &b.items[i]
		frame := b.frames[it.from:it.to]
		if it.number != 0 {
			l.answer(it.number, frame)
			continue
		}
		for _, u := range it.users {
			for next := l.first(u); next != 0; {
				slot := next - 1
				s := l.at(slot)
				next = s.next // Writing may end the session.
				l.push(l.conn(slot, s), s, it, frame)
			}
		}
	}
}

// answerReserve is the end of a full queue that pushes leave to answers, which
// cannot be dropped: a client that does not keep up with what others say, and says
// something itself, would otherwise be closed instead of told `behind`.
const answerReserve = 4 << 10

// crowded reports whether a push has to leave a queue's last room to answers. It
// speaks of queues at least half full only, for which Drained is certain.
func (k *Keeper) crowded(queued, size int) bool {
	return queued >= k.cfg.OutboundBytes/2 && queued+size > k.cfg.OutboundBytes-answerReserve
}

// push writes one frame to one session, unless it must not or cannot have it.
// What is dropped for a slow reader is made good by `behind`; what comes before
// `connected` is covered by the sync after it: see the package comment.
func (l *loop) push(c edge.Conn, s *state, it *item, frame []byte) {
	k := l.keeper
	queued := 0
	if s.stage == connected {
		queued = k.sockets.Queued(c)
	}
	switch {
	case s.stage != connected:
		k.count.skipped["not_connected"].Inc()
	case it.except != 0 && numberOf(c) == it.except:
	case s.is(slow):
		k.count.skipped["slow"].Inc()
	case it.class == bus.Signal && queued >= k.cfg.OutboundBytes/2:
		k.count.skipped["fleeting"].Inc()
	case !k.crowded(queued, len(frame)) && k.sockets.Write(c, frame):
		k.count.pushes.Inc()
	default:
		k.count.skipped["slow"].Inc()
		l.stall(s)
	}
}

// answer writes one frame to the session that waits for it. There must be room:
// an answer is never dropped.
func (l *loop) answer(number uint64, frame []byte) {
	c := connOf(number)
	if c.Loop != l.number {
		return
	}
	s := l.find(c)
	if s == nil || s.stage != connected {
		l.keeper.count.gone.Inc()
		return
	}
	l.keeper.count.answers.Inc()
	if !l.keeper.sockets.Write(c, frame) {
		l.close(c, s, chat.CloseSlowConsumer)
	}
}
