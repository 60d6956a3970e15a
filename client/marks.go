package client

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

const (
	// MarkAgain is how long before the end of a connection a mark must have been
	// written to be taken for kept: a gateway merges marks for up to a second, and
	// may die with them.
	MarkAgain = 5 * time.Second
	// markID is the envelope id of every mark, by which refusals are known.
	markID = "mark"
)

// mark is how far this device has marked one conversation in one way.
type mark struct {
	seq     chat.Seq
	written time.Time // zero = not yet, or it has to be written again
}

// markKey names what is marked, and how.
type markKey struct {
	conversation chat.ConversationID
	status       chat.Status
}

// MarkRead says that the user has read everything up to a seq. It does not wait:
// a mark is written now or when there is a connection again, and a lower one than
// before says nothing.
func (c *Client) MarkRead(ctx context.Context, id chat.ConversationID, seq chat.Seq) {
	c.mark(ctx, markKey{id, chat.Read}, seq)
}

// MarkDelivered says that this device has received everything up to a seq.
func (c *Client) MarkDelivered(ctx context.Context, id chat.ConversationID, seq chat.Seq) {
	c.mark(ctx, markKey{id, chat.Delivered}, seq)
}

func (c *Client) mark(ctx context.Context, key markKey, seq chat.Seq) {
	c.mu.Lock()
	if seq <= c.marks[key].seq {
		c.mu.Unlock()
		return
	}
	conn := c.conn
	m := mark{seq: seq}
	if conn != nil {
		m.written = time.Now()
	}
	c.marks[key] = m
	c.mu.Unlock()
	if conn != nil {
		writeMark(context.WithoutCancel(ctx), conn, key, seq) // See Send.
	}
}

// writeMark puts a mark on a connection. A failure is no news: the reader meets it
// too, and the next connection gets the mark again.
func writeMark(ctx context.Context, conn *Conn, key markKey, seq chat.Seq) {
	_ = conn.Write(ctx, "mark_"+key.status.String(), markID, struct {
		Conversation chat.ConversationID `json:"conversation_id"`
		Seq          chat.Seq            `json:"seq"`
	}{key.conversation, seq})
}

// writeMarks writes the marks that have to be: nothing is known of whether the
// others arrived, but they had the time.
func (c *Client) writeMarks(ctx context.Context) {
	c.mu.Lock()
	conn, now := c.conn, time.Now()
	due := make(map[markKey]chat.Seq)
	if conn != nil && now.After(c.marksFrom) {
		for key, m := range c.marks {
			if m.written.IsZero() {
				due[key] = m.seq
				c.marks[key] = mark{m.seq, now}
			}
		}
	}
	c.mu.Unlock()
	for key, seq := range due {
		writeMark(ctx, conn, key, seq)
	}
}

// doubt has those marks written again that may not have arrived; c.mu is held.
func (c *Client) doubt() {
	for key, m := range c.marks {
		if time.Since(m.written) < MarkAgain {
			c.marks[key] = mark{seq: m.seq}
		}
	}
}

// markRefused handles the refusal of a mark: a temporary one is tried again when
// the server says so. Any other is dropped, since trying again would not help.
func (c *Client) markRefused(e wire.Error) {
	c.cfg.Log.Info("a mark was refused", "code", e.Code, "message", e.Message)
	if !e.Temporary {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marksFrom = time.Now().Add(pauseOf(e.RetryAfterMS, time.Millisecond))
	c.doubt()
}

// status hands on how far somebody has read.
func (c *Client) status(data json.RawMessage) error {
	var m wire.MessageStatus
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("message_status: %w", err)
	}
	c.cfg.Status(m)
	return nil
}
