package crowd

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"switchboard/bench/live"
	"switchboard/bench/load"
	"switchboard/bench/result"
)

// view is how a run stands while it lasts.
type view struct {
	mu   sync.Mutex
	name string    // of what it does now
	ends time.Time // when that should be over; zero: nobody knows

	// Owned by the goroutine of the watch.
	looks []look
}

// look is what had been counted at one time.
type look struct {
	at     time.Time
	counts map[string]int
}

// looksBack is how many looks rates are of: workers report every second, but not at the
// moment of the look.
const looksBack = 4

// now says what the run does from now on, and how long that should take; 0: nobody
// knows.
func (v *view) now(name string, lasts time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.name, v.ends = name, time.Time{}
	if lasts > 0 {
		v.ends = time.Now().Add(lasts)
	}
}

// rates adds a look and returns what is counted a second by now.
func (v *view) rates(l look) func(names ...string) float64 {
	if v.looks = append(v.looks, l); len(v.looks) > looksBack {
		v.looks = v.looks[1:]
	}
	first := v.looks[0]
	return func(names ...string) (sum float64) {
		passed := l.at.Sub(first.at).Seconds()
		if passed <= 0 {
			return 0
		}
		for _, name := range names {
			sum += float64(l.counts[name] - first.counts[name])
		}
		return sum / passed
	}
}

// opening says that connections are being opened, until there are so many.
func (r *run) opening(total int) {
	missing := max(total-r.crew.All().Open(), 0)
	r.view.now(fmt.Sprintf("opening %s connections", result.Format(float64(total), result.Count)),
		time.Duration(float64(missing)/r.rate*float64(time.Second)))
}

// stands is how the run stands, after a look of the watch at processes.
func (r *run) stands(w *watch) live.State {
	r.view.mu.Lock()
	s := live.State{Title: "bench " + r.result.Bench, Phase: r.view.name, Passed: time.Since(r.began)}
	if !r.view.ends.IsZero() {
		s.Ends = r.view.ends.Sub(r.began)
	}
	r.view.mu.Unlock()
	all, phase := r.crew.All(), r.crew.Phase()
	counts := all.Told()
	per := r.view.rates(look{time.Now(), counts})
	s.Rows = append(s.Rows, connectionRows(all, counts, r.connections, per)...)
	s.Rows = append(s.Rows, messageRows(all, counts, per)...)
	s.Line = logLine(phase)
	for _, name := range []string{load.TimeEcho, load.TimeDelivery, load.TimeBack, load.TimeOpen} {
		last, whole := phase.Glances(name)
		if whole.Count == 0 {
			continue
		}
		text := glance(whole) + " in this phase"
		if last.Count > 0 {
			text = glance(last) + " in the last second; " + text
			s.Line += "  " + name + " " + glance(last)
		}
		s.Rows = append(s.Rows, live.Row{Name: name, Text: text})
	}
	s.Rows = append(s.Rows, generatorRow(all, counts, w), gatewayRow(w))
	return s
}

// glance is a glance in words.
func glance(g load.Glance) string {
	return fmt.Sprintf("p50 %s, p99 %s", result.Format(g.P50.Seconds(), result.Seconds), result.Format(g.P99.Seconds(), result.Seconds))
}

// many is a count in words.
func many(n int) string { return result.Format(float64(n), result.Count) }

// connectionRows say how many connections there are, and what became of others.
func connectionRows(t *load.Tally, counts map[string]int, total int, per func(...string) float64) []live.Row {
	text := fmt.Sprintf("%s of %s open", many(t.Open()), many(total))
	if rate := per(load.CountOpened); rate > 0 {
		text += fmt.Sprintf(", %s opened", result.Format(rate, result.PerSecond))
	}
	failed, closed := t.Causes(load.CountFailed), t.Causes(load.CountClosed)
	text += fmt.Sprintf(", %s failed, %s lost", many(sum(failed)), many(counts[load.CountLost]))
	rows := []live.Row{{Name: "connections", Text: text, Bad: len(failed) > 0}}
	for _, causes := range []struct {
		name string
		all  map[string]int
	}{{load.CountFailed, failed}, {load.CountClosed, closed}} {
		if len(causes.all) > 0 {
			rows = append(rows, live.Row{Name: strings.TrimSpace(causes.name), Text: fmt.Sprint(causes.all), Bad: causes.name == load.CountFailed})
		}
	}
	return rows
}

