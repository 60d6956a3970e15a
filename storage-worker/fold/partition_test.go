package fold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a fold of one partition on logs in memory, whose every effect is
// noted in order. It runs in a synctest bubble.
type bench struct {
	*memory.Store
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error

	// What the test sets before begin.
	start    int64 // of the inbound log
	expired  int64 // outcomes that the accepted log no longer holds
	readFail error // of the first Next

	mu        sync.Mutex
	failing   int // how many writes still fail
	refusing  int // how many appends are still refused
	closed    bool
	commitErr error
	slow      time.Duration // of each note of progress
	inbound   []bus.Record
	more      chan struct{} // closed when records come
	accepted  []bus.Record
	effects   []string
}

func newBench(t *testing.T) *bench {
	return &bench{Store: memory.New(), t: t, ended: make(chan error, 1), more: make(chan struct{})}
}

// begin starts the fold; it ends with the test.
func (b *bench) begin() {
	ctx, cancel := context.WithCancel(b.t.Context())
	b.cancel = cancel
	f := New(Config{
		Store: b, Log: b, Group: b, Producer: b, Generation: 1, Partitions: 1,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	})
	go func() { b.ended <- f.Run(ctx) }()
	synctest.Wait()
}

// stop ends the fold and returns what Run returned.
func (b *bench) stop() error {
	b.cancel()
	return <-b.ended
}

func (b *bench) note(format string, args ...any) {
	b.effects = append(b.effects, fmt.Sprintf(format, args...))
}

// took returns the effects since the last call.
func (b *bench) took() []string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.effects
	b.effects = nil
	return got
}

func (b *bench) wantEffects(want ...string) {
	b.t.Helper()
	if got := b.took(); !slices.Equal(got, want) {
		b.t.Errorf("effects %q, want %q", got, want)
	}
}

// put appends records to the inbound log.
func (b *bench) put(ins ...bus.Inbound) {
	b.mu.Lock()
	for _, in := range ins {
		b.inbound = append(b.inbound, bus.Record{
			Offset: b.start + int64(len(b.inbound)), Millis: startTime, Key: in.Conversation[:], Value: in.Append(nil),
		})
	}
	close(b.more)
	b.more = make(chan struct{})
	b.mu.Unlock()
}

func (b *bench) Write(ctx context.Context, batch *archive.Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failing > 0 {
		b.failing--
		b.note("write fails")
		return errUnknown
	}
	b.note("write %d rows", len(batch.Rows))
	return b.Store.Write(ctx, batch)
}

func (b *bench) SetProgress(ctx context.Context, p int32, at archive.Progress) error {
	b.mu.Lock()
	slow := b.slow
	b.mu.Unlock()
	if slow > 0 {
		if err := sleep(ctx, slow); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note("progress %d", at.Position.Offset)
	return b.Store.SetProgress(ctx, p, at)
}

func (b *bench) Produce(m bus.Message, done func(int64, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusing > 0 {
		b.refusing--
		return bus.ErrOverloaded
	}
	if b.closed {
		go done(0, bus.ErrClosed)
		return nil
	}
	var out bus.Accepted
	if err := bus.ParseAccepted(m.Value, &out); err != nil {
		b.t.Errorf("outcome: %v", err)
	}
	b.note("append %d", out.Position.Offset)
	at := int64(len(b.accepted))
	b.accepted = append(b.accepted, bus.Record{Offset: at, Key: m.Key, Value: slices.Clone(m.Value)})
	go done(at, nil)
	return nil
}

func (b *bench) Bounds(_ context.Context, topic string, _ int32) (int64, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if topic == bus.AcceptedTopic(1) {
		return b.expired, b.expired + int64(len(b.accepted)), nil
	}
	return b.start, b.start + int64(len(b.inbound)), nil
}

func (b *bench) Last(context.Context, string, int32) (bus.Record, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.accepted) == 0 {
		return bus.Record{}, false, nil
	}
	return b.accepted[len(b.accepted)-1], true, nil
}

func (b *bench) Open(_ string, _ int32, offset int64) bus.Reader { return &benchReader{b, offset} }

type benchReader struct {
	b  *bench
	at int64
}

func (r *benchReader) Next(ctx context.Context) ([]bus.Record, error) {
	for {
		r.b.mu.Lock()
		if err := r.b.readFail; err != nil {
			r.b.mu.Unlock()
			return nil, err
		}
		records, more := r.b.inbound[r.at-r.b.start:], r.b.more
		r.b.mu.Unlock()
		if len(records) > 0 {
			r.at += int64(len(records))
			return records, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *benchReader) Close() {}

// Run implements [bus.Group]: one claim, for as long as ctx.
func (b *bench) Run(ctx context.Context, handle func(context.Context, bus.Claim) error) error {
	if err := handle(ctx, b); err != nil {
		return err
	}
	return ctx.Err()
}

func (b *bench) Topic() string    { return bus.InboundTopic(1) }
func (b *bench) Partition() int32 { return 0 }
func (b *bench) Committed() int64 { return -1 }

func (b *bench) Commit(_ context.Context, offset int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note("commit %d", offset)
	return b.commitErr
}

func create() bus.Inbound {
	return bus.Inbound{
		Conversation: theGroup, Sender: anna, Request: ask(1),
		Create: &bus.Create{Type: chat.Group, Members: []chat.UserID{anna, boris}, Limit: 5},
	}
}

// answer appends an outcome to the accepted log, as a predecessor would have.
func (b *bench) answer(at chat.Position, clock chat.Clock) {
	out := bus.Accepted{Outcome: bus.Refused, Position: at, Clock: clock, Code: chat.NotMember}
	if i := at.Offset - b.start; i >= 0 && i < int64(len(b.inbound)) {
		var in bus.Inbound
		if err := bus.ParseInbound(b.inbound[i].Value, &in); err != nil {
			b.t.Fatal(err)
		}
		out.Conversation, out.Sender, out.Request = in.Conversation, in.Sender, in.Request
	}
	b.accepted = append(b.accepted, bus.Record{Offset: int64(len(b.accepted)), Value: out.Append(nil)})
}

func TestSaveThenAnswerThenNoteThenCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.begin()
		b.put(create(), message(theGroup, boris, 10, "hi"), message(theGroup, dina, 11, "?"))
		b.wantEffects("write 2 rows", "append 0", "append 1", "append 2")
		time.Sleep(noteEvery)
		b.wantEffects("progress 2", "commit 3")
		b.put(message(theGroup, dina, 12, "?"))
		b.wantEffects("append 3") // Nothing to save.
		if err := b.stop(); err != nil {
			t.Errorf("Run: %v, want nil at the end of its context", err)
		}
	})
}

func TestEndingsOfMembershipsAreSavedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.begin()
		b.put(create(), remove(anna, boris), message(theGroup, anna, 10, "alone"))
		b.wantEffects("write 0 rows", "write 3 rows", "append 0", "append 1", "append 2")
		stays, err := b.StaysIn(t.Context(), boris, theGroup)
		if err != nil || len(stays) != 1 || stays[0].Left != 2 || stays[0].Head.Seq != 2 {
			t.Errorf("boris's stays: %+v, %v, want one up to 2", stays, err)
		}
		_ = b.stop()
	})
}

// An archive that is slow to note progress keeps nobody waiting, and one note is
// under way at most; what ends the claim ends the note.
func TestWorkGoesOnBesideANoteOfProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.begin()
		b.put(create())
		b.wantEffects("write 1 rows", "append 0")
		b.mu.Lock()
		b.slow = 10 * noteEvery
		b.mu.Unlock()
		time.Sleep(noteEvery + time.Millisecond) // The note begins.
		for i := range 3 {
			b.put(message(theGroup, anna, 10+i, "hi"))
			b.wantEffects("write 1 rows", fmt.Sprintf("append %d", 1+i))
			time.Sleep(2 * noteEvery)
		}
		time.Sleep(4 * noteEvery)
		b.wantEffects("progress 0", "commit 1")
		time.Sleep(10 * noteEvery) // The next says all that came meanwhile.
		b.wantEffects("progress 3", "commit 4")
		b.put(message(theGroup, anna, 20, "hi"))
		time.Sleep(2 * noteEvery)
		b.wantEffects("write 1 rows", "append 4")
		if err := b.stop(); err != nil {
			t.Errorf("Run: %v, want nil at the end of its context", err)
		}
		b.wantEffects()
	})
}

func TestProgressIsNotedAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.begin()
		b.put(create())
		synctest.Wait()
		for i := range 40 { // Four seconds of work.
			time.Sleep(100 * time.Millisecond)
			b.put(message(theGroup, anna, 10+i, "hi"))
		}
		time.Sleep(10 * time.Second) // And a long rest.
		var notes []string
		for _, e := range b.took() {
			if e[0] == 'p' || e[0] == 'c' {
				notes = append(notes, e)
			}
		}
		if n := len(notes); n < 6 || n > 12 || notes[n-2] != "progress 40" || notes[n-1] != "commit 41" {
			t.Errorf("%q: want about one note a second, the last at offset 40", notes)
		}
		_ = b.stop()
	})
}

