// Command peers measures the gateway's echo beside those of other WebSocket servers:
// one load, one machine, one after another and round by round, so that what the
// machine does meanwhile befalls all of them. README.md says what it needs.
//
//	prepare (build) ──▶ rounds × servers: echoes ──▶ servers: system calls
//	                ──▶ all servers at once: memory ──▶ table
//
// It is a module of its own, and so are the servers beneath it: what they import is no
// dependency of the product. Nothing of it is built unless somebody runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const manual = `peers builds the echo servers of others and measures the gateway's beside them.

	UWEBSOCKETS=DIR go run -C bench/peers . [flags]

Each server has one core to itself, the load has the others. See bench/peers/README.md.

`

// config is what is measured, and how.
type config struct {
	servers  []peer
	base     string // whose figures are 1
	rounds   int
	load     load
	many     int // connections that are opened, and of which memory is measured
	settle   time.Duration
	cores    cores
	root     string // of the repository
	building string // folder of what is built
	out      string
}

// load is the same for all.
type load struct {
	connections int
	rate        int // messages a second
	bytes       int
	duration    time.Duration
}

// cores are CPUs, as taskset takes them.
type cores struct{ server, load string }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	c, err := parse(args)
	if err != nil {
		return err
	}
	if err := c.prepare(ctx, stdout); err != nil {
		return err
	}
	began := time.Now()
	table, err := c.measure(ctx, stdout)
	if err != nil {
		return err
	}
	text := table.String()
	fmt.Fprintf(stdout, "\n%smeasured in %v\n", text, time.Since(began).Round(time.Second))
	return os.WriteFile(filepath.Join(c.out, "table.md"), []byte(text), 0o600)
}

// parse reads the flags.
func parse(args []string) (*config, error) {
	c := &config{cores: cores{server: "0", load: fmt.Sprintf("1-%d", max(runtime.NumCPU()-1, 1))}}
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), manual)
		flags.PrintDefaults()
	}
	names := flags.String("servers", strings.Join(allNames(), ","), "`NAME,…` to measure, in this order")
	flags.StringVar(&c.base, "base", "uwebsockets", "`NAME` of the server whose figures are 1")
	flags.IntVar(&c.rounds, "rounds", 3, "rounds of echoes; the median counts")
	flags.IntVar(&c.load.connections, "connections", 1000, "connections that echo")
	flags.IntVar(&c.load.rate, "rate", 20000, "echoes a second, of all of them")
	flags.IntVar(&c.load.bytes, "bytes", 64, "bytes of an echo; a session's heartbeat has its own")
	flags.DurationVar(&c.load.duration, "duration", 5*time.Second, "how long they echo, each round")
	flags.IntVar(&c.many, "many", 7500, "connections of which openings and memory are measured; 0: they are not")
	flags.DurationVar(&c.settle, "settle", 12*time.Second, "time that a server has to come to rest after each step")
	flags.StringVar(&c.cores.server, "server-cpu", c.cores.server, "`CPU` of the server")
	flags.StringVar(&c.cores.load, "load-cpu", c.cores.load, "`CPUs` of the load")
	flags.StringVar(&c.root, "root", "../..", "root of the repository")
	flags.StringVar(&c.building, "build", "", "`FOLDER` to build in; empty: .cache/peers at the root")
	flags.StringVar(&c.out, "out", "", "`FOLDER` for table.md and the results of bench; empty: results, where it is built")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if c.rounds < 1 || c.load.connections < 1 || c.load.rate < 1 || c.load.duration < time.Second || c.many < 0 || runtime.NumCPU() < 2 {
		return nil, errors.New("want two CPUs, a round, a connection, an echo a second, and a second of them at least")
	}
	for name := range strings.SplitSeq(*names, ",") {
		p, ok := find(name)
		if !ok {
			return nil, fmt.Errorf("no server is called %q; there are %s", name, strings.Join(allNames(), ", "))
		}
		c.servers = append(c.servers, p)
	}
	if c.building == "" {
		c.building = filepath.Join(c.root, ".cache", "peers")
	}
	if c.out == "" {
		c.out = filepath.Join(c.building, "results")
	}
	for _, path := range []*string{&c.root, &c.building, &c.out} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = absolute
	}
	return c, nil
}

// prepare builds everything, or says at once all that is missing.
func (c *config) prepare(ctx context.Context, stdout io.Writer) error {
	lacking := lack("taskset", "taskset of util-linux")
	for _, p := range c.servers {
		for _, what := range p.lacks() {
			lacking = append(lacking, p.name+" needs "+what)
		}
	}
	if len(lacking) > 0 {
		return fmt.Errorf("not everything is here; -servers measures fewer:\n  %s", strings.Join(lacking, "\n  "))
	}
	for _, folder := range []string{c.building, c.out} {
		if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // Others may look.
			return err
		}
	}
	fmt.Fprintln(stdout, "building in", c.building)
	if err := command(ctx, c.root, "go", "build", "-o", c.building+"/", "./bench", "./gateway"); err != nil {
		return err
	}
	for _, p := range c.servers {
		if p.build == nil {
			continue
		}
		if err := p.build(ctx, c); err != nil {
			return fmt.Errorf("build %s: %w", p.name, err)
		}
	}
	return nil
}

// measure measures all, one after another and round by round.
func (c *config) measure(ctx context.Context, stdout io.Writer) (*table, error) {
	t := &table{base: c.base, load: c.load}
	for _, p := range c.servers {
		version := ""
		if p.version != nil {
			version = p.version(ctx, c)
		}
		t.rows = append(t.rows, &row{name: p.name, version: version})
	}
	for round := range c.rounds {
		for i, p := range c.servers {
			figures, err := c.echo(ctx, p, fmt.Sprintf("%s-%d", p.name, round+1))
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", p.name, round+1, err)
			}
			t.rows[i].rounds = append(t.rows[i].rounds, figures)
			fmt.Fprintf(stdout, "round %d, %-12s %s\n", round+1, p.name, figures)
		}
	}
	if c.many == 0 {
		return t, nil
	}
	for i, p := range c.servers {
		figures, err := c.open(ctx, p, p.name+"-calls")
		if err != nil {
			return nil, fmt.Errorf("%s, openings: %w", p.name, err)
		}
		t.rows[i].calls = figures
		fmt.Fprintf(stdout, "%-12s %.0f µs of CPU an opening, %.2f system calls an echo\n", p.name, 1e6*figures["open_cpu"], figures["syscalls"])
	}
	return t, c.weighAll(ctx, t)
}

// weighAll measures the memory of all servers at the same time: that takes long, and
// depends on nothing that they do to one another.
func (c *config) weighAll(ctx context.Context, t *table) error {
	errs := make([]error, len(c.servers))
	var running sync.WaitGroup
	for i, p := range c.servers {
		running.Go(func() {
			figures, err := c.weigh(ctx, p, p.name+"-idle")
			if err != nil {
				errs[i] = fmt.Errorf("%s, idle: %w", p.name, err)
			}
			t.rows[i].idle = figures
		})
	}
	running.Wait()
	return errors.Join(errs...)
}
