package system

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/dev/soak"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// The people of these tests.
const (
	patrons  = 5000
	watchers = 10
	watched  = 1000 // of the patrons; each has a direct conversation with one watcher
	absent   = 20   // of the watched; they do not come back from the kill
)

// club is some thousand people on one gateway of a cluster, and a few on another
// who are told when they come and go.
type club struct {
	t      *testing.T
	site   *soak.Site
	http   *http.Client
	door   atomic.Int32 // which gateway patrons are sent to, as by a load balancer
	syncs  atomic.Int64 // calls that were answered
	online atomic.Int64 // connections that are open
	opened atomic.Int64 // that ever were

	mu   sync.Mutex
	told map[string]map[chat.UserID]int // presence_update by status and user
	last time.Time                      // when the latest of them came
}

// patron is one person with one device.
type patron struct {
	*club
	user   chat.UserID
	rest   *client.REST
	door   *atomic.Int32
	absent atomic.Bool // does not come back after its connection ends
	conn   atomic.Pointer[client.Conn]
}

func newClub(t *testing.T, site *soak.Site) *club {
	c := &club{t: t, site: site, told: make(map[string]map[chat.UserID]int)}
	transport := &http.Transport{MaxConnsPerHost: 64, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	c.http = &http.Client{Transport: transport}
	return c
}

func (c *club) patron(name string, n int, door *atomic.Int32) *patron {
	p := &patron{club: c, user: chat.DemoUser(fmt.Sprint(name, "-", n)), door: door}
	var token atomic.Pointer[string] // Made once: the test's own work is not what is looked at.
	p.rest = &client.REST{Base: c.site.REST[n%len(c.site.REST)], HTTP: c.http, Token: func(context.Context) (string, error) {
		if made := token.Load(); made != nil {
			return *made, nil
		}
		made, err := c.site.Keys.Mint(p.user, time.Hour)
		token.Store(&made)
		return made, err
	}}
	return p
}

// live keeps the person connected as the protocol says: again after a random time
// below a bound that doubles, and /sync each time.
func (p *patron) live(ctx context.Context) {
	for bound := client.BackoffFirst; ctx.Err() == nil && !p.absent.Load(); {
		if p.connection(ctx) {
			bound = client.BackoffFirst
		}
		rest(ctx, rand.N(bound))
		bound = min(2*bound, client.BackoffLast)
	}
}

// connection lives one connection, and reports whether there was one.
func (p *patron) connection(ctx context.Context) bool {
	token, err := p.rest.Token(ctx)
	if err != nil {
		p.t.Error(err)
		return false
	}
	conn, err := client.Dial(ctx, p.site.WS[p.door.Load()], token, "phone")
	if err != nil {
		return false
	}
	defer conn.Drop()
	p.conn.Store(conn)
	p.opened.Add(1)
	p.online.Add(1)
	defer p.online.Add(-1)
	p.sync(ctx)
	for {
		e, err := conn.Next(ctx)
		if err != nil {
			return true
		}
		switch e.Type {
		case "behind":
			p.sync(ctx)
		case "reconnect":
			var ask wire.Reconnect
			if err := json.Unmarshal(e.Data, &ask); err != nil {
				p.t.Errorf("reconnect: %v", err)
			}
			rest(ctx, time.Duration(ask.AfterMS+rand.Int64N(ask.JitterMS+1))*time.Millisecond)
			return true
		case "presence_update":
			p.hear(e.Data)
		}
	}
}

func (p *patron) sync(ctx context.Context) {
	for ctx.Err() == nil {
		if p.rest.Do(ctx, http.MethodPost, "/api/v1/sync", wire.SyncRequest{Limit: 1}, nil) == nil {
			p.syncs.Add(1)
			return
		}
		rest(ctx, time.Second)
	}
}

func (p *patron) hear(data json.RawMessage) {
	var update wire.Presence
	if err := json.Unmarshal(data, &update); err != nil {
		p.t.Errorf("presence_update: %v", err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told[update.Status] == nil {
		p.told[update.Status] = make(map[chat.UserID]int)
	}
	p.told[update.Status][update.UserID]++
	p.last = time.Now()
}

// heard returns how often users were said to be something since it was last asked.
func (c *club) heard(what chat.Presence) map[chat.UserID]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	told := c.told[what.String()]
	delete(c.told, what.String())
	return told
}

// until waits for something.
func (c *club) until(what string, is func() bool) {
	c.t.Helper()
	for late := time.Now().Add(patience); !is(); rest(c.t.Context(), 100*time.Millisecond) {
		if time.Now().After(late) {
			c.t.Fatalf("%s: not after %v; %d are connected", what, patience, c.online.Load())
		}
	}
}

// gather has everybody make the conversations and connect.
func (c *club) gather(ctx context.Context, group *sync.WaitGroup) []*patron {
	var second atomic.Int32
	second.Store(1)
	var all []*patron
	for n := range watchers {
		w := c.patron("watcher", n, &second)
		group.Go(func() { w.live(ctx) })
	}
	for n := range patrons {
		all = append(all, c.patron("patron", n, &c.door))
	}
	var making sync.WaitGroup
	for some := range slices.Chunk(all[:watched], watched/20) {
		making.Go(func() {
			for _, p := range some {
				if _, err := p.rest.Direct(ctx, chat.DemoUser(fmt.Sprint("watcher-", slices.Index(all, p)%watchers))); err != nil {
					c.t.Errorf("make a conversation: %v", err)
				}
			}
		})
	}
	making.Wait()
	c.until("the roster knows the conversations", func() bool {
		now := c.count()
		return now["switchboard_projection_changes_total"] >= watched && now["switchboard_projection_lag_seconds"] == 0
	})
	connect := func(some []*patron, pause time.Duration) {
		for few := range slices.Chunk(some, 50) {
			for _, p := range few {
				group.Go(func() { p.live(ctx) })
			}
			rest(ctx, pause)
		}
	}
	connect(all[watched:], 100*time.Millisecond)
	connect(all[:watched], 500*time.Millisecond)
	c.until("everybody is connected", func() bool { return c.online.Load() == patrons+watchers })
	return all
}

// introduce has those who are watched be announced, and returns of whom their
// watchers know now. On a busy machine some of that is lost; what had no answer from
// the roster is news when they come again.
func (c *club) introduce(people []*patron) (known []*patron) {
	told := make(map[chat.UserID]int)
	for range 3 {
		c.quiet()
		maps.Copy(told, c.heard(chat.Online))
		known = nil
		var missing []*patron
		for _, p := range people[:watched] {
			if told[p.user] > 0 {
				known = append(known, p)
			} else {
				missing = append(missing, p)
			}
		}
		for _, p := range missing {
			p.conn.Load().Drop()
		}
		c.until("everybody is connected", func() bool { return c.online.Load() == patrons+watchers })
	}
	if len(known) < watched/2 {
		c.t.Fatalf("%d of %d were announced as they came", len(known), watched)
	}
	c.t.Logf("%d people, %d of them announced to their watchers", patrons, len(known))
	return known
}

// quiet waits until no presence_update has come for some seconds.
func (c *club) quiet() {
	c.mu.Lock()
	c.last = time.Now()
	c.mu.Unlock()
	c.until("it is quiet", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return time.Since(c.last) > 5*time.Second
	})
}

// counts are what the programs and Redis have counted.
type counts map[string]float64

// count reads all of it, sums over programs and over labels.
func (c *club) count() counts {
	all := make(counts)
	for _, url := range c.site.Ops {
		response, err := http.Get(url + "/metrics")
		if err != nil {
			c.t.Fatal(err)
		}
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), " ")
			n, err := strconv.ParseFloat(value, 64)
			if err == nil && !strings.HasSuffix(name, "_bucket") {
				all[name] += n
			}
		}
		response.Body.Close()
	}
	for name, n := range c.redis("INFO commandstats") {
		all["redis "+name] = n
	}
	return all
}

