package result

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
	"time"
)

// The size of a chart, in pixels of its own.
const (
	chartWidth  = 720
	chartHeight = 260
	left        = 64 // of the plot: room for the numbers of the axis
	right       = 16
	top         = 12
	bottom      = 36
	plotWidth   = chartWidth - left - right
	plotHeight  = chartHeight - top - bottom
	// colours are the classes of the page's style, one a line.
	colours = 6
)

// line is one line of a chart. Points that are not a number leave a gap.
type line struct {
	name string
	x, y []float64
}

// chart draws lines over an axis. Nothing in it runs: it is a picture.
type chart struct {
	title string
	unit  string // of y
	log   bool   // y by powers of ten
	lines []line
	ticks []tick // of x
	min   float64
	max   float64 // of x
	wide  string  // what x is
}

// tick is a mark on an axis.
type tick struct {
	at    float64
	label string
}

// svg draws.
func (c *chart) svg() template.HTML {
	low, high := c.bounds()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s"><title>%[3]s</title>`,
		chartWidth, chartHeight, html.EscapeString(c.title))
	for _, t := range c.yTicks(low, high) {
		y := c.y(t.at, low, high)
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="y" x="%d" y="%.1f">%s</text>`,
			left, chartWidth-right, y, y, left-8, y+4, html.EscapeString(t.label))
	}
	for _, t := range c.ticks {
		x := c.x(t.at)
		fmt.Fprintf(&b, `<line class="mark" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="x" x="%.1f" y="%d">%s</text>`,
			x, x, top+plotHeight, top+plotHeight+5, x, top+plotHeight+20, html.EscapeString(t.label))
	}
	fmt.Fprintf(&b, `<text class="wide" x="%d" y="%d">%s</text>`, chartWidth-right, chartHeight-2, html.EscapeString(c.wide))
	for i, l := range c.lines {
		c.draw(&b, i%colours, l, low, high)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // Text is escaped above; the rest is numbers.
}

// draw adds a line, interrupted where nothing is known; a point alone is a dot.
func (c *chart) draw(b *strings.Builder, colour int, l line, low, high float64) {
	var run []string
	flush := func() {
		switch len(run) {
		case 0:
		case 1:
			x, y, _ := strings.Cut(run[0], ",")
			fmt.Fprintf(b, `<circle class="c%d" cx="%s" cy="%s" r="2.5"/>`, colour, x, y)
		default:
			fmt.Fprintf(b, `<polyline class="c%d" points="%s"><title>%s</title></polyline>`,
				colour, strings.Join(run, " "), html.EscapeString(l.name))
		}
		run = run[:0]
	}
	for i, y := range l.y {
		if math.IsNaN(y) || c.log && y <= 0 {
			flush()
			continue
		}
		run = append(run, fmt.Sprintf("%.1f,%.1f", c.x(l.x[i]), c.y(y, low, high)))
	}
	flush()
}

func (c *chart) x(v float64) float64 {
	if c.max <= c.min {
		return left
	}
	return left + (v-c.min)/(c.max-c.min)*plotWidth
}

func (c *chart) y(v, low, high float64) float64 {
	if c.log {
		v, low, high = math.Log10(v), math.Log10(low), math.Log10(high)
	}
	return top + plotHeight - (v-low)/(high-low)*plotHeight
}

// bounds returns what the axis of y reaches from and to: from 0, or between
// powers of ten.
func (c *chart) bounds() (low, high float64) {
	low, high = math.Inf(1), 0
	for _, l := range c.lines {
		for _, y := range l.y {
			if !math.IsNaN(y) && (y > 0 || !c.log) {
				low, high = min(low, y), max(high, y)
			}
		}
	}
	switch {
	case high <= 0 && c.log:
		return 1, 10
	case high <= 0:
		return 0, 1
	case c.log:
		low = math.Pow(10, math.Floor(math.Log10(low)))
		return low, max(math.Pow(10, math.Ceil(math.Log10(high))), low*10)
	}
	return 0, high * 1.05
}

// yTicks returns round numbers of the axis.
func (c *chart) yTicks(low, high float64) (all []tick) {
	if c.log {
		for at := low; at <= high*1.001; at *= 10 {
			all = append(all, tick{at, Format(at, c.unit)})
		}
		return all
	}
	scale := 1.0 // Round numbers of bytes are those of a power of 1024.
	for c.unit == Bytes && high/5 >= scale*1024 {
		scale *= 1024
	}
	for at := 0.0; at <= high; at += roundStep(high/5/scale) * scale {
		all = append(all, tick{at, Format(at, c.unit)})
	}
	return all
}

// roundStep returns the next 1, 2 or 5 times a power of ten.
func roundStep(least float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= least {
			return factor * power
		}
	}
	return 10 * power
}

// timeTicks marks seconds of a run.
func timeTicks(seconds int) (all []tick) {
	step := max(roundStep(float64(seconds)/8), 1)
	for at := 0.0; at <= float64(seconds); at += step {
		all = append(all, tick{at, (time.Duration(at) * time.Second).String()})
	}
	return all
}

// Format writes a value of a unit as people read it.
func Format(v float64, unit string) string {
	scaled := func(v float64, step float64, names ...string) string {
		i := 0
		for i < len(names)-1 && math.Abs(v) >= step {
			v, i = v/step, i+1
		}
		return strings.TrimSpace(short(v) + " " + names[i])
	}
	switch unit {
	case Seconds:
		switch size := math.Abs(v); {
		case size == 0:
			return "0"
		case size < 1e-3:
			return short(v*1e6) + " µs"
		case size < 1:
			return short(v*1e3) + " ms"
		}
		return short(v) + " s"
	case Bytes:
		return scaled(v, 1024, "B", "KiB", "MiB", "GiB", "TiB")
	case PerSecond:
		return grouped(v) + "/s"
	}
	return strings.TrimSpace(grouped(v) + " " + unit)
}

// short keeps three digits, or all of a whole number.
func short(v float64) string {
	if near := math.Round(v); math.Abs(v-near) < 1e-6*math.Abs(near) {
		v = near // What floating point made of it.
	}
	switch size := math.Abs(v); {
	case v == math.Trunc(v) && size < 1e6, size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	case size >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// grouped writes large numbers in groups of three digits.
func grouped(v float64) string {
	text := short(v)
	if math.Abs(v) < 1000 || math.Abs(v) > 1e15 {
		return text
	}
	digits := fmt.Sprintf("%.0f", math.Abs(v))
	var b strings.Builder
	if v < 0 {
		b.WriteByte('-')
	}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
