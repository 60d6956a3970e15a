package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

func sample() []record {
	return []record{
		{key: []byte("key"), value: []byte("value")},
		{key: nil, value: []byte("no key")},
		{key: []byte{}, value: nil},
		{key: []byte("long"), value: bytes.Repeat([]byte("x"), 100_000)},
	}
}

// parse reads an encoded batch with kafka-go's own reader, which checks the
// checksum.
func parse(t *testing.T, encoded []byte) *protocol.RecordBatch {
	t.Helper()
	var set protocol.RecordSet
	n, err := set.ReadFrom(bytes.NewReader(encoded))
	if err != nil || int(n) != len(encoded) {
		t.Fatalf("ReadFrom: %d of %d bytes, %v", n, len(encoded), err)
	}
	stream := set.Records.(*protocol.RecordStream)
	if len(stream.Records) != 1 {
		t.Fatalf("%d batches", len(stream.Records))
	}
	return stream.Records[0].(*protocol.RecordBatch)
}

func TestBatchIsWhatKafkaReads(t *testing.T) {
	now := time.Now().UnixMilli()
	records := sample()
	batch := parse(t, appendBatch(nil, records, identity{id: 77, epoch: 3}, 1234, now))
	if batch.ProducerID != 77 || batch.ProducerEpoch != 3 || batch.BaseSequence != 1234 || batch.Attributes != 0 {
		t.Errorf("header: %+v", batch)
	}
	for i, want := range records {
		r, err := batch.ReadRecord()
		if err != nil {
			t.Fatal(err)
		}
		key, _ := protocol.ReadAll(r.Key)
		value, _ := protocol.ReadAll(r.Value)
		if r.Offset != int64(i) || r.Time.UnixMilli() != now {
			t.Errorf("record %d is at %d, %v", i, r.Offset, r.Time)
		}
		if !bytes.Equal(key, want.key) || !bytes.Equal(value, want.value) || (r.Key == nil) != (want.key == nil) || (r.Value == nil) != (want.value == nil) {
			t.Errorf("record %d is %.20q: %.20q", i, key, value)
		}
	}
	if _, err := batch.ReadRecord(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last record: %v", err)
	}
}

func TestStampChangesOnlyTheIdentity(t *testing.T) {
	before := appendBatch(nil, sample(), identity{id: 1, epoch: 2}, 3, 4)
	after := bytes.Clone(before)
	stamp(after, identity{id: 5, epoch: 6}, 0)
	batch := parse(t, after)
	if batch.ProducerID != 5 || batch.ProducerEpoch != 6 || batch.BaseSequence != 0 {
		t.Errorf("header: %+v", batch)
	}
	if !bytes.Equal(before[offCount:], after[offCount:]) || !bytes.Equal(before[offAttributes:offProducerID], after[offAttributes:offProducerID]) {
		t.Error("stamp changed the records or their times")
	}
}

func TestBatchLengths(t *testing.T) {
	encoded := appendBatch(nil, sample(), identity{}, 0, 0)
	if n := binary.BigEndian.Uint32(encoded); int(n) != len(encoded)-4 {
		t.Errorf("field length %d of %d bytes", n, len(encoded))
	}
	if n := binary.BigEndian.Uint32(encoded[offBatchLength:]); int(n) != len(encoded)-offLeaderEpoch {
		t.Errorf("batch length %d of %d bytes", n, len(encoded))
	}
	for _, r := range sample() {
		if got := len(appendRecord(nil, 1<<20, r.key, r.value)); got > len(r.key)+len(r.value)+recordOverhead {
			t.Errorf("a record of %d+%d bytes takes %d", len(r.key), len(r.value), got)
		}
	}
}

func TestVarintLen(t *testing.T) {
	for _, n := range []int64{0, -1, 1, 63, 64, -64, -65, 8191, 8192, 1 << 20, math.MaxInt32, math.MinInt64, math.MaxInt64} {
		if got, want := varintLen(n), len(binary.AppendVarint(nil, n)); got != want {
			t.Errorf("varintLen(%d) = %d, want %d", n, got, want)
		}
	}
}

// TestSequenceWraps follows Kafka's DefaultRecordBatch.incrementSequence.
func TestSequenceWraps(t *testing.T) {
	tests := []struct {
		sequence int32
		count    int
		want     int32
	}{
		{0, 1, 1},
		{10, 5, 15},
		{math.MaxInt32 - 1, 1, math.MaxInt32},
		{math.MaxInt32, 1, 0},
		{math.MaxInt32 - 2, 5, 2},
	}
	for _, test := range tests {
		if got := nextSequence(test.sequence, test.count); got != test.want {
			t.Errorf("%d after %d records of %d, want %d", got, test.count, test.sequence, test.want)
		}
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	records := sample()
	buffer := make([]byte, 0, 1<<20)
	if n := testing.AllocsPerRun(100, func() { buffer = appendBatch(buffer, records, identity{}, 0, 0) }); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

// stream makes what a fetch brings of the given batches.
func stream(batches ...protocol.RecordReader) *protocol.RecordStream {
	return &protocol.RecordStream{Records: batches}
}

func plain(offset int64, value string) protocol.Record {
	return protocol.Record{Offset: offset, Time: time.UnixMilli(5), Value: protocol.NewBytes([]byte(value))}
}

func TestDecodeSkipsWhatIsBelowAndWhatIsControl(t *testing.T) {
	set := stream(
		protocol.NewRecordReader(plain(8, "below"), plain(9, "below"), plain(10, "a")),
		&protocol.ControlBatch{Records: protocol.NewRecordReader(plain(11, "marker"))},
		protocol.NewRecordReader(plain(12, "b")),
		&protocol.ControlBatch{Records: protocol.NewRecordReader(plain(13, "marker"))},
	)
	records, next, err := decode(&want{topic: "t", partition: 4, offset: 10}, set)
	if err != nil || next != 14 || len(records) != 2 {
		t.Fatalf("%d records, next %d, %v", len(records), next, err)
	}
	for i, value := range []string{"a", "b"} {
		r := records[i]
		if string(r.Value) != value || r.Offset != int64(10+2*i) || r.Key != nil || r.Millis != 5 || r.Topic != "t" || r.Partition != 4 {
			t.Errorf("record %d is %+v", i, r)
		}
	}
	if records, next, err := decode(&want{offset: 3}, nil); len(records) != 0 || next != 3 || err != nil {
		t.Errorf("nothing decodes to %d records, next %d, %v", len(records), next, err)
	}
}

func TestRecordsDoNotShareTheirEnds(t *testing.T) {
	set := stream(protocol.NewRecordReader(plain(0, "one"), plain(1, "two")))
	records, _, err := decode(&want{}, set)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(records[0].Value, "overwrite"...)
	if string(records[1].Value) != "two" {
		t.Errorf("appending to one record changed the next to %q", records[1].Value)
	}
}
