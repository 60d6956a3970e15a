package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"switchboard/internal/bus"
	"switchboard/internal/metrics"
)

const (
	// batchBytes bounds one batch with its framing. Brokers refuse more than
	// 1 MiB and 12 bytes unless configured otherwise.
	batchBytes = 1<<20 - 4096
	// requestBytes bounds the batches of one request, so that one slow request
	// does not carry the whole backlog.
	requestBytes = 8 << 20
	// pendingDefault bounds what waits in one producer.
	pendingDefault = 64 << 20
	// topicShare is the part of the bound that one topic may fill. A gateway
	// whose topic is gone can then not stop the others.
	topicShare = 4
	// lingerOverhead is what a waiting record costs beside its bytes.
	lingerOverhead = 128
	// produceTimeout is how long the broker may wait for its replicas;
	// produceGrace is added for the way there and back.
	produceTimeout = 5 * time.Second
	produceGrace   = time.Second
	// flushDefault is how long a producer that is told to end tries to get rid
	// of what it has.
	flushDefault = 5 * time.Second
)

// ProducerConfig bounds a producer. The zero value is good.
type ProducerConfig struct {
	// PendingBytes bounds what waits to be acknowledged, keys, values and 128
	// bytes for each; above it Produce answers [bus.ErrOverloaded]. One topic
	// may have a quarter of it. 0 means 64 MiB.
	PendingBytes int
	// Timeout is how long one request may take before it is repeated; 0 means
	// 5 s at the broker and 6 s in all.
	Timeout time.Duration
	// Flush is how long Run goes on sending when its context has ended; 0
	// means 5 s.
	Flush time.Duration
	// Leader is for what is fleeting: acknowledged when the partition's leader has
	// it (acks=1), and lost if that dies before its replicas have it too. Order and
	// repetition are as with acks=all.
	Leader bool
}

// Producer implements [bus.Producer]: idempotent, acks=all unless configured
// otherwise, without linger.
//
// A lane is the queue of one partition. A sender, one for each leading broker,
// takes what all its lanes have, sends it as one request, and does so again
// when the answer is there: under load the batches grow, at rest a record
// leaves at once. A lane has one batch under way at most, and that batch keeps
// its bytes and its sequence number until the broker acknowledged it: a
// repetition of something that was appended is answered with the first offset.
//
// What goes wrong concerns lanes, not the producer: a lane that fails is handed
// to the resolver, which waits a little, looks for the leader and hands it to a
// sender. A partition whose topic does not exist waits there, for ever, and
// nobody else waits with it; but its records count as pending, and when they
// fill their share, Produce answers ErrOverloaded for that topic alone.
//
// # When the broker does not know us any more
//
// OUT_OF_ORDER_SEQUENCE, UNKNOWN_PRODUCER_ID and INVALID_PRODUCER_EPOCH say
// that the broker's memory of this lane and ours differ: an unclean election
// took acknowledged records away, or the topic was made anew. In each case the
// batch under way was not appended by the attempt so answered, and nothing
// behind it was sent. So the lane takes a fresh producer id, starts counting
// from 0 and sends the same records again: nothing is lost, nothing is
// reordered. The one thing possible is a duplicate: when an earlier attempt of
// that batch was appended and its answer was lost, and the broker then lost what
// it knew of the producer but kept the records. Readers drop such a duplicate by
// the records' own keys. Other lanes keep their identity until it happens to
// them.
type Producer struct {
	client *Client
	config ProducerConfig
	log    *slog.Logger
	topic  int // the share of one topic in bytes

	requests, retries, resets  *metrics.Counter
	overloadAll, overloadTopic *metrics.Counter
	latency                    *metrics.Histogram

	wakeResolver chan struct{} // capacity 1
	running      sync.WaitGroup
	refreshing   atomic.Bool

	mu      sync.Mutex
	lanes   map[laneKey]*lane
	topics  map[string]*int   // pending bytes by topic
	senders map[int32]*sender // by broker
	lost    []*lane           // without a sender: for the resolver
	who     identity          // for lanes that have none; id −1 when to be asked for
	pending int               // bytes
	records int               // that are not done
	closed  bool              // Produce refuses
	idle    chan struct{}     // closed when records becomes 0 while flushing
}