func TestAFailedWriteIsRepeatedBeforeAnythingIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.failing = 3
		b.begin()
		b.put(create())
		b.wantEffects("write fails")
		time.Sleep(20 * time.Millisecond)
		b.wantEffects("write fails")
		time.Sleep(40 * time.Millisecond)
		b.wantEffects("write fails")
		time.Sleep(80 * time.Millisecond)
		b.wantEffects("write 1 rows", "append 0")
		_ = b.stop()
	})
}

func TestClaimEndsWhileAWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.failing = 1000
		b.begin()
		b.put(create())
		time.Sleep(time.Minute)
		if err := b.stop(); err != nil {
			t.Errorf("Run: %v, want nil", err)
		}
		for _, e := range b.took() {
			if e != "write fails" {
				t.Errorf("%s, though nothing was saved", e)
			}
		}
	})
}

func TestAnOverloadedProducerIsWaitedForInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.refusing = 5
		b.begin()
		b.put(create(), message(theGroup, boris, 10, "hi"))
		time.Sleep(6 * overloadPause)
		b.wantEffects("write 2 rows", "append 0", "append 1")
		_ = b.stop()
	})
}

func TestAClosedProducerEndsTheFold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.closed = true
		b.begin()
		b.put(create())
		if err := <-b.ended; !errors.Is(err, bus.ErrClosed) {
			t.Errorf("Run: %v, want ErrClosed", err)
		}
		b.wantEffects("write 1 rows") // And no note of progress.
	})
}

func TestALostClaimIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.commitErr = bus.ErrLostClaim
		b.begin()
		b.put(create())
		time.Sleep(2 * noteEvery)
		b.put(message(theGroup, boris, 10, "a zombie does no harm"))
		b.wantEffects("write 1 rows", "append 0", "progress 0", "commit 1",
			"write 1 rows", "append 1", "progress 1", "commit 2")
		_ = b.stop()
	})
}

func TestStartOfAPartition(t *testing.T) {
	position := func(offset int64) chat.Position { return chat.Position{Generation: 1, Offset: offset} }
	type logs struct {
		answered []int64 // offsets on the accepted log
		expired  int64   // outcomes before those
		noted    int64   // progress, −1: none
		start    int64   // the inbound log holds five records from here on
	}
	for _, c := range []struct {
		name string
		logs
		want string
	}{
		{"nothing was done yet", logs{nil, 0, -1, 0}, "append 0"},
		{"after the newest outcome", logs{[]int64{0, 1}, 0, -1, 0}, "append 2"},
		{"after a zombie's repetition", logs{[]int64{0, 1, 2, 0}, 0, -1, 0}, "append 1"},
		{"progress is further", logs{[]int64{0}, 2, 2, 0}, "append 3"},
		{"progress is behind", logs{[]int64{0, 1, 2, 3}, 0, 1, 0}, "append 4"},
		{"outcomes are expired", logs{nil, 7, 6, 5}, "append 7"},
		{"the last that was decided is expired", logs{nil, 5, 4, 5}, "append 5"},
		{"all is done", logs{[]int64{4}, 4, -1, 0}, ""},
		{"records are gone", logs{[]int64{0, 1}, 0, -1, 3}, "chat.inbound partition 0 holds offsets 3 to 7, but 2 is the next to decide"},
		{"nothing is known, records are gone", logs{nil, 0, -1, 1}, "chat.inbound partition 0 holds offsets 1 to 5, but 0 is the next to decide"},
		{"offsets go back", logs{[]int64{5}, 5, -1, 0}, "chat.inbound partition 0 holds offsets 0 to 4, but 6 is the next to decide"},
		{"the accepted log is made anew", logs{nil, 0, 2, 0}, "chat.accepted partition 0 ends at offset 0, but 3 records of chat.inbound are decided"},
		{"the accepted log lost its end", logs{[]int64{0, 1}, 0, 2, 0}, "chat.accepted partition 0 ends at offset 2, but 3 records of chat.inbound are decided"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.start, b.expired = c.start, c.expired
				for i := range 5 {
					b.put(message(theGroup, anna, i, "?"))
				}
				for _, at := range c.answered {
					b.answer(position(at), chat.ClockAt(startTime/1000)+chat.Clock(at))
				}
				if c.noted >= 0 {
					b.progress(position(c.noted), chat.ClockAt(startTime/1000)+100)
				}
				b.begin()
				if strings.Contains(c.want, "partition") {
					if err := <-b.ended; !errors.Is(err, bus.ErrUnsafe) || !strings.Contains(err.Error(), c.want) {
						t.Errorf("Run: %v, want ErrUnsafe and %s", err, c.want)
					}
					return
				}
				first := ""
				for _, e := range b.took() {
					if e[0] == 'a' && first == "" {
						first = e
					}
				}
				if first != c.want {
					t.Errorf("first %q, want %q", first, c.want)
				}
				_ = b.stop()
			})
		})
	}
}

