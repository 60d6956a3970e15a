package push

import (
	"context"
	"errors"
	"fmt"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// passage is one claim of chat.push at work. It is owned by the goroutine that
// runs it; errands report to it.
type passage struct {
	*Sender
	claim   bus.Claim
	records chan batch
	reports chan report

	next      int64 // the offset of the record to read next
	committed int64
	tasks     map[devices.Key]*task
	queue     queue // those of which no errand is under way
	underWay  int
}

// batch is what one fetch brought.
type batch struct {
	records []bus.Record
	err     error
}

// task is what is to be said of a conversation to a person.
type task struct {
	key     devices.Key
	newest  bus.Push
	millis  int64 // when that was said
	first   int64 // the oldest record that is not done with
	since   int64 // the oldest one that came after the round began, -1 = none
	working int   // errands of the round that have not reported
	// tries are those of each device that is to be tried again; nil before the first
	// round and when there is news.
	tries map[string]int
	said  chat.Seq // in the round
	wait  time.Duration
}

// report is what became of an errand.
type report struct {
	task   *task
	device string
	later  bool
	after  time.Duration
}

func newPassage(s *Sender, claim bus.Claim) *passage {
	next := max(claim.Committed(), 0)
	return &passage{
		Sender: s, claim: claim, next: next, committed: claim.Committed(),
		records: make(chan batch), reports: make(chan report), tasks: make(map[devices.Key]*task),
	}
}

// run works until ctx ends.
func (p *passage) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(ctx, p.next)
	}()
	defer func() {
		stop()
		<-read
		for p.underWay > 0 {
			p.note(<-p.reports)
		}
		p.waiting.Add(-int64(len(p.tasks)))
		p.commit(ctx)
	}()
	ticker := time.NewTicker(CommitEvery)
	defer ticker.Stop()
	for {
		wake := time.NewTimer(p.begin(ctx))
		records := p.records
		if len(p.tasks) >= WaitingMax {
			records = nil
		}
		select {
		case <-ctx.Done():
			wake.Stop()
			return ctx.Err()
		case b := <-records:
			if b.err != nil {
				wake.Stop()
				return b.err
			}
			p.take(b.records)
		case r := <-p.reports:
			p.note(r)
		case <-ticker.C:
			p.commit(ctx)
		case <-wake.C:
		}
		wake.Stop()
	}
}

// read hands over what the log holds, from an offset on, until ctx ends.
func (p *passage) read(ctx context.Context, next int64) {
	for {
		err := p.readFrom(ctx, &next)
		if errors.Is(err, bus.ErrOffsetOutOfRange) {
			start, _, boundsErr := p.cfg.Log.Bounds(ctx, p.claim.Topic(), p.claim.Partition())
			if err = boundsErr; err == nil {
				p.jumps.Inc()
				p.cfg.Logger.Error("the log jumped: nobody was notified of what it held",
					"partition", p.claim.Partition(), "expected", next, "first", start)
				next = start
				continue
			}
		}
		select {
		case p.records <- batch{err: fmt.Errorf("read %s: %w", p.claim.Topic(), err)}:
		case <-ctx.Done():
		}
		return
	}
}

func (p *passage) readFrom(ctx context.Context, next *int64) error {
	reader := p.cfg.Log.Open(p.claim.Topic(), p.claim.Partition(), *next)
	defer reader.Close()
	for {
		records, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case p.records <- batch{records: records}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if n := len(records); n > 0 {
			*next = records[n-1].Offset + 1
		}
	}
}

// take adds records to what is to be said; the newest of a conversation stands for
// all.
func (p *passage) take(records []bus.Record) {
	for i := range records {
		r := &records[i]
		p.next = r.Offset + 1
		var push bus.Push
		if err := bus.ParsePush(r.Value, &push); err != nil {
			// Only a foreign writer can cause this, and waiting cannot heal it.
			p.unreadable.Inc()
			p.cfg.Logger.Error("unreadable record", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "error", err)
			continue
		}
		key := devices.Key{User: push.User, Conversation: push.Conversation}
		t := p.tasks[key]
		if t == nil {
			t = &task{key: key, newest: push, millis: r.Millis, first: r.Offset, since: -1}
			p.tasks[key] = t
			p.queue.add(t, p.cfg.Gather)
			p.waiting.Add(1)
			continue
		}
		p.collapsed.Inc()
		if t.said > 0 && t.since < 0 {
			t.since = r.Offset
		}
		if push.Seq > t.newest.Seq {
			t.newest, t.millis = push, r.Millis
		}
	}
}

