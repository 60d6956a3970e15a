package scylla

import (
	"context"
	"fmt"
	"time"

	"github.com/gocql/gocql"
	"golang.org/x/sync/errgroup"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// askers is how many keys of one SeenKeys are looked for at the same time.
const askers = 64

// hedged asks a second node when the first is slow.
var hedged = gocql.SimpleSpeculativeExecution{NumAttempts: 1, TimeoutDelay: hedge}

// scanner reads one row into one; it reports whether there was a row.
type scanner[T any] func(scan func(into ...any) bool, one *T) (bool, error)

// collect reads all rows that a statement finds, page by page.
func collect[T any](ctx context.Context, s *Store, l lane, st *statement, scan scanner[T], values ...any) (all []T, err error) {
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	defer l.leave()
	defer s.meter.asked(st, time.Now())
	twice := s.nodes.several()
	all, err = ask(ctx, s, st, twice, scan, values)
	if err != nil && twice && ctx.Err() == nil {
		// The driver takes the first answer of the two, even if it is a failure.
		all, err = ask(ctx, s, st, false, scan, values)
	}
	return all, err
}

// ask sends a statement, to two nodes if need be, and reads its rows.
func ask[T any](ctx context.Context, s *Store, st *statement, twice bool, scan scanner[T], values []any) (all []T, err error) {
	query := s.session.ContextQuery(ctx, st.text, st.names).Bind(values...)
	defer query.Release()
	if twice {
		query.SetSpeculativeExecutionPolicy(&hedged)
	}
	rows := query.Iter()
	for {
		var one T
		more, broken := scan(rows.Scan, &one)
		if broken != nil || !more {
			err = broken
			break
		}
		all = append(all, one)
	}
	if closed := rows.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, wrap(ctx, st.text, err)
	}
	return all, nil
}

// first reads the only row that a statement can find; the zero value is none.
func first[T any](ctx context.Context, s *Store, l lane, st *statement, scan scanner[T], values ...any) (one T, found bool, err error) {
	all, err := collect(ctx, s, l, st, scan, values...)
	if len(all) == 0 {
		return one, false, err
	}
	return all[0], true, err
}

// Info implements [archive.Store]. A row without a type is a name that came
// before its conversation.
func (s *Store) Info(ctx context.Context, c chat.ConversationID) (archive.Info, error) {
	info, _, err := first(ctx, s, s.lane, &getInfo, func(scan func(...any) bool, info *archive.Info) (bool, error) {
		return scan((*uint8)(&info.Type), (*gocql.UUID)(&info.Creator), (*gocql.UUID)(&info.Created), &info.Name), nil
	}, gocql.UUID(c))
	if err == nil && info.Type == 0 {
		return archive.Info{}, archive.ErrNotFound
	}
	return info, err
}

// Spans implements [archive.Store]. A row without an opening event is an end
// that came before its span.
func (s *Store) Spans(ctx context.Context, c chat.ConversationID) ([]archive.Span, error) {
	all, err := collect(ctx, s, s.lane, &getSpans, func(scan func(...any) bool, span *archive.Span) (bool, error) {
		return scan((*gocql.UUID)(&span.User), (*int64)(&span.Joined), (*int64)(&span.Left),
			(*uint8)(&span.Role), (*gocql.UUID)(&span.At)), nil
	}, gocql.UUID(c))
	spans := all[:0]
	for _, span := range all {
		if !span.At.IsZero() {
			spans = append(spans, span)
		}
	}
	return spans, err
}

