// Package sqlite keeps the roster in a SQLite database, for a whole system on one
// machine and for tests without a server. It speaks database/sql only: whoever
// opens the database links the driver, whose home is the archive's package.
//
// There is one connection, so calls take turns, reading ones too: a transaction
// takes well under a millisecond, and nothing on a message's road waits for it.
package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"switchboard/internal/chat"
	"switchboard/internal/roster"
)

// schema creates the tables.
//
//go:embed schema.sql
var schema string

// Store is a [roster.Store] in SQLite. The database is its owner's to close.
type Store struct{ db *sql.DB }

var _ roster.Store = (*Store)(nil)

// New makes the tables in db where there are none. It limits db to a single
// connection.
func New(ctx context.Context, db *sql.DB) (*Store, error) {
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("make the roster's tables in SQLite: %w", err)
	}
	return &Store{db: db}, nil
}

// The statements. Each writes one row.
const (
	putConversation = `INSERT INTO conversations (id, type, name, created_at, updated_at, members_version, name_version)
		VALUES (?, ?, '', ?3, ?3, ?4, ?4) ON CONFLICT DO NOTHING`
	getVersions     = `SELECT members_version, name_version FROM conversations WHERE id = ?`
	setConversation = `UPDATE conversations SET updated_at = max(updated_at, ?), members_version = ?, name_version = ?,
		name = CASE WHEN ? THEN ? ELSE name END WHERE id = ?`
	removeMember = `DELETE FROM conversation_members WHERE conversation_id = ? AND user_id = ?`
	putMember    = `INSERT INTO conversation_members (conversation_id, user_id, role, joined_at) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET role = excluded.role, joined_at = excluded.joined_at, last_read_at = NULL`
	setRole     = `UPDATE conversation_members SET role = ? WHERE conversation_id = ? AND user_id = ?`
	putProgress = `INSERT INTO roster_progress (generation, partition, accepted_offset, inbound_offset) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET accepted_offset = excluded.accepted_offset, inbound_offset = excluded.inbound_offset
		WHERE accepted_offset < excluded.accepted_offset`
	clearMembers = `DELETE FROM conversation_members WHERE conversation_id = ?`
	setLoaded    = `UPDATE conversations SET type = ?, name = ?, created_at = ?, updated_at = ?,
		members_version = ?5, name_version = max(name_version, ?5) WHERE id = ?6`
)

// transact runs work in one transaction.
func (s *Store) transact(ctx context.Context, what string, work func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := work(tx); err != nil {
		return fmt.Errorf("%s: %w", what, errors.Join(err, tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Apply implements [roster.Store].
func (s *Store) Apply(ctx context.Context, changes []roster.Change, at roster.Progress) error {
	return s.transact(ctx, "apply to the roster", func(tx *sql.Tx) error {
		for _, b := range roster.Created(changes) {
			if _, err := tx.ExecContext(ctx, putConversation, b.ID[:], b.Type.String(), int64(b.Created), 0); err != nil {
				return err
			}
		}
		known := make(map[chat.ConversationID]roster.Versions)
		for _, id := range roster.Named(changes) {
			var v roster.Versions
			err := tx.QueryRowContext(ctx, getVersions, id[:]).Scan(&v.Members, &v.Name)
			switch {
			case err == nil:
				known[id] = v
			case !errors.Is(err, sql.ErrNoRows):
				return err
			}
		}
		plan, err := roster.NewPlan(changes, known)
		if err != nil {
			return err
		}
		if err := write(ctx, tx, &plan); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, putProgress, at.Generation, at.Partition, at.Next, at.Last)
		return err
	})
}

// write writes the rows of a plan.
func write(ctx context.Context, tx *sql.Tx, p *roster.Plan) error {
	for i := range p.Conversations {
		c := &p.Conversations[i]
		if _, err := tx.ExecContext(ctx, setConversation, int64(c.Updated), int64(c.Versions.Members),
			int64(c.Versions.Name), c.Renamed, c.Name, c.ID[:]); err != nil {
			return err
		}
	}
	for i := range p.Removed {
		k := &p.Removed[i]
		if _, err := tx.ExecContext(ctx, removeMember, k.Conversation[:], k.User[:]); err != nil {
			return err
		}
	}
	for i := range p.Members {
		m := &p.Members[i]
		if _, err := tx.ExecContext(ctx, putMember, m.Conversation[:], m.User[:], m.Role.String(), int64(m.Joined)); err != nil {
			return err
		}
	}
	for i := range p.Roles {
		r := &p.Roles[i]
		if _, err := tx.ExecContext(ctx, setRole, r.Role.String(), r.Conversation[:], r.User[:]); err != nil {
			return err
		}
	}
	return nil
}

// Load implements [roster.Store].
func (s *Store) Load(ctx context.Context, l roster.Snapshot) error {
	return s.transact(ctx, "load a conversation into the roster", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, putConversation, l.Conversation[:], l.Type.String(), int64(l.Created), -1); err != nil {
			return err
		}
		var v roster.Versions
		if err := tx.QueryRowContext(ctx, getVersions, l.Conversation[:]).Scan(&v.Members, &v.Name); err != nil {
			return err
		}
		if v.Members >= l.Version {
			return nil
		}
		if _, err := tx.ExecContext(ctx, clearMembers, l.Conversation[:]); err != nil {
			return err
		}
		var plan roster.Plan
		for _, m := range l.Members {
			key := roster.MemberKey{Conversation: l.Conversation, User: m.User}
			plan.Members = append(plan.Members, roster.MemberRow{MemberKey: key, Role: m.Role, Joined: m.Joined})
		}
		if err := write(ctx, tx, &plan); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, setLoaded, l.Type.String(), roster.Name(l.Name), int64(l.Created), int64(l.Updated),
			int64(l.Version), l.Conversation[:])
		return err
	})
}

