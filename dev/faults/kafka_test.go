package faults

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"switchboard/dev/servers"
	"switchboard/internal/bus"
	"switchboard/internal/bus/bustest"
	"switchboard/internal/bus/kafka"
)

// TestBusOnThreeBrokers is one cluster's life: the suite with three replicas,
// then one fault after the other under load.
func TestBusOnThreeBrokers(t *testing.T) {
	set := start(t, servers.Config{Kafka: 3})
	addrs := addresses(t, set, "KAFKA")
	client := connect(t, addrs)
	t.Run("suite", func(t *testing.T) {
		bustest.Run(t, func(t *testing.T) *bustest.Bus { return bus3(connect(t, addrs)) })
	})
	for _, fault := range []struct {
		name string
		do   func(t *testing.T, set *servers.Set, broker string) (undo func())
	}{
		{"killed", killed},
		{"frozen", frozen},
	} {
		t.Run("a broker is "+fault.name, func(t *testing.T) {
			first := 0 // Of the addresses that clients are given: the worst.
			if controller(t, addrs) == 1 {
				first = 1
			}
			l := produce(t, client, 3)
			undo := sync.OnceFunc(fault.do(t, set, set.Names()[first]))
			defer undo()
			l.goesOn(t)
			undo()
			l.end(t, "one of three brokers "+fault.name)
		})
		t.Run("the controller is "+fault.name, func(t *testing.T) {
			active := controller(t, addrs)
			l := produce(t, client, 3)
			undo := sync.OnceFunc(fault.do(t, set, set.Names()[active-1]))
			defer undo() // Or what comes next would find two away.
			l.goesOn(t)
			undo()
			l.end(t, "the controller "+fault.name)
		})
	}
}

// TestBusOnOneBroker is the smallest site: while its broker is dead nothing goes
// on, and afterwards everything does.
func TestBusOnOneBroker(t *testing.T) {
	set := start(t, servers.Config{Kafka: 1})
	client := connect(t, addresses(t, set, "KAFKA"))
	for what, fault := range map[string]func(*testing.T, *servers.Set, string) func(){"killed": killed, "frozen": frozen} {
		l := produce(t, client, 1)
		undo := fault(t, set, "kafka")
		pass(t.Context(), 3*time.Second)
		undo()
		l.end(t, "the only broker "+what)
	}
}

func killed(t *testing.T, set *servers.Set, broker string) (undo func()) {
	kill(t, set, broker)
	return func() { restart(t, set, broker) }
}

func frozen(t *testing.T, set *servers.Set, broker string) (undo func()) {
	return freeze(t, set, broker)
}

