package push

import (
	"context"
	"errors"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// follow notes what one partition of chat.status says about reading. The table
// keeps the maximum, so what is noted twice does no harm.
func (s *Sender) follow(ctx context.Context, claim bus.Claim) error {
	next := max(claim.Committed(), 0)
	for {
		err := s.followFrom(ctx, claim, &next)
		if !errors.Is(err, bus.ErrOffsetOutOfRange) {
			return err
		}
		// What was missed may cause a notification of something that was read.
		if next, _, err = s.cfg.Log.Bounds(ctx, claim.Topic(), claim.Partition()); err != nil {
			return err
		}
	}
}

func (s *Sender) followFrom(ctx context.Context, claim bus.Claim, next *int64) error {
	reader := s.cfg.Log.Open(claim.Topic(), claim.Partition(), *next)
	defer reader.Close()
	committed := time.Now()
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*CommitEvery)
		defer cancel()
		s.progress(last, claim, *next)
	}()
	for {
		records, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			continue
		}
		if reads := s.readsOf(records); len(reads) > 0 {
			if err := s.repeat(ctx, "the tables of devices", func() error { return s.cfg.Devices.SetRead(ctx, reads) }); err != nil {
				return err
			}
		}
		*next = records[len(records)-1].Offset + 1
		if time.Since(committed) < CommitEvery {
			continue
		}
		s.progress(ctx, claim, *next)
		committed = time.Now()
	}
}

// progress notes how far a partition is done with.
func (s *Sender) progress(ctx context.Context, claim bus.Claim, offset int64) bool {
	err := claim.Commit(ctx, offset)
	if err != nil && !errors.Is(err, bus.ErrLostClaim) {
		s.cfg.Logger.Warn("commit failed; a successor would repeat more",
			"topic", claim.Topic(), "partition", claim.Partition(), "error", err)
	}
	return err == nil
}

// readsOf returns what some records say about reading.
func (s *Sender) readsOf(records []bus.Record) (reads []devices.Read) {
	for i := range records {
		var status bus.Status
		if err := bus.ParseStatus(records[i].Value, &status); err != nil {
			s.unreadable.Inc()
			s.cfg.Logger.Error("unreadable record", "topic", records[i].Topic, "partition", records[i].Partition,
				"offset", records[i].Offset, "error", err)
			continue
		}
		if status.Outcome == 0 && status.Status == chat.Read {
			reads = append(reads, devices.Read{Key: devices.Key{User: status.User, Conversation: status.Conversation}, Seq: status.Seq})
		}
	}
	return reads
}
