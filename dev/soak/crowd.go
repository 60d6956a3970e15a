package soak

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"switchboard/client"
	"switchboard/dev/audit"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// The patience of the crowd. None of it is a claim about speed.
const (
	// setUpWithin is how long it may take until everybody is connected and every
	// conversation is there.
	setUpWithin = 2 * time.Minute
	// answerWithin is how long a message may stay unanswered, whatever happens
	// meanwhile: longer than any fault that is made.
	answerWithin = 3 * time.Minute
	// tryAgain is the pause before a REST call is repeated.
	tryAgain = 300 * time.Millisecond
	// tryWithin ends one try of a REST call: a server may be stopped, not dead.
	tryWithin = 20 * time.Second
	// atOnce is how many REST calls run at the same time.
	atOnce = 8
)

// Config is what a run needs.
type Config struct {
	Site   *Site
	Seed   uint64
	People int           // each with two devices; from 10 on there are groups of all sizes
	Rate   float64       // messages a second
	Moves  time.Duration // how often somebody comes or goes
	// Least is how long people talk, at least: longer if faults take longer.
	Least  time.Duration
	Faults []Fault
	Warm   time.Duration // until the first of them
	Outage time.Duration // for how long PostgreSQL is away from the beginning on; 0 = it is not
	Log    *slog.Logger
}

// crowd is everybody in one run.
type crowd struct {
	Config
	plan    *plan
	run     string // makes this run's people nobody else's
	devices [][2]*device
	talks   []chat.ConversationID
	started time.Time

	living     sync.WaitGroup // of what people do besides writing
	waiting    sync.WaitGroup // for answers
	unanswered atomic.Int64

	mu       sync.Mutex
	sends    []audit.Send
	answers  []audit.Answer // over REST
	commands []audit.Command
	marks    []audit.Mark           // over REST
	readings []audit.Roster         // of the lists of members
	refused  map[chat.RequestID]int // over REST: attempts less refusals
	frozen   []audit.Span           // of gateways
	moving   map[movePlan]*guest
	failed   []string
}

// guest is somebody who comes and goes.
type guest struct {
	busy    bool // a command is under way
	inside  bool
	unknown bool // a try is still out: what follows could be overtaken by it
}

func newCrowd(cfg Config) *crowd {
	c := &crowd{
		Config: cfg, plan: newPlan(cfg.Seed, cfg.People), run: chat.NewRequestID().String(),
		refused: make(map[chat.RequestID]int), moving: make(map[movePlan]*guest),
	}
	for i := range cfg.People {
		c.devices = append(c.devices, [2]*device{
			newDevice(cfg.Site, c.user(i), "phone"), newDevice(cfg.Site, c.user(i), "laptop"),
		})
	}
	return c
}

func (c *crowd) user(i int) chat.UserID { return chat.DemoUser(fmt.Sprintf("soak %s %d", c.run, i)) }

// absent is a member of a talk who has no device.
func (c *crowd) absent(talk, i int) chat.UserID {
	return chat.DemoUser(fmt.Sprintf("soak %s absent %d %d", c.run, talk, i))
}

// membersOf returns the members of a talk at first.
func (c *crowd) membersOf(talk int) (members []chat.UserID) {
	t := &c.plan.talks[talk]
	for _, m := range t.members {
		members = append(members, c.user(m))
	}
	for i := range t.absent {
		members = append(members, c.absent(talk, i))
	}
	return members
}

// everyDevice calls do for each device.
func (c *crowd) everyDevice(do func(d *device)) {
	for _, two := range c.devices {
		do(two[0])
		do(two[1])
	}
}

// connect keeps all devices connected until ctx ends, and returns when they are.
// The returned function waits for their end.
func (c *crowd) connect(ctx context.Context) (wait func(), err error) {
	var running sync.WaitGroup
	c.everyDevice(func(d *device) {
		running.Go(func() {
			if err := d.client.Run(ctx); err != nil {
				c.fail("%s of %s was told not to come back: %v", d.name, d.user, err)
			}
			d.network.close()
		})
	})
	deadline, cancel := context.WithTimeout(ctx, setUpWithin)
	defer cancel()
	for {
		missing := 0
		c.everyDevice(func(d *device) {
			if n, _ := d.tally(); n.Syncs == 0 {
				missing++
			}
		})
		if missing == 0 {
			return running.Wait, nil
		}
		if err := pause(deadline, lookEvery); err != nil {
			return running.Wait, fmt.Errorf("%d devices are not connected: %w", missing, err)
		}
	}
}

