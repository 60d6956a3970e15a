package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// entryColumns are what scanRow reads.
const entryColumns = `seq, message_id, sender_id, request_id, content, message_type, media_url,
	reply_to, change, user_id, role, name, members_version, generation, inbound_offset`

// selectClocks reads the newest clock of each partition.
const selectClocks = `SELECT partition, max(clock) FROM progress GROUP BY partition`

// reader holds the connections that read and their prepared statements.
type reader struct {
	db    *sql.DB
	texts []string // of the statements

	newest, newestUpTo, info, spans, lowest, highest,
	stays, staysIn, marks, mark, media, progress, clocks, keys *sql.Stmt

	seen [len(widths)]*sql.Stmt // for as many keys each
}

func newReader(ctx context.Context, db *sql.DB, connections int) (*reader, error) {
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	r := &reader{db: db}
	const page = `SELECT ` + entryColumns + ` FROM messages
		WHERE conversation_id = ? AND (bucket, seq) >= (?, ?) AND (bucket, seq) <= (?, ?) ORDER BY bucket %[1]s, seq %[1]s LIMIT ?`
	const stay = `SELECT conversation_id, joined_seq, left_seq, head_seq, head_id, large FROM conversations_of WHERE user_id = ?`
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&r.newest, `SELECT seq, message_id FROM messages WHERE conversation_id = ? ORDER BY bucket DESC, seq DESC LIMIT 1`},
		{&r.newestUpTo, `SELECT seq, message_id FROM messages
			WHERE conversation_id = ? AND (bucket, seq) <= (?, ?) ORDER BY bucket DESC, seq DESC LIMIT 1`},
		{&r.info, `SELECT type, creator, created, name FROM conversations WHERE conversation_id = ? AND type IS NOT NULL`},
		{&r.spans, `SELECT user_id, joined_seq, left_seq, role, message_id FROM members
			WHERE conversation_id = ? AND message_id IS NOT NULL ORDER BY user_id, joined_seq`},
		{&r.seen[0], selectSeen(widths[0])},
		{&r.seen[1], selectSeen(widths[1])},
		{&r.seen[2], selectSeen(widths[2])},
		{&r.lowest, fmt.Sprintf(page, "ASC")},
		{&r.highest, fmt.Sprintf(page, "DESC")},
		{&r.stays, stay + ` ORDER BY conversation_id, joined_seq`},
		{&r.staysIn, stay + ` AND conversation_id = ? ORDER BY joined_seq`},
		{&r.marks, `SELECT user_id, joined_seq, read_seq, delivered_seq FROM watermarks WHERE conversation_id = ? ORDER BY user_id, joined_seq`},
		{&r.mark, `SELECT read_seq, delivered_seq FROM watermarks WHERE conversation_id = ? AND user_id = ? AND joined_seq = ?`},
		{&r.media, `SELECT conversation_id, message_id FROM media_refs WHERE media_id = ? LIMIT ?`},
		{&r.progress, `SELECT inbound_offset, clock FROM progress WHERE generation = ? AND partition = ?`},
		{&r.clocks, selectClocks},
		{&r.keys, `SELECT conversation_id, sender_id, request_id, generation, inbound_offset, message_id FROM message_keys
			WHERE (conversation_id, sender_id, request_id, generation, inbound_offset) > (?, ?, ?, ?, ?)
			ORDER BY conversation_id, sender_id, request_id, generation, inbound_offset LIMIT ?`},
	} {
		stmt, err := db.PrepareContext(ctx, p.text)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prepare %q: %w", p.text, err), r.close())
		}
		*p.stmt = stmt
		r.texts = append(r.texts, p.text)
	}
	return r, nil
}

// close closes the connections, and the statements with them.
func (r *reader) close() error { return r.db.Close() }

