package embedded

import (
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fault is an error that the broker can be told to answer.
type Fault int

// The faults. Two of them answer an error although the records are on the log,
// as a real broker does: TimedOut and NotEnoughReplicasAfterAppend.
const (
	NotLeader Fault = iota
	LeaderNotAvailable
	TimedOut
	NotEnoughReplicas
	NotEnoughReplicasAfterAppend
	OutOfOrderSequence
	UnknownProducerID
	InvalidProducerEpoch
	UnknownTopic
	MessageTooLarge
	CoordinatorLoading
	CoordinatorNotAvailable
	NotCoordinator
	OffsetOutOfRange
	IllegalGeneration
)

func (f Fault) err() *kerr.Error {
	return [...]*kerr.Error{
		NotLeader:                    kerr.NotLeaderForPartition,
		LeaderNotAvailable:           kerr.LeaderNotAvailable,
		TimedOut:                     kerr.RequestTimedOut,
		NotEnoughReplicas:            kerr.NotEnoughReplicas,
		NotEnoughReplicasAfterAppend: kerr.NotEnoughReplicasAfterAppend,
		OutOfOrderSequence:           kerr.OutOfOrderSequenceNumber,
		UnknownProducerID:            kerr.UnknownProducerID,
		InvalidProducerEpoch:         kerr.InvalidProducerEpoch,
		UnknownTopic:                 kerr.UnknownTopicOrPartition,
		MessageTooLarge:              kerr.MessageTooLarge,
		CoordinatorLoading:           kerr.CoordinatorLoadInProgress,
		CoordinatorNotAvailable:      kerr.CoordinatorNotAvailable,
		NotCoordinator:               kerr.NotCoordinator,
		OffsetOutOfRange:             kerr.OffsetOutOfRange,
		IllegalGeneration:            kerr.IllegalGeneration,
	}[f]
}

// Fail answers the next times requests of a kind with a fault, in place of the
// work. topic narrows it to one topic; empty means all.
func (c *Cluster) Fail(r Request, topic string, fault Fault, times int) {
	c.kfake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Key(r)}, Topic: topic, Err: fault.err(), Count: times})
}

// LoseAnswers closes the connection instead of answering the next times
// requests of a kind. The work was done.
func (c *Cluster) LoseAnswers(r Request, times int) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.wire.losing[r] += times
}

// Withhold keeps requests of a kind on the wire, unseen by the broker, until
// release is called; the broker then works on them, whether or not the client
// still waits. release may be called again.
func (c *Cluster) Withhold(r Request) (release func()) {
	gate := make(chan struct{})
	c.wire.mu.Lock()
	c.wire.gates[r] = gate
	c.wire.mu.Unlock()
	return sync.OnceFunc(func() {
		c.wire.mu.Lock()
		defer c.wire.mu.Unlock()
		if c.wire.gates[r] == gate {
			delete(c.wire.gates, r)
		}
		close(gate)
	})
}

// DropConnections closes every connection of every client.
func (c *Cluster) DropConnections() { c.wire.dropAll() }

// Leader returns the broker that leads a partition, or −1.
func (c *Cluster) Leader(topic string, partition int32) int32 {
	return c.kfake.LeaderFor(topic, partition)
}

// MoveLeader makes another broker the leader of a partition.
func (c *Cluster) MoveLeader(topic string, partition int32) error {
	from := c.kfake.LeaderFor(topic, partition)
	to := (from + 1) % int32(len(c.addrs))
	if err := c.kfake.MoveTopicPartition(topic, partition, to); err != nil {
		return fmt.Errorf("move the leader of %s/%d to broker %d: %w", topic, partition, to, err)
	}
	return nil
}

// DeleteTopic removes a topic and its records.
func (c *Cluster) DeleteTopic(topic string) error {
	if err := c.kfake.DeleteTopic(topic); err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	return nil
}

// DeleteRecords removes the records below offset, as retention does.
func (c *Cluster) DeleteRecords(topic string, partition int32, offset int64) error {
	if err := c.kfake.DeleteRecords(topic, partition, offset); err != nil {
		return fmt.Errorf("delete records of %s/%d below %d: %w", topic, partition, offset, err)
	}
	return nil
}

// Connections returns how many connections clients have open.
func (c *Cluster) Connections() int {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	return len(c.wire.conns)
}
