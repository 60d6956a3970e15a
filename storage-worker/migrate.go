package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive/scylla"
)

const migrateManual = `storage-worker migrate: make the topics and tables that all programs share

It creates what is missing, says what it did, and checks that what is there is as
asked for: repeating it is harmless. The number of partitions is part of every
message's id and is chosen once; topics that have another number are refused with
status 2. Each server's own delivery topic is made by that server. With -cql it makes
the keyspace and its tables as well: run it once at a time, with all nodes up. The
SQLite archive makes its own tables.`

// migrateTimeout bounds the whole of it, waiting for servers included.
const migrateTimeout = time.Minute

// runMigrate is the sub-command.
func runMigrate(ctx context.Context, args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("storage-worker migrate", migrateManual)
	brokers := flags.List("kafka", "`HOST:PORT,…` of Kafka brokers, some of them")
	partitions := flags.Int("partitions", 256, "`NUMBER` of partitions of each topic, for ever")
	replication := flags.Int("replication", 3, "`NUMBER` of replicas; below 3, acknowledged records can be lost with a host")
	cql := flags.List("cql", "`HOST:PORT,…` of Cassandra or Scylla; empty: make topics only")
	keyspace := flags.String("cql-keyspace", defaultKeyspace, "`NAME` of the keyspace in -cql")
	center := flags.String("cql-dc", "", "`NAME` of the data centre for -replication copies of each row; empty: that of the node that answers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case len(*brokers) == 0:
		return daemon.Usagef("-kafka: no broker given")
	case *partitions < 1 || *replication < 1:
		return daemon.Usagef("-partitions and -replication are at least 1")
	}
	log := flags.Logger(os.Stderr)
	client := kafka.Open(kafka.Config{Brokers: *brokers, ClientID: "migrate", Log: log, Metrics: metrics.New()})
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	if len(*cql) > 0 {
		c := scylla.Config{Hosts: *cql, Keyspace: *keyspace, LocalDC: *center, Logger: log}
		if err := migrateArchive(ctx, c, *replication, stdout); err != nil {
			return err
		}
	}
	topics := bus.Topics(bus.FirstGeneration, int32(*partitions))
	var created []string
	err := daemon.Retry(ctx, log, "make the topics", func(ctx context.Context) error {
		made, err := client.Admin().Ensure(ctx, topics, *replication)
		created = append(created, made...)
		return err
	})
	if err != nil {
		return err
	}
	if err := report(stdout, topics, created, *replication); err != nil {
		return err
	}
	return daemon.Retry(ctx, log, "check the topics", func(ctx context.Context) error {
		return client.Admin().Check(ctx, topics)
	})
}

// migrateArchive makes the keyspace and the tables, and says which it made.
func migrateArchive(ctx context.Context, c scylla.Config, replication int, stdout io.Writer) error {
	var made []string
	err := daemon.Retry(ctx, c.Logger, "make the tables", func(ctx context.Context) error {
		some, err := scylla.Migrate(ctx, c, replication)
		made = append(made, some...)
		return err
	})
	if err != nil {
		return err
	}
	if len(made) == 0 {
		made = []string{"the keyspace " + c.Keyspace + " and its tables were there"}
	}
	for _, line := range made {
		if _, err := fmt.Fprintf(stdout, "cql: %s\n", line); err != nil {
			return fmt.Errorf("say what was done: %w", err)
		}
	}
	return nil
}

// report says of each topic what became of it.
func report(stdout io.Writer, topics []bus.Topic, created []string, replication int) error {
	for _, t := range topics {
		var err error
		if slices.Contains(created, t.Name) {
			_, err = fmt.Fprintf(stdout, "%s: created with %d partitions, %d replicas\n", t.Name, t.Partitions, replication)
		} else {
			_, err = fmt.Fprintf(stdout, "%s: was there\n", t.Name)
		}
		if err != nil {
			return fmt.Errorf("say what was done: %w", err)
		}
	}
	return nil
}
