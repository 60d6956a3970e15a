package kafka_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
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

// BenchmarkRoad sends 200-byte records to 16 partitions at a fixed rate, has a
// reader for each, and reports the time from Produce to Next, and the CPU that
// a record costs, the broker's included.
func BenchmarkRoad(b *testing.B) {
	for _, rate := range []int{1000, 5000, 20_000} {
		b.Run(fmt.Sprintf("rate=%d", rate), func(b *testing.B) { benchRoad(b, rate) })
	}
}

func benchRoad(b *testing.B, rate int) {
	const partitions = 16
	_, client := start(b, 1)
	ensure(b, client, "bench", partitions)
	producer := run(b, client, kafka.ProducerConfig{})
	sent, took := make([]time.Time, b.N), make([]time.Duration, b.N)
	var count atomic.Int64
	finished := make(chan struct{})
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for p := range int32(partitions) {
		go func() {
			reader := client.Log().Open("bench", p, 0)
			defer reader.Close()
			for {
				records, err := reader.Next(ctx)
				if err != nil {
					return
				}
				for _, r := range records {
					n := int(r.Offset)*partitions + int(p)
					took[n] = time.Since(sent[n])
				}
				if count.Add(int64(len(records))) == int64(b.N) {
					close(finished)
				}
			}
		}()
	}
	value := []byte(strings.Repeat("v", 184))
	begin, cpu := time.Now(), cpuTime(b)
	for i := 0; i < b.N; {
		time.Sleep(100 * time.Microsecond)
		for due := min(b.N, int(time.Since(begin).Seconds()*float64(rate))); i < due; i++ {
			sent[i] = time.Now()
			if err := producer.Produce(bus.Message{Topic: "bench", Partition: int32(i % partitions), Value: value}, func(int64, error) {}); err != nil {
				b.Fatal(err)
			}
		}
	}
	<-finished
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/record")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkIdle reports what a program costs that waits on many partitions.
func BenchmarkIdle(b *testing.B) {
	const topics, partitions = 6, 16
	_, client := start(b, 1)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for i := range topics {
		topic := fmt.Sprint("idle-", i)
		ensure(b, client, topic, partitions)
		for p := range int32(partitions) {
			go func() {
				reader := client.Log().Open(topic, p, 0)
				defer reader.Close()
				_, _ = reader.Next(ctx)
			}()
		}
	}
	time.Sleep(time.Second)
	cpu, begin := cpuTime(b), time.Now()
	for b.Loop() {
		time.Sleep(5 * time.Second)
	}
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/1000/time.Since(begin).Seconds(), "cpu-ms/s")
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
