package scylla

import (
	"context"
	"slices"

	"github.com/gocql/gocql"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// Tip implements [archive.Store]. An older border is found by searching seq,
// since ids ascend with it.
func (s *Store) Tip(ctx context.Context, c chat.ConversationID, border chat.MessageID) (archive.Tip, error) {
	tip, err := s.newest(ctx, c)
	if err != nil || border.IsZero() || below(tip, border) {
		return tip, err
	}
	// The answer is in [low, high); found is the newest known event below the
	// border.
	var found archive.Tip
	low, high := chat.Seq(1), tip.Seq
	for low < high {
		middle := low + (high-low)/2
		tip, err := s.upTo(ctx, c, middle)
		if err != nil {
			return archive.Tip{}, err
		}
		if below(tip, border) {
			found, low = tip, middle+1
		} else {
			high = tip.Seq // Nothing lies between it and middle.
		}
	}
	return found, nil
}

// below reports whether a tip answers for the border; the zero tip does.
func below(t archive.Tip, border chat.MessageID) bool {
	return t.Seq == 0 || chat.CompareMessageIDs(t.ID, border) < 0
}

// newest returns the newest event that can be read. The stored head says in
// which bucket to begin. It may be too low, since a writer may have died before
// it wrote the head: a bucket that is full is followed by the next. Or too high,
// since a head has no order with its event: an empty bucket is followed by the
// one before.
func (s *Store) newest(ctx context.Context, c chat.ConversationID) (archive.Tip, error) {
	head, _, err := first(ctx, s, s.lane, &getHead, func(scan func(...any) bool, seq *int64) (bool, error) {
		return scan(seq), nil
	}, gocql.UUID(c))
	if err != nil {
		return archive.Tip{}, err
	}
	bucket := chat.Seq(max(head, 1)).Bucket()
	tip, err := s.newestIn(ctx, c, bucket)
	for ; err == nil && tip.Seq == 0 && bucket > 0; bucket-- {
		tip, err = s.newestIn(ctx, c, bucket-1)
	}
	for err == nil && tip.Seq != 0 && full(tip.Seq) {
		var next archive.Tip
		if next, err = s.newestIn(ctx, c, (tip.Seq + 1).Bucket()); next.Seq == 0 {
			break
		}
		tip = next
	}
	return tip, err
}

// full reports whether seq is the last of its bucket.
func full(seq chat.Seq) bool { return seq.Bucket() != (seq + 1).Bucket() }

func (s *Store) newestIn(ctx context.Context, c chat.ConversationID, bucket int64) (archive.Tip, error) {
	tip, _, err := first(ctx, s, s.lane, &getNewest, scanTip, gocql.UUID(c), bucket)
	return tip, err
}

// upTo returns the newest event with a seq of at most seq: in its bucket, unless
// that has nothing so low.
func (s *Store) upTo(ctx context.Context, c chat.ConversationID, seq chat.Seq) (tip archive.Tip, err error) {
	for bucket := seq.Bucket(); err == nil && tip.Seq == 0 && bucket >= 0; bucket-- {
		tip, _, err = first(ctx, s, s.lane, &getUpTo, scanTip, gocql.UUID(c), bucket, int64(seq))
	}
	return tip, err
}

func scanTip(scan func(...any) bool, tip *archive.Tip) (bool, error) {
	return scan((*int64)(&tip.Seq), (*gocql.UUID)(&tip.ID)), nil
}

// Entries implements [archive.Store], one read for each bucket.
func (s *Store) Entries(ctx context.Context, c chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]archive.Row, error) {
	from = max(from, 1)
	if err := ctx.Err(); err != nil || from > to || limit < 1 {
		return nil, err
	}
	if newest {
		return s.highest(ctx, c, from, to, limit)
	}
	return s.lowest(ctx, c, from, to, limit)
}

// lowest reads buckets upwards. Since seq is dense, one that is not full is the
// last.
func (s *Store) lowest(ctx context.Context, c chat.ConversationID, from, to chat.Seq, limit int) (all []archive.Row, err error) {
	for bucket := from.Bucket(); bucket <= to.Bucket(); bucket++ {
		rows, err := collect(ctx, s, s.lane, &getLowest, scanRow(c),
			gocql.UUID(c), bucket, int64(from), int64(to), int32(min(limit-len(all), chat.BucketSize)))
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
		if len(rows) == 0 || !full(rows[len(rows)-1].Seq) || len(all) == limit {
			break
		}
	}
	return all, nil
}

// highest reads buckets downwards, so that what it has seen of the higher is
// followed by all of the lower. A range that may end far above the conversation
// costs the question where that ends.
func (s *Store) highest(ctx context.Context, c chat.ConversationID, from, to chat.Seq, limit int) (all []archive.Row, err error) {
	if to.Bucket() > from.Bucket()+1 {
		tip, err := s.newest(ctx, c)
		if err != nil {
			return nil, err
		}
		to = min(to, tip.Seq)
	}
	for bucket := to.Bucket(); from <= to && bucket >= from.Bucket() && len(all) < limit; bucket-- {
		rows, err := collect(ctx, s, s.lane, &getHighest, scanRow(c),
			gocql.UUID(c), bucket, int64(from), int64(to), int32(min(limit-len(all), chat.BucketSize)))
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	slices.Reverse(all)
	return all, nil
}
