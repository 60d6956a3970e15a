// Package postgres keeps the roster in PostgreSQL, for sites that ask it with
// SQL. It is the home of pgx. The tables stand in schema.sql.
//
//	Apply: INSERT the new conversations ──▶ SELECT … FOR NO KEY UPDATE ──▶ plan ──▶ the rows, in one go ──▶ COMMIT
//
// A batch costs four round trips however much is in it. Two that apply the same
// log wait for each other at the rows of the conversations, in the order of ids,
// and the second finds versions that make it change nothing. Nothing here depends
// on who is first, nor on any lock outside of the transaction.
//
// Connections are made when they are needed, so a server that was away is used
// as soon as it is back; the caller repeats what failed meanwhile.
package postgres

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"switchboard/internal/roster"
)

// Schema creates the tables; see [Migrate].
//
//go:embed schema.sql
var Schema string

// The defaults of a Config.
const (
	defaultConns   = 4
	defaultTimeout = 10 * time.Second
	connectTimeout = 5 * time.Second
)

// Config says where the server is.
type Config struct {
	// URL is postgres://user@host:port/database; search_path as a parameter names
	// another schema than public. Several hosts, for a standby, are separated by
	// commas; target_session_attrs=read-write then finds the primary.
	URL      string
	Password string      // empty: none, or that of the URL
	TLS      *tls.Config // nil: as the URL's sslmode says; else the host's name is verified
	Conns    int32       // connections at most, default 4
	// Timeout bounds each call, so that a server that is silent is noticed;
	// default 10 s.
	Timeout time.Duration
}

// Check says what is wrong with the configuration itself, which no waiting heals.
func (c Config) Check() error {
	_, err := c.pool()
	return err
}

// pool turns the configuration into that of the driver.
func (c Config) pool() (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("read the URL of PostgreSQL: %w", err)
	}
	config.MaxConns = c.Conns
	if config.MaxConns <= 0 {
		config.MaxConns = defaultConns
	}
	conn := config.ConnConfig
	if c.Password != "" {
		conn.Password = c.Password
	}
	conn.ConnectTimeout = connectTimeout
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = "switchboard"
	}
	if c.TLS != nil {
		conn.TLSConfig = named(c.TLS, conn.Host)
		kept := conn.Fallbacks[:0]
		for _, f := range conn.Fallbacks {
			if f.TLSConfig != nil || f.Host != conn.Host { // Else it is the same host without TLS.
				f.TLSConfig = named(c.TLS, f.Host)
				kept = append(kept, f)
			}
		}
		conn.Fallbacks = kept
	}
	return config, nil
}

// named is the TLS configuration for one host.
func named(c *tls.Config, host string) *tls.Config {
	c = c.Clone()
	if c.ServerName == "" {
		c.ServerName = host
	}
	return c
}

// Store is a [roster.Store] in PostgreSQL. Close it.
type Store struct {
	// Fixed after construction.
	pool    *pgxpool.Pool
	timeout time.Duration
}

var _ roster.Store = (*Store)(nil)

// Open connects and looks whether the tables are there. The error wraps
// [roster.ErrSchema] when they are not. After that the server may come and go.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := Connect(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("open the roster in PostgreSQL: %w", err)
	}
	return s, nil
}

// Connect asks the server nothing yet, so that it may be away or without tables:
// for those who only read and can do without an answer.
func Connect(ctx context.Context, c Config) (*Store, error) {
	config, err := c.pool()
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the roster in PostgreSQL: %w", err)
	}
	s := &Store{pool: pool, timeout: c.Timeout}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	return s, nil
}

// Close closes the connections, waiting for calls under way.
func (s *Store) Close() { s.pool.Close() }

// columns names every column that this release reads or writes.
var columns = [...]string{
	`SELECT id, type, name, created_at, updated_at, members_version, name_version FROM conversations LIMIT 0`,
	`SELECT conversation_id, user_id, role, joined_at, last_read_at FROM conversation_members LIMIT 0`,
	`SELECT generation, partition, accepted_offset, inbound_offset FROM roster_progress LIMIT 0`,
}

// The server's codes for what is not there.
const (
	undefinedTable  = "42P01"
	undefinedColumn = "42703"
)

func (s *Store) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for _, text := range columns {
		_, err := s.pool.Exec(ctx, text)
		var answer *pgconn.PgError
		if errors.As(err, &answer) && (answer.Code == undefinedTable || answer.Code == undefinedColumn) {
			return fmt.Errorf("%w: %s", roster.ErrSchema, answer.Message)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// transact runs work in one transaction.
func (s *Store) transact(ctx context.Context, what string, work func(ctx context.Context, tx pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return work(ctx, tx) })
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
