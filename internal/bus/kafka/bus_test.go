package kafka_test

import (
	"os"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/bus/bustest"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
)

// TestEmbedded holds the client to the suite on three embedded brokers.
func TestEmbedded(t *testing.T) {
	bustest.Run(t, func(t *testing.T) *bustest.Bus {
		cluster, client := start(t, 3)
		b := suite(client, 1)
		b.Faults = &bustest.Faults{
			TimeOut:         func(topic string, times int) { cluster.Fail(embedded.Produce, topic, embedded.TimedOut, times) },
			LoseAnswers:     func(times int) { cluster.LoseAnswers(embedded.Produce, times) },
			DropConnections: cluster.DropConnections,
			MoveLeader:      cluster.MoveLeader,
			DeleteRecords:   cluster.DeleteRecords,
		}
		return b
	})
}

// TestKafka does the same on a real cluster.
func TestKafka(t *testing.T) {
	addr := os.Getenv("SWITCHBOARD_TEST_KAFKA")
	if addr == "" {
		t.Skip("SWITCHBOARD_TEST_KAFKA does not name a Kafka to test with")
	}
	bustest.Run(t, func(t *testing.T) *bustest.Bus { return suite(open(t, addr), 1) })
}

func suite(client *kafka.Client, replication int) *bustest.Bus {
	return &bustest.Bus{
		Producer: func(t *testing.T, pendingBytes int) (bus.Producer, func()) {
			return bustest.Running(t, client.Producer(kafka.ProducerConfig{PendingBytes: pendingBytes, Flush: 100 * time.Millisecond}))
		},
		Group: func(topic, group string) bus.Group {
			return client.Group(topic, group, kafka.GroupConfig{
				Heartbeat: 50 * time.Millisecond,
				Session:   6 * time.Second,
				Rebalance: time.Second,
			})
		},
		Log:         client.Log(),
		Admin:       client.Admin(),
		Replication: replication,
	}
}
