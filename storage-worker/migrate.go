package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
	"switchboard/internal/roster/postgres"
	"switchboard/storage-worker/archive/scylla"
	"switchboard/storage-worker/media/s3"
)

const migrateManual = `storage-worker migrate: make the topics and tables that all programs share

It makes what is missing, checks that what is there is as asked for, and says one
line of each: repeating it is harmless. Run it before the programs of a new version.

  topics    always: in Kafka, with -partitions and -replication. The number of
            partitions is part of every message's id and is chosen once. Each
            server's own delivery topic is made by that server.
  cql       with -cql: keyspace and tables of the archive. Missing columns are added.
            The SQLite archive makes its own tables.
  postgres  with -postgres: tables of the roster.

  s3        with -s3-endpoint: the bucket of uploads.

  anchors   with -generation above 1: the topics of a log that follows one which was
            lost, and in each partition the record from which its clock goes on. Stop
            all programs first, give -cql if the archive is there, and then start all
            of them with the same -generation. The number of partitions stays.

What is there and differs, and cannot be changed safely by a program, ends it with
status 2 and a line that names each difference: partitions, replicas and settings of
topics; the keyspace's replication; keys, types, times to live and compaction of
tables. Nothing of that server was changed then.

One runs at a time: all take one lock, which lies in Kafka (the consumer group
` + migrateLock + `, no topic) and goes within 10 seconds with a process that is
killed. Another that is started meanwhile says whom it waits for, for 10 minutes at
most. What migrate does takes 2 minutes at most, waiting for servers included: it
repeats what failed, and says why. A schema in Cassandra or Scylla is changed only
while all nodes are up; when there is nothing to change, a node may be down.`

const (
	// migrateLock is the name of the one lock.
	migrateLock = "switchboard-migrate"
	// migrateTimeout bounds what is done under the lock, waiting for servers
	// included.
	migrateTimeout = 2 * time.Minute
	// lockTimeout bounds that and the waiting for other migrations.
	lockTimeout = 10 * time.Minute
)

// migration is one run of the sub-command.
type migration struct {
	partitions, replication, cqlReplication int
	generation                              uint32

	client   *kafka.Client
	archive  *scylla.Config   // nil: none
	postgres *postgres.Config // nil: none
	bucket   *s3.Store        // nil: none
	log      *slog.Logger
	out      io.Writer
}

// runMigrate is the sub-command.
func runMigrate(ctx context.Context, args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("storage-worker migrate", migrateManual)
	m := &migration{out: stdout}
	brokers := flags.Server("kafka", "`HOST:PORT,…` of Kafka brokers, some of them")
	flags.IntVar(&m.partitions, "partitions", 256, "`NUMBER` of partitions of each topic, for ever")
	flags.IntVar(&m.replication, "replication", 3, "`NUMBER` of replicas that durable topics must have, 3 being always enough; fewer accepts that acknowledged records are lost with a broker.\nTopics get as many when they are made; the programs take the same flag")
	cql := clusterFlags(flags, "`HOST:PORT,…` of Cassandra or Scylla",
		"`NAME` of the data centre for the copies of each row; empty: that of the node that answers")
	flags.IntVar(&m.cqlReplication, "cql-replication", 0, "`NUMBER` of copies of each row of the archive; 0: as -replication")
	generation := flags.Uint("generation", bus.FirstGeneration, "`NUMBER` of the inbound log's generation; above 1, it begins where the one before ended")
	at := flags.Postgres("`URL` of PostgreSQL, postgres://user@host:port/database")
	uploads := bucketFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if m.cqlReplication == 0 {
		m.cqlReplication = m.replication
	}
	switch {
	case !brokers.Given():
		return daemon.Usagef("-kafka: no broker given")
	case m.partitions < 1 || m.replication < 1 || m.cqlReplication < 1 || *generation < 1:
		return daemon.Usagef("-partitions and -replication are at least 1, so is -generation")
	}
	m.generation = uint32(*generation)
	m.log = flags.Logger(os.Stderr)
	if cql.server.Given() {
		archive, err := cql.config(m.log, nil)
		if err != nil {
			return err
		}
		m.archive = &archive
	}
	roster, err := rosterConfig(at)
	if err != nil {
		return err
	}
	if at.Given() {
		m.postgres = &roster
	}
	if uploads.server.Given() {
		if m.bucket, err = uploads.open(); err != nil {
			return err
		}
	}
	if m.client, err = openKafka(brokers, "migrate", m.log, nil); err != nil {
		return err
	}
	defer m.client.Close()
	return m.run(ctx)
}

