package crowd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"switchboard/bench/live"
	"switchboard/bench/load"
	"switchboard/bench/result"
	"switchboard/internal/daemon"
)

const stormManual = `bench storm has a crowd connected to several gateways and kills one of them with
SIGKILL. Its clients come back to the others as the protocol says: each at a random
moment of the first second, and later after each refusal. Measured are how long they
were away, when all are back, and the latency of echoes over the other connections
before and meanwhile.

The clients of each gateway have worker processes of their own: what it costs those of
one to come back, they would not share with those of another. -workers is a multiple of
-gateways.

Exit status 1 when not all are back within -within.` + plan

const drainManual = `bench drain has a crowd connected to several gateways and ends one of them with
SIGTERM. It asks its clients to connect elsewhere, each at a random moment of
three quarters of -drain-timeout. Measured are how long they were without a
connection, whether one was closed unasked, when all are elsewhere, and the latency of
echoes over the other connections before and meanwhile. The clients of each gateway have
worker processes of their own, so -workers is a multiple of -gateways.

Exit status 1 when not all are elsewhere within -within, or when the gateway did not
end with status 0.` + plan

// storm is one run of `bench storm` or `bench drain`.
type storm struct {
	*options
	signal os.Signal
	rate   float64
	before time.Duration
	within time.Duration

	calm, meanwhile *load.Tally
	all             time.Duration // until all are back
	ended           error
}

// Storm is `bench storm`.
func Storm(ctx context.Context, args, worker []string, screen *live.Screen) error {
	return newStorm("storm", stormManual, syscall.SIGKILL, args, worker).run(ctx, "storm", screen)
}

// Drain is `bench drain`.
func Drain(ctx context.Context, args, worker []string, screen *live.Screen) error {
	return newStorm("drain", drainManual, syscall.SIGTERM, args, worker).run(ctx, "drain", screen)
}

// parsed is a storm as the flags say, or why they are wrong.
type parsed struct {
	*storm
	err error
}

func newStorm(name, manual string, signal os.Signal, args, worker []string) parsed {
	flags := daemon.NewFlags("bench "+name, manual)
	s := &storm{options: newOptions(flags, worker, 3, 24000), signal: signal}
	s.every = 200 * time.Millisecond // A phase begins and ends with a report.
	s.apart = true
	flags.Float64Var(&s.rate, "rate", 2000, "echoes a second over the connections to the other gateways")
	flags.DurationVar(&s.before, "before", 15*time.Second, "how long they are measured before")
	flags.DurationVar(&s.within, "within", 30*time.Second, "time in which all must be back")
	if signal == syscall.SIGTERM {
		flags.DurationVar(&s.drainTimeout, "drain-timeout", 20*time.Second, "drain timeout of the gateways")
	}
	s.out = result.NewOutput(flags.FlagSet, append(metricNames("echo", "echo_before", "back", "late"),
		"all_back", "p99_ratio", "asked", "moved", "not_back")...)
	err := flags.Parse(args)
	if err == nil && (s.gateways < 2 || s.rate <= 0 || s.before <= 0 || s.within <= 0) {
		err = daemon.Usagef("at least two gateways, a rate and times above 0")
	}
	if err == nil && s.workers%s.gateways != 0 {
		err = daemon.Usagef("-workers %d: want a multiple of the %d gateways", s.workers, s.gateways)
	}
	return parsed{s, err}
}

