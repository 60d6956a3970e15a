package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"switchboard/dev/soak"
	"switchboard/internal/daemon"
)

const soakManual = `soak starts a cluster (see dev cluster) and lets people live in it, several times
over: they talk in pairs and groups of 8, 100, 101 and 500, come and go, read, type,
lose their networks, send twice – while every program is killed, one of each is
stopped until others have its work and then woken, Redis is flushed and killed, a
Kafka broker and a Cassandra node are killed, they and Redis stand still for a
moment, and PostgreSQL is away for a minute. Then what
each device saw, what each sender was told and what history says are compared:
see go doc ./dev/audit for what is checked. After a good run the audit itself is
tried: mistakes are put into what was recorded, and it must name each of them.

It prints a table of faults and a summary for each run, and ends with 1 if
anything that a client can rely on did not hold. A run is repeated with -seed:
who says what and which fault comes when follow from it.`

// soaking is what the flags of soak say.
type soaking struct {
	runs, people  int
	seed          uint64
	rate          float64
	warm          time.Duration
	least, outage time.Duration
	on            string
	faults        []string
}

// runSoak starts a cluster and loads it, several times.
func runSoak(ctx context.Context, args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("dev soak", soakManual)
	var s soaking
	flags.IntVar(&s.runs, "runs", 5, "how many runs, each with the next seed")
	flags.Uint64Var(&s.seed, "seed", 0, "`SEED` of the first run; 0 = a random one, which is printed")
	flags.IntVar(&s.people, "people", 24, "how many people, each with two devices; most members of the larger groups have none")
	flags.Float64Var(&s.rate, "rate", 30, "messages a second")
	flags.DurationVar(&s.warm, "warm", 10*time.Second, "how long nothing happens at the beginning of a run; 90s before judging how quick deliveries are")
	flags.DurationVar(&s.least, "least", time.Minute, "how long a run lasts at least; faults take the time that they take")
	flags.DurationVar(&s.outage, "postgres-away", time.Minute, "how long PostgreSQL is away from the beginning of each run on")
	flags.StringVar(&s.on, "on", "", "data `FOLDER` of a cluster that runs already; without it, soak starts one")
	only := flags.List("faults", "`PREFIX,…` of the faults to make, in this order, such as kafka or redis flushed; default all, in an order of chance")
	data := flags.String("data", ".cache/soak", "data `FOLDER` of the cluster that soak starts; it is emptied first")
	cluster := flags.List("cluster", "`FLAG,…` of the cluster that soak starts; default -gateways=2,-routers=2,-workers=2,-opensearch-nodes=0")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s.faults = *only
	for s.seed == 0 {
		s.seed = rand.Uint64N(1 << 20)
	}
	log := flags.Logger(os.Stderr)
	if s.on != "" {
		return s.all(ctx, s.on, log, stdout)
	}
	stop, err := startCluster(ctx, *data, *cluster)
	if err != nil {
		return err
	}
	return errors.Join(s.all(ctx, *data, log, stdout), stop())
}

// startCluster starts this same program as a cluster on an empty folder. What it
// says stands in soak.log there.
func startCluster(ctx context.Context, data string, args []string) (stop func() error, err error) {
	if len(args) == 0 {
		args = []string{"-gateways=2", "-routers=2", "-workers=2", "-opensearch-nodes=0"}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if err := os.RemoveAll(data); err != nil {
		return nil, fmt.Errorf("empty the data folder: %w", err)
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	said, err := os.Create(filepath.Join(data, "soak.log"))
	if err != nil {
		return nil, fmt.Errorf("open the cluster's log: %w", err)
	}
	c, err := soak.StartCluster(ctx, self, data, said, args...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w; see %s", err, said.Name()), said.Close())
	}
	return func() error { return errors.Join(c.Stop(), said.Close()) }, nil
}

// all makes the runs, one after another, and says whether all were good.
func (s *soaking) all(ctx context.Context, data string, log *slog.Logger, stdout io.Writer) error {
	var summaries []string
	bad := 0
	for i := range s.runs {
		site, err := soak.OpenSite(data)
		if err != nil {
			return err
		}
		seed := s.seed + uint64(i)
		faults := site.Faults(seed)
		if len(s.faults) > 0 {
			faults = soak.Pick(faults, s.faults...)
		}
		if len(faults) == 0 {
			return daemon.Usagef("none of the faults is possible on %s", data)
		}
		fmt.Fprintf(stdout, "run %d of %d, seed %d\n", i+1, s.runs, seed)
		result, err := soak.Run(ctx, soak.Config{
			Site: site, Seed: seed, People: s.people, Rate: s.rate, Moves: time.Second,
			Least: s.least, Warm: s.warm, Faults: faults, Outage: s.outage, Log: log,
		})
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		result.Print(stdout)
		summaries = append(summaries, result.Summary())
		if !result.OK() || !tried(result, stdout) {
			bad++
		}
	}
	fmt.Fprintln(stdout)
	for _, line := range summaries {
		fmt.Fprintln(stdout, line)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d runs broke what clients can rely on", bad, s.runs)
	}
	return nil
}

// tried plants mistakes into what a good run recorded, and reports whether the audit
// named all of them.
func tried(r *soak.Result, stdout io.Writer) bool {
	found, missed := r.Plants()
	fmt.Fprintf(stdout, "mistakes planted into this run: %d found, %d not\n", found, len(missed))
	for _, m := range missed {
		fmt.Fprintln(stdout, "FAILED", m)
	}
	return len(missed) == 0
}
