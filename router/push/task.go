package push

import (
	"context"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// task is what is to be said of a conversation to a person. Each device goes its own
// way: one that fails is tried again, and the others hear what is new meanwhile.
type task struct {
	key    devices.Key
	newest bus.Push
	millis int64     // when that was said
	first  int64     // the oldest record that is not done with
	fresh  int64     // the oldest record that is still gathered, -1 = none
	ripe   time.Time // when that is over
	told   map[string]*telling
	waits  []*gate // those with it in their line
	done   bool
}

// telling is how far one device is with a task. While it is busy from is not −1.
type telling struct {
	said   chat.Seq // the device has that, or it is on chat.undelivered
	from   int64    // the oldest record that the device does not have, -1 = none
	busy   bool     // an errand is under way
	saying chat.Seq // by that errand
	since  int64    // the oldest record that is newer than that errand, -1 = none
	tries  int
	due    time.Time // not before
}

// report is what became of an errand.
type report struct {
	task    *task
	to      devices.Registration
	places  []place // where it had room
	verdict Verdict
	later   bool
	after   time.Duration
}

// hear adds news that was gathered.
func (d *telling) hear(fresh int64) {
	switch {
	case fresh < 0:
	case d.busy:
		if d.since < 0 {
			d.since = fresh
		}
	case d.from < 0:
		d.from = fresh
	}
}

// drop forgets the devices that are not to be told, but for those to which an errand
// is under way.
func (t *task) drop(keep map[string]bool) {
	for device, d := range t.told {
		if !keep[device] && !d.busy {
			delete(t.told, device)
		}
	}
}

// look gives the news to the devices that are to hear of a task, and begins an
// errand for each that is due and for which there is room.
func (p *passage) look(ctx context.Context, t *task, registrations []devices.Registration) {
	now, fresh := time.Now(), int64(-1)
	if t.fresh >= 0 && !now.Before(t.ripe) {
		fresh, t.fresh = t.fresh, -1
	}
	if fresh >= 0 && len(registrations) == 0 {
		p.noDevices.Inc()
	}
	keep := make(map[string]bool)
	for i := range registrations {
		r := &registrations[i]
		d, carrier := t.told[r.Device], p.carrier(r.Kind)
		switch {
		case carrier == nil || d == nil && fresh < 0:
			continue
		case r.Silences(t.key.Conversation):
			p.muted.Inc()
			continue
		case d == nil:
			d = &telling{from: -1, since: -1}
			t.told[r.Device] = d
		}
		keep[r.Device] = true
		d.hear(fresh)
		if !d.busy && d.said >= t.newest.Seq {
			d.from = -1
		}
		if !d.busy && d.from >= 0 && !now.Before(d.due) {
			p.try(ctx, carrier, t, d, r)
		}
	}
	t.drop(keep)
}

// try begins an errand, or has the task wait for room.
func (p *passage) try(ctx context.Context, by Carrier, t *task, d *telling, to *devices.Registration) {
	places := placesOf(to)
	if !p.gates.enter(t, places) {
		return
	}
	d.busy, d.saying, d.since = true, t.newest.Seq, -1
	p.underWay++
	e := errand{
		by: by, to: *to, push: t.newest, millis: t.millis, tries: d.tries + 1, refusals: p.refusals.of(to),
	}
	go func() {
		r := p.carry(ctx, &e)
		r.task, r.to, r.places = t, e.to, places
		p.reports <- r
	}()
}

// note takes a report.
func (p *passage) note(r report) {
	p.underWay--
	p.gates.leave(r.places)
	p.refusals.note(&r.to, r.verdict)
	t := r.task
	d := t.told[r.to.Device]
	d.busy = false
	switch {
	case r.later:
		d.tries++
		d.due = time.Now().Add(r.after)
	case r.verdict == Gone:
		// Its address is. Under another one it may have registered meanwhile and still has
		// to hear this; if it is not there any more, the next look finds that.
		d.tries, d.due = 0, time.Time{}
	default:
		d.said, d.from, d.tries, d.due = d.saying, d.since, 0, time.Time{}
	}
	d.since = -1
	if d.from >= 0 {
		p.queue.add(t, d.due)
	}
	p.settle(t)
}

// settle notes which record of a task is the oldest that is not done with, or that
// all are.
func (p *passage) settle(t *task) {
	first := t.fresh
	for _, d := range t.told {
		if d.from >= 0 && (first < 0 || d.from < first) {
			first = d.from
		}
	}
	if first >= 0 {
		t.first = first
		return
	}
	t.done = true
	delete(p.tasks, t.key)
	p.waiting.Add(-1)
}