func (b *bench) progress(at chat.Position, clock chat.Clock) {
	if err := b.Store.SetProgress(b.t.Context(), 0, archive.Progress{Position: at, Clock: clock}); err != nil {
		b.t.Fatal(err)
	}
}

// A topic that was deleted and made anew fills up, and then has the offset that
// is to be decided next; but the records before it are others.
func TestARecordThatIsNotTheDecidedOneEndsTheFold(t *testing.T) {
	at, clock := chat.Position{Generation: 1, Offset: 1}, chat.ClockAt(startTime/1000)+100
	for name, prepare := range map[string]func(b *bench){
		"the outcome is of another record": func(b *bench) {
			b.answer(at, clock)
			b.inbound = nil
			b.put(message(theGroup, boris, 7, "?"), message(theGroup, boris, 8, "?"), message(theGroup, boris, 9, "?"))
		},
		"the record is younger than its outcome": func(b *bench) {
			b.progress(at, clock)
			b.inbound[1].Millis = startTime + 1000
		},
		"the outcome is of another generation": func(b *bench) {
			b.answer(chat.Position{Generation: 2, Offset: 1}, clock)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.expired = 5
				b.put(message(theGroup, anna, 1, "?"), message(theGroup, anna, 2, "?"), message(theGroup, anna, 3, "?"))
				prepare(b)
				b.begin()
				if err := <-b.ended; !errors.Is(err, bus.ErrUnsafe) {
					t.Errorf("Run: %v, want it to wrap ErrUnsafe", err)
				}
				b.wantEffects()
			})
		})
	}
}

func TestClockGoesOnWhereTheLastOutcomeLeftIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ahead := chat.ClockAt(startTime/1000) + chat.Ticks(time.Hour)
		b.put(message(theGroup, anna, 1, "?"), message(theGroup, anna, 2, "?"))
		b.answer(chat.Position{Generation: 1}, ahead)
		b.begin()
		synctest.Wait()
		var out bus.Accepted
		if err := bus.ParseAccepted(b.accepted[1].Value, &out); err != nil || out.Clock != ahead+1 {
			t.Errorf("clock %d, %v, want %d", out.Clock, err, ahead+1)
		}
		_ = b.stop()
	})
}

func TestALogThatIsNotWhatItWasEndsTheFold(t *testing.T) {
	t.Run("the next record was deleted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.readFail = bus.ErrOffsetOutOfRange
			b.begin()
			if err := <-b.ended; !errors.Is(err, bus.ErrUnsafe) {
				t.Errorf("Run: %v, want it to wrap ErrUnsafe", err)
			}
		})
	})
	t.Run("an offset is missing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.put(create(), message(theGroup, anna, 1, "?"))
			b.inbound[1].Offset = 2
			b.begin()
			if err := <-b.ended; !errors.Is(err, bus.ErrUnsafe) {
				t.Errorf("Run: %v, want it to wrap ErrUnsafe", err)
			}
			b.wantEffects()
		})
	})
	t.Run("the last outcome cannot be read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.accepted = []bus.Record{{Value: []byte("no outcome")}}
			b.begin()
			if err := <-b.ended; !errors.Is(err, bus.ErrUnsafe) || !errors.Is(err, bus.ErrMalformed) {
				t.Errorf("Run: %v, want it to wrap ErrUnsafe and ErrMalformed", err)
			}
		})
	})
}

func TestColdConversationsAreReadSeveralAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var ins []bus.Inbound
		for i := range 3 * coldReads {
			in := create()
			in.Request = ask(1000 + i)
			in.Conversation = chat.GroupConversation(anna, in.Request)
			ins = append(ins, in)
		}
		b.put(ins...)
		b.begin()
		if got := b.took(); len(got) != 1+len(ins) || got[0] != fmt.Sprintf("write %d rows", len(ins)) {
			t.Errorf("%d effects, the first %q, want one write of all", len(got), got[0])
		}
		_ = b.stop()
	})
}

func TestALongFetchIsWorkedOffInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.put(create())
		for i := range batchRecords {
			b.put(message(theGroup, anna, 10+i, "hi"))
		}
		b.begin()
		got := b.took()
		var writes []string
		for _, e := range got {
			if e[0] == 'w' {
				writes = append(writes, e)
			}
		}
		if want := []string{fmt.Sprintf("write %d rows", batchRecords), "write 1 rows"}; !slices.Equal(writes, want) {
			t.Errorf("writes %q, want %q", writes, want)
		}
		_ = b.stop()
	})
}
