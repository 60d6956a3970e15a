package session

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"switchboard/gateway/edge"
	"switchboard/gateway/gather"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// The limits of writing presence.
const (
	// registerQueue bounds the sessions that wait for the directory to
	// acknowledge them; above it newcomers are turned away.
	registerQueue = 1 << 16
	// repeatQueue is the length from which on sweeps wait for their turn, so
	// that newcomers do not wait behind a gateway's whole population.
	repeatQueue = 4096
	// gatherEvery is how long a session that is registered again waits for others to
	// share a round trip with: a round trip costs more than a session. Newcomers,
	// departures and who was lost with the lease do not wait for long, and take those along.
	gatherEvery = 500 * time.Millisecond
	// registerEvery is how long newcomers and departures wait for each other.
	registerEvery = 5 * time.Millisecond
	// presenceBatch bounds one round trip.
	presenceBatch = 512
	// presenceFirst and presenceLast bound the pause between tries.
	presenceFirst, presenceLast = 20 * time.Millisecond, time.Second
	// presenceGrace is how long the end of a gateway waits for the directory
	// to forget its sessions. Its lease ends anyway.
	presenceGrace = 5 * time.Second
	// presencePatience is how long the directory may take nothing before newcomers
	// are turned away: they would have no `connected` until it answers.
	presencePatience = 3 * time.Second
)

// kind is what a change does.
type kind uint8

const (
	register kind = iota // a new session: `connected` waits for it
	repeat               // a session that should be there
	remove               // a session that is gone
)

// change is one change of presence that waits.
type change struct {
	conn   edge.Conn
	kind   kind
	calm   bool // with repeat: it waits for others, see gatherEvery
	user   chat.UserID
	ended  uint32 // with remove: when, in seconds since the keeper's start
	device string
	id     string // of the connect frame, echoed in `connected`
}

// registrar is the one writer of this gateway's presence: one batch at a time,
// in order, each repeated until it is acknowledged, so that a session's removal
// never overtakes its registration. What gathers during a round trip, and during
// registerEvery, is the next batch.
type registrar struct {
	keeper *Keeper
	wake   chan struct{}

	gather  gather.Interval
	changes []presence.Change // run's, of the batch being written
	acks    sync.Pool         // of *acks

	mu      sync.Mutex
	queue   []change
	spare   []change  // an empty one, when there is one
	taken   int       // of the batch being written
	waiting int       // registrations among both
	serial  uint32    // of the newest session
	failing time.Time // since when the directory has not taken a batch; zero while it does
}

func newRegistrar(k *Keeper) *registrar {
	return &registrar{keeper: k, gather: gather.Interval{Every: registerEvery}, wake: make(chan struct{}, 1)}
}

// enlist queues the registration of a new session and returns its serial. Both are
// one step, so that the directory, which is told in this order, and the serials agree
// on which session of a user is older. ok is false when too many wait.
func (r *registrar) enlist(c change) (serial uint32, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.queued(c) {
		return 0, false
	}
	r.serial++
	return r.serial, true
}

// add queues a change and reports whether it did. Removals are always taken:
// there is at most one for each registration.
func (r *registrar) add(c change) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queued(c)
}

// queued is add for who has the lock.
func (r *registrar) queued(c change) bool {
	switch c.kind {
	case register:
		if r.waiting >= registerQueue {
			return false
		}
		r.waiting++
	case repeat:
		if len(r.queue)+r.taken >= repeatQueue {
			return false
		}
	case remove:
	}
	r.queue = append(r.queue, c)
	if c.calm && len(r.queue) < presenceBatch {
		return true
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return true
}

// state reports whether a newcomer would be turned away for the queue, and whether the
// directory has taken nothing for presencePatience.
func (r *registrar) state() (full, silent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting >= registerQueue, !r.failing.IsZero() && time.Since(r.failing) >= presencePatience
}

// failed notes that the directory has not taken a batch since then, when it was asked
// to.
func (r *registrar) failed(since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failing.IsZero() {
		r.failing = since
	}
}

func (r *registrar) length() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue) + r.taken
}

// run writes until ctx ends, then what is left for presenceGrace.
func (r *registrar) run(ctx context.Context) {
	gathered := time.NewTicker(gatherEvery)
	defer gathered.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-r.wake:
			r.flush(ctx)
		case <-gathered.C:
			r.flush(ctx)
		}
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), presenceGrace)
	defer cancel()
	r.flush(grace)
	if left := r.length(); left > 0 {
		r.keeper.cfg.Logger.Warn("presence was not told of all departures", "left", left)
	}
}

// flush writes until nothing waits or ctx ends.
func (r *registrar) flush(ctx context.Context) {
	for ctx.Err() == nil {
		if n := r.length(); n > 0 && n < presenceBatch {
			r.gather.Wait(ctx)
			if ctx.Err() != nil {
				return
			}
		}
		batch := r.take()
		if len(batch) == 0 {
			return
		}
		if !r.write(ctx, batch) {
			r.putBack(batch)
			return
		}
	}
}

// take moves the oldest changes out of the queue.
func (r *registrar) take() (batch []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.queue), presenceBatch)
	if n == 0 {
		return nil
	}
	if n == len(r.queue) {
		batch, r.queue, r.spare = r.queue, r.spare, nil
	} else {
		batch = append(batch, r.queue[:n]...)
		r.queue = r.queue[n:]
	}
	r.taken = n
	return batch
}