// collect runs a query and scans its rows.
func collect[T any](ctx context.Context, stmt *sql.Stmt, scan func(*sql.Rows, *T) error, args ...any) (all []T, err error) {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var one T
		if err := scan(rows, &one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// Tip implements [archive.Store]. The newest event is one step away; an older
// border is found by searching seq, since ids ascend with it.
func (s *Store) Tip(ctx context.Context, c chat.ConversationID, border chat.MessageID) (archive.Tip, error) {
	tip, err := s.tipOf(ctx, s.reader.newest, c[:])
	if err != nil || border.IsZero() || below(tip, border) {
		return tip, s.wrap("read the newest event", err)
	}
	// The answer is in [low, high); found is the newest known event below the
	// border.
	var found archive.Tip
	low, high := chat.Seq(1), tip.Seq
	for low < high {
		middle := low + (high-low)/2
		tip, err := s.tipOf(ctx, s.reader.newestUpTo, c[:], middle.Bucket(), int64(middle))
		if err != nil {
			return archive.Tip{}, s.wrap("search the newest event", err)
		}
		if below(tip, border) {
			found, low = tip, middle+1
		} else {
			high = tip.Seq // nothing lies between it and middle
		}
	}
	return found, nil
}

// below reports whether a tip answers for the border; the zero tip does.
func below(t archive.Tip, border chat.MessageID) bool {
	return t.Seq == 0 || chat.CompareMessageIDs(t.ID, border) < 0
}

func (s *Store) tipOf(ctx context.Context, stmt *sql.Stmt, args ...any) (archive.Tip, error) {
	var tip archive.Tip
	var id []byte
	err := stmt.QueryRowContext(ctx, args...).Scan(&tip.Seq, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return archive.Tip{}, nil
	}
	tip.ID = fromTimeOrdered(id)
	return tip, err
}

// Info implements [archive.Store].
func (s *Store) Info(ctx context.Context, c chat.ConversationID) (archive.Info, error) {
	var info archive.Info
	var creator, created, name []byte
	err := s.reader.info.QueryRowContext(ctx, c[:]).Scan(&info.Type, &creator, &created, &name)
	if errors.Is(err, sql.ErrNoRows) {
		return archive.Info{}, archive.ErrNotFound
	}
	copy(info.Creator[:], creator)
	info.Created, info.Name = fromTimeOrdered(created), string(name)
	return info, s.wrap("read a conversation", err)
}

// Spans implements [archive.Store].
func (s *Store) Spans(ctx context.Context, c chat.ConversationID) ([]archive.Span, error) {
	spans, err := collect(ctx, s.reader.spans, func(rows *sql.Rows, span *archive.Span) error {
		var user, at sql.RawBytes
		var left sql.NullInt64
		err := rows.Scan(&user, &span.Joined, &left, &span.Role, &at)
		copy(span.User[:], user)
		span.Left, span.At = chat.Seq(left.Int64), fromTimeOrdered(at)
		return err
	}, c[:])
	return spans, s.wrap("read the members", err)
}

// selectSeen looks for a number of keys; one of NULLs finds nothing.
func selectSeen(keys int) string {
	const one = `SELECT conversation_id, sender_id, request_id, generation, inbound_offset, seq, message_id, digest
		FROM message_keys WHERE conversation_id = ? AND sender_id = ? AND request_id = ?`
	return one + strings.Repeat(" UNION ALL "+one, keys-1)
}

// SeenKeys implements [archive.Store].
func (s *Store) SeenKeys(ctx context.Context, keys []archive.Key) ([]archive.Seen, error) {
	var all []archive.Seen
	args := make([]any, 0, 3*widths[0])
	for some := range slices.Chunk(keys, widths[0]) {
		args = args[:0]
		for i := range some {
			k := &some[i]
			args = append(args, k.Conversation[:], k.Sender[:], k.Request[:])
		}
		narrow := len(widths) - 1
		for widths[narrow] < len(some) {
			narrow--
		}
		args = args[:3*widths[narrow]]
		clear(args[3*len(some):])
		found, err := collect(ctx, s.reader.seen[narrow], scanSeen, args...)
		if err != nil {
			return nil, s.wrap("read the keys", err)
		}
		all = append(all, found...)
	}
	return all, ctx.Err()
}

func scanSeen(rows *sql.Rows, k *archive.Seen) error {
	var conversation, sender, request, id, digest sql.RawBytes
	err := rows.Scan(&conversation, &sender, &request, &k.Position.Generation, &k.Position.Offset, &k.Seq, &id, &digest)
	copy(k.Conversation[:], conversation)
	copy(k.Sender[:], sender)
	copy(k.Request[:], request)
	copy(k.Digest[:], digest)
	k.ID = fromTimeOrdered(id)
	return err
}

// Entries implements [archive.Store].
func (s *Store) Entries(ctx context.Context, c chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]archive.Row, error) {
	from = max(from, 1)
	if from > to || limit <= 0 {
		return nil, ctx.Err()
	}
	stmt := s.reader.lowest
	if newest {
		stmt = s.reader.highest
	}
	rows, err := collect(ctx, stmt, scanRow,
		c[:], from.Bucket(), int64(from), to.Bucket(), int64(to), limit)
	for i := range rows {
		rows[i].Conversation = c
	}
	if newest {
		slices.Reverse(rows)
	}
	return rows, s.wrap("read the events", err)
}

func scanRow(rows *sql.Rows, r *archive.Row) error {
	var id, sender, request, content, kind, url, reply, user, name sql.RawBytes
	var change, role sql.NullInt16
	err := rows.Scan(&r.Seq, &id, &sender, &request, &content, &kind, &url,
		&reply, &change, &user, &role, &name, &r.MembersVersion, &r.Position.Generation, &r.Position.Offset)
	if err != nil {
		return err
	}
	r.ID, r.ReplyTo = fromTimeOrdered(id), fromTimeOrdered(reply)
	copy(r.Sender[:], sender)
	copy(r.Request[:], request)
	copy(r.User[:], user)
	r.Content, r.MediaURL, r.Name = string(content), string(url), string(name)
	r.Change, r.Role = chat.Change(change.Int16), chat.Role(role.Int16)
	r.Kind, err = parseKind(string(kind))
	return err
}

// Stays implements [archive.Store].
func (s *Store) Stays(ctx context.Context, u chat.UserID) ([]archive.Stay, error) {
	stays, err := collect(ctx, s.reader.stays, scanStay, u[:])
	for i := range stays {
		stays[i].User = u
	}
	return stays, s.wrap("read the user index", err)
}

// StaysIn implements [archive.Store].
func (s *Store) StaysIn(ctx context.Context, u chat.UserID, c chat.ConversationID) ([]archive.Stay, error) {
	stays, err := collect(ctx, s.reader.staysIn, scanStay, u[:], c[:])
	for i := range stays {
		stays[i].User = u
	}
	return stays, s.wrap("read the user index", err)
}

func scanStay(rows *sql.Rows, stay *archive.Stay) error {
	var conversation, head sql.RawBytes
	var left sql.NullInt64
	err := rows.Scan(&conversation, &stay.Joined, &left, &stay.Head.Seq, &head, &stay.Large)
	copy(stay.Conversation[:], conversation)
	stay.Left, stay.Head.ID = chat.Seq(left.Int64), fromTimeOrdered(head)
	return err
}

// Watermarks implements [archive.Store].
func (s *Store) Watermarks(ctx context.Context, c chat.ConversationID) ([]archive.Watermark, error) {
	marks, err := collect(ctx, s.reader.marks, func(rows *sql.Rows, m *archive.Watermark) error {
		var user sql.RawBytes
		err := rows.Scan(&user, &m.Joined, &m.Read, &m.Delivered)
		m.Conversation = c
		copy(m.User[:], user)
		return err
	}, c[:])
	return marks, s.wrap("read the watermarks", err)
}

// Watermark implements [archive.Store].
func (s *Store) Watermark(ctx context.Context, c chat.ConversationID, u chat.UserID, joined chat.Seq) (archive.Watermark, error) {
	m := archive.Watermark{Conversation: c, User: u, Joined: joined, Read: joined, Delivered: joined}
	err := s.reader.mark.QueryRowContext(ctx, c[:], u[:], int64(joined)).Scan(&m.Read, &m.Delivered)
	if errors.Is(err, sql.ErrNoRows) {
		return m, nil
	}
	return m, s.wrap("read a watermark", err)
}

// MediaRefs implements [archive.Store].
func (s *Store) MediaRefs(ctx context.Context, id chat.MediaID, limit int) ([]archive.MediaRef, error) {
	refs, err := collect(ctx, s.reader.media, func(rows *sql.Rows, m *archive.MediaRef) error {
		var conversation, by sql.RawBytes
		if err := rows.Scan(&conversation, &by); err != nil {
			return err
		}
		m.Media, m.By = id, fromTimeOrdered(by)
		copy(m.Conversation[:], conversation)
		return nil
	}, id[:], limit)
	return refs, s.wrap("read who has an upload", err)
}

// Progress implements [archive.Store].
func (s *Store) Progress(ctx context.Context, generation uint32, partition int32) (archive.Progress, error) {
	p := archive.Progress{Position: chat.Position{Generation: generation}}
	err := s.reader.progress.QueryRowContext(ctx, int64(generation), int64(partition)).Scan(&p.Position.Offset, &p.Clock)
	if errors.Is(err, sql.ErrNoRows) {
		return archive.Progress{}, nil
	}
	return p, s.wrap("read the progress", err)
}

// wrap says what was attempted; nil stays nil.
func (s *Store) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	if s.writer.isClosed() {
		err = ErrClosed
	}
	return fmt.Errorf("%s: %w", what, err)
}