// Producer returns a producer, which accepts records from now on and sends
// them once Run runs.
func (c *Client) Producer(config ProducerConfig) *Producer {
	if config.PendingBytes == 0 {
		config.PendingBytes = pendingDefault
	}
	if config.Timeout == 0 {
		config.Timeout = produceTimeout + produceGrace
	}
	if config.Flush == 0 {
		config.Flush = flushDefault
	}
	p := &Producer{
		client:        c,
		config:        config,
		log:           c.log,
		topic:         config.PendingBytes / topicShare,
		requests:      c.metrics.Counter(`switchboard_bus_produce_requests_total`),
		retries:       c.metrics.Counter(`switchboard_bus_produce_retries_total`),
		overloadAll:   c.metrics.Counter(`switchboard_bus_produce_overloads_total{limit="producer"}`),
		overloadTopic: c.metrics.Counter(`switchboard_bus_produce_overloads_total{limit="topic"}`),
		resets:        c.metrics.Counter(`switchboard_bus_producer_resets_total`),
		latency:       c.metrics.Histogram(`switchboard_bus_produce_seconds`),
		wakeResolver:  make(chan struct{}, 1),
		lanes:         make(map[laneKey]*lane),
		topics:        make(map[string]*int),
		senders:       make(map[int32]*sender),
		who:           identity{id: -1},
	}
	c.metrics.Gauge(`switchboard_bus_produce_pending_bytes`, func() float64 {
		p.mu.Lock()
		defer p.mu.Unlock()
		return float64(p.pending)
	})
	return p
}

// Produce implements [bus.Producer].
func (p *Producer) Produce(m bus.Message, done func(offset int64, err error)) error {
	size := len(m.Key) + len(m.Value)
	if batchHeader+recordOverhead+size > batchBytes {
		return fmt.Errorf("%s: %d bytes: %w", m.Topic, size, bus.ErrTooLarge)
	}
	size += lingerOverhead
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return bus.ErrClosed
	}
	l := p.lane(m.Topic, m.Partition)
	if p.pending+size > p.config.PendingBytes {
		p.overloadAll.Inc()
		return bus.ErrOverloaded
	}
	if *l.topicBytes+size > p.topic {
		p.overloadTopic.Inc()
		return bus.ErrOverloaded
	}
	p.pending += size
	*l.topicBytes += size
	p.records++
	l.queue = append(l.queue, record{key: m.Key, value: m.Value, done: done})
	if l.state == laneIdle {
		p.enqueue(l)
	}
	return nil
}

// lane returns the lane of a partition. Lanes are kept for ever: there are as
// many as partitions that this producer ever wrote to.
func (p *Producer) lane(topic string, partition int32) *lane {
	key := laneKey{topic, partition}
	l := p.lanes[key]
	if l == nil {
		bytes := p.topics[topic]
		if bytes == nil {
			bytes = new(int)
			p.topics[topic] = bytes
		}
		l = &lane{key: key, who: identity{id: -1}, topicBytes: bytes, traffic: p.client.produced(topic)}
		p.lanes[key] = l
	}
	return l
}

// enqueue hands a lane that has something to send to its sender, or to the
// resolver. The caller holds mu.
func (p *Producer) enqueue(l *lane) {
	if l.sender == nil {
		l.state = laneLost
		p.lost = append(p.lost, l)
		wake(p.wakeResolver)
		return
	}
	l.state = laneReady
	l.sender.ready = append(l.sender.ready, l)
	wake(l.sender.wake)
}

// wake fills a channel of capacity 1 unless it is full.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends, then tries to send what is left for the time that
// the configuration allows, and answers the rest with [bus.ErrClosed]. It
// returns nil, after the last done. It may be called once.
func (p *Producer) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	p.running.Go(func() { p.resolve(work) })
	<-ctx.Done()
	p.flush()
	stop()
	p.running.Wait()
	p.abandon()
	return nil
}

// flush refuses new records and waits until the old ones are done, or until it
// has waited long enough.
func (p *Producer) flush() {
	p.mu.Lock()
	p.closed = true
	idle := make(chan struct{})
	if p.records == 0 {
		close(idle)
	} else {
		p.idle = idle
	}
	p.mu.Unlock()
	timer := time.NewTimer(p.config.Flush)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

// abandon answers what could not be sent. No goroutine of the producer runs
// any more.
func (p *Producer) abandon() {
	p.mu.Lock()
	var left []record
	for _, l := range p.lanes {
		left = append(left, l.flight.records...)
		left = append(left, l.queue...)
		l.flight.records, l.queue = nil, nil
	}
	p.mu.Unlock()
	if len(left) > 0 {
		p.log.Warn("producer ended with unacknowledged records", "records", len(left))
	}
	for i := range left {
		left[i].done(-1, bus.ErrClosed)
	}
}

// resolve gives lanes without a sender one, for as long as ctx lives.
func (p *Producer) resolve(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wakeResolver:
		case <-timer.C:
		}
		if next := p.resolveDue(ctx); next > 0 {
			timer.Reset(next)
		}
	}
}

