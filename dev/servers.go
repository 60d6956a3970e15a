package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"switchboard/dev/servers"
	"switchboard/internal/daemon"
)

const serversManual = `servers holds real servers up for tests: Kafka, Cassandra, PostgreSQL, Redis and
OpenSearch on free ports of this machine, until SIGINT or SIGTERM. When all of them answer, it
prints an export line for each, which the tests read, and then

	ready

What is missing is fetched: jars through Maven into -cache, programs as Debian
packages when root; otherwise one line says what to install. Java 17 and Linux
are needed. Logs are in the run folder, one for each server; the folder stays if
something went wrong.

With -secure the servers want TLS and passwords, without OpenSearch, which cannot; what the tests need for that is
exported as well: SWITCHBOARD_TEST_…_CREDENTIALS (one line, user:password),
SWITCHBOARD_TEST_POSTGRES_PASSWORD and SWITCHBOARD_TEST_…_CA name files.

With -restart a server that dies is started again on its data after a second, and
SWITCHBOARD_TEST_CQL_KILL=FILE is exported too: a script that kills Cassandra.`

// runServers holds servers up until the end.
func runServers(ctx context.Context, args []string, stdout io.Writer) error {
	var cfg servers.Config
	flags := daemon.NewFlags("dev servers", serversManual)
	flags.StringVar(&cfg.Cache, "cache", ".cache/servers", "`FOLDER` of downloads")
	flags.StringVar(&cfg.Run, "run", "", "`FOLDER` of configs, data and logs; without it, a free one in the cache")
	// Not -kafka and -cassandra: their variables name servers to the programs.
	flags.IntVar(&cfg.Kafka, "kafka-brokers", 1, "how many, 1 or 3")
	flags.IntVar(&cfg.Cassandra, "cassandra-nodes", 1, "how many, 1 or 3")
	flags.BoolVar(&cfg.Secure, "secure", false, "let nobody in without TLS and a password, and export the files that hold both")
	restart := flags.Bool("restart", false, "start a server that died again, and export what kills it")
	only := flags.List("only", "`NAME,…` of kafka, cassandra, postgres, s3, redis, opensearch: start no others")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := choose(&cfg, *only); err != nil {
		return err
	}
	if *restart && cfg.Cassandra == 0 {
		return daemon.Usagef("-restart is for tests that kill Cassandra: start one")
	}
	cfg.Log = flags.Logger(os.Stderr)
	set, err := servers.Start(ctx, cfg)
	if err != nil {
		return err
	}
	for _, line := range set.Env() {
		fmt.Fprintln(stdout, "export "+line)
	}
	var restarting sync.WaitGroup
	if *restart {
		script, err := killScript(set)
		if err != nil {
			return errors.Join(err, set.Close())
		}
		defer os.Remove(script)
		fmt.Fprintln(stdout, "export SWITCHBOARD_TEST_CQL_KILL="+script)
		for _, name := range set.Names() {
			restarting.Go(func() { keepUp(ctx, set, name, cfg.Log) })
		}
	}
	fmt.Fprintln(stdout, "ready")
	<-ctx.Done()
	restarting.Wait()
	return set.Close()
}

// killScript writes what kills the first Cassandra: a test takes one command,
// without arguments, and cannot know the process id of the server's next life.
func killScript(set *servers.Set) (string, error) {
	names := set.Names() // one of them is a Cassandra
	first := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "cassandra") })
	name := filepath.Join(set.Folder(), "kill-cassandra")
	text := fmt.Sprintf("#!/bin/sh\nkill -9 $(cat '%s/%s/pid')\n", set.Folder(), names[first])
	if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
		return "", fmt.Errorf("write what kills a server: %w", err)
	}
	return name, nil
}

// restartPause is how long a server stays dead.
const restartPause = time.Second

// keepUp starts a server again after each of its ends, until ctx ends.
func keepUp(ctx context.Context, set *servers.Set, name string, log *slog.Logger) {
	for {
		if _, err := set.Wait(ctx, name); err != nil {
			return
		}
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
			return
		}
		if err := set.Restart(ctx, name); err != nil && ctx.Err() == nil {
			log.Error("cannot start a server again", "server", name, "error", err)
		}
	}
}

// choose leaves in cfg what only names, or everything.
func choose(cfg *servers.Config, only []string) error {
	kinds := []string{"kafka", "cassandra", "postgres", "s3", "redis", "opensearch"}
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
	cfg.S3 = wanted("s3") && !cfg.Secure
	cfg.OpenSearch = wanted("opensearch") && !cfg.Secure
	return nil
}
