package kafka_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/bus"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a broker in memory, and a client of it that the test's end
// closes.
func start(t testing.TB, brokers int) (*embedded.Cluster, *kafka.Client) {
	t.Helper()
	cluster, err := embedded.Start(embedded.Config{Brokers: brokers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, open(t, cluster.Addr())
}

func open(t testing.TB, addr string) *kafka.Client {
	t.Helper()
	client := kafka.Open(kafka.Config{
		Brokers:  strings.Split(addr, ","),
		ClientID: t.Name(),
		Log:      slog.New(slog.NewTextHandler(output(t), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	t.Cleanup(client.Close)
	return client
}

// output shows the client's log where a test is looked at closely.
func output(t testing.TB) io.Writer {
	if testing.Verbose() {
		return t.Output()
	}
	return io.Discard
}

// run runs a producer until the test ends.
func run(t testing.TB, client *kafka.Client, config kafka.ProducerConfig) *kafka.Producer {
	t.Helper()
	producer := client.Producer(config)
	begin(t, producer)
	return producer
}

// begin is run for a producer that was made before.
func begin(t testing.TB, producer *kafka.Producer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- producer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// ensure creates a topic.
func ensure(t testing.TB, client *kafka.Client, name string, partitions int32) {
	t.Helper()
	if _, err := client.Admin().Ensure(t.Context(), []bus.Topic{{Name: name, Partitions: partitions}}, 1); err != nil {
		t.Fatal(err)
	}
}

// produce writes records and waits for all acknowledgements.
func produce(t testing.TB, producer bus.Producer, topic string, partition int32, values ...string) {
	t.Helper()
	enqueue(t, producer, topic, partition, values...).Wait()
}

// enqueue writes records and returns what waits for all acknowledgements.
func enqueue(t testing.TB, producer bus.Producer, topic string, partition int32, values ...string) *sync.WaitGroup {
	t.Helper()
	var acks sync.WaitGroup
	for _, value := range values {
		acks.Add(1)
		err := producer.Produce(bus.Message{Topic: topic, Partition: partition, Key: []byte("k"), Value: []byte(value)},
			func(_ int64, err error) {
				if err != nil {
					t.Errorf("acknowledgement of %s: %v", value, err)
				}
				acks.Done()
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	return &acks
}

// read returns the values of the next n records.
func read(t testing.TB, client *kafka.Client, topic string, partition int32, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	reader := client.Log().Open(topic, partition, 0)
	defer reader.Close()
	var values []string
	for len(values) < n {
		records, err := reader.Next(ctx)
		if err != nil {
			t.Fatalf("read %s/%d after %d records: %v", topic, partition, len(values), err)
		}
		for _, r := range records {
			values = append(values, string(r.Value))
		}
	}
	return values
}

// numbers returns the words "0" to "n−1".
func numbers(n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprint(i)
	}
	return words
}

func equal(t testing.TB, got, want []string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("log holds\n%v\nwant\n%v", got, want)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
