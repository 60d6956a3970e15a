package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"switchboard/internal/bus"
)

const (
	// partitionBytes is what one fetch may bring of a partition. It is above
	// the largest batch, since one that does not fit would never arrive.
	partitionBytes = 1<<20 + 1<<16
	// fetchBytes is what one fetch may bring in all.
	fetchBytes = 8 << 20
	// chunkBytes bounds how much memory is shared by records: one that is kept
	// for long keeps its chunk.
	chunkBytes = 16 << 10
	// answerGrace is how much later than its MaxWait an answer may come.
	answerGrace = 5 * time.Second
)

// want is one partition of a fetch.
type want struct {
	topic     string
	partition int32
	offset    int64
}

// got is what a fetch brought of a want.
type got struct {
	records []bus.Record
	next    int64 // the offset behind what was brought
	err     error // of this partition
}

// fetch asks the leader of all wants for records and waits up to maxWait for
// the first. The error is of the request as a whole.
func (c *Client) fetch(ctx context.Context, wants []want, maxWait time.Duration) ([]got, error) {
	ctx, cancel := context.WithTimeout(ctx, maxWait+answerGrace)
	defer cancel()
	c.fetches.Inc()
	message, err := c.transport.RoundTrip(ctx, c.addr, fetchRequest(wants, maxWait))
	if err != nil {
		return nil, err
	}
	response := message.(*fetch.Response)
	if response.ErrorCode != 0 {
		return nil, kafkago.Error(response.ErrorCode)
	}
	gots := make([]got, len(wants))
	for i := range wants {
		gots[i] = got{next: wants[i].offset}
		part := findFetched(response, &wants[i], i)
		if part == nil {
			gots[i].err = protocol.ErrNoPartition
		} else if part.ErrorCode != 0 {
			gots[i].err = kafkago.Error(part.ErrorCode)
		} else {
			gots[i].records, gots[i].next, gots[i].err = decode(&wants[i], part.RecordSet.Records)
		}
	}
	return gots, nil
}

// fetchRequest builds a request without a fetch session: all it asks is in it.
func fetchRequest(wants []want, maxWait time.Duration) *fetch.Request {
	request := &fetch.Request{
		ReplicaID:    -1,
		MaxWaitTime:  int32(maxWait / time.Millisecond),
		MinBytes:     1,
		MaxBytes:     fetchBytes,
		SessionEpoch: -1,
	}
	for i := range wants {
		w := &wants[i]
		n := len(request.Topics)
		if n == 0 || request.Topics[n-1].Topic != w.topic {
			request.Topics = append(request.Topics, fetch.RequestTopic{
				Topic:      w.topic,
				Partitions: make([]fetch.RequestPartition, 0, len(wants)-i),
			})
			n++
		}
		t := &request.Topics[n-1]
		t.Partitions = append(t.Partitions, fetch.RequestPartition{
			Partition:          w.partition,
			CurrentLeaderEpoch: -1,
			FetchOffset:        w.offset,
			LogStartOffset:     -1,
			PartitionMaxBytes:  partitionBytes,
		})
	}
	return request
}

// findFetched returns the answer for a want, which as a rule stands where the
// want stood.
func findFetched(response *fetch.Response, w *want, hint int) *fetch.ResponsePartition {
	for i := range response.Topics {
		t := &response.Topics[i]
		if t.Topic != w.topic {
			continue
		}
		if hint < len(t.Partitions) && t.Partitions[hint].Partition == w.partition {
			return &t.Partitions[hint]
		}
		for j := range t.Partitions {
			if t.Partitions[j].Partition == w.partition {
				return &t.Partitions[j]
			}
		}
	}
	return nil
}

// decode copies the records at or above the wanted offset out of the
// transport's pages. Batches are sent whole, so the first may begin below it.
func decode(w *want, set protocol.RecordReader) (records []bus.Record, next int64, err error) {
	next = w.offset
	stream, ok := set.(*protocol.RecordStream)
	if !ok {
		return nil, next, nil // Nothing new.
	}
	var chunk []byte
	for _, batch := range stream.Records {
		control, isControl := batch.(*protocol.ControlBatch)
		if isControl {
			batch = control.Records
		}
		for {
			r, err := batch.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return records, next, fmt.Errorf("decode batch at %d: %w", next, err)
			}
			record := bus.Record{Topic: w.topic, Partition: w.partition, Offset: r.Offset, Millis: r.Time.UnixMilli()}
			wanted := r.Offset >= next && !isControl
			record.Key, chunk, err = take(r.Key, chunk, wanted, err)
			record.Value, chunk, err = take(r.Value, chunk, wanted, err)
			if err != nil {
				return records, next, fmt.Errorf("decode record %d: %w", r.Offset, err)
			}
			if wanted {
				records = append(records, record)
			}
			next = max(next, r.Offset+1)
		}
	}
	return records, next, nil
}

// take copies b to the end of chunk, or only lets go of it when it is not
// wanted, and returns the copy and the chunk for the next.
func take(b protocol.Bytes, chunk []byte, wanted bool, err error) (copied, rest []byte, _ error) {
	if b == nil {
		return nil, chunk, err
	}
	defer func() { _ = b.Close() }() // It only gives a page back.
	n := b.Len()
	if !wanted || err != nil {
		return nil, chunk, err
	}
	if cap(chunk)-len(chunk) < n {
		chunk = make([]byte, 0, max(n, min(2*cap(chunk), chunkBytes)))
	}
	copied = chunk[len(chunk) : len(chunk)+n : len(chunk)+n]
	_, err = io.ReadFull(b, copied)
	return copied, chunk[:len(chunk)+n], err
}
