package fold_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive/sqlite"
	"switchboard/storage-worker/fold"
)

const (
	logPartitions = 4
	logGroups     = 20
	logMessages   = 2000
)

// TestTwoWorkersShareALogAndOneLeaves runs the fold as a program does: over
// Kafka's protocol and SQLite, two members of a group, of which one goes away in
// the middle.
func TestTwoWorkersShareALogAndOneLeaves(t *testing.T) {
	broker, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	client := connect(broker)
	defer client.Close()
	if _, err := client.Admin().Ensure(t.Context(), bus.Topics(1, logPartitions), 1); err != nil {
		t.Fatal(err)
	}
	worker := func(ctx context.Context) error {
		client := connect(broker)
		defer client.Close()
		producer := client.Producer(kafka.ProducerConfig{})
		var running sync.WaitGroup
		defer running.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		running.Go(func() { _ = producer.Run(ctx) })
		return fold.New(fold.Config{
			Store: store, Log: client.Log(), Producer: producer, Generation: 1, Partitions: logPartitions,
			Group: client.Group(bus.InboundTopic(1), "fold", kafka.GroupConfig{
				Heartbeat: 50 * time.Millisecond, Session: 300 * time.Millisecond, Rebalance: 2 * time.Second,
			}),
			Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
		}).Run(ctx)
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, leave := context.WithCancel(ctx)
	defer leave()
	for _, life := range []context.Context{first, ctx} {
		workers.Go(func() {
			if err := worker(life); err != nil {
				t.Error(err)
			}
		})
	}
	asked := ask(t, client, leave)
	outcomes(t, client)
	cancel()
	workers.Wait()
	for c := range asked {
		rows, err := store.Entries(t.Context(), c, 1, logMessages, logMessages, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(rows), asked[c]; got != want || rows[got-1].Seq != chat.Seq(want) {
			t.Fatalf("history of %v: %d rows, want %d without a gap", c, got, want)
		}
	}
}

func connect(broker *embedded.Cluster) *kafka.Client {
	return kafka.Open(kafka.Config{
		Brokers: []string{broker.Addr()}, ClientID: "fold", Log: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	})
}

// ask produces groups and messages to them, and calls middle on the way. It
// returns how many events each conversation must have.
func ask(t *testing.T, client *kafka.Client, middle func()) map[chat.ConversationID]int {
	t.Helper()
	producer := client.Producer(kafka.ProducerConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = producer.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	asked := map[chat.ConversationID]int{}
	members := []chat.UserID{{1}, {2}, {3}}
	var rooms []chat.ConversationID
	acked := make(chan error, logMessages)
	put := func(in *bus.Inbound) {
		asked[in.Conversation]++
		m := bus.Message{
			Topic: bus.InboundTopic(1), Partition: bus.PartitionOf(in.Conversation, logPartitions),
			Key: in.Conversation[:], Value: in.Append(nil),
		}
		if err := producer.Produce(m, func(_ int64, err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range logGroups {
		in := &bus.Inbound{
			Sender: members[0], Request: chat.RequestID{1, byte(i)},
			Create: &bus.Create{Type: chat.Group, Members: members, Limit: 3},
		}
		in.Conversation = chat.GroupConversation(in.Sender, in.Request)
		rooms = append(rooms, in.Conversation)
		put(in)
	}
	for i := range logMessages - logGroups {
		if i == logMessages/2 {
			middle()
		}
		put(&bus.Inbound{
			Conversation: rooms[i%logGroups], Sender: members[i%3], Request: chat.NewRequestID(),
			Send: &bus.Send{Kind: chat.KindText, Content: fmt.Sprint("message ", i)},
		})
	}
	for range logMessages {
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
	}
	return asked
}

// outcomes reads the accepted log until every inbound record has its outcome,
// each once and in order.
func outcomes(t *testing.T, client *kafka.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	total := 0
	for p := range int32(logPartitions) {
		_, end, err := client.Log().Bounds(ctx, bus.InboundTopic(1), p)
		if err != nil {
			t.Fatal(err)
		}
		reader := client.Log().Open(bus.AcceptedTopic(1), p, 0)
		defer reader.Close()
		seen := bus.After(chat.Position{Generation: 1, Offset: -1})
		for seen.Last().Offset < end-1 {
			records, err := reader.Next(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("partition %d stands at offset %d of %d", p, seen.Last().Offset, end)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				var out bus.Accepted
				if err := bus.ParseAccepted(r.Value, &out); err != nil {
					t.Fatal(err)
				}
				fresh, err := seen.Next(out.Position)
				if err != nil {
					t.Fatal(err)
				}
				if fresh && out.Outcome == bus.Stored {
					total++
				}
			}
		}
	}
	if total != logMessages {
		t.Errorf("%d records are stored, want %d", total, logMessages)
	}
}
