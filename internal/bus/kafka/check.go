package kafka

import (
	"context"
	"fmt"
	"strconv"

	kafkago "github.com/segmentio/kafka-go"

	"switchboard/internal/bus"
)

const (
	// safeReplicas is the replication from which on a topic can lose a broker;
	// with it, safeInSync replicas must have a record before it is acknowledged.
	safeReplicas, safeInSync = 3, 2
	// futureMillis is how far ahead of the broker's clock an inbound record may
	// be; a host in the year 2100 would drag message ids there for good.
	futureMillis = 5000
	// indexMost is how large a segment's index may be. It is above what we ask
	// for, since a busy site may want longer segments.
	indexMost = 1 << 20
)

// The settings of a topic that are looked at.
const (
	cleanupPolicy = "cleanup.policy"
	minInSync     = "min.insync.replicas"
	uncleanLeader = "unclean.leader.election.enable"
	segmentIndex  = "segment.index.bytes"
	timestampType = "message.timestamp.type"
	futureLimit   = "message.timestamp.after.max.ms"
)

// Check implements [bus.Admin]. It asks once; [bus.ErrUnsafe] is in the error
// when waiting does not help.
func (a *admin) Check(ctx context.Context, topics []bus.Topic, replication int) error {
	seen, err := a.look(ctx)
	if err != nil {
		return fmt.Errorf("check topics: %w", err)
	}
	for _, t := range topics {
		known, ok := seen.topic(t.Name)
		if !ok {
			return a.missing(ctx, t.Name)
		}
		if n := int32(len(known.Partitions)); n != t.Partitions {
			return fmt.Errorf("topic %s has %d partitions, want %d (the number is part of every message's id, the same for all topics and chosen once): %w",
				t.Name, n, t.Partitions, bus.ErrUnsafe)
		}
	}
	return a.checkSettings(ctx, topics, seen, replication)
}

// checkSettings looks at what decides whether acknowledged records can be lost,
// and whether the log does what the fold relies on.
func (a *admin) checkSettings(ctx context.Context, topics []bus.Topic, seen layout, replication int) error {
	request := &kafkago.DescribeConfigsRequest{}
	asked := make(map[string]bus.Topic, len(topics))
	for _, t := range topics {
		asked[t.Name] = t
		request.Resources = append(request.Resources, kafkago.DescribeConfigRequestResource{
			ResourceType: kafkago.ResourceTypeTopic,
			ResourceName: t.Name,
			ConfigNames:  []string{cleanupPolicy, minInSync, uncleanLeader, segmentIndex, timestampType, futureLimit},
		})
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	answer, err := a.client.kafka.DescribeConfigs(ctx, request)
	if err != nil {
		a.client.drop()
		return fmt.Errorf("check the settings of topics: %w", err)
	}
	for _, resource := range answer.Resources {
		if resource.Error != nil {
			return fmt.Errorf("check the settings of topic %s: %w", resource.ResourceName, resource.Error)
		}
		settings := make(map[string]string, len(resource.ConfigEntries))
		for _, entry := range resource.ConfigEntries {
			settings[entry.ConfigName] = entry.ConfigValue
		}
		if err := judge(asked[resource.ResourceName], settings, seen.replicas(resource.ResourceName), replication); err != nil {
			return err
		}
	}
	return nil
}

// replicas returns how many replicas the least replicated partition has.
func (l layout) replicas(topic string) int {
	t, ok := l.topic(topic)
	if !ok || len(t.Partitions) == 0 {
		return 0
	}
	least := len(t.Partitions[0].ReplicaNodes)
	for i := range t.Partitions {
		least = min(least, len(t.Partitions[i].ReplicaNodes))
	}
	return least
}

// judge says what is wrong with a topic. replication is what the operator asked
// for: below safeReplicas it accepts that records are lost with a broker. A
// setting that the broker does not tell is at its default, which is safe but for
// min.insync.replicas.
func judge(t bus.Topic, settings map[string]string, replicas, replication int) error {
	if t.Durable {
		if err := judgeDurable(t.Name, settings, replicas, replication); err != nil {
			return err
		}
	}
	if isInbound(t.Name) {
		if kind := settings[timestampType]; kind != "" && kind != "CreateTime" {
			return unsafe(t.Name, timestampType, kind, "CreateTime", "CreateTime")
		}
		if limit := settings[futureLimit]; limit != "" && number(limit) > futureMillis {
			return unsafe(t.Name, futureLimit, limit, fmt.Sprint("at most ", futureMillis), strconv.Itoa(futureMillis))
		}
	}
	if index := settings[segmentIndex]; index != "" && number(index) > indexMost {
		return unsafe(t.Name, segmentIndex, index, fmt.Sprint("at most ", indexMost), strconv.Itoa(indexBytes))
	}
	return nil
}

func judgeDurable(topic string, settings map[string]string, replicas, replication int) error {
	if policy := settings[cleanupPolicy]; policy != "" && policy != "delete" {
		return unsafe(topic, cleanupPolicy, policy, "delete", "delete")
	}
	if settings[uncleanLeader] == "true" {
		return unsafe(topic, uncleanLeader, "true", "false", "false")
	}
	if least := min(replication, safeReplicas); replicas < least {
		return fmt.Errorf("topic %s has %d replicas, want at least %d (add some with kafka-reassign-partitions.sh, or accept with -replication %d that records are lost with a broker): %w",
			topic, replicas, least, replicas, bus.ErrUnsafe)
	}
	if inSync := settings[minInSync]; replication >= safeReplicas && number(inSync) < safeInSync {
		return unsafe(topic, minInSync, inSync, fmt.Sprint("at least ", safeInSync), strconv.Itoa(safeInSync))
	}
	return nil
}

// unsafe is one line for the operator: what is, what should be, what to do.
func unsafe(topic, setting, found, want, value string) error {
	return fmt.Errorf("topic %s has %s=%s, want %s (kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config %s=%s): %w",
		topic, setting, found, want, topic, setting, value, bus.ErrUnsafe)
}

// number reads a setting; what is none counts as 0.
func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64) // Out of range is the border of the range.
	return n
}
