package kafka

import (
	"errors"
	"testing"
	"time"

	"switchboard/internal/bus"
)

func TestJudge(t *testing.T) {
	tests := []struct {
		name     string
		settings map[string]string
		replicas int
		unsafe   bool
	}{
		{"safe", map[string]string{"cleanup.policy": "delete", "min.insync.replicas": "2", "unclean.leader.election.enable": "false"}, 3, false},
		{"three in sync", map[string]string{"min.insync.replicas": "3"}, 3, false},
		{"one in sync", map[string]string{"min.insync.replicas": "1"}, 3, true},
		{"in sync untold", map[string]string{}, 3, true},
		{"a developer's single replica", map[string]string{"min.insync.replicas": "1"}, 1, false},
		{"unclean election", map[string]string{"unclean.leader.election.enable": "true"}, 1, true},
		{"compacted", map[string]string{"cleanup.policy": "compact"}, 1, true},
		{"compacted and deleted", map[string]string{"cleanup.policy": "compact,delete"}, 1, true},
	}
	for _, test := range tests {
		if err := judge(test.settings, test.replicas); errors.Is(err, bus.ErrUnsafe) != test.unsafe || (err != nil) != test.unsafe {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestTopicConfig(t *testing.T) {
	entries := func(topic bus.Topic, replication int) map[string]string {
		config := topicConfig(topic, replication)
		all := make(map[string]string)
		for _, entry := range config.ConfigEntries {
			all[entry.ConfigName] = entry.ConfigValue
		}
		return all
	}
	for _, name := range []string{bus.InboundTopic(1), bus.InboundTopic(7)} {
		inbound := entries(bus.Topic{Name: name, Retention: time.Hour}, 3)
		for setting, want := range map[string]string{
			"segment.index.bytes": "65536", "retention.ms": "3600000", "min.insync.replicas": "2", "cleanup.policy": "delete",
			"unclean.leader.election.enable": "false", "message.timestamp.type": "CreateTime", futureLimit: "5000",
		} {
			if inbound[setting] != want {
				t.Errorf("%s has %s=%q, want %q", name, setting, inbound[setting], want)
			}
		}
	}
	accepted := entries(bus.Topic{Name: bus.AcceptedTopic(1)}, 1)
	if _, ok := accepted[futureLimit]; ok || accepted["min.insync.replicas"] != "1" {
		t.Errorf("accepted on one broker: %v", accepted)
	}
	if _, ok := accepted["retention.ms"]; ok {
		t.Error("retention 0 is not the cluster's default")
	}
}

// TestStrip is a broker before Kafka 3.6, which refuses the limit on timestamps.
func TestStrip(t *testing.T) {
	config := topicConfig(bus.Topic{Name: bus.InboundTopic(1)}, 1)
	before := len(config.ConfigEntries)
	if !strip(&config) || len(config.ConfigEntries) != before-1 {
		t.Fatal("the limit was not removed")
	}
	if strip(&config) {
		t.Error("the limit was removed twice")
	}
}

func TestBackoff(t *testing.T) {
	if backoff(0) != backoffFirst || backoff(1) != 2*backoffFirst || backoff(1000) != backoffMax {
		t.Errorf("pauses of %v, %v … %v", backoff(0), backoff(1), backoff(1000))
	}
}
