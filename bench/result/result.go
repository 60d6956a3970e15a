// Package result is what a run of the benchmark leaves behind: one set of figures
// under fixed names, written as files for machines (`result.json`, `series.csv`,
// `latency.hlog`) and as one page for people (`report.html`), and judged by
// thresholds. It measures nothing itself.
//
//	run ──▶ Result: metrics, timings, series ──▶ Output ──▶ DIR/result.json
//	                                              │         DIR/series.csv     by the second
//	                              thresholds ─────┤         DIR/latency.hlog   HdrHistogram, by the second
//	                                              │         DIR/report.html    needs nothing but itself
//	                                              └──▶ exit status
//
// Units are base units: seconds, bytes, counts. A name, once written, keeps its
// meaning: results are compared over years.
package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"switchboard/bench/host"
)

// Schema is the version of result.json. Fields are added, never changed.
const Schema = 1

// fileName is the machine's part of a folder of results.
const fileName = "result.json"

// Result is one run.
type Result struct {
	Schema  int            `json:"schema"`
	Bench   string         `json:"bench"` // the command, such as road
	Command []string       `json:"command"`
	Started time.Time      `json:"started"`
	Seconds float64        `json:"seconds"` // of the measured time
	Build   string         `json:"build"`   // version, commit and Go
	Host    host.Host      `json:"host"`
	System  []host.Setting `json:"system,omitempty"` // what of the host may matter
	Plan    []Setting      `json:"plan,omitempty"`

	Invalid    []string  `json:"invalid,omitempty"` // why the figures say nothing about the system under test
	Aborted    bool      `json:"aborted,omitempty"` // ended by a signal: figures of the time until then
	Metrics    []Metric  `json:"metrics"`
	Timings    []*Timing `json:"timings,omitempty"`
	Series     []Series  `json:"series,omitempty"`
	Thresholds []Verdict `json:"thresholds,omitempty"`
	Notes      []string  `json:"notes,omitempty"`
	Detail     any       `json:"detail,omitempty"` // the command's own report

	// Headlines are the metrics that the page shows large; nil: the first ones that
	// are judged.
	Headlines []string `json:"-"`
}

// Setting is a part of the plan.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Better says which way a metric should go.
type Better string

// The ways.
const (
	Lower   Better = "lower"
	Higher  Better = "higher"
	Neither Better = "" // it is told, and never judged by compare
)

// The units of metrics and series.
const (
	Seconds   = "s"
	Bytes     = "B"
	PerSecond = "1/s"
	Count     = ""
)

// Metric is one figure.
type Metric struct {
	Name   string  `json:"name"` // such as delivery.p99
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`
	Better Better  `json:"better,omitempty"`
	What   string  `json:"what,omitempty"` // in words
}

// Series is a figure by the second of the run.
type Series struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit,omitempty"`
	What   string    `json:"what,omitempty"`
	Values []float64 `json:"values"`
}

// New begins the result of a command.
func New(bench string) *Result {
	return &Result{
		Schema: Schema, Bench: bench, Command: os.Args, Started: time.Now().UTC(),
		Build: host.Build(), Host: host.Describe(), System: host.Settings(),
	}
}

// Set notes a part of the plan.
func (r *Result) Set(name string, value any) {
	r.Plan = append(r.Plan, Setting{name, fmt.Sprint(value)})
}

// Add adds a metric.
func (r *Result) Add(name string, value float64, unit string, better Better, what string) {
	r.Metrics = append(r.Metrics, Metric{name, value, unit, better, what})
}

// AddTiming adds a timing, and its percentiles as metrics.
func (r *Result) AddTiming(t *Timing) {
	r.Timings = append(r.Timings, t)
	for _, q := range quantiles() {
		r.Add(t.Name+"."+q.name, t.Quantile(q.q).Seconds(), Seconds, Lower, t.What+", "+q.what)
	}
	r.Add(t.Name+".max", t.Max().Seconds(), Seconds, Neither, t.What+", the longest")
	r.Add(t.Name+".count", float64(t.Count()), Count, Neither, t.What+", how many")
}

// Tally is a count.
type Tally struct {
	Name string
	N    int
	What string
}

// Counts adds counts as metrics.
func (r *Result) Counts(better Better, counts ...Tally) {
	for _, c := range counts {
		r.Add(c.Name, float64(c.N), Count, better, c.What)
	}
}

// AddCPU adds the processor time of programs by the message, which is given in
// microseconds.
func (r *Result) AddCPU(micros map[string]float64) {
	for _, name := range slices.Sorted(maps.Keys(micros)) {
		r.Add("cpu."+name, micros[name]/1e6, Seconds, Lower, "processor time a message, "+name)
	}
}

// Invalidate says why the run must not be used.
func (r *Result) Invalidate(format string, args ...any) {
	r.Invalid = append(r.Invalid, fmt.Sprintf(format, args...))
}

// metric finds a figure by its name. A percentile alone is that of the first
// timing: p99 means delivery.p99 of a run whose first timing is delivery.
func (r *Result) metric(name string) (Metric, bool) {
	if !strings.Contains(name, ".") && len(r.Timings) > 0 {
		if m, ok := r.named(r.Timings[0].Name + "." + name); ok {
			return m, true
		}
	}
	return r.named(name)
}

func (r *Result) named(name string) (Metric, bool) {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

// Load reads result.json, from the file or from the folder that holds it.
func Load(name string) (*Result, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		name = filepath.Join(name, fileName)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read a result: %w", err)
	}
	r := &Result{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read the result in %s: %w", name, err)
	}
	if r.Schema != Schema || r.Bench == "" {
		return nil, fmt.Errorf("read the result in %s: %w", name, errSchema)
	}
	return r, nil
}

var errSchema = errors.New("it is no result of the benchmark that this version knows")
