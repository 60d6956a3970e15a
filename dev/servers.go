package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"switchboard/dev/servers"
	"switchboard/internal/daemon"
)

const serversManual = `servers holds real servers up for tests: Kafka, Cassandra, PostgreSQL and Redis on
free ports of this machine, until SIGINT or SIGTERM. When all of them answer, it
prints an export line for each, which the tests read, and then

	ready

What is missing is fetched: jars through Maven into -cache, programs as Debian
packages when root; otherwise one line says what to install. Java 17 and Linux
are needed. Logs are in the run folder, one for each server; the folder stays if
something went wrong.`

// runServers holds servers up until the end.
func runServers(ctx context.Context, args []string, stdout io.Writer) error {
	var cfg servers.Config
	flags := daemon.NewFlags("dev servers", serversManual)
	flags.StringVar(&cfg.Cache, "cache", ".cache/servers", "`FOLDER` of downloads")
	flags.StringVar(&cfg.Run, "run", "", "`FOLDER` of configs, data and logs; without it, a free one in the cache")
	// Not -kafka and -cassandra: their variables name servers to the programs.
	flags.IntVar(&cfg.Kafka, "kafka-brokers", 1, "how many, 1 or 3")
	flags.IntVar(&cfg.Cassandra, "cassandra-nodes", 1, "how many, 1 or 3")
	only := flags.List("only", "`NAME,…` of kafka, cassandra, postgres, redis: start no others")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := choose(&cfg, *only); err != nil {
		return err
	}
	cfg.Log = flags.Logger(os.Stderr)
	set, err := servers.Start(ctx, cfg)
	if err != nil {
		return err
	}
	for _, line := range set.Env() {
		fmt.Fprintln(stdout, "export "+line)
	}
	fmt.Fprintln(stdout, "ready")
	<-ctx.Done()
	return set.Close()
}

// choose leaves in cfg what only names, or everything.
func choose(cfg *servers.Config, only []string) error {
	kinds := []string{"kafka", "cassandra", "postgres", "redis"}
	for _, name := range only {
		if !slices.Contains(kinds, name) {
			return daemon.Usagef("-only %s: it is none of %v", name, kinds)
		}
	}
	wanted := func(kind string) bool { return len(only) == 0 || slices.Contains(only, kind) }
	if !wanted("kafka") {
		cfg.Kafka = 0
	}
	if !wanted("cassandra") {
		cfg.Cassandra = 0
	}
	cfg.Postgres, cfg.Redis = wanted("postgres"), wanted("redis")
	return nil
}
