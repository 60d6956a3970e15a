package scylla

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"
	"golang.org/x/sync/errgroup"

	"switchboard/storage-worker/archive"
)

// writers is how many chains of one Write run at the same time. It is less than
// inFlight, so that one large batch leaves room for other partitions.
const writers = 64

// Write implements [archive.Store]. After the first failure nothing new is
// begun; what was under way ends by itself, within the driver's time-outs.
func (s *Store) Write(ctx context.Context, b *archive.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	began := time.Now()
	p, err := planned(b)
	if err == nil {
		p.chains = bundled(p.chains, s.spread, s.nodeOf)
		err = s.run(ctx, p)
	}
	if err != nil {
		s.meter.failures.Inc()
		return wrap(ctx, "write a batch", err)
	}
	s.meter.writes.UpdateDuration(began)
	s.meter.records.Add(b.Records)
	return nil
}

// run writes the chains, some at a time.
func (s *Store) run(ctx context.Context, p *plan) error {
	group, failed := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(writers, len(p.chains)) {
		group.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(p.chains)); i = next.Add(1) - 1 {
				if err := s.follow(ctx, failed, &p.chains[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// follow writes the mutations of a chain in their order, until another chain
// has failed.
func (s *Store) follow(ctx, failed context.Context, c *chain) error {
	l := s.lane
	if c.marks {
		l = s.marks
	}
	for i := range c.mutations {
		if err := l.enter(failed); err != nil {
			return err
		}
		err := s.apply(ctx, c.mutations[i].writes)
		l.leave()
		if err != nil {
			return err
		}
	}
	return nil
}

// apply writes what is one request.
func (s *Store) apply(ctx context.Context, writes []write) error {
	defer s.meter.wrote(writes, time.Now())
	if len(writes) == 1 {
		w := &writes[0]
		if err := s.session.ContextQuery(ctx, w.text, w.names).Bind(w.values...).ExecRelease(); err != nil {
			return fmt.Errorf("%s: %w", w.text, err)
		}
		return nil
	}
	batch := s.session.Session.Batch(gocql.UnloggedBatch).WithContext(ctx)
	for i := range writes {
		batch.Entries = append(batch.Entries, gocql.BatchEntry{Stmt: writes[i].text, Args: writes[i].values, Idempotent: true})
	}
	if err := s.session.ExecuteBatch(batch); err != nil {
		return fmt.Errorf("%d statements such as %s: %w", len(writes), writes[0].text, err)
	}
	return nil
}

// SetProgress implements [archive.Store]. The offset is the write timestamp, and
// so the highest wins.
func (s *Store) SetProgress(ctx context.Context, partition int32, p archive.Progress) error {
	if err := s.lane.enter(ctx); err != nil {
		return err
	}
	defer s.lane.leave()
	err := s.apply(ctx, []write{{statement: putProgress, values: []any{
		int64(p.Position.Generation), partition, p.Position.Offset, int64(p.Clock), p.Position.Offset,
	}}})
	return wrap(ctx, "write progress", err)
}

// wrap says what was attempted. When ctx has ended that is the error, whatever
// the driver made of it.
func wrap(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil {
		err = ended
	}
	return fmt.Errorf("%s: %w", what, err)
}
