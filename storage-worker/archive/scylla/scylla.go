// Package scylla keeps the archive in Cassandra 5 or Scylla: what a cluster
// uses, where one machine's SQLite file is outgrown. It is the home of gocqlx
// and of gocql below it.
//
//	Write ─▶ plan: one mutation a partition ─▶ bundles by node ─▶ lane ─▶ LOCAL_QUORUM ─▶ nodes
//	              └ rows of a conversation: one after another
//	Entries, Tip, StaysIn … ────────────────────────────────▶ lane ─▶ LOCAL_QUORUM ─▶ nodes
//
// Every statement is an insert or an update by full key and names its own write
// timestamp, the clock of the record that caused it; the driver's timestamps are
// off. So the newest record wins in each cell, whoever writes it, however late
// and however often, and nothing here needs a lightweight transaction. That is
// also why a statement may always be sent again: all are marked as idempotent,
// and the driver tries another host when one is silent.
//
// Statements to different partitions run concurrently. What goes to one
// partition goes as one unlogged batch, which that partition's replicas apply
// whole; small ones with the same first replica share a request: see bundle.go.
// Only the rows of one conversation have an
// order: the batch of the next bucket waits until the one before is
// acknowledged, and so whoever reads an event can read all below it.
//
// How many statements wait for an answer is bounded by two lanes, the smaller
// one for watermarks: a storm of receipts must not stand before messages.
//
// The package does not repeat a Write that failed: its outcome is unknown, and
// the caller knows whether it still wants it.
package scylla

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/gocql/gocql"
	"github.com/scylladb/gocqlx/v2"

	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
)

const (
	// connectTimeout bounds one attempt to connect.
	connectTimeout = 3 * time.Second
	// reconnect is how often a host that was down is tried.
	reconnect = 5 * time.Second
	// connections to a host. Scylla's driver opens one for each shard instead.
	connections = 2
	// inFlight is how many statements of a Store wait for an answer at the same
	// time, and marksInFlight how many of watermarks. More wait for their turn.
	inFlight      = 256
	marksInFlight = 32
)

// ErrNoTables says that the keyspace lacks tables of the archive: nobody ran
// Migrate.
var ErrNoTables = errors.New("keyspace has not all tables of the archive; run storage-worker migrate")

// Config says where the cluster is. Hosts and Keyspace are needed.
type Config struct {
	Hosts    []string // HOST or HOST:PORT of some nodes; the driver finds the others
	Keyspace string   // lower-case letters, digits and underscores
	// LocalDC is the data centre whose replicas answer. Empty means that there is
	// only one.
	LocalDC            string
	Username, Password string      // empty: no authentication
	TLS                *tls.Config // nil: none; hosts are verified against it
	Logger             *slog.Logger
	Metrics            *metrics.Set // may be nil
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = metrics.New()
	}
	return c
}

