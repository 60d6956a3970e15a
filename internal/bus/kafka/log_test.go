package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"switchboard/internal/bus"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
)

// TestForeignProducersCompress reads what other programs wrote with every codec.
func TestForeignProducersCompress(t *testing.T) {
	cluster, client := start(t, 1)
	ensure(t, client, "t", 1)
	var want []string
	for _, codec := range []kafkago.Compression{kafkago.Gzip, kafkago.Snappy, kafkago.Lz4, kafkago.Zstd} {
		transport := &kafkago.Transport{}
		writer := &kafkago.Writer{
			Addr: kafkago.TCP(cluster.Addr()), Topic: "t", Compression: codec, RequiredAcks: kafkago.RequireAll,
			BatchTimeout: time.Millisecond, Transport: transport,
		}
		var messages []kafkago.Message
		for i := range 50 {
			value := fmt.Sprintf("%v-%d", codec, i)
			want = append(want, value)
			messages = append(messages, kafkago.Message{Key: []byte("k"), Value: []byte(value), Headers: []kafkago.Header{{Key: "h", Value: []byte("v")}}})
		}
		if err := writer.WriteMessages(t.Context(), messages...); err != nil {
			t.Fatal(err)
		}
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
		transport.CloseIdleConnections()
	}
	equal(t, read(t, client, "t", 0, len(want)), want)
}

// await polls a condition that a server's goroutines bring about.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestQuietPartitionsShareAConnection has 128 readers wait, then one more come.
// It gets what is there at once, not when the long poll of the others ends.
func TestQuietPartitionsShareAConnection(t *testing.T) {
	cluster, client := start(t, 1)
	const partitions = 128
	ensure(t, client, "quiet", partitions+1)
	producer := run(t, client, kafka.ProducerConfig{})
	produce(t, producer, "quiet", partitions, "there")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, partitions)
	for p := range int32(partitions) {
		go func() {
			reader := client.Log().Open("quiet", p, 0)
			defer reader.Close()
			_, err := reader.Next(ctx)
			ended <- err
		}()
	}
	fetches := client.Fetches()
	await(t, "the readers to share a poll", func() bool { return client.Fetches() > fetches+3 })
	// Metadata, produce, long and short poll, and one that came and went.
	if n := cluster.Connections(); n > 8 {
		t.Errorf("%d connections for %d quiet partitions", n, partitions)
	}
	took := make([]time.Duration, 5)
	for i := range took {
		begin := time.Now()
		equal(t, read(t, client, "quiet", partitions, 1), []string{"there"})
		took[i] = time.Since(begin)
	}
	if fast := min(took[0], took[1], took[2], took[3], took[4]); fast > 250*time.Millisecond {
		t.Errorf("a new reader waited for %v", took)
	}
	cancel()
	for range partitions {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Next: %v", err)
		}
	}
}

// TestBacklogIsReadInPieces reads more than a reader may buffer. Whenever it was
// full, it must not wait for the long poll that its neighbour is in.
func TestBacklogIsReadInPieces(t *testing.T) {
	_, client := start(t, 1)
	ensure(t, client, "t", 2)
	producer := run(t, client, kafka.ProducerConfig{})
	value := string(make([]byte, 20_000))
	values := make([]string, 600)
	for i := range values {
		values[i] = fmt.Sprint(i, value)
	}
	produce(t, producer, "t", 0, values...)
	produce(t, producer, "t", 1, "quiet")
	quiet := client.Log().Open("t", 1, 1)
	defer quiet.Close()
	waiting, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := quiet.Next(waiting)
		ended <- err
	}()
	reader := client.Log().Open("t", 0, 0)
	defer reader.Close()
	begin := time.Now()
	for i := 0; i < len(values); {
		records, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if string(r.Value) != values[i] {
				t.Fatalf("record %d is %.20q", i, r.Value)
			}
			i++
		}
		// Slow work, during which the next long poll begins without this reader.
		time.Sleep(20 * time.Millisecond)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("12 MB took %v", took)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Next: %v", err)
	}
}

