// Package crowd measures gateways with very many connections: what a connection
// costs, what an echo costs, how soon a crowd has heard one message, and what
// becomes of it when its gateway dies or drains. Each is a command of `bench`.
//
//	conn, echo   open ──▶ hold ──▶ echo
//	fanout       open ──▶ one message to all, again and again
//	storm        open ──▶ echo ──▶ SIGKILL, echo meanwhile ──▶ all are back
//	drain        open ──▶ echo ──▶ SIGTERM, echo meanwhile ──▶ all are elsewhere
//
// It starts gateways with package rig, holds connections with package load, and
// leaves what package result writes.
package crowd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/live"
	"switchboard/bench/load"
	"switchboard/bench/result"
	"switchboard/bench/rig"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
)

// plan is the manual's part that all commands share.
const plan = `

Connections are those of worker processes, as many as the limit of descriptors asks
for, from as many addresses of 127.0.0.0/8 as the range of ports asks for. A plan that
does not fit this host is refused with exit status 3 and the name of the limit.

The gateways' log and directory are inside this process unless -kafka and -redis name
others. A signal ends the load; the report is then of what was done.`

// options are the flags that all commands have.
type options struct {
	program      string
	gateways     int
	connections  int
	rate         float64
	workers      int
	sources      int
	fill         bool
	apart        bool // no worker has connections of two gateways, until one of them dies
	gather       time.Duration
	heartbeat    time.Duration
	drainTimeout time.Duration
	kafka, redis string
	every        time.Duration // between reports of the workers; 0: a second
	targets      []string      // servers that somebody else started; none: gateways of our own
	keys         string        // file with the keys that they trust
	addresses    []string      // to connect from
	agents       []string
	path         string
	greeting     string // that a target without tokens hears first
	processes    []host.Process
	out          *result.Output
	worker       []string
	opsListen    string // for Prometheus; empty: nowhere
}

// newOptions adds the flags.
func newOptions(flags *daemon.Flags, worker []string, gateways, connections int) *options {
	o := &options{worker: worker, drainTimeout: time.Second, path: "/api/v1/ws"}
	flags.StringVar(&o.program, "gateway", "bin/gateway", "the gateway program, built")
	flags.IntVar(&o.gateways, "gateways", gateways, "gateway processes")
	flags.IntVar(&o.connections, "connections", connections, "authenticated connections, spread over the gateways")
	flags.Float64Var(&o.rate, "open-rate", 2000, "connections that are opened a second")
	flags.BoolVar(&o.fill, "fill", false, "fill one gateway after the other, one worker after the other: with many of both on\n"+
		"one host that is cheaper, since each wakes up for many frames of one other. The gateways\n"+
		"run with -opens-make-way=false then")
	flags.DurationVar(&o.gather, "gather", 0, "how long workers let what arrives gather, likewise; it is in all times")
	flags.IntVar(&o.workers, "workers", 0, "worker processes; 0: as many as descriptors ask for, two at least")
	flags.IntVar(&o.sources, "sources", 0, "addresses of 127.0.0.0/8 to connect from; 0: as many as ports ask for")
	flags.DurationVar(&o.heartbeat, "heartbeat", 25*time.Second, "heartbeat of the gateways")
	flags.StringVar(&o.kafka, "kafka", "", "`HOST:PORT` of a Kafka of its own; empty: one inside this process")
	flags.StringVar(&o.redis, "redis", "", "`HOST:PORT` of a Redis of its own; empty: one inside this process")
	flags.StringVar(&o.opsListen, "ops-listen", "", "`HOST:PORT` where Prometheus reads /metrics of the run while it lasts; empty: nowhere")
	return o
}

// metricNames are those of all commands, beside their timings.
func metricNames(timings ...string) []string {
	return append(result.TimingNames(timings...), "connections", "opened", "failed", "lost", "sent", "wrong", "missing", "repeated", "misrouted",
		"cut", "unsent", "late", "open_rate", "gateways.pss", "gateways.heap", "kernel_bytes", "gateways.cpu_share", "workers.cpu_share")
}

// run is one run of a command.
type run struct {
	*options
	screen *live.Screen
	rig    *rig.Rig
	crew   *load.Crew
	result *result.Result
	watch  *watch
	view   view
	began  time.Time
	user   string // part of the users' names
	bare   int64  // of the kernel's socket objects when nobody was connected

	unserve func() // ends what answers Prometheus
}

