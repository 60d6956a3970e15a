// Package sqlite keeps the search index in a SQLite file, with FTS5: for a whole
// system on one machine, and wherever the messages fit on one. It speaks database/sql
// only: whoever uses it links the driver, whose home is the archive's package.
//
//	Apply ──▶ one writing connection ──▶ messages, words, progress: one transaction
//	Match ──▶ some reading connections ──▶ words, newest first ──▶ messages ──▶ scope
//
// Text is cut into words and folded before it comes here, so the file's own tokenizer
// sees nothing but words with spaces between. Sender, conversation and the like are
// words of a second column: a filter is one more list to intersect. A scope of few
// conversations goes into the question in the same way; one of more is looked up
// for each match, of which there is a limit.
//
// Several processes of one machine may have the file open. Each writes what it was
// given, and versions settle which of them is right.
package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
)

// schemaVersion is the version of schema.sql and of how text is folded, kept in the
// file's user_version. An index of another version is dropped when it is opened, and
// fills itself again.
const schemaVersion = 1

// partitionBits are the bits of a place that say which partition made the message.
const partitionBits = 11

// readers is how many questions are answered at once.
const readers = 4

// schema creates the tables.
//
//go:embed schema.sql
var schema string

// Store is a [search.Store] in one file. Close it.
type Store struct{ write, read *sql.DB }

var _ search.Store = (*Store)(nil)

// Open opens the index in a file; both are made if missing. A file that is not an
// index of ours is an error.
func Open(ctx context.Context, file string) (*Store, error) {
	s := &Store{}
	err := func() (err error) {
		if s.write, err = open(file, "_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"); err != nil {
			return err
		}
		s.write.SetMaxOpenConns(1)
		if err := s.prepare(ctx); err != nil {
			return err
		}
		if s.read, err = open(file, "_pragma=query_only(1)"); err != nil {
			return err
		}
		s.read.SetMaxOpenConns(readers)
		s.read.SetMaxIdleConns(readers)
		return s.read.PingContext(ctx)
	}()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the search index %s: %w", file, err), s.Close())
	}
	return s, nil
}

// open makes a pool. More than a few pages of memory would be another cache of what
// the system has in its own.
func open(file, options string) (*sql.DB, error) {
	name := url.URL{
		Scheme: "file", Opaque: url.PathEscape(file),
		RawQuery: "_pragma=busy_timeout(10000)&_pragma=cache_size(-8192)&" + options,
	}
	return sql.Open("sqlite", name.String())
}

// Close waits for nothing: calls that are under way fail.
func (s *Store) Close() error {
	var err error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// prepare makes the tables, anew if another version made them.
func (s *Store) prepare(ctx context.Context) error {
	return transact(ctx, s.write, func(tx *sql.Tx) error {
		var version int
		if err := tx.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
			return err
		}
		if version == schemaVersion {
			return nil
		}
		for _, table := range []string{"messages", "words", "search_reached", "search_progress"} {
			if _, err := tx.ExecContext(ctx, `DROP TABLE IF EXISTS `+table); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, schema+fmt.Sprintf("\nPRAGMA user_version = %d;", schemaVersion))
		return err
	})
}

