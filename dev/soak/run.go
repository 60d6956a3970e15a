package soak

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"switchboard/client"
	"switchboard/dev/audit"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// settleWithin is how long after the last message every device must have
// everything. The protocol's own repairs take up to two minutes.
const settleWithin = 4 * time.Minute

// settleEvery is how often that is looked at, sayEvery how often it is said that it
// is not so yet.
const settleEvery, sayEvery = 2 * time.Second, 20 * time.Second

// Run lets people talk under faults and judges what they saw. An error says that
// the run could not be made; what the system did wrong is in the Result.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	c := newCrowd(cfg)
	ctx, disconnect := context.WithCancel(ctx)
	wait, err := c.connect(ctx)
	defer wait()
	defer disconnect()
	if err == nil {
		err = c.converse(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	cfg.Log.Info("people talk", "seed", cfg.Seed, "people", cfg.People, "conversations", len(c.talks))
	result := &Result{Seed: cfg.Seed, People: cfg.People, Conversations: len(c.talks)}
	if err := c.live(ctx, result); err != nil {
		return nil, err
	}
	cfg.Log.Info("everybody falls silent", "messages", len(c.sends))
	begun := time.Now()
	c.waiting.Wait()
	c.lastWords(ctx)
	c.waiting.Wait()
	cfg.Log.Info("every message is answered or given up", "after", time.Since(begun).Round(time.Millisecond))
	evidence, report, err := c.settle(ctx)
	if err != nil {
		return nil, err
	}
	result.Settled = time.Since(begun)
	c.conclude(result, evidence, report)
	return result, nil
}

// live is the time in which people talk, guests come and go, and faults happen.
func (c *crowd) live(ctx context.Context, result *Result) error {
	stop := make(chan struct{})
	var running sync.WaitGroup
	c.started = time.Now()
	running.Go(func() { c.talk(ctx, stop) })
	running.Go(func() { c.move(ctx, stop) })
	running.Go(func() { c.typing(ctx, stop) })
	running.Go(func() { c.look(ctx, stop) })
	running.Go(func() { c.vanish(ctx, stop) })
	c.glances(ctx, stop)
	least := time.After(c.Least)
	group, faulty := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		result.faults, err = c.suffer(faulty)
		return err
	})
	if c.Outage > 0 {
		group.Go(func() (err error) {
			result.outage, err = c.Site.hold(faulty, c.Outage)
			return err
		})
	}
	err := group.Wait()
	if err == nil {
		select {
		case <-least:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	close(stop)
	running.Wait()
	c.living.Wait()
	return err
}

// lastWords has something said in every conversation when nothing breaks any more:
// heads may be lost while the roster is away, and the newest stands for all.
func (c *crowd) lastWords(ctx context.Context) {
	for i, t := range c.plan.talks {
		c.say(ctx, sendPlan{talk: i, sender: t.members[0], device: i % 2})
	}
}

// suffer makes the faults, one after another.
func (c *crowd) suffer(ctx context.Context) ([]happened, error) {
	var done []happened
	if err := pause(ctx, c.Warm); err != nil {
		return nil, err
	}
	for _, f := range c.Faults {
		h := happened{Fault: f, begun: time.Now()}
		c.Log.Info("fault", "what", f.Name)
		if err := f.Do(ctx); err != nil {
			return done, fmt.Errorf("%s: %w", f.Name, err)
		}
		h.over = time.Now()
		if f.Held > 0 && strings.HasPrefix(f.Name, "gateway") {
			c.mu.Lock()
			c.frozen = append(c.frozen, audit.Span{From: h.begun, To: h.over})
			c.mu.Unlock()
		}
		c.Log.Info("fault over", "what", f.Name, "after", h.over.Sub(h.begun).Round(time.Millisecond))
		if err := pause(ctx, f.Calm); err != nil {
			return done, err
		}
		h.until = time.Now()
		done = append(done, h)
	}
	return done, nil
}

// settle waits until every device has everything, or patience ends, and returns
// the judgement of then.
func (c *crowd) settle(ctx context.Context) (*audit.Evidence, *audit.Report, error) {
	deadline := time.Now().Add(settleWithin)
	var said time.Time
	for {
		evidence, err := c.evidence(ctx, false)
		if err != nil {
			return nil, nil, err
		}
		report := audit.Check(evidence)
		late := report.Broken[audit.Delivered] + report.Broken[audit.AppliedOnce] + report.Broken[audit.MarkKept]
		if late == 0 || time.Now().After(deadline) {
			break
		}
		if time.Since(said) > sayEvery {
			said = time.Now()
			c.Log.Info("some devices do not have everything yet", "missing", report.Broken[audit.Delivered],
				"not applied", report.Broken[audit.AppliedOnce], "not marked", report.Broken[audit.MarkKept])
		}
		if err := pause(ctx, settleEvery); err != nil {
			return nil, nil, err
		}
	}
	if err := pause(ctx, settleEvery); err != nil { // what was pulled may be on its way as a push too
		return nil, nil, err
	}
	evidence, err := c.evidence(ctx, true)
	if err != nil {
		return nil, nil, err
	}
	return evidence, audit.Check(evidence), nil
}

// evidence gathers what is known. all adds what every member reads, which is much.
func (c *crowd) evidence(ctx context.Context, all bool) (*audit.Evidence, error) {
	e := &audit.Evidence{}
	for _, f := range c.Faults {
		e.Held = max(e.Held, f.Held)
	}
	c.mu.Lock()
	e.Frozen = slices.Clone(c.frozen)
	e.Sends, e.Answers, e.Commands = slices.Clone(c.sends), slices.Clone(c.answers), slices.Clone(c.commands)
	e.Marks, e.Readings = slices.Clone(c.marks), slices.Clone(c.readings)
	attempts := make(map[chat.RequestID]int)
	for r, n := range c.refused {
		attempts[r] += n
	}
	c.mu.Unlock()
	contents := make(map[chat.RequestID]string, len(e.Sends))
	for _, s := range e.Sends {
		contents[s.Request] = s.Content
	}
	c.everyDevice(func(d *device) {
		e.Devices = append(e.Devices, d.evidence(contents))
		d.mu.Lock()
		e.Answers = append(e.Answers, d.answers...)
		e.Marks, e.Words = append(e.Marks, d.marks...), append(e.Words, d.words...)
		for r, n := range d.attempts {
			attempts[r] += n
		}
		d.mu.Unlock()
	})
	for i := range e.Sends {
		n, tried := attempts[e.Sends[i].Request]
		e.Sends[i].Refused = tried && n == 0
	}
	return e, c.read(ctx, e, all)
}

// read asks for histories and lists of members.
func (c *crowd) read(ctx context.Context, e *audit.Evidence, all bool) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, t := range c.plan.talks {
		id, creator := c.talks[i], c.user(t.members[0])
		e.Conversations = append(e.Conversations, audit.Conversation{
			ID: id, Direct: t.direct, Creator: creator, Members: c.membersOf(i),
		})
		readers := map[chat.UserID]bool{creator: true}
		if all {
			for _, m := range slices.Concat(t.members, t.guests) {
				readers[c.user(m)] = true
			}
		}
		for user := range readers {
			group.Go(func() error {
				h, err := c.history(ctx, id, user)
				mu.Lock()
				defer mu.Unlock()
				e.Histories = append(e.Histories, h)
				return err
			})
		}
		group.Go(func() error {
			r, err := c.roster(ctx, id, creator)
			mu.Lock()
			defer mu.Unlock()
			e.Rosters = append(e.Rosters, r)
			return err
		})
	}
	if all {
		for i := range c.People {
			group.Go(func() error {
				l, err := c.list(ctx, c.user(i))
				mu.Lock()
				defer mu.Unlock()
				e.Lists = append(e.Lists, l)
				return err
			})
		}
	}
	return group.Wait()
}

