package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"switchboard/bench/host"
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

// sum puts what was seen into the report: the means while all read, the highest
// when they did not, and the last.
func (w *watch) sum(report *slowReport, from, shut time.Time) {
	if w.err != nil {
		report.Unseen = w.err.Error()
	}
	if len(w.moments) == 0 {
		return
	}
	first, last := w.moments[0], w.moments[len(w.moments)-1]
	report.Closed, report.ClosedElse = int(last.closed-first.closed), int(last.others-first.others)
	report.After = weightOf(last)
	var calm []moment
	var stalled, begun, done time.Time
	for _, m := range w.moments {
		switch {
		case m.at.Before(from):
		case m.at.Before(shut):
			calm = append(calm, m)
		default:
			report.Peak.raise(weightOf(m))
		}
		if stalled.IsZero() && m.at.After(shut) && m.skipped > first.skipped {
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
	report.StalledAfter = stalled.Sub(shut).Seconds()
	report.ClosedFrom, report.ClosedTo = begun.Sub(stalled).Seconds(), done.Sub(stalled).Seconds()
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