// putBack is for a batch that the end of ctx left unwritten.
func (r *registrar) putBack(batch []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(batch, r.queue...)
	r.taken = 0
}

// done accounts for an acknowledged batch.
func (r *registrar) done(batch []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken, r.failing = 0, time.Time{}
	for i := range batch {
		if batch[i].kind == register {
			r.waiting--
		}
	}
}

// reuse takes the memory of a written batch for a later one, since everybody is
// registered again every SweepEvery. A burst's memory is not kept.
func (r *registrar) reuse(batch []change) {
	clear(batch)
	clear(r.changes)
	r.mu.Lock()
	defer r.mu.Unlock()
	if cap(batch) <= presenceBatch {
		r.spare = batch[:0]
	}
}

// write carries a batch out, however often it takes; false says that ctx ended.
func (r *registrar) write(ctx context.Context, batch []change) bool {
	k := r.keeper
	r.changes = r.changes[:0]
	for _, c := range batch {
		next := presence.Change{User: c.user, Remove: c.kind == remove, Begins: c.kind == register, Route: presence.Route{
			Slot: k.cfg.Server, Boot: k.cfg.Boot, Session: numberOf(c.conn), Device: c.device,
		}}
		if c.kind == remove {
			next.Ended = k.started.Add(time.Duration(c.ended) * time.Second)
		}
		r.changes = append(r.changes, next)
	}
	pause := presenceFirst
	for try := 1; ; try++ {
		begun := time.Now()
		applied, err := k.cfg.Directory.Apply(ctx, r.changes)
		if err == nil {
			k.count.written.Add(len(batch))
			r.done(batch)
			r.acknowledge(batch, applied, try > 1)
			r.hint(batch, try > 1)
			r.reuse(batch)
			return true
		}
		k.count.retries.Inc()
		r.failed(begun)
		if try == 1 {
			k.cfg.Logger.Warn("presence does not answer, will try until it does", "changes", len(batch), "error", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause/2 + rand.N(pause/2)):
			pause = min(2*pause, presenceLast)
		}
	}
}

// hint says who came and who is gone, now that whoever is told and asks the
// directory finds it so. A sweep says nothing: nothing has changed. After a second try
// it does: the first one may have put back what was lost, and nobody heard of it.
func (r *registrar) hint(batch []change, retried bool) {
	for i := range batch {
		switch batch[i].kind {
		case register:
			r.keeper.cfg.Uplink.Presence(batch[i].user, chat.Online)
		case remove:
			r.keeper.cfg.Uplink.Presence(batch[i].user, chat.Offline)
		case repeat:
			if retried {
				r.keeper.cfg.Uplink.Presence(batch[i].user, chat.Online)
			}
		}
	}
}

// acks is what the directory acknowledged for one loop, on its way there, and then
// lent again.
type acks struct {
	loop  *loop
	items []ack
}

type ack struct {
	conn  edge.Conn
	kind  kind
	fresh bool // it was not there before, or that is unknown
	id    string
}

// acknowledge tells the loops. After a second try nobody knows what the first
// one had found, so every repeated registration counts as lost.
func (r *registrar) acknowledge(batch []change, applied []presence.Applied, retried bool) {
	for number, l := range r.keeper.loops {
		a, _ := r.acks.Get().(*acks)
		if a == nil {
			a = new(acks)
		}
		a.loop = l
		for i := range batch {
			c := &batch[i]
			if c.kind == remove || int(c.conn.Loop) != number {
				continue
			}
			fresh := retried || applied[i].Fresh
			a.items = append(a.items, ack{conn: c.conn, kind: c.kind, fresh: fresh, id: c.id})
			if applied[i].Company || c.kind == repeat && fresh {
				r.keeper.rivals.suspect(c.user)
			}
		}
		if len(a.items) > 0 {
			r.keeper.sockets.Post(number, acknowledged, a)
		} else {
			r.acks.Put(a)
		}
	}
}

// acknowledged brings acknowledgements to their sessions.
func acknowledged(arg any) {
	a := arg.(*acks)
	for i := range a.items {
		item := &a.items[i]
		s := a.loop.find(item.conn)
		switch {
		case s == nil:
		case item.kind == register && s.stage == registering:
			a.loop.welcome(item.conn, s, item.id)
		case item.kind == repeat:
			a.loop.repeated(item.conn, s, item.fresh)
		}
	}
	clear(a.items)
	a.items = a.items[:0]
	a.loop.keeper.registrar.acks.Put(a)
}

// repeated ends a sweep of one session: if the directory had lost it, routers
// missed it until now.
func (l *loop) repeated(c edge.Conn, s *state, fresh bool) {
	tell := fresh || s.is(announce)
	if s.is(announce) {
		// Whoever looked while the lease had lapsed did not count this session.
		l.keeper.rivals.suspect(s.user)
	}
	if s.is(announce) && !fresh {
		// The lease had lapsed, so others may have been told that the user is gone.
		// Where everything was lost nobody was; after a second try it has been said.
		l.keeper.cfg.Uplink.Presence(s.user, chat.Online)
	}
	s.unset(repeating | announce)
	if fresh {
		l.keeper.count.missing.Inc()
	}
	if tell && s.stage == connected {
		l.behind(c, s, "routing", rand.N(behindSpread))
	}
}
