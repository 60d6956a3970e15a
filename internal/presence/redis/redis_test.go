package redis_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/presence/embedded"
	"switchboard/internal/presence/presencetest"
	"switchboard/internal/presence/redis"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// After many failures the client looks once a second whether its server is
		// back, and notices within that that it was closed.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// start returns an embedded server and a directory on it.
func start(t testing.TB) (*embedded.Server, *redis.Directory) {
	t.Helper()
	server, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server, open(t, server.Addr())
}

func open(t testing.TB, addrs ...string) *redis.Directory {
	t.Helper()
	return openWith(t, redis.Config{Addrs: addrs})
}

func openWith(t testing.TB, cfg redis.Config) *redis.Directory {
	t.Helper()
	d, err := redis.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

func TestDirectoryOnEmbeddedRedis(t *testing.T) {
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		server, _ := start(t)
		var ahead atomic.Int64
		d := openWith(t, redis.Config{
			Addrs: []string{server.Addr()}, Timeout: 10 * time.Second, // What is slow is not what is tested.
			Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		})
		return presencetest.Backend{Directory: d, Sightings: d, Notices: d, Wrecks: d, Advance: func(by time.Duration) {
			ahead.Add(int64(by))
			server.Advance(by)
		}}
	})
}

func TestDirectoryOnRealRedis(t *testing.T) {
	addrs := os.Getenv("SWITCHBOARD_TEST_REDIS")
	if addrs == "" {
		t.Skip("SWITCHBOARD_TEST_REDIS is not set: no real Redis to test against")
	}
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		d := open(t, strings.Split(addrs, ",")...)
		return presencetest.Backend{Directory: d, Sightings: d, Notices: d, Wrecks: d, Advance: time.Sleep}
	})
}

// A Redis that lost its memory knows no lease: the gateway learns it from the
// next renewal, and each session's next registration says that it was lost.
func TestFlushedRedisIsNoticed(t *testing.T) {
	server, d := start(t)
	ctx := t.Context()
	change := presence.Change{
		User:  chat.UserID{1},
		Route: presence.Route{Slot: "gw-1", Boot: 5, Session: 6, Device: "tv"},
	}
	if err := d.Claim(ctx, "gw-1", 5); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Apply(ctx, []presence.Change{change}); err != nil {
		t.Fatal(err)
	}
	server.Flush()
	lapsed, err := d.Renew(ctx, "gw-1", 5)
	if err != nil || !lapsed {
		t.Fatalf("renew after the flush: lapsed %v, err %v", lapsed, err)
	}
	applied, err := d.Apply(ctx, []presence.Change{change})
	if err != nil || !applied[0].Fresh {
		t.Fatalf("register after the flush: got %+v, err %v", applied, err)
	}
}

// An entry that an older release wrote is the oldest, with its whole device, however
// that looks.
func TestEntriesOfAnOlderReleaseAreTheOldest(t *testing.T) {
	server, d := start(t)
	ctx, user := t.Context(), chat.UserID{9}
	devices := []string{"phone", "", "1234567890123 years", "12", "-1 x", " x"}
	for i, device := range devices {
		server.SetField("r:{"+user.String()+"}", fmt.Sprintf("gw-1.0000000000000001.%016x", i), device)
	}
	if err := d.Claim(ctx, "gw-1", 1); err != nil {
		t.Fatal(err)
	}
	young := presence.Route{Slot: "gw-1", Boot: 1, Session: 100, Device: "phone"}
	if _, err := d.Apply(ctx, []presence.Change{{User: user, Route: young, Begins: true}}); err != nil {
		t.Fatal(err)
	}
	places, err := d.Where(ctx, []chat.UserID{user})
	if err != nil || len(places[0].Routes) != len(devices)+1 {
		t.Fatalf("got %+v, %v", places, err)
	}
	for _, r := range places[0].Routes {
		switch {
		case r.Session == young.Session:
			if r.Order != 1 || r.Device != "phone" {
				t.Errorf("the newcomer is %+v, want order 1", r)
			}
		case r.Order != 0 || r.Device != devices[r.Session]:
			t.Errorf("got %+v, want the device %q without an order", r, devices[r.Session])
		}
	}
}

// Where a slot is not used any more no younger boot replaces its last one; when its
// lease has been over for long enough its entries go all the same. Of a slot that was
// forgotten they stay.
func TestEntriesOfASlotThatIsGoneAreRemoved(t *testing.T) {
	for _, forgotten := range []bool{false, true} {
		server, err := embedded.Start()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		var ahead atomic.Int64
		ctx, user, began := t.Context(), chat.UserID{9}, time.Now()
		d := openWith(t, redis.Config{
			Addrs: []string{server.Addr()}, Now: func() time.Time { return began.Add(time.Duration(ahead.Load())) },
		})
		raw := goredis.NewClient(&goredis.Options{Addr: server.Addr()})
		defer raw.Close()
		if err := d.Claim(ctx, "gw-1", 1); err != nil {
			t.Fatal(err)
		}
		change := presence.Change{User: user, Route: presence.Route{Slot: "gw-1", Boot: 1, Session: 1}, Begins: true}
		if _, err := d.Apply(ctx, []presence.Change{change}); err != nil {
			t.Fatal(err)
		}
		const halfADay = 12*time.Hour + time.Minute
		for range 2 { // At first it is gone from the routes only.
			server.Advance(halfADay)
			ahead.Add(int64(halfADay))
			if n := raw.HLen(ctx, "r:{"+user.String()+"}").Val(); n != 1 {
				t.Fatalf("%d entries too early, want 1", n)
			}
			if forgotten {
				raw.Del(ctx, "l:{gw-1}")
			}
			places, err := d.Where(ctx, []chat.UserID{user})
			if known := ahead.Load() > int64(halfADay) && !forgotten; err != nil || places[0].Unknown == known {
				t.Errorf("got %+v, %v, want it known: %v", places, err, known)
			}
		}
		if n := raw.HLen(ctx, "r:{"+user.String()+"}").Val(); n == 1 != forgotten {
			t.Errorf("the slot was forgotten: %v; %d entries are left", forgotten, n)
		}
		seen, err := d.Seen(ctx, []chat.UserID{user})
		if want := began.Add(presence.LeaseTTL).Unix(); err != nil || !forgotten && seen[0].Last.Unix() != want {
			t.Errorf("last seen: got %+v, %v, want %d", seen, err, want)
		}
	}
}

