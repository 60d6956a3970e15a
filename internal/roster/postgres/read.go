package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"switchboard/internal/chat"
	"switchboard/internal/roster"
)

const (
	getProgress = `SELECT accepted_offset, inbound_offset FROM roster_progress WHERE generation = $1 AND partition = $2`

	// One statement is one snapshot.
	getList = `SELECT c.members_version, m.user_id, m.role, m.joined_at FROM conversations AS c
		LEFT JOIN conversation_members AS m ON m.conversation_id = c.id WHERE c.id = $1`

	getMembers = `SELECT user_id, role, joined_at FROM conversation_members
		WHERE conversation_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3`

	getPeers = `SELECT peer.user_id FROM conversation_members AS own
		JOIN conversations AS c ON c.id = own.conversation_id AND c.type = 'direct'
		JOIN conversation_members AS peer ON peer.conversation_id = c.id AND peer.user_id <> own.user_id
		WHERE own.user_id = $1 ORDER BY c.created_at DESC, peer.user_id LIMIT $2`

	getSharing = `SELECT DISTINCT other.user_id FROM conversation_members AS own
		JOIN conversation_members AS other ON other.conversation_id = own.conversation_id
		WHERE own.user_id = $1 AND other.user_id = ANY($2)`
)

// Progress implements [roster.Store].
func (s *Store) Progress(ctx context.Context, generation uint32, partition int32) (p roster.Progress, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	p = roster.Progress{Generation: generation, Partition: partition}
	err = s.pool.QueryRow(ctx, getProgress, int64(generation), partition).Scan(&p.Next, &p.Last)
	if errors.Is(err, pgx.ErrNoRows) {
		return roster.Progress{}, false, nil
	}
	if err != nil {
		return roster.Progress{}, false, fmt.Errorf("read the roster's progress: %w", err)
	}
	return p, true, nil
}

// Members implements [roster.Store].
func (s *Store) Members(ctx context.Context, c chat.ConversationID, after chat.UserID, limit int) ([]roster.Member, error) {
	limit = min(limit, roster.PageMax)
	members := make([]roster.Member, 0, min(limit, 256))
	var user [16]byte
	var role string
	var joined time.Time
	err := s.each(ctx, getMembers, []any{[16]byte(c), [16]byte(after), limit}, []any{&user, &role, &joined}, func() error {
		m, err := memberOf(user, role, joined)
		if err != nil {
			return err
		}
		members = append(members, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read members of conversation %s: %w", c, err)
	}
	return members, nil
}

// memberOf reads a row of members.
func memberOf(user [16]byte, role string, joined time.Time) (roster.Member, error) {
	r, ok := chat.ParseRole(role)
	if !ok {
		return roster.Member{}, fmt.Errorf("user %s has the unknown role %q", chat.UserID(user), role)
	}
	return roster.Member{User: user, Role: r, Joined: chat.Clock(joined.UnixMicro())}, nil
}

// List implements [roster.Store].
func (s *Store) List(ctx context.Context, c chat.ConversationID) (members []roster.Member, version chat.Seq, err error) {
	var user *[16]byte
	var role *string
	var joined *time.Time
	err = s.each(ctx, getList, []any{[16]byte(c)}, []any{(*int64)(&version), &user, &role, &joined}, func() error {
		if user == nil {
			return nil // It is known, and has no members.
		}
		m, err := memberOf(*user, *role, *joined)
		if err != nil {
			return err
		}
		members = append(members, m)
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list members of conversation %s: %w", c, err)
	}
	return members, version, nil
}

// Peers implements [roster.Store].
func (s *Store) Peers(ctx context.Context, user chat.UserID, limit int) ([]chat.UserID, error) {
	peers, err := s.users(ctx, getPeers, [16]byte(user), min(limit, roster.PeersMax))
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
	ids := make([][16]byte, len(others))
	for i, u := range others {
		ids[i] = u
	}
	found, err := s.users(ctx, getSharing, [16]byte(user), ids)
	if err != nil {
		return nil, fmt.Errorf("ask with whom user %s shares a conversation: %w", user, err)
	}
	return slices.DeleteFunc(slices.Clone(others), func(u chat.UserID) bool { return !slices.Contains(found, u) }), nil
}

// users reads one column of user ids.
func (s *Store) users(ctx context.Context, text string, args ...any) (all []chat.UserID, err error) {
	var user [16]byte
	err = s.each(ctx, text, args, []any{&user}, func() error {
		all = append(all, user)
		return nil
	})
	return all, err
}

// each calls row for each row, after it was scanned into the places.
func (s *Store) each(ctx context.Context, text string, args, places []any, row func() error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, text, args...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, places, row)
	return err
}
