package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
)

// put appends one record and waits until it is on the log.
func put(t *testing.T, client *kafka.Client, topic string, partition int32, value []byte) {
	t.Helper()
	producer := client.Producer(kafka.ProducerConfig{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = producer.Run(ctx) }()
	defer func() { stop(); <-ended }()
	acked := make(chan error, 1)
	if err := producer.Produce(bus.Message{Topic: topic, Partition: partition, Value: value}, func(_ int64, err error) { acked <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-acked; err != nil {
		t.Fatal(err)
	}
}

// The second generation goes on from the clock of the first, of which a host
// with a wrong clock had the last word.
func TestAGenerationBeginsWhereTheLastEnded(t *testing.T) {
	brokers := startKafka(t)
	args := func(generation string) []string {
		return []string{
			"migrate", "-kafka", brokers, "-partitions", "2", "-replication", "1", "-log-level", "error", "-generation", generation,
		}
	}
	if err := run(t.Context(), args("1"), io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), args("2"), io.Discard); err == nil || !strings.Contains(err.Error(), "nothing is known of generation 1") {
		t.Errorf("after a generation without a record: %v", err)
	}
	client := kafka.Open(kafka.Config{Brokers: []string{brokers}, ClientID: "test", Log: slog.New(slog.DiscardHandler)})
	defer client.Close()
	last := chat.Clock(time.Now().Add(time.Hour).UnixMicro())
	out := bus.Accepted{Outcome: bus.Refused, Code: chat.NotMember, Position: chat.Position{Generation: 1}, Clock: last}
	put(t, client, bus.AcceptedTopic(1), 1, out.Append(nil))
	for range 2 {
		put(t, client, bus.InboundTopic(1), 1, []byte("one was decided, the other was not"))
	}

	var first, again bytes.Buffer
	for _, said := range []*bytes.Buffer{&first, &again} {
		if err := run(t.Context(), args("2"), said); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		"chat.inbound: partition 1 has 1 records without an outcome",
		"chat.inbound.2: anchored 2 partitions at " + last.Time().Format(time.RFC3339Nano),
	} {
		if !strings.Contains(first.String(), want) {
			t.Errorf("got\n%s\nwant %s", first.String(), want)
		}
	}
	if !strings.Contains(again.String(), "chat.inbound.2: its anchors were there\n") {
		t.Errorf("again: got\n%s", again.String())
	}

	dir := t.TempDir()
	p := startWorker(t, brokers, dir, "-archive", dir+"/archive.db", "-generation", "2")
	defer p.end()
	p.await(200, "ok")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for partition := range int32(2) {
		reader := client.Log().Open(bus.AcceptedTopic(2), partition, 0)
		records, err := reader.Next(ctx)
		reader.Close()
		if err != nil {
			t.Fatal(err)
		}
		var out bus.Accepted
		if err := bus.ParseAccepted(records[0].Value, &out); err != nil || out.Clock < last || out.Outcome != bus.Duplicate {
			t.Errorf("partition %d begins with %+v, %v, want a clock of at least %d", partition, out, err, last)
		}
	}
}

func TestAGenerationThatWasUsedWithoutAnAnchorIsRefused(t *testing.T) {
	brokers := startKafka(t)
	args := []string{"migrate", "-kafka", brokers, "-partitions", "1", "-replication", "1", "-log-level", "error", "-generation", "2"}
	client := kafka.Open(kafka.Config{Brokers: []string{brokers}, ClientID: "test", Log: slog.New(slog.DiscardHandler)})
	defer client.Close()
	topics := append(bus.Topics(1, 1)[:2], bus.Topics(2, 1)[:2]...)
	if _, err := client.Admin().Ensure(t.Context(), topics, 1); err != nil {
		t.Fatal(err)
	}
	out := bus.Accepted{Outcome: bus.Refused, Code: chat.NotMember, Position: chat.Position{Generation: 1}, Clock: 1}
	put(t, client, bus.AcceptedTopic(1), 0, out.Append(nil))
	put(t, client, bus.InboundTopic(2), 0, []byte("too early"))
	if err := run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), "chat.inbound.2 partition 0 does not begin with an anchor") {
		t.Errorf("got %v", err)
	}
}
