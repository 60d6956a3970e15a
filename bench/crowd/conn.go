package crowd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"switchboard/bench/live"
	"switchboard/bench/load"
	"switchboard/bench/result"
	"switchboard/internal/daemon"
)

const connManual = `bench conn opens authenticated connections to gateways in equal steps and reads the
gateways' memory after each: the slope is what one more idle connection costs,
whatever the processes weigh by themselves. The first step counts as the start, since
a process grows by some megabytes with its first traffic. What of it is anonymous has
no pages of the program, which are shared and read as its code is first run. Kernel memory is counted
from the slabs of this host's sockets and is that of one end: half of it, unless
-agents hold the clients' ends elsewhere; it needs root. CPU time while idle is the
difference to the gateways without a client.

With -echo the connections, after -hold, send messages that come back: heartbeats of
the protocol, each checked, on a schedule; latency counts from each one's time. When
the gateways have come to rest after it, memory is read once more: after_bytes is what
a connection has kept of its messages.

With -target it measures gateways that somebody else started, and -auth-keys; memory
is then that of -pids.` + elsewhere + plan

const echoManual = `bench echo opens authenticated connections and sends messages over them that come
back, each checked, on a schedule: heartbeats of the protocol, which the session
answers, or pings, which the socket does. Latency counts from each one's time, and the
gateways' processor time is divided by the messages.

With -target it measures servers that somebody else started. Without -auth-keys they
want no token and echo text: to compare them with the gateway's own echo, start
"gateway conformance". -pids names their processes, whose processor time is taken.` + elsewhere + plan

// settle is how long gateways may take to come to rest before they are measured:
// they give the memory of many handshakes back at most every ten seconds.
const settle = 12 * time.Second

// conn is one run of `bench conn` or `bench echo`.
type conn struct {
	*options
	steps    int
	settle   time.Duration
	idle     time.Duration
	hold     time.Duration
	limit    float64
	frame    string
	bytes    int
	text     string // with # for its number; empty: a number and bytes
	echoes   float64
	duration time.Duration

	full step // at the end of a climb that is measured
}

