package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"switchboard/internal/chat"
)

const (
	// checkpointEvery is how often the size of the write-ahead log is looked at.
	checkpointEvery = time.Second
	// checkpointPages is how long the log may become before it is moved into
	// the file: 128 MiB. The longer, the more often a page that was written again
	// and again is moved only once, and the rarer the fsync that everybody on the
	// same disk feels. Opening a log of that length takes some tenths of a second.
	checkpointPages = 128 << 20 / pageBytes
	// walKeepBytes is to what the log's file shrinks when it starts anew.
	walKeepBytes = 192 << 20
	// sweepKeys bounds one step of looking for expired keys.
	sweepKeys = 512
	// sweepPause lets others have the disk between two steps.
	sweepPause = 20 * time.Millisecond
)

// checkpoints moves the write-ahead log into the file, beside the writer, until
// ctx ends. SQLite's own way is to let the commit which fills the log do it,
// and that message then waits for it all.
func (s *Store) checkpoints(ctx context.Context) {
	ticker := time.NewTicker(checkpointEvery)
	defer ticker.Stop()
	failures := s.config.Metrics.Counter(`switchboard_archive_checkpoint_failures_total`)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := s.checkpoint(ctx, checkpointPages); err != nil && ctx.Err() == nil {
			failures.Inc() // tried again at the next tick; the log grows meanwhile
		}
	}
}

// checkpoint moves most of a log of at least so many pages while the writer goes
// on, and then, between two transactions, the little that came meanwhile: only a
// log that was moved wholly starts anew instead of growing.
func (s *Store) checkpoint(ctx context.Context, from int64) error {
	pages, err := queryInts(ctx, s.checkpointer, "PRAGMA wal_checkpoint(NOOP)", 3)
	if err != nil || pages[1]-pages[2] < from {
		return err
	}
	// The second time moves what came during the first, so that the third, which
	// the writer waits for, has little to write and to sync.
	for range 2 {
		if _, err := queryInts(ctx, s.checkpointer, "PRAGMA wal_checkpoint(PASSIVE)", 3); err != nil {
			return err
		}
	}
	return s.writer.submit(ctx, &job{task: func(ctx context.Context, conn driver.Conn) error {
		_, err := queryInts(ctx, conn, "PRAGMA wal_checkpoint(PASSIVE)", 3)
		return err
	}})
}

// sweeps removes expired keys until ctx ends.
func (s *Store) sweeps(ctx context.Context) {
	ticker := time.NewTicker(s.config.Sweep)
	defer ticker.Stop()
	removed := s.config.Metrics.Counter(`switchboard_archive_expired_keys_total`)
	failures := s.config.Metrics.Counter(`switchboard_archive_sweep_failures_total`)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		n, err := s.sweep(ctx, sweepPause)
		removed.Add(n)
		if err != nil && ctx.Err() == nil {
			failures.Inc() // the next sweep begins from the start
		}
	}
}

// keyRow names a row of message_keys and tells its age by its message id.
type keyRow struct {
	conversation, sender, request []byte
	generation, offset            int64
	id                            []byte
}

// sweep goes once through all keys, in small steps, and returns how many it
// removed. A key has expired when its clock is [chat.KeyTTL] behind the clock
// of its own partition, which stands in its message id: another partition may
// be days behind, and its keys are young to it.
func (s *Store) sweep(ctx context.Context, pause time.Duration) (removed int, err error) {
	clocks, err := s.clocks(ctx)
	if err != nil {
		return 0, err
	}
	last := keyRow{conversation: []byte{}, sender: []byte{}, request: []byte{}}
	for {
		keys, err := collect(ctx, s.reader.keys, func(rows *sql.Rows, k *keyRow) error {
			return rows.Scan(&k.conversation, &k.sender, &k.request, &k.generation, &k.offset, &k.id)
		}, last.conversation, last.sender, last.request, last.generation, last.offset, sweepKeys)
		if err != nil {
			return removed, fmt.Errorf("look for expired keys: %w", err)
		}
		if expired := expiredOf(keys, clocks); len(expired) > 0 {
			if err := s.remove(ctx, expired); err != nil {
				return removed, err
			}
			removed += len(expired)
		}
		if len(keys) < sweepKeys {
			return removed, nil
		}
		last = keys[len(keys)-1]
		select {
		case <-ctx.Done():
			return removed, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// clocks returns the newest clock of each partition.
func (s *Store) clocks(ctx context.Context) (map[uint32]chat.Clock, error) {
	type row struct {
		partition uint32
		clock     chat.Clock
	}
	rows, err := collect(ctx, s.reader.clocks, func(rows *sql.Rows, r *row) error {
		return rows.Scan(&r.partition, &r.clock)
	})
	clocks := make(map[uint32]chat.Clock, len(rows))
	for _, r := range rows {
		clocks[r.partition] = r.clock
	}
	return clocks, s.wrap("read the partitions' clocks", err)
}

func expiredOf(keys []keyRow, clocks map[uint32]chat.Clock) (expired []keyRow) {
	for _, k := range keys {
		id := fromTimeOrdered(k.id)
		now, known := clocks[chat.PartitionOf(id)]
		if known && chat.ClockOf(id)+chat.Ticks(chat.KeyTTL) < now {
			expired = append(expired, k)
		}
	}
	return expired
}

// remove deletes the keys in one transaction, when no Write waits.
func (s *Store) remove(ctx context.Context, expired []keyRow) error {
	return s.writer.submit(ctx, &job{task: func(ctx context.Context, conn driver.Conn) error {
		return s.writer.within(ctx, func() error {
			for _, k := range expired {
				err := step(ctx, s.writer.removeKey,
					driver.NamedValue{Ordinal: 1, Value: k.conversation}, driver.NamedValue{Ordinal: 2, Value: k.sender},
					driver.NamedValue{Ordinal: 3, Value: k.request}, driver.NamedValue{Ordinal: 4, Value: k.generation},
					driver.NamedValue{Ordinal: 5, Value: k.offset})
				if err != nil {
					return fmt.Errorf("remove an expired key: %w", err)
				}
			}
			return nil
		})
	}})
}
