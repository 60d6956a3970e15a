package result

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// longest is what a timing can tell apart at the most; more counts as this.
	longest = 10 * time.Minute
	// digits of a time are kept: an error of at most 0.1 %.
	digits = 3
)

// quantile is one of the percentiles that are told of each timing.
type quantile struct {
	name string
	q    float64
	what string
}

func quantiles() []quantile {
	return []quantile{
		{"p50", 50, "median"},
		{"p90", 90, "90th percentile"},
		{"p99", 99, "99th percentile"},
		{"p999", 99.9, "99.9th percentile"},
	}
}

// Timing is how long something took, each time: over all, and by the second of
// the run. It is for one goroutine.
type Timing struct {
	Name string
	What string

	total   *hdrhistogram.Histogram
	seconds []*hdrhistogram.PackedHistogram
}

// NewTiming returns a timing of nothing yet.
func NewTiming(name, what string) *Timing {
	return &Timing{Name: name, What: what, total: hdrhistogram.New(1, longest.Microseconds(), digits)}
}

// NewInterval returns a histogram of microseconds that Merge takes.
func NewInterval() *hdrhistogram.PackedHistogram {
	return hdrhistogram.NewPacked(1, longest.Microseconds(), digits)
}

// Clone returns a copy under a name.
func (t *Timing) Clone(name string) *Timing {
	c := NewTiming(name, t.What)
	c.total.Merge(t.total) // Nothing is dropped: both have the same range.
	for second, h := range t.seconds {
		c.at(second).Merge(h) // Likewise.
	}
	return c
}

// Micros is d as histograms count it.
func Micros(d time.Duration) int64 { return min(max(d.Microseconds(), 1), longest.Microseconds()) }

// Record counts one, in a second of the run.
func (t *Timing) Record(second int, d time.Duration) {
	_ = t.total.RecordValue(Micros(d))      // It is in the range.
	_ = t.at(second).RecordValue(Micros(d)) // Likewise.
}

// Merge adds what was counted elsewhere in a second of the run; nothing is lost.
func (t *Timing) Merge(second int, h *hdrhistogram.PackedHistogram) {
	h.MergeInto(t.total)
	t.at(second).Merge(h)
}

// at returns the histogram of a second. What came before the run is of its
// beginning.
func (t *Timing) at(second int) *hdrhistogram.PackedHistogram {
	for len(t.seconds) <= max(second, 0) {
		t.seconds = append(t.seconds, NewInterval())
	}
	return t.seconds[max(second, 0)]
}

// Count is how many there were.
func (t *Timing) Count() int64 { return t.total.TotalCount() }

// Total is the histogram of all, in microseconds.
func (t *Timing) Total() *hdrhistogram.Histogram { return t.total }

// Intervals are the histograms by the second, in microseconds.
func (t *Timing) Intervals() []*hdrhistogram.PackedHistogram { return t.seconds }

// Quantile returns a percentile of all, 0 to 100; 0 of nothing.
func (t *Timing) Quantile(q float64) time.Duration {
	if t.Count() == 0 {
		return 0
	}
	return time.Duration(t.total.ValueAtQuantile(q)) * time.Microsecond
}

// Max is the longest.
func (t *Timing) Max() time.Duration { return time.Duration(t.total.Max()) * time.Microsecond }

// timingJSON is a timing in result.json. The histogram is in HdrHistogram's own
// encoding, so that results can be added up without loss.
type timingJSON struct {
	Name      string             `json:"name"`
	What      string             `json:"what"`
	Count     int64              `json:"count"`
	Mean      float64            `json:"mean_s"`
	Quantiles map[string]float64 `json:"quantiles_s"`
	Max       float64            `json:"max_s"`
	Histogram string             `json:"histogram_us"`
}

// MarshalJSON writes it.
func (t *Timing) MarshalJSON() ([]byte, error) {
	encoded, err := t.total.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("encode the timing %s: %w", t.Name, err)
	}
	j := timingJSON{
		Name: t.Name, What: t.What, Count: t.Count(), Quantiles: make(map[string]float64),
		Max: t.Max().Seconds(), Histogram: string(encoded),
	}
	if j.Count > 0 {
		j.Mean = t.total.Mean() / 1e6
	}
	for _, q := range quantiles() {
		j.Quantiles[q.name] = t.Quantile(q.q).Seconds()
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads it; what came in which second is in latency.hlog alone.
func (t *Timing) UnmarshalJSON(text []byte) error {
	var j timingJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	total, err := hdrhistogram.Decode([]byte(j.Histogram))
	if err != nil {
		return fmt.Errorf("decode the timing %s: %w", j.Name, err)
	}
	t.Name, t.What, t.total, t.seconds = j.Name, j.What, total, nil
	return nil
}