// check refuses what would otherwise be a riddle from the server. The name of
// the keyspace is put into statements as it is.
func (c Config) check() error {
	name := strings.TrimFunc(c.Keyspace, func(r rune) bool {
		return r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
	})
	switch {
	case len(c.Hosts) == 0:
		return errors.New("no host is given")
	case name != "" || c.Keyspace == "" || len(c.Keyspace) > 48 || c.Keyspace[0] < 'a':
		return fmt.Errorf("%q is no name of a keyspace: a letter, then lower-case letters, digits, underscores, at most 48", c.Keyspace)
	case strings.ContainsAny(c.LocalDC, `'"\`):
		return fmt.Errorf("%q is no name of a data centre", c.LocalDC)
	}
	return nil
}

// connect opens a session in a keyspace, or in none. Each of adapt may change
// how the driver goes about it.
func (c Config) connect(ctx context.Context, keyspace string, adapt ...func(*gocql.ClusterConfig)) (gocqlx.Session, error) {
	if err := errors.Join(ctx.Err(), c.check()); err != nil {
		return gocqlx.Session{}, err
	}
	cluster := gocql.NewCluster(c.Hosts...)
	cluster.Keyspace = keyspace
	cluster.ProtoVersion = 4
	cluster.Consistency = gocql.LocalQuorum
	cluster.DefaultTimestamp = false
	cluster.DefaultIdempotence = true
	cluster.Timeout, cluster.ConnectTimeout = timeout, connectTimeout
	cluster.ReconnectInterval = reconnect
	cluster.NumConns = connections
	cluster.RetryPolicy = elsewhere{}
	said := &driverLog{log: c.Logger}
	cluster.Logger = said
	fallback := gocql.RoundRobinHostPolicy()
	if c.LocalDC != "" {
		fallback = gocql.DCAwareRoundRobinPolicy(c.LocalDC)
	}
	// Not shuffled: what is bundled for a partition's first replica goes there.
	replicas := gocql.TokenAwareHostPolicy(fallback, gocql.DontShuffleReplicas())
	cluster.PoolConfig.HostSelectionPolicy = &wary{HostSelectionPolicy: replicas, log: c.Logger, now: time.Now}
	if c.Username != "" {
		cluster.Authenticator = gocql.PasswordAuthenticator{Username: c.Username, Password: c.Password}
	}
	if c.TLS != nil {
		cluster.SslOpts = &gocql.SslOptions{Config: c.TLS.Clone(), EnableHostVerification: true}
	}
	for _, change := range adapt {
		change(cluster)
	}
	session, err := start(cluster)
	said.open.Store(err == nil)
	return session, err
}

// start is CreateSession, which forgets a session that failed to connect with
// its goroutines and connections (session.go of gocql 1.19.0): a program that
// tries again until the cluster is there would gather them. This one can be
// closed.
func start(cluster *gocql.ClusterConfig) (gocqlx.Session, error) {
	session, err := cluster.CreateSessionNonBlocking()
	if err != nil {
		return gocqlx.Session{}, err
	}
	if err := session.WaitUntilReady(); err != nil {
		session.Close()
		return gocqlx.Session{}, refusal(err, cluster.SslOpts != nil)
	}
	return gocqlx.NewSession(session), nil
}

// Store is an [archive.Store] in a cluster. Close it.
type Store struct {
	session gocqlx.Session
	nodes   *wary
	spread  int  // see bundle.go
	lane    lane // of all statements but those of watermarks
	marks   lane

	meter meter
}

var _ archive.Store = (*Store)(nil)

// Open connects to the cluster and checks that the tables are there. It fails
// with [ErrNoTables] where that is the reason, and with [ErrDiffers] where they
// are other tables than ours; any other failure may pass.
// Connecting is bounded by time-outs of its own and does not end with ctx.
func Open(ctx context.Context, config Config) (*Store, error) {
	config = config.withDefaults()
	var nodes *wary
	session, err := config.connect(ctx, config.Keyspace, func(c *gocql.ClusterConfig) { nodes, _ = c.PoolConfig.HostSelectionPolicy.(*wary) })
	if err != nil {
		return nil, fmt.Errorf("open archive in %s at %s: %w", config.Keyspace, strings.Join(config.Hosts, ","), err)
	}
	s := &Store{
		session: session, nodes: nodes, lane: make(lane, inFlight), marks: make(lane, marksInFlight),
		meter: newMeter(config.Metrics),
	}
	if err := s.checkTables(ctx, config.Keyspace); err != nil {
		s.Close()
		return nil, fmt.Errorf("open archive in %s: %w", config.Keyspace, err)
	}
	s.spread = s.spreadOf(ctx)
	return s, nil
}

// checkTables looks for what the program will read and write. How tables are
// kept on disk is the business of Migrate.
func (s *Store) checkTables(ctx context.Context, keyspace string) error {
	there, err := tablesOf(ctx, s.session, keyspace)
	if err != nil {
		return err
	}
	for _, t := range schemaTables() {
		found, ok := there[t.name]
		if !ok {
			return fmt.Errorf("%w: no %s", ErrNoTables, t.name)
		}
		missing, different := t.compareColumns(found)
		switch {
		case len(different) > 0:
			return fmt.Errorf("%w: %s", ErrDiffers, different[0])
		case len(missing) > 0:
			return fmt.Errorf("%w: no column %s in %s", ErrNoTables, missing[0], t.name)
		}
	}
	return nil
}

// Close ends all connections. Calls that wait fail.
func (s *Store) Close() { s.session.Close() }

// lane bounds how many statements wait for an answer.
type lane chan struct{}

func (l lane) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l lane) leave() { <-l }
