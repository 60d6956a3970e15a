package push

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/devices"
	"switchboard/internal/metrics"
)

// childOf makes a process of the test's binary a sender: the broker, the file of
// devices and the service.
const childOf = "SWITCHBOARD_PUSH_CHILD"

func TestMain(m *testing.M) {
	if at := os.Getenv(childOf); at != "" {
		fmt.Fprintln(os.Stderr, "the sender ended by itself:", runChild(strings.Fields(at)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runChild notifies until it is killed.
func runChild(at []string) error {
	client := kafka.Open(kafka.Config{Brokers: at[:1], Log: slog.New(slog.DiscardHandler)})
	store, err := openStore(context.Background(), at[1])
	if err != nil {
		return err
	}
	hook, err := NewHook(at[2]+"/hook", []byte(hookSecret))
	if err != nil {
		return err
	}
	producer := client.Producer(kafka.ProducerConfig{})
	go func() { _ = producer.Run(context.Background()) }()
	fmt.Fprintln(os.Stdout, "runs")
	return New(Config{
		Log: client.Log(), Producer: producer, Partitions: partitions, Devices: store, Webhook: hook,
		Pushes: client.Group(bus.TopicPush, bus.PushGroup, kafka.GroupConfig{}),
		Gather: 10 * time.Millisecond, First: 10 * time.Millisecond, Last: 20 * time.Millisecond, Tries: 1_000_000,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	}).Run(context.Background())
}

// settings are the keys of every browser.
func (w *world) settings() devices.Settings {
	return devices.Settings{P256DH: w.p256dh(), Auth: w.auth()}
}
