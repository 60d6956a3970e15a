package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"switchboard/internal/chat"
	"switchboard/internal/roster"
)

// The statements of a transaction. Each takes its rows as arrays, one a column.
const (
	putConversations = `INSERT INTO conversations (id, type, name, created_at, updated_at, members_version, name_version)
		SELECT id, type, '', at, at, 0, 0 FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS new (id, type, at) ORDER BY id
		ON CONFLICT DO NOTHING`

	// The lock keeps out everybody who changes this conversation, and nobody who reads.
	lockConversations = `SELECT id, members_version, name_version FROM conversations WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE`

	setConversations = `UPDATE conversations AS c
		SET updated_at = greatest(c.updated_at, new.updated), members_version = new.members, name_version = new.named,
			name = CASE WHEN new.renamed THEN new.name ELSE c.name END
		FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::boolean[], $6::text[])
			AS new (id, updated, members, named, renamed, name)
		WHERE c.id = new.id`

	removeMembers = `DELETE FROM conversation_members AS m USING unnest($1::uuid[], $2::uuid[]) AS gone (c, u)
		WHERE m.conversation_id = gone.c AND m.user_id = gone.u`

	putMembers = `INSERT INTO conversation_members (conversation_id, user_id, role, joined_at)
		SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])
		ON CONFLICT (conversation_id, user_id)
		DO UPDATE SET role = excluded.role, joined_at = excluded.joined_at, last_read_at = NULL`

	setRoles = `UPDATE conversation_members AS m SET role = new.role
		FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS new (c, u, role)
		WHERE m.conversation_id = new.c AND m.user_id = new.u`

	putProgress = `INSERT INTO roster_progress AS p (generation, partition, accepted_offset, inbound_offset) VALUES ($1, $2, $3, $4)
		ON CONFLICT (generation, partition)
		DO UPDATE SET accepted_offset = excluded.accepted_offset, inbound_offset = excluded.inbound_offset
		WHERE p.accepted_offset < excluded.accepted_offset`
)

// Apply implements [roster.Store].
func (s *Store) Apply(ctx context.Context, changes []roster.Change, at roster.Progress) error {
	return s.transact(ctx, "apply to the roster", func(ctx context.Context, tx pgx.Tx) error {
		batch := &pgx.Batch{}
		if len(changes) > 0 {
			known, err := lock(ctx, tx, changes)
			if err != nil {
				return err
			}
			plan, err := roster.NewPlan(changes, known)
			if err != nil {
				return err
			}
			queue(batch, &plan)
		}
		batch.Queue(putProgress, int64(at.Generation), at.Partition, at.Next, at.Last)
		return tx.SendBatch(ctx, batch).Close()
	})
}

// lock makes the conversations that begin, locks all that the changes name and
// returns what is stored of them.
func lock(ctx context.Context, tx pgx.Tx, changes []roster.Change) (map[chat.ConversationID]roster.Versions, error) {
	if begun := roster.Created(changes); len(begun) > 0 {
		ids, types, times := make([][16]byte, len(begun)), make([]string, len(begun)), make([]time.Time, len(begun))
		for i, b := range begun {
			ids[i], types[i], times[i] = b.ID, b.Type.String(), b.Created.Time()
		}
		if _, err := tx.Exec(ctx, putConversations, ids, types, times); err != nil {
			return nil, fmt.Errorf("begin conversations: %w", err)
		}
	}
	named := roster.Named(changes)
	ids := make([][16]byte, 0, len(named))
	for _, id := range named {
		ids = append(ids, id)
	}
	known := make(map[chat.ConversationID]roster.Versions, len(ids))
	var id [16]byte
	var members, name int64
	rows, err := tx.Query(ctx, lockConversations, ids)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&id, &members, &name}, func() error {
			known[id] = roster.Versions{Members: chat.Seq(members), Name: chat.Seq(name)}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("lock conversations: %w", err)
	}
	return known, nil
}

