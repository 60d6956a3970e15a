package result

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// Comparison is one metric before and after: medians, and how far repeated runs
// of one side lay apart.
type Comparison struct {
	Metric
	Before, After float64
	Noise         float64 // as a share of Before, the tolerance included
	Change        float64 // as a share of Before; infinite from 0
	Regression    bool
}

// errBases refuses to compare what cannot be compared.
var (
	errBench = errors.New("they are results of different commands")
	errValid = errors.New("it is invalid or was aborted, so it compares with nothing")
)

// Compare sets several runs of before against several of after, metric by metric
// in the order of the first run, as far as both sides have it. A metric got worse when it went the wrong way by
// more than tolerance, a share, and by more than the spread of the runs of either
// side.
func Compare(before, after []*Result, tolerance float64) ([]Comparison, error) {
	if len(before) == 0 || len(after) == 0 {
		return nil, errors.New("compare nothing")
	}
	for _, r := range slices.Concat(before, after) {
		if r.Bench != before[0].Bench {
			return nil, fmt.Errorf("compare %s with %s: %w", before[0].Bench, r.Bench, errBench)
		}
		if len(r.Invalid) > 0 || r.Aborted {
			return nil, fmt.Errorf("compare the run of %s: %w", r.Started.Format("2006-01-02 15:04:05"), errValid)
		}
	}
	var all []Comparison
	for _, m := range metricsOf(before) {
		was, now := values(before, m.Name), values(after, m.Name)
		if len(was) == 0 || len(now) == 0 {
			continue
		}
		c := Comparison{Metric: m, Before: median(was), After: median(now)}
		switch base := math.Abs(c.Before); {
		case base > 0:
			c.Noise = max(tolerance, spread(was)/base, spread(now)/base)
			c.Change = (c.After - c.Before) / base
		case c.After != c.Before:
			c.Change = math.Copysign(math.Inf(1), c.After)
		}
		worse := c.Change
		if m.Better == Higher {
			worse = -worse
		}
		c.Regression = m.Better != Neither && worse > c.Noise
		all = append(all, c)
	}
	return all, nil
}

// metricsOf are the metrics of some runs, each once.
func metricsOf(results []*Result) (all []Metric) {
	seen := make(map[string]bool)
	for _, r := range results {
		for _, m := range r.Metrics {
			if !seen[m.Name] {
				seen[m.Name], all = true, append(all, m)
			}
		}
	}
	return all
}

// Remarks say what a reader of a comparison must know: what only one side has, what else
// than the code was different, and that nobody knows the noise of a single run.
func Remarks(before, after []*Result) (all []string) {
	for _, side := range []struct {
		name        string
		these, rest []*Result
	}{{"before", before, after}, {"after", after, before}} {
		var names []string
		for _, m := range metricsOf(side.these) {
			if len(values(side.rest, m.Name)) == 0 {
				names = append(names, m.Name)
			}
		}
		if len(names) > 0 {
			all = append(all, fmt.Sprintf("only %s: %s", side.name, strings.Join(names, ", ")))
		}
	}
	was, now := settings(before), settings(after)
	names := maps.Clone(was)
	maps.Copy(names, now)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was[name] != now[name] {
			all = append(all, fmt.Sprintf("%s: %s before, %s after", name, orNone(was[name]), orNone(now[name])))
		}
	}
	for _, side := range []struct {
		name string
		runs int
	}{{"before", len(before)}, {"after", len(after)}} {
		if side.runs == 1 {
			all = append(all, "one run "+side.name+": how far repeated runs lie apart is not known")
		}
	}
	return all
}

func orNone(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}

// settings are the plan and the host of some runs by their names; several values where
// they differ. What changes from run to run by itself is left out.
func settings(results []*Result) map[string]string {
	values := make(map[string][]string)
	add := func(name, value string) {
		if !slices.Contains(values[name], value) {
			values[name] = append(values[name], value)
		}
	}
	for _, r := range results {
		add("kernel", r.Host.Kernel)
		add("processor", fmt.Sprintf("%d × %s", r.Host.Cores, r.Host.CPU))
		add("Go", r.Host.Go)
		for _, s := range r.Plan {
			add("plan, "+s.Name, s.Value)
		}
		for _, s := range r.System {
			if s.Name != "MemAvailable" {
				add("host, "+s.Name, s.Value)
			}
		}
	}
	all := make(map[string]string, len(values))
	for name, v := range values {
		all[name] = strings.Join(slices.Sorted(slices.Values(v)), " or ")
	}
	return all
}

func values(results []*Result, name string) (all []float64) {
	for _, r := range results {
		if m, ok := r.named(name); ok {
			all = append(all, m.Value)
		}
	}
	return all
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// spread is how far the runs of one side lie apart.
func spread(v []float64) float64 { return slices.Max(v) - slices.Min(v) }

// PrintComparison writes the table, and reports whether something got worse.
func PrintComparison(w io.Writer, all []Comparison) (regressed bool) {
	fmt.Fprintf(w, "%-34s %14s %14s %9s %9s\n", "metric", "before", "after", "change", "noise")
	for _, c := range all {
		note := ""
		switch {
		case c.Regression:
			note, regressed = "  WORSE", true
		case c.Better == Neither || math.Abs(c.Change) <= c.Noise:
		default:
			note = "  better"
		}
		fmt.Fprintf(w, "%-34s %14s %14s %+8.1f%% %8.1f%%%s\n",
			c.Name, Format(c.Before, c.Unit), Format(c.After, c.Unit), 100*c.Change, 100*c.Noise, note)
	}
	return regressed
}
