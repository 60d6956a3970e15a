package scylla

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"
)

const (
	// timeout is how long one attempt of a statement may take. A node that is
	// frozen, not dead, costs a write this long before another is tried.
	timeout = 1500 * time.Millisecond
	// retries is how often a statement is sent again, each time to the next node.
	retries = 2
	// hedge is how long a read waits before it is sent to a second node as well.
	// Writes are not hedged: where nodes are slow because there is too much to do,
	// that would double it.
	hedge = 250 * time.Millisecond
	// avoidance is how long a node that did not answer is asked last. The nodes
	// need ten to twenty seconds to tell each other, and the driver, that one of
	// them is frozen.
	avoidance = 2 * time.Second
)

// elsewhere sends a statement again to the next node, whatever the reason. It is
// gocql's SimpleRetryPolicy without the rule for lightweight transactions, which
// go to the same node again: gocql 1.19.0 takes every statement on Cassandra for
// one, since the mask it looks for has no bit there (frame.go: flags & 0 == 0).
type elsewhere struct{}

// Attempt implements the driver's retry policy.
func (elsewhere) Attempt(q gocql.RetryableQuery) bool { return q.Attempts() <= retries }

// GetRetryType implements the driver's retry policy. That a statement may have
// been executed does not matter here: all are idempotent.
func (elsewhere) GetRetryType(error) gocql.RetryType { return gocql.RetryNextHost }

// wary asks nodes in the order of another policy, but those last that did not
// answer lately. Once in a while a single statement tries whether such a node is
// back; since the driver tells only of failures, a trial counts as a success when
// nothing was heard of it.
type wary struct {
	gocql.HostSelectionPolicy
	log *slog.Logger
	now func() time.Time

	count  atomic.Int64 // of silent; nearly always 0, and then nothing is looked up
	silent sync.Map     // id of a node → *silence

	alive atomic.Int64 // how many are up
	mu    sync.Mutex
	up    map[string]bool // by id
}

// several reports whether there is a second node to ask. Where there is none a
// hedged read must not be tried: gocql 1.19.0 answers it with ErrNoConnections at
// once, while the only node is still at work on the first.
func (w *wary) several() bool { return w.alive.Load() > 1 }

// AddHost implements the driver's policy.
func (w *wary) AddHost(host *gocql.HostInfo) {
	w.HostSelectionPolicy.AddHost(host)
	w.note(host, true)
}

// RemoveHost implements the driver's policy.
func (w *wary) RemoveHost(host *gocql.HostInfo) {
	w.HostSelectionPolicy.RemoveHost(host)
	w.note(host, false)
}

// HostUp implements the driver's policy.
func (w *wary) HostUp(host *gocql.HostInfo) {
	w.HostSelectionPolicy.HostUp(host)
	w.note(host, true)
}

// HostDown implements the driver's policy.
func (w *wary) HostDown(host *gocql.HostInfo) {
	w.HostSelectionPolicy.HostDown(host)
	w.note(host, false)
}

func (w *wary) note(host *gocql.HostInfo, up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.up == nil {
		w.up = make(map[string]bool)
	}
	if up {
		w.up[host.HostID()] = true
	} else {
		delete(w.up, host.HostID())
	}
	w.alive.Store(int64(len(w.up)))
}

// silence is a node that did not answer.
type silence struct {
	until atomic.Int64 // asked last until then, Unix nanoseconds
	trial atomic.Bool  // a statement has tried since
}

// Pick implements the driver's policy.
func (w *wary) Pick(query gocql.ExecutableQuery) gocql.NextHost {
	next, left := w.HostSelectionPolicy.Pick(query), query.Context().Done()
	var last []gocql.SelectedHost
	return func() gocql.SelectedHost {
		for host := next(); host != nil; host = next() {
			if !w.avoids(host) {
				return watched{host, w, left}
			}
			last = append(last, host)
		}
		if len(last) == 0 {
			return nil
		}
		host := last[0]
		last = last[1:]
		return watched{host, w, left}
	}
}

// avoids reports whether a node is to be asked last. It lets one statement try
// when the time of avoidance is over.
func (w *wary) avoids(host gocql.SelectedHost) bool {
	if w.count.Load() == 0 {
		return false
	}
	found, ok := w.silent.Load(host.Info().HostID())
	if !ok {
		return false
	}
	s, now := found.(*silence), w.now()
	until := s.until.Load()
	switch {
	case now.UnixNano() < until:
		return true
	case s.trial.Load():
		if w.silent.CompareAndDelete(host.Info().HostID(), s) {
			w.count.Add(-1)
		}
		return false
	default: // Whoever moves the time makes the trial.
		mine := s.until.CompareAndSwap(until, now.Add(timeout+hedge).UnixNano())
		s.trial.Store(true)
		return !mine
	}
}

// avoid notes that a node did not answer.
func (w *wary) avoid(host gocql.SelectedHost) {
	s := new(silence)
	s.until.Store(w.now().Add(avoidance).UnixNano())
	if _, known := w.silent.Swap(host.Info().HostID(), s); !known {
		w.count.Add(1)
		w.log.Warn("node does not answer, others are asked first", "node", host.Info().ConnectAddress().String())
	}
}

// watched is a chosen node whose failures are noted.
type watched struct {
	gocql.SelectedHost
	wary *wary
	left <-chan struct{} // closed when whoever asked does not wait any more
}

// Mark implements the driver's chosen host. Without an error nobody waited for
// the answer: a hedged read had it from another node, or whoever asked has left,
// such as a client that hung up, which says nothing of the node.
func (h watched) Mark(err error) {
	if err == nil && !h.abandoned() || errors.Is(err, gocql.ErrTimeoutNoResponse) {
		h.wary.avoid(h.SelectedHost)
	}
	h.SelectedHost.Mark(err)
}

func (h watched) abandoned() bool {
	select {
	case <-h.left:
		return true
	default:
		return false
	}
}