func connect(t *testing.T, addrs []string) *kafka.Client {
	t.Helper()
	client := kafka.Open(kafka.Config{Brokers: addrs, ClientID: "faults", Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(client.Close)
	return client
}

// bus3 is what the suite needs, with three replicas.
func bus3(client *kafka.Client) *bustest.Bus {
	return &bustest.Bus{
		Producer: func(t *testing.T, pendingBytes int) (bus.Producer, func()) {
			return bustest.Running(t, client.Producer(kafka.ProducerConfig{PendingBytes: pendingBytes, Flush: 100 * time.Millisecond}))
		},
		Group: func(topic, group string) bus.Group {
			return client.Group(topic, group, kafka.GroupConfig{Heartbeat: 50 * time.Millisecond, Session: 6 * time.Second, Rebalance: time.Second})
		},
		Log: client.Log(), Admin: client.Admin(), Replication: 3,
	}
}

// controller returns the id of the broker that is the active controller: of the
// brokers themselves Metadata names just any.
func controller(t *testing.T, addrs []string) int {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	request.Topics = append(request.Topics, topic)
	answer, err := client.Request(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	leader := int(answer.(*kmsg.DescribeQuorumResponse).Topics[0].Partitions[0].LeaderID)
	if leader < 1 || leader > len(addrs) {
		t.Fatalf("broker %d is the controller, of %d", leader, len(addrs))
	}
	return leader
}

const loadPartitions = 8

// traffic is a producer that numbers what it writes to each partition, and a
// member of a group that reads it.
type traffic struct {
	client *kafka.Client
	topic  string
	stop   context.CancelFunc
	work   sync.WaitGroup

	asked, acked [loadPartitions]atomic.Int64
	seen         [loadPartitions]atomic.Int64 // the offset that the group reads next
	lastAck      atomic.Int64                 // Unix nanoseconds
	gap          atomic.Int64                 // the longest time without an acknowledgement
	wrong        atomic.Pointer[error]
}

// produce begins the traffic and returns when each partition moves.
func produce(t *testing.T, client *kafka.Client, replicas int) *traffic {
	t.Helper()
	l := &traffic{client: client, topic: "faults." + strings.ToLower(rand.Text())}
	made := []bus.Topic{{Name: l.topic, Partitions: loadPartitions, Durable: true}}
	for begun := time.Now(); ; pass(t.Context(), 100*time.Millisecond) { // The former fault may still be felt.
		created, err := client.Admin().Ensure(t.Context(), made, replicas)
		if len(created) == 1 && err == nil {
			break
		}
		if time.Since(begun) > patience {
			t.Fatalf("make %s: %v", l.topic, err)
		}
	}
	if err := client.Admin().Check(t.Context(), made, replicas); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	producer := client.Producer(kafka.ProducerConfig{Flush: patience})
	l.work.Go(func() { l.fail(producer.Run(ctx)) })
	l.work.Go(func() { l.write(ctx, producer) })
	l.work.Go(func() { l.read(ctx, l.topic) })
	l.goesOn(t)
	l.gap.Store(0)
	return l
}

func (l *traffic) fail(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		l.wrong.CompareAndSwap(nil, &err)
	}
}

// write writes eight records every few milliseconds, one to each partition.
func (l *traffic) write(ctx context.Context, producer bus.Producer) {
	for ; ctx.Err() == nil; pass(ctx, 4*time.Millisecond) {
		for p := range int32(loadPartitions) {
			n := l.asked[p].Load()
			m := bus.Message{Topic: l.topic, Partition: p, Value: fmt.Append(nil, n)}
			err := producer.Produce(m, func(offset int64, err error) { l.ack(p, n, offset, err) })
			if err == nil {
				l.asked[p].Add(1)
			} else if !errors.Is(err, bus.ErrOverloaded) && !errors.Is(err, bus.ErrClosed) {
				l.fail(err)
			}
		}
	}
}

// ack counts an acknowledgement. They come in order, each with its own offset; a
// repeated request may be answered without one.
func (l *traffic) ack(p int32, n, offset int64, err error) {
	if err != nil || offset >= 0 && offset != n || l.acked[p].Load() != n {
		l.fail(fmt.Errorf("record %d of partition %d is acknowledged at %d after %d others: %w", n, p, offset, l.acked[p].Load(), err))
	}
	l.acked[p].Add(1)
	now := time.Now().UnixNano()
	if since := now - l.lastAck.Swap(now); since < int64(time.Hour) && since > l.gap.Load() {
		l.gap.Store(since)
	}
}

// read is a member of a group; it goes on where it committed.
func (l *traffic) read(ctx context.Context, group string) {
	l.fail(l.client.Group(l.topic, group, kafka.GroupConfig{}).Run(ctx, func(ctx context.Context, claim bus.Claim) error {
		p := claim.Partition()
		next := max(claim.Committed(), 0)
		reader := l.client.Log().Open(l.topic, p, next)
		defer reader.Close()
		for {
			records, err := reader.Next(ctx)
			if err != nil {
				return err
			}
			for i := range records {
				if string(records[i].Value) != fmt.Sprint(next) || records[i].Offset != next {
					return fmt.Errorf("partition %d has %q at %d, want %d", p, records[i].Value, records[i].Offset, next)
				}
				next++
			}
			l.seen[p].Store(next)
			if err := claim.Commit(ctx, next); err != nil {
				continue // Lost, or the coordinator is away: it is read again, or committed later.
			}
		}
	}))
}

// goesOn waits until each partition has had and the group has read some records
// more.
func (l *traffic) goesOn(t *testing.T) {
	t.Helper()
	const more = 20
	deadline := time.Now().Add(patience)
	for p := range loadPartitions {
		acked, seen := l.acked[p].Load()+more, l.seen[p].Load()+more
		for l.acked[p].Load() < acked || l.seen[p].Load() < seen {
			if pass(t.Context(), 10*time.Millisecond); time.Now().After(deadline) || l.wrong.Load() != nil {
				t.Fatalf("partition %d does not go on after %d of %d acknowledged, %d read: %v",
					p, l.acked[p].Load(), l.asked[p].Load(), l.seen[p].Load(), l.error())
			}
		}
	}
}

func (l *traffic) error() error {
	if err := l.wrong.Load(); err != nil {
		return *err
	}
	return nil
}

// end stops the traffic when it has recovered and compares what was acknowledged
// with what the log holds.
func (l *traffic) end(t *testing.T, what string) {
	t.Helper()
	l.goesOn(t)
	l.stop()
	l.work.Wait()
	if err := l.error(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	total := int64(0)
	for p := range int32(loadPartitions) {
		want := l.acked[p].Load()
		total += want
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		start, end, err := l.client.Log().Bounds(ctx, l.topic, p)
		if err != nil || start != 0 || end != want || want != l.asked[p].Load() {
			t.Errorf("%s: partition %d holds %d to %d, %v; %d were asked for and %d acknowledged", what, p, start, end, err, l.asked[p].Load(), want)
		}
		reader := l.client.Log().Open(l.topic, p, 0)
		for next := int64(0); next < end; {
			records, err := reader.Next(ctx)
			if err != nil {
				t.Fatalf("%s: partition %d at %d: %v", what, p, next, err)
			}
			for i := range records {
				if string(records[i].Value) != fmt.Sprint(next) {
					t.Fatalf("%s: partition %d has %q at %d", what, p, records[i].Value, next)
				}
				next++
			}
		}
		reader.Close()
		cancel()
	}
	t.Logf("%s: %d records acknowledged, each there once and in order; longest time without an acknowledgement %v",
		what, total, time.Duration(l.gap.Load()).Round(time.Millisecond))
}