// redis sends one command without an answer that matters, or INFO commandstats, and
// returns the calls by command.
func (c *club) redis(command string) map[string]float64 {
	conn, err := net.Dial("tcp", c.site.Redis)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, command+"\r\nQUIT\r\n"); err != nil {
		c.t.Fatal(err)
	}
	calls := make(map[string]float64)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		name, stats, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "cmdstat_"), ":calls=")
		if n, _, _ := strings.Cut(stats, ","); ok {
			calls[name], err = strconv.ParseFloat(n, 64)
			if err != nil {
				c.t.Fatal(err)
			}
		}
	}
	return calls
}

// since returns by how much something grew. Programs that were started again count
// from zero, so what they had counted before is left out.
func (c counts) since(before counts, part string) (n float64) {
	for name, now := range c {
		if strings.Contains(name, part) {
			n += max(0, now-before[name])
		}
	}
	return n
}

// report prints one restart in numbers.
func (c *club) report(what string, before, after counts, syncs int64, offline, online map[chat.UserID]int, took time.Duration) {
	var byCommand []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if grown := after[name] - before[name]; strings.HasPrefix(name, "redis ") && grown >= patrons/100 {
			byCommand = append(byCommand, fmt.Sprintf("%s %.0f", strings.TrimPrefix(name, "redis "), grown))
		}
	}
	c.t.Logf("%s, %v: %d presence_update offline, %d online; %.0f hints routed, of these %.0f for the dead; %.0f found to be back; "+
		"%.0f Redis commands (%s); %d /sync answered, %.0f counted by REST",
		what, took.Round(time.Second), sum(offline), sum(online),
		after.since(before, "router_hints_total"), after.since(before, "router_wreck_users_total"), after.since(before, "router_presence_back_total"),
		after.since(before, "redis "), strings.Join(byCommand, ", "), syncs, after.since(before, `rest_requests_total{method="POST",route="/api/v1/sync"`))
}

