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
	begun     int64 // what was said before is nobody's news, as Unix milliseconds
	tasks     map[devices.Key]*task
	queue     queue
	gates     gates
	refusals  refusals
	underWay  int
}

// batch is what one fetch brought.
type batch struct {
	records []bus.Record
	err     error
}

func newPassage(s *Sender, claim bus.Claim) *passage {
	p := &passage{
		Sender: s, claim: claim, next: max(claim.Committed(), 0), committed: claim.Committed(),
		records: make(chan batch), reports: make(chan report), tasks: make(map[devices.Key]*task),
		gates: gates{all: make(map[place]*gate)}, refusals: make(refusals),
	}
	if p.committed < 0 {
		p.begun = time.Now().Add(-FirstAgeMax).UnixMilli()
	}
	return p
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
				if next > 0 || p.claim.Committed() >= 0 { // Else it is where the log begins today.
					p.jumps.Inc()
					p.cfg.Logger.Error("the log jumped: nobody was notified of what it held",
						"partition", p.claim.Partition(), "expected", next, "first", start)
				}
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
	oldest := max(p.begun, time.Now().Add(-AgeMax).UnixMilli())
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
		if r.Millis < oldest {
			p.old.Inc()
			continue
		}
		key := devices.Key{User: push.User, Conversation: push.Conversation}
		t := p.tasks[key]
		if t == nil {
			t = &task{key: key, newest: push, millis: r.Millis, first: r.Offset, fresh: -1, told: make(map[string]*telling)}
			p.tasks[key] = t
			p.waiting.Add(1)
		} else {
			p.collapsed.Inc()
		}
		if t.fresh < 0 {
			t.fresh, t.ripe = r.Offset, time.Now().Add(p.cfg.Gather)
			p.queue.add(t, t.ripe)
		}
		if push.Seq > t.newest.Seq {
			t.newest, t.millis = push, r.Millis
		}
	}
}

// begin looks at the tasks that are due, and at those for which there is room now,
// and returns how long it is to the next.
func (p *passage) begin(ctx context.Context) time.Duration {
	tasks := p.gates.awake()
	due, wait := p.queue.due(time.Now(), LookMax-len(tasks))
	tasks = append(tasks, due...)
	if len(tasks) == 0 || p.lookAll(ctx, tasks) != nil {
		return wait
	}
	return 0 // There may be more.
}

// lookAll asks for the devices and the marks of those whom the tasks concern, and
// looks at each task.
func (p *passage) lookAll(ctx context.Context, tasks []*task) error {
	users, keys := make([]chat.UserID, len(tasks)), make([]devices.Key, len(tasks))
	for i, t := range tasks {
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
	for i, t := range tasks {
		if t.done {
			continue // It was due twice.
		}
		if reads[i] >= t.newest.Seq {
			p.seen.Inc()
			t.drop(nil)
			t.fresh = -1
		} else {
			p.look(ctx, t, of[t.key.User])
		}
		p.settle(t)
	}
	return nil
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
