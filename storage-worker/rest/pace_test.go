package rest

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/rest/pace"
)

// clocked is a rig whose regulator has a clock that stands until it is moved.
func clocked(t *testing.T, l Limits) (r *rig, pass func(time.Duration)) {
	r = idleRig(t, func(c *Config) { c.Limits = l })
	now := r.users.began
	r.users.now = func() time.Time { return now }
	return r, func(d time.Duration) { now = now.Add(d) }
}

func rate(perSecond, atOnce int) pace.Pace {
	return pace.Pace{PerSecond: perSecond, AtOnce: atOnce}
}

func TestTheNextCallIsLetInAfterTheTimeThatWasTold(t *testing.T) {
	r, pass := clocked(t, Limits{Reads: rate(3, 4), Syncs: rate(7, 2), Marks: rate(1, 1), Writes: rate(1000, 3)})
	const missing = "/api/v1/conversations/00000000-0000-4000-8000-000000000001"
	for _, c := range []struct {
		method, path string
		atOnce       int
		wait         time.Duration
	}{
		{"GET", "/api/v1/gateway", 4, 334 * time.Millisecond},
		{"HEAD", missing + "/messages", 4, 334 * time.Millisecond},
		{"POST", "/api/v1/sync", 2, 143 * time.Millisecond},
		{"POST", missing + "/read", 1, time.Second},
		{"POST", "/api/v1/conversations", 3, time.Millisecond},
		{"PUT", missing + "/members/x", 3, time.Millisecond},
	} {
		call := func() (limited bool) {
			return r.serve(r.request(bob, c.method, c.path, "")).Code == http.StatusTooManyRequests
		}
		pass(time.Minute)
		for n := range c.atOnce {
			if call() {
				t.Fatalf("%s %s: call %d is refused, want %d at once", c.method, c.path, n+1, c.atOnce)
			}
		}
		w := r.serve(r.request(bob, c.method, c.path, ""))
		if c.method != "HEAD" {
			p := r.isProblem(w, 429, chat.RateLimited)
			if got := time.Duration(p.RetryAfterMS) * time.Millisecond; got != c.wait {
				t.Errorf("%s %s: told to wait %v, want %v", c.method, c.path, got, c.wait)
			}
		}
		if got := w.Header().Get("Retry-After"); got != "1" {
			t.Errorf("%s %s: Retry-After %q, want 1", c.method, c.path, got)
		}
		pass(c.wait - time.Millisecond)
		if !call() {
			t.Errorf("%s %s: let in a millisecond before", c.method, c.path)
		}
		pass(time.Millisecond)
		if call() {
			t.Errorf("%s %s: refused although the time has passed", c.method, c.path)
		}
		if !call() {
			t.Errorf("%s %s: two calls let in where one was due", c.method, c.path)
		}
	}
}

func TestKindsAndUsersHaveBucketsOfTheirOwn(t *testing.T) {
	r, _ := clocked(t, Limits{Reads: rate(1, 1), Syncs: rate(1, 1), Searches: rate(1, 1), Marks: rate(1, 1), Writes: rate(1, 1)})
	for k := range kinds {
		for _, u := range []chat.UserID{alice, bob} {
			if err := r.users.admit(u, k); err != nil {
				t.Errorf("the first of %s: %v", kindNames[k], err)
			}
			if err := r.users.admit(u, k); err == nil {
				t.Errorf("the second of %s is let in", kindNames[k])
			}
		}
		if got := r.users.refused[k].Get(); got != 2 {
			t.Errorf("%d of %s are counted, want 2", got, kindNames[k])
		}
	}
}

func TestWhatEachCallIsCountedAs(t *testing.T) {
	for path, methods := range idleRig(t).table() {
		for name, m := range methods {
			want := writes
			switch {
			case strings.HasSuffix(path, "/search"):
				want = searches
			case name == "GET":
				want = reads
			case strings.HasSuffix(path, "/sync"):
				want = syncs
			case strings.HasSuffix(path, "/read"):
				want = marks
			}
			if m.kind != want {
				t.Errorf("%s %s is one of %s, want %s", name, path, kindNames[m.kind], kindNames[want])
			}
		}
	}
}