// A server that was restarted has forgotten the script.
func TestAServerThatForgotTheScript(t *testing.T) {
	server, d := start(t)
	raw := goredis.NewClient(&goredis.Options{Addr: server.Addr()})
	defer raw.Close()
	user := chat.UserID{7}
	for i := range uint64(3) {
		gone := presence.Route{Slot: "gw-1", Boot: 1, Session: i}
		applied, err := d.Apply(t.Context(), []presence.Change{
			{User: user, Route: gone, Remove: true},
			{User: user, Route: presence.Route{Slot: "gw-1", Boot: 1, Session: i + 1}, Begins: true},
		})
		if err != nil || !applied[1].Fresh {
			t.Fatalf("session %d: got %+v, %v", i+1, applied, err)
		}
		if err := raw.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if n := raw.HLen(t.Context(), "r:{"+user.String()+"}").Val(); n != 1 {
		t.Errorf("%d entries, want the last", n)
	}
}

// The list of all lives is on one server of a cluster. While that one is away every
// lease is kept, and given back; only a new gateway waits for it.
func TestNoLeaseDependsOnTheListOfLives(t *testing.T) {
	server, d := start(t)
	ctx := t.Context()
	if err := d.Claim(ctx, "gw-1", 1); err != nil {
		t.Fatal(err)
	}
	raw := goredis.NewClient(&goredis.Options{Addr: server.Addr()})
	defer raw.Close()
	if err := raw.Set(ctx, "lives", "no list", 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Advance(presence.LeaseTTL - time.Second)
	if lapsed, err := d.Renew(ctx, "gw-1", 1); err != nil || lapsed {
		t.Fatalf("renew: lapsed %v, err %v", lapsed, err)
	}
	server.Advance(presence.LeaseTTL - time.Second)
	if lapsed, err := d.Renew(ctx, "gw-1", 1); err != nil || lapsed {
		t.Errorf("the lease was not kept: lapsed %v, err %v", lapsed, err)
	}
	if err := d.Release(ctx, "gw-1", 1); err != nil {
		t.Errorf("release: %v", err)
	}
	if raw.Exists(ctx, "g:{gw-1}").Val() != 0 {
		t.Error("the lease is still there")
	}
	if err := d.Claim(ctx, "gw-1", 2); err == nil {
		t.Error("claimed a slot without being on the list")
	}
}

func TestRefusingRedisIsAnError(t *testing.T) {
	server, d := start(t)
	server.Refuse("LOADING Redis is loading the dataset in memory")
	if _, err := d.Where(t.Context(), []chat.UserID{{1}}); err == nil {
		t.Error("a refused look-up counted as an answer")
	}
	if _, err := d.Apply(t.Context(), []presence.Change{{User: chat.UserID{1}}}); err == nil {
		t.Error("a refused registration counted as done")
	}
	if err := d.Claim(t.Context(), "gw-1", 1); err == nil {
		t.Error("a refused lease counted as held")
	}
}

// An entry that something else wrote is left alone and is nobody's place.
func TestForeignFieldsAreNoRoutes(t *testing.T) {
	server, d := start(t)
	user := chat.UserID{9}
	for _, f := range []string{"", "gw-1", "gw-1.1.2", "gw-1.000000000000000x.0000000000000001", "a.b.c.d"} {
		server.SetField("r:{"+user.String()+"}", f, "x")
	}
	places, err := d.Where(t.Context(), []chat.UserID{user})
	if err != nil || places[0].Online || len(places[0].Routes) != 0 {
		t.Fatalf("got %+v, %v", places, err)
	}
}

func BenchmarkWhere(b *testing.B) {
	_, d := start(b)
	ctx := b.Context()
	if err := d.Claim(ctx, "gw-1", 1); err != nil {
		b.Fatal(err)
	}
	users := make([]chat.UserID, 100)
	for i := range users {
		users[i] = chat.UserID{byte(i), 1}
		change := presence.Change{User: users[i], Route: presence.Route{Slot: "gw-1", Boot: 1, Session: uint64(i)}}
		if _, err := d.Apply(ctx, []presence.Change{change}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Where(ctx, users); err != nil {
			b.Fatal(err)
		}
	}
}

// A server that expects TLS hangs up at what we say without.
func TestAServerThatHangsUpMayExpectTLS(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}()
	defer func() { listener.Close(); <-done }()
	d := open(t, listener.Addr().String())
	_, lookup := d.Where(t.Context(), []chat.UserID{{}})
	for what, err := range map[string]error{"look-up": lookup, "claim": d.Claim(t.Context(), "gw-1", 1)} {
		if err == nil || !strings.Contains(err.Error(), "does it expect TLS?") {
			t.Errorf("%s: got %v, want a hint at TLS", what, err)
		}
	}
}
