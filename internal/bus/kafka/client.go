// Package kafka implements the contracts of package bus on Apache Kafka. It is
// the home of kafka-go, of which it takes the transport, the protocol messages
// and the consumer group's membership; producing and fetching are its own:
//
//	Produce ──▶ lane per partition ──▶ sender per leader ──▶ one request in flight ──▶ done, in order
//	            (waits, re-tries)      (takes all that gathered meanwhile)
//
//	Next ◀── reader per partition ◀── poller per leader and topic ◀── one long poll for all its readers
//
// The reasons are in the producer's and the poller's files. In short: a batch is
// what came while the last request was under way, so nothing waits for a timer
// and nothing piles up; sequence numbers make a repeated request harmless.
//
// The package deliberately has no transactions (no one needs them: see
// [bus.Accepted]), no compression when writing, and reads uncommitted.
package kafka

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sort"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/sasl"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka/conns"
	"switchboard/internal/metrics"
)

const (
	// dropInterval is how often the connections may be thrown away. Doing it at
	// the first error is what makes the loss of a broker cost 10 ms instead of
	// 3 s; doing it at every error would keep all others from working.
	dropInterval = 250 * time.Millisecond
	// metadataTTL bounds how old the transport's picture of the cluster may be
	// when nothing fails.
	metadataTTL = 6 * time.Second
	// refreshTimeout bounds one question for metadata.
	refreshTimeout = 2 * time.Second
	// questions bounds how many are asked at once of offsets and last records:
	// each takes a connection, and a worker asks for all its partitions.
	questions = 16
	// backoffFirst and backoffMax bound the pause between attempts.
	backoffFirst, backoffMax = 5 * time.Millisecond, 500 * time.Millisecond
)

// Config says where the cluster is. Brokers and Log are required.
type Config struct {
	// Brokers are host:port addresses to start from; any that answers will do.
	Brokers []string
	// ClientID is how the brokers' logs call this program.
	ClientID string
	// Log gets what is worth knowing: retries that last, lost claims.
	Log *slog.Logger
	// Metrics may be nil.
	Metrics *metrics.Set
	// TLS, when set, encrypts every connection, and the brokers' names are
	// verified.
	TLS *tls.Config
	// Username, when set, and Password are who we are: SASL SCRAM-SHA-512.
	Username, Password string
}

// Client is the connection to one cluster, shared by all that a program does
// with it. Its methods may be called concurrently.
type Client struct {
	config    Config
	addr      net.Addr
	transport *kafkago.Transport
	conns     *conns.Set
	login     sasl.Mechanism // nil: none
	kafka     *kafkago.Client
	log       *slog.Logger
	nagging   *complaints
	metrics   *metrics.Set
	dropped   *metrics.Counter
	fetches   *metrics.Counter
	ctx       context.Context // ends with Close; pollers live in it
	cancel    context.CancelFunc
	polling   sync.WaitGroup

	asking chan struct{} // one token for each question under way

	mu         sync.Mutex
	lastDrop   time.Time
	refreshing chan struct{} // closed when the look that is under way is done
	closed     bool
	pollers    map[pollerKey]*poller
}

