package kafka

import (
	"bytes"
	"context"
	"errors"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"switchboard/internal/bus"
)

const (
	acksAll    = -1
	acksLeader = 1
	// patience is after how many fruitless attempts a lane is worth a line in
	// the log: about 9 s, then every 12 s.
	patience = 24
)

// record is what waits in a lane.
type record struct {
	key, value []byte
	done       func(offset int64, err error)
}

type laneKey struct {
	topic     string
	partition int32
}

type laneState uint8

const (
	laneIdle   laneState = iota // nothing to send
	laneReady                   // in its sender's list
	laneFlying                  // its batch is in a request
	laneLost                    // in the resolver's list
)

// flight is the batch under way: once encoded it does not change until it is
// acknowledged, but for its identity when the broker lost ours.
type flight struct {
	records []record
	bytes   []byte // encoded; empty when not yet
	held    bool   // a request that was given up may still be reading bytes
	count   int    // records that bytes carries
}

// lane is the queue of one partition.
type lane struct {
	key        laneKey
	topicBytes *int // guarded by the producer's mu
	traffic    *traffic

	// Guarded by the producer's mu.
	state     laneState
	queue     []record
	sender    *sender   // of the leader, when known
	notBefore time.Time // pause before the resolver looks at it

	// Owned by the goroutine that has the lane: a sender while it is flying,
	// the resolver while it is lost.
	flight   flight
	who      identity // id −1 before the first
	sequence int32    // of the first record in flight
	attempts int      // fruitless ones in a row
	limit    int      // bytes of a batch, once the topic showed that it takes less than most
	answer   *produce.ResponsePartition
}

// adopt gives the lane an identity that no broker has seen for it.
func (l *lane) adopt(who identity) {
	l.who, l.sequence = who, 0
	if len(l.flight.bytes) > 0 {
		if l.flight.held {
			l.flight.bytes, l.flight.held = bytes.Clone(l.flight.bytes), false
		}
		stamp(l.flight.bytes, who, 0)
	}
}

// load moves records from the queue into flight, as many as one batch holds.
// The caller holds mu.
func (l *lane) load() (size int) {
	limit := batchBytes
	if l.limit > 0 {
		limit = l.limit
	}
	size, n := batchHeader, 0
	for n < len(l.queue) {
		next := len(l.queue[n].key) + len(l.queue[n].value) + recordOverhead
		if n > 0 && size+next > limit {
			break
		}
		size += next
		n++
	}
	if n == len(l.queue) {
		l.flight.records, l.queue = l.queue, l.flight.records[:0]
		return size
	}
	l.flight.records = append(l.flight.records[:0], l.queue[:n]...)
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	return size
}

// encode makes the batch, unless it is there from an earlier attempt.
func (l *lane) encode() {
	if len(l.flight.bytes) == 0 {
		l.flight.bytes = appendBatch(l.flight.bytes, l.flight.records, l.who, l.sequence, time.Now().UnixMilli())
		l.flight.count = len(l.flight.records)
	}
}

// land forgets the batch, which was acknowledged.
func (l *lane) land() {
	l.sequence = nextSequence(l.sequence, l.flight.count)
	clear(l.flight.records)
	l.flight.records = l.flight.records[:0]
	l.unencode()
}

// unencode keeps the buffer of the batch for the next one, unless somebody may
// still read it or it is large.
func (l *lane) unencode() {
	if l.flight.held || cap(l.flight.bytes) > batchBytes/4 {
		l.flight.bytes = nil
	}
	l.flight.bytes, l.flight.held = l.flight.bytes[:0], false
}

// sender has one request under way to one broker.
type sender struct {
	producer *Producer
	broker   int32
	wake     chan struct{} // capacity 1

	ready []*lane // guarded by the producer's mu

	// Owned by run.
	flying  []*lane
	readers []bytes.Reader
	request *rawproduce.Request
}

func (s *sender) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		for s.take() && ctx.Err() == nil {
			s.send(ctx)
		}
	}
}