// begin refuses what does not fit and starts everything. All connections must fit
// when lost gateways are gone, too.
func begin(ctx context.Context, name string, o *options, screen *live.Screen, lost int) (*run, error) {
	if o.gateways < 1 || o.connections < o.gateways || o.rate <= 0 || o.workers < 0 || o.sources < 0 || o.gather < 0 {
		return nil, daemon.Usagef("want at least one gateway, a connection for each, and a rate above 0")
	}
	if err := o.fit(lost); err != nil {
		fmt.Fprintf(screen, "REFUSED: %v\n", err)
		return nil, daemon.Status(result.StatusUnfit)
	}
	r := &run{options: o, screen: screen, result: result.New(name), user: chat.NewRequestID().String(), unserve: func() {}}
	for _, s := range []struct {
		name  string
		value any
	}{
		{"gateways", o.gateways},
		{"connections", o.connections},
		{"opened a second", o.rate},
		{"workers", o.workers},
		{"source addresses", len(o.addresses)},
		{"heartbeat", o.heartbeat},
		{"Kafka", orInside(o.kafka)},
		{"Redis", orInside(o.redis)},
	} {
		r.result.Set(s.name, s.value)
	}
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	if err := r.serve(screen.Log(os.Stderr)); err != nil {
		r.rig.Close()
		return nil, errors.Join(err, r.crew.Close())
	}
	r.began, r.bare = time.Now(), host.Slabs()
	r.view.now("starting", 0)
	r.watch = newWatch(r.rig, r.crew, func(w *watch) { screen.Show(r.stands(w)) })
	return r, nil
}

// fit chooses workers and sources, or refuses. Whoever started the servers knows what
// fits into them.
func (o *options) fit(lost int) error {
	limits := load.Host()
	if len(o.agents) > 0 {
		// Each agent knows what fits into its host, and refuses the rest.
		o.workers = len(o.agents)
		return nil
	}
	if len(o.addresses) > 0 {
		o.sources = len(o.addresses)
	}
	for _, left := range []int{o.gateways, o.gateways - lost} {
		shape := load.Shape{Connections: o.connections, Gateways: left, Places: left, Workers: o.workers, Sources: o.sources}
		if len(o.targets) > 0 {
			shape.Gateways = 0
		}
		if o.apart {
			shape.Multiple = o.gateways
		}
		if err := shape.Fit(limits); err != nil {
			return err
		}
		o.workers, o.sources = shape.Workers, shape.Sources
	}
	if len(o.addresses) == 0 {
		o.addresses = load.Loopback(o.sources)
	}
	return nil
}

// start starts gateways, if there are none, and workers.
func (r *run) start(ctx context.Context) (err error) {
	if len(r.targets) > 0 {
		r.rig = rig.Elsewhere(r.targets, r.keys, r.processes)
	} else {
		r.rig, err = rig.Start(ctx, rig.Config{
			Program: r.program, Gateways: r.gateways, Heartbeat: r.heartbeat, DrainTimeout: r.drainTimeout,
			AllAtOnce: r.fill, Kafka: r.kafka, Redis: r.redis, Log: r.screen.Log(os.Stderr),
		})
	}
	if err != nil {
		return err
	}
	r.crew, err = load.Start(load.Config{
		Command: r.worker, Workers: r.workers, Total: r.connections, Gateways: r.rig.Addresses, Path: r.path, Greeting: r.greeting, Keys: r.rig.Keys,
		Run: r.user, Fill: r.fill || r.apart, Gather: r.gather, Sources: r.addresses, Agents: r.agents, Every: r.every, Log: r.screen.Log(os.Stderr),
	})
	if err != nil {
		r.rig.Close()
	}
	return err
}

func orInside(address string) string {
	if address == "" {
		return "inside the generator's process"
	}
	return address
}

// end ends everything.
func (r *run) end() {
	r.still()
	r.unserve()
	r.rig.Close()      // First: gateways would tell the directory of every connection that ends.
	_ = r.crew.Close() // What failed in it has been told.
}

// still ends the looking: the view goes, and what the run was follows.
func (r *run) still() {
	r.watch.stop()
	r.screen.Clear()
}

// open opens all connections.
func (r *run) open(ctx context.Context) error {
	r.opening(r.connections)
	began := time.Now()
	if err := r.crew.Open(ctx, r.connections, r.rate); err != nil {
		return err
	}
	r.result.Add("open_rate", float64(r.connections)/time.Since(began).Seconds(), result.PerSecond, result.Neither, "connections opened a second")
	r.addKernel("", r.connections)
	return nil
}

