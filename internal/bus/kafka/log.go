package kafka

import (
	"context"
	"errors"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"switchboard/internal/bus"
)

// partitionLog implements [bus.Log].
type partitionLog struct{ client *Client }

// Open implements [bus.Log].
func (l *partitionLog) Open(topic string, partition int32, offset int64) bus.Reader {
	return &reader{
		client: l.client, topic: topic, partition: partition, next: offset, arrived: make(chan struct{}, 1),
		traffic: l.client.fetched(topic),
	}
}

// Bounds implements [bus.Log]. It tries until ctx ends.
func (l *partitionLog) Bounds(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	what := fmt.Sprintf("get the bounds of %s/%d", topic, partition)
	err = l.client.retry(ctx, what, func(ctx context.Context) error {
		start, end, err = l.client.bounds(ctx, topic, partition)
		return err
	})
	return start, end, err
}

// Last implements [bus.Log]. It tries until ctx ends. The last offsets may
// belong to markers and not to records, so it looks further back, and further,
// until there is one.
func (l *partitionLog) Last(ctx context.Context, topic string, partition int32) (r bus.Record, ok bool, err error) {
	what := fmt.Sprintf("get the last record of %s/%d", topic, partition)
	err = l.client.retry(ctx, what, func(ctx context.Context) error {
		start, end, err := l.client.bounds(ctx, topic, partition)
		if err != nil {
			return err
		}
		for back := int64(1); ; back *= 16 {
			from := max(start, end-back)
			if r, ok, err = l.client.lastIn(ctx, want{topic, partition, from}, end); err != nil || ok || from == start {
				return err
			}
		}
	})
	return r, ok, err
}

// lastIn returns the last record between the want's offset and end.
func (c *Client) lastIn(ctx context.Context, w want, end int64) (last bus.Record, ok bool, err error) {
	for w.offset < end {
		gots, err := c.fetch(ctx, []want{w}, 0)
		if err != nil {
			return last, false, err
		}
		g := gots[0]
		if g.err != nil {
			return last, false, g.err
		}
		for i := range g.records {
			if g.records[i].Offset < end {
				last, ok = g.records[i], true
			}
		}
		if g.next == w.offset {
			return last, ok, fmt.Errorf("nothing at %d below the end %d", w.offset, end)
		}
		w.offset = g.next
	}
	return last, ok, nil
}

// bounds asks once.
func (c *Client) bounds(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	answer, err := c.kafka.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{
		topic: {kafkago.FirstOffsetOf(int(partition)), kafkago.LastOffsetOf(int(partition))},
	}})
	if err != nil {
		return 0, 0, err
	}
	for _, p := range answer.Topics[topic] {
		if p.Partition == int(partition) {
			if p.Error == nil && (p.FirstOffset < 0 || p.LastOffset < 0) {
				return 0, 0, kafkago.LeaderNotAvailable
			}
			return p.FirstOffset, p.LastOffset, p.Error
		}
	}
	return 0, 0, kafkago.UnknownTopicOrPartition
}

// retry tries until it works or ctx ends, and then says what it was about and
// why it failed the last time.
func (c *Client) retry(ctx context.Context, what string, try func(context.Context) error) error {
	var last error
	for n := 0; ; n++ {
		err := c.ask(ctx, try)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if refused(err) || n%patience == patience-1 {
			c.nagging.warn("log does not answer", what, err, "what", what)
		}
		c.recover(ctx, err)
		if !sleep(ctx, backoff(n)) {
			return fmt.Errorf("%s: %w (last error: %w)", what, ctx.Err(), last)
		}
	}
}

// ask tries once, when it is this question's turn.
func (c *Client) ask(ctx context.Context, try func(context.Context) error) error {
	select {
	case c.asking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.asking }()
	return try(ctx)
}

// recover does what may help against an error. Where a broker answered, or the
// transport did not know whom to ask, another look at the cluster is enough;
// everything else needs fresh connections too.
func (c *Client) recover(ctx context.Context, err error) {
	routing, answer := (*fetch.Error)(nil), kafkago.Error(0)
	if errors.As(err, &routing) || errors.As(err, &answer) {
		if err = c.refresh(ctx); err == nil {
			return
		}
	}
	if ctx.Err() == nil {
		c.drop()
	}
}

// Next implements [bus.Reader].
func (r *reader) Next(ctx context.Context) ([]bus.Record, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		records, err := r.taken()
		if len(records) > 0 {
			r.attempts = 0
			return records, nil
		}
		if err == nil {
			err = r.wait(ctx)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, bus.ErrClosed) {
			return nil, err
		}
		if err := r.mend(ctx, err); err != nil {
			return nil, err
		}
	}
}

// taken empties the buffer. Only when it is empty does an error count: what
// came before it is good.
func (r *reader) taken() ([]bus.Record, error) {
	r.mu.Lock()
	full := r.bytes >= bufferBytes
	records, err, p := r.records, r.err, r.poller
	r.records, r.bytes = nil, 0
	if len(records) == 0 {
		r.err = nil
	}
	r.mu.Unlock()
	if full && p != nil {
		p.roomMade()
	}
	return records, err
}

// wait makes sure that somebody fetches, and waits for what it brings.
func (r *reader) wait(ctx context.Context) error {
	r.mu.Lock()
	attached := r.poller != nil || r.err != nil || len(r.records) > 0
	r.mu.Unlock()
	if !attached {
		seen, err := r.client.layout(ctx)
		if err != nil {
			return err
		}
		broker, ok := seen.leader(r.topic, r.partition)
		if !ok {
			return kafkago.UnknownTopicOrPartition
		}
		if !r.client.attach(r, broker) {
			return bus.ErrClosed
		}
	}
	select {
	case <-r.arrived:
	case <-ctx.Done():
	case <-r.client.ctx.Done():
		return bus.ErrClosed
	}
	return nil
}

// mend decides what an error means: [bus.ErrOffsetOutOfRange], or another try
// after a pause. A new leader that is behind may refuse an offset that exists,
// so the bounds have the last word.
func (r *reader) mend(ctx context.Context, err error) error {
	if errors.Is(err, kafkago.OffsetOutOfRange) {
		next := r.fetchFrom()
		start, end, boundsErr := r.client.bounds(ctx, r.topic, r.partition)
		if boundsErr == nil && (next < start || next > end) {
			r.mu.Lock()
			r.err = err // It is so the next time, too.
			r.mu.Unlock()
			return fmt.Errorf("read %s/%d at %d, which holds %d to %d: %w",
				r.topic, r.partition, next, start, end, bus.ErrOffsetOutOfRange)
		}
	}
	if refused(err) || r.attempts%patience == patience-1 {
		r.client.nagging.warn("partition cannot be read", r.topic, err, "topic", r.topic, "partition", r.partition)
	}
	r.client.recover(ctx, err)
	r.attempts++
	if !sleep(ctx, backoff(r.attempts-1)) {
		return ctx.Err()
	}
	return nil
}

// Close implements [bus.Reader].
func (r *reader) Close() {
	r.mu.Lock()
	p := r.poller
	r.closed, r.poller, r.records = true, nil, nil
	r.mu.Unlock()
	if p != nil {
		p.remove(r)
	}
}
