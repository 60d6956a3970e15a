// Package bus is the log between the programs: topic names, keys, the records
// that travel, and what a program may ask of the log. It knows Kafka's model
// (topics, partitions, offsets, consumer groups) but no client library; package
// bus/kafka is the implementation, package bustest the suite that it passes.
//
//	gateway, REST ──▶ chat.inbound[p] ──▶ storage-worker ──▶ chat.accepted[p] ──▶ router ──▶ chat.delivery.<server>
//	                  key: conversation                      same p                     └──▶ chat.push
//
// A record is never lost once its acknowledgement came, and records of one
// producer stay in order within a partition, however often the network makes
// it try: see [Producer]. Reading is at least once; [Accepted] records say
// which inbound record they answer, so a reader that remembers one offset per
// partition sees each outcome once: see [Deduper].
package bus

import (
	"context"
	"errors"
	"time"
)

// Errors that callers tell apart. Implementations wrap them.
var (
	// ErrOverloaded refuses a record because too much is waiting to be
	// acknowledged. Nothing was enqueued; the caller answers "try later".
	ErrOverloaded = errors.New("too many records await acknowledgement")
	// ErrTooLarge refuses a record above the limit of one batch; it would
	// never be accepted, so it is not tried.
	ErrTooLarge = errors.New("record exceeds the batch limit")
	// ErrClosed is the answer for records that were pending when the producer
	// ended: unknown, not failed. They may or may not be on the log.
	ErrClosed = errors.New("producer closed before the acknowledgement")
	// ErrOffsetOutOfRange says that the log does not hold the asked offset:
	// it was deleted, or never written. Nothing is skipped silently.
	ErrOffsetOutOfRange = errors.New("offset out of range")
	// ErrUnknownTopic says that the log has no such topic: `migrate` was not
	// run, or the name is wrong.
	ErrUnknownTopic = errors.New("unknown topic")
	// ErrLostClaim says that the group gave the partition to another member.
	ErrLostClaim = errors.New("partition is claimed by another member")
)

// Record is one record as read from the log.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Millis    int64 // CreateTime, Unix milliseconds: the producer's clock
	Key       []byte
	Value     []byte
}

// Message is one record to be written. Key and Value must not change until the
// acknowledgement.
type Message struct {
	Topic     string
	Partition int32
	Key       []byte
	Value     []byte
}

// Producer appends to the log with acks=all. Records of one partition are on
// the log in the order of their Produce calls, each exactly once for as long as
// this producer lives: a request that fails or times out is repeated with the
// same sequence numbers until it is acknowledged.
type Producer interface {
	// Produce enqueues m and returns at once. If it returns nil, done is called
	// exactly once, from a goroutine of the producer: with the record's offset,
	// which is −1 when the log no longer tells, or with [ErrClosed], or with
	// [ErrTooLarge] when the topic has a lower limit than most. done must not
	// block. Otherwise the error is [ErrOverloaded], [ErrTooLarge], or
	// [ErrClosed] once the producer has been told to end, and done is never
	// called.
	Produce(m Message, done func(offset int64, err error)) error
}

// Log reads partitions and answers questions about them.
type Log interface {
	// Bounds returns the offset of the first record held and the offset that
	// the next record will get.
	Bounds(ctx context.Context, topic string, partition int32) (start, end int64, err error)
	// Open returns a reader that begins at offset. Whether the log holds that
	// offset shows at the first Next.
	Open(topic string, partition int32, offset int64) Reader
	// Last returns the newest record of a partition; ok is false when it holds
	// none.
	Last(ctx context.Context, topic string, partition int32) (r Record, ok bool, err error)
}

// Reader reads one partition, in order. It is for one goroutine.
type Reader interface {
	// Next waits for at least one record and returns all that one fetch
	// brought. It retries what may pass and returns only ctx's error or
	// [ErrOffsetOutOfRange]. The records stay valid.
	Next(ctx context.Context) ([]Record, error)
	// Close ends the reader; Next must not be called after it.
	Close()
}

// Group shares the partitions of one topic among the members of a consumer
// group.
type Group interface {
	// Run joins the group and calls handle, on a goroutine of its own, for each
	// partition that this member is given, again and again until ctx ends. The
	// ctx that handle gets ends when the claim does; Run waits for every handle
	// before it lets the partition go. An error of handle ends Run with it.
	Run(ctx context.Context, handle func(ctx context.Context, claim Claim) error) error
}

// Claim is the right to work on a partition until the group gives it away. A
// member that does not notice (a zombie) keeps working; only Commit is fenced.
type Claim interface {
	Topic() string
	Partition() int32
	// Committed returns the offset that the group last committed: the next
	// record to read, or −1 when none is.
	Committed() int64
	// Commit records the next offset to read. It returns [ErrLostClaim] when
	// the partition went to somebody else.
	Commit(ctx context.Context, offset int64) error
}

// Topic is what the log must hold for the programs to start.
type Topic struct {
	Name       string
	Partitions int32
	// Retention is how long records are kept; 0 means the cluster's default.
	Retention time.Duration
	// Durable topics have acks=all, min.insync.replicas and no unclean
	// election; the others may lose what was said within minutes.
	Durable bool
}

// Admin creates topics and checks them.
type Admin interface {
	// Ensure creates what is missing, with the given replication, and returns
	// the names that it created.
	Ensure(ctx context.Context, topics []Topic, replication int) (created []string, err error)
	// Partitions returns how many partitions a topic has: what all programs
	// agree on, since the log itself says it. The error is
	// [ErrUnknownTopic] when there is no such topic, or not yet.
	Partitions(ctx context.Context, topic string) (int32, error)
	// Check returns an error that names the first topic which is missing, has
	// another number of partitions, or has settings under which acknowledged
	// records can be lost or the log does not do what the programs rely on.
	// Durable topics need as many replicas as replication says, of which 3 are
	// always enough; to ask for fewer accepts that records are lost with a broker. [ErrUnsafe] marks what
	// no waiting will heal.
	Check(ctx context.Context, topics []Topic, replication int) error
}

// ErrUnsafe marks a setting under which the guarantees do not hold. A program
// that meets it ends with exit status 2.
var ErrUnsafe = errors.New("unsafe topic")
