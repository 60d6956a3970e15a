package client

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// Outgoing is a message to send.
type Outgoing struct {
	Conversation chat.ConversationID
	Content      string
	Type         string // text (the default), image or file
	MediaURL     string
	ReplyTo      chat.MessageID
	// Request makes a retry recognisable; zero = a new one. Pass the same one
	// to go on with a send that an earlier life of the device began.
	Request chat.RequestID
}

// parcel is a send that the server has not answered yet.
type parcel struct {
	Outgoing
	due      time.Time     // when it is written again
	patience time.Duration // how long the next answer is waited for
	done     chan result
}

type result struct {
	sent wire.MessageSent
	err  error
}

// Send sends a message and waits until the server says that it is stored, across
// as many connections as that takes. When ctx ends first the outcome is unknown:
// the message may or may not be there, and only a Send with the same Request
// tells. A refusal is a [*chat.Error].
func (c *Client) Send(ctx context.Context, m Outgoing) (wire.MessageSent, error) {
	if m.Type == "" {
		m.Type = chat.KindText.String()
	}
	if m.Request.IsZero() {
		m.Request = chat.NewRequestID()
	}
	p := &parcel{Outgoing: m, patience: SendAgain, done: make(chan result, 1)}
	if err := p.check(); err != nil {
		return wire.MessageSent{}, err
	}
	c.mu.Lock()
	if c.outbox[m.Request] != nil {
		c.mu.Unlock()
		return wire.MessageSent{}, fmt.Errorf("send: request %s is under way already", m.Request)
	}
	c.outbox[m.Request] = p
	c.order = append(c.order, m.Request)
	conn := c.conn
	p.written(time.Now())
	c.mu.Unlock()
	if conn != nil {
		// A frame that is given up in the middle ends the connection, which is the
		// device's and not this caller's.
		go c.write(context.WithoutCancel(ctx), conn, p)
	}
	select {
	case r := <-p.done:
		return r.sent, r.err
	case <-ctx.Done():
		c.take(m.Request)
		return wire.MessageSent{}, fmt.Errorf("send: outcome unknown: %w", ctx.Err())
	}
}

// write puts one parcel on a connection. A failure is no news: the reader meets
// it too, and the parcel stays in the outbox.
func (c *Client) write(ctx context.Context, conn *Conn, p *parcel) {
	_ = conn.Write(ctx, "send_message", "", p.data())
}

// check refuses what the server would close the connection for: it would be sent
// again on the next one, for ever.
func (p *parcel) check() error {
	frame, err := encode("send_message", "", p.data())
	if err != nil {
		return err
	}
	if len(p.Content) > chat.ContentBytes || len(frame) > chat.FrameBytes {
		return chat.Errorf(chat.TooLarge, "the message is larger than a frame may be")
	}
	return nil
}

// data is what goes into the frame.
func (p *parcel) data() wire.SendMessage {
	data := wire.SendMessage{
		ConversationID: &p.Conversation, Content: p.Content, Type: p.Type,
		ClientMessageID: &p.Request, MediaURL: p.MediaURL,
	}
	if !p.ReplyTo.IsZero() {
		data.ReplyTo = &p.ReplyTo
	}
	return data
}

// attach makes conn the connection to send on, and sends what waits.
func (c *Client) attach(ctx context.Context, conn *Conn) {
	c.mu.Lock()
	c.conn = conn
	now := time.Now()
	for _, p := range c.outbox {
		p.due, p.patience = now, SendAgain
	}
	waiting := c.waiting(now)
	c.mu.Unlock()
	for _, p := range waiting {
		c.write(ctx, conn, p)
	}
	c.writeMarks(ctx)
}

func (c *Client) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = nil
	c.doubt()
}

// resend repeats what has waited for too long.
func (c *Client) resend(ctx context.Context, now time.Time) {
	c.mu.Lock()
	waiting, conn := c.waiting(now), c.conn
	c.mu.Unlock()
	for _, p := range waiting {
		c.write(ctx, conn, p)
	}
}

// waiting returns the parcels that are due, oldest first, and marks them as
// written now. c.mu is held.
func (c *Client) waiting(now time.Time) []*parcel {
	var due []*parcel
	for _, id := range c.order {
		if p := c.outbox[id]; p != nil && !now.Before(p.due) {
			p.written(now)
			due = append(due, p)
		}
	}
	return due
}

// written sets when the parcel is due again. Each time is twice as long after the
// last: a system that is slow to answer gets slower by what is repeated.
func (p *parcel) written(now time.Time) {
	p.due = now.Add(p.patience)
	p.patience = min(2*p.patience, SendAgainLast)
}

// take removes a parcel from the outbox; nil if it is not there.
func (c *Client) take(id chat.RequestID) *parcel {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.outbox[id]
	delete(c.outbox, id)
	if i := slices.Index(c.order, id); i >= 0 {
		c.order = slices.Delete(c.order, i, i+1)
	}
	return p
}

// sent handles message_sent. It counts as the message's own place in the order:
// this connection gets no new_message for it.
func (c *Client) sent(data json.RawMessage) error {
	var s wire.MessageSent
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("message_sent: %w", err)
	}
	p := c.take(s.ClientMessageID)
	if p == nil { // Whoever sent it waits no longer; the event is ours all the same.
		c.expect(s.ConversationID, s.Seq)
		return nil
	}
	own := wire.Message{
		MessageID: s.MessageID, ConversationID: s.ConversationID, Seq: s.Seq,
		Content: p.Content, Type: p.Type, MediaURL: p.MediaURL, Timestamp: s.Timestamp,
		ClientMessageID: &s.ClientMessageID,
	}
	c.mu.Lock()
	if c.conn != nil {
		own.SenderID = c.conn.Connected.UserID
	}
	c.mu.Unlock()
	if !p.ReplyTo.IsZero() {
		own.ReplyTo = &p.ReplyTo
	}
	c.receive(own)
	p.done <- result{sent: s}
	return nil
}

// answered resolves the send that a message_sent answers whose connection has ended:
// the event itself is left to the next sync.
func (c *Client) answered(data json.RawMessage) {
	var s wire.MessageSent
	if json.Unmarshal(data, &s) != nil {
		return
	}
	c.expect(s.ConversationID, s.Seq)
	if p := c.take(s.ClientMessageID); p != nil {
		p.done <- result{sent: s}
	}
}

// refused handles error frames: a temporary one is tried again when the server
// says so, any other ends the send.
func (c *Client) refused(data json.RawMessage) error {
	var e wire.Error
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("error: %w", err)
	}
	if e.ClientMessageID == nil {
		if e.ID == markID {
			c.markRefused(e)
		}
		return nil
	}
	if e.Temporary {
		c.mu.Lock()
		defer c.mu.Unlock()
		if p := c.outbox[*e.ClientMessageID]; p != nil {
			p.due = time.Now().Add(pauseOf(e.RetryAfterMS, time.Millisecond))
		}
		return nil
	}
	if p := c.take(*e.ClientMessageID); p != nil {
		p.done <- result{err: &chat.Error{Code: e.Code, Message: e.Message}}
	}
	return nil
}
