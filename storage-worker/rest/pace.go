package rest

import (
	"fmt"
	"sync"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/rest/pace"
)

// UsersRemembered bounds how many users' buckets are kept, at some 100 bytes each.
// Whoever comes beyond it is served without a limit of their own: so many users
// within a few seconds are held by [RequestsInFlight], and refusing them for what
// others do would be no better.
const UsersRemembered = 100_000

// kind is what a call is counted as. Each kind has a bucket of its own, so that
// reading fast keeps nobody from writing.
type kind uint8

const (
	reads    kind = iota // what asks for something
	syncs                // POST /sync, the dearest read
	searches             // GET /search, which is dear elsewhere
	marks                // POST …/read
	writes               // what changes a conversation
	kinds
)

// kindNames are also labels of metrics.
var kindNames = [kinds]string{reads: "reads", syncs: "syncs", searches: "searches", marks: "marks", writes: "writes"}

// Limits are the paces of one user on one server.
type Limits struct{ Reads, Syncs, Searches, Marks, Writes pace.Pace }

// DefaultLimits are generous to people and their devices: who forms a team adds its
// members one by one. Marks are as fast as on a socket.
func DefaultLimits() Limits {
	return Limits{
		Reads:    pace.Pace{PerSecond: 50, AtOnce: 200},
		Syncs:    pace.Pace{PerSecond: 10, AtOnce: 50},
		Searches: pace.Pace{PerSecond: 10, AtOnce: 50},
		Marks:    pace.Pace{PerSecond: chat.MarksPerSecond, AtOnce: chat.MarkBurst},
		Writes:   pace.Pace{PerSecond: 50, AtOnce: 500},
	}
}

// buckets are those of one user.
type buckets [kinds]pace.Bucket

// regulator knows how fast each user has called of late.
//
// A full bucket says no more than none, so whoever has not called for as long as
// the slowest bucket takes to fill may be forgotten. Two maps do that without a
// sweep: callers are put into the young one; after that time the young one becomes
// the old one, and the old one, where nobody has been for as long, is dropped.
type regulator struct {
	// Fixed after construction.
	paces    [kinds]pace.Pace
	keep     time.Duration // the longest window
	now      func() time.Time
	began    time.Time
	refused  [kinds]*metrics.Counter
	unknown  *metrics.Counter // calls without a limit
	crowding *metrics.Counter // calls beyond RequestsPerUser

	mu         sync.Mutex
	young, old map[chat.UserID]buckets
	turned     time.Duration       // when young was new
	busy       map[chat.UserID]int // requests that are being worked on
}

func newRegulator(l Limits, set *metrics.Set) *regulator {
	r := &regulator{
		paces: [kinds]pace.Pace{reads: l.Reads, syncs: l.Syncs, searches: l.Searches, marks: l.Marks, writes: l.Writes},
		now:   time.Now, began: time.Now(),
		unknown:  set.Counter(`switchboard_rest_unlimited_total`),
		crowding: set.Counter(`switchboard_rest_refused_total{reason="user_in_flight"}`),
		young:    make(map[chat.UserID]buckets), busy: make(map[chat.UserID]int),
	}
	for k := range kinds {
		r.refused[k] = set.Counter(`switchboard_rest_refused_total{reason="` + kindNames[k] + `"}`)
		if p := &r.paces[k]; p.PerSecond > 0 {
			r.keep = max(r.keep, p.Window())
		}
	}
	set.Gauge(`switchboard_rest_users_remembered`, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(len(r.young) + len(r.old))
	})
	return r
}

// admit lets a call in, which leave must end, or refuses it: `rate_limited` with
// the time after which the next one is let in, if the user does nothing else
// meanwhile.
func (r *regulator) admit(u chat.UserID, k kind) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[u] >= RequestsPerUser {
		r.crowding.Inc()
		return unavailable(fmt.Sprintf("%d requests of yours are being worked on", RequestsPerUser))
	}
	if wait := r.take(u, k); wait > 0 {
		r.refused[k].Inc()
		return &chat.Error{
			Code:       chat.RateLimited,
			Message:    fmt.Sprintf("more than %d %s a second", r.paces[k].PerSecond, kindNames[k]),
			RetryAfter: (wait + time.Millisecond - 1).Truncate(time.Millisecond),
		}
	}
	r.busy[u]++
	return nil
}

func (r *regulator) leave(u chat.UserID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[u]--; r.busy[u] == 0 {
		delete(r.busy, u)
	}
}

// take takes a call from a user's bucket; r.mu is held.
func (r *regulator) take(u chat.UserID, k kind) (wait time.Duration) {
	p := &r.paces[k]
	if p.PerSecond == 0 {
		return 0
	}
	now := r.now().Sub(r.began)
	r.turn(now)
	own, known := r.young[u]
	if !known {
		own, known = r.old[u]
		delete(r.old, u)
	}
	if !known && len(r.young)+len(r.old) >= UsersRemembered {
		r.unknown.Inc()
		return 0
	}
	wait = own[k].Take(now, p)
	r.young[u] = own
	return wait
}

// turn forgets those whose buckets are all full; r.mu is held.
func (r *regulator) turn(now time.Duration) {
	if now-r.turned < r.keep {
		return
	}
	r.old = r.young
	if now-r.turned >= 2*r.keep {
		r.old = nil // There was no call since they became old.
	}
	r.young, r.turned = make(map[chat.UserID]buckets), now
}