// take loads what the ready lanes have, up to the bound of a request. It
// reports whether there is something.
func (s *sender) take() bool {
	s.flying = s.flying[:0]
	p := s.producer
	p.mu.Lock()
	defer p.mu.Unlock()
	total, n := 0, 0
	for ; n < len(s.ready) && total < requestBytes; n++ {
		l := s.ready[n]
		l.state = laneFlying
		if len(l.flight.records) == 0 {
			total += l.load()
		} else {
			total += len(l.flight.bytes)
		}
		s.flying = append(s.flying, l)
	}
	rest := copy(s.ready, s.ready[n:])
	clear(s.ready[rest:])
	s.ready = s.ready[:rest]
	return n > 0
}

// send makes one request of the lanes that were taken and settles each.
func (s *sender) send(ctx context.Context) {
	p := s.producer
	s.compose()
	limited, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	start := time.Now()
	p.requests.Inc()
	message, err := p.client.transport.RoundTrip(limited, p.client.addr, s.request)
	p.latency.Update(time.Since(start).Seconds())
	if err != nil {
		s.failed(ctx, err)
		return
	}
	p.distribute(message.(*produce.Response))
	for _, l := range s.flying {
		answer := l.answer
		l.answer = nil
		s.settle(ctx, l, answer)
	}
}

// distribute gives each lane its part of the answer.
func (p *Producer) distribute(response *produce.Response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range response.Topics {
		t := &response.Topics[i]
		for j := range t.Partitions {
			l := p.lanes[laneKey{t.Topic, t.Partitions[j].Partition}]
			if l != nil && l.state == laneFlying {
				l.answer = &t.Partitions[j]
			}
		}
	}
}

// compose fills the request. Partitions of a topic that follow one another
// share an entry; a topic may have several.
func (s *sender) compose() {
	r := s.request
	r.Acks = acksAll
	if s.producer.config.Leader {
		r.Acks = acksLeader
	}
	r.Timeout = int32(s.producer.config.Timeout / time.Millisecond * 5 / 6)
	r.Topics = r.Topics[:0]
	if cap(s.readers) < len(s.flying) {
		s.readers = make([]bytes.Reader, len(s.flying)+8)
	}
	s.readers = s.readers[:len(s.flying)]
	for i, l := range s.flying {
		l.encode()
		s.readers[i].Reset(l.flight.bytes)
		t := topicEntry(r, l.key.topic)
		t.Partitions = append(t.Partitions, rawproduce.RequestPartition{
			Partition: l.key.partition,
			RecordSet: protocol.RawRecordSet{Reader: &s.readers[i]},
		})
	}
}

// topicEntry returns the request's entry of a topic, reusing the memory of
// earlier requests.
func topicEntry(r *rawproduce.Request, topic string) *rawproduce.RequestTopic {
	for i := range r.Topics {
		if r.Topics[i].Topic == topic {
			return &r.Topics[i]
		}
	}
	n := len(r.Topics)
	if n < cap(r.Topics) {
		r.Topics = r.Topics[:n+1]
		r.Topics[n].Topic = topic
		r.Topics[n].Partitions = r.Topics[n].Partitions[:0]
	} else {
		r.Topics = append(r.Topics, rawproduce.RequestTopic{Topic: topic})
	}
	return &r.Topics[n]
}

// failed is called when the request as a whole got no answer. Whether a batch
// was appended is unknown; the repetition has the same sequence and finds out.
func (s *sender) failed(ctx context.Context, err error) {
	p := s.producer
	p.retries.Inc()
	if routing := (*rawproduce.Error)(nil); errors.As(err, &routing) {
		p.refresh(ctx) // It was not sent: the transport knows no common leader.
	} else {
		p.client.drop()
	}
	p.log.Debug("produce request failed", "broker", s.broker, "lanes", len(s.flying), "err", err)
	// A connection that was given up may still read these.
	s.request = new(rawproduce.Request)
	s.readers = nil
	for _, l := range s.flying {
		l.flight.held = true
		s.giveUp(l)
	}
}

