package scylla

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/scylladb/gocqlx/v2"

	"switchboard/storage-worker/archive"
)

// table is a statement of schema.cql.
type table struct{ name, text string }

// schemaTables reads schema.cql: no statement has a semicolon inside, and no
// word of a statement has two dashes.
func schemaTables() (all []table) {
	code := regexp.MustCompile(`--.*`).ReplaceAllString(archive.SchemaCQL, "")
	name := regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS (\w+)`)
	for text := range strings.SplitSeq(code, ";") {
		text = strings.TrimSpace(text)
		if found := name.FindStringSubmatch(text); found != nil {
			all = append(all, table{found[1], text})
		}
	}
	return all
}

// Migrate makes the keyspace, with that many replicas in config.LocalDC (or in
// the data centre of the host that answers), and the tables of schema.cql. It
// leaves alone what is there and returns what it made, so that it can be
// repeated. It does not lock: two that run at the same time in a new cluster may
// make a table twice, which Cassandra does not survive unharmed. It waits until
// the nodes agree on the schema, 20 s at most; a node that is down is one that
// does not agree, so run it when all are up.
func Migrate(ctx context.Context, config Config, replication int) (made []string, err error) {
	config = config.withDefaults()
	if replication < 1 {
		return nil, fmt.Errorf("a keyspace has at least 1 replica, not %d", replication)
	}
	if made, err = makeKeyspace(ctx, config, replication); err != nil {
		return made, fmt.Errorf("make keyspace %s: %w", config.Keyspace, err)
	}
	tables, err := makeTables(ctx, config)
	if err != nil {
		err = fmt.Errorf("make tables in %s: %w", config.Keyspace, err)
	}
	return append(made, tables...), err
}

func makeKeyspace(ctx context.Context, config Config, replication int) (made []string, err error) {
	session, err := config.connect(ctx, "")
	if err != nil {
		return nil, err
	}
	defer session.Close()
	there, err := words(ctx, session, `SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?`, config.Keyspace)
	if err != nil || len(there) > 0 {
		return nil, err
	}
	center := config.LocalDC
	if center == "" {
		local, err := words(ctx, session, `SELECT data_center FROM system.local`)
		if err != nil || len(local) == 0 {
			return nil, fmt.Errorf("ask for the data centre: %w", err)
		}
		center = local[0]
	}
	text := fmt.Sprintf(`CREATE KEYSPACE IF NOT EXISTS %s WITH replication = {'class': 'NetworkTopologyStrategy', '%s': %d}`,
		config.Keyspace, center, replication)
	if err := change(ctx, session, text); err != nil {
		return nil, err
	}
	return []string{"keyspace " + config.Keyspace}, nil
}

func makeTables(ctx context.Context, config Config) (made []string, err error) {
	session, err := config.connect(ctx, config.Keyspace)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	there, err := tablesOf(ctx, session, config.Keyspace)
	if err != nil {
		return nil, err
	}
	for _, t := range schemaTables() {
		if slices.Contains(there, t.name) {
			continue
		}
		if err := change(ctx, session, t.text); err != nil {
			return made, fmt.Errorf("table %s: %w", t.name, err)
		}
		made = append(made, "table "+t.name)
	}
	return made, nil
}

// change runs a statement that changes the schema, and waits for agreement. The
// driver's own waiting gives up without an error.
func change(ctx context.Context, session gocqlx.Session, text string) error {
	if err := session.ContextQuery(ctx, text, nil).ExecRelease(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, agreement)
	defer cancel()
	if err := session.AwaitSchemaAgreement(bounded); err != nil {
		return fmt.Errorf("wait until all nodes have it: %w", err)
	}
	return nil
}

// tablesOf returns the tables that a keyspace has.
func tablesOf(ctx context.Context, session gocqlx.Session, keyspace string) ([]string, error) {
	return words(ctx, session, `SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?`, keyspace)
}

// words reads one column of text.
func words(ctx context.Context, session gocqlx.Session, text string, values ...any) (all []string, err error) {
	if err := session.ContextQuery(ctx, text, nil).Bind(values...).SelectRelease(&all); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return all, nil
}
