package result

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
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
// in the order of the first run. A metric got worse when it went the wrong way by
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
	for _, m := range before[0].Metrics {
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
