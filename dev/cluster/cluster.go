// Package cluster is a whole site on one machine: real servers, and the programs
// as processes of their own, kept running. It is for trying out what only
// processes show – kills, restarts, lost servers – and for measuring.
//
//	servers.Set   kafka cassandra redis postgres
//	                ▲
//	keeper ──▶ gateway-1… router-1… worker-1…      starts again what dies
//
// Whoever drives it from outside, a test or a script, needs no Go for that:
//
//	DATA/run/addresses.json   where everything listens; there as long as all of it was ready once
//	DATA/run/NAME.pid         the process of a program or server; rewritten at each start
//	DATA/run/NAME.hold        made by the outsider: NAME is not started again until it goes
//	DATA/logs/NAME.log        what it says, and when it was started
//
// What else is in DATA belongs to the cluster: the lock, the built programs, the
// ports, a key set and the servers' data. All but Redis's survives the end of the
// cluster, kill -9 included, and so do all addresses.
//
// It is no way to run a site: everything shares one machine, and nothing limits
// the logs.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"switchboard/dev/servers"
	"switchboard/internal/auth"
	"switchboard/internal/daemon"
)

const (
	// MaxPrograms is how many programs of one kind there can be: each has two
	// ports of a block.
	MaxPrograms = servers.MaxPorts / 2
	// pause is the time between the end of a process and its next start.
	pause = time.Second
	// drainTimeout is how long a gateway's clients have to leave. Short, since
	// in a laptop's cluster somebody waits for the prompt.
	drainTimeout = 2 * time.Second
	// stopLimit is how long a program may take to end after SIGTERM before it is
	// made to.
	stopLimit = 10 * time.Second
	// lockLimit is how long a cluster that was killed may take to be gone.
	lockLimit = 10 * time.Second
	// startLimit bounds the start of the programs. Seconds are usual.
	startLimit = 5 * time.Minute
)

// Config says what to start.
type Config struct {
	Gateways, Routers, Workers int    // 1 to MaxPrograms each
	Data                       string // folder of everything; made if missing
	AuthKeys                   string // file with a JWK set; empty = one of its own in Data
	Cache                      string // folder of the servers' jars; empty = that of the checkout
	Kafka, Cassandra           int    // brokers and nodes: 1 or 3, which are then also replicas
	OpenSearch                 int    // nodes: 1, or 0 for a search index in a file of Data
	Secure                     bool   // passwords and TLS between programs and servers
	Site                       bool   // servers in Java as sites run them: see servers.Config
	Partitions                 int    // of the log; chosen once for a folder
	Log                        *slog.Logger
}

func (cfg Config) check() error {
	for _, count := range []struct {
		flag string
		n    int
	}{{"gateways", cfg.Gateways}, {"routers", cfg.Routers}, {"workers", cfg.Workers}} {
		if count.n < 1 || count.n > MaxPrograms {
			return daemon.Usagef("-%s %d: there can be 1 to %d", count.flag, count.n, MaxPrograms)
		}
	}
	for _, count := range []struct {
		flag string
		n    int
	}{{"kafka-brokers", cfg.Kafka}, {"cassandra-nodes", cfg.Cassandra}} {
		if count.n != 1 && count.n != 3 {
			return daemon.Usagef("-%s %d: there can be 1 or 3", count.flag, count.n)
		}
	}
	if cfg.OpenSearch != 0 && cfg.OpenSearch != 1 {
		return daemon.Usagef("-opensearch-nodes %d: there can be 0 or 1", cfg.OpenSearch)
	}
	if cfg.Partitions < 1 {
		return daemon.Usagef("-partitions is at least 1")
	}
	return nil
}

// cluster is a cluster from its start to its end.
type cluster struct {
	// Fixed after construction.
	cfg   Config
	root  string // of the checkout
	pause time.Duration
	lock  *os.File
	ports *ports
	keys  string // file
	push  pushKeys
	// Set by provide, fixed from then on.
	set      *servers.Set
	programs []*program

	ready atomic.Bool // everything has been ready at the same time, or nearly so
}

// Run starts everything, prints where it is and then `ready`, and keeps it
// running until ctx ends, which is no error. It returns when all that it started
// has ended.
func Run(ctx context.Context, cfg Config, stdout io.Writer) error {
	c, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	err = c.run(ctx, stdout)
	err = errors.Join(err, c.close())
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // The start was given up.
	}
	return err
}

