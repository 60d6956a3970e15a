// Package sqlite keeps the devices that are notified in a SQLite database, for a
// whole system on one machine and for tests without a server. It speaks
// database/sql only: whoever opens the database links the driver.
package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// schema creates the tables.
//
//go:embed schema.sql
var schema string

// Store is a [devices.Store] in SQLite. The database is its owner's to close.
type Store struct{ db *sql.DB }

var _ devices.Store = (*Store)(nil)

// New makes the tables in db where there are none. It limits db to a single
// connection.
func New(ctx context.Context, db *sql.DB) (*Store, error) {
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("make the tables of devices in SQLite: %w", err)
	}
	return &Store{db: db}, nil
}

// The statements.
const (
	takeAddress = `DELETE FROM push_devices WHERE kind = ? AND address = ? AND (user_id <> ? OR device_id <> ?)`
	put         = `INSERT INTO push_devices (user_id, device_id, kind, address, settings, updated_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (user_id, device_id) DO UPDATE
		SET kind = excluded.kind, address = excluded.address, settings = excluded.settings, updated_at = excluded.updated_at`
	prune = `DELETE FROM push_devices WHERE user_id = ?1 AND device_id IN (SELECT device_id FROM push_devices
		WHERE user_id = ?1 ORDER BY device_id = ?2 DESC, updated_at DESC, device_id LIMIT -1 OFFSET ?3)`
	remove     = `DELETE FROM push_devices WHERE user_id = ? AND device_id = ?`
	removeDead = `DELETE FROM push_devices WHERE user_id = ? AND device_id = ? AND address = ?`
	forget     = `DELETE FROM push_reads WHERE user_id = ?1 AND NOT EXISTS (SELECT 1 FROM push_devices WHERE user_id = ?1)`
	setRead    = `INSERT INTO push_reads (user_id, conversation_id, read_seq)
		SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM push_devices WHERE user_id = ?1)
		ON CONFLICT (user_id, conversation_id) DO UPDATE SET read_seq = max(read_seq, excluded.read_seq)`
	getRead = `SELECT read_seq FROM push_reads WHERE user_id = ? AND conversation_id = ?`
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

// Put implements [devices.Store].
func (s *Store) Put(ctx context.Context, r devices.Registration) error {
	settings, err := json.Marshal(r.Settings)
	if err != nil {
		return fmt.Errorf("encode a registration: %w", err)
	}
	return s.transact(ctx, "register a device", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, takeAddress, string(r.Kind), r.Address, r.User[:], r.Device); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, put, r.User[:], r.Device, string(r.Kind), r.Address, string(settings), time.Now().Unix()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, prune, r.User[:], r.Device, devices.PerUser)
		return err
	})
}

// Remove implements [devices.Store].
func (s *Store) Remove(ctx context.Context, u chat.UserID, device string) (found bool, err error) {
	err = s.delete(ctx, u, &found, remove, u[:], device)
	return found, err
}

// RemoveDead implements [devices.Store].
func (s *Store) RemoveDead(ctx context.Context, u chat.UserID, device, address string) error {
	var found bool
	return s.delete(ctx, u, &found, removeDead, u[:], device, address)
}

func (s *Store) delete(ctx context.Context, u chat.UserID, found *bool, statement string, args ...any) error {
	return s.transact(ctx, "remove a device", func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return err
		}
		*found = n > 0
		_, err = tx.ExecContext(ctx, forget, u[:])
		return err
	})
}

// Of implements [devices.Store].
func (s *Store) Of(ctx context.Context, users []chat.UserID) (all []devices.Registration, err error) {
	users = slices.Clone(users)
	slices.SortFunc(users, func(a, b chat.UserID) int { return strings.Compare(string(a[:]), string(b[:])) })
	for _, u := range slices.Compact(users) {
		some, err := s.of(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("read devices: %w", err)
		}
		all = append(all, some...)
	}
	return all, nil
}

func (s *Store) of(ctx context.Context, u chat.UserID) (all []devices.Registration, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT device_id, kind, address, settings, updated_at FROM push_devices
		WHERE user_id = ? ORDER BY device_id`, u[:])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		r := devices.Registration{User: u}
		var settings string
		var updated int64
		if err := rows.Scan(&r.Device, &r.Kind, &r.Address, &settings, &updated); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(settings), &r.Settings); err != nil {
			return nil, fmt.Errorf("decode a registration: %w", err)
		}
		r.Updated = time.Unix(updated, 0)
		all = append(all, r)
	}
	return all, rows.Err()
}

// SetRead implements [devices.Store].
func (s *Store) SetRead(ctx context.Context, reads []devices.Read) error {
	return s.transact(ctx, "note what was read", func(tx *sql.Tx) error {
		for i := range reads {
			r := &reads[i]
			if _, err := tx.ExecContext(ctx, setRead, r.User[:], r.Conversation[:], int64(r.Seq)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReadSeqs implements [devices.Store].
func (s *Store) ReadSeqs(ctx context.Context, keys []devices.Key) ([]chat.Seq, error) {
	seqs := make([]chat.Seq, len(keys))
	for i := range keys {
		err := s.db.QueryRowContext(ctx, getRead, keys[i].User[:], keys[i].Conversation[:]).Scan(&seqs[i])
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, fmt.Errorf("read what was read: %w", err)
		}
	}
	return seqs, nil
}
