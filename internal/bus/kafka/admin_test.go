package kafka_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"switchboard/internal/bus"
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

func TestUnsafeSettings(t *testing.T) {
	cluster, client := start(t, 3)
	durable := bus.Topic{Name: bus.AcceptedTopic(1), Partitions: 1, Durable: true}
	fleeting := bus.Topic{Name: bus.TopicSignals, Partitions: 1}
	if _, err := client.Admin().Ensure(t.Context(), []bus.Topic{durable, fleeting}, 3); err != nil {
		t.Fatal(err)
	}
	if err := client.Admin().Check(t.Context(), []bus.Topic{durable, fleeting}); err != nil {
		t.Fatalf("as created: %v", err)
	}
	for _, setting := range []struct{ name, unsafe, safe string }{
		{"cleanup.policy", "compact", "delete"},
		{"min.insync.replicas", "1", "2"},
	} {
		for _, topic := range []bus.Topic{durable, fleeting} {
			alter(t, cluster.Addr(), topic.Name, setting.name, setting.unsafe)
			err := client.Admin().Check(t.Context(), []bus.Topic{topic})
			if topic.Durable && (!errors.Is(err, bus.ErrUnsafe) || !strings.Contains(err.Error(), setting.name) || !strings.Contains(err.Error(), topic.Name)) {
				t.Errorf("%s=%s of %s: %v", setting.name, setting.unsafe, topic.Name, err)
			}
			if !topic.Durable && err != nil {
				t.Errorf("%s=%s of %s: %v", setting.name, setting.unsafe, topic.Name, err)
			}
			alter(t, cluster.Addr(), topic.Name, setting.name, setting.safe)
		}
	}
	if err := client.Admin().Check(t.Context(), []bus.Topic{durable}); err != nil {
		t.Errorf("with everything as it was: %v", err)
	}
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
	if err := client.Admin().Check(t.Context(), topics); err != nil {
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
	checkErr := admin.Check(t.Context(), []bus.Topic{{Name: "t", Partitions: 1}})
	for _, err := range []error{ensureErr, partitionsErr, checkErr} {
		if err == nil || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), addr) {
			t.Errorf("got %v, want which address and why", err)
		}
	}
}
