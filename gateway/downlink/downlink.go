// Package downlink reads this gateway's delivery topic and hands its frames to
// the sessions.
//
//	chat.delivery.<server> ──▶ Downlink ──filter──▶ session.Batch ──▶ every loop
//
// A router that was restarted, or does not know yet that another has its
// partition, repeats deliveries. The filter is by the inbound position: one
// number for each partition, and a durable record that is not above it is
// dropped, so that a repetition is neither shown twice nor out of order. What is
// only the latest of its kind, and signals, pass.
//
// The order of a connection's frames is the order of the topic. Nothing here
// waits for a socket; a client that does not read loses pushes and is told
// `behind`, see package session.
package downlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"switchboard/gateway/session"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// The limits of what is on its way to the loops.
const (
	// batches bounds how many batches the loops have not finished; then reading
	// waits for them.
	batches = 32
	// batchFrames and batchBytes end a batch, so that a loop gets to its sockets
	// in between.
	batchFrames = 512
	batchBytes  = 512 << 10
)

// Sessions is where frames go: a [session.Keeper].
type Sessions interface {
	Deliver(b *session.Batch)
	Behind(reason string)
}

// Config is what a Downlink needs.
type Config struct {
	Log        bus.Log
	Server     string // this gateway's slot
	Boot       uint64
	Partitions int32 // of the inbound log
	Sessions   Sessions
	Logger     *slog.Logger
	Metrics    *metrics.Set
}

// Downlink reads one delivery topic.
type Downlink struct {
	// Fixed after construction.
	cfg   Config
	topic string
	free  chan *session.Batch

	// Owned by Run.
	reader bus.Reader
	seen   []chat.Position // by partition: the highest that was delivered
	record bus.Delivery    // reused

	delivered, filtered, unreadable, jumps *metrics.Counter
	seconds                                *metrics.Histogram
}

// New returns a downlink. Seek it before it runs.
func New(cfg Config) *Downlink {
	d := &Downlink{
		cfg:        cfg,
		topic:      bus.DeliveryTopic(cfg.Server),
		free:       make(chan *session.Batch, batches),
		seen:       make([]chat.Position, cfg.Partitions),
		delivered:  cfg.Metrics.Counter("switchboard_gateway_deliveries_total"),
		filtered:   cfg.Metrics.Counter("switchboard_gateway_deliveries_repeated_total"),
		unreadable: cfg.Metrics.Counter("switchboard_gateway_deliveries_unreadable_total"),
		jumps:      cfg.Metrics.Counter("switchboard_gateway_delivery_jumps_total"),
		seconds:    cfg.Metrics.Histogram(`switchboard_delivery_seconds{hop="route_gateway"}`),
	}
	for range batches {
		d.free <- session.NewBatch(func(b *session.Batch) {
			b.Reset()
			d.free <- b
		})
	}
	return d
}

// Seek asks for the end of the topic and makes Run begin at that number. It
// comes before anything that makes routers write to this server: "from the end"
// as a wish would be resolved at the first fetch, too late.
func (d *Downlink) Seek(ctx context.Context) error {
	_, end, err := d.cfg.Log.Bounds(ctx, d.topic, 0)
	if err != nil {
		return fmt.Errorf("find the end of %s: %w", d.topic, err)
	}
	if d.reader != nil {
		d.reader.Close()
	}
	d.reader = d.cfg.Log.Open(d.topic, 0, end)
	return nil
}

// Close lets the topic go, for a downlink that was sought and did not run.
func (d *Downlink) Close() {
	if d.reader != nil {
		d.reader.Close()
		d.reader = nil
	}
}

// Run delivers until ctx ends. Stop it before the loops: they own what is on its
// way.
func (d *Downlink) Run(ctx context.Context) error {
	defer d.Close()
	for {
		records, err := d.reader.Next(ctx)
		switch {
		case errors.Is(err, bus.ErrOffsetOutOfRange):
			err = d.jump(ctx)
		case err == nil:
			err = d.deliver(ctx, records)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", d.topic, err)
		}
	}
}

// jump goes on at the end of a topic that does not hold the next record any
// more. What was missed is in history: clients are told when pushing works.
func (d *Downlink) jump(ctx context.Context) error {
	d.jumps.Inc()
	d.cfg.Logger.Warn("the delivery topic lost its place, everybody has to sync", "topic", d.topic)
	if err := d.Seek(ctx); err != nil {
		return err
	}
	d.cfg.Sessions.Behind("routing")
	return nil
}

// deliver makes batches of records and hands them on.
func (d *Downlink) deliver(ctx context.Context, records []bus.Record) error {
	for len(records) > 0 {
		var b *session.Batch
		select {
		case b = <-d.free:
		case <-ctx.Done():
			return ctx.Err()
		}
		for len(records) > 0 && b.Len() < batchFrames && b.Bytes() < batchBytes {
			d.add(b, &records[0])
			records = records[1:]
		}
		if b.Len() == 0 {
			d.free <- b // All repeated or unreadable.
			continue
		}
		d.cfg.Sessions.Deliver(b)
	}
	return nil
}

// add puts one record's frames into a batch, unless they were delivered before.
func (d *Downlink) add(b *session.Batch, r *bus.Record) {
	rec := &d.record
	if err := bus.ParseDelivery(r.Value, rec); err != nil {
		d.unreadable.Inc()
		d.cfg.Logger.Error("cannot read a delivery", "topic", d.topic, "offset", r.Offset, "error", err)
		return
	}
	if rec.Class == bus.Durable && !d.fresh(rec) {
		return
	}
	d.delivered.Inc()
	d.seconds.Update(time.Since(time.UnixMilli(r.Millis)).Seconds())
	if a := rec.Answer; a != nil && a.Boot == d.cfg.Boot {
		b.Answer(a.Session, a.Payload)
	}
	for i := range rec.Frames {
		f := &rec.Frames[i]
		var except uint64
		if f.ExceptBoot == d.cfg.Boot {
			except = f.ExceptSession
		}
		b.Push(rec.Class, f.Payload, f.Recipients, except)
	}
}

// fresh reports whether a durable record is above all that came before it from
// its partition, and remembers it.
func (d *Downlink) fresh(rec *bus.Delivery) bool {
	if int(rec.Partition) >= len(d.seen) {
		d.unreadable.Inc()
		d.cfg.Logger.Error("a delivery names a partition that does not exist",
			"topic", d.topic, "partition", rec.Partition, "partitions", len(d.seen))
		return false
	}
	last := &d.seen[rec.Partition]
	if rec.Position.Compare(*last) <= 0 {
		d.filtered.Inc()
		return false
	}
	*last = rec.Position
	return true
}
