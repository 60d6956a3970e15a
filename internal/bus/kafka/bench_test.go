package kafka_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
)

// BenchmarkProduce sends 200-byte records to 8 partitions at a fixed rate and
// reports the time from Produce to done. rate=0 means as fast as it goes.
func BenchmarkProduce(b *testing.B) {
	for _, rate := range []int{1000, 20_000, 0} {
		b.Run(fmt.Sprintf("rate=%d", rate), func(b *testing.B) { benchProduce(b, rate) })
	}
}

func benchProduce(b *testing.B, rate int) {
	_, client := start(b, 1)
	ensure(b, client, "bench", 8)
	producer := run(b, client, kafka.ProducerConfig{PendingBytes: 1 << 30})
	produce(b, producer, "bench", 0, "warm")
	value, key := make([]byte, 184), make([]byte, 16)
	took := make([]time.Duration, b.N)
	var done atomic.Int64
	finished := make(chan struct{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	for i := 0; i < b.N; {
		due := b.N
		if rate > 0 {
			time.Sleep(100 * time.Microsecond)
			due = min(b.N, int(time.Since(start).Seconds()*float64(rate)))
		}
		for ; i < due; i++ {
			n, sent := i, time.Now()
			for producer.Produce(bus.Message{Topic: "bench", Partition: int32(i % 8), Key: key, Value: value},
				func(_ int64, _ error) {
					took[n] = time.Since(sent)
					if done.Add(1) == int64(b.N) {
						close(finished)
					}
				}) != nil {
				time.Sleep(time.Millisecond)
			}
		}
	}
	<-finished
	elapsed := time.Since(start)
	runtime.ReadMemStats(&after)
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(b.N)/elapsed.Seconds(), "records/s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N), "mallocs/record")
}