// begin starts the rounds that are due and returns how long it is to the next.
func (p *passage) begin(ctx context.Context) time.Duration {
	if p.underWay >= UnderWayMax {
		return idle // A report comes first.
	}
	due, wait := p.queue.due(time.Now(), UnderWayMax)
	if len(due) == 0 || p.rounds(ctx, due) != nil {
		return wait
	}
	return 0 // What had nobody to tell is done with; there may be more.
}

// rounds asks for the devices and the marks of those whom the tasks concern, and
// begins an errand for each device.
func (p *passage) rounds(ctx context.Context, due []*task) error {
	users, keys := make([]chat.UserID, len(due)), make([]devices.Key, len(due))
	for i, t := range due {
		users[i], keys[i] = t.key.User, t.key
	}
	var registrations []devices.Registration
	var reads []chat.Seq
	err := p.repeat(ctx, "the tables of devices", func() (err error) {
		if registrations, err = p.cfg.Devices.Of(ctx, users); err != nil {
			return err
		}
		reads, err = p.cfg.Devices.ReadSeqs(ctx, keys)
		return err
	})
	if err != nil {
		return err
	}
	of := make(map[chat.UserID][]devices.Registration)
	for _, r := range registrations {
		of[r.User] = append(of[r.User], r)
	}
	for i, t := range due {
		if reads[i] >= t.newest.Seq {
			p.seen.Inc()
			p.done(t)
			continue
		}
		p.round(ctx, t, of[t.key.User])
	}
	return nil
}

// round begins an errand for each device that is to hear of a task.
func (p *passage) round(ctx context.Context, t *task, registrations []devices.Registration) {
	again := t.tries != nil && t.said == t.newest.Seq // Only those that did not answer.
	t.said, t.wait = t.newest.Seq, 0
	if !again {
		t.since = -1
	}
	push, millis := t.newest, t.millis
	left := make(map[string]int)
	for i := range registrations {
		r := registrations[i]
		tries, failed := t.tries[r.Device]
		carrier := p.carrier(r.Kind)
		switch {
		case carrier == nil || again && !failed:
			continue
		case r.Silences(t.key.Conversation):
			p.muted.Inc()
			continue
		}
		left[r.Device] = tries
		t.working++
		p.underWay++
		go func() { p.reports <- p.errand(ctx, carrier, t, &r, push, millis, tries+1) }()
	}
	t.tries = left
	if t.working == 0 {
		if len(registrations) == 0 {
			p.noDevices.Inc()
		}
		p.finish(t)
	}
}

// note takes a report.
func (p *passage) note(r report) {
	p.underWay--
	t := r.task
	t.working--
	if r.later {
		t.tries[r.device]++
		t.wait = max(t.wait, r.after)
	} else {
		delete(t.tries, r.device)
	}
	if t.working == 0 {
		p.finish(t)
	}
}

// finish ends a round: with another one, or with the task.
func (p *passage) finish(t *task) {
	switch news := t.newest.Seq > t.said; {
	case len(t.tries) > 0:
		p.queue.add(t, t.wait)
	case news:
		t.first, t.since, t.tries, t.said = t.since, -1, nil, 0
		p.queue.add(t, p.cfg.Gather)
	default:
		p.done(t)
	}
}

func (p *passage) done(t *task) {
	delete(p.tasks, t.key)
	p.waiting.Add(-1)
}

// commit notes how far everything is done with.
func (p *passage) commit(ctx context.Context) {
	offset := p.next
	for _, t := range p.tasks {
		offset = min(offset, t.first)
	}
	if offset <= p.committed {
		return
	}
	// The last commit happens after the claim ended, while the group still waits.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*CommitEvery)
	defer cancel()
	if p.progress(last, p.claim, offset) {
		p.committed = offset
	}
}