func sum(told map[chat.UserID]int) (n int) {
	for _, times := range told {
		n += times
	}
	return n
}

// restart has something happen to the gateway with everybody on it, sends them to
// the other one, and returns when all graces are over and what came of it.
func (c *club) restart(what string, known []*patron, coming int64, happen func(), over func() bool, mostSyncs float64) (offline map[chat.UserID]int) {
	c.quiet()
	c.heard(chat.Online)
	c.heard(chat.Offline)
	before, syncs, opened, began := c.count(), c.syncs.Load(), c.opened.Load(), time.Now()
	c.door.Store(1 - c.door.Load())
	happen()
	c.until("everybody is back", func() bool {
		return c.opened.Load()-opened >= patrons-absent && c.online.Load() == coming
	})
	back := time.Since(began)
	c.until("all graces are over", over)
	c.quiet()
	offline, online := c.heard(chat.Offline), c.heard(chat.Online)
	after := c.count()
	c.report(fmt.Sprintf("%s: %d people back after %v", what, coming, back.Round(100*time.Millisecond)),
		before, after, c.syncs.Load()-syncs, offline, online, time.Since(began))
	for _, p := range known {
		if online[p.user] > 0 {
			c.t.Errorf("%s: %v was announced online, who never ceased to be", what, p.user)
		}
	}
	perPerson := func(what string, n, most float64) {
		if n > most*patrons {
			c.t.Errorf("%.0f %s for %d people, want %v each at most", n, what, patrons, most)
		}
	}
	perPerson("Redis commands", after.since(before, "redis "), 30)
	perPerson("calls of /sync", float64(c.syncs.Load()-syncs), mostSyncs)
	perPerson("hints", after.since(before, "router_hints_total"), 2.5)
	return offline
}

// end sends SIGTERM and returns at once.
func (c *club) end(name string) {
	pid, err := c.site.PID(name)
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGTERM)
	}
	if err != nil {
		c.t.Error(err)
	}
}

// A gateway with 5,000 people ends, first by SIGKILL, then drained, then drained
// while Redis forgets everything. Nobody who is back is announced to anybody, and
// the twenty who do not come back from the kill are, once each.
func TestGatewayWithFiveThousandRestarts(t *testing.T) {
	site := newCluster(t, "-gateways=2", "-routers=1", "-workers=2").Site
	c := newClub(t, site)
	ctx, end := context.WithCancel(t.Context())
	var living sync.WaitGroup
	defer living.Wait()
	defer end()
	people := c.gather(ctx, &living)
	known := c.introduce(people)
	began, quiet := c.count(), time.Now()
	rest(ctx, 10*time.Second)
	t.Logf("at rest: %.0f Redis commands a second", c.count().since(began, "redis ")/time.Since(quiet).Seconds())

	offline := c.restart("SIGKILL", known, patrons+watchers-absent, func() {
		for _, p := range known[:absent] {
			p.absent.Store(true)
		}
		if err := site.Kill(ctx, "gateway-1"); err != nil {
			t.Fatal(err)
		}
	}, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.told[chat.Offline.String()]) >= absent
	}, 1.1)
	if len(offline) != absent || sum(offline) != absent {
		t.Errorf("%d were announced offline, %d times in all, want %d once each", len(offline), sum(offline), absent)
	}
	for _, p := range known {
		if told := offline[p.user] > 0; told != p.absent.Load() {
			t.Errorf("%v was announced offline: %v", p.user, told)
		}
	}

	graces := func() func() bool { // Of a drained gateway, and some seconds.
		over := time.Now().Add(25 * time.Second)
		return func() bool { return time.Now().After(over) }
	}
	offline = c.restart("SIGTERM", known, patrons+watchers-absent, func() { c.end("gateway-2") }, graces(), 1.1)
	if len(offline) > 0 {
		t.Errorf("%d were announced offline who were back within the grace", len(offline))
	}
	offline = c.restart("SIGTERM, and Redis forgets", known, patrons+watchers-absent, func() {
		c.end("gateway-1")
		rest(ctx, 14*time.Second) // Their graces end in a second, and nobody knows where they are.
		c.redis("FLUSHALL")
	}, graces(), 2.2) // Once more for `behind`.
	if len(offline) > 0 {
		t.Errorf("%d were announced offline who were forgotten", len(offline))
	}
}
