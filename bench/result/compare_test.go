package result

import (
	"strings"
	"testing"
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