// auditor returns REST calls that nobody watches.
func (c *crowd) auditor(user chat.UserID) (rest *client.REST, done func()) {
	n := newNetwork(c.Site, nil)
	return restOf(c.Site, user, n), n.close
}

func (c *crowd) history(ctx context.Context, id chat.ConversationID, user chat.UserID) (audit.History, error) {
	rest, done := c.auditor(user)
	defer done()
	h := audit.History{User: user, Conversation: id}
	err := c.insist(ctx, func(ctx context.Context) (err error) {
		h.Messages, err = rest.All(ctx, id, 0)
		return err
	})
	var status *client.StatusError
	if errors.As(err, &status) && status.Status == 404 {
		h.Denied, err = true, nil
	}
	return h, err
}

// roster reads who is in a conversation.
func (c *crowd) roster(ctx context.Context, id chat.ConversationID, user chat.UserID) (audit.Roster, error) {
	rest, done := c.auditor(user)
	defer done()
	var list wire.MemberList
	err := c.insist(ctx, func(ctx context.Context) (err error) {
		list, err = rest.Members(ctx, id)
		return err
	})
	return audit.Roster{Conversation: id, Version: list.MembersVersion, Members: list.Members}, err
}

// list reads a user's conversations, which fit on a page.
func (c *crowd) list(ctx context.Context, user chat.UserID) (audit.List, error) {
	rest, done := c.auditor(user)
	defer done()
	var list wire.ConversationList
	err := c.insist(ctx, func(ctx context.Context) error {
		return rest.Do(ctx, "GET", fmt.Sprintf("/api/v1/conversations?limit=%d", chat.PageMax), nil, &list)
	})
	return audit.List{User: user, Conversations: list.Conversations}, err
}
