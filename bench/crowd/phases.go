package crowd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"switchboard/bench/live"
	"switchboard/bench/load"
	"switchboard/bench/result"
	"switchboard/internal/daemon"
)

const planManual = `bench plan goes through the phases of a file, a line each:

	# how a day begins
	- ramp: 2k/s to 40k     open connections, so many a second, until there are so many
	- hold: 5m              hold them, with heartbeats
	- rate: 10k/s for 1m    messages that come back, each checked; also 10k msg/s
	- churn: 2%/m for 10m   drop a share a minute, evenly; also 2%/min
	- drop: 30%             drop a share at once; like churn it ends when all are back;
	                        also storm: drop 30%

It is YAML, a list of maps with one pair. Numbers may have k or M behind them, times
are those of Go. Rate and churn without a time last a minute. Each phase has timings of its own: 3-rate.echo.p99, 5-drop.back.max.
Connections that are lost come back as the protocol says.` + elsewhere + plan

// phase is a line of the file.
type phase struct {
	kind   string
	amount float64       // a second, or a share
	total  int           // of a ramp
	time   time.Duration // of the rest
}

// aMinute is how long a rate or a churn lasts that does not say so.
const aMinute = "1m"

// mostPhases bounds a plan.
const mostPhases = 50

// phases is one run of `bench plan`.
type phases struct {
	*conn
	all   []phase
	lines []string

	open int // connections that there shall be
}

// Plan is `bench plan`.
func Plan(ctx context.Context, args, worker []string, screen *live.Screen) error {
	flags := daemon.NewFlags("bench plan", planManual)
	p := &phases{conn: &conn{options: newOptions(flags, worker, 1, 0), frame: load.Heartbeat}}
	file := flags.String("file", "", "`FILE` with the plan")
	aim := p.newAim(flags)
	names := append(metricNames("open", "echo", "back", "late"), "dropped")
	for i := range mostPhases {
		names = append(names, strconv.Itoa(i+1)+"-*")
	}
	p.out = result.NewOutput(flags.FlagSet, names...)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := aim.take(p.conn); err != nil {
		return err
	}
	if err := p.read(*file); err != nil {
		return daemon.Usagef("-file %q: %v", *file, err)
	}
	r, err := begin(ctx, "plan", p.options, screen, 0)
	if err != nil {
		return err
	}
	defer r.end()
	r.result.Headlines = []string{"connections", "open.p99", "echo.p50", "echo.p99", "back.max", "lost", "wrong"}
	timings, err := p.run(ctx, r)
	all := r.crew.All()
	whole := []*result.Timing{all.Timing(load.TimeOpen, ""), all.Timing(load.TimeEcho, ""), all.Timing(load.TimeBack, ""), all.Timing(load.TimeLate, "")}
	r.result.Add("dropped", float64(all.Count(load.CountDropped)), result.Count, result.Neither, "connections that were dropped on purpose")
	return r.finish(ctx, err, append(whole, timings...)...)
}

// read reads the plan, and finds how many connections it takes.
func (p *phases) read(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		one, err := parsePhase(line)
		if err != nil {
			return err
		}
		p.all, p.lines = append(p.all, one), append(p.lines, strings.TrimPrefix(line, "- "))
		p.connections = max(p.connections, one.total)
	}
	if len(p.all) == 0 || len(p.all) > mostPhases || p.all[0].kind != "ramp" {
		return fmt.Errorf("want 1 to %d phases, the first of them a ramp", mostPhases)
	}
	return nil
}

// parsePhase reads a line.
func parsePhase(line string) (one phase, err error) {
	kind, rest, ok := strings.Cut(strings.TrimPrefix(line, "- "), ": ")
	if share, drop := strings.CutPrefix(strings.TrimSpace(rest), "drop "); kind == "storm" && drop {
		kind, rest = "drop", share
	}
	one.kind = kind
	amount, behind, _ := strings.Cut(strings.TrimSpace(rest), " ")
	behind = strings.TrimSpace(behind)
	var errs [2]error
	wrong := !ok || !strings.HasPrefix(line, "- ")
	switch kind {
	case "ramp":
		total, to := strings.CutPrefix(behind, "to ")
		rate, second := strings.CutSuffix(amount, "/s")
		var n float64
		one.amount, errs[0] = number(rate)
		n, errs[1] = number(total)
		one.total, wrong = int(n), wrong || !to || !second || n < 1
	case "hold":
		one.time, errs[0] = time.ParseDuration(amount)
		one.amount, wrong = 1, wrong || behind != ""
	case "rate", "churn":
		unit := map[string]string{"rate": "/s", "churn": "%/m"}[kind]
		if messages, more := strings.CutPrefix(behind, "msg/s"); more && kind == "rate" {
			amount, behind = amount+unit, strings.TrimSpace(messages)
		} else if kind == "churn" && strings.HasSuffix(amount, "%/min") {
			amount = strings.TrimSuffix(amount, "in")
		}
		rate, right := strings.CutSuffix(amount, unit)
		if behind == "" {
			behind = "for " + aMinute
		}
		duration, lasts := strings.CutPrefix(behind, "for ")
		one.amount, errs[0] = number(rate)
		one.time, errs[1] = time.ParseDuration(duration)
		wrong = wrong || !right || !lasts || one.time <= 0
	case "drop":
		share, right := strings.CutSuffix(amount, "%")
		one.amount, errs[0] = number(share)
		wrong = wrong || !right || behind != "" || one.amount > 100
	default:
		wrong = true
	}
	if err := errors.Join(errs[:]...); err != nil || wrong || one.amount <= 0 {
		return one, fmt.Errorf("%q is no phase; see -help", line)
	}
	if kind == "drop" || kind == "churn" {
		one.amount /= 100
	}
	return one, nil
}

