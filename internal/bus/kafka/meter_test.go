package kafka_test

import (
	"bytes"
	"strings"
	"testing"

	"switchboard/internal/bus"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/metrics"
)

func TestTrafficIsCountedByKindOfTopic(t *testing.T) {
	cluster, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	set := metrics.New()
	client := kafka.Open(kafka.Config{Brokers: strings.Split(cluster.Addr(), ","), Log: quiet(), Metrics: set})
	t.Cleanup(client.Close)
	topic := bus.DeliveryTopic("gw-1")
	ensure(t, client, topic, 1)
	producer := run(t, client, kafka.ProducerConfig{})
	for range 3 { // Each is acknowledged before the next, hence a batch of its own.
		produce(t, producer, topic, 0, "a")
	}
	read(t, client, topic, 0, 3)
	var out bytes.Buffer
	set.Write(&out)
	for _, want := range []string{
		`switchboard_bus_produce_batches_total{topic="delivery"} 3`,
		`switchboard_bus_produce_records_total{topic="delivery"} 3`,
		`switchboard_bus_fetch_records_total{topic="delivery"} 3`,
		`switchboard_bus_fetch_bytes_total{topic="delivery"} 6`,
		`switchboard_bus_fetch_age_seconds_bucket{topic="delivery",le="30"}`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing in:\n%s", want, out.String())
		}
	}
}