// queue turns the plan into statements.
func queue(batch *pgx.Batch, p *roster.Plan) {
	if len(p.Conversations) > 0 {
		queueConversations(batch, p.Conversations)
	}
	if len(p.Removed) > 0 {
		conversations, users := keys(p.Removed, func(k *roster.MemberKey) *roster.MemberKey { return k })
		batch.Queue(removeMembers, conversations, users)
	}
	if len(p.Members) > 0 {
		queueMembers(batch, p.Members)
	}
	if len(p.Roles) > 0 {
		conversations, users := keys(p.Roles, func(r *roster.RoleRow) *roster.MemberKey { return &r.MemberKey })
		roles := make([]string, len(p.Roles))
		for i := range p.Roles {
			roles[i] = p.Roles[i].Role.String()
		}
		batch.Queue(setRoles, conversations, users, roles)
	}
}

func queueConversations(batch *pgx.Batch, rows []roster.ConversationRow) {
	n := len(rows)
	ids, updated := make([][16]byte, n), make([]time.Time, n)
	members, named := make([]int64, n), make([]int64, n)
	renamed, names := make([]bool, n), make([]string, n)
	for i := range rows {
		r := &rows[i]
		ids[i], updated[i] = r.ID, r.Updated.Time()
		members[i], named[i] = int64(r.Versions.Members), int64(r.Versions.Name)
		renamed[i], names[i] = r.Renamed, r.Name
	}
	batch.Queue(setConversations, ids, updated, members, named, renamed, names)
}

func queueMembers(batch *pgx.Batch, rows []roster.MemberRow) {
	conversations, users := keys(rows, func(r *roster.MemberRow) *roster.MemberKey { return &r.MemberKey })
	roles, joined := make([]string, len(rows)), make([]time.Time, len(rows))
	for i := range rows {
		roles[i], joined[i] = rows[i].Role.String(), rows[i].Joined.Time()
	}
	batch.Queue(putMembers, conversations, users, roles, joined)
}

// keys returns the two columns of the members' primary key.
func keys[R any](rows []R, key func(*R) *roster.MemberKey) (conversations, users [][16]byte) {
	conversations, users = make([][16]byte, len(rows)), make([][16]byte, len(rows))
	for i := range rows {
		k := key(&rows[i])
		conversations[i], users[i] = k.Conversation, k.User
	}
	return conversations, users
}

// The statements of Load beside those above. A conversation that comes new is
// first made with a version below every other.
const (
	beginLoaded = `INSERT INTO conversations (id, type, name, created_at, updated_at, members_version, name_version)
		VALUES ($1, $2, '', $3, $3, -1, -1) ON CONFLICT DO NOTHING`

	lockLoaded = `SELECT members_version FROM conversations WHERE id = $1 FOR NO KEY UPDATE`

	setLoaded = `UPDATE conversations SET type = $2, name = $3, created_at = $4, updated_at = $5,
		members_version = $6, name_version = greatest(name_version, $6) WHERE id = $1`

	clearMembers = `DELETE FROM conversation_members WHERE conversation_id = $1`
)

// errKnown ends the transaction of a Load that has nothing to do.
var errKnown = errors.New("the conversation is known at this version")

// Load implements [roster.Store].
func (s *Store) Load(ctx context.Context, l roster.Snapshot) error {
	err := s.transact(ctx, "load a conversation into the roster", func(ctx context.Context, tx pgx.Tx) error {
		id := [16]byte(l.Conversation)
		if _, err := tx.Exec(ctx, beginLoaded, id, l.Type.String(), l.Created.Time()); err != nil {
			return err
		}
		var version int64
		if err := tx.QueryRow(ctx, lockLoaded, id).Scan(&version); err != nil {
			return err
		}
		if version >= int64(l.Version) {
			return errKnown
		}
		rows := make([]roster.MemberRow, len(l.Members))
		for i, m := range l.Members {
			rows[i] = roster.MemberRow{
				MemberKey: roster.MemberKey{Conversation: l.Conversation, User: m.User}, Role: m.Role, Joined: m.Joined,
			}
		}
		batch := &pgx.Batch{}
		batch.Queue(clearMembers, id)
		batch.Queue(setLoaded, id, l.Type.String(), roster.Name(l.Name), l.Created.Time(), l.Updated.Time(), int64(l.Version))
		queueMembers(batch, rows)
		return tx.SendBatch(ctx, batch).Close()
	})
	if errors.Is(err, errKnown) {
		return nil
	}
	return err
}
