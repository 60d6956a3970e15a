package scylla_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/archivetest"
	"switchboard/storage-worker/archive/scylla"
)

// partitions is how many write at the same time.
const partitions = 16

// processor returns the CPU time that this process has used, without the
// server's.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWrite is as many messages as the archive takes from 16 partitions in
// batches of some messages each: the same traffic as package sqlite's.
func BenchmarkWrite(b *testing.B) {
	for _, each := range []int{1, 10, 100} {
		b.Run(fmt.Sprint("batch=", each), func(b *testing.B) {
			c := config(b, "switchboard_test")
			c.Metrics = metrics.New()
			if _, err := scylla.Migrate(b.Context(), c, 1); err != nil {
				b.Fatal(err)
			}
			s, err := scylla.Open(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			load(b, s, c.Metrics, each)
		})
	}
}

// load writes from all partitions until b.N messages are there, and reports what
// one cost.
func load(b *testing.B, s *scylla.Store, set *metrics.Set, each int) {
	var left atomic.Int64
	left.Store(int64(b.N))
	times := make([][]time.Duration, partitions)
	all := make([]*archivetest.Traffic, partitions)
	for p := range all {
		all[p] = archivetest.NewTraffic(uint32(p))
		if err := s.Write(b.Context(), all[p].First()); err != nil {
			b.Fatal(err)
		}
	}
	records := set.Counter(`switchboard_archive_records_total`)
	sent, written := requests(set), records.Get()
	used := processor()
	b.ResetTimer()
	var wg sync.WaitGroup
	for p := range partitions {
		wg.Go(func() {
			for left.Add(-int64(each)) > -int64(each) {
				batch := &archive.Batch{}
				for range each {
					all[p].Add(batch)
				}
				began := time.Now()
				if err := s.Write(b.Context(), batch); err != nil {
					b.Error(err)
					return
				}
				times[p] = append(times[p], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	used, sent, written = processor()-used, requests(set)-sent, records.Get()-written
	took := slices.Sorted(slices.Values(slices.Concat(times...)))
	b.ReportMetric(float64(written)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(sent)/float64(written), "requests/message")
	b.ReportMetric(float64(used.Microseconds())/float64(written), "cpu-µs/message")
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
}

// requests returns how many writes went to the cluster.
func requests(set *metrics.Set) (n uint64) {
	var out bytes.Buffer
	set.Write(&out)
	for line := range strings.Lines(out.String()) {
		for _, op := range []string{"write", "batch"} {
			if count, ok := strings.CutPrefix(line, `switchboard_archive_request_seconds_count{op="`+op+`"} `); ok {
				some, _ := strconv.ParseUint(strings.TrimSpace(count), 10, 64)
				n += some
			}
		}
	}
	return n
}