// run does everything under the lock.
func (m *migration) run(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("ask for the host's name: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	var unsaid error
	held, unlock, err := m.client.Lock(waiting, migrateLock, fmt.Sprintf("process %d on %s", os.Getpid(), host),
		func(holder string) { unsaid = m.say("lock", "waits for another migrate: "+holder) })
	if err != nil {
		return err
	}
	defer unlock()
	held, cancel = context.WithTimeout(held, migrateTimeout)
	defer cancel()
	err = errors.Join(unsaid, m.topics(held))
	for _, store := range []func(context.Context) error{m.tables, m.roster, m.makeBucket, m.begin} {
		if err == nil {
			err = store(held)
		}
	}
	if cause := context.Cause(held); errors.Is(cause, kafka.ErrLockLost) {
		return fmt.Errorf("run it again: %w", cause)
	}
	return err
}

// say writes one line of what became of something.
func (m *migration) say(of, text string) error {
	if _, err := fmt.Fprintf(m.out, "%s: %s\n", of, text); err != nil {
		return fmt.Errorf("say what was done: %w", err)
	}
	return nil
}

// topics makes the topics and checks them: those that are there first, since one
// that was made beside others than it should be would have to be deleted.
func (m *migration) topics(ctx context.Context) error {
	topics := bus.Topics(m.generation, int32(m.partitions))
	var created []string
	err := daemon.Retry(ctx, m.log, "make the topics", func(ctx context.Context) error {
		if err := m.checkPresent(ctx, topics); err != nil {
			return err
		}
		made, err := m.client.Admin().Ensure(ctx, topics, m.replication)
		created = append(created, made...)
		return err
	})
	if err != nil {
		return err
	}
	for _, t := range topics {
		what := "was there"
		if slices.Contains(created, t.Name) {
			what = fmt.Sprintf("created with %d partitions, %d replicas", t.Partitions, m.replication)
		}
		if err := m.say(t.Name, what); err != nil {
			return err
		}
	}
	return daemon.Retry(ctx, m.log, "check the topics", func(ctx context.Context) error {
		return m.client.Admin().Check(ctx, topics, m.replication)
	})
}

// checkPresent checks those of the topics that are there.
func (m *migration) checkPresent(ctx context.Context, topics []bus.Topic) error {
	var present []bus.Topic
	for _, t := range topics {
		_, err := m.client.Admin().Partitions(ctx, t.Name)
		if err == nil {
			present = append(present, t)
		} else if !errors.Is(err, bus.ErrUnknownTopic) {
			return err
		}
	}
	if len(present) == 0 {
		return nil
	}
	return m.client.Admin().Check(ctx, present, m.replication)
}

// tables makes the keyspace and the tables of the archive.
func (m *migration) tables(ctx context.Context) error {
	if m.archive == nil {
		return nil
	}
	return m.store(ctx, "cql", "the keyspace "+m.archive.Keyspace+" and its tables were there", func(ctx context.Context) ([]string, error) {
		made, err := scylla.Migrate(ctx, *m.archive, m.cqlReplication)
		if errors.Is(err, scylla.ErrDiffers) {
			err = daemon.Usagef("-cql: %v", err)
		}
		return made, err
	})
}

// roster makes the tables in PostgreSQL.
func (m *migration) roster(ctx context.Context) error {
	if m.postgres == nil {
		return nil
	}
	return m.store(ctx, "postgres", "the tables of the roster were there", func(ctx context.Context) ([]string, error) {
		made, err := postgres.Migrate(ctx, *m.postgres)
		for i := range made {
			made[i] = "made " + made[i]
		}
		return made, err
	})
}

// store makes what a store needs, until it works, and says what it did.
func (m *migration) store(ctx context.Context, name, there string, migrate func(context.Context) ([]string, error)) error {
	did := false
	err := daemon.Retry(ctx, m.log, "make the tables", func(ctx context.Context) error {
		made, err := migrate(ctx)
		for _, line := range made {
			did = true
			err = errors.Join(err, m.say(name, line))
		}
		return err
	})
	if err == nil && !did {
		err = m.say(name, there)
	}
	return err
}
