package fanout

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

const (
	// CommitEvery is the longest time for which finished work stays uncommitted.
	// A successor repeats that, and what came after the first thing that is not said
	// yet: with every road open two seconds of heads, or ten of notifications.
	CommitEvery = time.Second
	// lookAgain is how often a quiet partition looks whether a blocked road is
	// open again.
	lookAgain = StallAfter / 4
)

// passage is one claim at work: everything of one partition of an input, in order.
//
// One road that is blocked (a delivery topic without a leader, or deleted) must
// not keep the others waiting. So a batch waits for its acknowledgements until
// those that are missing are on blocked roads; the passage then goes on, leaves
// out what is for those, and remembers where it began to do so. Commits stay
// before that place. When it sees that such a road is open again it goes back to
// that place, without having written anything on the road in between, and repeats
// everything: the servers that have it drop it by its position, and the one that
// was cut off gets all of it in order. What is never picked up is forgotten when
// presence has named no route to that server for [presence.RouteTTL], and names none
// then when it is asked for those whom it named before: if the server comes
// back after that, it tells its clients to sync. What has no position, since it is
// not durable, is dropped by nobody: that is repeated on the roads alone that were
// cut off.
type passage struct {
	*Router
	in       *input
	claim    bus.Claim
	out      *sender
	herald   *herald      // nil where there are no heads
	finished atomic.Int64 // all below it is done with: what commits may say

	// Owned by run.
	next   int64 // the offset of the record to route next
	open   []*acks
	missed map[road]*miss
	routed int64          // the offset below which everything was written once, but for what was left out
	owed   map[road]int64 // where that begins, of roads that are open again, until next is at routed
}

// miss is what was left out on one blocked road.
type miss struct {
	from  int64                    // the offset to go back to, or nothing
	named time.Time                // when presence led there last
	whom  map[chat.UserID]struct{} // some of those whom it led there, UsersPerLookup at most
}

// overdue reports whether a server is to be given up.
func (m *miss) overdue(k road) bool {
	return k.topic != bus.TopicPush && time.Since(m.named) > presence.RouteTTL
}

// nothing was left out on a blocked road: what is under way is all.
const nothing = math.MaxInt64

func newPassage(r *Router, in *input, claim bus.Claim) *passage {
	p := &passage{
		Router: r, in: in, claim: claim, next: max(claim.Committed(), 0),
		missed: make(map[road]*miss), owed: make(map[road]int64),
	}
	p.routed = p.next
	p.finished.Store(p.next)
	p.out = &sender{
		Router: r, producer: in.producer, partition: claim.Partition(), sent: r.deliveries,
		missed: p.miss, owes: func(k road) bool { return p.missed[k] != nil },
	}
	if in.latest {
		p.out.has = p.has
	}
	if in.heads {
		p.herald = newHerald(r, claim.Partition())
	}
	return p
}

// run works until the claim ends.
func (p *passage) run(ctx context.Context) error {
	var commits sync.WaitGroup
	committing, stop := context.WithCancel(context.WithoutCancel(ctx))
	committed := p.finished.Load() // Before anything else is: the goroutine may begin late.
	commits.Go(func() { p.commit(committing, committed) })
	heralding, hush := context.WithCancel(ctx)
	var heralds sync.WaitGroup
	if p.herald != nil {
		heralds.Go(func() { p.herald.run(heralding) })
	}
	defer func() {
		hush()
		heralds.Wait()
		_, _ = p.settle() // The last commit is to know what arrived by now.
		stop()
		commits.Wait()
	}()
	for ctx.Err() == nil {
		err := p.follow(ctx)
		if errors.Is(err, bus.ErrOffsetOutOfRange) {
			err = p.jump(ctx)
		}
		switch {
		case errors.Is(err, bus.ErrClosed):
			<-ctx.Done() // the next owner repeats what was not acknowledged
		case err != nil:
			return quiet(ctx, err)
		}
	}
	return nil
}