// giveUp hands a lane to the resolver, with its batch as it is.
func (s *sender) giveUp(l *lane) {
	p := s.producer
	p.mu.Lock()
	defer p.mu.Unlock()
	l.sender = nil
	l.state = laneLost
	l.notBefore = time.Now().Add(backoff(l.attempts))
	l.attempts++
	p.lost = append(p.lost, l)
	wake(p.wakeResolver)
}

// settle acts on the answer for one lane.
func (s *sender) settle(ctx context.Context, l *lane, answer *produce.ResponsePartition) {
	if answer == nil {
		s.retry(l, protocol.ErrNoPartition)
		return
	}
	switch err := kafkago.Error(answer.ErrorCode); err {
	case 0:
		s.acknowledge(l, answer.BaseOffset)
	case kafkago.DuplicateSequenceNumber:
		// Appended so long ago that the broker forgot where.
		s.acknowledge(l, -1)
	case kafkago.OutOfOrderSequenceNumber, kafkago.UnknownProducerId, kafkago.InvalidProducerEpoch, kafkago.InvalidProducerIDMapping:
		s.reset(l, err)
	case kafkago.MessageSizeTooLarge, kafkago.RecordListTooLarge:
		s.split(l)
	case kafkago.NotLeaderForPartition, kafkago.LeaderNotAvailable, kafkago.BrokerNotAvailable, kafkago.UnknownTopicOrPartition:
		s.producer.refresh(ctx)
		s.retry(l, err)
	default:
		s.retry(l, err)
	}
}

func (s *sender) retry(l *lane, err error) {
	p := s.producer
	p.retries.Inc()
	if refused(err) || l.attempts%patience == patience-1 {
		p.client.nagging.warn("records are refused and tried again", l.key.topic, err,
			"topic", l.key.topic, "partition", l.key.partition, "records", len(l.flight.records))
	}
	s.giveUp(l)
}

// reset gives the lane a fresh identity: see the comment of [Producer].
func (s *sender) reset(l *lane, err error) {
	p := s.producer
	p.resets.Inc()
	p.log.Warn("broker lost the producer's state", "topic", l.key.topic, "partition", l.key.partition,
		"producer", l.who.id, "sequence", l.sequence, "err", err)
	p.mu.Lock()
	if p.who == l.who {
		p.who.id = -1 // Ask for another; lanes that do well keep the old one.
	}
	p.mu.Unlock()
	l.who.id = -1
	s.giveUp(l)
}

// split halves a batch that the topic's own limit refuses, and those that
// follow. It was not appended, so its sequence is free. A single record that is too large can never be
// written; the caller is told, since waiting for ever would block its partition.
func (s *sender) split(l *lane) {
	if len(l.flight.records) == 1 {
		l.flight.count = 0 // No sequence was used.
		s.finish(l, -1, bus.ErrTooLarge)
		return
	}
	p := s.producer
	half := len(l.flight.records) / 2
	p.mu.Lock()
	l.queue = append(append(make([]record, 0, len(l.queue)+half+1), l.flight.records[half:]...), l.queue...)
	p.mu.Unlock()
	clear(l.flight.records[half:])
	l.flight.records = l.flight.records[:half]
	l.limit = len(l.flight.bytes) / 2
	l.unencode()
	s.giveUp(l)
}

func (s *sender) acknowledge(l *lane, base int64) { s.finish(l, base, nil) }

// finish calls done for all records in flight, in order, and makes the lane
// ready for more.
func (s *sender) finish(l *lane, base int64, err error) {
	size := 0
	for i := range l.flight.records {
		r := &l.flight.records[i]
		size += len(r.key) + len(r.value) + lingerOverhead
		offset := base
		if base >= 0 {
			offset += int64(i)
		}
		r.done(offset, err)
	}
	n := len(l.flight.records)
	if err == nil {
		l.traffic.add(n, len(l.flight.bytes))
	}
	l.land()
	p := s.producer
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending -= size
	*l.topicBytes -= size
	p.records -= n
	l.attempts = 0
	if len(l.queue) > 0 {
		p.enqueue(l)
	} else {
		l.state = laneIdle
	}
	if p.records == 0 && p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
}