// SeenKeys implements [archive.Store]. Each key is a partition of its own, hence
// a read of its own.
func (s *Store) SeenKeys(ctx context.Context, keys []archive.Key) ([]archive.Seen, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	found := make([][]archive.Seen, len(keys))
	group, failed := errgroup.WithContext(ctx)
	group.SetLimit(askers)
	for i := range keys {
		group.Go(func() (err error) {
			if err := failed.Err(); err != nil {
				return err
			}
			found[i], err = s.seenKey(ctx, keys[i]) // What is under way ends by itself, as in Write.
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, wrap(ctx, "look for keys", err)
	}
	var all []archive.Seen
	for _, rows := range found {
		all = append(all, rows...)
	}
	return all, nil
}

func (s *Store) seenKey(ctx context.Context, k archive.Key) ([]archive.Seen, error) {
	var generation int64
	var digest []byte
	return collect(ctx, s, s.lane, &getSeen, func(scan func(...any) bool, seen *archive.Seen) (bool, error) {
		seen.Key = k
		more := scan(&generation, &seen.Position.Offset, (*int64)(&seen.Seq), (*gocql.UUID)(&seen.ID), &digest)
		seen.Position.Generation = uint32(generation)
		copy(seen.Digest[:], digest)
		return more, nil
	}, gocql.UUID(k.Conversation), gocql.UUID(k.Sender), gocql.UUID(k.Request))
}

// Stays implements [archive.Store]. UUIDs lie in the order of their bytes, unless
// they carry a time; those of conversations do not.
func (s *Store) Stays(ctx context.Context, u chat.UserID) ([]archive.Stay, error) {
	return collect(ctx, s, s.lane, &getStays, stayOf(u), gocql.UUID(u))
}

// StaysIn implements [archive.Store].
func (s *Store) StaysIn(ctx context.Context, u chat.UserID, c chat.ConversationID) ([]archive.Stay, error) {
	return collect(ctx, s, s.lane, &getStaysIn, stayOf(u), gocql.UUID(u), gocql.UUID(c))
}

// stayOf scans stayColumns. A head that is 0 has no id, even if an older one was
// never overwritten.
func stayOf(u chat.UserID) scanner[archive.Stay] {
	return func(scan func(...any) bool, stay *archive.Stay) (bool, error) {
		stay.User = u
		more := scan((*gocql.UUID)(&stay.Conversation), (*int64)(&stay.Joined), (*int64)(&stay.Left),
			(*int64)(&stay.Head.Seq), (*gocql.UUID)(&stay.Head.ID), &stay.Large)
		if stay.Head.Seq == 0 {
			stay.Head.ID = chat.MessageID{}
		}
		return more, nil
	}
}

// Watermarks implements [archive.Store].
func (s *Store) Watermarks(ctx context.Context, c chat.ConversationID) ([]archive.Watermark, error) {
	return collect(ctx, s, s.marks, &getMarks, markIn(c), gocql.UUID(c))
}

// Watermark implements [archive.Store].
func (s *Store) Watermark(ctx context.Context, c chat.ConversationID, u chat.UserID, joined chat.Seq) (archive.Watermark, error) {
	mark, found, err := first(ctx, s, s.marks, &getMark, markIn(c), gocql.UUID(c), gocql.UUID(u), int64(joined))
	if err == nil && !found {
		return archive.Watermark{Conversation: c, User: u, Joined: joined, Read: joined, Delivered: joined}, nil
	}
	return mark, err
}

func markIn(c chat.ConversationID) scanner[archive.Watermark] {
	return func(scan func(...any) bool, m *archive.Watermark) (bool, error) {
		m.Conversation = c
		return scan((*gocql.UUID)(&m.User), (*int64)(&m.Joined), (*int64)(&m.Read), (*int64)(&m.Delivered)), nil
	}
}

// Progress implements [archive.Store].
func (s *Store) Progress(ctx context.Context, generation uint32, partition int32) (archive.Progress, error) {
	p, _, err := first(ctx, s, s.lane, &getProgress, func(scan func(...any) bool, p *archive.Progress) (bool, error) {
		p.Position.Generation = generation
		return scan(&p.Position.Offset, (*int64)(&p.Clock)), nil
	}, int64(generation), partition)
	return p, err
}

// MediaRefs implements [archive.Store].
func (s *Store) MediaRefs(ctx context.Context, id chat.MediaID, limit int) ([]archive.MediaRef, error) {
	return collect(ctx, s, s.lane, &getMedia, func(scan func(...any) bool, m *archive.MediaRef) (bool, error) {
		m.Media = id
		return scan((*gocql.UUID)(&m.Conversation), (*gocql.UUID)(&m.By)), nil
	}, gocql.UUID(id), limit)
}

// scanRow scans entryColumns.
func scanRow(c chat.ConversationID) scanner[archive.Row] {
	return func(scan func(...any) bool, r *archive.Row) (bool, error) {
		var kind string
		var generation int64
		r.Conversation = c
		if !scan((*int64)(&r.Seq), (*gocql.UUID)(&r.ID), (*gocql.UUID)(&r.Sender), (*gocql.UUID)(&r.Request),
			&r.Content, &kind, &r.MediaURL, (*gocql.UUID)(&r.ReplyTo), (*uint8)(&r.Change), (*gocql.UUID)(&r.User),
			(*uint8)(&r.Role), &r.Name, (*int64)(&r.MembersVersion), &generation, &r.Position.Offset) {
			return false, nil
		}
		r.Position.Generation = uint32(generation)
		var known bool
		if r.Kind, known = chat.ParseKind(kind); !known && kind == chat.KindEvent.String() {
			r.Kind, known = chat.KindEvent, true
		}
		if !known {
			return false, fmt.Errorf("stored message_type %q is unknown", kind)
		}
		return true, nil
	}
}