func (p parsed) run(ctx context.Context, name string, screen *live.Screen) error {
	if p.err != nil {
		return p.err
	}
	s := p.storm
	r, err := begin(ctx, name, s.options, screen, 1)
	if err != nil {
		return err
	}
	defer r.end()
	r.result.Headlines = []string{"all_back", "back.p50", "back.max", "echo.p99", "echo_before.p99", "p99_ratio", "lost", "not_back", "wrong"}
	err = s.phases(ctx, r)
	var timings []*result.Timing
	missing := 0
	if s.meanwhile != nil {
		echo, calm := s.meanwhile.Timing(load.TimeEcho, ""), s.calm.Timing(load.TimeEcho, "echo_before")
		echo.What, calm.What = "from an echo's time until it is back, meanwhile", "from an echo's time until it is back, before"
		timings = []*result.Timing{echo, calm, s.meanwhile.Timing(load.TimeBack, ""), r.crew.All().Timing(load.TimeLate, "")}
		if base := calm.Quantile(99); base > 0 {
			r.result.Add("p99_ratio", echo.Quantile(99).Seconds()/base.Seconds(), result.Count, result.Lower, "99th percentile of echoes meanwhile to before")
		}
		missing = s.connections - r.crew.All().Open()
		r.result.Add("all_back", s.all.Seconds(), result.Seconds, result.Lower, "from the signal until all are connected again")
		r.result.Add("not_back", float64(missing), result.Count, result.Lower, "connections that are not back")
		r.result.Add("asked", float64(s.meanwhile.Count(load.CountAsked)), result.Count, result.Neither, "connections that were asked to leave")
		r.result.Add("moved", float64(s.meanwhile.Count(load.CountMoved)), result.Count, result.Neither, "connections that left because they were asked")
	}
	if err := r.finish(ctx, err, timings...); err != nil {
		return err
	}
	switch {
	case missing > 0:
		return fmt.Errorf("%d connections are not back after %v", missing, s.within)
	case s.ended != nil:
		return fmt.Errorf("the gateway did not end as it should: %w", s.ended)
	}
	return nil
}

func (s *storm) phases(ctx context.Context, r *run) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := r.crew.Stay(ctx); err != nil {
		return err
	}
	var others []int
	for i := 1; i < s.gateways; i++ {
		others = append(others, i)
	}
	echo := load.Echo{Frame: load.Heartbeat, Rate: s.rate, Gateways: others, Seconds: s.before.Seconds()}
	r.result.Set("echo", fmt.Sprintf("%.0f a second over the others' connections", s.rate))
	r.crew.NewPhase()
	r.view.now("echoes before", s.before)
	if err := r.crew.Echo(ctx, echo); err != nil {
		return err
	}
	s.calm = r.crew.Phase()
	echo.Seconds = (2*s.within + s.drainTimeout).Seconds() // It is hushed before.
	echoing, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.crew.Echo(echoing, echo) }()
	if err := s.strike(ctx, r); err != nil {
		cancel()
		return errors.Join(err, <-done)
	}
	if err := r.crew.Hush(ctx); err != nil {
		return err
	}
	return <-done
}

// strike sends the signal and waits until all are back, or no longer.
func (s *storm) strike(ctx context.Context, r *run) error {
	if err := rest(ctx, time.Second); err != nil { // The echoes have begun.
		return err
	}
	r.crew.NewPhase()
	s.meanwhile = r.crew.Phase()
	victims := r.crew.Planned(0)
	struck := time.Now()
	if err := r.rig.Signal(0, s.signal); err != nil {
		return err
	}
	fmt.Fprintf(r.screen, "sent %v to a gateway with %d connections\n", s.signal, victims)
	r.view.now("until all are back", s.within)
	var back time.Time
	all := func() bool {
		// The first reports may be from before the signal.
		if gone := s.meanwhile.Count(load.CountLost) + s.meanwhile.Count(load.CountMoved); gone < victims {
			return false
		}
		if r.crew.All().Open() < s.connections {
			return false
		}
		back = time.Now()
		return true
	}
	if err := r.crew.Hold(ctx, all, s.within); err != nil {
		return err
	}
	r.crew.NewPhase() // What follows is calm again.
	if !back.IsZero() {
		s.all = back.Sub(struck)
	} else {
		s.all = time.Since(struck)
	}
	if s.signal == syscall.SIGTERM {
		r.view.now("until the gateway has ended", s.drainTimeout+s.within)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.rig.Ended(0):
			s.ended = r.rig.Failure(0)
		case <-time.After(s.drainTimeout + s.within):
			s.ended = errors.New("it has not ended")
		}
	}
	return nil
}
