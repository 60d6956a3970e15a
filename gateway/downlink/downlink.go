// Package downlink reads this gateway's delivery topic and hands its frames to
// the sessions.
//
//	chat.delivery.<server> ──▶ Downlink ──filter──▶ session.Batch ──▶ every loop
//
// A router that was restarted, or does not know yet that another has its
// partition, repeats deliveries. The filter is by the inbound position: one
// number for each partition, and a durable record that is not above it is
// dropped, so that a repetition is neither shown twice nor out of order. What is
// only the latest of its kind, and signals, pass; but of frames that say the
// latest of the same thing none passes whose order is below that of one that has
// passed, see latest.go.
//
// The order of a connection's frames is the order of the topic. Nothing here
// waits for a socket; a client that does not read loses pushes and is told
// `behind`, see package session.
package downlink

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
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
	Replace(user chat.UserID, session uint64)
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
	free  chan *flight

	// Owned by Run.
	reader bus.Reader
	seen   []chat.Position // by partition: the highest that was delivered
	record bus.Delivery    // reused
	latest latest

	delivered, filtered, outdated, unreadable, jumps *metrics.Counter
	delivery                                         *metrics.Histogram // from the record's timestamp to the sockets
	whole                                            *metrics.Histogram // from that of the inbound record
}

// flight is a batch on its way to the loops, and where its oldest parts come
// from. It belongs to Run until it is delivered, then to the loops.
type flight struct {
	batch   *session.Batch
	routed  int64      // milliseconds, of the first delivery record
	decided chat.Clock // of the first answer, 0 if there is none: its inbound record's time
}

// New returns a downlink. Seek it before it runs.
func New(cfg Config) *Downlink {
	d := &Downlink{
		cfg:        cfg,
		topic:      bus.DeliveryTopic(cfg.Server),
		latest:     latest{seed: maphash.MakeSeed()},
		free:       make(chan *flight, batches),
		seen:       make([]chat.Position, cfg.Partitions),
		delivered:  cfg.Metrics.Counter("switchboard_gateway_deliveries_total"),
		filtered:   cfg.Metrics.Counter("switchboard_gateway_deliveries_repeated_total"),
		outdated:   cfg.Metrics.Counter("switchboard_gateway_frames_outdated_total"),
		unreadable: cfg.Metrics.Counter("switchboard_gateway_deliveries_unreadable_total"),
		jumps:      cfg.Metrics.Counter("switchboard_gateway_delivery_jumps_total"),
		delivery:   cfg.Metrics.Histogram("switchboard_gateway_delivery_seconds"),
		whole:      cfg.Metrics.Histogram("switchboard_gateway_whole_seconds"),
	}
	for range batches {
		f := new(flight)
		f.batch = session.NewBatch(func(*session.Batch) { d.landed(f) })
		d.free <- f
	}
	return d
}

// landed is called when all loops have written a batch's frames.
func (d *Downlink) landed(f *flight) {
	now := time.Now()
	d.delivery.Update(max(now.Sub(time.UnixMilli(f.routed)).Seconds(), 0))
	if f.decided != 0 {
		d.whole.Update(max(now.Sub(f.decided.Time()).Seconds(), 0))
	}
	f.batch.Reset()
	f.routed, f.decided = 0, 0
	d.free <- f
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
		var f *flight
		select {
		case f = <-d.free:
		case <-ctx.Done():
			return ctx.Err()
		}
		b := f.batch
		for len(records) > 0 && b.Len() < batchFrames && b.Bytes() < batchBytes {
			d.add(f, &records[0])
			records = records[1:]
		}
		if b.Len() == 0 {
			d.free <- f // All repeated or unreadable.
			continue
		}
		d.cfg.Sessions.Deliver(b)
	}
	return nil
}

// add puts one record's frames into a batch, unless they were delivered before.
func (d *Downlink) add(f *flight, r *bus.Record) {
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
	if f.routed == 0 {
		f.routed = r.Millis
	}
	if a := rec.Answer; a != nil && a.Boot == d.cfg.Boot {
		f.batch.Answer(a.Session, a.Payload)
		if f.decided == 0 && a.Outcome == bus.Stored {
			f.decided = chat.ClockOf(a.ID)
		}
	}
	for i := range rec.Frames {
		frame := &rec.Frames[i]
		if len(frame.Key) > 0 && !d.latest.pass(frame.Key, frame.Order, time.Now()) {
			d.outdated.Inc()
			continue
		}
		var except uint64
		if frame.ExceptBoot == d.cfg.Boot {
			except = frame.ExceptSession
		}
		f.batch.Push(rec.Class, frame.Payload, frame.Recipients, except)
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