// jump goes on at the start of a log that no longer holds what was to be routed
// next. Events are in the archive, and clients find them with /sync; statuses are in
// the archive too.
func (p *passage) jump(ctx context.Context) error {
	expected := p.next
	start, _, err := p.cfg.Log.Bounds(ctx, p.claim.Topic(), p.claim.Partition())
	if err != nil {
		return err
	}
	p.jumps.Inc()
	p.cfg.Logger.Error("the log jumped: what it held was not pushed", "topic", p.claim.Topic(),
		"partition", p.claim.Partition(), "expected", expected, "first", start)
	p.next, p.routed = start, start
	p.finished.Store(start)
	clear(p.missed) // What the log still holds of it comes again in any case.
	clear(p.owed)
	return nil
}

// commit notes how far the partition is finished beyond what is committed, once
// every CommitEvery and when ctx ends, which is when run does.
func (p *passage) commit(ctx context.Context, committed int64) {
	ticker := time.NewTicker(CommitEvery)
	defer ticker.Stop()
	for ending := false; !ending; {
		select {
		case <-ctx.Done():
			ending = true
		case <-ticker.C:
		}
		offset := p.finished.Load()
		if offset == committed {
			continue
		}
		// The last commit happens after the claim ended, while the group still
		// waits for this partition's handler.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*CommitEvery)
		err := p.claim.Commit(last, offset)
		cancel()
		if err == nil {
			committed = offset
		} else if !errors.Is(err, bus.ErrLostClaim) {
			p.cfg.Logger.Warn("commit failed; a successor would repeat more",
				"partition", p.claim.Partition(), "error", err)
		}
	}
}

// follow routes from next on until something stops it, or with no error until
// next went back.
func (p *passage) follow(ctx context.Context) error {
	reader := p.cfg.Log.Open(p.claim.Topic(), p.claim.Partition(), p.next)
	defer reader.Close()
	var seen bus.Deduper
	for {
		records, err := p.read(ctx, reader)
		if err != nil {
			return err
		}
		if len(records) > 0 {
			began := time.Now()
			p.in.wait.Update(max(began.Sub(time.UnixMilli(records[0].Millis)).Seconds(), 0))
			if err := p.deliver(ctx, records[0].Offset, p.matters(p.in, records, &seen)); err != nil {
				return err
			}
			p.in.batch.Update(float64(len(records)))
			p.in.seconds.UpdateDuration(began)
			p.advance(records[len(records)-1].Offset + 1)
		}
		if err := p.inquire(ctx); err != nil {
			return err
		}
		back, err := p.settle()
		if back {
			p.herald.rewind()
		}
		if back || err != nil {
			return err
		}
	}
}

// advance notes that everything below an offset was written.
func (p *passage) advance(next int64) {
	p.next = next
	if next >= p.routed {
		p.routed = next
		clear(p.owed)
	}
}

// goBack notes that a road is open again on which everything from an offset on was
// left out. What others were owed before they have got up to here.
func (p *passage) goBack(k road, from, here int64) {
	if p.next == here { // Else this is not the first one.
		for other, begins := range p.owed {
			p.owed[other] = max(begins, here)
		}
	}
	p.owed[k] = from
	p.next = min(p.next, from)
}

// has reports whether what comes from an offset was written on a road before this
// passage went back, or is left out for now.
func (p *passage) has(k road, offset int64) bool {
	begins, cut := p.owed[k]
	return offset < p.routed && (!cut || offset < begins)
}

// read waits for records; while a road is blocked or a head is not said, not for
// long, and then returns none.
func (p *passage) read(ctx context.Context, reader bus.Reader) ([]bus.Record, error) {
	if len(p.open) == 0 && len(p.missed) == 0 && !p.herald.busy() {
		return reader.Next(ctx)
	}
	wait, cancel := context.WithTimeout(ctx, lookAgain)
	defer cancel()
	records, err := reader.Next(wait)
	if err != nil && ctx.Err() == nil && errors.Is(err, wait.Err()) {
		return nil, nil
	}
	return records, err
}

