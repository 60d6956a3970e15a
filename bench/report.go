package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/result"
)

// latency sums up a histogram, in milliseconds.
type latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// histogram counts microseconds: of all there was, or of a second of it.
type histogram interface {
	ValueAtPercentile(p float64) int64
	TotalCount() int64
	Max() int64
}

func summarize(h histogram) latency {
	if h.TotalCount() == 0 {
		return latency{}
	}
	at := func(q float64) float64 { return float64(h.ValueAtPercentile(q)) / 1000 }
	return latency{
		Count: h.TotalCount(), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9),
		Max: float64(h.Max()) / 1000,
	}
}

// String is one line of a report.
func (l latency) String() string {
	return fmt.Sprintf("p50 %.2f ms  p90 %.2f  p99 %.2f  p99.9 %.2f  max %.2f  (%d)",
		l.P50, l.P90, l.P99, l.P999, l.Max, l.Count)
}

// roadReport is the result of `bench road`.
type roadReport struct {
	Rate     int       `json:"rate"`
	Seconds  float64   `json:"seconds"`
	Messages int       `json:"messages"`
	Seed     uint64    `json:"seed"`
	Host     host.Host `json:"host"`

	Delivery latency `json:"delivery"` // intended send to a member's socket
	Answer   latency `json:"answer"`   // intended send to message_sent
	// Series is Delivery by the second in which the message should have been
	// sent: a stall shows as some bad seconds among good ones.
	Series []latency `json:"series"`

	Missing      int            `json:"missing"`       // not in history
	Doubled      int            `json:"doubled"`       // in history twice
	Gaps         int            `json:"gaps"`          // seq not dense
	NotDelivered int            `json:"not_delivered"` // in history, not on a member's socket
	Repeated     int            `json:"repeated"`      // twice on one socket
	Reordered    int            `json:"reordered"`     // against seq on one socket
	Misplaced    int            `json:"misplaced"`     // another seq than in history
	Refused      map[string]int `json:"refused,omitempty"`

	Late     int64              `json:"late"`              // sends over 10 ms behind schedule
	BenchCPU float64            `json:"bench_cpu_seconds"` // of the generator
	Inside   *inside            `json:"inside,omitempty"`
	CPU      map[string]float64 `json:"cpu_us_per_message,omitempty"`

	started          time.Time
	aborted          bool
	delivery, answer *result.Timing
}

// Complete reports whether everything that was sent is where it belongs, once
// and in order.
func (r *roadReport) Complete() bool {
	return r.wrong() == 0 && len(r.Refused) == 0
}

func (r *roadReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%d messages in %.0f s, %d/s on schedule, seed %d\n", r.Host, r.Messages, r.Seconds, r.Rate, r.Seed)
	fmt.Fprintf(w, "delivery      %s\nmessage_sent  %s\n", r.Delivery, r.Answer)
	fmt.Fprintf(w, "missing %d  doubled %d  gaps %d  not delivered %d  repeated %d  reordered %d  misplaced %d  refused %v\n",
		r.Missing, r.Doubled, r.Gaps, r.NotDelivered, r.Repeated, r.Reordered, r.Misplaced, r.Refused)
	fmt.Fprintf(w, "generator: %d sends late, %.1f s CPU\n", r.Late, r.BenchCPU)
	printCPU(w, r.CPU)
	if r.Inside != nil {
		r.Inside.write(w)
	}
}

// wrong counts what is not as it should be, beside refusals.
func (r *roadReport) wrong() int {
	return r.Missing + r.Doubled + r.Gaps + r.NotDelivered + r.Repeated + r.Reordered + r.Misplaced
}

// roadMetrics are the names of a road's figures.
func roadMetrics() []string {
	return append(result.TimingNames("delivery", "answer"), "lost", "missing", "doubled", "gaps", "not_delivered", "repeated", "reordered",
		"misplaced", "refused", "wrong", "late", "rate", "bench.cpu_share", "cpu.*", "hop.*")
}

// result says it in the words of all results.
func (r *roadReport) result() *result.Result {
	out := result.New("road")
	out.Started, out.Seconds, out.Aborted, out.Detail = r.started.UTC(), r.Seconds, r.aborted, r
	out.Set("rate", fmt.Sprintf("%d messages a second", r.Rate))
	out.Set("seed", r.Seed)
	out.Set("mix", fmt.Sprintf("%.0f %% direct, the rest in groups of %d", directShare*100, groupSize))
	out.Headlines = []string{"delivery.p50", "delivery.p99", "delivery.max", "wrong", "rate", "late"}
	out.AddTiming(r.delivery)
	out.AddTiming(r.answer)
	refused := 0
	for _, n := range r.Refused {
		refused += n
	}
	out.Counts(result.Lower,
		result.Tally{Name: "lost", N: r.Missing + r.NotDelivered, What: "not in history, or not on a member's socket"},
		result.Tally{Name: "missing", N: r.Missing, What: "not in history"},
		result.Tally{Name: "doubled", N: r.Doubled, What: "in history twice"},
		result.Tally{Name: "gaps", N: r.Gaps, What: "holes in the numbers of a conversation"},
		result.Tally{Name: "not_delivered", N: r.NotDelivered, What: "in history, and not on a member's socket"},
		result.Tally{Name: "repeated", N: r.Repeated, What: "twice on a socket"},
		result.Tally{Name: "reordered", N: r.Reordered, What: "against the order of history on a socket"},
		result.Tally{Name: "misplaced", N: r.Misplaced, What: "in another place than in history"},
		result.Tally{Name: "refused", N: refused, What: "refused"},
		result.Tally{Name: "wrong", N: r.wrong() + refused, What: "all of these"})
	out.Add("late", float64(r.Late), result.Count, result.Neither, "sends that began over 10 ms after their time")
	out.Add("rate", float64(r.Rate), result.PerSecond, result.Neither, "messages on schedule")
	out.Add("bench.cpu_share", r.BenchCPU/max(r.Seconds, 1e-9), result.Count, result.Neither, "cores that the generator took")
	out.AddCPU(r.CPU)
	if r.Inside != nil {
		for _, h := range r.Inside.Hops {
			out.Add("hop."+h.Metric+".p99", h.P99/1e3, result.Seconds, result.Neither, h.Name+", 99th percentile")
		}
	}
	if r.Late > int64(r.Messages/100) {
		out.Invalidate("the generator was late for %d of %d sends, more than 1 %%", r.Late, r.Messages)
	}
	return out
}

// writeJSON writes a report to a file; no name, no file.
func writeJSON(name string, report any) error {
	if name == "" {
		return nil
	}
	encoded, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := os.WriteFile(name, append(encoded, '\n'), 0o644); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
