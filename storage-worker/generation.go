package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/storage-worker/archive/scylla"
)

// anchorMargin is how far ahead of the host's clock a generation begins at least:
// what brokers let a record be in the future, so that whatever was decided last
// and is not known any more lies before it.
const anchorMargin = 5 * time.Second

// begin writes the anchor of each partition of a later generation: a record with
// the clock from which ids go on. Without it a message could get an id below one
// that the archive has. A partition that has its anchor is left alone.
func (m *migration) begin(ctx context.Context) error {
	if m.generation == bus.FirstGeneration {
		return nil
	}
	clock, err := m.lastClock(ctx)
	if err != nil {
		return err
	}
	clock = max(clock, chat.Clock(time.Now().Add(anchorMargin).UnixMicro()))
	var missing []int32
	for p := range int32(m.partitions) {
		there, err := m.anchored(ctx, p)
		if err != nil {
			return err
		}
		if !there {
			missing = append(missing, p)
		}
	}
	topic := bus.InboundTopic(m.generation)
	if len(missing) == 0 {
		return m.say(topic, "its anchors were there")
	}
	if err := m.anchor(ctx, missing, clock); err != nil {
		return err
	}
	return m.say(topic, fmt.Sprintf("anchored %d partitions at %s", len(missing), clock.Time().Format(time.RFC3339Nano)))
}

// lastClock returns the highest clock of the generation before: of the newest
// outcomes, and of the progress that is noted in the archive. One of them must be
// there.
func (m *migration) lastClock(ctx context.Context) (clock chat.Clock, err error) {
	old := m.generation - 1
	inbound, accepted := bus.InboundTopic(old), bus.AcceptedTopic(old)
	partitions, err := m.count(ctx, accepted)
	if err != nil {
		return 0, err
	}
	for p := range partitions {
		at, err := m.lastOutcome(ctx, accepted, p)
		if err != nil {
			return 0, err
		}
		clock = max(clock, at.Clock)
		if err := m.sayUndecided(ctx, inbound, p, at.Position); err != nil {
			return 0, err
		}
	}
	if m.archive != nil {
		store, err := scylla.Open(ctx, *m.archive)
		if err != nil {
			return 0, err
		}
		defer store.Close()
		for p := range int32(m.partitions) {
			noted, err := store.Progress(ctx, old, p)
			if err != nil {
				return 0, fmt.Errorf("read the progress of generation %d: %w", old, err)
			}
			clock = max(clock, noted.Clock)
		}
	}
	if clock == 0 {
		return 0, daemon.Usagef("-generation %d: nothing is known of generation %d, neither by %s nor by -cql: there is nothing to go on from", m.generation, old, accepted)
	}
	return clock, nil
}

// count returns how many partitions a topic has; a topic that was lost has none.
func (m *migration) count(ctx context.Context, topic string) (n int32, err error) {
	err = daemon.Retry(ctx, m.log, "look for "+topic, func(ctx context.Context) (err error) {
		n, err = m.client.Admin().Partitions(ctx, topic)
		if errors.Is(err, bus.ErrUnknownTopic) {
			n, err = 0, nil
		}
		return err
	})
	return n, err
}

// lastOutcome returns the newest outcome of a partition, or the zero value.
func (m *migration) lastOutcome(ctx context.Context, accepted string, p int32) (out bus.Accepted, err error) {
	r, ok, err := m.client.Log().Last(ctx, accepted, p)
	if err == nil && ok {
		err = bus.ParseAccepted(r.Value, &out)
	}
	if err != nil {
		return out, fmt.Errorf("read the last outcome of %s partition %d: %w", accepted, p, err)
	}
	return out, nil
}

// sayUndecided tells of records that the generation before leaves behind. Nobody
// was told that they are stored, so their senders will send them again.
func (m *migration) sayUndecided(ctx context.Context, inbound string, p int32, last chat.Position) error {
	if n, err := m.count(ctx, inbound); err != nil || p >= n {
		return err
	}
	start, end, err := m.client.Log().Bounds(ctx, inbound, p)
	if err != nil {
		return err
	}
	next := start
	if last.Generation != 0 {
		next = last.Offset + 1
	}
	if end <= next {
		return nil
	}
	return m.say(inbound, fmt.Sprintf("partition %d has %d records without an outcome, which stay so: were the workers stopped too early?", p, end-next))
}

// anchored reports whether a partition begins with its anchor.
func (m *migration) anchored(ctx context.Context, p int32) (bool, error) {
	topic := bus.InboundTopic(m.generation)
	start, end, err := m.client.Log().Bounds(ctx, topic, p)
	if err != nil || end == 0 {
		return false, err
	}
	if start > 0 {
		return true, nil // It has been in use for longer than records are kept.
	}
	reader := m.client.Log().Open(topic, p, 0)
	defer reader.Close()
	records, err := reader.Next(ctx)
	if err != nil {
		return false, fmt.Errorf("read the anchor of %s partition %d: %w", topic, p, err)
	}
	var in bus.Inbound
	if err := bus.ParseInbound(records[0].Value, &in); err != nil || in.Anchor == nil {
		return false, daemon.Usagef("%s partition %d does not begin with an anchor: programs wrote to it before migrate; make the next generation", topic, p)
	}
	return true, nil
}

// anchor appends the anchors and waits until all are acknowledged.
func (m *migration) anchor(ctx context.Context, partitions []int32, clock chat.Clock) error {
	producer := m.client.Producer(kafka.ProducerConfig{})
	producing, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = producer.Run(producing) // What counts is acknowledged, or has failed.
	}()
	defer func() {
		stop()
		<-ended
	}()
	acked := make(chan error, len(partitions))
	in := bus.Inbound{Anchor: &bus.Anchor{Clock: clock}}
	for _, p := range partitions {
		message := bus.Message{Topic: bus.InboundTopic(m.generation), Partition: p, Key: in.Conversation[:], Value: in.Append(nil)}
		if err := producer.Produce(message, func(_ int64, err error) { acked <- err }); err != nil {
			return fmt.Errorf("write an anchor: %w", err)
		}
	}
	for range partitions {
		select {
		case err := <-acked:
			if err != nil {
				return fmt.Errorf("write an anchor: %w", err)
			}
		case <-ctx.Done():
			return fmt.Errorf("write the anchors: %w", ctx.Err())
		}
	}
	return nil
}
