// Package servers fetches, starts and ends the servers that sites run – Kafka,
// Cassandra, PostgreSQL, Redis and OpenSearch – on a developer's machine, for tests and for
// trying things out. It needs no container engine and no root: jars come from
// Maven, the rest are Debian packages.
//
//	Cache/kafka, Cache/cassandra … jars, with a stamp of the versions
//	Cache/repository               what Maven downloaded
//	Cache/run-1 … run-9            run folders, unless Config.Run names one
//	RUN/lock                       held as long as a Set lives
//	RUN/kafka/…                    config, data, log and pid of one server
//	RUN/secrets/…                  with Config.Secure: passwords and certificates
//	RUN/kept.json                  with Config.Keep: whose data is here, and its ports
//
// Any number of sets can run at the same time: each holds the lock of its run
// folder and a block of ports of its own. If a process that held a set is
// killed, its servers go on; whoever takes the run folder next ends them first,
// found by their pid files and only if they still work in that folder.
//
// It is no way to run a site: nothing is secured unless Config.Secure says so,
// and data is deleted at the end unless Config.Keep says otherwise. It needs Linux.
package servers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// patience bounds the start of a server. Ten seconds are usual; a machine that
// starts several JVMs beside a test run needs some multiple of that, and one that
// died is noticed at once.
const patience = 5 * time.Minute

// Config says what to start, and where.
type Config struct {
	// Cache is the folder for downloads; it can be shared by any number of
	// sets. Default ".cache/servers".
	Cache string
	// Run is the folder for everything that the servers write. It is an error
	// if another set holds it. Default: a free one in Cache.
	Run string

	Kafka     int  // brokers: 0, 1 or 3, which are then also replicas
	Cassandra int  // nodes: 0, 1 or 3, on 127.0.0.1 to 127.0.0.3
	Postgres  bool // the user app may do everything, without a password unless Secure
	Redis     bool
	S3        bool // versitygw, without TLS
	// OpenSearch cannot be secured: what does that is no part of it.
	OpenSearch bool

	// Secure lets in nobody without a password, and all speak TLS; see
	// Set.Secrets. Kafka takes SCRAM-SHA-512 and keeps access lists. What the
	// servers say among themselves is not secured.
	Secure bool
	// Site has the servers in Java started as sites start them, for measurements:
	// with the JVM's second compiler and large heaps, and with a Cassandra that
	// acknowledges a row when it has it in memory and on disk a second later, as is
	// usual where there are three copies. It takes 3 GB more, and a killed Cassandra
	// loses what it acknowledged in its last second.
	Site bool

	// Keep keeps the data, and the ports, for the next set in the same Run
	// folder. What a server has acknowledged is there again, however this one
	// ended, a power cut and Site aside; Redis starts empty. A set that asks for
	// fewer or other servers than those whose data is there is an error; what it asks
	// for beside them begins empty.
	Keep bool
	// Mortal has the kernel end the servers when this process ends without
	// having closed the set. Else they live on until the run folder's next use.
	Mortal bool
	// Logs is the folder for the servers' logs, NAME.log. Default: RUN/NAME/log.
	Logs string
	// Started hears the process id of each server at each of its starts, before
	// it is ready. It is called from several goroutines. Default: nobody.
	Started func(name string, pid int)

	// Log gets a line per server and, if one fails, the end of its log.
	// Default: none.
	Log *slog.Logger
}

// names returns the names of the servers that cfg asks for.
func (cfg Config) names() []string {
	names := slices.Concat(numbered("kafka", cfg.Kafka), numbered("cassandra", cfg.Cassandra))
	if cfg.Postgres {
		names = append(names, "postgres")
	}
	if cfg.Redis {
		names = append(names, "redis")
	}
	if cfg.S3 {
		names = append(names, "s3")
	}
	if cfg.OpenSearch {
		names = append(names, "opensearch")
	}
	return names
}

// everyName is every name that a server of any set can have.
func everyName() []string {
	one := Config{S3: true, Kafka: 1, Cassandra: 1, Postgres: true, Redis: true, OpenSearch: true}
	return slices.Concat(one.names(), Config{Kafka: 3, Cassandra: 3}.names())
}

