package bustest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"switchboard/internal/bus"
)

func testReadFrom(t *testing.T, b *Bus) {
	topic := b.topic(t, 1)
	values := words("from", 500)
	b.write(t, topic, 0, values...)
	for _, offset := range []int64{0, 1, 250, 499} {
		records := b.read(t, topic, 0, offset, len(values)-int(offset))
		if len(records) != len(values)-int(offset) {
			t.Fatalf("from %d: %d records", offset, len(records))
		}
		for i, r := range records {
			if r.Offset != offset+int64(i) || string(r.Value) != values[r.Offset] {
				t.Fatalf("from %d: record %d is %q at %d", offset, i, r.Value, r.Offset)
			}
		}
	}
}

func testReadEnd(t *testing.T, b *Bus) {
	topic := b.topic(t, 1)
	b.write(t, topic, 0, "before")
	r := b.Log.Open(topic, 0, 1)
	defer r.Close()
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if records, err := r.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Next at the end: %d records, error %v", len(records), err)
	}
	b.write(t, topic, 0, "after")
	if records := next(t, r, 1); len(records) != 1 || string(records[0].Value) != "after" || records[0].Offset != 1 {
		t.Errorf("got %v", records)
	}
}

// outOfRange fails unless a reader says so, each time.
func (b *Bus) outOfRange(t *testing.T, topic string, offset int64) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	r := b.Log.Open(topic, 0, offset)
	defer r.Close()
	for range 2 {
		if records, err := r.Next(ctx); !errors.Is(err, bus.ErrOffsetOutOfRange) {
			t.Fatalf("Next at %d: %d records, error %v, want ErrOffsetOutOfRange", offset, len(records), err)
		}
	}
}

func testOutOfRange(t *testing.T, b *Bus) {
	topic := b.topic(t, 1)
	b.write(t, topic, 0, words("range", 10)...)
	b.outOfRange(t, topic, 11)
	b.outOfRange(t, topic, 1_000_000)
}

func testRetention(t *testing.T, b *Bus) {
	faults := b.faults(t)
	topic := b.topic(t, 1)
	b.write(t, topic, 0, words("old", 10)...)
	if err := faults.DeleteRecords(topic, 0, 6); err != nil {
		t.Fatal(err)
	}
	b.outOfRange(t, topic, 0)
	b.outOfRange(t, topic, 5)
	if records := b.read(t, topic, 0, 6, 4); string(records[0].Value) != "old-6" {
		t.Errorf("first record is %q", records[0].Value)
	}
}

func testManyReaders(t *testing.T, b *Bus) {
	const partitions = 24
	topic := b.topic(t, partitions)
	p, _ := b.Producer(t, 0)
	readers := make([]bus.Reader, partitions)
	for i := range readers {
		readers[i] = b.Log.Open(topic, int32(i), 0)
		defer readers[i].Close()
	}
	for round := range 5 {
		var a acks
		for i := range readers {
			a.produce(t, p, topic, int32(i), fmt.Sprintf("%d/%d", i, round))
		}
		a.wait(t)
		for i, r := range readers {
			records := next(t, r, 1)
			if want := fmt.Sprintf("%d/%d", i, round); len(records) != 1 || string(records[0].Value) != want {
				t.Fatalf("got %v, want one record %s", records, want)
			}
		}
	}
}

func testTwoReaders(t *testing.T, b *Bus) {
	topic := b.topic(t, 1)
	b.write(t, topic, 0, "a", "b", "c")
	one, two := b.Log.Open(topic, 0, 0), b.Log.Open(topic, 0, 2)
	defer one.Close()
	defer two.Close()
	if got := next(t, one, 3); string(got[0].Value) != "a" {
		t.Errorf("first reader began with %q", got[0].Value)
	}
	if got := next(t, two, 1); string(got[0].Value) != "c" {
		t.Errorf("second reader began with %q", got[0].Value)
	}
	b.write(t, topic, 0, "d")
	for _, r := range []bus.Reader{one, two} {
		if got := next(t, r, 1); string(got[0].Value) != "d" {
			t.Errorf("got %q, want d", got[0].Value)
		}
	}
}

func testReadMoves(t *testing.T, b *Bus) {
	faults := b.faults(t)
	topic := b.topic(t, 1)
	p, _ := b.Producer(t, 0)
	r := b.Log.Open(topic, 0, 0)
	defer r.Close()
	for round, value := range words("move", 12) {
		var a acks
		a.produce(t, p, topic, 0, value)
		a.wait(t)
		if got := next(t, r, 1); len(got) != 1 || string(got[0].Value) != value {
			t.Fatalf("got %v, want %s", got, value)
		}
		if round%2 == 0 {
			faults.DropConnections()
		} else if err := faults.MoveLeader(topic, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func testBounds(t *testing.T, b *Bus) {
	topic := b.topic(t, 2)
	ctx, cancel := within(t)
	defer cancel()
	check := func(partition int32, count int, last string) {
		t.Helper()
		start, end, err := b.Log.Bounds(ctx, topic, partition)
		if start != 0 || end != int64(count) || err != nil {
			t.Errorf("Bounds of %d: %d, %d, %v, want 0, %d", partition, start, end, err, count)
		}
		r, ok, err := b.Log.Last(ctx, topic, partition)
		if ok != (count > 0) || string(r.Value) != last || err != nil {
			t.Errorf("Last of %d: %q, %v, %v, want %q", partition, r.Value, ok, err, last)
		}
		if ok && (r.Offset != int64(count-1) || string(r.Key) != "key" || r.Topic != topic || r.Partition != partition) {
			t.Errorf("Last of %d: %+v", partition, r)
		}
	}
	check(0, 0, "")
	b.write(t, topic, 0, "one")
	check(0, 1, "one")
	b.write(t, topic, 0, words("more", 100)...)
	check(0, 101, "more-99")
	check(1, 0, "")
}
