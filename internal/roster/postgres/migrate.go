package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// migrating is the key of the advisory lock under which the schema changes: the
// bytes of "rosterDB".
const migrating = 0x726f737465724442

// object is a statement of schema.sql.
type object struct{ kind, name, text string }

// objects reads schema.sql: no statement has a semicolon inside, and no word of
// one has two dashes.
func objects() (all []object) {
	code := regexp.MustCompile(`--.*`).ReplaceAllString(Schema, "")
	name := regexp.MustCompile(`^CREATE (TABLE|INDEX) IF NOT EXISTS (\w+)`)
	for text := range strings.SplitSeq(code, ";") {
		text = strings.TrimSpace(text)
		if found := name.FindStringSubmatch(text); found != nil {
			all = append(all, object{strings.ToLower(found[1]), found[2], text})
		}
	}
	return all
}

// Migrate makes the tables and indexes of schema.sql in the first schema of the
// search path, all in one transaction. It leaves alone what is there and returns
// what it made, such as "table conversations"; repeating it is harmless. Several
// at the same time wait for each other, until ctx ends.
func Migrate(ctx context.Context, c Config) ([]string, error) {
	config, err := c.pool()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var made []string
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		made, err = makeObjects(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make the roster's tables: %w", err)
	}
	return made, nil
}

func makeObjects(ctx context.Context, tx pgx.Tx) (made []string, err error) {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrating)); err != nil {
		return nil, fmt.Errorf("wait for another migration: %w", err)
	}
	rows, err := tx.Query(ctx, `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = current_schema()`)
	if err != nil {
		return nil, fmt.Errorf("list what is there: %w", err)
	}
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list what is there: %w", err)
	}
	for _, o := range objects() {
		if slices.Contains(there, o.name) {
			continue
		}
		if _, err := tx.Exec(ctx, o.text); err != nil {
			return nil, fmt.Errorf("make %s %s: %w", o.kind, o.name, err)
		}
		made = append(made, o.kind+" "+o.name)
	}
	return made, nil
}
