package rest

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// UsersRemembered bounds how many users' buckets are kept, at some 100 bytes each.
// Whoever comes beyond it is served without a limit of their own: so many users
// within a few seconds are held by [RequestsInFlight], and refusing them for what
// others do would be no better.
const UsersRemembered = 100_000

// Pace is how fast one user may call one server: so many times a second, and so
// many at once after a pause. The zero value sets no limit.
type Pace struct{ PerSecond, AtOnce int }

// paceMax bounds both numbers of a pace.
const paceMax = 1_000_000

// String returns the pace as a flag has it: 50/200, or 0.
func (p *Pace) String() string {
	if p.PerSecond == 0 {
		return "0"
	}
	return fmt.Sprintf("%d/%d", p.PerSecond, p.AtOnce)
}

// Set reads a flag: 50/200 is 50 a second and 200 at once, 0 no limit.
func (p *Pace) Set(text string) error {
	if text == "0" {
		*p = Pace{}
		return nil
	}
	rate, burst, _ := strings.Cut(text, "/")
	perSecond, bad := strconv.Atoi(rate)
	atOnce, worse := strconv.Atoi(burst)
	if bad != nil || worse != nil || min(perSecond, atOnce) < 1 || max(perSecond, atOnce) > paceMax {
		return fmt.Errorf("want 0, or two numbers of 1 to %d as in 50/200: that many a second, and at once", paceMax)
	}
	*p = Pace{perSecond, atOnce}
	return nil
}

// interval is the time in which a bucket gets one call back.
func (p *Pace) interval() time.Duration { return time.Second / time.Duration(p.PerSecond) }

// window is the time in which an empty bucket fills.
func (p *Pace) window() time.Duration { return p.interval() * time.Duration(p.AtOnce) }

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
type Limits struct{ Reads, Syncs, Searches, Marks, Writes Pace }

// DefaultLimits are generous to people and their devices: who forms a team adds its
// members one by one. Marks are as fast as on a socket.
func DefaultLimits() Limits {
	return Limits{
		Reads:    Pace{PerSecond: 50, AtOnce: 200},
		Syncs:    Pace{PerSecond: 10, AtOnce: 50},
		Searches: Pace{PerSecond: 10, AtOnce: 50},
		Marks:    Pace{PerSecond: chat.MarksPerSecond, AtOnce: chat.MarkBurst},
		Writes:   Pace{PerSecond: 50, AtOnce: 500},
	}
}

// bucket is the time at which it will be full again, since the regulator began.
type bucket time.Duration

// take takes one call and returns 0, or returns how long it will be until there is
// one to take.
func (b *bucket) take(now time.Duration, p *Pace) (wait time.Duration) {
	full := max(time.Duration(*b), now)
	if wait = full + p.interval() - p.window() - now; wait > 0 {
		return wait
	}
	*b = bucket(full + p.interval())
	return 0
}

// buckets are those of one user.
type buckets [kinds]bucket

// regulator knows how fast each user has called of late.
//
// A full bucket says no more than none, so whoever has not called for as long as
// the slowest bucket takes to fill may be forgotten. Two maps do that without a
// sweep: callers are put into the young one; after that time the young one becomes
// the old one, and the old one, where nobody has been for as long, is dropped.
type regulator struct {
	// Fixed after construction.
	paces    [kinds]Pace
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
		paces: [kinds]Pace{reads: l.Reads, syncs: l.Syncs, searches: l.Searches, marks: l.Marks, writes: l.Writes},
		now:   time.Now, began: time.Now(),
		unknown:  set.Counter(`switchboard_rest_unlimited_total`),
		crowding: set.Counter(`switchboard_rest_refused_total{reason="user_in_flight"}`),
		young:    make(map[chat.UserID]buckets), busy: make(map[chat.UserID]int),
	}
	for k := range kinds {
		r.refused[k] = set.Counter(`switchboard_rest_refused_total{reason="` + kindNames[k] + `"}`)
		if p := &r.paces[k]; p.PerSecond > 0 {
			r.keep = max(r.keep, p.window())
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
	wait = own[k].take(now, p)
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