// deliver looks up everybody whom the matters concern, writes what follows from
// the answer and waits until all of it is on the log, but on blocked roads.
func (p *passage) deliver(ctx context.Context, from int64, matters []matter) error {
	places, err := p.in.lookups.where(ctx, concerned(matters))
	if err != nil {
		return err
	}
	began := time.Now()
	acks := newAcks(p.roads, from)
	for _, m := range matters {
		if err := p.out.write(ctx, m.plan(p.claim.Partition(), places), acks); err != nil {
			return err
		}
	}
	p.open = append(p.open, acks)
	p.herald.note(from, matters)
	if err := acks.wait(ctx); err != nil {
		return err
	}
	p.in.writes.UpdateDuration(began)
	for _, k := range acks.left() {
		p.miss(k, nothing, nil)
	}
	return nil
}

// miss remembers that a road is blocked, from which offset on something was left
// out, and for whom.
func (p *passage) miss(k road, from int64, said []bus.Frame) {
	m := p.missed[k]
	if m == nil {
		m = &miss{from: from, named: time.Now(), whom: make(map[chat.UserID]struct{})}
		p.missed[k] = m
		p.cfg.Logger.Warn("a topic takes nothing; the others go on without it",
			"topic", k.topic, "partition", p.claim.Partition())
	}
	m.from = min(m.from, from)
	for i := range said {
		m.named = time.Now()
		for _, u := range said[i].Recipients {
			if len(m.whom) < UsersPerLookup {
				m.whom[u] = struct{}{}
			}
		}
	}
}

// inquire asks presence before a server is given up: it may have named no route there
// since nobody there had anything to hear.
func (p *passage) inquire(ctx context.Context) error {
	for k, m := range p.missed {
		if !m.overdue(k) || len(m.whom) == 0 {
			continue
		}
		places, err := p.in.lookups.where(ctx, slices.Collect(maps.Keys(m.whom)))
		if err != nil {
			return err
		}
		for u := range m.whom {
			leads := func(r presence.Route) bool { return bus.DeliveryTopic(r.Slot) == k.topic }
			if slices.ContainsFunc(places[u].Routes, leads) {
				m.named = time.Now()
			} else {
				delete(m.whom, u)
			}
		}
	}
	return nil
}

// settle lets go of what was acknowledged meanwhile and notes how far everything
// is finished. back says that a road is open again on which something was left
// out: next is then where that begins.
func (p *passage) settle() (back bool, err error) {
	before := p.next
	unsaid := p.takeOver()
	for k, m := range p.missed {
		switch {
		case !p.roads.blocked(k):
			delete(p.missed, k)
			if m.from != nothing {
				p.goBack(k, m.from, before)
			}
			p.cfg.Logger.Info("a topic takes records again", "topic", k.topic, "partition", p.claim.Partition())
		case m.overdue(k):
			delete(p.missed, k)
			p.forget(k)
		}
	}
	finished := min(p.next, unsaid)
	for _, m := range p.missed {
		finished = min(finished, m.from)
	}
	open := p.open[:0]
	for _, a := range p.open {
		settled, err := a.settled()
		if err != nil {
			return false, err
		}
		if !settled {
			open = append(open, a)
			finished = min(finished, a.from)
		}
	}
	clear(p.open[len(open):])
	p.open = open
	p.finished.Store(finished)
	return p.next < before, nil
}

// takeOver takes what the herald has written among what is open, and returns the
// offset from which on something is to be said yet.
func (p *passage) takeOver() (unsaid int64) {
	left, unsaid := p.herald.settle()
	for _, o := range left.missed {
		p.miss(o.road, o.from, o.said)
	}
	p.open = append(p.open, left.open...)
	for _, a := range p.open {
		for _, k := range a.left() {
			if p.missed[k] == nil && p.roads.blocked(k) {
				p.miss(k, nothing, nil)
			}
		}
	}
	return unsaid
}

// forget gives a server up.
func (p *passage) forget(k road) {
	for _, a := range p.open {
		a.forget(k)
	}
	p.forgotten.Inc()
	p.cfg.Logger.Error("a server is gone; what was for it is forgotten", "topic", k.topic, "partition", p.claim.Partition())
}
