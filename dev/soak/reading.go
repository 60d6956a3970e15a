package soak

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"switchboard/client"
	"switchboard/dev/audit"
	"switchboard/internal/chat"
)

// The pace of what people do besides writing.
const (
	// glance is how often a device marks what has come, and a person looks at one,
	// on average.
	glance = time.Second
	// readShare is how much of what has come a person reads at a glance, and
	// readOverREST how much of that is said over REST.
	readShare, readOverREST = 0.4, 0.1
	// typeEvery is how often somebody types.
	typeEvery = 400 * time.Millisecond
	// lookAtMembers is how often the members of a conversation are asked for.
	lookAtMembers = 250 * time.Millisecond
	// leaveEvery is how often somebody loses the network with all devices, and
	// goneFor how long: long enough to be told to others.
	leaveEvery, goneFor = 12 * time.Second, 22 * time.Second
)

// glances has every device mark what comes to it, until stop is closed: delivered
// by each of them, read now and then.
func (c *crowd) glances(ctx context.Context, stop <-chan struct{}) {
	n := uint64(0)
	c.everyDevice(func(d *device) {
		n++
		random := rand.New(rand.NewPCG(c.Seed, 100+n))
		c.living.Go(func() {
			for c.tick(ctx, stop, time.Duration((0.5+random.Float64())*float64(glance))) {
				c.glance(ctx, d, random)
			}
		})
	})
}

// tick waits for d, and returns false when it is time to end.
func (c *crowd) tick(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	select {
	case <-stop:
		return false
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// glance marks what has come to a device since the last time.
func (c *crowd) glance(ctx context.Context, d *device, random *rand.Rand) {
	for _, n := range d.news() {
		d.client.MarkDelivered(ctx, n.conversation, n.seq)
		switch chance := random.Float64(); {
		case chance < readShare*readOverREST:
			c.waiting.Go(func() { c.readOverREST(ctx, d, n) })
		case chance < readShare:
			d.client.MarkRead(ctx, n.conversation, n.seq)
		}
	}
}

// arrival is how far a conversation has come at a device.
type arrival struct {
	conversation chat.ConversationID
	seq          chat.Seq
}

// news returns what has come since it was asked for last.
func (d *device) news() (all []arrival) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, seq := range d.unmarked {
		all = append(all, arrival{id, seq})
	}
	clear(d.unmarked)
	return all
}

// readOverREST marks until there is an answer. Somebody who has left meanwhile is
// no member.
func (c *crowd) readOverREST(ctx context.Context, d *device, n arrival) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	c.mu.Lock()
	c.marks = append(c.marks, audit.Mark{User: d.user, Conversation: n.conversation, Status: chat.Read, Seq: n.seq, At: time.Now()})
	c.mu.Unlock()
	err := c.insist(ctx, func(ctx context.Context) error { return d.rest.MarkRead(ctx, n.conversation, n.seq) })
	var status *client.StatusError
	if err != nil && (!errors.As(err, &status) || status.Problem.Code != chat.NotMember) {
		c.fail("POST …/read by %s: %v", d.user, err)
	}
}

// typing has people type, in conversations of every size, whether they are in or
// not.
func (c *crowd) typing(ctx context.Context, stop <-chan struct{}) {
	for c.tick(ctx, stop, typeEvery) {
		w := c.plan.word()
		c.devices[w.sender][w.device].client.Typing(ctx, c.talks[w.talk], w.words%2 == 0)
	}
}

// look asks for the members of one conversation after another: what is said there
// of how far they have read never moves back.
func (c *crowd) look(ctx context.Context, stop <-chan struct{}) {
	for i := 0; c.tick(ctx, stop, lookAtMembers); i++ {
		n := i % len(c.talks)
		r, err := c.roster(ctx, c.talks[n], c.user(c.plan.talks[n].members[0]))
		if err != nil {
			continue // the system is down; the end is told by others
		}
		c.mu.Lock()
		c.readings = append(c.readings, r)
		c.mu.Unlock()
	}
}

// vanish takes the network from one person after another, for a while. It begins when
// PostgreSQL is back: until then it is counted what stays unanswered.
func (c *crowd) vanish(ctx context.Context, stop <-chan struct{}) {
	if c.Outage > 0 && !c.tick(ctx, stop, c.Outage) {
		return
	}
	for c.tick(ctx, stop, leaveEvery) {
		two := c.devices[c.plan.absences.IntN(c.People)]
		if two[0].network.away.Load() {
			continue
		}
		c.waiting.Go(func() {
			for _, d := range two {
				d.network.leave(true)
			}
			c.tick(ctx, stop, goneFor)
			for _, d := range two {
				d.network.leave(false)
			}
		})
	}
}