func TestWithoutLimitsNobodyIsRefused(t *testing.T) {
	r, _ := clocked(t, Limits{})
	for range 5 * RequestsPerUser {
		r.do(alice, 200, nil, "GET", "/api/v1/gateway", "")
	}
	if n := len(r.users.young) + len(r.users.old); n != 0 {
		t.Errorf("%d users are remembered", n)
	}
}

// However often it forgets, it says what one says that forgets nobody.
func TestForgettingGivesNobodyMore(t *testing.T) {
	forgetful := newRegulator(Limits{Reads: rate(2, 6), Writes: rate(5, 5)}, metrics.New())
	everything := newRegulator(Limits{Reads: rate(2, 6), Writes: rate(5, 5)}, metrics.New())
	everything.keep = 1 << 62
	now := forgetful.began
	everything.began = now
	forgetful.now = func() time.Time { return now }
	everything.now = forgetful.now
	random := rand.New(rand.NewPCG(1, 2))
	forgotten := 0
	for range 100_000 {
		now = now.Add(time.Duration(random.ExpFloat64() * float64(50*time.Millisecond)))
		if random.IntN(200) == 0 {
			now = now.Add(time.Duration(random.Int64N(int64(3 * forgetful.keep))))
		}
		u, k := chat.UserID{byte(random.IntN(9))}, []kind{reads, writes}[random.IntN(2)]
		if got, want := forgetful.take(u, k), everything.take(u, k); got != want {
			t.Fatalf("at %v: told to wait %v, want %v", now.Sub(forgetful.began), got, want)
		}
		forgotten += len(everything.young) - len(forgetful.young) - len(forgetful.old)
	}
	if forgotten == 0 {
		t.Error("nobody was ever forgotten: this test shows nothing")
	}
}

func TestTheNumberOfUsersRememberedIsBounded(t *testing.T) {
	r, pass := clocked(t, Limits{Reads: rate(1, 2)})
	user := func(n int) (u chat.UserID) {
		copy(u[:], strconv.Itoa(n))
		return u
	}
	for n := range UsersRemembered {
		r.users.take(user(n), reads)
	}
	late := user(UsersRemembered)
	for range 3 {
		if wait := r.users.take(late, reads); wait != 0 {
			t.Errorf("who comes beyond the bound waits %v", wait)
		}
	}
	r.users.take(user(7), reads)
	if wait := r.users.take(user(7), reads); wait == 0 {
		t.Error("who is remembered is limited no more")
	}
	if got, n := r.users.unknown.Get(), len(r.users.young)+len(r.users.old); got != 3 || n != UsersRemembered {
		t.Errorf("%d calls were without a limit and %d users are remembered, want 3 and %d", got, n, UsersRemembered)
	}
	pass(2 * r.users.keep)
	r.users.take(late, reads)
	if n := len(r.users.young) + len(r.users.old); n != 1 {
		t.Errorf("%d users are remembered after the time in which all buckets fill, want 1", n)
	}
}

func TestOneUserCannotTakeAllPlaces(t *testing.T) {
	r, _ := clocked(t, Limits{})
	for range RequestsPerUser {
		if err := r.users.admit(alice, reads); err != nil {
			t.Fatal(err)
		}
	}
	w := r.refused(alice, chat.Unavailable, "GET", "/api/v1/gateway", "")
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q, want 1", w.Header().Get("Retry-After"))
	}
	r.do(bob, 200, nil, "GET", "/api/v1/gateway", "")
	r.users.leave(alice)
	r.do(alice, 200, nil, "GET", "/api/v1/gateway", "")
	for range RequestsPerUser - 1 {
		r.users.leave(alice)
	}
	if len(r.users.busy) != 0 {
		t.Errorf("%v are busy, want nobody", r.users.busy)
	}
}

// Nothing is kept of who has no good token, and nothing is read.
func TestABadTokenCostsNoMemory(t *testing.T) {
	r, _ := clocked(t, DefaultLimits())
	for n := range 500 {
		req := r.request(alice, "GET", "/api/v1/conversations", "")
		req.Header.Set("Authorization", "Bearer "+strconv.Itoa(n))
		r.isProblem(r.serve(req), 401, chat.Unauthorized)
	}
	if n := len(r.users.young) + len(r.users.busy); n != 0 {
		t.Errorf("%d users are remembered", n)
	}
	if n := r.store.others.Load() + r.store.authorizations.Load(); n != 0 {
		t.Errorf("%d reads of the archive", n)
	}
}
