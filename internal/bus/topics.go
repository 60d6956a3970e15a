package bus

import (
	"fmt"
	"strings"
	"time"

	"switchboard/internal/chat"
)

// The topics of the first generation. A later generation of inbound and
// accepted has its number behind a dot: see [Inbound].
const (
	inbound        = "chat.inbound"
	accepted       = "chat.accepted"
	TopicReceipts  = "chat.receipts"
	TopicStatus    = "chat.status"
	TopicSignals   = "chat.signals"
	TopicPush      = "chat.push"
	TopicDead      = "chat.undelivered" // what could not be taken to a device
	deliveryPrefix = "chat.delivery."
)

// The consumer groups: all programs that do the same work share the partitions
// under one of these names.
const (
	FoldGroup     = "switchboard-fold"           // of the inbound log
	RouterGroup   = "switchboard-router"         // of the accepted log
	ReceiptsGroup = "switchboard-receipts"       // of the receipts
	StatusGroup   = "switchboard-router-status"  // of the statuses
	SignalsGroup  = "switchboard-router-signals" // of the signals
	PushGroup     = "switchboard-push"           // of what is to be notified
	PushReadGroup = "switchboard-push-status"    // of the statuses, for what was read

	ProjectionGroup = "switchboard-projection" // of the accepted log
	SearchGroup     = "switchboard-search"     // of the accepted log
)

// FirstGeneration is the generation of a log that was never replaced.
const FirstGeneration = 1

// InboundTopic returns the name of the inbound log of a generation. A log that
// was lost or must be re-partitioned is never re-created under its name: it
// gets a new one, so that an offset always means one record.
func InboundTopic(generation uint32) string { return generationName(inbound, generation) }

// AcceptedTopic returns the name of the log of outcomes of a generation.
func AcceptedTopic(generation uint32) string { return generationName(accepted, generation) }

func generationName(base string, generation uint32) string {
	if generation <= FirstGeneration {
		return base
	}
	return fmt.Sprintf("%s.%d", base, generation)
}

// Kind returns the word for a topic in metrics, such as inbound or delivery: there
// are few of these, and as many topics as servers.
func Kind(topic string) string {
	kind, prefixed := strings.CutPrefix(topic, "chat.")
	if !prefixed {
		return "other"
	}
	kind, _, _ = strings.Cut(kind, ".")
	return kind
}

// DeliveryTopic returns the topic of one server's deliveries. A server is a
// stable slot such as "gw-7", the same after each restart.
func DeliveryTopic(server string) string { return deliveryPrefix + server }

// ValidServer reports whether a server name may be part of a topic's name:
// 1 to 64 characters of a–z, 0–9 and '-'.
func ValidServer(server string) bool {
	if server == "" || len(server) > 64 {
		return false
	}
	for i := range len(server) {
		c := server[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// Topics returns the topics that all programs share, with equal partition
// counts.
func Topics(generation uint32, partitions int32) []Topic {
	return []Topic{
		{Name: InboundTopic(generation), Partitions: partitions, Retention: 7 * 24 * time.Hour, Durable: true},
		{Name: AcceptedTopic(generation), Partitions: partitions, Retention: 7 * 24 * time.Hour, Durable: true},
		{Name: TopicReceipts, Partitions: partitions, Retention: 6 * time.Hour, Durable: true},
		{Name: TopicStatus, Partitions: partitions, Retention: 6 * time.Hour, Durable: true},
		{Name: TopicSignals, Partitions: partitions, Retention: 10 * time.Minute},
		{Name: TopicPush, Partitions: partitions, Retention: 2 * 24 * time.Hour, Durable: true},
		{Name: TopicDead, Partitions: partitions, Retention: 7 * 24 * time.Hour, Durable: true},
	}
}

// DeliveryLog returns the topic of one server: a single partition, read by that
// server alone, kept for minutes.
func DeliveryLog(server string) Topic {
	return Topic{Name: DeliveryTopic(server), Partitions: 1, Retention: 15 * time.Minute, Durable: true}
}

// PartitionOf returns the partition of a conversation's records: Kafka's own
// murmur2 over the 16 raw bytes of the id, sign bit cleared, modulo the number
// of partitions. kcat and Java's default partitioner land on the same one.
func PartitionOf(id chat.ConversationID, partitions int32) int32 {
	return partitionOf(id[:], partitions)
}

// PartitionOfUser does the same for the topics that are keyed by user.
func PartitionOfUser(id chat.UserID, partitions int32) int32 {
	return partitionOf(id[:], partitions)
}

func partitionOf(key []byte, partitions int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % partitions
}

// murmur2 is the 32-bit MurmurHash2 with the seed that Kafka's Java client
// uses (org.apache.kafka.common.utils.Utils.murmur2), for keys of whole words.
func murmur2(key []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
	}
	for i, b := range key {
		h ^= uint32(b) << (8 * i)
	}
	if len(key) > 0 {
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