// TestFetchErrorsPass has the broker refuse to serve for a while.
func TestFetchErrorsPass(t *testing.T) {
	cluster, client := start(t, 1)
	ensure(t, client, "t", 1)
	produce(t, run(t, client, kafka.ProducerConfig{}), "t", 0, numbers(10)...)
	for _, fault := range []embedded.Fault{
		embedded.NotLeader, embedded.LeaderNotAvailable, embedded.UnknownTopic,
		embedded.OffsetOutOfRange, // A leader that is behind: the bounds know better.
	} {
		cluster.Fail(embedded.Fetch, "t", fault, 2)
	}
	cluster.LoseAnswers(embedded.Fetch, 2)
	equal(t, read(t, client, "t", 0, 10), numbers(10))
	cluster.LoseAnswers(embedded.Fetch, 2)
	cluster.Fail(embedded.Fetch, "t", embedded.NotLeader, 2)
	r, ok, err := client.Log().Last(t.Context(), "t", 0)
	if !ok || err != nil || string(r.Value) != "9" {
		t.Errorf("Last: %q, %v, %v", r.Value, ok, err)
	}
}

// TestQuestionsEndWithTheContext asks about what does not exist.
func TestQuestionsEndWithTheContext(t *testing.T) {
	_, client := start(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, _, err := client.Log().Bounds(ctx, "missing", 0)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, kafkago.UnknownTopicOrPartition) {
		t.Errorf("Bounds: %v, want why", err)
	}
	reader := client.Log().Open("missing", 0, 0)
	defer reader.Close()
	if _, err := reader.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next: %v", err)
	}
}

// TestClosedClientEndsItsReaders would hang if it did not.
func TestClosedClientEndsItsReaders(t *testing.T) {
	cluster, owner := start(t, 1)
	ensure(t, owner, "t", 1)
	client := open(t, cluster.Addr())
	reader := client.Log().Open("t", 0, 0)
	defer reader.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := reader.Next(t.Context())
		ended <- err
	}()
	await(t, "the first fetch", func() bool { return client.Fetches() > 0 })
	client.Close()
	if err := <-ended; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("Next: %v, want ErrClosed", err)
	}
}

// TestCommitErrors tells a lost claim from a coordinator that does not answer.
func TestCommitErrors(t *testing.T) {
	cluster, client := start(t, 1)
	ensure(t, client, "t", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := client.Group("t", "g", kafka.GroupConfig{}).Run(ctx, func(ctx context.Context, c bus.Claim) error {
		defer cancel()
		cluster.Fail(embedded.OffsetCommit, "", embedded.IllegalGeneration, 1)
		if err := c.Commit(ctx, 1); !errors.Is(err, bus.ErrLostClaim) {
			t.Errorf("illegal generation: %v", err)
		}
		cluster.Fail(embedded.OffsetCommit, "", embedded.CoordinatorNotAvailable, 1)
		if err := c.Commit(ctx, 1); err == nil || errors.Is(err, bus.ErrLostClaim) {
			t.Errorf("coordinator not available: %v", err)
		}
		if err := c.Commit(ctx, 1); err != nil {
			t.Errorf("Commit: %v", err)
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}

// TestGroupWaitsForItsTopic joins before there is anything to share.
func TestGroupWaitsForItsTopic(t *testing.T) {
	_, client := start(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	claimed := make(chan int32, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- client.Group("late", "g", kafka.GroupConfig{}).Run(ctx, func(ctx context.Context, c bus.Claim) error {
			claimed <- c.Partition()
			<-ctx.Done()
			return nil
		})
	}()
	ensure(t, client, "late", 1)
	if p := <-claimed; p != 0 {
		t.Errorf("claimed %d", p)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}

// TestGroupAsksAnotherBrokerThanTheSilent has a first broker that takes connections
// and answers nothing, as one does that is stopped.
func TestGroupAsksAnotherBrokerThanTheSilent(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	cluster, client := start(t, 3)
	ensure(t, client, "t", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	claimed := errors.New("claimed")
	got := open(t, silent.Addr().String()+","+cluster.Addr()).Group("t", "g", kafka.GroupConfig{}).Run(ctx,
		func(context.Context, bus.Claim) error { return claimed })
	if !errors.Is(got, claimed) {
		t.Errorf("got %v, want that the partition is claimed", got)
	}
}
