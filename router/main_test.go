package main

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/bus"
	broker "switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	directory "switchboard/internal/presence/embedded"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(daemon.Main(run))
	}
	goleak.VerifyTestMain(m)
}

// asProgram makes a process of the test's binary the router.
const asProgram = "SWITCHBOARD_AS_ROUTER"

// patience bounds every wait for another process-like part of the test.
const patience = time.Minute

func TestWrongFlagsEndAtOnce(t *testing.T) {
	for name, args := range map[string][]string{
		"no servers":     nil,
		"no Redis":       {"-kafka", "127.0.0.1:1"},
		"unknown flag":   {"-postgre"},
		"no replica":     {"-kafka", "127.0.0.1:1", "-redis", "127.0.0.1:1", "-replication", "0"},
		"a bare word":    {"-kafka", "127.0.0.1:1", "-redis", "127.0.0.1:1", "now"},
		"no such number": {"-log-level", "loud"},
	} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

// A router on a log and a directory: an outcome for somebody who waits on gw-1
// arrives on gw-1's delivery topic, and the end of its context is no error.
func TestRouterTakesAnOutcomeToItsServer(t *testing.T) {
	kafkaServer, err := broker.Start(broker.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer kafkaServer.Close()
	redisServer, err := directory.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer redisServer.Close()
	client := kafka.Open(kafka.Config{Brokers: []string{kafkaServer.Addr()}, Log: slog.New(slog.DiscardHandler)})
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	topics := append(bus.Topics(bus.FirstGeneration, 2), bus.DeliveryLog("gw-1"))
	if _, err := client.Admin().Ensure(ctx, topics, 1); err != nil {
		t.Fatal(err)
	}

	ended := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	go func() {
		ended <- run(running, []string{
			"-postgres", "postgres://app@127.0.0.1:1/db", // It is away, and nothing waits for it.
			"-kafka", kafkaServer.Addr(), "-redis", redisServer.Addr(), "-ops-listen", "127.0.0.1:0", "-log-level", "error", "-replication", "1",
		}, io.Discard)
	}()
	put(ctx, t, client, bus.Message{Topic: bus.AcceptedTopic(bus.FirstGeneration), Partition: 1, Value: refusal.Append(nil)})

	reader := client.Log().Open(bus.DeliveryTopic("gw-1"), 0, 0)
	defer reader.Close()
	records, err := reader.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var d bus.Delivery
	if err := bus.ParseDelivery(records[0].Value, &d); err != nil {
		t.Fatal(err)
	}
	if d.Answer == nil || d.Answer.Session != refusal.ReplyTo.Session || d.Answer.Code != chat.NotMember {
		t.Errorf("got %+v, want the refusal for session %d", d.Answer, refusal.ReplyTo.Session)
	}
	if got := binary.BigEndian.Uint32(records[0].Key); got != 1 {
		t.Errorf("key %d, want the accepted partition", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the router ended with %v", err)
	}
}

// refusal is an outcome that concerns nobody but who asked.
var refusal = bus.Accepted{
	Outcome:  bus.Refused,
	Position: chat.Position{Generation: bus.FirstGeneration},
	ReplyTo:  bus.ReplyTo{Server: "gw-1", Boot: 7, Session: 8},
	Code:     chat.NotMember, Message: "you are not a member of this conversation",
}

// put puts one record on the log and waits for the acknowledgement.
func put(ctx context.Context, t *testing.T, client *kafka.Client, m bus.Message) {
	t.Helper()
	producer := client.Producer(kafka.ProducerConfig{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- producer.Run(ctx) }()
	acked := make(chan error, 1)
	if err := producer.Produce(m, func(_ int64, err error) { acked <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-acked; err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
