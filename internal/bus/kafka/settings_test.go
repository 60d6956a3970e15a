package kafka

import (
	"errors"
	"strings"
	"testing"
	"time"

	"switchboard/internal/bus"
)

func TestJudge(t *testing.T) {
	accepted, inbound := bus.Topic{Name: bus.AcceptedTopic(1), Durable: true}, bus.Topic{Name: bus.InboundTopic(2), Durable: true}
	signals := bus.Topic{Name: bus.TopicSignals}
	type settings = map[string]string
	tests := []struct {
		name        string
		topic       bus.Topic
		settings    settings
		replicas    int
		replication int
		want        string // of the error; empty: safe
	}{
		{"safe", accepted, settings{cleanupPolicy: "delete", minInSync: "2", uncleanLeader: "false"}, 3, 3, ""},
		{"three in sync", accepted, settings{minInSync: "3"}, 3, 3, ""},
		{"one in sync", accepted, settings{minInSync: "1"}, 3, 3, "topic chat.accepted has min.insync.replicas=1, want at least 2 (kafka-configs.sh --alter --entity-type topics --entity-name chat.accepted --add-config min.insync.replicas=2)"},
		{"in sync untold", accepted, settings{}, 3, 3, "min.insync.replicas=, want"},
		{"more replicas than needed", accepted, settings{minInSync: "2"}, 3, 5, ""},
		{"one replica by accident", accepted, settings{minInSync: "1"}, 1, 3, "topic chat.accepted has 1 replicas, want at least 3 (add some with kafka-reassign-partitions.sh, or accept with -replication 1"},
		{"one replica on purpose", accepted, settings{minInSync: "1"}, 1, 1, ""},
		{"one replica where two were wanted", accepted, settings{minInSync: "1"}, 1, 2, "has 1 replicas, want at least 2"},
		{"one in sync on purpose", accepted, settings{minInSync: "1"}, 3, 1, ""},
		{"unclean election", accepted, settings{uncleanLeader: "true"}, 1, 1, "unclean.leader.election.enable=true, want false"},
		{"compacted", accepted, settings{cleanupPolicy: "compact"}, 1, 1, "cleanup.policy=compact, want delete"},
		{"compacted and deleted", accepted, settings{cleanupPolicy: "compact,delete"}, 1, 1, "cleanup.policy=compact,delete, want delete"},
		{"the broker's time", inbound, settings{timestampType: "LogAppendTime"}, 1, 1, "topic chat.inbound.2 has message.timestamp.type=LogAppendTime, want CreateTime"},
		{"the broker's time elsewhere", accepted, settings{timestampType: "LogAppendTime"}, 1, 1, ""},
		{"records of the future", inbound, settings{futureLimit: "9223372036854775807"}, 1, 1, "message.timestamp.after.max.ms=9223372036854775807, want at most 5000"},
		{"no future at all", inbound, settings{futureLimit: "5000", timestampType: "CreateTime"}, 1, 1, ""},
		{"Kafka's default index", signals, settings{segmentIndex: "10485760"}, 1, 1, "topic chat.signals has segment.index.bytes=10485760, want at most 1048576"},
		{"a larger index", signals, settings{segmentIndex: "1048576"}, 1, 1, ""},
		{"what is fleeting may be lost", signals, settings{cleanupPolicy: "compact", minInSync: "1", uncleanLeader: "true"}, 1, 3, ""},
	}
	for _, test := range tests {
		err := judge(test.topic, test.settings, test.replicas, test.replication)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (!errors.Is(err, bus.ErrUnsafe) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
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
