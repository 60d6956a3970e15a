package fanout

import (
	"log/slog"
	"sync"
	"time"

	"switchboard/internal/metrics"
)

// StallAfter is how long a road may stand still, with records on it, before the
// partitions go on without it. It is longer than a leader's ordinary change and
// short enough for the servers that have nothing to do with it.
const StallAfter = 3 * time.Second

// road is one partition that the router writes to: the deliveries of a server,
// or a part of the push log.
type road struct {
	topic     string
	partition int32
}

// roads know how it goes on each road. All partitions of a router share them,
// so that one of them has to find out, and not each.
type roads struct {
	logger *slog.Logger
	large  *metrics.Counter

	mu      sync.Mutex
	traffic map[road]*traffic // of those with something on them
	// full are topics without room: what waits for roads on which nothing moves has
	// filled the producer's share of all of the topic.
	full map[string]bool
}

// traffic is what is under way on one road.
type traffic struct {
	pending int
	moved   time.Time // when something arrived, or the first left
}

func newRoads(cfg Config) *roads {
	return &roads{
		logger:  cfg.Logger,
		large:   cfg.Metrics.Counter("switchboard_router_too_large_records_total"),
		traffic: make(map[road]*traffic),
		full:    make(map[string]bool),
	}
}

// leave notes that a record is being sent.
func (r *roads) leave(k road) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.traffic[k]
	if t == nil {
		t = &traffic{moved: time.Now()}
		r.traffic[k] = t
	}
	t.pending++
}

// arrive notes that a record was acknowledged: the road is open.
func (r *roads) arrive(k road) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.traffic[k]
	if t.stalled() {
		delete(r.full, k.topic)
	}
	t.moved = time.Now()
	r.less(k)
}

// refuse notes that the producer has no room for a record. If nothing moves on any of
// the topic's roads, that is why, and will be so until something does.
func (r *roads) refuse(k road) {
	r.mu.Lock()
	defer r.mu.Unlock()
	full := false
	for other, t := range r.traffic {
		if other.topic != k.topic {
			continue
		}
		if full = t.stalled(); !full {
			return
		}
	}
	if full {
		r.full[k.topic] = true
	}
}

// withdraw takes a leave back.
func (r *roads) withdraw(k road) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.less(k)
}

// less counts one record down; the caller holds mu.
func (r *roads) less(k road) {
	t := r.traffic[k]
	if t.pending--; t.pending == 0 {
		delete(r.traffic, k)
	}
}

// stalled reports whether none has arrived for StallAfter.
func (t *traffic) stalled() bool { return time.Since(t.moved) >= StallAfter }

// blocked reports whether records are on the road and none has arrived for
// StallAfter, or whether there is no room since this is so on another of its topic.
func (r *roads) blocked(k road) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.traffic[k]
	return t != nil && t.stalled() || r.full[k.topic]
}

// tooLarge notes that a record can never be written. Receivers repair by the gap
// rule and /sync.
func (r *roads) tooLarge(k road) {
	r.large.Inc()
	r.logger.Error("a record exceeds the topic's limit and is left out", "topic", k.topic)
}
