package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"switchboard/internal/bus"
)

const (
	// adminTimeout bounds one request to the controller.
	adminTimeout = 15 * time.Second
	// indexBytes is the size of a new segment's index. With Kafka's default of
	// 10 MB, one request for 500 fresh topics held the broker up for 9 s.
	indexBytes = 64 << 10
)

// admin implements [bus.Admin].
type admin struct{ client *Client }

// Ensure implements [bus.Admin]. When it returns, every topic that it created
// has leaders that take records. It does not change topics that exist. It asks
// once.
func (a *admin) Ensure(ctx context.Context, topics []bus.Topic, replication int) (created []string, err error) {
	if _, err := a.look(ctx); err != nil {
		return nil, fmt.Errorf("create topics: %w", err)
	}
	configs := make([]kafkago.TopicConfig, len(topics))
	for i, t := range topics {
		configs[i] = topicConfig(t, replication)
	}
	made, err := a.create(ctx, configs)
	if err != nil {
		return nil, err
	}
	var fresh []bus.Topic
	for _, t := range topics {
		if made[t.Name] {
			created = append(created, t.Name)
			fresh = append(fresh, t)
		}
	}
	return created, a.awaitLeaders(ctx, fresh)
}

// create asks for all topics and says which of them are new. A broker before
// Kafka 3.6 does not know the limit on timestamps and gets its topic without.
func (a *admin) create(ctx context.Context, configs []kafkago.TopicConfig) (made map[string]bool, err error) {
	made = make(map[string]bool)
	for len(configs) > 0 {
		var again []kafkago.TopicConfig
		answer, err := a.createOnce(ctx, configs)
		if err != nil {
			return nil, err
		}
		for _, config := range configs {
			switch err := answer[config.Topic]; {
			case err == nil:
				made[config.Topic] = true
			case errors.Is(err, kafkago.TopicAlreadyExists):
			case errors.Is(err, kafkago.InvalidConfiguration) && strip(&config):
				again = append(again, config)
			default:
				return nil, fmt.Errorf("create topic %s: %w", config.Topic, err)
			}
		}
		configs = again
	}
	return made, nil
}

func (a *admin) createOnce(ctx context.Context, configs []kafkago.TopicConfig) (map[string]error, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	answer, err := a.client.kafka.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: configs})
	if err != nil {
		a.client.drop()
		return nil, fmt.Errorf("create topics: %w", err)
	}
	return answer.Errors, nil
}

// strip removes the setting that old brokers do not know and reports whether
// it was there.
func strip(config *kafkago.TopicConfig) bool {
	for i, entry := range config.ConfigEntries {
		if entry.ConfigName == futureLimit {
			config.ConfigEntries = append(config.ConfigEntries[:i:i], config.ConfigEntries[i+1:]...)
			return true
		}
	}
	return false
}

func topicConfig(t bus.Topic, replication int) kafkago.TopicConfig {
	entries := []kafkago.ConfigEntry{
		{ConfigName: "cleanup.policy", ConfigValue: "delete"},
		{ConfigName: "segment.index.bytes", ConfigValue: strconv.Itoa(indexBytes)},
		{ConfigName: "unclean.leader.election.enable", ConfigValue: "false"},
		{ConfigName: "min.insync.replicas", ConfigValue: strconv.Itoa(inSync(replication))},
	}
	if t.Retention > 0 {
		entries = append(entries, kafkago.ConfigEntry{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(t.Retention.Milliseconds(), 10)})
	}
	if isInbound(t.Name) {
		entries = append(entries,
			kafkago.ConfigEntry{ConfigName: "message.timestamp.type", ConfigValue: "CreateTime"},
			kafkago.ConfigEntry{ConfigName: futureLimit, ConfigValue: strconv.Itoa(futureMillis)})
	}
	return kafkago.TopicConfig{
		Topic:             t.Name,
		NumPartitions:     int(t.Partitions),
		ReplicationFactor: replication,
		ConfigEntries:     entries,
	}
}

// isInbound reports whether a topic is the inbound log of any generation.
func isInbound(name string) bool {
	first := bus.InboundTopic(bus.FirstGeneration)
	return name == first || strings.HasPrefix(name, first+".")
}

func inSync(replication int) int {
	if replication >= safeReplicas {
		return safeInSync
	}
	return 1
}

// awaitLeaders waits until the partitions of new topics can be used: for some
// hundred milliseconds after a topic was created its leaders do not know yet
// that they are.
func (a *admin) awaitLeaders(ctx context.Context, topics []bus.Topic) error {
	for _, t := range topics {
		what := "wait for the leaders of topic " + t.Name
		err := a.client.retry(ctx, what, func(ctx context.Context) error { return a.probe(ctx, t) })
		if err != nil {
			return err
		}
	}
	return nil
}

// probe fetches nothing from each partition, which only a leader can answer.
func (a *admin) probe(ctx context.Context, t bus.Topic) error {
	seen, err := a.client.layout(ctx)
	if err != nil {
		return err
	}
	byLeader := make(map[int32][]want)
	for p := range t.Partitions {
		broker, ok := seen.leader(t.Name, p)
		if !ok {
			return kafkago.UnknownTopicOrPartition
		}
		byLeader[broker] = append(byLeader[broker], want{topic: t.Name, partition: p})
	}
	for _, wants := range byLeader {
		gots, err := a.client.fetch(ctx, wants, 0)
		if err != nil {
			return err
		}
		for i := range gots {
			// Records may have come and gone already.
			if err := gots[i].err; err != nil && !errors.Is(err, kafkago.OffsetOutOfRange) {
				return err
			}
		}
	}
	return nil
}

// Partitions implements [bus.Admin]. It asks once.
func (a *admin) Partitions(ctx context.Context, topic string) (int32, error) {
	seen, err := a.look(ctx)
	if err != nil {
		return 0, fmt.Errorf("count the partitions of %s: %w", topic, err)
	}
	known, ok := seen.topic(topic)
	if !ok {
		return 0, fmt.Errorf("count the partitions of %s: %w", topic, a.missing(ctx, topic))
	}
	return int32(len(known.Partitions)), nil
}

// look returns the cluster as it is now. The first question is for the sake of
// its error, which says why nobody can be reached.
func (a *admin) look(ctx context.Context) (layout, error) {
	seen, err := a.client.layout(ctx)
	if err == nil {
		err = a.client.refresh(ctx)
	}
	if err == nil {
		seen, err = a.client.layout(ctx)
	}
	if err != nil {
		a.client.drop()
	}
	return seen, err
}
