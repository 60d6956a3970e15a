package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// hold keeps what came too early in one conversation.
type hold struct {
	since time.Time
	early map[chat.Seq]wire.Message
	head  chat.Seq // known to be there, without its event
}

// receive applies the gap rule to one live event: the next one is applied, an
// old one dropped, one from further on held.
func (c *Client) receive(m wire.Message) {
	last, known := c.last[m.ConversationID]
	switch {
	case known:
	case c.begins(m):
		last = m.Seq - 1
	default:
		c.name(m.ConversationID)
	}
	switch {
	case m.Seq <= last:
		return
	case m.Seq > last+1:
		c.hold(m.ConversationID).early[m.Seq] = m
		return
	}
	c.apply(m)
	c.release(m.ConversationID)
}

// begins reports whether an event is the first of its conversation that this user
// may see, apart from seq 1. Whatever else comes first from a conversation that is
// not known yet says that its beginning was missed: a directory that forgot this
// device and learned of it again drops what came between, and the sync that
// follows would be told of the later event as if nothing were missing below it. While
// that sync is still to come, one's own joining may not have been the first one either.
func (c *Client) begins(m wire.Message) bool {
	if !c.asked.sync.IsZero() || m.Event == nil || m.Event.Change != chat.MemberAdded.String() || m.Event.UserID == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && *m.Event.UserID == c.conn.Connected.UserID
}

// name has every later sync name a conversation of which nothing has been applied
// yet: only of those that are named it tells what came before a removal.
func (c *Client) name(id chat.ConversationID) {
	c.last[id] = 0
	c.mu.Lock()
	c.seen[id] = 0
	c.mu.Unlock()
}

// notice looks through the frames of a connection that ended before they were
// handled. What they bring the next sync brings too, but of a conversation that is
// left by then only if it is named; and what they answer is answered.
func (c *Client) notice(frames <-chan Event) {
	for {
		select {
		case e := <-frames:
			switch e.Type {
			case "new_message", "conversation_updated":
				var of struct {
					ID chat.ConversationID `json:"conversation_id"`
				}
				if json.Unmarshal(e.Data, &of) == nil {
					c.acquaint(of.ID)
				}
			case "message_sent":
				c.answered(e.Data)
			case "error":
				_ = c.refused(e.Data) // one that cannot be read ends nothing any more
			}
		default:
			return
		}
	}
}

// acquaint names a conversation that is not known yet.
func (c *Client) acquaint(id chat.ConversationID) {
	if _, known := c.last[id]; !known {
		c.name(id)
	}
}

// expect notes that a seq of ours is known to be there, without its event.
func (c *Client) expect(id chat.ConversationID, seq chat.Seq) {
	c.acquaint(id)
	if seq <= c.last[id] {
		return
	}
	h := c.hold(id)
	h.head = max(h.head, seq)
}

// head handles how far a large conversation has come. Nothing else is pushed of
// it, so what is missing is pulled at the next tick and not waited for.
func (c *Client) head(u wire.ConversationUpdated) {
	last := c.last[u.ConversationID]
	if m := u.Message; m != nil && m.ConversationID == u.ConversationID && m.Seq == last+1 {
		c.receive(*m)
		return
	}
	if u.HeadSeq <= last {
		return
	}
	c.expect(u.ConversationID, u.HeadSeq)
	c.held[u.ConversationID].since = time.Time{}
}

// hold returns what is held of a conversation, begun if nothing is yet.
func (c *Client) hold(id chat.ConversationID) *hold {
	h := c.held[id]
	if h == nil {
		h = &hold{since: time.Now(), early: make(map[chat.Seq]wire.Message)}
		c.held[id] = h
	}
	return h
}

// release applies what waited for the last applied event, forgets what is no
// longer early, and the hold when it is empty.
func (c *Client) release(id chat.ConversationID) {
	h := c.held[id]
	if h == nil {
		return
	}
	for next, ok := h.early[c.last[id]+1]; ok; next, ok = h.early[next.Seq+1] {
		c.apply(next)
	}
	for seq := range h.early {
		if seq <= c.last[id] {
			delete(h.early, seq)
		}
	}
	if len(h.early) == 0 && h.head <= c.last[id] {
		delete(c.held, id)
	}
}

