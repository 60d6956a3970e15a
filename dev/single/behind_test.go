package single

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"switchboard/client"
	"switchboard/dev/handset"
	"switchboard/internal/bus"
	kfake "switchboard/internal/bus/embedded"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// pair are alice, who writes, and bob, whose device is connected and misses
// something. It has to end complete on the connection that it has.
type pair struct {
	handset.Talk

	t *testing.T
	s *System
}

// newPair starts a system of which one thing will be broken. The hand of its clock
// comes by each half second.
func newPair(t *testing.T, change ...func(*Config)) *pair {
	t.Helper()
	t.Parallel()
	s := start(t, append([]func(*Config){func(c *Config) { c.Heartbeat = 2 * time.Second }}, change...)...)
	p := &pair{t: t, s: s, Talk: handset.Talk{
		Writer: &client.REST{Base: s.URLs().REST, Token: s.tokens(chat.DemoUser("alice"))}, Device: s.device(t, "bob"),
	}}
	var err error
	if p.ID, err = p.Writer.Direct(t.Context(), chat.DemoUser("bob")); err != nil {
		t.Fatal(err)
	}
	p.must(p.Device.AwaitSeq(p.soon(), p.ID, 1))
	p.must(p.Pushes(p.soon()))
	return p
}

// tokens mints those of a user.
func (s *System) tokens(user chat.UserID) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return s.keys.Mint(user, time.Hour) }
}

// device connects a device of the client library until the test ends.
func (s *System) device(t *testing.T, name string) *handset.Device {
	d := handset.Start(handset.Config{
		Base: s.URLs().REST, Token: s.tokens(chat.DemoUser(name)), URL: s.URLs().WebSocket, Name: "phone",
	})
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Errorf("%s's device ended with %v", name, err)
		}
	})
	return d
}

func (p *pair) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// soon ends when no more is waited for.
func (p *pair) soon() context.Context {
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*patience)
	p.t.Cleanup(cancel)
	return ctx
}

// say sends a message.
func (p *pair) say(content string) chat.Seq {
	p.t.Helper()
	seq, err := p.Say(p.soon(), content)
	p.must(err)
	return seq
}

// has waits until bob has everything up to a place.
func (p *pair) has(seq chat.Seq) {
	p.t.Helper()
	p.must(p.Device.AwaitSeq(p.soon(), p.ID, seq))
}

// mended checks that bob was told why he had to sync, that he has everything once
// and in order, and that he has never connected again.
func (p *pair) mended(reason string) {
	p.t.Helper()
	p.must(p.Mended(p.soon(), reason))
	p.t.Logf("behind %q, %d syncs, %d events", p.Device.Behinds(), p.Device.Syncs(), len(p.Device.Applied(p.ID)))
}

// rerouted breaks the way to a device, which is mended so that pushing works.
func (p *pair) rerouted(broken func() error, then ...func() error) {
	p.t.Helper()
	p.must(p.Misses(p.soon(), broken, then...))
	p.mended("routing")
	p.must(p.Pushes(p.soon()))
}

// forgets deletes keys behind the directory's back.
func (p *pair) forgets(keys ...string) func() error {
	return func() error {
		c := goredis.NewClient(&goredis.Options{Addr: p.s.redis.Addr()})
		defer c.Close()
		return c.Del(p.t.Context(), keys...).Err()
	}
}

// What Redis knows of bob, and of the gateway.
func bobsKey() string  { return "r:{" + chat.DemoUser("bob").String() + "}" }
func leaseKey() string { return "g:{" + gatewaySlot + "}" }

// done makes a fault of what cannot fail.
func done(do func()) func() error {
	return func() error { do(); return nil }
}

func TestBehindAfterRedisForgot(t *testing.T) {
	p := newPair(t)
	p.rerouted(done(p.s.redis.Flush))
}

// The lease is held all the while: only the sweep finds out.
func TestBehindAfterRedisForgotOneUser(t *testing.T) {
	p := newPair(t, func(c *Config) { c.Sweep = 3 * time.Second })
	p.rerouted(p.forgets(bobsKey()))
}

// A lost lease says that more may be lost: nobody waits for a sweep, and who has
// lost nothing is told as well.
func TestBehindAfterTheLeaseWasLost(t *testing.T) {
	p := newPair(t)
	carol := p.s.device(t, "carol")
	p.rerouted(p.forgets(bobsKey(), leaseKey()))
	if err := carol.Await(p.soon(), func() bool { return slices.Contains(carol.Behinds(), "routing") }); err != nil {
		t.Errorf("carol was told behind %q, want routing", carol.Behinds())
	}
}

// Routers have given the gateway up, although Redis knows everybody on it.
func TestBehindAfterALeaseThatHadLapsedForLong(t *testing.T) {
	p := newPair(t)
	p.rerouted(done(func() { p.s.redis.Advance(presence.RouteTTL + time.Second) }))
}