// finish says what became of the run, and writes it. failed is why it is incomplete;
// a signal makes it a result of the time until then.
func (r *run) finish(ctx context.Context, failed error, timings ...*result.Timing) error {
	if failed != nil && !errors.Is(failed, context.Canceled) {
		return failed
	}
	r.still()
	out, all := r.result, r.crew.All()
	out.Started, out.Seconds, out.Aborted = r.began.UTC(), time.Since(r.began).Seconds(), ctx.Err() != nil
	own := out.Metrics
	out.Metrics = nil
	for _, t := range timings {
		if t.Count() > 0 {
			out.AddTiming(t)
		}
	}
	out.Metrics = append(out.Metrics, own...)
	count := func(name, counted string, better result.Better, what string) {
		out.Add(name, float64(all.Count(counted)), result.Count, better, what)
	}
	out.Add("connections", float64(all.Open()), result.Count, result.Neither, "connections open at the end")
	count("opened", load.CountOpened, result.Neither, "openings that succeeded")
	out.Add("failed", float64(sum(all.Causes(load.CountFailed))), result.Count, result.Lower, "openings that failed and were tried again")
	count("lost", load.CountLost, result.Lower, "connections that ended unasked")
	count("sent", load.CountSent, result.Neither, "echoes sent")
	out.Add("wrong", float64(all.Wrong()), result.Count, result.Lower, "echoes and deliveries that were missing, doubled or elsewhere")
	count("missing", load.CountMissing, result.Lower, "echoes that did not come back")
	count("repeated", load.CountRepeated, result.Lower, "echoes that came twice, or after a later one")
	count("misrouted", load.CountMisrouted, result.Lower, "echoes of another connection")
	count("cut", load.CountCut, result.Neither, "echoes whose connection was lost under way")
	count("unsent", load.CountUnsent, result.Neither, "echoes that had no connection to go over")
	count("late", load.CountLate, result.Neither, "echoes that were sent over 10 ms after their time")
	out.Series = append(out.Series, all.Series()...)
	r.watch.fill(out)
	r.addHeap(ctx)
	out.Detail = map[string]any{"counts": all.Told()}
	judgeGenerator(out, all.Count(load.CountLate), all.Count(load.CountSent), all.Timing(load.TimeLag, ""))
	r.print()
	judged := r.out.Finish(out, r.screen)
	if all.Wrong() > 0 {
		return errors.New("echoes or deliveries were missing, doubled or out of order")
	}
	return judged
}

// mostLag of the generator's loops is still no matter for what a crowd is timed with.
const mostLag = 10 * time.Millisecond

// judgeGenerator says when the figures are the generator's own: when it sent too late, or
// when its loops came too late to what they wait for, be it openings, deliveries or
// clients that come back. Memory does not depend on that: what bench conn says of
// openings does, so there it is a note.
func judgeGenerator(out *result.Result, late, sent int, lag *result.Timing) {
	if late > sent/100 {
		out.Invalidate("the generator was late for %d of %d sends, more than 1 %%", late, sent)
	}
	often := lag.Quantile(95)
	switch {
	case often <= mostLag:
	case out.Bench == "conn":
		out.Notes = append(out.Notes, fmt.Sprintf("The generator's loops were late by %v, and more, one time in twenty: believe memory, not the times of openings.", often))
	default:
		out.Invalidate("the generator's loops were late by %v, and more, one time in twenty", often)
	}
}

// print writes the report for the terminal.
func (r *run) print() {
	fmt.Fprintf(r.screen, "%s\n%s\n", r.result.Host, r.result.Build)
	for _, m := range r.result.Metrics {
		suffix := m.Name[strings.LastIndexByte(m.Name, '.')+1:]
		if suffix == "p90" || suffix == "p999" || m.Value == 0 && m.Name != "wrong" {
			continue // result.json has them.
		}
		fmt.Fprintf(r.screen, "%-22s %14s  %s\n", m.Name, result.Format(m.Value, m.Unit), m.What)
	}
	for _, prefix := range []string{load.CountFailed, load.CountClosed, load.CountSaid} {
		if causes := r.crew.All().Causes(prefix); len(causes) > 0 {
			fmt.Fprintf(r.screen, "%s %v\n", strings.TrimSpace(prefix), causes)
		}
	}
}

// cpu is the processor time of the gateways that run.
func (r *run) cpu() (d time.Duration) {
	for _, p := range r.rig.Processes() {
		d += host.CPUTime(p.PID)
	}
	return d
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
