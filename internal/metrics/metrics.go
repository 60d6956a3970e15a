// Package metrics counts what the programs do and shows it in the Prometheus
// text format. It is the home of the metrics library: the rest of the system
// knows a [Set] and what is in it.
//
// A metric's name is given with its labels, in the Prometheus syntax:
//
//	accepts := set.Counter(`switchboard_gateway_closes_total{code="4003"}`)
//
// Counting costs an atomic addition, observing a short lock; neither allocates.
// Names have the prefix switchboard_, base units, `_total` for counters; no id
// of a user or a conversation is ever a label.
package metrics

import (
	"io"
	"strings"

	vm "github.com/VictoriaMetrics/metrics"
)

// Counter only goes up.
type Counter = vm.Counter

// Histogram counts in the buckets of Prometheus, so that histogram_quantile works
// and histograms of many programs can be added up. Its unit is in its name.
type Histogram = vm.PrometheusHistogram

// Set holds the metrics of one program. The zero value is not usable.
type Set struct {
	set *vm.Set
}

// New returns an empty set.
func New() *Set { return &Set{set: vm.NewSet()} }

// Counter returns the counter of that name, the same one each time.
func (s *Set) Counter(name string) *Counter { return s.set.GetOrCreateCounter(name) }

// Histogram returns the histogram of that name, the same one each time. Names
// that end in `_seconds` have buckets from 100 µs to 30 s, dense where one hop of a
// message lies and with a border at the 500 ms within which all is promised; others count things and have powers
// of two from 1 to 65,536.
func (s *Set) Histogram(name string) *Histogram {
	base, _, _ := strings.Cut(name, "{")
	if strings.HasSuffix(base, "_seconds") {
		return s.set.GetOrCreatePrometheusHistogramExt(name, secondBuckets())
	}
	return s.set.GetOrCreatePrometheusHistogramExt(name, vm.ExponentialBuckets(1, 2, 17))
}

func secondBuckets() []float64 {
	return []float64{
		.0001, .00025, .0005, .001, .002, .003, .005, .0075, .01, .015, .02, .03, .05, .075,
		.1, .15, .25, .5, 1, 2.5, 5, 10, 30,
	}
}

// Gauge shows what value returns whenever somebody asks. value must not block.
func (s *Set) Gauge(name string, value func() float64) { s.set.GetOrCreateGauge(name, value) }

// Write writes all metrics of the set and of the process.
func (s *Set) Write(w io.Writer) {
	s.set.WritePrometheus(w)
	vm.WriteProcessMetrics(w)
	writeDescriptors(w)
}
