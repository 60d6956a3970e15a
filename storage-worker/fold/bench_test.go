package fold

import (
	"fmt"
	"testing"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// BenchmarkBatch measures what the fold itself costs for a message: reading the
// record, deciding it and writing the outcome's bytes, in full batches to warm
// conversations. The archive and the log are not in it.
func BenchmarkBatch(b *testing.B) {
	for _, members := range []int{2, 10, 100} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			p := newPartition(&Fold{
				generation: 1, partitions: 1, largeAbove: chat.LargeAbove, cached: cacheWeight,
				counts: newCounts(metrics.New()),
			}, &owner{})
			in := create()
			in.Create.Limit, in.Create.Members = members, nil
			for i := range members {
				in.Create.Members = append(in.Create.Members, user(1+i))
			}
			records := make([]bus.Record, batchRecords)
			for i := range records {
				m := message(theGroup, anna, i, "a message of the usual length, which is about sixty bytes")
				records[i] = bus.Record{Offset: int64(i), Millis: startTime, Value: m.Append(nil)}
			}
			p.decider.known.put(&conversation{id: theGroup})
			var out bus.Accepted
			p.decider.decide(&request{in: in}, &out)
			b.ReportAllocs()
			for n := 0; n < b.N; n += len(records) {
				p.parse(records)
				p.decider.begin()
				p.encoded = p.encoded[:0]
				for i := range p.requests {
					p.decider.decide(&p.requests[i], &p.outcomes[i])
					p.encoded = p.outcomes[i].Append(p.encoded)
				}
				p.decider.finish(len(records))
			}
			if got := p.outcomes[0]; got.Outcome != bus.Stored || len(got.Recipients) != members {
				b.Fatalf("outcome %s for %d members, want it stored for %d", brief(got), len(got.Recipients), members)
			}
		})
	}
}