// converse makes the conversations.
func (c *crowd) converse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, setUpWithin)
	defer cancel()
	c.talks = make([]chat.ConversationID, len(c.plan.talks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, t := range c.plan.talks {
		group.Go(func() error {
			rest := c.devices[t.members[0]][0].rest
			others := c.membersOf(i)[1:]
			request := chat.NewRequestID()
			return c.insist(ctx, func(ctx context.Context) (err error) {
				if t.direct {
					c.talks[i], err = rest.Direct(ctx, others[0])
				} else {
					c.talks[i], err = rest.Group(ctx, request, fmt.Sprintf("group %d", i), others)
				}
				return err
			})
		})
	}
	return group.Wait()
}

// insist tries a REST call until it is answered with success or a refusal that is
// not temporary.
func (c *crowd) insist(ctx context.Context, do func(context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, tryWithin)
		err := do(try)
		cancel()
		if err == nil || !unknown(err) || ctx.Err() != nil {
			return err
		}
		if err := pause(ctx, max(tryAgain, retryAfter(err))); err != nil {
			return err
		}
	}
}

// retryAfter is how long the server asked to wait.
func retryAfter(err error) time.Duration {
	var status *client.StatusError
	if !errors.As(err, &status) {
		return 0
	}
	return time.Duration(status.Problem.RetryAfterMS) * time.Millisecond
}

// unknown reports whether a call that failed with err should be repeated, since
// it may or may not have had its effect.
func unknown(err error) bool {
	var status *client.StatusError
	return err != nil && (!errors.As(err, &status) || status.Temporary())
}

// talk sends messages at their times until stop is closed. An early generator
// waits; a late one goes on.
func (c *crowd) talk(ctx context.Context, stop <-chan struct{}) {
	for i := 0; ; i++ {
		at := c.started.Add(time.Duration(float64(i) / c.Rate * float64(time.Second)))
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		case <-time.After(time.Until(at)):
		}
		c.say(ctx, c.plan.send())
	}
}

// say sends one message, in the way that the plan wants.
func (c *crowd) say(ctx context.Context, p sendPlan) {
	request := chat.NewRequestID()
	m := client.Outgoing{Conversation: c.talks[p.talk], Request: request, Content: content(request, p.words)}
	two := c.devices[p.sender]
	first, other := two[p.device], two[1-p.device]
	c.mu.Lock()
	c.sends = append(c.sends, audit.Send{
		User: first.user, Conversation: m.Conversation, Request: request, Content: m.Content, Begun: time.Now(),
	})
	c.mu.Unlock()
	if p.cut {
		first.network.cut.Store(true)
	}
	c.waiting.Go(func() {
		c.send(ctx, first, m)
		if p.how == again {
			c.send(ctx, other, m)
		}
	})
	switch p.how {
	case twin:
		c.waiting.Go(func() { c.send(ctx, other, m) })
	case overREST:
		c.waiting.Go(func() { c.post(ctx, other, m) })
	case single, again:
	}
}

// send sends a message from a device, and waits for the answer.
func (c *crowd) send(ctx context.Context, d *device, m client.Outgoing) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	_, err := d.client.Send(ctx, m)
	var refusal *chat.Error
	switch {
	case err == nil:
	case errors.As(err, &refusal):
		if refusal.Code != chat.NotMember {
			c.fail("%s of %s: request %s: %v", d.name, d.user, m.Request, err)
		}
	default:
		c.unanswered.Add(1)
		c.fail("%s of %s: request %s in %s: %v; %s", d.name, d.user, m.Request, m.Conversation, err, d.tried(m.Request))
	}
}

// post sends a message over REST, until there is an answer.
func (c *crowd) post(ctx context.Context, d *device, m client.Outgoing) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var sent wire.MessageSent
	err := c.insist(ctx, func(ctx context.Context) error {
		c.noteAttempt(m.Request, 1)
		return d.rest.Do(ctx, "POST", "/api/v1/conversations/"+m.Conversation.String()+"/messages", wire.SendMessage{
			Content: m.Content, Type: chat.KindText.String(), ClientMessageID: &m.Request,
		}, &sent)
	})
	var status *client.StatusError
	switch {
	case err == nil:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answers = append(c.answers, audit.Answer{
			User: d.user, Conversation: sent.ConversationID, Request: sent.ClientMessageID,
			Message: sent.MessageID, Seq: sent.Seq, Duplicate: sent.Duplicate, At: time.Now(),
		})
	case errors.As(err, &status) && status.Problem.Code == chat.NotMember:
		c.noteAttempt(m.Request, -1)
	default:
		c.unanswered.Add(1)
		c.fail("POST by %s: request %s: %v", d.user, m.Request, err)
	}
}

func (c *crowd) noteAttempt(r chat.RequestID, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[r] += n
}

// fail notes something that must not happen and that the audit cannot see.
func (c *crowd) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, fmt.Sprintf(format, args...))
}