func numbered(kind string, n int) []string {
	if n == 1 {
		return []string{kind}
	}
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("%s-%d", kind, i+1))
	}
	return names
}

// complete checks cfg and fills in what it leaves open.
func (cfg Config) complete() (Config, error) {
	for kind, n := range map[string]int{"Kafka brokers": cfg.Kafka, "Cassandra nodes": cfg.Cassandra} {
		if n != 0 && n != 1 && n != 3 {
			return cfg, fmt.Errorf("%d %s: there can be 0, 1 or 3", n, kind)
		}
	}
	if cfg.OpenSearch && cfg.Secure {
		return cfg, errors.New("OpenSearch cannot be secured")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Cache == "" {
		cfg.Cache = filepath.Join(".cache", "servers")
	}
	var err error
	if cfg.Cache, err = filepath.Abs(cfg.Cache); err != nil {
		return cfg, fmt.Errorf("find the cache: %w", err)
	}
	if cfg.Logs != "" {
		if cfg.Logs, err = filepath.Abs(cfg.Logs); err != nil {
			return cfg, fmt.Errorf("find the folder of logs: %w", err)
		}
	}
	if cfg.Run == "" && cfg.Keep {
		return cfg, errors.New("data is kept in a run folder that has a name")
	}
	if cfg.Run == "" {
		return cfg, nil
	}
	if cfg.Run, err = filepath.Abs(cfg.Run); err != nil {
		return cfg, fmt.Errorf("find the run folder: %w", err)
	}
	return cfg, nil
}

// Set is the servers of one Start. Kill and Restart are safe for concurrent
// use, but not on the same server.
type Set struct {
	// Fixed after construction.
	log    *slog.Logger
	folder *folder
	kept   bool         // data outlives the set
	block  net.Listener // holds the ports of this set
	nodes  []*node
	env    []string
	seal   *seal // nil: not secured
}

// Start fetches what is missing, starts what cfg asks for and returns when all
// of it answers. It returns no half of a set: after an error nothing of it
// runs, and the run folder stays with configs and logs until its next use.
// When ctx ends before that, it is an error; later it means nothing.
func Start(ctx context.Context, cfg Config) (*Set, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	found, err := fetch(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Set{log: cfg.Log, kept: cfg.Keep}
	if s.folder, err = claim(ctx, cfg); err != nil {
		return nil, err
	}
	if err := s.assemble(ctx, cfg, found); err != nil {
		return nil, errors.Join(err, s.release())
	}
	begun := time.Now()
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.end(), s.release())
	}
	if cfg.Keep {
		if err := s.folder.remember(kept{Servers: s.Names(), Secure: cfg.Secure, Block: s.block.Addr().(*net.TCPAddr).Port}); err != nil {
			return nil, errors.Join(err, s.end(), s.release())
		}
	}
	s.log.Info("all servers are ready", "run", s.folder.path, "took", time.Since(begun).Round(time.Millisecond))
	return s, nil
}

// assemble chooses the ports and plans every server.
func (s *Set) assemble(ctx context.Context, cfg Config, found *software) error {
	// Kafka, Cassandra and OpenSearch have a second port for what they say among themselves.
	// A secured broker has a third one, for us.
	block, ports, err := s.folder.ports(ctx, cfg, 3*cfg.Kafka+1+2+2+2)
	if err != nil {
		return err
	}
	s.block = block
	if cfg.Secure {
		if s.seal, err = sealed(s.folder.path); err != nil {
			return err
		}
		s.env = s.seal.files.env(cfg)
	}
	p := &planner{cfg: cfg, run: s.folder.path, software: found, ports: ports, seal: s.seal}
	for _, plan := range []struct {
		wanted bool
		plan   func() ([]*node, string)
	}{
		{cfg.Kafka > 0, func() ([]*node, string) { return p.kafka(cfg.Kafka) }},
		{cfg.Cassandra > 0, func() ([]*node, string) { return p.cassandra(cfg.Cassandra) }},
		{cfg.Postgres, p.postgres},
		{cfg.Redis, p.redis},
		{cfg.S3, p.s3},
		{cfg.OpenSearch, p.opensearch},
	} {
		if plan.wanted {
			nodes, env := plan.plan()
			s.nodes = append(s.nodes, nodes...)
			s.env = append(s.env, env)
		}
	}
	return nil
}

