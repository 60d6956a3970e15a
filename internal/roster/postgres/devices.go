package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// Devices is a [devices.Store] in the same database as the roster, over the same
// connections.
type Devices struct{ of *Store }

var _ devices.Store = Devices{}

// Devices returns the tables of devices.
func (s *Store) Devices() Devices { return Devices{s} }

// The statements. Whoever registers takes the lock of the address, then that of the
// user, so that two at the same time leave one address and not too many devices.
const (
	lockWord    = `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`
	takeAddress = `DELETE FROM push_devices WHERE kind = $1 AND address = $2 AND (user_id <> $3 OR device_id <> $4)`
	putDevice   = `INSERT INTO push_devices (user_id, device_id, kind, address, settings, updated_at) VALUES ($1, $2, $3, $4, $5, now())
		ON CONFLICT (user_id, device_id) DO UPDATE
		SET kind = excluded.kind, address = excluded.address, settings = excluded.settings, updated_at = excluded.updated_at`
	pruneDevices = `DELETE FROM push_devices WHERE user_id = $1 AND device_id IN (SELECT device_id FROM push_devices
		WHERE user_id = $1 ORDER BY device_id = $2 DESC, updated_at DESC, device_id OFFSET $3)`
	removeDevice = `DELETE FROM push_devices WHERE user_id = $1 AND device_id = $2`
	removeDead   = `DELETE FROM push_devices WHERE user_id = $1 AND device_id = $2 AND address = $3`
	forgetReads  = `DELETE FROM push_reads WHERE user_id = $1 AND NOT EXISTS (SELECT 1 FROM push_devices WHERE user_id = $1)`
	listDevices  = `SELECT user_id, device_id, kind, address, settings, updated_at FROM push_devices
		WHERE user_id = ANY($1) ORDER BY user_id, device_id COLLATE "C"`
	// Rows are locked in the order of their keys, so that two cannot meet crosswise.
	putReads = `INSERT INTO push_reads AS r (user_id, conversation_id, read_seq)
		SELECT u, c, s FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS new (u, c, s)
		WHERE EXISTS (SELECT 1 FROM push_devices WHERE user_id = u) ORDER BY u, c
		ON CONFLICT (user_id, conversation_id) DO UPDATE SET read_seq = greatest(r.read_seq, excluded.read_seq)`
	getReads = `SELECT asked.n, r.read_seq FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS asked (u, c, n)
		JOIN push_reads r ON r.user_id = asked.u AND r.conversation_id = asked.c`
)

// transact runs work in one transaction; tables that are missing are
// [devices.ErrSchema].
func (d Devices) transact(ctx context.Context, what string, work func(ctx context.Context, tx pgx.Tx) error) error {
	err := d.of.transact(ctx, what, work)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && (answer.Code == undefinedTable || answer.Code == undefinedColumn) {
		return fmt.Errorf("%w: %w", devices.ErrSchema, err)
	}
	return err
}

// Put implements [devices.Store].
func (d Devices) Put(ctx context.Context, r devices.Registration) error {
	settings, err := json.Marshal(r.Settings)
	if err != nil {
		return fmt.Errorf("encode a registration: %w", err)
	}
	return d.transact(ctx, "register a device", func(ctx context.Context, tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue(lockWord, string(r.Kind)+" "+r.Address)
		batch.Queue(lockWord, r.User.String())
		batch.Queue(takeAddress, string(r.Kind), r.Address, [16]byte(r.User), r.Device)
		batch.Queue(putDevice, [16]byte(r.User), r.Device, string(r.Kind), r.Address, string(settings))
		batch.Queue(pruneDevices, [16]byte(r.User), r.Device, devices.PerUser)
		return tx.SendBatch(ctx, batch).Close()
	})
}

// Remove implements [devices.Store].
func (d Devices) Remove(ctx context.Context, u chat.UserID, device string) (bool, error) {
	return d.delete(ctx, u, removeDevice, [16]byte(u), device)
}

// RemoveDead implements [devices.Store].
func (d Devices) RemoveDead(ctx context.Context, u chat.UserID, device, address string) error {
	_, err := d.delete(ctx, u, removeDead, [16]byte(u), device, address)
	return err
}

func (d Devices) delete(ctx context.Context, u chat.UserID, statement string, args ...any) (found bool, err error) {
	err = d.transact(ctx, "remove a device", func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, statement, args...)
		if err != nil {
			return err
		}
		found = tag.RowsAffected() > 0
		_, err = tx.Exec(ctx, forgetReads, [16]byte(u))
		return err
	})
	return found, err
}

// Of implements [devices.Store].
func (d Devices) Of(ctx context.Context, users []chat.UserID) (all []devices.Registration, err error) {
	ids := make([][16]byte, len(users))
	for i, u := range users {
		ids[i] = u
	}
	err = d.transact(ctx, "read devices", func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, listDevices, ids)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, registration)
		return err
	})
	return all, err
}

func registration(row pgx.CollectableRow) (r devices.Registration, err error) {
	var user [16]byte
	var kind, settings string
	var updated time.Time
	if err := row.Scan(&user, &r.Device, &kind, &r.Address, &settings, &updated); err != nil {
		return r, err
	}
	r.User, r.Kind, r.Updated = user, devices.Kind(kind), updated.Truncate(time.Second)
	return r, json.Unmarshal([]byte(settings), &r.Settings)
}

// SetRead implements [devices.Store].
func (d Devices) SetRead(ctx context.Context, reads []devices.Read) error {
	newest := make(map[devices.Key]chat.Seq, len(reads)) // A statement may touch a row once.
	for _, r := range reads {
		newest[r.Key] = max(newest[r.Key], r.Seq)
	}
	keys := make([]devices.Key, 0, len(newest))
	for key := range newest {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b devices.Key) int {
		return strings.Compare(string(a.User[:])+string(a.Conversation[:]), string(b.User[:])+string(b.Conversation[:]))
	})
	users, conversations := columnsOf(keys)
	seqs := make([]int64, len(keys))
	for i, key := range keys {
		seqs[i] = int64(newest[key])
	}
	return d.transact(ctx, "note what was read", func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, putReads, users, conversations, seqs)
		return err
	})
}

// ReadSeqs implements [devices.Store].
func (d Devices) ReadSeqs(ctx context.Context, keys []devices.Key) ([]chat.Seq, error) {
	seqs := make([]chat.Seq, len(keys))
	users, conversations := columnsOf(keys)
	err := d.transact(ctx, "read what was read", func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, getReads, users, conversations)
		if err != nil {
			return err
		}
		var place, seq int64
		_, err = pgx.ForEachRow(rows, []any{&place, &seq}, func() error {
			seqs[place-1] = chat.Seq(seq)
			return nil
		})
		return err
	})
	return seqs, err
}

func columnsOf(keys []devices.Key) (users, conversations [][16]byte) {
	users, conversations = make([][16]byte, len(keys)), make([][16]byte, len(keys))
	for i, key := range keys {
		users[i], conversations[i] = key.User, key.Conversation
	}
	return users, conversations
}
