package sqlite_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/archivetest"
	"switchboard/storage-worker/archive/sqlite"
)

// partitions is how many write at the same time: those of `dev`.
const partitions = 16

var content = strings.Repeat("Good morning, ", 9) // 126 bytes

// processor returns the CPU time that the process has used, kernel included.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load runs a function on each partition until all messages are written, and
// reports what one message cost.
func load(b *testing.B, s *sqlite.Store, each int, pause func(partition int)) {
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
	var wg sync.WaitGroup
	used := processor()
	b.ResetTimer()
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
				pause(p)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	used = processor() - used
	took := slices.Sorted(slices.Values(slices.Concat(times...)))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/message")
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(took[len(took)-1].Seconds()*1000, "max-ms")
}

// BenchmarkWrite is as many messages as the archive takes, from 16 partitions
// in batches of some messages each.
func BenchmarkWrite(b *testing.B) {
	for _, sync := range []sqlite.Sync{sqlite.Full, sqlite.Normal} {
		for _, each := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("sync=%s/batch=%d", sync, each), func(b *testing.B) {
				load(b, open(b, sqlite.Config{Sync: sync}), each, func(int) {})
			})
		}
	}
}

// BenchmarkPaced is 2,000 messages a second, each alone in its batch: what the
// archive adds to a message's way under the load that `dev` must carry.
func BenchmarkPaced(b *testing.B) {
	for _, sync := range []sqlite.Sync{sqlite.Full, sqlite.Normal} {
		b.Run(fmt.Sprintf("sync=%s", sync), func(b *testing.B) {
			const perSecond = 2000
			tickers := make([]*time.Ticker, partitions)
			for p := range tickers {
				tickers[p] = time.NewTicker(time.Second * partitions / perSecond)
				defer tickers[p].Stop()
			}
			load(b, open(b, sqlite.Config{Sync: sync}), 1, func(p int) { <-tickers[p].C })
		})
	}
}

// BenchmarkPage is a page of the newest 50 of a conversation with 10,000.
func BenchmarkPage(b *testing.B) {
	s := open(b, sqlite.Config{Sync: sqlite.Normal})
	c := chat.ConversationID{1}
	batch := &archive.Batch{}
	for seq := chat.Seq(1); seq <= 10_000; seq++ {
		batch.Rows = append(batch.Rows, archive.Row{Entry: chat.Entry{
			Conversation: c, Seq: seq, ID: chat.NewMessageID(chat.Clock(seq), 1, 1), Kind: chat.KindText, Content: content,
		}})
	}
	if err := s.Write(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		rows, err := s.Entries(b.Context(), c, 1, 1<<40, chat.PageDefault, true)
		if err != nil || len(rows) != chat.PageDefault {
			b.Fatalf("%d rows, %v", len(rows), err)
		}
	}
}

// BenchmarkStaysIn is what every authorization asks.
func BenchmarkStaysIn(b *testing.B) {
	s := open(b, sqlite.Config{Sync: sqlite.Normal})
	batch := &archive.Batch{}
	for i := range 1000 {
		batch.Stays = append(batch.Stays, archive.StayWrite{Stay: archive.Stay{
			User: chat.UserID{byte(i)}, Conversation: chat.ConversationID{byte(i >> 8), byte(i)}, Joined: 1,
		}})
	}
	if err := s.Write(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if stays, err := s.StaysIn(b.Context(), chat.UserID{5}, chat.ConversationID{0, 5}); err != nil || len(stays) != 1 {
			b.Fatalf("%v, %v", stays, err)
		}
	}
}

// BenchmarkSeenKeys is what the fold asks for each record: unknown keys, mostly.
func BenchmarkSeenKeys(b *testing.B) {
	s := open(b, sqlite.Config{Sync: sqlite.Normal})
	all := archivetest.NewTraffic(1)
	batch := &archive.Batch{}
	for range 20_000 {
		all.Add(batch)
	}
	if err := s.Write(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 3, 10, 100} {
		b.Run(fmt.Sprint("keys=", n), func(b *testing.B) {
			used, asked := processor(), 0
			for b.Loop() {
				keys := make([]archive.Key, n)
				for i := range keys {
					keys[i] = batch.Seen[(asked+i)%len(batch.Seen)].Key
					keys[i].Request[0] ^= 0xff
				}
				if _, err := s.SeenKeys(b.Context(), keys); err != nil {
					b.Fatal(err)
				}
				asked += n
			}
			b.ReportMetric(float64((processor()-used).Microseconds())/float64(asked), "cpu-µs/key")
		})
	}
}