// transact runs work in one transaction.
func transact(ctx context.Context, db *sql.DB, work func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := work(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// The statements. Each writes one row.
const (
	putMessage = `INSERT INTO messages (place, message_id, conversation_id, seq, sender_id, kind, media, content, version)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET message_id = excluded.message_id,
		conversation_id = excluded.conversation_id, seq = excluded.seq, sender_id = excluded.sender_id,
		kind = excluded.kind, media = excluded.media, content = excluded.content, version = excluded.version
		WHERE version < excluded.version`
	dropWords  = `DELETE FROM words WHERE rowid = ?`
	putWords   = `INSERT INTO words (rowid, text, facts) VALUES (?, ?, ?)`
	putReached = `INSERT INTO search_reached (conversation_id, seq) VALUES (?, ?)
		ON CONFLICT DO UPDATE SET seq = excluded.seq WHERE seq < excluded.seq`
	putProgress = `INSERT INTO search_progress (generation, partition, accepted_offset, inbound_offset) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET accepted_offset = excluded.accepted_offset, inbound_offset = excluded.inbound_offset
		WHERE accepted_offset < excluded.accepted_offset`
)

// Apply implements [search.Store].
func (s *Store) Apply(ctx context.Context, b *search.Batch) error {
	err := transact(ctx, s.write, func(tx *sql.Tx) error {
		if err := putAll(ctx, tx, b.Documents); err != nil {
			return err
		}
		for c, seq := range b.Reached {
			if _, err := tx.ExecContext(ctx, putReached, c[:], int64(seq)); err != nil {
				return err
			}
		}
		at := &b.Progress
		if at.Generation == 0 {
			return nil
		}
		_, err := tx.ExecContext(ctx, putProgress, at.Generation, at.Partition, at.Next, at.Last)
		return err
	})
	if err != nil {
		return fmt.Errorf("write the search index: %w", err)
	}
	return nil
}

// putAll writes the documents that are newer than what is there.
func putAll(ctx context.Context, tx *sql.Tx, docs []search.Document) (err error) {
	if len(docs) == 0 {
		return nil
	}
	var message, drop, words *sql.Stmt
	for _, p := range []struct {
		statement **sql.Stmt
		text      string
	}{{&message, putMessage}, {&drop, dropWords}, {&words, putWords}} {
		if *p.statement, err = tx.PrepareContext(ctx, p.text); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, (*p.statement).Close()) }()
	}
	for i := range docs {
		d := &docs[i]
		if chat.PartitionOf(d.ID) >= 1<<partitionBits {
			return fmt.Errorf("message %s is of a partition above %d: this index is for logs of fewer", d.ID, 1<<partitionBits-1)
		}
		place := placeOf(d.ID)
		done, err := message.ExecContext(ctx, place, d.ID[:], d.Conversation[:], int64(d.Seq), d.Sender[:],
			int64(d.Kind), d.Media, []byte(d.Content), int64(d.Version))
		if err != nil {
			return err
		}
		if changed, err := done.RowsAffected(); err != nil || changed == 0 {
			if err != nil {
				return err
			}
			continue
		}
		if _, err := drop.ExecContext(ctx, place); err != nil {
			return err
		}
		if _, err := words.ExecContext(ctx, place, textOf(d), factsOf(d)); err != nil {
			return err
		}
	}
	return nil
}

// placeOf returns the place of a message, or of a border between messages.
func placeOf(id chat.MessageID) int64 {
	return placeAt(chat.ClockOf(id)) + int64(min(chat.PartitionOf(id), 1<<partitionBits))
}

// placeAt returns the first place of a clock. There are places until the year 2112.
func placeAt(c chat.Clock) int64 {
	return int64(min(max(c, 0), math.MaxInt64>>partitionBits-1)) << partitionBits
}

// textOf returns the words of a message.
func textOf(d *search.Document) string {
	var text strings.Builder
	for i, w := range search.Words(d.Content) {
		if i > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(w.Text)
	}
	return text.String()
}

// everything is a fact of all messages, so that there is always a word to ask for.
const everything = "all"

// The facts, as words.
func senderFact(u chat.UserID) string               { return fact("u", u) }
func conversationFact(c chat.ConversationID) string { return fact("c", c) }
func thingFact(t search.Thing) string               { return "has" + string(t) }

func fact[Kind any](prefix string, id chat.ID[Kind]) string {
	return fmt.Sprintf("%s%x", prefix, id[:])
}

func factsOf(d *search.Document) string {
	facts := []string{everything, senderFact(d.Sender), conversationFact(d.Conversation)}
	for _, t := range d.Has() {
		facts = append(facts, thingFact(t))
	}
	return strings.Join(facts, " ")
}

// Progress implements [search.Store].
func (s *Store) Progress(ctx context.Context, generation uint32, partition int32) (p search.Progress, ok bool, err error) {
	p = search.Progress{Generation: generation, Partition: partition}
	err = s.read.QueryRowContext(ctx, `SELECT accepted_offset, inbound_offset FROM search_progress
		WHERE generation = ? AND partition = ?`, generation, partition).Scan(&p.Next, &p.Last)
	if errors.Is(err, sql.ErrNoRows) {
		return search.Progress{}, false, nil
	}
	if err != nil {
		return search.Progress{}, false, fmt.Errorf("read the search index's progress: %w", err)
	}
	return p, true, nil
}

// Reached implements [search.Store].
func (s *Store) Reached(ctx context.Context, conversations []chat.ConversationID) (map[chat.ConversationID]chat.Seq, error) {
	reached := make(map[chat.ConversationID]chat.Seq)
	for _, c := range conversations {
		var seq chat.Seq
		err := s.read.QueryRowContext(ctx, `SELECT seq FROM search_reached WHERE conversation_id = ?`, c[:]).Scan(&seq)
		switch {
		case err == nil:
			reached[c] = seq
		case !errors.Is(err, sql.ErrNoRows):
			return nil, fmt.Errorf("read how far conversation %s is in the search index: %w", c, err)
		}
	}
	return reached, nil
}