// apply hands one event on and remembers it.
func (c *Client) apply(m wire.Message) {
	c.last[m.ConversationID] = m.Seq
	c.mu.Lock()
	c.seen[m.ConversationID] = m.Seq
	c.mu.Unlock()
	if c.cfg.Apply != nil {
		c.cfg.Apply(m)
	}
}

// pull fills the gaps that have been open for too long. One that cannot be filled
// now waits as long again, and as long as the server says, and keeps no other
// waiting, unless that took long to find out: frames wait meanwhile.
func (c *Client) pull(ctx context.Context, now time.Time) (failed error) {
	for id, h := range c.held {
		if now.Sub(h.since) < HoldFor {
			continue
		}
		began := time.Now()
		h.since = now
		left, err := c.fill(ctx, id)
		if left {
			err = c.leave(ctx, id)
		}
		if err == nil {
			continue
		}
		failed = err
		h.since = time.Now().Add(told(err))
		if time.Since(began) > HoldFor {
			c.wait()
			break
		}
	}
	return failed
}

// wait has every gap wait for as long as if it had just been found.
func (c *Client) wait() {
	now := time.Now()
	for _, h := range c.held {
		if h.since.Before(now) {
			h.since = now
		}
	}
}

// fill reads everything above the last applied event from history. What a page
// leaves out below its first event is not for this user to see. left says that
// history answers "not a member".
func (c *Client) fill(ctx context.Context, id chat.ConversationID) (left bool, err error) {
	missing, err := c.cfg.REST.All(ctx, id, c.last[id])
	var status *StatusError
	if errors.As(err, &status) && status.Status == http.StatusNotFound {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("fill the gap of %s: %w", id, err)
	}
	for _, m := range missing {
		if m.Seq > c.last[id] {
			c.apply(m)
		}
	}
	c.release(id)
	return false, nil
}

// leave ends the gap of a conversation that this user has left: history is
// closed, but sync still has what came before the removal, and what was pushed
// was ours to see, the removal above all.
func (c *Client) leave(ctx context.Context, id chat.ConversationID) error {
	if err := c.sync(ctx); err != nil {
		return err
	}
	if h := c.held[id]; h != nil {
		for _, seq := range slices.Sorted(maps.Keys(h.early)) {
			c.apply(h.early[seq])
		}
		delete(c.held, id)
	}
	return nil
}

// partings is how often one sync may meet a conversation that is left between its
// answer and the history that it led to.
const partings = 3

// errParting says that it met more.
var errParting = errors.New("sync leads to conversations that history says are left")

// sync asks for all that was missed, until there is no more. Frames gather
// meanwhile, so nothing falls between the two.
func (c *Client) sync(ctx context.Context) error {
	for parted := 0; parted <= partings; {
		answer, err := c.cfg.REST.Sync(ctx, c.Have())
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		for _, e := range answer.Events {
			m, err := syncedMessage(e)
			if err != nil {
				return err
			}
			// Inside a membership nothing is missing below it: what sync leaves
			// out is not ours to see.
			if m.Seq > c.last[m.ConversationID] {
				c.apply(m)
			}
			c.release(m.ConversationID)
		}
		again := answer.HasMore
		for _, h := range answer.Heads {
			if h.HeadSeq <= c.last[h.ConversationID] {
				continue
			}
			c.acquaint(h.ConversationID)
			left, err := c.fill(ctx, h.ConversationID)
			if err != nil {
				return err
			}
			if left { // Since that answer: the next one has what came before.
				again = true
				parted++
			}
		}
		if !again {
			return nil
		}
	}
	return errParting
}

func syncedMessage(e Event) (wire.Message, error) {
	if e.Type == "conversation_updated" {
		u, err := parseUpdated(e.Data)
		return eventMessage(u), err
	}
	var m wire.Message
	if err := json.Unmarshal(e.Data, &m); err != nil {
		return m, fmt.Errorf("sync: %s: %w", e.Type, err)
	}
	return m, nil
}