// Progress implements [roster.Store].
func (s *Store) Progress(ctx context.Context, generation uint32, partition int32) (p roster.Progress, ok bool, err error) {
	p = roster.Progress{Generation: generation, Partition: partition}
	row := s.db.QueryRowContext(ctx, `SELECT accepted_offset, inbound_offset FROM roster_progress
		WHERE generation = ? AND partition = ?`, generation, partition)
	err = row.Scan(&p.Next, &p.Last)
	if errors.Is(err, sql.ErrNoRows) {
		return roster.Progress{}, false, nil
	}
	if err != nil {
		return roster.Progress{}, false, fmt.Errorf("read the roster's progress: %w", err)
	}
	return p, true, nil
}

// Members implements [roster.Store].
func (s *Store) Members(ctx context.Context, c chat.ConversationID, after chat.UserID, limit int) ([]roster.Member, error) {
	return membersOf(ctx, s.db, c, after, min(limit, roster.PageMax))
}

// asker is a database or a transaction.
type asker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// membersOf reads the members above after, limit at most; -1 is no limit.
func membersOf(ctx context.Context, db asker, c chat.ConversationID, after chat.UserID, limit int) ([]roster.Member, error) {
	rows, err := db.QueryContext(ctx, `SELECT user_id, role, joined_at FROM conversation_members
		WHERE conversation_id = ? AND user_id > ? ORDER BY user_id LIMIT ?`, c[:], after[:], limit)
	if err != nil {
		return nil, fmt.Errorf("read members of conversation %s: %w", c, err)
	}
	defer rows.Close()
	var members []roster.Member
	for rows.Next() {
		var user []byte
		var role string
		var m roster.Member
		err := rows.Scan(&user, &role, &m.Joined)
		if err != nil {
			return nil, fmt.Errorf("read members of conversation %s: %w", c, err)
		}
		ok := len(user) == len(m.User)
		if ok {
			m.User = chat.UserID(user)
			m.Role, ok = chat.ParseRole(role)
		}
		if !ok {
			return nil, fmt.Errorf("conversation %s has the member %x in the role %q", c, user, role)
		}
		members = append(members, m)
	}
	return members, rows.Err()
}

// List implements [roster.Store].
func (s *Store) List(ctx context.Context, c chat.ConversationID) (members []roster.Member, version chat.Seq, err error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, 0, fmt.Errorf("list members of conversation %s: %w", c, err)
	}
	defer func() { _ = tx.Rollback() }() // It has only read.
	err = tx.QueryRowContext(ctx, `SELECT members_version FROM conversations WHERE id = ?`, c[:]).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list members of conversation %s: %w", c, err)
	}
	members, err = membersOf(ctx, tx, c, chat.UserID{}, -1)
	return members, version, err
}

// Peers implements [roster.Store].
func (s *Store) Peers(ctx context.Context, user chat.UserID, limit int) ([]chat.UserID, error) {
	peers, err := s.users(ctx, `SELECT peer.user_id FROM conversation_members AS own
		JOIN conversations AS c ON c.id = own.conversation_id AND c.type = 'direct'
		JOIN conversation_members AS peer ON peer.conversation_id = c.id AND peer.user_id <> own.user_id
		WHERE own.user_id = ? ORDER BY c.created_at DESC, peer.user_id LIMIT ?`, user[:], min(limit, roster.PeersMax))
	if err != nil {
		return nil, fmt.Errorf("read the peers of user %s: %w", user, err)
	}
	return peers, nil
}

// Sharing implements [roster.Store].
func (s *Store) Sharing(ctx context.Context, user chat.UserID, others []chat.UserID) ([]chat.UserID, error) {
	if len(others) > roster.SharingMax {
		return nil, fmt.Errorf("asked for %d users, at most %d are answered at a time", len(others), roster.SharingMax)
	}
	var sharing []chat.UserID
	for _, other := range others {
		found, err := s.users(ctx, `SELECT other.user_id FROM conversation_members AS own
			JOIN conversation_members AS other ON other.conversation_id = own.conversation_id AND other.user_id = ?
			WHERE own.user_id = ? LIMIT 1`, other[:], user[:])
		if err != nil {
			return nil, fmt.Errorf("ask with whom user %s shares a conversation: %w", user, err)
		}
		sharing = slices.Concat(sharing, found)
	}
	return sharing, nil
}

// users reads one column of user ids.
func (s *Store) users(ctx context.Context, text string, args ...any) ([]chat.UserID, error) {
	rows, err := s.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []chat.UserID
	for rows.Next() {
		var user []byte
		if err := rows.Scan(&user); err != nil {
			return nil, err
		}
		if len(user) != len(chat.UserID{}) {
			return nil, fmt.Errorf("%x is not a user's id", user)
		}
		all = append(all, chat.UserID(user))
	}
	return all, rows.Err()
}