// Open returns a client. It does not connect: that happens with the first use,
// and everything is tried again until it works or the caller's context ends.
func Open(config Config) *Client {
	set := config.Metrics
	if set == nil {
		set = metrics.New()
	}
	connections := conns.New(config.TLS)
	login := mechanism(config.Username, config.Password)
	transport := &kafkago.Transport{
		Dial:        connections.Dial,
		ClientID:    config.ClientID,
		MetadataTTL: metadataTTL,
		SASL:        login,
	}
	addr := kafkago.TCP(config.Brokers...)
	c := &Client{
		config:    config,
		addr:      addr,
		transport: transport,
		conns:     connections,
		login:     login,
		kafka:     &kafkago.Client{Addr: addr, Transport: transport},
		log:       config.Log,
		nagging:   newComplaints(config.Log),
		metrics:   set,
		dropped:   set.Counter(`switchboard_bus_connection_drops_total`),
		fetches:   set.Counter(`switchboard_bus_fetch_requests_total`),
		pollers:   make(map[pollerKey]*poller),
		asking:    make(chan struct{}, questions),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close ends the readers' fetching and closes the connections. Producers,
// readers and groups must have ended.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	pollers := make([]*poller, 0, len(c.pollers))
	for _, p := range c.pollers {
		pollers = append(pollers, p)
	}
	c.mu.Unlock()
	c.cancel()
	for _, p := range pollers {
		p.stop()
	}
	c.polling.Wait()
	c.transport.CloseIdleConnections()
	c.conns.Close()
}

// Log returns the reading side.
func (c *Client) Log() bus.Log { return &partitionLog{client: c} }

// Group returns the consumer group of that name over one topic.
func (c *Client) Group(topic, group string, config GroupConfig) bus.Group {
	return newGroup(c, topic, group, config)
}

// Admin returns what creates and checks topics.
func (c *Client) Admin() bus.Admin { return &admin{client: c} }

// layout is the cluster as the transport last saw it: sorted topics, each with
// sorted partitions.
type layout struct{ *metadata.Response }

// layout asks the transport, which answers from its memory.
func (c *Client) layout(ctx context.Context) (layout, error) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	response, err := c.transport.RoundTrip(ctx, c.addr, &metadata.Request{})
	if err != nil {
		return layout{}, c.explain(err)
	}
	return layout{response.(*metadata.Response)}, nil
}

// topic returns what is known of a topic.
func (l layout) topic(name string) (*metadata.ResponseTopic, bool) {
	i := sort.Search(len(l.Topics), func(i int) bool { return l.Topics[i].Name >= name })
	if i == len(l.Topics) || l.Topics[i].Name != name || l.Topics[i].ErrorCode != 0 {
		return nil, false
	}
	return &l.Topics[i], true
}

// leader returns the broker that leads a partition, or false when there is
// none, now or ever.
func (l layout) leader(topic string, partition int32) (int32, bool) {
	if l.Response == nil {
		return -1, false
	}
	t, ok := l.topic(topic)
	if !ok {
		return -1, false
	}
	i := sort.Search(len(t.Partitions), func(i int) bool { return t.Partitions[i].PartitionIndex >= partition })
	if i == len(t.Partitions) || t.Partitions[i].PartitionIndex != partition {
		return -1, false
	}
	leader := t.Partitions[i].LeaderID
	for i := range l.Brokers {
		if l.Brokers[i].NodeID == leader {
			return leader, true
		}
	}
	return -1, false
}

// drop throws the idle connections and the picture of the cluster away, since
// an error said that one of them is wrong. It does so at most once in
// dropInterval.
func (c *Client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.lastDrop) >= dropInterval {
		c.lastDrop = now
		c.dropped.Inc()
		c.transport.CloseIdleConnections()
	}
}

// refresh makes the transport look at the cluster anew and keeps the
// connections. kafka-go does that only after creating topics, so this creates
// none: an empty request is valid, costs the broker nothing and needs no
// permission. Callers that come while it is under way share it.
func (c *Client) refresh(ctx context.Context) error {
	c.mu.Lock()
	if running := c.refreshing; running != nil {
		c.mu.Unlock()
		select {
		case <-running:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	done := make(chan struct{})
	c.refreshing = done
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.refreshing = nil
		c.mu.Unlock()
		close(done)
	}()
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	_, err := c.transport.RoundTrip(ctx, c.addr, &createtopics.Request{TimeoutMs: 1000})
	if err == nil {
		err = ctx.Err() // The transport gives up silently.
	}
	return err
}

// backoff returns the pause before attempt n, counted from 0.
func backoff(n int) time.Duration {
	return min(backoffFirst<<min(n, 10), backoffMax)
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
