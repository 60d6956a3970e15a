package push

import (
	"context"
	"fmt"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/devices"
)

// errand is a try to take a notice to one device.
type errand struct {
	by       Carrier
	to       devices.Registration
	push     bus.Push
	millis   int64 // when that was said
	tries    int   // with this one
	refusals int   // before it, in a row
}

// carry runs an errand and reports when there is nothing left to do for it but to
// come again. When ctx ends it reports that it is to be done later, and whoever has
// the partition next does it.
func (p *passage) carry(ctx context.Context, e *errand) (r report) {
	trying, cancel := context.WithTimeout(ctx, AnswerTimeout)
	verdict, after, err := e.by.Carry(trying, &e.to, noticeOf(&e.push))
	cancel()
	if ctx.Err() != nil && verdict != Delivered {
		r.verdict, r.later = Later, true
		return r
	}
	log := p.cfg.Logger.With("user", e.to.User, "device", e.to.Device, "kind", string(e.to.Kind), "tries", e.tries)
	if verdict == Refused {
		p.refused[e.to.Kind].Inc()
		log.Debug("a device is refused", "error", err, "before", e.refusals)
		// The operator's webhook says itself which tokens are no good: if it refuses
		// everything it is out of order.
		if e.to.Kind == devices.WebPush && e.refusals+1 >= RefusalsMax {
			verdict = Gone
		}
	}
	switch r.verdict = verdict; {
	case verdict == Delivered:
		p.sent[e.to.Kind].Inc()
		p.delay.Update(max(time.Since(time.UnixMilli(e.millis)).Seconds(), 0))
		return r
	case verdict == Gone:
		err := p.repeat(ctx, "a device to be removed", func() error {
			return p.cfg.Devices.RemoveDead(ctx, e.to.User, e.to.Device, e.to.Address)
		})
		r.later = err != nil
		p.gone.Inc()
		log.Info("a device is gone")
		return r
	case verdict == Later && e.tries < p.cfg.Tries:
		p.retries.Inc()
		r.later, r.after = true, p.pause(e.tries, after)
		log.Debug("a device is tried again", "error", err, "in", r.after)
		return r
	case verdict == Later:
		log.Warn("a notification is not delivered", "error", err)
	}
	r.later = p.bury(ctx, &e.push) != nil
	return r
}

// bury puts what cannot be delivered on chat.undelivered and waits until it is
// there, or until ctx ends.
func (p *passage) bury(ctx context.Context, push *bus.Push) error {
	err := p.repeat(ctx, bus.TopicDead, func() error {
		acknowledged := make(chan error, 1)
		err := p.cfg.Producer.Produce(bus.Message{
			Topic: bus.TopicDead, Partition: bus.PartitionOfUser(push.User, p.cfg.Partitions),
			Key: append([]byte(nil), push.User[:]...), Value: push.Append(nil),
		}, func(_ int64, err error) { acknowledged <- err })
		if err != nil {
			return err
		}
		select {
		case err := <-acknowledged:
			return err
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", bus.TopicDead, ctx.Err())
		}
	})
	if err == nil {
		p.buried.Inc()
	}
	return err
}
