package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"switchboard/internal/bus"
	"switchboard/internal/metrics"
)

const (
	// joinBackoff is the pause after an error of the coordinator.
	joinBackoff = 100 * time.Millisecond
	// coordinatorTimeout bounds one question to the coordinator.
	coordinatorTimeout = 5 * time.Second
	// topicInterval is how often a group looks for a topic that does not exist.
	topicInterval = time.Second
)

// GroupConfig says how quickly a group notices things. The zero value is good.
type GroupConfig struct {
	// Heartbeat is how often a member shows that it lives, and how soon it
	// learns that the group wants to share anew; 0 means 500 ms.
	Heartbeat time.Duration
	// Session is how long a silent member keeps its partitions; 0 means 6 s, the
	// least that brokers take unless configured. It is also how long a group
	// stands still after its coordinator was killed: kafka-go then joins as a new
	// member, and the group waits for the one that it was.
	Session time.Duration
	// Rebalance is how long the group waits for members to let go of what they
	// have; who is slower is out. 0 means 10 s.
	Rebalance time.Duration
}

// group implements [bus.Group] on kafka-go's membership. Sharing is eager:
// whenever a member comes or goes, all let go and get again, which takes
// some ten milliseconds when the handles end promptly.
type group struct {
	client *Client
	topic  string
	name   string
	config GroupConfig

	claims, errors *metrics.Counter
}

func newGroup(c *Client, topic, name string, config GroupConfig) *group {
	if config.Heartbeat == 0 {
		config.Heartbeat = 500 * time.Millisecond
	}
	if config.Session == 0 {
		config.Session = 6 * time.Second
	}
	if config.Rebalance == 0 {
		config.Rebalance = 10 * time.Second
	}
	return &group{
		client: c, topic: topic, name: name, config: config,
		claims: c.metrics.Counter(`switchboard_bus_claims_total`),
		errors: c.metrics.Counter(`switchboard_bus_group_errors_total`),
	}
}

// Run implements [bus.Group]. It returns ctx's error, or that of the first
// handle that failed. A handle that returns nil before its claim is over gets
// no other until the group shares anew; an error that it returns when its claim
// is over means nothing.
func (g *group) Run(ctx context.Context, handle func(context.Context, bus.Claim) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if err := g.awaitTopic(ctx); err != nil {
		return fmt.Errorf("join group %s: %w", g.name, err)
	}
	members, err := kafkago.NewConsumerGroup(g.membership())
	if err != nil {
		return fmt.Errorf("join group %s: %w", g.name, err)
	}
	for {
		generation, err := members.Next(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil { // kafka-go pauses and joins again.
			g.complain(err)
			continue
		}
		g.start(ctx, fail, generation, handle)
	}
	if err := members.Close(); err != nil {
		g.client.log.Debug("leaving the consumer group failed", "group", g.name, "err", err)
	}
	return context.Cause(ctx)
}

// awaitTopic waits for the topic to exist: a group over no partitions would
// never look again.
func (g *group) awaitTopic(ctx context.Context) error {
	for n := 0; ; n++ {
		seen, err := g.client.layout(ctx)
		if err == nil {
			if _, ok := seen.topic(g.topic); ok {
				return nil
			}
			err = g.client.refresh(ctx)
		}
		if err != nil && ctx.Err() == nil {
			g.client.drop()
		}
		if n%patience == patience-1 {
			g.client.nagging.warn("consumer group waits for its topic", g.name, err, "group", g.name, "topic", g.topic)
		}
		if !sleep(ctx, min(backoff(n), topicInterval)) {
			return ctx.Err()
		}
	}
}

// complain notes why there is no membership. Most reasons pass by themselves.
func (g *group) complain(err error) {
	g.errors.Inc()
	if refused(err) {
		g.client.nagging.warn("consumer group is refused and tried again", g.name, explain(err), "group", g.name, "topic", g.topic)
		return
	}
	g.client.log.Debug("consumer group is disturbed", "group", g.name, "err", err)
}

func (g *group) membership() kafkago.ConsumerGroupConfig {
	return kafkago.ConsumerGroupConfig{
		ID:                g.name,
		Brokers:           []string{anyBroker},
		Topics:            []string{g.topic},
		Dialer:            g.client.dialer(),
		GroupBalancers:    []kafkago.GroupBalancer{kafkago.RangeGroupBalancer{}},
		HeartbeatInterval: g.config.Heartbeat,
		SessionTimeout:    g.config.Session,
		RebalanceTimeout:  g.config.Rebalance,
		JoinGroupBackoff:  joinBackoff,
		Timeout:           coordinatorTimeout,
		StartOffset:       kafkago.FirstOffset,
	}
}

// start runs handle for each partition of a generation, on goroutines that the
// generation waits for before the member joins the next one.
func (g *group) start(ctx context.Context, fail context.CancelCauseFunc, generation *kafkago.Generation,
	handle func(context.Context, bus.Claim) error,
) {
	for _, assignment := range generation.Assignments[g.topic] {
		g.claims.Inc()
		c := &claim{
			generation: generation, topic: g.topic,
			partition: int32(assignment.ID), committed: max(assignment.Offset, -1),
		}
		generation.Start(func(lasts context.Context) { work(ctx, lasts, fail, c, handle) })
	}
}

// work runs handle until its generation is over. One that would begin after that
// kafka-go does not wait for: it would work beside its successor.
func work(ctx, lasts context.Context, fail context.CancelCauseFunc, c *claim, handle func(context.Context, bus.Claim) error) {
	if lasts.Err() != nil {
		return
	}
	claimCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(lasts, cancel)()
	c.ended = lasts.Done()
	if err := handle(claimCtx, c); err != nil && claimCtx.Err() == nil {
		fail(err)
	}
	<-lasts.Done() // A function that returns ends the whole generation.
}

// claim implements [bus.Claim].
type claim struct {
	generation *kafkago.Generation
	topic      string
	partition  int32
	committed  int64
	ended      <-chan struct{}
}

// Topic implements [bus.Claim].
func (c *claim) Topic() string { return c.topic }

// Partition implements [bus.Claim].
func (c *claim) Partition() int32 { return c.partition }

// Committed implements [bus.Claim].
func (c *claim) Committed() int64 { return c.committed }

// Commit implements [bus.Claim]. It is bounded by coordinatorTimeout rather
// than by ctx, which the library does not know.
func (c *claim) Commit(ctx context.Context, offset int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := c.generation.CommitOffsets(map[string]map[int]int64{c.topic: {int(c.partition): offset}})
	switch {
	case err == nil:
		return nil
	case isAny(err, kafkago.IllegalGeneration, kafkago.UnknownMemberId, kafkago.RebalanceInProgress, kafkago.FencedInstanceID):
		return fmt.Errorf("commit %s/%d at %d: %w (%w)", c.topic, c.partition, offset, bus.ErrLostClaim, err)
	case errors.Is(err, net.ErrClosed) || c.over():
		// The member has left this generation behind with its connection.
		return fmt.Errorf("commit %s/%d at %d: %w (%w)", c.topic, c.partition, offset, bus.ErrLostClaim, err)
	}
	return fmt.Errorf("commit %s/%d at %d: %w", c.topic, c.partition, offset, err)
}

func (c *claim) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// isAny reports whether err is one of the broker's errors.
func isAny(err error, kinds ...kafkago.Error) bool {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
