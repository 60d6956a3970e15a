package system

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"switchboard/dev/handset"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// ward is a cluster in which one thing at a time is broken.
type ward struct {
	*cluster
	redis   *redis.Client
	kafka   *kgo.Client
	address string // of gw-1
}

func newWard(t *testing.T) *ward {
	w := &ward{cluster: newCluster(t, "-gateways=1", "-routers=1", "-workers=1")}
	at := w.servers(t)
	w.redis = redis.NewClient(&redis.Options{Addr: at.Redis})
	t.Cleanup(func() { _ = w.redis.Close() }) // the test is over
	var err error
	if w.kafka, err = kgo.NewClient(kgo.SeedBrokers(at.Kafka)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kafka.Close)
	w.address = hostOf(t, w.WS[0])
	return w
}

// patient is somebody whose device misses something.
type patient struct {
	handset.Talk
	t    *testing.T
	user chat.UserID
}

// patient connects a device to a gateway and has somebody talk to it.
func (w *ward) patient(t *testing.T, name, address string) *patient {
	t.Helper()
	user := chat.DemoUser(name)
	p := &patient{t: t, user: user, Talk: handset.Talk{
		Writer: w.rest(chat.DemoUser("writer to " + name)), Device: w.device(t, user, address),
	}}
	var err error
	if p.ID, err = p.Writer.Direct(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	p.must(p.Pushes(p.soon()))
	return p
}

func (p *patient) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// soon ends when no more is waited for: a sweep and its answer are within it.
func (p *patient) soon() context.Context {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience+30*time.Second)
	p.t.Cleanup(cancel)
	return ctx
}

// mended checks that the device was told why it had to sync, has everything once
// and in order, and has never connected again.
func (p *patient) mended(reason string) {
	p.t.Helper()
	p.must(p.Mended(p.soon(), reason))
	p.t.Logf("behind %q, %d syncs, %d events", p.Device.Behinds(), p.Device.Syncs(), len(p.Device.Applied(p.ID)))
}

// rerouted breaks the way to a device, which is mended so that pushing works.
func (p *patient) rerouted(broken func() error, then ...func() error) {
	p.t.Helper()
	begun := time.Now()
	p.must(p.Misses(p.soon(), broken, then...))
	p.mended("routing")
	p.must(p.Pushes(p.soon()))
	p.t.Logf("it took %v", time.Since(begun).Round(time.Second))
}

// forgets deletes keys behind the directory's back.
func (w *ward) forgets(p *patient, keys ...string) func() error {
	return func() error { return w.redis.Del(p.t.Context(), keys...).Err() }
}

func (p *patient) key() string { return "r:{" + p.user.String() + "}" }

// end returns the end of a delivery topic.
func (w *ward) end(ctx context.Context, topic string) (int64, error) {
	ask := kmsg.NewPtrListOffsetsRequest()
	t, part := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	t.Topic, part.Timestamp = topic, -1
	t.Partitions = append(t.Partitions, part)
	ask.Topics = append(ask.Topics, t)
	answer, err := ask.RequestWith(ctx, w.kafka)
	if err != nil {
		return 0, err
	}
	got := answer.Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		return 0, fmt.Errorf("end of %s: error %d", topic, got.ErrorCode)
	}
	return got.Offset, nil
}

// cut deletes everything in a delivery topic, as retention does.
func (w *ward) cut(ctx context.Context, topic string) error {
	ask := kmsg.NewPtrDeleteRecordsRequest()
	ask.TimeoutMillis = 10_000
	t, part := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	t.Topic, part.Offset = topic, -1
	t.Partitions = append(t.Partitions, part)
	ask.Topics = append(ask.Topics, t)
	answer, err := ask.RequestWith(ctx, w.kafka)
	if err != nil {
		return err
	}
	if code := answer.Topics[0].Partitions[0].ErrorCode; code != 0 {
		return fmt.Errorf("delete records of %s: error %d", topic, code)
	}
	return nil
}

// Each part breaks one thing on real servers. What a gateway notices by its lease
// comes first and one by one, since all its clients are told; the rest is of one
// device or of a gateway of its own.
func TestBehindOnRealServers(t *testing.T) {
	w := newWard(t)
	t.Run("Redis forgot", func(t *testing.T) {
		p := w.patient(t, "forgotten", w.address)
		p.rerouted(func() error { return w.redis.FlushAll(t.Context()).Err() })
	})
	t.Run("the lease was lost", func(t *testing.T) {
		p := w.patient(t, "unleased", w.address)
		p.rerouted(w.forgets(p, p.key(), "g:{gw-1}"))
	})
	t.Run("the lease had lapsed for long", func(t *testing.T) {
		p := w.patient(t, "lapsed", w.address)
		p.rerouted(w.forgets(p, "g:{gw-1}", "b:{gw-1}"))
	})
	t.Run("apart", func(t *testing.T) {
		t.Run("Redis forgot one user", w.forgotOneUser)
		t.Run("the delivery topic was cut", w.topicWasCut)
		t.Run("recheck", w.recheck)
		t.Run("slow reader", w.slowReader)
		t.Run("frozen gateway", w.frozenGateway)
	})
}

