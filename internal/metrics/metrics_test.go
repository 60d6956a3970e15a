package metrics_test

import (
	"bytes"
	"strings"
	"testing"

	"switchboard/internal/metrics"
)

func TestOneNameIsOneMetric(t *testing.T) {
	set := metrics.New()
	name := `switchboard_gateway_closes_total{code="4003"}`
	set.Counter(name).Inc()
	set.Counter(name).Add(2)
	if got := set.Counter(name).Get(); got != 3 {
		t.Errorf("got %d, want 3", got)
	}
	if got := metrics.New().Counter(name).Get(); got != 0 {
		t.Errorf("another set shares the counter: got %d, want 0", got)
	}
}

func TestWriteIsPrometheusText(t *testing.T) {
	set := metrics.New()
	set.Counter(`switchboard_gateway_closes_total{code="4003"}`).Inc()
	set.Histogram("switchboard_storage_write_seconds").Update(0.25)
	set.Histogram(`switchboard_fold_batch_records{partition="3"}`).Update(100)
	connections := 7.0
	set.Gauge("switchboard_gateway_connections", func() float64 { return connections })
	connections = 8
	var out bytes.Buffer
	set.Write(&out)
	for _, want := range []string{
		"switchboard_gateway_closes_total{code=\"4003\"} 1\n",
		"switchboard_storage_write_seconds_bucket{le=\"0.1\"} 0\n",
		"switchboard_storage_write_seconds_bucket{le=\"0.25\"} 1\n",
		"switchboard_storage_write_seconds_bucket{le=\"+Inf\"} 1\n",
		"switchboard_storage_write_seconds_sum 0.25\n",
		"switchboard_storage_write_seconds_count 1\n",
		"switchboard_fold_batch_records_bucket{partition=\"3\",le=\"64\"} 0\n",
		"switchboard_fold_batch_records_bucket{partition=\"3\",le=\"128\"} 1\n",
		"switchboard_gateway_connections 8\n", // asked at the time of writing
		"\nprocess_open_fds ",
		"\ngo_memstats_heap_alloc_bytes ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	set := metrics.New()
	counter := set.Counter("switchboard_gateway_accepts_total")
	seconds := set.Histogram("switchboard_delivery_seconds")
	if got := testing.AllocsPerRun(1000, func() { counter.Inc(); seconds.Update(0.01) }); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}
