package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"switchboard/internal/bus"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
)

// producers returns the producer ids of the batches of a partition, in order,
// each once.
func producers(t *testing.T, addr, topic string) []int64 {
	t.Helper()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	message, err := transport.RoundTrip(t.Context(), kafkago.TCP(strings.Split(addr, ",")...), &fetch.Request{
		ReplicaID: -1, MaxBytes: 64 << 20, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{Topic: topic, Partitions: []fetch.RequestPartition{{CurrentLeaderEpoch: -1, PartitionMaxBytes: 64 << 20}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	stream := message.(*fetch.Response).Topics[0].Partitions[0].RecordSet.Records.(*protocol.RecordStream)
	for _, batch := range stream.Records {
		if id := batch.(*protocol.RecordBatch).ProducerID; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// TestNoProduceWithoutProducerID is a broker that has just started: it answers
// with an error and the id −1, and takes records without an id all the same.
func TestNoProduceWithoutProducerID(t *testing.T) {
	cluster, client := start(t, 1)
	ensure(t, client, "t", 1)
	for _, fault := range []embedded.Fault{embedded.CoordinatorLoading, embedded.CoordinatorNotAvailable, embedded.NotCoordinator} {
		cluster.Fail(embedded.InitProducerID, "", fault, 2)
	}
	produce(t, run(t, client, kafka.ProducerConfig{}), "t", 0, numbers(10)...)
	equal(t, read(t, client, "t", 0, 10), numbers(10))
	if ids := producers(t, cluster.Addr(), "t"); len(ids) != 1 || ids[0] < 0 {
		t.Errorf("records were written by producers %v", ids)
	}
}

// TestRefusals has the broker refuse in every way that may pass.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name  string
		fault embedded.Fault
		ids   int // producer ids on the log
	}{
		{"not leader", embedded.NotLeader, 1},
		{"leader not available", embedded.LeaderNotAvailable, 1},
		{"unknown topic", embedded.UnknownTopic, 1},
		{"timed out after append", embedded.TimedOut, 1},
		{"not enough replicas", embedded.NotEnoughReplicas, 1},
		{"not enough replicas after append", embedded.NotEnoughReplicasAfterAppend, 1},
		{"out of order", embedded.OutOfOrderSequence, 2},
		{"unknown producer", embedded.UnknownProducerID, 2},
		{"old epoch", embedded.InvalidProducerEpoch, 2},
	}
	for _, test := range tests {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			cluster, client := start(t, 1)
			ensure(t, client, "t", 2)
			producer := run(t, client, kafka.ProducerConfig{})
			produce(t, producer, "t", 0, numbers(100)[:50]...)
			times := 1
			if test.ids == 1 {
				times = 3
			}
			cluster.Fail(embedded.Produce, "t", test.fault, times)
			produce(t, producer, "t", 0, numbers(100)[50:]...)
			produce(t, producer, "t", 1, numbers(100)...)
			equal(t, read(t, client, "t", 0, 100), numbers(100))
			equal(t, read(t, client, "t", 1, 100), numbers(100))
			if _, end, err := client.Log().Bounds(t.Context(), "t", 0); end != 100 || err != nil {
				t.Errorf("partition ends at %d, %v", end, err)
			}
			if ids := producers(t, cluster.Addr(), "t"); len(ids) != test.ids {
				t.Errorf("producer ids %v, want %d of them", ids, test.ids)
			}
		})
	}
}

// TestBatchAboveTheTopicsLimit has a batch that is too large until it is an eighth.
// Its records are there before the producer runs, so that they are one batch.
func TestBatchAboveTheTopicsLimit(t *testing.T) {
	cluster, client := start(t, 1)
	ensure(t, client, "t", 1)
	producer := client.Producer(kafka.ProducerConfig{})
	acks := enqueue(t, producer, "t", 0, numbers(100)...)
	cluster.Fail(embedded.Produce, "t", embedded.MessageTooLarge, 3)
	begin(t, producer)
	acks.Wait()
	equal(t, read(t, client, "t", 0, 100), numbers(100))
	if ids := producers(t, cluster.Addr(), "t"); len(ids) != 1 {
		t.Errorf("producer ids %v, want one", ids)
	}
}

// TestSingleRecordAboveTheTopicsLimit has nothing to split. The caller is told,
// and the partition goes on.
func TestSingleRecordAboveTheTopicsLimit(t *testing.T) {
	cluster, client := start(t, 1)
	ensure(t, client, "t", 1)
	producer := run(t, client, kafka.ProducerConfig{})
	cluster.Fail(embedded.Produce, "t", embedded.MessageTooLarge, 1)
	refused := make(chan error, 1)
	if err := producer.Produce(bus.Message{Topic: "t", Value: []byte("large")}, func(_ int64, err error) { refused <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-refused; !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	produce(t, producer, "t", 0, numbers(10)...)
	equal(t, read(t, client, "t", 0, 10), numbers(10))
}

// TestLateFirstAttempt holds requests on the wire until the producer has given
// them up and repeated them. All of them are worked on in the end.
func TestLateFirstAttempt(t *testing.T) {
	cluster, client := start(t, 1)
	ensure(t, client, "t", 1)
	producer := run(t, client, kafka.ProducerConfig{Timeout: 100 * time.Millisecond})
	produce(t, producer, "t", 0, "0")
	for round := range 3 {
		release := cluster.Withhold(embedded.Produce)
		timer := time.AfterFunc(350*time.Millisecond, release)
		produce(t, producer, "t", 0, numbers(10)[1+3*round:4+3*round]...)
		timer.Stop()
		release()
	}
	produce(t, producer, "t", 0, "10")
	equal(t, read(t, client, "t", 0, 11), numbers(11))
	if _, end, err := client.Log().Bounds(t.Context(), "t", 0); end != 11 || err != nil {
		t.Errorf("partition ends at %d, %v", end, err)
	}
}

// TestTopicMadeAnew deletes the topic under the producer, whose sequence the
// new one never saw.
func TestTopicMadeAnew(t *testing.T) {
	cluster, client := start(t, 1)
	ensure(t, client, "t", 1)
	producer := run(t, client, kafka.ProducerConfig{})
	produce(t, producer, "t", 0, numbers(5)...)
	if err := cluster.DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	ensure(t, client, "t", 1)
	produce(t, producer, "t", 0, numbers(5)...)
	produce(t, producer, "t", 0, "5")
	equal(t, read(t, client, "t", 0, 6), numbers(6))
}

// TestBrokerRestarts ends the broker in the middle and starts it again on its
// data and its port.
func TestBrokerRestarts(t *testing.T) {
	dir := t.TempDir()
	cluster, err := embedded.Start(embedded.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(cluster.Addr())
	number, _ := strconv.Atoi(port)
	client := open(t, cluster.Addr())
	ensure(t, client, "t", 1)
	producer := run(t, client, kafka.ProducerConfig{})
	acked := make(chan error, 1000)
	for round := range 4 {
		for i := range 250 {
			value := strconv.Itoa(round*250 + i)
			if err := producer.Produce(bus.Message{Topic: "t", Value: []byte(value)}, func(_ int64, err error) { acked <- err }); err != nil {
				t.Fatal(err)
			}
		}
		cluster.Close()
		if cluster, err = embedded.Start(embedded.Config{Dir: dir, Port: number}); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { cluster.Close() }()
	for range 1000 {
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
	}
	equal(t, read(t, client, "t", 0, 1000), numbers(1000))
	if _, end, err := client.Log().Bounds(t.Context(), "t", 0); end != 1000 || err != nil {
		t.Errorf("partition ends at %d, %v", end, err)
	}
}

// TestEndFlushes ends a producer that has just been given records.
func TestEndFlushes(t *testing.T) {
	_, client := start(t, 1)
	ensure(t, client, "t", 1)
	producer := client.Producer(kafka.ProducerConfig{})
	acked := make(chan error, 100)
	for _, value := range numbers(100) {
		if err := producer.Produce(bus.Message{Topic: "t", Value: []byte(value)}, func(_ int64, err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := producer.Run(ctx); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
	}
	equal(t, read(t, client, "t", 0, 100), numbers(100))
}

// TestTopicShare fills one topic's share; the rest of the bound is for others.
func TestTopicShare(t *testing.T) {
	_, client := start(t, 1)
	ensure(t, client, "there", 1)
	producer := run(t, client, kafka.ProducerConfig{PendingBytes: 400_000, Flush: time.Millisecond})
	value := make([]byte, 10_000-128)
	count := 0
	for producer.Produce(bus.Message{Topic: "missing", Value: value}, func(int64, error) {}) == nil {
		count++
	}
	if count != 10 {
		t.Errorf("%d records of 10,000 bytes fit into a quarter of 400,000", count)
	}
	produce(t, producer, "there", 0, numbers(20)...)
}

// ExampleClient_Producer shows the life of a producer.
func ExampleClient_Producer() {
	cluster, err := embedded.Start(embedded.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()
	client := kafka.Open(kafka.Config{Brokers: []string{cluster.Addr()}, Log: quiet()})
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := client.Admin().Ensure(ctx, []bus.Topic{{Name: "greetings", Partitions: 1}}, 1); err != nil {
		fmt.Println(err)
	}
	producer := client.Producer(kafka.ProducerConfig{})
	ended := make(chan error)
	go func() { ended <- producer.Run(ctx) }()
	message := bus.Message{Topic: "greetings", Value: []byte("hello")}
	err = producer.Produce(message, func(offset int64, err error) {
		fmt.Println(offset, err)
		cancel()
	})
	fmt.Println(err, <-ended)
	// Output:
	// 0 <nil>
	// <nil> <nil>
}