// resolveDue tries the lanes whose pause is over and returns how long the
// nearest of the others has still to wait, or 0 when there is none.
func (p *Producer) resolveDue(ctx context.Context) time.Duration {
	now := time.Now()
	var due []*lane
	p.mu.Lock()
	keep := p.lost[:0]
	for _, l := range p.lost {
		if l.notBefore.After(now) {
			keep = append(keep, l)
		} else {
			due = append(due, l)
		}
	}
	clear(p.lost[len(keep):])
	p.lost = keep
	p.mu.Unlock()
	if len(due) > 0 {
		p.place(ctx, due)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var next time.Duration
	for _, l := range p.lost {
		if wait := max(time.Until(l.notBefore), time.Millisecond); next == 0 || wait < next {
			next = wait
		}
	}
	return next
}

// place finds the leaders of lanes and hands them to the senders. Those without
// a leader come back to the resolver with a pause of their own.
func (p *Producer) place(ctx context.Context, due []*lane) {
	seen, err := p.client.layout(ctx)
	if err != nil {
		p.client.drop()
		p.log.Debug("producer cannot reach the cluster", "err", err)
	}
	who := identity{id: -1}
	if err == nil {
		if who, err = p.identify(ctx, due); err != nil {
			p.log.Debug("producer has no id", "err", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range due {
		broker, ok := seen.leader(l.key.topic, l.key.partition)
		if !ok && err == nil {
			p.refresh(ctx)
		}
		if l.who.id < 0 && who.id >= 0 {
			l.adopt(who)
		}
		if !ok || l.who.id < 0 {
			p.postpone(l, err)
			continue
		}
		l.sender = p.sender(ctx, broker)
		p.enqueue(l)
	}
}

// refresh has the transport look for partitions that it does not know. It does
// not wait, since others do not wait for what one topic lacks.
func (p *Producer) refresh(ctx context.Context) {
	if !p.refreshing.CompareAndSwap(false, true) {
		return
	}
	p.running.Go(func() {
		defer p.refreshing.Store(false)
		if err := p.client.refresh(ctx); err != nil {
			p.client.drop()
			p.log.Debug("refresh of the cluster's layout failed", "err", err)
		}
	})
}

// postpone leaves a lane that cannot be sent to the resolver. The caller holds
// mu.
func (p *Producer) postpone(l *lane, err error) {
	l.sender = nil
	l.state = laneLost
	l.notBefore = time.Now().Add(backoff(l.attempts))
	l.attempts++
	if refused(err) || l.attempts%patience == 0 {
		p.client.nagging.warn("records wait for a partition without a leader", l.key.topic, err,
			"topic", l.key.topic, "partition", l.key.partition, "records", len(l.queue)+len(l.flight.records))
	}
	p.lost = append(p.lost, l)
}

// identify returns the producer id for lanes that have none. Right after its
// start a broker answers with an error and the id −1, and whoever went on with
// that would produce without idempotence and never know.
func (p *Producer) identify(ctx context.Context, due []*lane) (identity, error) {
	p.mu.Lock()
	who := p.who
	p.mu.Unlock()
	settled := !slices.ContainsFunc(due, func(l *lane) bool { return l.who.id < 0 })
	if who.id >= 0 || settled {
		return who, nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	// Without −1 and −1 the request would claim to be producer 0.
	answer, err := p.client.kafka.InitProducerID(ctx, &kafkago.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		return who, fmt.Errorf("get a producer id: %w", err)
	}
	if answer.Producer == nil || answer.Producer.ProducerID < 0 {
		return who, errors.New("get a producer id: the broker answered without one")
	}
	who = identity{id: int64(answer.Producer.ProducerID), epoch: int16(answer.Producer.ProducerEpoch)}
	p.mu.Lock()
	p.who = who
	p.mu.Unlock()
	return who, nil
}

// sender returns the sender of a broker and starts it when it is new. The
// caller holds mu.
func (p *Producer) sender(ctx context.Context, broker int32) *sender {
	s := p.senders[broker]
	if s == nil {
		s = &sender{producer: p, broker: broker, wake: make(chan struct{}, 1), request: new(rawproduce.Request)}
		p.senders[broker] = s
		p.running.Go(func() { s.run(ctx) })
	}
	return s
}
