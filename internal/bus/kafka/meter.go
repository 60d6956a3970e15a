package kafka

import (
	"fmt"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/metrics"
)

// traffic counts what goes to topics of one kind, or comes from them. Kafka pays
// per batch and not per record, so both are counted: their quotient says whether
// a partition is busy enough to be cheap.
type traffic struct {
	batches, records *metrics.Counter
	bytes            *metrics.Counter
	// age is the time from a record's timestamp, which its producer sets when
	// the batch is put together, to its arrival here: one observation for each
	// partition of an answer, of the oldest record.
	age *metrics.Histogram
}

// produced returns the counters of what is written to a topic.
func (c *Client) produced(topic string) *traffic {
	return c.traffic("produce", topic)
}

// fetched returns the counters of what is read from a topic.
func (c *Client) fetched(topic string) *traffic {
	t := c.traffic("fetch", topic)
	t.age = c.metrics.Histogram(fmt.Sprintf(`switchboard_bus_fetch_age_seconds{topic=%q}`, bus.Kind(topic)))
	return t
}

func (c *Client) traffic(what, topic string) *traffic {
	counter := func(unit string) *metrics.Counter {
		return c.metrics.Counter(fmt.Sprintf(`switchboard_bus_%s_%s_total{topic=%q}`, what, unit, bus.Kind(topic)))
	}
	return &traffic{batches: counter("batches"), records: counter("records"), bytes: counter("bytes")}
}

// add counts one batch.
func (t *traffic) add(records, bytes int) {
	t.batches.Inc()
	t.records.Add(records)
	t.bytes.Add(bytes)
}

// arrived counts what one answer brought of a partition.
func (t *traffic) arrived(records []bus.Record, bytes int) {
	if len(records) == 0 {
		return
	}
	t.add(len(records), bytes)
	t.age.Update(max(time.Since(time.UnixMilli(records[0].Millis)).Seconds(), 0))
}