// start starts all servers at the same time: they spend most of it alone on one
// core each, or waiting for one another.
func (s *Set) start(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range s.nodes {
		group.Go(func() error { return n.begin(ctx, !s.folder.data.has(n.name)) })
	}
	return group.Wait()
}

// Env returns the variables that name the servers to tests, each as
// SWITCHBOARD_TEST_…=value; several addresses are separated by commas.
func (s *Set) Env() []string { return slices.Clone(s.env) }

// Folder returns the run folder: RUN/NAME/pid is the process id of a server.
func (s *Set) Folder() string { return s.folder.path }

// Names returns what Kill and Restart can be asked for: "kafka", "cassandra",
// "postgres", "redis", "opensearch", or "kafka-1" to "kafka-3" where there are three.
func (s *Set) Names() []string {
	names := make([]string, 0, len(s.nodes))
	for _, n := range s.nodes {
		names = append(names, n.name)
	}
	return names
}

// PID returns the process id of a server, for faults other than its end. It is
// 0 while the server does not run.
func (s *Set) PID(name string) int {
	n, err := s.node(name)
	if err != nil {
		return 0
	}
	return n.pid()
}

// Wait returns when the process of a server has ended, whoever ended it, and at
// once if none runs. It says how, as "signal: killed". The error is that of ctx,
// or of a wrong name.
func (s *Set) Wait(ctx context.Context, name string) (how string, err error) {
	n, err := s.node(name)
	if err != nil {
		return "", err
	}
	l := n.current()
	if l == nil {
		return "not started", nil
	}
	select {
	case <-l.ended:
		return l.cmd.ProcessState.String(), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Kill ends a server as kill -9 does, and returns when it is gone.
func (s *Set) Kill(name string) error {
	n, err := s.node(name)
	if err != nil {
		return err
	}
	s.log.Info("kill", "server", name)
	return n.kill()
}

// Restart starts a server again on its data and its ports, after killing it if
// it runs. It returns when the server itself answers. Whether it has found the
// others of its cluster yet is not asked, since they may be dead.
func (s *Set) Restart(ctx context.Context, name string) error {
	n, err := s.node(name)
	if err != nil {
		return err
	}
	if err := n.kill(); err != nil {
		return err
	}
	return n.again(ctx)
}

func (s *Set) node(name string) (*node, error) {
	for _, n := range s.nodes {
		if n.name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no server %q in the set: %s", name, strings.Join(s.Names(), ", "))
}

// Keep makes Close leave the run folder as it is: for tests that failed.
func (s *Set) Keep() { s.folder.keep.Store(true) }

// Close ends every server and deletes what they wrote. If one had died that
// nobody killed, that is an error, and the run folder stays with its log. With
// Config.Keep nothing is deleted, and a dead server is no error: it is taken for
// one that somebody keeps running.
func (s *Set) Close() error {
	if s.kept {
		return errors.Join(s.end(), s.release())
	}
	var err error
	for _, n := range s.nodes {
		err = errors.Join(err, n.died())
	}
	err = errors.Join(err, s.end())
	if err == nil && !s.folder.keep.Load() {
		err = s.folder.clear()
	}
	return errors.Join(err, s.release())
}

// end ends all servers.
func (s *Set) end() error {
	errs := make([]error, len(s.nodes))
	var group errgroup.Group
	for i, n := range s.nodes {
		group.Go(func() error {
			errs[i] = n.end()
			return nil
		})
	}
	_ = group.Wait() // each has its own error
	return errors.Join(errs...)
}

// release gives the run folder and the ports to others.
func (s *Set) release() error {
	err := s.folder.release()
	if s.block != nil {
		err = errors.Join(err, s.block.Close())
	}
	return err
}

// write puts one file of the node's configuration into place.
func (n *node) write(name, template string, values any) error {
	text, err := render(template, values)
	if err != nil {
		return err
	}
	return write(n.path(name), text)
}

// write puts one file of a server's configuration into place.
func write(path string, text []byte) error {
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	return nil
}