// number reads a number with k or M behind it.
func number(text string) (float64, error) {
	factor := 1.0
	if rest, ok := strings.CutSuffix(text, "k"); ok {
		text, factor = rest, 1e3
	} else if rest, ok := strings.CutSuffix(text, "M"); ok {
		text, factor = rest, 1e6
	}
	n, err := strconv.ParseFloat(text, 64)
	return n * factor, err
}

// run goes through the phases, and returns the timings of each.
func (p *phases) run(ctx context.Context, r *run) (timings []*result.Timing, err error) {
	if err := r.crew.Stay(ctx); err != nil {
		return nil, err
	}
	for i, one := range p.all {
		fmt.Fprintf(r.screen, "phase %d, %s\n", i+1, p.lines[i])
		r.result.Set(fmt.Sprintf("phase %d", i+1), p.lines[i])
		r.view.now(p.lines[i], one.lasts(r.crew.All().Open()))
		r.crew.NewPhase()
		tally := r.crew.Phase()
		if err = p.one(ctx, r, one); err != nil {
			break
		}
		r.crew.NewPhase() // So that nothing is added to it any more.
		r.addKernel(fmt.Sprintf("%d-%s.", i+1, one.kind), r.crew.All().Open())
		for _, name := range []string{load.TimeOpen, load.TimeEcho, load.TimeBack} {
			if t := tally.Timing(name, fmt.Sprintf("%d-%s.%s", i+1, one.kind, name)); t.Count() > 0 {
				t.What = fmt.Sprintf("%s, phase %d, %s", t.What, i+1, p.lines[i])
				timings = append(timings, t)
			}
		}
	}
	return timings, err
}

// lasts is how long a phase should take when so many connections are open; 0: nobody
// knows.
func (one phase) lasts(open int) time.Duration {
	if one.kind == "ramp" {
		return time.Duration(float64(max(one.total-open, 0)) / one.amount * float64(time.Second))
	}
	return one.time
}

// back waits until all are connected again who were dropped, but for those whose
// openings failed too often.
func (p *phases) back(ctx context.Context, r *run) error {
	all := r.crew.All()
	return r.crew.Hold(ctx, func() bool { return all.Open()+all.Count(load.CountGivenUp) >= p.open }, 0)
}

// one goes through one phase.
func (p *phases) one(ctx context.Context, r *run, one phase) error {
	switch one.kind {
	case "ramp":
		p.open = max(p.open, one.total)
		return r.crew.Open(ctx, one.total, one.amount)
	case "rate":
		return r.crew.Echo(ctx, load.Echo{Frame: p.frame, Text: p.text, Rate: one.amount, Seconds: one.time.Seconds()})
	case "drop":
		if err := r.crew.Drop(ctx, one.amount); err != nil {
			return err
		}
		return p.back(ctx, r)
	case "churn":
		return p.churn(ctx, r, one)
	}
	return r.crew.Hold(ctx, func() bool { return false }, one.time)
}

// churnEvery is how often some connections are dropped.
const churnEvery = time.Second

// churn drops some connections every second.
func (p *phases) churn(ctx context.Context, r *run, one phase) error {
	each := one.amount * churnEvery.Minutes()
	for end := time.Now().Add(one.time); time.Now().Before(end); {
		if err := r.crew.Drop(ctx, each); err != nil {
			return err
		}
		if err := r.crew.Hold(ctx, func() bool { return false }, min(churnEvery, time.Until(end))); err != nil {
			return err
		}
	}
	return p.back(ctx, r)
}
