package bustest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/internal/bus"
)

// testOrder interleaves three partitions.
func testOrder(t *testing.T, b *Bus) {
	const partitions, each = 3, 700
	topic := b.topic(t, partitions)
	p, _ := b.Producer(t, 0)
	all := make([]acks, partitions)
	values := words("order", each)
	for _, value := range values {
		for partition := range int32(partitions) {
			all[partition].produce(t, p, topic, partition, value)
		}
	}
	for partition := range int32(partitions) {
		offsets := all[partition].wait(t)
		if len(offsets) != each || !slices.IsSorted(offsets) || offsets[0] != 0 || offsets[each-1] != each-1 {
			t.Errorf("partition %d was acknowledged with %d offsets out of order", partition, len(offsets))
		}
		b.holds(t, topic, partition, values)
	}
}

func testContent(t *testing.T, b *Bus) {
	topic := b.topic(t, 1)
	p, _ := b.Producer(t, 0)
	messages := []bus.Message{
		{Topic: topic, Key: []byte{0, 1, 2, 255}, Value: []byte("value")},
		{Topic: topic, Key: nil, Value: []byte("no key")},
		{Topic: topic, Key: []byte("no value"), Value: nil},
		{Topic: topic, Key: []byte("large"), Value: bytes.Repeat([]byte("0123456789"), 20_000)},
		{Topic: topic, Key: []byte("empty"), Value: []byte{}},
	}
	before := time.Now().Add(-time.Second)
	var a acks
	for _, m := range messages {
		a.waiting.Add(1)
		if err := p.Produce(m, a.done); err != nil {
			t.Fatalf("Produce: %v", err)
		}
	}
	a.wait(t)
	for i, r := range b.read(t, topic, 0, 0, len(messages)) {
		m := messages[i]
		if r.Topic != topic || r.Partition != 0 || r.Offset != int64(i) {
			t.Errorf("record %d is %s/%d at %d", i, r.Topic, r.Partition, r.Offset)
		}
		if !bytes.Equal(r.Key, m.Key) || !bytes.Equal(r.Value, m.Value) || (r.Key == nil) != (m.Key == nil) || (r.Value == nil) != (m.Value == nil) {
			t.Errorf("record %d is %.20q: %.20q, want %.20q: %.20q", i, r.Key, r.Value, m.Key, m.Value)
		}
		if at := time.UnixMilli(r.Millis); at.Before(before) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("record %d is from %v", i, at)
		}
	}
}

// once writes to several partitions while disturb is called again and again,
// and fails unless each holds what was written to it, in order and once.
func (b *Bus) once(t *testing.T, disturb func(topic string, round int)) {
	t.Helper()
	const partitions, rounds, each = 4, 20, 25
	topic := b.topic(t, partitions)
	p, _ := b.Producer(t, 0)
	var a acks
	for round := range rounds {
		for i := range each {
			for partition := range int32(partitions) {
				a.produce(t, p, topic, partition, fmt.Sprintf("once-%d", round*each+i))
			}
			if i == each/2 {
				disturb(topic, round)
			}
		}
		if round%5 == 4 {
			a.wait(t)
		}
	}
	a.wait(t)
	for partition := range int32(partitions) {
		b.holds(t, topic, partition, words("once", rounds*each))
	}
}

func testTimeOuts(t *testing.T, b *Bus) {
	faults := b.faults(t)
	b.once(t, func(topic string, _ int) { faults.TimeOut(topic, 2) })
}

func testLostAnswers(t *testing.T, b *Bus) {
	faults := b.faults(t)
	b.once(t, func(string, int) { faults.LoseAnswers(1) })
}

func testDrops(t *testing.T, b *Bus) {
	faults := b.faults(t)
	b.once(t, func(string, int) { faults.DropConnections() })
}

func testMoves(t *testing.T, b *Bus) {
	faults := b.faults(t)
	b.once(t, func(topic string, round int) {
		if err := faults.MoveLeader(topic, int32(round%4)); err != nil {
			t.Fatal(err)
		}
	})
}

// testMissingTopic has records for a topic that comes to exist late.
func testMissingTopic(t *testing.T, b *Bus) {
	there, missing := b.topic(t, 1), newName()
	p, _ := b.Producer(t, 0)
	var waiting acks
	for _, value := range words("late", 10) {
		waiting.produce(t, p, missing, 0, value)
	}
	var prompt acks
	for _, value := range words("prompt", 10) {
		prompt.produce(t, p, there, 0, value)
	}
	prompt.wait(t)
	b.holds(t, there, 0, words("prompt", 10))
	b.ensure(t, bus.Topic{Name: missing, Partitions: 1})
	waiting.wait(t)
	b.holds(t, missing, 0, words("late", 10))
}

// testOverload fills a producer with records that cannot go anywhere.
func testOverload(t *testing.T, b *Bus) {
	there, missing := b.topic(t, 1), newName()
	const bound = 256 << 10
	p, _ := b.Producer(t, bound)
	var a acks
	var values []string
	full := false
	for n := 0; !full && n < bound; n++ {
		value := fmt.Sprintf("%d-%s", n, strings.Repeat("x", 1000))
		a.waiting.Add(1)
		switch err := p.Produce(bus.Message{Topic: missing, Value: []byte(value)}, a.done); {
		case err == nil:
			values = append(values, value)
		case errors.Is(err, bus.ErrOverloaded):
			a.waiting.Done()
			full = true
		default:
			t.Fatalf("Produce: %v", err)
		}
	}
	if !full || len(values) == 0 || len(values) > bound/1000 {
		t.Fatalf("%d records of 1,000 bytes went into %d bytes, refused: %v", len(values), bound, full)
	}
	var other acks
	other.produce(t, p, there, 0, "other-0")
	other.wait(t)
	b.ensure(t, bus.Topic{Name: missing, Partitions: 1})
	a.wait(t)
	b.holds(t, missing, 0, values)
	var again acks
	again.produce(t, p, missing, 0, "again")
	again.wait(t)
}

func testTooLarge(t *testing.T, b *Bus) {
	topic := b.topic(t, 1)
	p, _ := b.Producer(t, 0)
	refused := func(int64, error) { t.Error("done was called for a refused record") }
	err := p.Produce(bus.Message{Topic: topic, Value: make([]byte, 2<<20)}, refused)
	if !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("2 MB: got %v, want ErrTooLarge", err)
	}
	large := strings.Repeat("x", 900<<10)
	b.write(t, topic, 0, large, "small", large)
	b.holds(t, topic, 0, []string{large, "small", large})
}

func testClosed(t *testing.T, b *Bus) {
	missing := newName()
	p, stop := b.Producer(t, 0)
	errs := make(chan error, 1)
	done := func(_ int64, err error) { errs <- err }
	if err := p.Produce(bus.Message{Topic: missing, Value: []byte("lost")}, done); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-errs; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("pending: got %v, want ErrClosed", err)
	}
	if err := p.Produce(bus.Message{Topic: missing, Value: []byte("late")}, done); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("after the end: got %v, want ErrClosed", err)
	}
}
