package fanout

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/metrics"
)

// overloadPause is the wait for a producer that has too much pending.
const overloadPause = 5 * time.Millisecond

// sender writes the records of one goroutine of a passage.
type sender struct {
	*Router
	producer  bus.Producer
	partition int32            // of the passage
	sent      *metrics.Counter // deliveries
	// missed is told of each record that was left out: on which road, where its
	// acks began, and what it said to those whom presence routed there.
	missed func(k road, from int64, said []bus.Frame)
	// owes says that something was left out on a road. All that follows is left out
	// too, open as the road may be by now, until the passage has gone back: a gateway
	// drops what is not above the last that it has, so what comes behind a hole
	// closes it for ever. It is nil where order does not count.
	owes func(k road) bool
	// has says that what comes from an offset is on a road already, where the passage
	// has gone back for the sake of another. It is nil where gateways drop all that
	// comes again.
	has func(k road, offset int64) bool
}

// write produces the deliveries and pushes of one matter.
func (s *sender) write(ctx context.Context, plan *plan, acks *acks) error {
	key := binary.BigEndian.AppendUint32(nil, uint32(s.partition))
	for _, d := range plan.deliveries {
		if s.has != nil && s.has(road{topic: bus.DeliveryTopic(d.server)}, plan.offset) {
			continue
		}
		m := bus.Message{Topic: bus.DeliveryTopic(d.server), Key: key, Value: d.record.Append(nil)}
		if err := s.produce(ctx, m, d.record.Frames, acks); err != nil {
			return fmt.Errorf("deliver to %s: %w", d.server, err)
		}
		s.sent.Inc()
	}
	for _, push := range plan.pushes {
		m := bus.Message{
			Topic:     bus.TopicPush,
			Partition: bus.PartitionOfUser(push.User, s.cfg.Partitions),
			Key:       append([]byte(nil), push.User[:]...),
			Value:     push.Append(nil),
		}
		if err := s.produce(ctx, m, nil, acks); err != nil {
			return fmt.Errorf("push: %w", err)
		}
		s.pushes.Inc()
	}
	return nil
}

// produce enqueues one record, waiting while the producer is overloaded: the
// router has nobody to refuse. On a blocked road it leaves the record out, which said
// that to those whom presence routed there.
func (s *sender) produce(ctx context.Context, m bus.Message, said []bus.Frame, acks *acks) error {
	k := road{m.Topic, m.Partition}
	for {
		if s.roads.blocked(k) || s.owes != nil && s.owes(k) {
			s.skipped.Inc()
			s.missed(k, acks.from, said)
			return nil
		}
		err := s.producer.Produce(m, acks.expect(k))
		if err == nil {
			return nil
		}
		acks.unexpect(k)
		if errors.Is(err, bus.ErrTooLarge) {
			s.roads.tooLarge(k)
			return nil
		}
		if !errors.Is(err, bus.ErrOverloaded) {
			return err
		}
		s.roads.refuse(k)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(overloadPause):
		}
	}
}
