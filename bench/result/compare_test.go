package result

import (
	"slices"
	"strings"
	"testing"

	"switchboard/bench/host"
)

// runs are results that differ in one metric.
func runs(better Better, values ...float64) (all []*Result) {
	for _, v := range values {
		r := New("road")
		r.Add("x", v, Count, better, "")
		all = append(all, r)
	}
	return all
}

func TestWhatGotWorse(t *testing.T) {
	for name, tt := range map[string]struct {
		better        Better
		before, after []float64
		want          bool
	}{
		"more of what should be less":        {Lower, []float64{100}, []float64{111}, true},
		"within the tolerance":               {Lower, []float64{100}, []float64{109}, false},
		"less of it":                         {Lower, []float64{100}, []float64{50}, false},
		"less of what should be more":        {Higher, []float64{100}, []float64{80}, true},
		"more of it":                         {Higher, []float64{100}, []float64{300}, false},
		"what is only told":                  {Neither, []float64{100}, []float64{900}, false},
		"within the noise of before":         {Lower, []float64{80, 100, 120}, []float64{130}, false},
		"within the noise of after":          {Lower, []float64{100}, []float64{110, 150, 120}, false},
		"beyond the noise":                   {Lower, []float64{95, 100, 105}, []float64{130, 128, 132}, true},
		"the median counts, not one bad run": {Lower, []float64{100, 100, 100}, []float64{100, 100, 900}, false},
		"from nothing":                       {Lower, []float64{0}, []float64{1}, true},
		"still nothing":                      {Lower, []float64{0}, []float64{0}, false},
	} {
		table, err := Compare(runs(tt.better, tt.before...), runs(tt.better, tt.after...), 0.1)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if got := PrintComparison(&out, table); got != tt.want || strings.Contains(out.String(), "WORSE") != tt.want {
			t.Errorf("%s: got %t\n%s", name, got, out.String())
		}
	}
}

func TestWhatComparesWithNothing(t *testing.T) {
	invalid, aborted, other := runs(Lower, 1), runs(Lower, 1), runs(Lower, 1)
	invalid[0].Invalidate("late")
	aborted[0].Aborted = true
	other[0].Bench = "conn"
	for name, after := range map[string][]*Result{"invalid": invalid, "aborted": aborted, "another command": other, "nothing": nil} {
		if _, err := Compare(runs(Lower, 1), after, 0.1); err == nil {
			t.Errorf("%s was compared", name)
		}
	}
}

// ofHost is a run on some host, by some plan.
func ofHost(kernel, connections string, metrics ...string) *Result {
	r := &Result{
		Bench: "conn", Host: host.Host{Kernel: kernel, CPU: "x", Cores: 2, Load: "0 0 " + connections},
		System: []host.Setting{{Name: "MemAvailable", Value: connections}},
	}
	r.Set("connections", connections)
	for _, name := range metrics {
		r.Add(name, 1, Count, Lower, "")
	}
	return r
}

func TestWhatAComparisonCannotSayIsSaid(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after []*Result
		want          []string
	}{
		"alike, and repeated": {
			before: []*Result{ofHost("6.1", "10", "a"), ofHost("6.1", "10", "a", "b")},
			after:  []*Result{ofHost("6.1", "10", "b", "a"), ofHost("6.1", "10", "a")},
		},
		"one run": {
			before: []*Result{ofHost("6.1", "10", "a")},
			after:  []*Result{ofHost("6.1", "10", "a"), ofHost("6.1", "10", "a")},
			want:   []string{"one run before: how far repeated runs lie apart is not known"},
		},
		"all that differs": {
			before: []*Result{ofHost("6.1", "10", "a", "b"), ofHost("6.1", "10", "a")},
			after:  []*Result{ofHost("6.2", "10", "a", "c", "d"), ofHost("6.1", "20", "a")},
			want: []string{
				"only before: b",
				"only after: c, d",
				"kernel: 6.1 before, 6.1 or 6.2 after",
				"plan, connections: 10 before, 10 or 20 after",
			},
		},
	} {
		if got := Remarks(tt.before, tt.after); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	table, err := Compare([]*Result{ofHost("6.1", "1", "a"), ofHost("6.1", "1", "a", "b")}, []*Result{ofHost("6.1", "1", "b")}, 0.1)
	if err != nil || len(table) != 1 || table[0].Name != "b" {
		t.Errorf("got %+v, %v: what only the second run has is compared, too", table, err)
	}
}
