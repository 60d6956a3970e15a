package client

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"switchboard/internal/chat"
)

// Typing says that the user types in a conversation, or does so no more. Call it at
// each key: what the server would drop, since it came too soon after the last one,
// is not even written. Nothing is repeated, and without a connection nothing is
// said.
func (c *Client) Typing(ctx context.Context, id chat.ConversationID, is bool) {
	c.mu.Lock()
	conn, now := c.conn, time.Now()
	soon := now.Before(c.typingFrom)
	if conn != nil && !soon {
		c.typingFrom = now.Add(c.typingInterval())
	}
	c.mu.Unlock()
	if conn == nil || soon {
		return
	}
	// A failure is no news: the reader meets it too. Of the context see Send.
	_ = conn.Write(context.WithoutCancel(ctx), "typing", "", struct {
		Conversation chat.ConversationID `json:"conversation_id"`
		IsTyping     bool                `json:"is_typing"`
	}{id, is})
}

// typingInterval is what the server said, or what this version knows; c.mu is held.
func (c *Client) typingInterval() time.Duration {
	if told := c.conn.Connected.Limits.TypingIntervalMS; told > 0 {
		return time.Duration(told) * time.Millisecond
	}
	return chat.TypingInterval
}

// hint hands on what is fleeting; taken says that somebody wanted it.
func (c *Client) hint(e Event) (taken bool, err error) {
	switch {
	case e.Type == "typing" && c.cfg.Typing != nil:
		return true, handOn(e, c.cfg.Typing)
	case e.Type == "presence_update" && c.cfg.Presence != nil:
		return true, handOn(e, c.cfg.Presence)
	}
	return false, nil
}

func handOn[T any](e Event, to func(T)) error {
	var m T
	if err := json.Unmarshal(e.Data, &m); err != nil {
		return fmt.Errorf("%s: %w", e.Type, err)
	}
	to(m)
	return nil
}
