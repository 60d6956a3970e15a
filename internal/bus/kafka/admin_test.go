package kafka_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
)

// alter changes one setting of a topic.
func alter(t *testing.T, addr, topic, name, value string) {
	t.Helper()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(strings.Split(addr, ",")...), Transport: transport}
	answer, err := client.IncrementalAlterConfigs(t.Context(), &kafkago.IncrementalAlterConfigsRequest{
		Resources: []kafkago.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafkago.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value, ConfigOperation: kafkago.ConfigOperationSet}},
		}},
	})
	if err == nil {
		err = answer.Resources[0].Error
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A log as `migrate` makes it passes, and each setting that is changed for the
// worse is named, with what it should be.
func TestUnsafeSettings(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string, client *kafka.Client) {
		admin, suffix := client.Admin(), "."+strings.ToLower(rand.Text())
		inbound := bus.Topic{Name: bus.InboundTopic(1) + suffix, Partitions: 1, Durable: true}
		fleeting := bus.Topic{Name: bus.TopicSignals + suffix, Partitions: 1}
		if _, err := admin.Ensure(t.Context(), []bus.Topic{inbound, fleeting}, 1); err != nil {
			t.Fatal(err)
		}
		if err := admin.Check(t.Context(), []bus.Topic{inbound, fleeting}, 1); err != nil {
			t.Fatalf("as created: %v", err)
		}
		for _, test := range []struct{ name, bad, good string }{
			{"cleanup.policy", "compact", "delete"},
			{"unclean.leader.election.enable", "true", "false"},
			{"message.timestamp.type", "LogAppendTime", "CreateTime"},
			{"message.timestamp.after.max.ms", "3600000", "5000"},
			{"segment.index.bytes", "10485760", "65536"},
		} {
			alter(t, addr, inbound.Name, test.name, test.bad)
			err := admin.Check(t.Context(), []bus.Topic{fleeting, inbound}, 1)
			want := fmt.Sprintf("topic %s has %s=%s, want ", inbound.Name, test.name, test.bad)
			if !errors.Is(err, bus.ErrUnsafe) || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), test.name+"="+test.good+")") {
				t.Errorf("got %v\nwant %s, and %s", err, want, test.good)
			}
			alter(t, addr, inbound.Name, test.name, test.good)
		}
		if err := admin.Check(t.Context(), []bus.Topic{inbound}, 1); err != nil {
			t.Errorf("with everything as it was: %v", err)
		}
		if err := admin.Check(t.Context(), []bus.Topic{inbound}, 3); !errors.Is(err, bus.ErrUnsafe) || !strings.Contains(err.Error(), "has 1 replicas, want at least 3") {
			t.Errorf("one replica without the override: %v", err)
		}
		inbound.Partitions = 2
		if err := admin.Check(t.Context(), []bus.Topic{inbound}, 1); !errors.Is(err, bus.ErrUnsafe) || !strings.Contains(err.Error(), "has 1 partitions, want 2") {
			t.Errorf("another number of partitions: %v", err)
		}
	})
}

// TestInSync needs more than one broker.
func TestInSync(t *testing.T) {
	cluster, client := start(t, 3)
	topic := bus.Topic{Name: bus.AcceptedTopic(1), Partitions: 1, Durable: true}
	if _, err := client.Admin().Ensure(t.Context(), []bus.Topic{topic}, 3); err != nil {
		t.Fatal(err)
	}
	for value, safe := range map[string]bool{"2": true, "1": false} {
		alter(t, cluster.Addr(), topic.Name, "min.insync.replicas", value)
		if err := client.Admin().Check(t.Context(), []bus.Topic{topic}, 3); (err == nil) != safe {
			t.Errorf("min.insync.replicas=%s: %v", value, err)
		}
	}
}

// onBoth runs a test on an embedded broker and on a real one.
func onBoth(t *testing.T, test func(t *testing.T, addr string, client *kafka.Client)) {
	t.Run("embedded", func(t *testing.T) {
		cluster, client := start(t, 1)
		test(t, cluster.Addr(), client)
	})
	t.Run("real", func(t *testing.T) {
		addr := os.Getenv("SWITCHBOARD_TEST_KAFKA")
		if addr == "" {
			t.Skip("SWITCHBOARD_TEST_KAFKA does not name a Kafka to test with")
		}
		test(t, addr, open(t, addr))
	})
}

func TestEnsureWithoutEnoughBrokers(t *testing.T) {
	_, client := start(t, 1)
	_, err := client.Admin().Ensure(t.Context(), []bus.Topic{{Name: "t", Partitions: 1}}, 3)
	if !errors.Is(err, kafkago.InvalidReplicationFactor) || !strings.Contains(err.Error(), "topic t") {
		t.Errorf("three replicas on one broker: %v", err)
	}
}

// TestSharedTopics creates all that the programs share, as `migrate` does.
func TestSharedTopics(t *testing.T) {
	_, client := start(t, 1)
	topics := append(bus.Topics(bus.FirstGeneration, 16), bus.DeliveryLog("gw-1"))
	begin := time.Now()
	created, err := client.Admin().Ensure(t.Context(), topics, 1)
	if err != nil || len(created) != len(topics) {
		t.Fatalf("created %v, %v", created, err)
	}
	t.Logf("%d topics in %v", len(topics), time.Since(begin))
	if err := client.Admin().Check(t.Context(), topics, 1); err != nil {
		t.Error(err)
	}
}

// TestUnreachable is what a program says that starts before its broker.
func TestUnreachable(t *testing.T) {
	cluster, _ := start(t, 1)
	addr := cluster.Addr()
	cluster.Close()
	admin := open(t, addr).Admin()
	_, ensureErr := admin.Ensure(t.Context(), []bus.Topic{{Name: "t", Partitions: 1}}, 1)
	_, partitionsErr := admin.Partitions(t.Context(), "t")
	checkErr := admin.Check(t.Context(), []bus.Topic{{Name: "t", Partitions: 1}}, 1)
	for _, err := range []error{ensureErr, partitionsErr, checkErr} {
		if err == nil || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), addr) {
			t.Errorf("got %v, want which address and why", err)
		}
	}
}
