package scylla

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gocql/gocql"
	"github.com/scylladb/gocqlx/v2"
	"golang.org/x/sync/errgroup"
)

const (
	// changeTimeout is how long one change of the schema may take. It is sent
	// once: a change that is under way must not be begun again on another node.
	changeTimeout = 30 * time.Second
	// agreement is how long nodes may take to agree on a schema. The driver waits
	// that long, without an error, and then we do, with one.
	agreement = 10 * time.Second
	// knockTimeout bounds the question whether a node is up.
	knockTimeout = 3 * time.Second
)

// patient makes a session fit for changes of the schema.
func patient(cluster *gocql.ClusterConfig) {
	cluster.Timeout = changeTimeout
	cluster.RetryPolicy = &gocql.SimpleRetryPolicy{NumRetries: 0}
	cluster.NumConns = 1
	cluster.MaxWaitSchemaAgreement = agreement
}

// Migrate makes the keyspace, with that many replicas in config.LocalDC (or in
// the data centre of the host that answers), and the tables of schema.cql; a
// table that lacks columns gets them. It returns what it made, so that it can be
// repeated. Everything else that is not as asked for is [ErrDiffers], with each
// difference named, and nothing was changed.
//
// It does not lock: two that run at the same time in a new cluster may make a
// table twice, which Cassandra does not survive unharmed. A node that is down
// never agrees to a schema, so Migrate changes nothing while one is, and says
// which; when there is nothing to change it does not ask.
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
	session, err := config.connect(ctx, "", patient)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	center := config.LocalDC
	if center == "" {
		err := session.ContextQuery(ctx, `SELECT data_center FROM system.local`, nil).GetRelease(&center)
		if err != nil {
			return nil, fmt.Errorf("ask for the data centre: %w", err)
		}
	}
	there, err := checkKeyspace(ctx, session, config.Keyspace, center, replication)
	if err != nil || there {
		return nil, err
	}
	text := fmt.Sprintf(`CREATE KEYSPACE IF NOT EXISTS %s WITH replication = {'class': 'NetworkTopologyStrategy', '%s': %d}`,
		config.Keyspace, center, replication)
	if err := change(ctx, session, text); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("made keyspace %s with %d replicas in %s", config.Keyspace, replication, center)}, nil
}

// checkKeyspace reports whether the keyspace is there. That it has more data
// centres is somebody's plan; another number of replicas in ours is not what was
// asked for, and takes a repair to change.
func checkKeyspace(ctx context.Context, session gocqlx.Session, keyspace, center string, replication int) (there bool, err error) {
	var durable bool
	var found map[string]string
	const text = `SELECT durable_writes, replication FROM system_schema.keyspaces WHERE keyspace_name = ?`
	rows := session.ContextQuery(ctx, text, nil).Bind(keyspace).Iter()
	there = rows.Scan(&durable, &found)
	if err := rows.Close(); err != nil {
		return false, fmt.Errorf("ask for the keyspace: %w", err)
	}
	want := strconv.Itoa(replication)
	switch {
	case !there:
		return false, nil
	case !strings.HasSuffix(found["class"], "NetworkTopologyStrategy") || found[center] != want:
		return true, fmt.Errorf("%w: its replication is %s, want 'NetworkTopologyStrategy' with '%s': '%s' (ALTER KEYSPACE, then repair every node; or ask for what is there with -replication)",
			ErrDiffers, literal(found), center, want)
	case !durable:
		return true, fmt.Errorf("%w: its durable_writes is false, want true (ALTER KEYSPACE)", ErrDiffers)
	}
	return true, nil
}

// makeTables makes tables and columns that are missing, once it knows that
// nothing else is wrong.
func makeTables(ctx context.Context, config Config) (made []string, err error) {
	session, err := config.connect(ctx, config.Keyspace, patient)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	there, err := tablesOf(ctx, session, config.Keyspace)
	if err != nil {
		return nil, err
	}
	type step struct{ text, done string }
	var steps []step
	var different []string
	for _, t := range schemaTables() {
		found, ok := there[t.name]
		if !ok {
			steps = append(steps, step{t.text, "made table " + t.name})
			continue
		}
		missing, wrong := t.compareColumns(found)
		for _, name := range missing {
			steps = append(steps, step{
				fmt.Sprintf("ALTER TABLE %s ADD %s %s", t.name, name, t.columns[name].cqlType),
				fmt.Sprintf("added column %s to table %s", name, t.name),
			})
		}
		different = append(append(different, wrong...), t.compareOptions(found)...)
	}
	if len(different) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrDiffers, strings.Join(different, "; "))
	}
	for _, s := range steps {
		if err := change(ctx, session, s.text); err != nil {
			return made, fmt.Errorf("%s: %w", firstLine(s.text), err)
		}
		made = append(made, s.done)
	}
	return made, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, " (")
	return line
}

// change runs a statement that changes the schema, when all nodes are up, and
// waits for agreement. The driver's own waiting gives up without an error.
func change(ctx context.Context, session gocqlx.Session, text string) error {
	if err := everyoneUp(ctx, session); err != nil {
		return err
	}
	if err := session.ContextQuery(ctx, text, nil).ExecRelease(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, agreement)
	defer cancel()
	if err := session.AwaitSchemaAgreement(bounded); err != nil {
		return fmt.Errorf("not all nodes have it after %v: %w", agreement, err)
	}
	return nil
}

// everyoneUp knocks at every node that the driver knows. A schema that a node
// misses reaches it later, but until then nobody can tell whether two nodes hold
// two of them.
func everyoneUp(ctx context.Context, session gocqlx.Session) error {
	ctx, cancel := context.WithTimeout(ctx, knockTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, host := range session.GetHosts() {
		group.Go(func() error {
			address := net.JoinHostPort(host.ConnectAddress().String(), strconv.Itoa(host.Port()))
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return fmt.Errorf("the schema can be changed only when all nodes are up: %w", err)
			}
			return conn.Close()
		})
	}
	return group.Wait()
}
