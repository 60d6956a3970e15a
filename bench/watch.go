package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/live"
	"switchboard/bench/result"
	"switchboard/bench/scrape"
)

// watchEvery is how often the gateways are looked at.
const watchEvery = 250 * time.Millisecond

// watch looks at the gateways of a cluster all the time.
type watch struct {
	cluster *cluster
	ports   []uint16
	drip    chan struct{} // closed when the first reader is closed

	once    sync.Once
	newest  atomic.Pointer[moment] // for the view
	moments []moment
	err     error
}

// moment is what the gateways looked like at one time.
type moment struct {
	at      time.Time
	pss     int64
	queued  int64 // bytes in their own queues
	kernel  host.SocketMemory
	skipped float64 // pushes that were not written, so far
	closed  float64 // connections closed with 4003, so far
	others  float64 // with any other code
}

func newWatch(c *cluster, drip chan struct{}) (*watch, error) {
	ports, err := portsOf(c.WS)
	return &watch{cluster: c, ports: ports, drip: drip}, err
}

// run looks until ctx ends. What it could not see it leaves out, and says so at the
// end.
func (w *watch) run(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		m, err := w.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.err = err
			continue
		}
		if n := len(w.moments); n > 0 && m.closed > w.moments[0].closed {
			w.closing()
		}
		w.moments = append(w.moments, m)
		w.newest.Store(&m)
	}
}

// closing says that readers are being closed.
func (w *watch) closing() { w.once.Do(func() { close(w.drip) }) }

func (w *watch) look(ctx context.Context) (m moment, err error) {
	m.at = time.Now()
	for _, p := range w.cluster.processes() {
		if !strings.HasPrefix(p.Name, "gateway-") {
			continue
		}
		pss, err := host.PSS(p.PID)
		if err != nil {
			return m, err
		}
		m.pss += pss
	}
	s := make(scrape.Samples)
	for name, url := range w.cluster.Ops {
		if strings.HasPrefix(name, "gateway-") {
			if err := s.Read(ctx, url+"/metrics"); err != nil {
				return m, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	const closes = "switchboard_gateway_closes_total"
	m.queued = int64(s.Sum("switchboard_gateway_queued_bytes"))
	m.skipped = s.Sum("switchboard_gateway_pushes_skipped_total", `reason="slow"`)
	m.closed = s.Sum(closes, `code="4003"`)
	m.others = s.Sum(closes) - m.closed
	m.kernel, err = host.MemoryOfSockets(w.ports)
	return m, err
}

// rows are what a view tells of the gateways.
func (w *watch) rows() []live.Row {
	m := w.newest.Load()
	if m == nil {
		return nil
	}
	size := func(n int64) string { return result.Format(float64(n), result.Bytes) }
	return []live.Row{
		{Name: "gateways", Text: fmt.Sprintf("PSS %s, queues %s, kernel %s", size(m.pss), size(m.queued), size(m.kernel.Bytes))},
		{Name: "readers", Text: fmt.Sprintf("%.0f pushes left out, %.0f connections closed with 4003, %.0f otherwise", m.skipped, m.closed, m.others)},
	}
}

// series are the moments by the second, from a time on.
func (w *watch) series(from time.Time) []result.Series {
	all := []result.Series{
		{Name: "gateways.pss", Unit: result.Bytes, What: "memory of the gateways"},
		{Name: "gateways.queued", Unit: result.Bytes, What: "what waits in them to be read"},
		{Name: "kernel.sockets", Unit: result.Bytes, What: "what waits in their sockets"},
		{Name: "closed", What: "connections closed with 4003"},
	}
	for _, m := range w.moments {
		second := int(m.at.Sub(from) / time.Second)
		if m.at.Before(from) {
			continue
		}
		for i, value := range []float64{float64(m.pss), float64(m.queued), float64(m.kernel.Bytes), m.closed - w.moments[0].closed} {
			s := &all[i]
			for len(s.Values) <= second { // What was not seen is as it was seen last.
				last := value
				if n := len(s.Values); n > 0 {
					last = s.Values[n-1]
				}
				s.Values = append(s.Values, last)
			}
			s.Values[second] = value
		}
	}
	return all
}

// sum puts what was seen into the report: the means while all read, the highest
// when they did not, and the last. shut is zero if they always read.
func (w *watch) sum(report *slowReport, from, shut time.Time) {
	if w.err != nil {
		report.Unseen = w.err.Error()
	}
	if len(w.moments) == 0 {
		return
	}
	report.series = w.series(from)
	first, last := w.moments[0], w.moments[len(w.moments)-1]
	report.Closed, report.ClosedElse = int(last.closed-first.closed), int(last.others-first.others)
	report.After = weightOf(last)
	var calm []moment
	var stalled, begun, done time.Time
	for _, m := range w.moments {
		switch {
		case m.at.Before(from):
		case shut.IsZero() || m.at.Before(shut):
			calm = append(calm, m)
		default:
			report.Peak.raise(weightOf(m))
		}
		if stalled.IsZero() && !shut.IsZero() && m.at.After(shut) && m.skipped > first.skipped {
			stalled = m.at
		}
		if begun.IsZero() && m.closed > first.closed {
			begun = m.at
		}
		if done.IsZero() && m.closed == last.closed {
			done = m.at
		}
	}
	for _, m := range calm {
		report.Before.add(weightOf(m), len(calm))
	}
	if stalled.IsZero() {
		return // Nobody was left out, or it was not seen.
	}
	report.StalledAfter = stalled.Sub(shut).Seconds()
	if !begun.IsZero() {
		report.ClosedFrom, report.ClosedTo = begun.Sub(stalled).Seconds(), done.Sub(stalled).Seconds()
	}
}

// weight is what the gateways hold at one time, in bytes.
type weight struct {
	PSS    float64 `json:"pss"`
	Queued float64 `json:"queued"`
	Kernel float64 `json:"kernel"`
	Most   float64 `json:"kernel_most"` // of one socket
}

func weightOf(m moment) weight {
	return weight{float64(m.pss), float64(m.queued), float64(m.kernel.Bytes), float64(m.kernel.Most)}
}

// raise keeps the higher of each.
func (w *weight) raise(o weight) {
	w.PSS, w.Queued = max(w.PSS, o.PSS), max(w.Queued, o.Queued)
	w.Kernel, w.Most = max(w.Kernel, o.Kernel), max(w.Most, o.Most)
}

// add makes a mean of n.
func (w *weight) add(o weight, n int) {
	w.PSS += o.PSS / float64(n)
	w.Queued += o.Queued / float64(n)
	w.Kernel += o.Kernel / float64(n)
	w.Most = max(w.Most, o.Most)
}

// portsOf returns the ports of some addresses.
func portsOf(urls []string) (ports []uint16, err error) {
	for _, u := range urls {
		parsed, err := url.Parse(u)
		if err != nil {
			return nil, err
		}
		port, err := strconv.ParseUint(parsed.Port(), 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port of %s: %w", u, err)
		}
		ports = append(ports, uint16(port))
	}
	return ports, nil
}
