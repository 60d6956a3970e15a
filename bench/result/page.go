package result

import (
	_ "embed"
	"html/template"
	"io"
	"math"
	"strings"
)

//go:embed report.html
var pageText string

// page is what the template shows.
type page struct {
	*Result
	State   string // valid, invalid, aborted, failed
	Tiles   []Metric
	Charts  []figure
	Palette [colours]struct{}
}

// figure is a chart with the names of its lines.
type figure struct {
	Title  string
	Legend []string
	SVG    template.HTML
}

// writePage writes the page for people. It loads nothing and runs nothing.
func (r *Result) writePage(w io.Writer) error {
	parsed, err := template.New("report").Funcs(template.FuncMap{
		"format":  Format,
		"command": func(args []string) string { return strings.Join(args, " ") },
		"colour":  func(i int) int { return i % colours },
	}).Parse(pageText)
	if err != nil {
		return err
	}
	p := page{Result: r, State: r.state(), Tiles: r.tiles(), Charts: r.figures()}
	return parsed.Execute(w, p)
}

// state is the one word on top of the page.
func (r *Result) state() string {
	switch {
	case r.Aborted:
		return "aborted"
	case len(r.Invalid) > 0:
		return "invalid"
	case !r.Passed():
		return "failed"
	}
	return "valid"
}

// mostTiles are shown large.
const mostTiles = 6

// tiles are the figures that are shown large: what is judged, one of each timing,
// before what is only told.
func (r *Result) tiles() (all []Metric) {
	for _, name := range r.Headlines {
		if m, ok := r.named(name); ok {
			all = append(all, m)
		}
	}
	if len(all) > 0 {
		return all
	}
	for _, m := range r.Metrics {
		timing, suffix, part := strings.Cut(m.Name, ".")
		if m.Better == Neither || part && r.isTiming(timing) && suffix != "p99" {
			continue
		}
		if len(all) < mostTiles {
			all = append(all, m)
		}
	}
	return all
}

func (r *Result) isTiming(name string) bool {
	for _, t := range r.Timings {
		if t.Name == name {
			return true
		}
	}
	return false
}

// figures are all charts: each timing by the second, all of them by percentile,
// and the series, those of one unit together.
func (r *Result) figures() (all []figure) {
	for _, t := range r.Timings {
		if len(t.seconds) > 1 && t.Count() > 0 {
			all = append(all, t.bySecond().figure())
		}
	}
	if c := r.spectrum(); len(c.lines) > 0 {
		all = append(all, c.figure())
	}
	for _, group := range r.byUnit() {
		c := &chart{unit: group[0].Unit, wide: "time of the run"}
		var names []string
		for _, s := range group {
			x := make([]float64, len(s.Values))
			for i := range x {
				x[i] = float64(i)
			}
			name := s.What
			if name == "" {
				name = s.Name
			}
			names = append(names, name)
			c.lines = append(c.lines, line{name, x, s.Values})
			c.max = max(c.max, float64(len(x)-1))
		}
		c.title, c.ticks = strings.Join(names, ", "), timeTicks(int(c.max))
		all = append(all, c.figure())
	}
	return all
}

func (c *chart) figure() figure {
	f := figure{Title: c.title, SVG: c.svg()}
	for _, l := range c.lines {
		f.Legend = append(f.Legend, l.name)
	}
	return f
}

// byUnit returns the series in groups that share an axis: of one unit, and of
// like size, so that none lies flat on the ground.
func (r *Result) byUnit() (groups [][]Series) {
	highest := func(s Series) (v float64) {
		for _, x := range s.Values {
			v = max(v, x)
		}
		return v
	}
	for _, s := range r.Series {
		if len(s.Values) < 2 {
			continue
		}
		joined := false
		for i, g := range groups {
			a, b := highest(g[0]), highest(s)
			if g[0].Unit == s.Unit && len(g) < colours && a < 20*b && b < 20*a {
				groups[i], joined = append(g, s), true
				break
			}
		}
		if !joined {
			groups = append(groups, []Series{s})
		}
	}
	return groups
}

// bySecond shows a timing over the run.
func (t *Timing) bySecond() *chart {
	c := &chart{
		title: t.What + ", by the second", unit: Seconds, log: true, wide: "time of the run",
		max: float64(len(t.seconds) - 1), ticks: timeTicks(len(t.seconds) - 1),
	}
	for _, of := range []struct {
		name string
		at   func(second int) int64
	}{
		{"median", func(i int) int64 { return t.seconds[i].ValueAtPercentile(50) }},
		{"99th percentile", func(i int) int64 { return t.seconds[i].ValueAtPercentile(99) }},
		{"longest", func(i int) int64 { return t.seconds[i].Max() }},
	} {
		l := line{name: of.name}
		for i, h := range t.seconds {
			y := math.NaN()
			if h.TotalCount() > 0 {
				y = float64(of.at(i)) / 1e6
			}
			l.x, l.y = append(l.x, float64(i)), append(l.y, y)
		}
		c.lines = append(c.lines, l)
	}
	return c
}

// spectrum shows all timings by percentile, each nine of it as wide as the first.
func (r *Result) spectrum() *chart {
	c := &chart{title: "by percentile", unit: Seconds, log: true, wide: "percentile"}
	for _, t := range r.Timings {
		if t.Count() == 0 {
			continue
		}
		l := line{name: t.What}
		nines := math.Log10(float64(t.Count()))
		for x := 0.0; x <= nines; x += 0.05 {
			l.x = append(l.x, x)
			l.y = append(l.y, t.Quantile(100*(1-math.Pow(10, -x))).Seconds())
		}
		c.lines = append(c.lines, l)
		c.max = max(c.max, l.x[len(l.x)-1])
	}
	for i, label := range []string{"0", "90", "99", "99.9", "99.99", "99.999", "99.9999"} {
		if float64(i) <= c.max {
			c.ticks = append(c.ticks, tick{float64(i), label})
		}
	}
	return c
}
