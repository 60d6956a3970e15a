package push

import (
	"context"
	"fmt"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/devices"
)

// errand takes a notice to one device, for the tries-th time, and reports when
// there is nothing left to do for it but to come again. When ctx ends it reports
// that it is to be done later, and whoever has the partition next does it.
func (p *passage) errand(ctx context.Context, by Carrier, t *task, to *devices.Registration, push bus.Push, millis int64, tries int) report {
	r := report{task: t, device: to.Device}
	trying, cancel := context.WithTimeout(ctx, AnswerTimeout)
	verdict, after, err := by.Carry(trying, to, noticeOf(&push))
	cancel()
	if ctx.Err() != nil && verdict != Delivered {
		r.later = true
		return r
	}
	log := p.cfg.Logger.With("user", to.User, "device", to.Device, "kind", string(to.Kind), "tries", tries)
	switch {
	case verdict == Delivered:
		p.sent[to.Kind].Inc()
		p.delay.Update(max(time.Since(time.UnixMilli(millis)).Seconds(), 0))
		return r
	case verdict == Gone:
		err := p.repeat(ctx, "a device to be removed", func() error {
			return p.cfg.Devices.RemoveDead(ctx, to.User, to.Device, to.Address)
		})
		r.later = err != nil
		p.gone.Inc()
		log.Info("a device is gone")
		return r
	case verdict == Later && tries < p.cfg.Tries:
		p.retries.Inc()
		r.later, r.after = true, p.pause(tries, after)
		log.Debug("a device is tried again", "error", err, "in", r.after)
		return r
	}
	log.Warn("a notification is not delivered", "error", err)
	r.later = p.bury(ctx, &push) != nil
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
