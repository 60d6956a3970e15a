package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// upsert is one way to write a table: which columns, and when the new row wins
// over the stored one.
type upsert struct {
	table   string
	keys    []string
	columns []string
	set     string // "" = every column of columns
	once    bool   // the stored row wins always
	where   string // with "old" for the stored row
}

// The ways to write. An equal clock wins where two writes of one record may
// meet; a message is written whole, so that a repeated one is not worth the
// page. A key's position is part of its primary key, so that no two records
// meet there and a repeated write is of the same row.
var (
	putMessage = upsert{
		table: "messages",
		keys:  []string{"conversation_id", "bucket", "seq"},
		columns: []string{
			"message_id", "sender_id", "request_id", "content", "message_type", "media_url", "created_at",
			"reply_to", "change", "user_id", "role", "name", "members_version", "generation", "inbound_offset",
		},
		where: "excluded.message_id > old.message_id",
	}
	putKey = upsert{
		table:   "message_keys",
		keys:    []string{"conversation_id", "sender_id", "request_id", "generation", "inbound_offset"},
		columns: []string{"seq", "message_id", "digest"},
		once:    true,
	}
	putConversation = upsert{
		table:   "conversations",
		keys:    []string{"conversation_id"},
		columns: []string{"type", "creator", "created", "written"},
		where:   "excluded.written >= coalesce(old.written, excluded.written)",
	}
	putName = upsert{
		table:   "conversations",
		keys:    []string{"conversation_id"},
		columns: []string{"name", "name_written"},
		where:   "excluded.name_written >= coalesce(old.name_written, excluded.name_written)",
	}
	putOpened = upsert{
		table:   "members",
		keys:    []string{"conversation_id", "user_id", "joined_seq"},
		columns: []string{"role", "message_id"},
		where:   "excluded.message_id >= coalesce(old.message_id, excluded.message_id)",
	}
	putClosed = upsert{
		table:   "members",
		keys:    []string{"conversation_id", "user_id", "joined_seq"},
		columns: []string{"left_seq", "left_written"},
		where:   "excluded.left_written >= coalesce(old.left_written, excluded.left_written)",
	}
	putStay = upsert{
		table:   "conversations_of",
		keys:    []string{"conversation_id", "user_id", "joined_seq"},
		columns: []string{"head_seq", "head_id", "large", "written"},
		where:   "excluded.written >= old.written",
	}
	// putLeft writes a stay with its end. Head and end have a clock each, so
	// either may win alone.
	putLeft = upsert{
		table:   "conversations_of",
		keys:    []string{"conversation_id", "user_id", "joined_seq"},
		columns: []string{"head_seq", "head_id", "large", "written", "left_seq", "left_written"},
		set: `head_seq = iif(excluded.written >= old.written, excluded.head_seq, old.head_seq),
			head_id = iif(excluded.written >= old.written, excluded.head_id, old.head_id),
			large = iif(excluded.written >= old.written, excluded.large, old.large),
			written = max(excluded.written, old.written),
			left_seq = iif(excluded.left_written >= coalesce(old.left_written, excluded.left_written), excluded.left_seq, old.left_seq),
			left_written = max(excluded.left_written, coalesce(old.left_written, excluded.left_written))`,
	}
	putMark = upsert{
		table:   "watermarks",
		keys:    []string{"conversation_id", "user_id", "joined_seq"},
		columns: []string{"read_seq", "delivered_seq"},
		set:     "read_seq = max(excluded.read_seq, old.read_seq), delivered_seq = max(excluded.delivered_seq, old.delivered_seq)",
		where:   "excluded.read_seq > old.read_seq OR excluded.delivered_seq > old.delivered_seq",
	}
	putMedia = upsert{
		table:   "media_refs",
		keys:    []string{"media_id", "conversation_id"},
		columns: []string{"message_id"},
		where:   "excluded.message_id > old.message_id",
	}
	putProgress = upsert{
		table:   "progress",
		keys:    []string{"generation", "partition"},
		columns: []string{"inbound_offset", "clock"},
		where:   "excluded.inbound_offset >= old.inbound_offset",
	}
)

// text returns the statement for a number of rows.
func (u upsert) text(rows int) string {
	columns := append(append([]string{}, u.keys...), u.columns...)
	row := "(?" + strings.Repeat(",?", len(columns)-1) + ")"
	text := fmt.Sprintf("INSERT INTO %s AS old (%s) VALUES %s ON CONFLICT (%s) DO ",
		u.table, strings.Join(columns, ", "), row+strings.Repeat(","+row, rows-1), strings.Join(u.keys, ", "))
	if u.once {
		return text + "NOTHING"
	}
	set := u.set
	if set == "" {
		assignments := make([]string, len(u.columns))
		for i, c := range u.columns {
			assignments[i] = c + " = excluded." + c
		}
		set = strings.Join(assignments, ", ")
	}
	text += "UPDATE SET " + set
	if u.where != "" {
		text += " WHERE " + u.where
	}
	return text
}

// widths are the numbers of rows that one statement can write, and of keys that
// one can look for, descending. Starting a statement costs as much as a row or
// two, so rows go together.
var widths = [...]int{16, 4, 1}

// inserter gathers rows for one upsert and writes them by the dozen. It belongs
// to the writer's goroutine.
type inserter struct {
	columns    int
	statements [len(widths)]driver.Stmt
	args       []driver.NamedValue
}

func newInserter(ctx context.Context, conn driver.Conn, u upsert) (*inserter, error) {
	in := &inserter{columns: len(u.keys) + len(u.columns)}
	for i, rows := range widths {
		s, err := conn.(driver.ConnPrepareContext).PrepareContext(ctx, u.text(rows))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prepare for %s: %w", u.table, err), in.close())
		}
		in.statements[i] = s
	}
	return in, nil
}

// add gathers one row, in the order keys, columns.
func (in *inserter) add(values ...any) error {
	for _, v := range values {
		in.args = append(in.args, driver.NamedValue{Ordinal: len(in.args) + 1, Value: v})
	}
	if len(in.args) < in.columns*widths[0] {
		return nil
	}
	return in.flush()
}

// flush writes what was gathered.
func (in *inserter) flush() error {
	args := in.args
	for i, rows := range widths {
		for n := rows * in.columns; len(args) >= n; args = args[n:] {
			for j := range args[:n] {
				args[j].Ordinal = j + 1
			}
			if err := step(context.Background(), in.statements[i], args[:n]...); err != nil {
				return err
			}
		}
	}
	in.reset()
	return nil
}

// reset forgets what was gathered, and lets go of what it pointed to.
func (in *inserter) reset() {
	clear(in.args)
	in.args = in.args[:0]
}

func (in *inserter) close() error {
	var errs []error
	for _, s := range in.statements {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}
