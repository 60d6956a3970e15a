package crowd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"switchboard/bench/host"
	"switchboard/bench/load"
	"switchboard/internal/daemon"
	"switchboard/internal/metrics"
)

// serve answers Prometheus while the run lasts, if there is an address for that. Nothing
// is looked at but when it asks. log hears of what it could not serve.
func (r *run) serve(log io.Writer) error {
	if r.opsListen == "" {
		return nil
	}
	ops, err := daemon.NewOps(r.opsListen, r.metrics(), slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { _ = ops.Run(ctx) }) // It ends with the run; who asks sees when it did before.
	r.unserve = func() { end(); serving.Wait() }
	return nil
}

// metrics are what is counted and timed, by the names of the result.
func (r *run) metrics() *metrics.Set {
	set, all := metrics.New(), r.crew.All()
	set.Gauge(`switchboard_bench_run{bench="`+r.result.Bench+`"}`, func() float64 { return 1 })
	set.Gauge("switchboard_bench_connections", func() float64 { return float64(all.Open()) })
	for name, counted := range map[string]string{
		"opened": load.CountOpened, "lost": load.CountLost, "dropped": load.CountDropped, "sent": load.CountSent, "echoed": load.CountEchoed,
		"received": load.CountReceived, "cut": load.CountCut, "unsent": load.CountUnsent, "late": load.CountLate,
	} {
		set.Gauge("switchboard_bench_"+name+"_total", func() float64 { return float64(all.Count(counted)) })
	}
	set.Gauge("switchboard_bench_wrong_total", func() float64 { return float64(all.Wrong()) })
	set.Gauge("switchboard_bench_failed_total", func() float64 { return float64(sum(all.Causes(load.CountFailed))) })
	for name, timed := range map[string]string{
		"open": load.TimeOpen, "echo": load.TimeEcho, "delivery": load.TimeDelivery, "back": load.TimeBack, "late": load.TimeLate, "lag": load.TimeLag,
	} {
		for _, q := range []float64{50, 99, 100} {
			set.Gauge(fmt.Sprintf("switchboard_bench_%s_seconds{quantile=%q}", name, fmt.Sprint(q/100)), func() float64 {
				return all.Quantile(timed, q).Seconds()
			})
		}
	}
	set.Gauge("switchboard_bench_gateways_cpu_seconds_total", func() float64 { return r.cpu().Seconds() })
	set.Gauge("switchboard_bench_gateways_pss_bytes", func() (bytes float64) {
		for _, p := range r.rig.Processes() {
			if pss, err := host.PSS(p.PID); err == nil { // It may have ended since.
				bytes += float64(pss)
			}
		}
		return bytes
	})
	set.Gauge("switchboard_bench_kernel_slab_bytes", func() float64 { return float64(host.Slabs()) })
	return set
}
