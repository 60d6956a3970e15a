package fanout

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/roster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a router between an accepted log of one partition, a directory and a
// producer, all in memory.
type world struct {
	mu        sync.Mutex
	records   []bus.Record // of the accepted log
	start     int64        // the first offset that it still holds
	silent    bool         // the directory does not answer
	places    map[chat.UserID]presence.Places
	produced  []bus.Message
	times     []time.Time  // of produced
	roster    roster.Lists // nil = no heads
	refuse    int          // how many Produce calls are answered with ErrOverloaded
	unacked   []func(int64, error)
	hold      bool              // acknowledgements wait for release
	stuck     string            // a topic whose acknowledgements wait
	filled    *road             // acknowledges nothing, and after its first record its topic has no room
	before    func(bus.Message) // called with mu held before a message is taken; nil: nothing
	committed int64
	asked     int // questions to the directory
}

func newWorld() *world {
	return &world{places: map[chat.UserID]presence.Places{}, committed: -1}
}

func (w *world) accept(outcomes ...*bus.Accepted) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range outcomes {
		offset := w.start + int64(len(w.records))
		w.records = append(w.records, bus.Record{Topic: "chat.accepted", Offset: offset, Value: a.Append(nil)})
	}
}

// run runs a router on the world until the bubble is idle after each step, then
// ends it.
func (w *world) run(t *testing.T, steps ...func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := New(Config{
		Log: w, Accepted: w, Producer: w, Directory: directory{w}, Roster: w.roster, Partitions: 4,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	})
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	synctest.Wait()
	for _, step := range steps {
		step()
		synctest.Wait()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
}

// Bounds, Open and Last make the world a bus.Log.
func (w *world) Bounds(context.Context, string, int32) (start, end int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.start, w.start + int64(len(w.records)), nil
}

func (w *world) Open(_ string, _ int32, offset int64) bus.Reader { return &reader{w, offset} }

func (w *world) Last(context.Context, string, int32) (bus.Record, bool, error) {
	return bus.Record{}, false, errors.New("the router does not ask this")
}

type reader struct {
	w  *world
	at int64
}

func (r *reader) Next(ctx context.Context) ([]bus.Record, error) {
	for {
		r.w.mu.Lock()
		have := slices.Clone(r.w.records)
		start := r.w.start
		r.w.mu.Unlock()
		if r.at < start {
			return nil, bus.ErrOffsetOutOfRange
		}
		if n := r.at - start; n < int64(len(have)) {
			r.at = start + int64(len(have))
			return have[n:], nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (r *reader) Close() {}

// Run makes the world a bus.Group with one claim.
func (w *world) Run(ctx context.Context, handle func(context.Context, bus.Claim) error) error {
	return handle(ctx, claim{w})
}

type claim struct{ *world }

func (claim) Topic() string      { return "chat.accepted" }
func (claim) Partition() int32   { return 0 }
func (c claim) Committed() int64 { c.mu.Lock(); defer c.mu.Unlock(); return c.committed }
func (c claim) Commit(_ context.Context, offset int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed = offset
	return nil
}

// Produce makes the world a bus.Producer.
func (w *world) Produce(m bus.Message, done func(int64, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse > 0 {
		w.refuse--
		return bus.ErrOverloaded
	}
	fills := w.filled != nil && m.Topic == w.filled.topic
	if fills && (m.Partition != w.filled.partition || len(w.unacked) > 0) {
		return bus.ErrOverloaded
	}
	if w.before != nil {
		w.before(m)
	}
	w.produced, w.times = append(w.produced, m), append(w.times, time.Now())
	if w.hold || fills || m.Topic == w.stuck {
		w.unacked = append(w.unacked, done)
		return nil
	}
	go done(int64(len(w.produced)), nil)
	return nil
}

func (w *world) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = false
	for _, done := range w.unacked {
		go done(0, nil)
	}
}

func (w *world) topics() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, m := range w.produced {
		names = append(names, m.Topic)
	}
	return names
}

// directory is the world's presence; only look-ups are asked of it.
type directory struct{ *world }

func (directory) Claim(context.Context, string, uint64) error         { panic("not asked") }
func (directory) Renew(context.Context, string, uint64) (bool, error) { panic("not asked") }
func (directory) Release(context.Context, string, uint64) error       { panic("not asked") }
func (directory) Apply(context.Context, []presence.Change) ([]presence.Applied, error) {
	panic("not asked")
}

func (d directory) Where(_ context.Context, users []chat.UserID) ([]presence.Places, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.silent {
		return nil, errors.New("connection refused")
	}
	places := make([]presence.Places, len(users))
	for i, u := range users {
		places[i] = d.world.places[u]
	}
	return places, nil
}

// numbered is said(bob) from inbound offset n.
func numbered(n int64) *bus.Accepted {
	a := said(bob)
	a.Position.Offset = n
	return a
}

func TestOutcomesAreDeliveredInOrderThenCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.places[bob] = at("gw-2")
		w.accept(numbered(1), numbered(2), numbered(3))
		w.run(t, func() { time.Sleep(2 * CommitEvery) })
		var offsets []int64
		for _, m := range w.produced {
			var d bus.Delivery
			if err := bus.ParseDelivery(m.Value, &d); err != nil {
				t.Fatal(err)
			}
			if m.Topic == "chat.delivery.gw-2" {
				offsets = append(offsets, d.Position.Offset)
			}
		}
		if want := []int64{1, 2, 3}; !slices.Equal(offsets, want) {
			t.Errorf("delivered %v, want %v", offsets, want)
		}
		if w.committed != 3 {
			t.Errorf("committed %d, want 3", w.committed)
		}
	})
}

func TestNothingIsCommittedBeforeItIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.places[bob], w.hold = at("gw-2"), true
		w.accept(numbered(1))
		w.run(t,
			func() { time.Sleep(5 * CommitEvery) },
			func() {
				if w.committed != -1 {
					t.Errorf("committed %d while the delivery was unknown", w.committed)
				}
				w.release()
			})
		if w.committed != 1 {
			t.Errorf("committed %d, want 1 at the end of the claim", w.committed)
		}
	})
}

func TestSilentDirectoryDelaysAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.places[bob], w.silent = at("gw-2"), true
		w.accept(numbered(1))
		w.run(t,
			func() { time.Sleep(time.Minute) },
			func() {
				if got := w.topics(); len(got) != 0 {
					t.Errorf("produced to %v without knowing where bob is", got)
				}
				w.mu.Lock()
				w.silent = false
				w.mu.Unlock()
				time.Sleep(2 * time.Second)
			})
		if got := w.topics(); !slices.Contains(got, "chat.delivery.gw-2") {
			t.Errorf("produced to %v, want bob's gateway among them", got)
		}
	})
}

func TestRepeatedOutcomesAreRoutedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.places[bob] = at("gw-2")
		w.accept(numbered(1), numbered(2), numbered(1), numbered(2), numbered(3)) // a zombie appended too
		w.run(t)
		if got := len(w.topics()); got != 6 { // to bob, and the answer to gw-1
			t.Errorf("produced %d records, want 6 for 3 outcomes", got)
		}
	})
}

func TestOverloadedProducerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.refuse = 3
		w.accept(numbered(1))
		w.run(t, func() { time.Sleep(time.Second) })
		if want := []string{"chat.delivery.gw-1", bus.TopicPush}; !slices.Equal(w.topics(), want) {
			t.Errorf("produced to %v, want %v", w.topics(), want)
		}
	})
}

func TestJumpOfTheLogGoesOnAtItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.start, w.committed = 100, 7 // retention took 7…99
		w.accept(numbered(500))
		w.run(t, func() { time.Sleep(2 * CommitEvery) })
		if w.committed != 101 {
			t.Errorf("committed %d, want 101", w.committed)
		}
	})
}

func TestUnreadableRecordIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.records = append(w.records, bus.Record{Offset: 0, Value: []byte("garbage")})
		w.accept(numbered(1))
		w.run(t)
		if w.committed != 2 {
			t.Errorf("committed %d, want 2", w.committed)
		}
	})
}
