package soak

import (
	"context"
	"errors"
	"fmt"
	"time"

	"switchboard/client"
	"switchboard/dev/audit"
	"switchboard/internal/chat"
)

// move lets guests come and go until stop is closed.
func (c *crowd) move(ctx context.Context, stop <-chan struct{}) {
	ticker := time.NewTicker(c.Moves)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if m := c.plan.move(); m.talk >= 0 {
			c.begin(ctx, m)
		}
	}
}

// begin starts one change of membership, unless the last one of the same guest is
// still under way, or left a try behind that may yet be carried out: what a
// stopped server was asked for happens when it wakes.
func (c *crowd) begin(ctx context.Context, m movePlan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.moving[m]
	if g == nil {
		t := &c.plan.talks[m.talk]
		g = &guest{}
		for _, member := range t.members {
			g.inside = g.inside || member == t.guests[m.guest]
		}
		c.moving[m] = g
	}
	if g.busy || g.unknown {
		return
	}
	g.busy = true
	c.waiting.Go(func() { c.carryOut(ctx, m, g) })
}

// carryOut adds or removes a guest, as often as it takes.
func (c *crowd) carryOut(ctx context.Context, m movePlan, g *guest) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	t := &c.plan.talks[m.talk]
	rest := c.devices[t.members[0]][1].rest
	command := audit.Command{
		Conversation: c.talks[m.talk], User: c.user(t.guests[m.guest]), Change: chat.MemberAdded, Begun: time.Now(),
	}
	method := "PUT"
	if g.inside {
		method, command.Change = "DELETE", chat.MemberRemoved
	}
	path := fmt.Sprintf("/api/v1/conversations/%s/members/%s", command.Conversation, command.User)
	tries := 0
	err := c.insist(ctx, func(ctx context.Context) error {
		tries++
		return rest.Do(ctx, method, path, nil, nil)
	})
	var status *client.StatusError
	if tries > 1 && method == "DELETE" && errors.As(err, &status) && status.Problem.Code == chat.NotFound {
		err = nil // an earlier try did it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		command.Answered = time.Now()
		g.inside = !g.inside
	} else {
		c.failed = append(c.failed, fmt.Sprintf("%s %s: %v", method, path, err))
	}
	c.commands = append(c.commands, command)
	g.busy, g.unknown = false, tries > 1
}
