package load

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"switchboard/bench/result"
)

// Tally is what all workers did in some part of a run.
type Tally struct {
	// Fixed after construction.
	start time.Time

	mu      sync.Mutex
	counts  map[string]int
	timings map[string]*result.Timing
	series  map[string][]float64
	reads   map[int64]Read
	open    map[int]int // by worker
}

func newTally(start time.Time) *Tally {
	return &Tally{
		start: start, counts: make(map[string]int), timings: make(map[string]*result.Timing), series: make(map[string][]float64),
		open: make(map[int]int), reads: make(map[int64]Read),
	}
}

// seriesOf are the counts that are told by the second.
func seriesOf() []string {
	return []string{CountOpened, CountLost, CountSent, CountEchoed, CountReceived}
}

// add takes a report.
func (t *Tally) add(r *Report) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	second := int(time.Since(t.start) / time.Second)
	t.open[r.Worker] = r.Open
	total := 0
	for _, n := range t.open {
		total += n
	}
	t.at("open", second)
	t.series["open"][second] = float64(total)
	for name, n := range r.Counts {
		t.counts[name] += n
		if slices.Contains(seriesOf(), name) {
			t.at(name, second)
			t.series[name][second] += float64(n)
		}
	}
	for number, read := range r.Reads {
		sum := t.reads[number]
		t.reads[number] = Read{Count: sum.Count + read.Count, Due: read.Due, Last: max(sum.Last, read.Last)}
	}
	for name, buckets := range r.Times {
		h, err := histogramOf(buckets)
		if err != nil {
			return err
		}
		timing := t.timings[name]
		if timing == nil {
			timing = result.NewTiming(name, timingWords[name])
			t.timings[name] = timing
		}
		timing.Merge(second, h)
	}
	return nil
}

// at makes room for a second of a series. What was open goes on; the rest begins
// at nothing.
func (t *Tally) at(name string, second int) {
	s := t.series[name]
	for len(s) <= second {
		v := 0.0
		if name == "open" && len(s) > 0 {
			v = s[len(s)-1]
		}
		s = append(s, v)
	}
	t.series[name] = s
}

// timingWords say what is timed.
var timingWords = map[string]string{
	TimeTCP:      "TCP connect",
	TimeUpgrade:  "from the request to connected",
	TimeOpen:     "opening a connection",
	TimeEcho:     "from an echo's time until it is back",
	TimeService:  "from sending an echo until it is back",
	TimeLate:     "from an echo's time until it is sent",
	TimeDelivery: "from a message's time until it is read",
	TimeLag:      "how late the generator's loops were",
	TimeBack:     "from losing a connection until connected again",
}

// seriesWords say what the series are.
var seriesWords = map[string]string{
	"open": "open connections", CountOpened: "opened a second", CountLost: "lost a second", CountSent: "echoes sent a second",
	CountEchoed: "echoes back a second", CountReceived: "deliveries read a second",
}

// Count is how often something was counted.
func (t *Tally) Count(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[name]
}

// Causes are the counts whose name begins so, by what follows.
func (t *Tally) Causes(prefix string) map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	causes := make(map[string]int)
	for name, n := range t.counts {
		if cause, ok := strings.CutPrefix(name, prefix); ok {
			causes[cause] += n
		}
	}
	return causes
}

// Open is how many connections are open.
func (t *Tally) Open() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, open := range t.open {
		n += open
	}
	return n
}

// Timing returns what was timed under a name, under another name if that is given;
// of nothing if nothing was. It is a copy: reports may go on, as they do after a signal.
func (t *Tally) Timing(name, as string) *result.Timing {
	t.mu.Lock()
	defer t.mu.Unlock()
	timing := t.timings[name]
	if timing == nil {
		timing = result.NewTiming(name, timingWords[name])
	}
	if as == "" {
		as = name
	}
	return timing.Clone(as)
}

// Quantile is a percentile, 0 to 100, of what was timed under a name; 0 of nothing.
func (t *Tally) Quantile(name string, q float64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if timing := t.timings[name]; timing != nil {
		return timing.Quantile(q)
	}
	return 0
}

// Glance is how long something takes: the median and the 99th percentile, and of how
// many.
type Glance struct {
	P50, P99 time.Duration
	Count    int64
}

// glanceBack is how many seconds may pass without a report before what was timed last
// says nothing about now.
const glanceBack = 3

// Glances are what was timed under a name in the last whole second with reports, and
// since the tally began.
func (t *Tally) Glances(name string) (last, all Glance) {
	t.mu.Lock()
	defer t.mu.Unlock()
	timing := t.timings[name]
	if timing == nil {
		return last, all
	}
	all = glance(timing.Total())
	intervals, now := timing.Intervals(), int(time.Since(t.start)/time.Second)
	for second := now - 1; second >= max(now-glanceBack, 0) && last.Count == 0; second-- {
		if second < len(intervals) {
			last = glance(intervals[second])
		}
	}
	return last, all
}

// distribution is a histogram of microseconds, packed or not.
type distribution interface {
	TotalCount() int64
	ValueAtPercentile(q float64) int64
}

func glance(h distribution) (g Glance) {
	if g.Count = h.TotalCount(); g.Count > 0 {
		g.P50 = time.Duration(h.ValueAtPercentile(50)) * time.Microsecond
		g.P99 = time.Duration(h.ValueAtPercentile(99)) * time.Microsecond
	}
	return g
}

// Series returns what was counted by the second.
func (t *Tally) Series() (all []result.Series) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range append([]string{"open"}, seriesOf()...) {
		values := t.series[name]
		if !slices.ContainsFunc(values, func(v float64) bool { return v != 0 }) {
			continue
		}
		unit := result.PerSecond
		if name == "open" {
			unit = result.Count
		}
		all = append(all, result.Series{Name: name, Unit: unit, What: seriesWords[name], Values: slices.Clone(values)})
	}
	return all
}

// Wrong is how many echoes and deliveries were not as they should be. What was cut
// with its connection is not among them.
func (t *Tally) Wrong() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, name := range []string{CountMissing, CountRepeated, CountMisrouted, CountGaps, CountAgain} {
		n += t.counts[name]
	}
	return n
}

// Reads are the deliveries by their number.
func (t *Tally) Reads() map[int64]Read {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.reads)
}

// Told is everything that was counted, for a report.
func (t *Tally) Told() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}
