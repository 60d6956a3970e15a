package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

const (
	// BackoffFirst bounds the pause before connecting again; it is drawn
	// between zero and the bound, which doubles each time, until a connection was of
	// use for longer than that.
	BackoffFirst = time.Second
	// BackoffLast is where the bound stops growing.
	BackoffLast = 30 * time.Second
	// SendAgain is how long a send may stay without an answer before it is
	// repeated with the same id on the same connection; each time that doubles.
	SendAgain = 5 * time.Second
	// SendAgainLast is where it stops doubling.
	SendAgainLast = 40 * time.Second
	// HoldFor is how long an event that came too early waits for those before
	// it, before they are pulled.
	HoldFor = 700 * time.Millisecond
	// frameBuffer is how many frames may wait while the client syncs. A full
	// buffer stops reading; the server then treats this client as slow.
	frameBuffer = 4096
)

// Config is what a Client needs.
type Config struct {
	REST   *REST
	URL    string // of the WebSocket; empty = ask REST
	Device string // a stable name of this device; empty = the server makes one
	// Apply gets each durable event of each conversation once, in order of seq,
	// from one goroutine. Events of a conversation are messages of type
	// "event". It may block; frames then wait.
	Apply func(m wire.Message)
	// Status gets how far others, and this user's other devices, have received
	// and read: apply the maximum. It is a hint; nil = they go to Signal.
	Status func(m wire.MessageStatus)
	// Typing gets who types, to be forgotten after six seconds, and Presence who
	// among those with a direct conversation came or is gone. They are hints, and may
	// be lost; nil = they go to Signal.
	Typing   func(m wire.Typing)
	Presence func(m wire.Presence)
	// Signal gets every other frame; nil = they are dropped. `behind` and `reconnect`
	// are heeded here, and told all the same.
	Signal func(e Event)
	// Have is what an earlier life of this device has already applied.
	Have map[chat.ConversationID]chat.Seq
	Log  *slog.Logger // nil = silent
}

// Client is one device. Run keeps it connected; Send, the marks and Have are safe
// for concurrent use.
type Client struct {
	cfg Config

	// Owned by the goroutine of Run.
	last  map[chat.ConversationID]chat.Seq
	held  map[chat.ConversationID]*hold
	asked asked
	// synced is since when the connection has been of use; zero = it was not.
	synced time.Time

	mu     sync.Mutex
	conn   *Conn // nil while not connected
	outbox map[chat.RequestID]*parcel
	order  []chat.RequestID // of the outbox, oldest first
	seen   map[chat.ConversationID]chat.Seq
	marks  map[markKey]mark
	// marksFrom is when marks may be written again after a refusal.
	marksFrom time.Time
	// typingFrom is when the next typing may be written.
	typingFrom time.Time
}

// New returns a client; nothing happens before Run.
func New(cfg Config) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		cfg:    cfg,
		last:   make(map[chat.ConversationID]chat.Seq),
		held:   make(map[chat.ConversationID]*hold),
		outbox: make(map[chat.RequestID]*parcel),
		seen:   make(map[chat.ConversationID]chat.Seq),
		marks:  make(map[markKey]mark),
	}
	for id, seq := range cfg.Have {
		c.last[id], c.seen[id] = seq, seq
	}
	return c
}

// Have returns the newest applied seq of each conversation: what a later life of
// the device passes as Config.Have.
func (c *Client) Have() map[chat.ConversationID]chat.Seq {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.seen)
}

// Run connects and stays connected until ctx ends, which is no error, or until
// the server says that coming back is of no use: then the error is the
// [*CloseError] or [*StatusError] that said so.
func (c *Client) Run(ctx context.Context) error {
	bound := BackoffFirst
	for {
		began := time.Now()
		c.synced = time.Time{}
		err := c.session(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the caller ended it: that is no failure
		case final(err):
			return err
		case errors.Is(err, errElsewhere) && time.Since(began) > BackoffFirst:
			bound = BackoffFirst
			continue // The moment was drawn already.
		}
		if !c.synced.IsZero() && time.Since(c.synced) > bound {
			bound = BackoffFirst
		}
		pause := told(err) + rand.N(bound)
		c.cfg.Log.Info("connecting again", "error", err, "after", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		bound = min(2*bound, BackoffLast)
	}
}

// told is when the server said that trying again is of use; 0 = it did not.
func told(err error) time.Duration {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.RetryAfter
	}
	return 0
}

// final reports whether err says that connecting again is of no use.
func final(err error) bool {
	var closed *CloseError
	var status *StatusError
	switch {
	case errors.As(err, &closed):
		return closed.Final()
	case errors.As(err, &status):
		return !status.Temporary()
	}
	return false
}

// session is one connection's life: connect, sync while frames gather, handle
// them, go on.
func (c *Client) session(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Drop()
	ctx, cancel := context.WithCancel(ctx)
	frames := make(chan Event, frameBuffer)
	failed := make(chan error, 1)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		failed <- read(ctx, conn, frames)
	}()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		conn.watch(ctx)
	}()
	defer func() {
		cancel()
		<-reading
		<-watching
		c.notice(frames)
	}()

	c.attach(ctx, conn)
	defer c.detach()
	return c.serve(ctx, frames, failed)
}

func (c *Client) dial(ctx context.Context) (*Conn, error) {
	url := c.cfg.URL
	if url == "" {
		asked, err := c.cfg.REST.Gateway(ctx)
		if err != nil {
			return nil, err
		}
		url = asked
	}
	token, err := c.cfg.REST.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return dial(ctx, c.cfg.REST.HTTP, url, token, c.cfg.Device)
}

// read passes frames on until the connection or ctx ends.
func read(ctx context.Context, conn *Conn, frames chan<- Event) error {
	for {
		e, err := conn.Next(ctx)
		if err != nil {
			return err
		}
		conn.waiting.Store(true)
		select {
		case frames <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
		conn.waiting.Store(false)
	}
}

// serve syncs, then handles frames and the passing of time until the connection ends.
func (c *Client) serve(ctx context.Context, frames <-chan Event, failed <-chan error) error {
	c.asked = asked{sync: time.Now()}
	if err := c.heed(ctx, c.asked.sync); err != nil {
		return err
	}
	ticker := time.NewTicker(HoldFor / 4)
	defer ticker.Stop()
	for {
		select {
		case e := <-frames:
			if err := c.frame(ctx, e); err != nil {
				return err
			}
		case now := <-ticker.C:
			if err := c.heed(ctx, now); err != nil {
				return err
			}
			c.resend(ctx, now)
			c.writeMarks(ctx)
			if err := c.pull(ctx, now); err != nil {
				c.cfg.Log.Warn("gap not filled yet", "error", err)
			}
		case err := <-failed:
			return err
		}
	}
}

// frame handles one frame from the server.
func (c *Client) frame(ctx context.Context, e Event) error {
	switch e.Type {
	case "new_message":
		var m wire.Message
		if err := json.Unmarshal(e.Data, &m); err != nil {
			return fmt.Errorf("new_message: %w", err)
		}
		c.receive(m)
	case "conversation_updated":
		if err := c.updated(e.Data); err != nil {
			return err
		}
	case "message_sent":
		return c.sent(e.Data)
	case "message_status":
		if c.cfg.Status != nil {
			return c.status(e.Data)
		}
	case "error":
		return c.refused(e.Data)
	case "behind":
		if err := c.behind(ctx, e.Data); err != nil {
			return err
		}
	case "reconnect":
		if err := c.reconnect(e.Data); err != nil {
			return err
		}
	}
	if taken, err := c.hint(e); taken {
		return err
	}
	if c.cfg.Signal != nil {
		c.cfg.Signal(e)
	}
	return nil
}

// updated handles what happened to a conversation, or how far a large one has
// come.
func (c *Client) updated(data json.RawMessage) error {
	u, err := parseUpdated(data)
	switch {
	case err != nil:
		return err
	case u.HeadSeq > 0:
		c.head(u)
	case u.Seq > 0:
		c.receive(eventMessage(u))
	}
	return nil
}

func parseUpdated(data json.RawMessage) (u wire.ConversationUpdated, err error) {
	if err := json.Unmarshal(data, &u); err != nil {
		return u, fmt.Errorf("conversation_updated: %w", err)
	}
	return u, nil
}

// eventMessage turns the live form of an event into the form that it has in
// history.
func eventMessage(u wire.ConversationUpdated) wire.Message {
	return wire.Message{
		ConversationID: u.ConversationID, Seq: u.Seq, Type: "event",
		Event: &wire.Event{
			Change: u.Change, UserID: u.UserID, Name: u.Name, Role: u.Role, MembersVersion: u.MembersVersion,
		},
	}
}
