package rest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// CallsWaiting is how many commands may wait for their answers at once; one
// more is `unavailable`.
const CallsWaiting = 10_000

// calls puts commands on the inbound log, marks on that of receipts, and brings
// their answers home.
//
//	register ──▶ Produce ──▶ … ──▶ delivery record {boot, session} ──▶ the waiting call
//
// A call is registered before its record is produced, so no answer can come
// too early. An answer that nobody waits for any more is dropped.
type calls struct {
	// Fixed after construction.
	*Server
	topic    string
	answered *metrics.Counter
	timeouts *metrics.Counter
	late     *metrics.Counter
	jumps    *metrics.Counter

	// Owned by prepare and run.
	reader bus.Reader

	mu      sync.Mutex
	reading bool
	last    uint64 // the id of the newest call
	waiting map[uint64]chan<- outcome
}

// outcome is what a call waits for.
type outcome struct {
	answer bus.Answer
	err    error
}

func newCalls(s *Server) *calls {
	c := &calls{
		Server: s, topic: bus.DeliveryTopic(s.Server), waiting: map[uint64]chan<- outcome{},
		answered: s.Metrics.Counter(`switchboard_rest_calls_total{outcome="answered"}`),
		timeouts: s.Metrics.Counter(`switchboard_rest_calls_total{outcome="timeout"}`),
		late:     s.Metrics.Counter(`switchboard_rest_answers_dropped_total{reason="late"}`),
		jumps:    s.Metrics.Counter(`switchboard_rest_reply_jumps_total`),
	}
	s.Metrics.Gauge(`switchboard_rest_calls_waiting`, func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(len(c.waiting))
	})
	return c
}

// prepare finds the number at which the reply topic ends now: "from the end"
// would be resolved at the first fetch, after the first answers.
func (c *calls) prepare(ctx context.Context) error {
	if c.reader != nil {
		return nil
	}
	if _, err := c.Admin.Ensure(ctx, []bus.Topic{bus.DeliveryLog(c.Server.Server)}, c.Replication); err != nil {
		return fmt.Errorf("create reply topic %s: %w", c.topic, err)
	}
	return c.open(ctx)
}

func (c *calls) open(ctx context.Context) error {
	_, end, err := c.Log.Bounds(ctx, c.topic, 0)
	if err != nil {
		return fmt.Errorf("find the end of %s: %w", c.topic, err)
	}
	c.reader = c.Log.Open(c.topic, 0, end)
	c.setReading(true)
	return nil
}

func (c *calls) setReading(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = on
}

// run hands answers to the calls that wait for them.
func (c *calls) run(ctx context.Context) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	defer func() {
		c.setReading(false)
		c.reader.Close()
	}()
	for {
		records, err := c.reader.Next(ctx)
		switch {
		case err == nil:
			c.deliver(records)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, bus.ErrOffsetOutOfRange):
			// Answers were deleted unread; whoever waits for them times out.
			c.jumps.Inc()
			c.Logger.Warn("position in the reply topic was lost", "topic", c.topic)
			c.reader.Close()
			if err := c.open(ctx); err != nil {
				return err
			}
		default:
			return fmt.Errorf("read %s: %w", c.topic, err)
		}
	}
}

func (c *calls) deliver(records []bus.Record) {
	var d bus.Delivery
	for _, r := range records {
		if err := bus.ParseDelivery(r.Value, &d); err != nil {
			c.Logger.Error("malformed delivery record", "topic", c.topic, "offset", r.Offset, "err", err)
			continue
		}
		if d.Answer == nil || d.Answer.Boot != c.boot {
			continue // To another life of this server, or to nobody.
		}
		if !c.resolve(d.Answer.Session, outcome{answer: *d.Answer}) {
			c.late.Inc()
		}
	}
}

// resolve ends a call; false if it waits no longer.
func (c *calls) resolve(id uint64, o outcome) bool {
	c.mu.Lock()
	waiter, ok := c.waiting[id]
	delete(c.waiting, id)
	c.mu.Unlock()
	if ok {
		waiter <- o // Has room for the one outcome that it gets.
	}
	return ok
}

// register makes room for an answer.
func (c *calls) register() (uint64, <-chan outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reading {
		return 0, nil, unavailable("the server is starting or ending")
	}
	if len(c.waiting) >= CallsWaiting {
		return 0, nil, unavailable("too many commands await their answers")
	}
	c.last++
	waiter := make(chan outcome, 1)
	c.waiting[c.last] = waiter
	return c.last, waiter, nil
}

// unregister forgets a call that waits no longer.
func (c *calls) unregister(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// do puts the command on the inbound log and waits for what the fold makes of
// it. The error is a *[chat.Error] that says why it was refused, or that nobody
// knows.
func (c *calls) do(ctx context.Context, in *bus.Inbound) (bus.Answer, error) {
	return c.ask(ctx, c.Producer, bus.InboundTopic(c.Generation), in.Conversation, func(to bus.ReplyTo) []byte {
		in.ReplyTo = to
		return in.Append(nil)
	})
}

// mark puts a mark on the log of receipts and waits until it is in force.
func (c *calls) mark(ctx context.Context, r *bus.Receipt) error {
	_, err := c.ask(ctx, c.Receipts, bus.TopicReceipts, r.Conversation, func(to bus.ReplyTo) []byte {
		r.ReplyTo, r.Answer = to, true
		return r.Append(nil)
	})
	return err
}

// ask puts a record about a conversation on a log and waits for the answer.
func (c *calls) ask(ctx context.Context, producer bus.Producer, topic string, about chat.ConversationID, record func(bus.ReplyTo) []byte) (bus.Answer, error) {
	id, answered, err := c.register()
	if err != nil {
		return bus.Answer{}, err
	}
	defer c.unregister(id)
	key := about // a copy of its own, which the producer may keep
	err = producer.Produce(bus.Message{
		Topic:     topic,
		Partition: bus.PartitionOf(about, c.Partitions),
		Key:       key[:],
		Value:     record(bus.ReplyTo{Server: c.Server.Server, Boot: c.boot, Session: id}),
	}, func(_ int64, err error) {
		if err != nil {
			c.resolve(id, outcome{err: err})
		}
	})
	switch {
	case errors.Is(err, bus.ErrOverloaded):
		return bus.Answer{}, unavailable("too many commands await acknowledgement")
	case errors.Is(err, bus.ErrTooLarge):
		return bus.Answer{}, chat.Errorf(chat.TooLarge, "the command is too large for the log")
	case err != nil:
		return bus.Answer{}, fmt.Errorf("produce to %s: %w", topic, err)
	}
	return c.await(ctx, answered)
}

func (c *calls) await(ctx context.Context, answered <-chan outcome) (bus.Answer, error) {
	timer := time.NewTimer(c.CallTimeout)
	defer timer.Stop()
	select {
	case o := <-answered:
		if o.err != nil {
			return bus.Answer{}, unknown()
		}
		c.answered.Inc()
		if o.answer.Outcome == bus.Refused {
			return bus.Answer{}, &chat.Error{Code: o.answer.Code, Message: o.answer.Message}
		}
		return o.answer, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	c.timeouts.Inc()
	return bus.Answer{}, unknown()
}

// unknown is the answer when there is none: the command may have been done, and
// may still be.
func unknown() error {
	return &chat.Error{
		Code: chat.Timeout, RetryAfter: retryAfter,
		Message: "no answer in time: the outcome is unknown; repeat the request with the same id",
	}
}
