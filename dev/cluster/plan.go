package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// host is where everything listens.
const host = "127.0.0.1"

// plan says how each program is started.
func (c *cluster) plan() []*program {
	at := c.servers()
	replication := []string{"-replication", strconv.Itoa(c.cfg.Kafka)}
	var all []*program
	for i := range c.cfg.Routers {
		p := c.program("router", "router", i)
		p.with(c.linking())
		p.with(at.reach("kafka", "redis", "postgres"), replication, c.push.router())
		all = append(all, p)
	}
	for i := range c.cfg.Workers {
		p := c.program("worker", "storage-worker", i)
		p.with(c.linking(), c.storing(at), at.public())
		p.url = "http://" + c.ports.public("worker", i)
		p.with(at.reach("kafka", "cql", "redis", "postgres"), replication, c.push.worker(), []string{
			"-archive", "", "-server", fmt.Sprintf("rest-%d", i+1), "-listen", c.ports.public("worker", i), "-auth-keys", c.keys,
			// Each REST server sends its clients to another gateway.
			"-gateway-url", c.socketURL(i % c.cfg.Gateways),
		}, c.searching(at))
		all = append(all, p)
	}
	for i := range c.cfg.Gateways {
		p := c.program("gateway", "gateway", i)
		p.with(c.linking())
		p.url = c.socketURL(i)
		p.with(at.reach("kafka", "redis"), replication, []string{
			"-server", fmt.Sprintf("gw-%d", i+1), "-listen", c.ports.public("gateway", i),
			"-advertise", p.url, "-auth-keys", c.keys, "-drain-timeout", drainTimeout.String(),
		})
		all = append(all, p)
	}
	return all
}

// searching returns the flags of the search index: OpenSearch, or else a file, which
// the workers of one machine can share.
func (c *cluster) searching(at addresses) []string {
	if at.OpenSearch != "" {
		return []string{"-opensearch", at.OpenSearch}
	}
	return []string{"-search", c.path("search.db")}
}

// program returns the i-th program of a kind, with the flags that all have.
func (c *cluster) program(kind, binary string, i int) *program {
	ops := c.ports.ops(kind, i)
	return &program{
		name: fmt.Sprintf("%s-%d", kind, i+1), kind: kind, ops: "http://" + ops,
		command: []string{c.path("bin", binary), "-ops-listen", ops},
		dir:     c.cfg.Data, run: c.path("run"), logs: c.path("logs"), limit: stopLimit, log: c.cfg.Log,
	}
}

func (p *program) with(flags ...[]string) {
	for _, more := range flags {
		p.command = append(p.command, more...)
	}
}

func (c *cluster) socketURL(i int) string {
	return "ws://" + c.ports.public("gateway", i) + "/api/v1/ws"
}

// migrateTries is how often migrate is run when it says that it is to be run
// again: while six JVMs start on two cores it may lose its lock.
const migrateTries = 3

// migrate makes topics and tables.
func (c *cluster) migrate(ctx context.Context) error {
	flags := append(c.servers().reach("kafka", "cql", "postgres"),
		"-partitions", strconv.Itoa(c.cfg.Partitions),
		"-replication", strconv.Itoa(c.cfg.Kafka), "-cql-replication", strconv.Itoa(c.cfg.Cassandra))
	flags = append(flags, c.storing(c.servers())...)
	for try := 1; ; try++ {
		err := c.runMigrate(ctx, flags)
		if err == nil || try == migrateTries || !strings.Contains(err.Error(), "run it again") {
			return err
		}
		c.cfg.Log.Warn("migrate is run again", "error", err)
	}
}

// runMigrate runs the program to its end. What it did is in its log; what it
// refused is for the person in front.
func (c *cluster) runMigrate(ctx context.Context, flags []string) error {
	file := c.path("logs", "migrate.log")
	if err := note(file, "migrate "+strings.Join(flags, " ")); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, c.path("bin", "storage-worker"), append([]string{"migrate"}, flags...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err := appendTo(file, out); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("storage-worker migrate: %w: %s", err, lastLine(out))
	}
	return nil
}

func lastLine(text []byte) string {
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return lines[len(lines)-1]
}

// lock keeps a second cluster out of the folder. The kernel gives the lock back
// when this process dies, which takes a moment on a busy machine: a new life waits
// for the end of the one before, up to limit.
func lock(ctx context.Context, path string, limit time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || !sleep(ctx, 50*time.Millisecond) {
			return nil, errors.Join(fmt.Errorf("-data: another cluster runs there: lock %s: %w", path, err), f.Close())
		}
	}
}
