package crowd

import (
	"sync"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/load"
	"switchboard/bench/result"
	"switchboard/bench/rig"
)

// looks is of how many processes the memory is read in a second, in turn: for each the
// kernel walks all its pages.
const looks = 8

// watch looks at gateways and workers every second.
type watch struct {
	began time.Time
	end   chan struct{}
	once  sync.Once
	ended sync.WaitGroup

	// Owned by the goroutine, until ended.
	gateways, workers, memory, kernel []float64
}

// newWatch begins to look, and calls show after each look.
func newWatch(r *rig.Rig, c *load.Crew, show func(w *watch)) *watch {
	w := &watch{began: time.Now(), end: make(chan struct{})}
	w.ended.Go(func() { w.run(r, c, show) })
	return w
}

// stop ends the looking.
func (w *watch) stop() {
	w.once.Do(func() { close(w.end) })
	w.ended.Wait()
}

func (w *watch) run(r *rig.Rig, c *load.Crew, show func(w *watch)) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	gateways, workers := make(map[int]time.Duration), make(map[int]time.Duration)
	weights := make(map[int]int64)
	last := time.Now()
	// cores is the processor time that processes took since they were last looked at.
	cores := func(seen map[int]time.Duration, pids []int, passed time.Duration) (share float64) {
		for _, pid := range pids {
			now := host.CPUTime(pid)
			if before, ok := seen[pid]; ok {
				share += (now - before).Seconds() / passed.Seconds()
			}
			seen[pid] = now
		}
		return share
	}
	for {
		select {
		case <-w.end:
			return
		case <-ticker.C:
		}
		now := time.Now()
		var pids []int
		for _, p := range r.Processes() {
			pids = append(pids, p.PID)
		}
		memory := weigh(pids, weights, int(now.Sub(w.began)/time.Second)*looks)
		second := max(int(now.Sub(w.began).Round(time.Second)/time.Second)-1, 0)
		put(&w.gateways, second, cores(gateways, pids, now.Sub(last)))
		put(&w.workers, second, cores(workers, c.PIDs(), now.Sub(last)))
		put(&w.memory, second, memory)
		put(&w.kernel, second, float64(host.Slabs()))
		last = now
		show(w)
	}
}

// put sets a second of a series, and those before it that were missed: a look is late
// when the host has much to do.
func put(series *[]float64, second int, v float64) {
	for len(*series) <= second {
		*series = append(*series, v)
	}
	(*series)[second] = v
}

// weigh returns the memory of processes. It reads that of who was never weighed and of
// some others, from one on; what the rest weighed is still so.
func weigh(pids []int, seen map[int]int64, from int) (sum float64) {
	for i, pid := range pids {
		turn := (i - from%len(pids) + len(pids)) % len(pids)
		if _, known := seen[pid]; !known || turn < looks {
			if bytes, err := host.PSS(pid); err == nil { // It may have ended since.
				seen[pid] = bytes
			}
		}
		sum += float64(seen[pid])
	}
	return sum
}

// fill adds what was seen to a result.
func (w *watch) fill(r *result.Result) {
	r.Series = append(r.Series,
		result.Series{Name: "gateways.cpu", What: "cores that the gateways took", Values: w.gateways},
		result.Series{Name: "workers.cpu", What: "cores that the workers took", Values: w.workers},
		result.Series{Name: "gateways.pss", Unit: result.Bytes, What: "memory of the gateways", Values: w.memory},
		result.Series{Name: "kernel.slabs", Unit: result.Bytes, What: "socket objects in the kernel, the host's", Values: w.kernel})
	if n := len(w.memory); n > 0 {
		r.Add("gateways.pss", w.memory[n-1], result.Bytes, result.Neither, "memory of the gateways at the end")
	}
	r.Add("gateways.cpu_share", mean(w.gateways), result.Count, result.Neither, "cores that the gateways took")
	r.Add("workers.cpu_share", mean(w.workers), result.Count, result.Neither, "cores that the workers took")
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(len(values), 1))
}
