// Package pulse counts what a run through the whole system does as it goes, and shows
// it to whoever watches, with the processor time and memory of the system's processes.
//
//	senders, sockets ──▶ Pulse ──▶ live.Screen, every second
//	            processes ─┘
//
// What is reported in the end is not counted here: that is found by comparing what was
// sent, what arrived and what history says.
package pulse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"switchboard/bench/host"
	"switchboard/bench/live"
	"switchboard/bench/result"
)

// Pulse is what of a run is counted as it goes. It is for any number of goroutines.
type Pulse struct {
	Open atomic.Int64 // connections
	Sent atomic.Int64 // messages
	Owed atomic.Int64 // arrivals that they bring: copies and answers
	Got  atomic.Int64 // and those that were
	Late atomic.Int64 // sends that began over 10 ms after their time

	mu    sync.Mutex
	name  string                  // of what the run does now
	ends  time.Time               // when that should be over; zero: nobody knows
	fresh *hdrhistogram.Histogram // latencies since the last look; nil: none yet
	whole *hdrhistogram.Histogram // and since the run does what it does
}

// Now says what the run does from now on, and how long that should take; 0: nobody
// knows.
func (p *Pulse) Now(name string, lasts time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name, p.ends = name, time.Time{}
	if p.whole != nil {
		p.fresh.Reset()
		p.whole.Reset()
	}
	if lasts > 0 {
		p.ends = time.Now().Add(lasts)
	}
}

// Took counts a latency.
func (p *Pulse) Took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.whole == nil {
		p.fresh, p.whole = newHistogram(), newHistogram()
	}
	micros := min(max(d.Microseconds(), 1), p.whole.HighestTrackableValue())
	_ = p.fresh.RecordValue(micros) // It is in the range.
	_ = p.whole.RecordValue(micros) // Likewise.
}

// Show shows how the run stands every second until stop is called, which takes the
// view away. processes are those of the system, as far as they are known; more are rows
// of the command itself, nil for none.
func (p *Pulse) Show(screen *live.Screen, title string, processes func() []host.Process, more func() []live.Row) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var showing sync.WaitGroup
	e := &eye{pulse: p, title: title, processes: processes, more: more, began: time.Now()}
	showing.Go(func() { screen.Run(ctx, e.look) })
	return func() {
		cancel()
		showing.Wait()
	}
}

// eye looks at a run. All of it is for one goroutine.
type eye struct {
	pulse     *Pulse
	title     string
	processes func() []host.Process
	more      func() []live.Row
	began     time.Time

	last      time.Time // of the look before
	sent, got int64     // then
	cpu       map[string]time.Duration
}

// look is how the run stands.
func (e *eye) look() live.State {
	p := e.pulse
	now := time.Now()
	sent, owed, got, late := p.Sent.Load(), p.Owed.Load(), p.Got.Load(), p.Late.Load()
	s := live.State{Title: e.title, Passed: now.Sub(e.began)}
	p.mu.Lock()
	s.Phase = p.name
	if !p.ends.IsZero() {
		s.Ends = p.ends.Sub(e.began)
	}
	fresh, whole := quantiles(p.fresh), quantiles(p.whole)
	if p.fresh != nil {
		p.fresh.Reset()
	}
	p.mu.Unlock()
	s.Line = fmt.Sprintf("%d open", p.Open.Load())
	s.Rows = []live.Row{{Name: "connections", Text: result.Format(float64(p.Open.Load()), result.Count) + " open"}}
	if sent > 0 {
		s.Line += fmt.Sprintf("  %d sent, %d of them late, %d of %d arrivals", sent, late, got, owed)
		s.Rows = append(s.Rows, e.messages(now, sent, owed, got))
	}
	if whole != "" {
		text := whole + " in this phase"
		if fresh != "" {
			s.Line += "  " + fresh
			text = fresh + " in the last second; " + text
		}
		s.Rows = append(s.Rows, live.Row{Name: "latency", Text: text})
	}
	if sent > 0 {
		s.Rows = append(s.Rows, live.Row{
			Name: "generator", Text: fmt.Sprintf("%d of %d sends late", late, sent), Bad: late > sent/100,
		})
	}
	if e.more != nil {
		s.Rows = append(s.Rows, e.more()...)
	}
	s.Rows = append(s.Rows, e.servers(now)...)
	e.last, e.sent, e.got = now, sent, got
	return s
}

// messages says what is sent and what comes.
func (e *eye) messages(now time.Time, sent, owed, got int64) live.Row {
	text := fmt.Sprintf("%d sent, %d of %d arrivals", sent, got, owed)
	if passed := now.Sub(e.last).Seconds(); !e.last.IsZero() && passed > 0 {
		text = fmt.Sprintf("%s out, %s in; %s", result.Format(float64(sent-e.sent)/passed, result.PerSecond),
			result.Format(float64(got-e.got)/passed, result.PerSecond), text)
	}
	return live.Row{Name: "messages", Text: text}
}

// mostNamed servers are named in a view, those that take most.
const mostNamed = 6

// servers says what the system takes, as far as its processes are known: processor time
// and resident memory, which are there to be read. PSS would have the kernel walk
// through all pages of servers whose latency is being measured.
func (e *eye) servers(now time.Time) []live.Row {
	processes := e.processes()
	if len(processes) == 0 {
		return nil
	}
	cpu := host.CPUTimes(processes)
	passed := now.Sub(e.last).Seconds()
	type share struct {
		name  string
		cores float64
	}
	var shares []share
	var cores, memory float64
	for _, p := range processes {
		memory += float64(host.Resident(p.PID))
		if before, ok := e.cpu[p.Name]; ok && passed > 0 && cpu[p.Name] >= before { // It may have been started again.
			shares = append(shares, share{p.Name, (cpu[p.Name] - before).Seconds() / passed})
			cores += shares[len(shares)-1].cores
		}
	}
	e.cpu = cpu
	rows := []live.Row{{Name: "servers", Text: fmt.Sprintf("%.2f cores, %s resident", cores, result.Format(memory, result.Bytes))}}
	slices.SortStableFunc(shares, func(a, b share) int { return cmp.Compare(b.cores, a.cores) })
	var named []string
	for _, s := range shares[:min(len(shares), mostNamed)] {
		named = append(named, fmt.Sprintf("%s %.2f", s.name, s.cores))
	}
	if len(named) > 0 {
		rows = append(rows, live.Row{Name: "cores", Text: strings.Join(named, ", ")})
	}
	return rows
}

// quantiles are latencies in words; none for none.
func quantiles(h *hdrhistogram.Histogram) string {
	if h == nil || h.TotalCount() == 0 {
		return ""
	}
	at := func(q float64) string { return result.Format(float64(h.ValueAtQuantile(q))/1e6, result.Seconds) }
	return fmt.Sprintf("p50 %s, p99 %s", at(50), at(99))
}

// newHistogram holds latencies in microseconds up to a minute.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }
