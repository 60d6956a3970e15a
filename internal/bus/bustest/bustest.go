// Package bustest is the suite that every implementation of package bus
// passes: what its interfaces promise, told as tests. It knows no
// implementation; the caller opens one:
//
//	func TestBus(t *testing.T) { bustest.Run(t, open) }
//
// The suite makes topics of random names and leaves them, so it may run against
// a cluster that others use.
package bustest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/internal/bus"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// Bus is one implementation, connected.
type Bus struct {
	// Producer returns a producer that runs until stop is called or the test
	// ends. pendingBytes bounds what it holds; 0 means the default.
	Producer func(t *testing.T, pendingBytes int) (p bus.Producer, stop func())
	// Group returns a new member of a group each time.
	Group func(topic, group string) bus.Group
	Log   bus.Log
	Admin bus.Admin
	// Replication is what the topics of the suite get.
	Replication int
	// Faults makes it fail, or is nil where that is not possible; the tests
	// that need it are skipped by name then.
	Faults *Faults
}

// runner is a producer that somebody has to run.
type runner interface {
	bus.Producer
	Run(ctx context.Context) error
}

// Running runs a producer until stop is called or the test ends: what
// [Bus.Producer] returns. An error of Run fails the test.
func Running(t *testing.T, p runner) (running bus.Producer, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return p, stop
}

// Faults are the ways in which a log fails.
type Faults struct {
	// TimeOut appends the records of the next requests to a topic and answers
	// that they timed out.
	TimeOut func(topic string, times int)
	// LoseAnswers appends the records of the next requests and closes the
	// connection instead of answering.
	LoseAnswers func(times int)
	// DropConnections closes every connection, whatever is under way.
	DropConnections func()
	// MoveLeader gives a partition another leader.
	MoveLeader func(topic string, partition int32) error
	// DeleteRecords removes the records below an offset, as retention does.
	DeleteRecords func(topic string, partition int32, offset int64) error
}

// Run runs the suite. open is called for each test.
func Run(t *testing.T, open func(t *testing.T) *Bus) {
	tests := []struct {
		name string
		run  func(t *testing.T, b *Bus)
	}{
		{"records of a partition keep the order of their calls", testOrder},
		{"key, value and time arrive as they were", testContent},
		{"each record is there once although requests time out", testTimeOuts},
		{"each record is there once although answers are lost", testLostAnswers},
		{"each record is there once although connections drop", testDrops},
		{"each record is there once although leaders move", testMoves},
		{"a missing topic delays only its own records", testMissingTopic},
		{"a full producer refuses and recovers", testOverload},
		{"a record above the limit is refused and one below is not", testTooLarge},
		{"what is pending at the end is answered unknown", testClosed},
		{"a reader begins where it is told", testReadFrom},
		{"a reader at the end waits for the next record", testReadEnd},
		{"a reader says when the log does not hold its offset", testOutOfRange},
		{"a reader does not skip what retention took", testRetention},
		{"readers of many partitions each get their own", testManyReaders},
		{"two readers of one partition do not disturb each other", testTwoReaders},
		{"a reader follows the leader", testReadMoves},
		{"bounds and last tell what the log holds", testBounds},
		{"a group remembers what was committed", testCommitted},
		{"members share the partitions and hand them over", testShare},
		{"an error of a handle ends the member", testHandleError},
		{"a zombie cannot commit", testZombie},
		{"ensure creates what is missing", testEnsure},
		{"check names what is wrong", testCheck},
	}
	for _, test := range tests {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			b := open(t)
			b.ready(t)
			test.run(t, b)
		})
	}
}

// ready waits for a log that has just been started to answer.
func (b *Bus) ready(t *testing.T) {
	t.Helper()
	limit := time.Now().Add(patience)
	for {
		_, err := b.Admin.Partitions(t.Context(), newName())
		if errors.Is(err, bus.ErrUnknownTopic) {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("log does not answer: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// topic creates a topic of a new name.
func (b *Bus) topic(t *testing.T, partitions int32) string {
	t.Helper()
	name := newName()
	b.ensure(t, bus.Topic{Name: name, Partitions: partitions, Durable: true})
	return name
}

func newName() string { return "bustest." + strings.ToLower(rand.Text()) }

func (b *Bus) ensure(t *testing.T, topics ...bus.Topic) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	if _, err := b.Admin.Ensure(ctx, topics, b.Replication); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
}

// faults skips the test when the implementation cannot be made to fail.
func (b *Bus) faults(t *testing.T) *Faults {
	t.Helper()
	if b.Faults == nil {
		t.Skip("this log cannot be made to fail")
	}
	return b.Faults
}

// within returns a context that ends with the test's patience.
func within(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), patience)
}

// acks counts acknowledgements. done must have been called for each record when
// wait returns.
type acks struct {
	waiting sync.WaitGroup

	mu      sync.Mutex
	offsets []int64
	errs    []error
}

func (a *acks) done(offset int64, err error) {
	a.mu.Lock()
	a.offsets = append(a.offsets, offset)
	a.errs = append(a.errs, err)
	a.mu.Unlock()
	a.waiting.Done()
}

// wait waits for all and returns the offsets in the order of their arrival.
func (a *acks) wait(t *testing.T) []int64 {
	t.Helper()
	all := make(chan struct{})
	go func() {
		a.waiting.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-time.After(patience):
		t.Fatal("acknowledgements are missing")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, err := range a.errs {
		if err != nil {
			t.Fatalf("acknowledgement: %v", err)
		}
	}
	return a.offsets
}

// produce enqueues one record, and waits while the producer is full.
func (a *acks) produce(t *testing.T, p bus.Producer, topic string, partition int32, value string) {
	t.Helper()
	a.waiting.Add(1)
	for {
		err := p.Produce(bus.Message{Topic: topic, Partition: partition, Key: []byte("key"), Value: []byte(value)}, a.done)
		if err == nil {
			return
		}
		if !errors.Is(err, bus.ErrOverloaded) {
			t.Fatalf("Produce: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// write writes values and waits until they are on the log.
func (b *Bus) write(t *testing.T, topic string, partition int32, values ...string) {
	t.Helper()
	p, stop := b.Producer(t, 0)
	defer stop()
	var a acks
	for _, value := range values {
		a.produce(t, p, topic, partition, value)
	}
	a.wait(t)
}

// read returns n records from an offset on.
func (b *Bus) read(t *testing.T, topic string, partition int32, offset int64, n int) []bus.Record {
	t.Helper()
	r := b.Log.Open(topic, partition, offset)
	defer r.Close()
	return next(t, r, n)
}

// next returns at least n records of a reader.
func next(t *testing.T, r bus.Reader, n int) []bus.Record {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	var all []bus.Record
	for len(all) < n {
		records, err := r.Next(ctx)
		if err != nil {
			t.Fatalf("Next after %d of %d records: %v", len(all), n, err)
		}
		if len(records) == 0 {
			t.Fatal("Next returned nothing")
		}
		all = append(all, records...)
	}
	return all
}

// holds fails unless a partition holds exactly these values, from offset 0 on,
// in this order.
func (b *Bus) holds(t *testing.T, topic string, partition int32, values []string) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	start, end, err := b.Log.Bounds(ctx, topic, partition)
	if err != nil {
		t.Fatalf("Bounds: %v", err)
	}
	if start != 0 || end != int64(len(values)) {
		t.Errorf("partition %d holds %d to %d, want 0 to %d", partition, start, end, len(values))
	}
	for i, r := range b.read(t, topic, partition, 0, min(len(values), int(end))) {
		if i >= len(values) || string(r.Value) != values[i] || r.Offset != int64(i) {
			t.Fatalf("partition %d has %q at %d, want number %d of the written", partition, r.Value, r.Offset, i)
		}
	}
}

// words returns n distinct values.
func words(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return all
}