func sum(causes map[string]int) (n int) {
	for _, c := range causes {
		n += c
	}
	return n
}

// messageRows say what is sent and what comes.
func messageRows(t *load.Tally, counts map[string]int, per func(...string) float64) []live.Row {
	rows := []live.Row{{Name: "bytes", Text: fmt.Sprintf("%s/s out, %s/s in",
		result.Format(per(load.CountBytesOut), result.Bytes), result.Format(per(load.CountBytesIn), result.Bytes))}}
	sent, read := counts[load.CountSent], counts[load.CountReceived]
	if sent+read == 0 {
		return rows
	}
	wrong := t.Wrong()
	text := fmt.Sprintf("%s out, %s in; ", result.Format(per(load.CountSent), result.PerSecond),
		result.Format(per(load.CountEchoed, load.CountReceived), result.PerSecond))
	if sent > 0 {
		text += fmt.Sprintf("%s sent, %s back, ", many(sent), many(counts[load.CountEchoed]))
	}
	if read > 0 {
		text += fmt.Sprintf("%s read, ", many(read))
	}
	return append(rows, live.Row{Name: "messages", Text: text + many(wrong) + " wrong", Bad: wrong > 0})
}

// generatorRow says whether the generator keeps up.
func generatorRow(t *load.Tally, counts map[string]int, w *watch) live.Row {
	text := fmt.Sprintf("%.2f cores", latest(w.workers))
	lag, _ := t.Glances(load.TimeLag)
	if lag.Count > 0 {
		text += ", loops late by " + glance(lag)
	}
	late, sent := counts[load.CountLate], counts[load.CountSent]
	if sent > 0 {
		behind, _ := t.Glances(load.TimeLate)
		text += fmt.Sprintf("; %s of %s sends late", many(late), many(sent))
		if behind.Count > 0 {
			text += ", " + glance(behind)
		}
	}
	return live.Row{Name: "generator", Text: text, Bad: late > sent/100}
}

// gatewayRow says what the servers take. What is not known is left out.
func gatewayRow(w *watch) live.Row {
	text := fmt.Sprintf("%.2f cores", latest(w.gateways))
	if memory := latest(w.memory); memory > 0 {
		text += ", PSS " + result.Format(memory, result.Bytes)
	}
	if kernel := latest(w.kernel); kernel > 0 {
		text += ", kernel " + result.Format(kernel, result.Bytes) + " of socket objects, both ends"
	}
	return live.Row{Name: "gateways", Text: text}
}

func latest(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return values[len(values)-1]
}

// logLine is a part of a run for a log.
func logLine(t *load.Tally) string {
	line := fmt.Sprintf("%d open", t.Open())
	if n := t.Count(load.CountSent); n > 0 {
		line += fmt.Sprintf("  sent %d  back %d  wrong %d  late %d", n, t.Count(load.CountEchoed), t.Wrong(), t.Count(load.CountLate))
	}
	if n := t.Count(load.CountReceived); n > 0 {
		line += fmt.Sprintf("  read %d  wrong %d", n, t.Wrong())
	}
	if failed := t.Causes(load.CountFailed); len(failed) > 0 {
		line += fmt.Sprintf("  failed %v", failed)
	}
	if closed := t.Causes(load.CountClosed); len(closed) > 0 {
		line += fmt.Sprintf("  closed %v", closed)
	}
	return line
}
