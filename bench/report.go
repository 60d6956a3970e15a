package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/HdrHistogram/hdrhistogram-go"

	"switchboard/bench/host"
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

func summarize(h *hdrhistogram.Histogram) latency {
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
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
}

// Complete reports whether everything that was sent is where it belongs, once
// and in order.
func (r *roadReport) Complete() bool {
	return r.Missing+r.Doubled+r.Gaps+r.NotDelivered+r.Repeated+r.Reordered+r.Misplaced == 0 && len(r.Refused) == 0
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
	if r.Late > int64(r.Messages/100) {
		fmt.Fprintln(w, "INVALID: the generator was late for more than 1 % of the sends")
	}
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
