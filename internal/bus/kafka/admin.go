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
	// safeReplicas is the replication from which on a topic can lose a broker;
	// with it, safeInSync replicas must have a record before it is acknowledged.
	safeReplicas, safeInSync = 3, 2
	// indexBytes is the size of a new segment's index. With Kafka's default of
	// 10 MB, one request for 500 fresh topics held the broker up for 9 s.
	indexBytes = 64 << 10
	// futureMillis is how far ahead of the broker's clock an inbound record may
	// be; a host in the year 2100 would drag message ids there for good.
	futureMillis = 5000
	futureLimit  = "message.timestamp.after.max.ms"
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
		return 0, fmt.Errorf("count the partitions of %s: %w", topic, bus.ErrUnknownTopic)
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

// Check implements [bus.Admin]. It asks once; [bus.ErrUnsafe] is in the error
// when waiting does not help.
func (a *admin) Check(ctx context.Context, topics []bus.Topic) error {
	seen, err := a.look(ctx)
	if err != nil {
		return fmt.Errorf("check topics: %w", err)
	}
	for _, t := range topics {
		known, ok := seen.topic(t.Name)
		if !ok {
			return fmt.Errorf("topic %s is missing: %w", t.Name, bus.ErrUnknownTopic)
		}
		if n := int32(len(known.Partitions)); n != t.Partitions {
			return fmt.Errorf("topic %s has %d partitions instead of %d: %w", t.Name, n, t.Partitions, bus.ErrUnsafe)
		}
	}
	return a.checkSettings(ctx, topics, seen)
}

// checkSettings looks at what decides whether acknowledged records can be lost.
func (a *admin) checkSettings(ctx context.Context, topics []bus.Topic, seen layout) error {
	request := &kafkago.DescribeConfigsRequest{}
	for _, t := range topics {
		if t.Durable {
			request.Resources = append(request.Resources, kafkago.DescribeConfigRequestResource{
				ResourceType: kafkago.ResourceTypeTopic,
				ResourceName: t.Name,
				ConfigNames:  []string{"cleanup.policy", "min.insync.replicas", "unclean.leader.election.enable"},
			})
		}
	}
	if len(request.Resources) == 0 {
		return nil
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
		known, _ := seen.topic(resource.ResourceName)
		if err := judge(settings, len(known.Partitions[0].ReplicaNodes)); err != nil {
			return fmt.Errorf("topic %s: %w", resource.ResourceName, err)
		}
	}
	return nil
}

// judge says what is wrong with a durable topic's settings. A topic with fewer
// replicas than safeReplicas was made so on purpose: it is a developer's. A
// setting that the broker does not tell is at its default, which is safe but
// for min.insync.replicas.
func judge(settings map[string]string, replicas int) error {
	if policy, ok := settings["cleanup.policy"]; ok && policy != "delete" {
		return fmt.Errorf("cleanup.policy is %s instead of delete: %w", policy, bus.ErrUnsafe)
	}
	if settings["unclean.leader.election.enable"] == "true" {
		return fmt.Errorf("unclean.leader.election.enable is true: %w", bus.ErrUnsafe)
	}
	if replicas < safeReplicas {
		return nil
	}
	if n, err := strconv.Atoi(settings["min.insync.replicas"]); err != nil || n < safeInSync {
		return fmt.Errorf("min.insync.replicas is %q with %d replicas, below %d: %w",
			settings["min.insync.replicas"], replicas, safeInSync, bus.ErrUnsafe)
	}
	return nil
}
