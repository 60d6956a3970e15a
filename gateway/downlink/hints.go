package downlink

import (
	"context"
	"hash/maphash"
	"log/slog"
	"time"

	"switchboard/gateway/session"
	"switchboard/internal/bus"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
)

// HintsConfig is what Hints need.
type HintsConfig struct {
	Channel  presence.Channel
	Server   string // this gateway's slot
	Boot     uint64
	Sessions Sessions
	Logger   *slog.Logger
	Metrics  *metrics.Set
}

// Hints listen to the gateway's channel, on which everything is fleeting: typing,
// and who has come or gone. What comes while the loops are busy with what came
// before is dropped, and nobody is told. Other gateways say here which sessions have
// lost their place to newcomers of theirs; that is never dropped here.
//
//	channel of the server ──▶ Hints ──▶ session.Batch ──▶ every loop
//	                               └──▶ Replace, of one session
type Hints struct {
	// Fixed after construction.
	cfg  HintsConfig
	free chan *session.Batch

	// Owned by whoever hears.
	record bus.Delivery
	latest latest

	heard, unreadable, full, outdated *metrics.Counter
}

// NewHints returns what Run listens with.
func NewHints(cfg HintsConfig) *Hints {
	h := &Hints{
		cfg:        cfg,
		free:       make(chan *session.Batch, batches),
		latest:     latest{seed: maphash.MakeSeed()},
		heard:      cfg.Metrics.Counter("switchboard_gateway_hints_heard_total"),
		unreadable: cfg.Metrics.Counter("switchboard_gateway_hints_unreadable_total"),
		full:       cfg.Metrics.Counter("switchboard_gateway_hints_dropped_total"),
		outdated:   cfg.Metrics.Counter("switchboard_gateway_hints_outdated_total"),
	}
	for range batches {
		h.free <- session.NewBatch(func(b *session.Batch) {
			b.Reset()
			h.free <- b
		})
	}
	return h
}

// Run listens until ctx ends. Stop it before the loops.
func (h *Hints) Run(ctx context.Context) error {
	return h.cfg.Channel.Listen(ctx, h.cfg.Server, func() {}, h.hear)
}

// hear takes one publication.
func (h *Hints) hear(payload []byte) {
	if err := bus.ParseDelivery(payload, &h.record); err != nil {
		h.unreadable.Inc()
		h.cfg.Logger.Error("cannot read what was published", "server", h.cfg.Server, "error", err)
		return
	}
	if h.record.Class == bus.Durable {
		h.unreadable.Inc() // Nothing durable comes this way: it would pass no filter.
		return
	}
	for _, c := range h.record.Closes {
		if c.Boot == h.cfg.Boot {
			h.cfg.Sessions.Replace(c.User, c.Session)
		}
	}
	if len(h.record.Frames) == 0 {
		return
	}
	select {
	case b := <-h.free:
		h.deliver(b)
	default:
		h.full.Inc()
	}
}

func (h *Hints) deliver(b *session.Batch) {
	for i := range h.record.Frames {
		frame := &h.record.Frames[i]
		if len(frame.Key) > 0 && !h.latest.pass(frame.Key, frame.Order, time.Now()) {
			h.outdated.Inc()
			continue
		}
		b.Push(h.record.Class, frame.Payload, frame.Recipients, 0)
	}
	if b.Len() == 0 {
		b.Discard()
		return
	}
	h.heard.Inc()
	h.cfg.Sessions.Deliver(b)
}