// Conn is `bench conn`. worker is the command that starts a worker.
func Conn(ctx context.Context, args, worker []string, screen *live.Screen) error {
	flags := daemon.NewFlags("bench conn", connManual)
	c := &conn{options: newOptions(flags, worker, 1, 8000), frame: load.Heartbeat}
	flags.IntVar(&c.steps, "steps", 4, "steps in which they are opened; memory is measured from three on")
	flags.DurationVar(&c.settle, "settle", settle, "time that gateways have to come to rest after each step")
	flags.DurationVar(&c.idle, "idle", 30*time.Second, "idle time before and after the opening, for CPU per connection")
	flags.DurationVar(&c.hold, "hold", 0, "how long the connections are then held, with heartbeats")
	flags.Float64Var(&c.limit, "max-bytes", 300, "user bytes per connection that are still right; 0 = any")
	flags.Float64Var(&c.echoes, "echo", 0, "messages a second that come back, at the end")
	flags.DurationVar(&c.duration, "duration", 30*time.Second, "how long those are sent")
	c.out = result.NewOutput(flags.FlagSet, append(metricNames("open", "tcp", "upgrade", "echo", "service", "late"),
		"user_bytes", "user_anon_bytes", "heap_bytes", "after_bytes", "after_anon_bytes", "open_cpu", "idle_cpu", "echo_cpu")...)
	aim := c.newAim(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := aim.take(c); err != nil {
		return err
	}
	return c.run(ctx, "conn", screen)
}

// Echo is `bench echo`.
func Echo(ctx context.Context, args, worker []string, screen *live.Screen) error {
	flags := daemon.NewFlags("bench echo", echoManual)
	c := &conn{options: newOptions(flags, worker, 1, 1000), steps: 1}
	flags.StringVar(&c.frame, "frame", load.Heartbeat, "`KIND` of message: heartbeat or ping; of a -target text or ping")
	flags.IntVar(&c.bytes, "bytes", 64, "bytes of a text")
	aim := c.newAim(flags)
	flags.Float64Var(&c.echoes, "rate", 10000, "messages a second, of all connections")
	flags.DurationVar(&c.duration, "duration", 30*time.Second, "how long they are sent")
	flags.DurationVar(&c.hold, "hold", 0, "how long the connections are held before")
	c.out = result.NewOutput(flags.FlagSet, append(metricNames("echo", "service", "late", "open", "tcp", "upgrade"), "open_cpu", "echo_cpu")...)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := aim.take(c); err != nil {
		return err
	}
	return c.run(ctx, "echo", screen)
}

func (c *conn) run(ctx context.Context, name string, screen *live.Screen) error {
	if c.steps < 1 || c.duration <= 0 {
		return daemon.Usagef("-steps is at least 1, -duration above 0")
	}
	r, err := begin(ctx, name, c.options, screen, 0)
	if err != nil {
		return err
	}
	defer r.end()
	r.result.Headlines = []string{"connections", "user_bytes", "after_bytes", "kernel_bytes", "open.p99", "idle_cpu", "echo.p50", "echo.p99", "echo_cpu", "wrong"}
	err = c.phases(ctx, r)
	all := r.crew.All()
	timings := []*result.Timing{
		all.Timing(load.TimeOpen, ""), all.Timing(load.TimeTCP, ""), all.Timing(load.TimeUpgrade, ""),
		all.Timing(load.TimeEcho, ""), all.Timing(load.TimeService, ""), all.Timing(load.TimeLate, ""),
	}
	if name == "echo" {
		timings = append(timings[3:], timings[:3]...)
	}
	if err := r.finish(ctx, err, timings...); err != nil {
		return err
	}
	for _, m := range r.result.Metrics {
		if m.Name == "user_bytes" && c.limit > 0 && m.Value > c.limit {
			return fmt.Errorf("%.0f user bytes per connection are over the limit of %.0f", m.Value, c.limit)
		}
	}
	return nil
}

// phases are the run, until it is done or ctx ends.
func (c *conn) phases(ctx context.Context, r *run) error {
	r.view.now("nobody is connected", c.idle)
	alone, err := c.idling(ctx, r)
	if err != nil {
		return err
	}
	if err := c.climb(ctx, r); err != nil {
		return err
	}
	r.view.now("all are idle", c.idle)
	loaded, err := c.idling(ctx, r)
	if err != nil {
		return err
	}
	if c.idle > 0 {
		r.result.Add("idle_cpu", (loaded-alone).Seconds()/float64(c.connections)/c.idle.Seconds(), result.Seconds, result.Lower,
			"gateways' processor time of an idle connection in a second")
	}
	r.view.now("holding", c.hold)
	if err := r.crew.Hold(ctx, func() bool { return c.hold == 0 }, c.hold); err != nil {
		return err
	}
	if c.echoes <= 0 {
		return nil
	}
	r.view.now("echoes", c.duration)
	before := r.cpu()
	if err := r.crew.Echo(ctx, load.Echo{Frame: c.frame, Bytes: c.bytes, Text: c.text, Rate: c.echoes, Seconds: c.duration.Seconds()}); err != nil {
		return err
	}
	r.result.Set("echo", fmt.Sprintf("%s, %.0f a second for %v", c.frame, c.echoes, c.duration))
	if sent := r.crew.All().Count(load.CountSent); sent > 0 {
		r.result.Add("echo_cpu", (r.cpu()-before).Seconds()/float64(sent), result.Seconds, result.Lower, "gateways' processor time of an echo")
	}
	return c.kept(ctx, r)
}

// idling returns the processor time that the gateways take while nothing happens.
func (c *conn) idling(ctx context.Context, r *run) (time.Duration, error) {
	before := r.cpu()
	err := rest(ctx, c.idle)
	return r.cpu() - before, err
}

// climb opens the connections step by step, and measures after each.
func (c *conn) climb(ctx context.Context, r *run) error {
	var steps []step
	var opening, busy time.Duration
	for i := 1; i <= c.steps; i++ {
		total := c.connections * i / c.steps
		r.opening(total)
		before, began := r.cpu(), time.Now()
		if err := r.crew.Open(ctx, total, c.rate); err != nil {
			return err
		}
		opening, busy = opening+r.cpu()-before, busy+time.Since(began)
		r.view.now("gateways come to rest", c.settle)
		if err := rest(ctx, c.settle); err != nil {
			return err
		}
		s, err := r.weigh(ctx, total)
		if err != nil {
			return err
		}
		steps = append(steps, s)
		fmt.Fprintf(r.screen, "%8d connections: PSS %10d bytes, %10d of them anonymous, kernel %11d bytes\n",
			s.connections, s.user.PSS, s.user.Anonymous, s.kernel)
	}
	r.result.Add("open_rate", float64(c.connections)/busy.Seconds(), result.PerSecond, result.Neither, "connections opened a second")
	r.result.Add("open_cpu", opening.Seconds()/float64(c.connections), result.Seconds, result.Lower, "gateways' processor time of an opening")
	if c.weigh(r.result, steps); len(steps) < 3 {
		r.addKernel("", c.connections)
	}
	return nil
}

// weigh adds what a connection weighs.
func (c *conn) weigh(r *result.Result, steps []step) {
	if len(steps) < 3 || steps[0].user.PSS == 0 {
		return // Two points are a line through anything, and nothing is seen of a process elsewhere.
	}
	c.full = steps[len(steps)-1]
	r.Add("user_bytes", slope(steps, func(s step) int64 { return s.user.PSS }), result.Bytes, result.Lower,
		"gateway memory of a connection: slope of PSS")
	r.Add("user_anon_bytes", slope(steps, func(s step) int64 { return s.user.Anonymous }), result.Bytes, result.Lower,
		"what of it is no page of a file: slope of Pss_Anon")
	if !slices.ContainsFunc(steps, func(s step) bool { return s.heap == 0 }) {
		r.Add("heap_bytes", slope(steps, func(s step) int64 { return s.heap }), result.Bytes, result.Lower,
			"heap in use for a connection, garbage included: slope")
	}
	if steps[0].kernel == 0 {
		return
	}
	r.Add("kernel_bytes", slope(steps, func(s step) int64 { return s.kernel })/c.ends(), result.Bytes, result.Lower,
		"kernel memory of a connection's end: slope of the socket slabs")
}

// slope is the least-squares slope of a value over the number of connections.
func slope(steps []step, value func(step) int64) float64 {
	var n, x, y, xx, xy float64
	for _, s := range steps {
		c, v := float64(s.connections), float64(value(s))
		n, x, y, xx, xy = n+1, x+c, y+v, xx+c*c, xy+c*v
	}
	return (n*xy - x*y) / (n*xx - x*x)
}