// open takes the folder and finds out what cannot work.
func open(ctx context.Context, cfg Config) (*cluster, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	root, err := checkout(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return nil, fmt.Errorf("-data: %w", err)
	}
	if cfg.Cache == "" {
		cfg.Cache = filepath.Join(root, ".cache", "servers")
	}
	c := &cluster{cfg: cfg, root: root, pause: pause}
	for _, dir := range []string{"bin", "logs", "run"} {
		if err := os.MkdirAll(c.path(dir), 0o755); err != nil {
			return nil, fmt.Errorf("-data: %w", err)
		}
	}
	if c.lock, err = lock(ctx, c.path("lock"), lockLimit); err != nil {
		return nil, err
	}
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// prepare makes the folder ready for a new life of the cluster.
func (c *cluster) prepare(ctx context.Context) (err error) {
	if err := c.clean("*"); err != nil { // also holds: nobody waits for those any more
		return err
	}
	c.keys = c.cfg.AuthKeys
	if c.keys == "" {
		c.keys = c.path("auth-keys.json")
		if err := auth.Generate(c.keys); err != nil {
			return err
		}
	}
	if c.keys, err = filepath.Abs(c.keys); err != nil {
		return fmt.Errorf("-auth-keys: %w", err)
	}
	if _, err := auth.Open(c.keys, "", ""); err != nil {
		return daemon.Usagef("-auth-keys: %v", err)
	}
	if err := c.makeMediaKeys(); err != nil {
		return err
	}
	if c.push, err = keepPushKeys(c.path("push-key.pem")); err != nil {
		return err
	}
	c.ports, err = holdPorts(ctx, c.path("ports.json"), c.cfg.Log)
	return err
}

// path returns a path in the data folder.
func (c *cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.cfg.Data}, elements...)...)
}

// clean deletes what outsiders read: it is about processes that run.
func (c *cluster) clean(pattern string) error {
	files, err := filepath.Glob(c.path("run", pattern))
	if err != nil {
		return fmt.Errorf("clear the run folder: %w", err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("clear the run folder: %w", err)
		}
	}
	return nil
}

// close ends the servers and gives everything to others.
func (c *cluster) close() error {
	var errs []error
	if c.set != nil {
		errs = append(errs, c.set.Close())
	}
	errs = append(errs, c.clean("*.pid"), c.clean(addressesFile))
	if c.ports != nil {
		errs = append(errs, c.ports.close())
	}
	return errors.Join(append(errs, c.lock.Close())...)
}

// run starts everything and keeps it running.
func (c *cluster) run(ctx context.Context, stdout io.Writer) error {
	begun := time.Now()
	if err := c.provide(ctx); err != nil {
		return err
	}
	if err := c.migrate(ctx); err != nil {
		return err
	}
	c.programs = c.plan()
	group := daemon.NewGroup(ctx)
	group.Go(c.keepServers)
	c.startPrograms(group)
	group.Go(func(ctx context.Context) error {
		if err := c.await(ctx); err != nil {
			return err
		}
		c.ready.Store(true)
		all := c.addresses()
		if err := writeJSON(c.path("run", addressesFile), all); err != nil {
			return err
		}
		c.cfg.Log.Info("the cluster is ready", "took", time.Since(begun).Round(time.Millisecond))
		return c.announce(stdout, all)
	})
	return group.Wait()
}

// startPrograms hands the programs to the group, which stops them in the reverse
// of this order: in the direction of a message, so that nobody waits for an answer
// from somebody who has gone.
func (c *cluster) startPrograms(group *daemon.Group) {
	for _, kind := range []string{"router", "worker", "gateway"} {
		group.Go(func(ctx context.Context) error { return c.keepPrograms(ctx, kind) })
	}
}

// provide starts the servers and builds the programs, at the same time.
func (c *cluster) provide(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		c.set, err = servers.Start(ctx, servers.Config{
			Cache: c.cfg.Cache, Run: c.path("servers"), Logs: c.path("logs"), Keep: true, Mortal: true,
			Kafka: c.cfg.Kafka, Cassandra: c.cfg.Cassandra, Postgres: true, Redis: true, S3: !c.cfg.Secure, OpenSearch: c.cfg.OpenSearch > 0 && !c.cfg.Secure, Secure: c.cfg.Secure, Site: c.cfg.Site,
			Started: c.serverStarted, Log: c.cfg.Log,
		})
		return err
	})
	group.Go(func() error { return build(ctx, c.root, c.path("bin"), c.cfg.Log) })
	return group.Wait()
}

// serverStarted leaves word of a server's process.
func (c *cluster) serverStarted(name string, pid int) {
	leaveWord(c.path("run"), c.path("logs"), name, pid, c.cfg.Log)
}

// announce says where everything is.
func (c *cluster) announce(stdout io.Writer, all addresses) error {
	var text strings.Builder
	fmt.Fprintf(&text, "REST       %s\nWebSocket  %s\n", strings.Join(all.REST, " "), strings.Join(all.WebSocket, " "))
	for _, p := range c.programs {
		fmt.Fprintf(&text, "ops        %s %s\n", p.ops, p.name)
	}
	fmt.Fprintf(&text, "addresses  %s\nkeys       %s\ndata       %s\nready\n",
		c.path("run", addressesFile), c.keys, c.cfg.Data)
	if _, err := io.WriteString(stdout, text.String()); err != nil {
		return fmt.Errorf("say where everything is: %w", err)
	}
	return nil
}