// The gateway reads nothing for a moment, and what it would have read is gone.
func TestBehindAfterTheDeliveryTopicWasCut(t *testing.T) {
	p := newPair(t)
	topic := bus.DeliveryTopic(gatewaySlot)
	end := func() int64 {
		_, end, err := p.s.client.Log().Bounds(t.Context(), topic, 0)
		p.must(err)
		return end
	}
	var before int64
	p.rerouted(func() error {
		before = end()
		p.s.broker.Fail(kfake.Fetch, topic, kfake.NotLeader, 6)
		return nil
	}, func() error {
		again(t, func() bool { return end() > before })
		return p.s.broker.DeleteRecords(topic, 0, end())
	})
	if n := p.s.set.Counter("switchboard_gateway_delivery_jumps_total").Get(); n == 0 {
		t.Error("the gateway has not noticed that it lost its place")
	}
}

// Nobody notices anything: that is what the check is for.
func TestBehindOnRecheck(t *testing.T) {
	p := newPair(t, func(c *Config) { c.Recheck = time.Second })
	p.must(p.Misses(p.soon(), p.forgets(bobsKey())))
	p.mended("check")
}

// gauge reads a metric of the system.
func (p *pair) gauge(name string) float64 {
	p.t.Helper()
	var text bytes.Buffer
	p.s.set.Write(&text)
	for line := range strings.Lines(text.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

const (
	skippedSlow     = `switchboard_gateway_pushes_skipped_total{reason="slow"}`
	skippedFleeting = `switchboard_gateway_pushes_skipped_total{reason="fleeting"}`
)

// pour says things, each of 4 KiB, until something holds of what waits for bob,
// who does not read.
func (p *pair) pour(holds func() bool) {
	p.t.Helper()
	for range 100 { // A gateway and the kernel keep some 25 of them.
		if holds() {
			return
		}
		p.say(strings.Repeat("x", 4<<10))
	}
	p.t.Fatal("what waits for one reader has no bound")
}

// patientHeart gives a device that does not read, and so sees no ping, the time
// that a slow reader has.
func patientHeart(c *Config) { c.Heartbeat = 30 * time.Second }

// A reader that stands still for a while: what is fleeting is dropped first, then
// pushing stops, and when the queue has drained he is told.
func TestBehindAfterASlowReader(t *testing.T) {
	p := newPair(t, patientHeart)
	typist := p.s.person(t, "alice", "desk")
	open := p.Device.Shut()
	halfFull := func() bool { return p.gauge("switchboard_gateway_queued_bytes") > 34<<10 }
	p.pour(halfFull)
	before := p.gauge(skippedFleeting)
	again(t, func() bool { // Once in three seconds it gets as far as the queue.
		p.pour(halfFull) // The kernel may have taken more of it meanwhile.
		typist.write("typing", map[string]any{"conversation_id": p.ID, "is_typing": true})
		return p.gauge(skippedFleeting) > before
	})
	if n := p.gauge(skippedSlow); n != 0 {
		t.Errorf("%v messages were dropped before the queue was full", n)
	}
	p.pour(func() bool { return p.gauge(skippedSlow) > 3 })
	queued := 0.0
	again(t, func() bool { // What others are about to read counts as well, for a moment.
		queued = p.gauge("switchboard_gateway_queued_bytes")
		return queued <= 64<<10
	})
	last := p.say("the last one")
	open()
	p.has(last)
	if p.Device.Pushed(p.ID, last) != 0 {
		t.Error("the last message was pushed before the queue had drained")
	}
	p.mended("slow")
	p.must(p.Pushes(p.soon()))
	t.Logf("%v bytes waited, %v pushes and %v fleeting ones were dropped", queued, p.gauge(skippedSlow), p.gauge(skippedFleeting))
}

// A reader that does not come back within 30 seconds is closed with 4003, and has
// everything after it has connected again.
func TestReaderThatIsClosedConnectsAgainAndIsComplete(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the 30 seconds that a slow reader has")
	}
	p := newPair(t, patientHeart)
	open := p.Device.Shut()
	p.pour(func() bool { return p.gauge(skippedSlow) > 0 })
	since := time.Now()
	closed := `switchboard_gateway_closes_total{code="4003",side="server"}`
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for p.gauge(closed) == 0 {
		select {
		case <-ctx.Done():
			t.Fatal("it is not closed")
		case <-time.After(100 * time.Millisecond):
		}
	}
	took := time.Since(since)
	if took < 28*time.Second {
		t.Errorf("closed after %v, want 30 s", took)
	}
	last := p.say("the last one")
	open()
	p.has(last)
	history, err := p.Writer.All(t.Context(), p.ID, 0)
	p.must(err)
	p.must(p.Device.Has(p.ID, history))
	if n := len(p.Device.Opened()); n != 2 {
		t.Errorf("connected %d times, want twice", n)
	}
	t.Logf("closed after %v", took.Round(time.Second))
}