// The lease is held all the while: only the sweep finds out, within two minutes.
func (w *ward) forgotOneUser(t *testing.T) {
	t.Parallel()
	p := w.patient(t, "swept", w.address)
	p.rerouted(w.forgets(p, p.key()))
}

// The gateway stands still for less than its lease, and what it would have read is
// gone when it goes on.
func (w *ward) topicWasCut(t *testing.T) {
	t.Parallel()
	g, address := w.gateway(t, "gw-cut")
	p := w.patient(t, "cut", address)
	topic := bus.DeliveryTopic("gw-cut")
	// written waits until more is in the topic than there was before something.
	written := func(something func() error) error {
		before, err := w.end(t.Context(), topic)
		if err == nil {
			err = something()
		}
		g.await("to be written to", func() bool {
			end, err := w.end(t.Context(), topic)
			p.must(err)
			return end > before
		})
		return err
	}
	p.rerouted(func() error {
		g.signal(syscall.SIGSTOP)
		return written(func() error { // It has asked for this already.
			_, err := p.Say(p.soon(), "the answer to its last question")
			return err
		})
	}, func() error {
		return written(func() error {
			_, err := p.Say(p.soon(), "are you really there?")
			return err
		})
	}, func() error {
		if err := w.cut(t.Context(), topic); err != nil {
			return err
		}
		g.signal(syscall.SIGCONT)
		return nil
	})
	if w.metric(t, g.ops, "switchboard_gateway_delivery_jumps_total") == 0 {
		t.Error("the gateway has not noticed that it lost its place")
	}
}

// Nobody notices anything: that is what the check is for.
func (w *ward) recheck(t *testing.T) {
	t.Parallel()
	_, address := w.gateway(t, "gw-check", "-recheck", "2s")
	p := w.patient(t, "checked", address)
	p.must(p.Misses(p.soon(), w.forgets(p, p.key())))
	p.mended("check")
}

// A reader that stands still until its queue is full.
func (w *ward) slowReader(t *testing.T) {
	t.Parallel()
	g, address := w.gateway(t, "gw-slow")
	p := w.patient(t, "slow", address)
	open := p.Device.Shut()
	const skipped = `switchboard_gateway_pushes_skipped_total{reason="slow"}`
	for said := 0; w.metric(t, g.ops, skipped) < 3; said++ {
		if said == 100 { // A gateway and the kernel keep some 25 of them.
			t.Fatal("what waits for one reader has no bound")
		}
		_, err := p.Say(p.soon(), strings.Repeat("x", 4<<10))
		p.must(err)
	}
	queued := w.metric(t, g.ops, "switchboard_gateway_queued_bytes")
	if queued > 64<<10 {
		t.Errorf("%v bytes wait for one reader, want 64 KiB at most", queued)
	}
	last, err := p.Say(p.soon(), "the last one")
	p.must(err)
	open()
	p.must(p.Device.AwaitSeq(p.soon(), p.ID, last))
	p.mended("slow")
	p.must(p.Pushes(p.soon()))
	t.Logf("%v bytes waited, %v pushes were dropped", queued, w.metric(t, g.ops, skipped))
}

// A gateway stands still for longer than its lease. Its users' other devices, on
// another one, get everything at once; those on it do when it goes on.
func (w *ward) frozenGateway(t *testing.T) {
	t.Parallel()
	g, address := w.gateway(t, "gw-ice")
	p := w.patient(t, "frozen", address)
	other := w.device(t, p.user, w.address)
	p.must(other.AwaitSeq(p.soon(), p.ID, 2))
	const frozenFor = presence.LeaseTTL + 5*time.Second
	thaw := time.After(frozenFor)
	g.signal(syscall.SIGSTOP)
	said := 0
	for frozen := true; frozen; said++ {
		select {
		case <-thaw:
			frozen = false
		case <-time.After(200 * time.Millisecond):
		}
		seq, err := p.Say(p.soon(), "while it stands still")
		p.must(err)
		p.must(other.Await(p.soon(), func() bool { return other.Pushed(p.ID, seq) > 0 }))
		if p.Device.Pushed(p.ID, seq) > 0 {
			t.Fatal("the gateway does not stand still")
		}
	}
	g.signal(syscall.SIGCONT)
	last, err := p.Say(p.soon(), "the last one")
	p.must(err)
	p.must(p.Device.AwaitSeq(p.soon(), p.ID, last))
	p.mended("routing")
	p.must(p.Pushes(p.soon()))
	history, err := p.Writer.All(t.Context(), p.ID, 0)
	p.must(err)
	p.must(other.Has(p.ID, history))
	t.Logf("%d messages were said while it stood still", said)
}
