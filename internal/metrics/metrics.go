// Package metrics counts what the programs do and shows it in the Prometheus
// text format. It is the home of the metrics library: the rest of the system
// knows a [Set] and what is in it.
//
// A metric's name is given with its labels, in the Prometheus syntax:
//
//	accepts := set.Counter(`switchboard_gateway_closes_total{code="4003"}`)
//
// Counters and histograms cost an atomic addition and allocate nothing. Names
// have the prefix switchboard_, base units, `_total` for counters; no id of a
// user or a conversation is ever a label.
package metrics

import (
	"io"

	vm "github.com/VictoriaMetrics/metrics"
)

// Counter only goes up.
type Counter = vm.Counter

// Histogram has log-based buckets of its own making; observe seconds or bytes.
type Histogram = vm.Histogram

// Set holds the metrics of one program. The zero value is not usable.
type Set struct {
	set *vm.Set
}

// New returns an empty set.
func New() *Set { return &Set{set: vm.NewSet()} }

// Counter returns the counter of that name, the same one each time.
func (s *Set) Counter(name string) *Counter { return s.set.GetOrCreateCounter(name) }

// Histogram returns the histogram of that name, the same one each time.
func (s *Set) Histogram(name string) *Histogram { return s.set.GetOrCreateHistogram(name) }

// Gauge shows what value returns whenever somebody asks. value must not block.
func (s *Set) Gauge(name string, value func() float64) { s.set.GetOrCreateGauge(name, value) }

// Write writes all metrics of the set and of the process.
func (s *Set) Write(w io.Writer) {
	s.set.WritePrometheus(w)
	vm.WriteProcessMetrics(w)
	vm.WriteFDMetrics(w)
}
