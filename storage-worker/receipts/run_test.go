package receipts

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// line is the receipts of one partition, in memory, with a group of one claim at
// a time, and what is said of them. It runs in a synctest bubble.
type line struct {
	mu        sync.Mutex
	records   []bus.Record
	first     int64 // the oldest offset that it still holds
	more      chan struct{}
	committed int64
	commits   int
	told      []bus.Status
	busy      int // how many appends are still refused
}

func newLine() *line { return &line{more: make(chan struct{}), committed: -1} }

func (l *line) Topic() string    { return bus.TopicReceipts }
func (l *line) Partition() int32 { return 0 }

func (l *line) Committed() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.committed }

func (l *line) Commit(_ context.Context, offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.committed, l.commits = offset, l.commits+1
	return nil
}

func (l *line) Run(ctx context.Context, handle func(context.Context, bus.Claim) error) error {
	if err := handle(ctx, l); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (l *line) end() int64 { return l.first + int64(len(l.records)) }

func (l *line) Bounds(context.Context, string, int32) (start, end int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, l.end(), nil
}

func (l *line) Last(context.Context, string, int32) (bus.Record, bool, error) { panic("not asked") }

func (l *line) Open(_ string, _ int32, offset int64) bus.Reader { return &lineReader{l, offset} }

type lineReader struct {
	*line
	at int64
}

func (r *lineReader) Close() {}

func (r *lineReader) Next(ctx context.Context) ([]bus.Record, error) {
	for {
		r.mu.Lock()
		more, from := r.more, r.at-r.first
		if from < 0 || r.at > r.end() {
			r.mu.Unlock()
			return nil, bus.ErrOffsetOutOfRange
		}
		records := slices.Clone(r.records[from:])
		r.at = r.end()
		r.mu.Unlock()
		if len(records) > 0 {
			return records, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// mark puts a receipt on the line.
func (l *line) mark(u user, m bus.Mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, receipt(l.end(), theGroup, u, m))
	close(l.more)
	l.more = make(chan struct{})
}

// forget drops what is older than an offset.
func (l *line) forget(before int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records, l.first = l.records[before-l.first:], before
	close(l.more)
	l.more = make(chan struct{})
}

func (l *line) Produce(m bus.Message, done func(int64, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy > 0 {
		l.busy--
		return bus.ErrOverloaded
	}
	var s bus.Status
	if err := bus.ParseStatus(m.Value, &s); err != nil {
		return err
	}
	l.told = append(l.told, s)
	go done(0, nil)
	return nil
}

// at runs a keeper on the line for as long as the steps take.
func (l *line) at(t *testing.T, h *hall, steps func()) {
	t.Helper()
	k := New(Config{
		Store: h, Log: l, Group: l, Producer: l, Partitions: 1,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- k.Run(ctx) }()
	synctest.Wait()
	steps()
	synctest.Wait()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
}

// kept is what was committed, and how often.
func (l *line) kept() (offset int64, times int) {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.committed, l.commits
}

// said is what was told since the last time.
func (l *line) said() string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told
	l.told = nil
	return tale(told)
}

func TestAKeeperGoesOnWhereTheLastOneWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHall(t), newLine()
		h.create(theGroup, chat.Group, anna, boris)
		h.say(theGroup, anna)
		h.say(theGroup, anna)
		want := func(want string) {
			t.Helper()
			if got := l.said(); got != want {
				t.Errorf("told %q, want %q", got, want)
			}
		}
		l.busy = 3
		l.at(t, h, func() {
			l.mark(boris, delivered(2))
			time.Sleep(100 * time.Millisecond)
			want("boris delivered 2 to anna boris")
			l.mark(boris, delivered(3))
			want("boris delivered 3 to anna boris")
			if _, times := l.kept(); times != 0 {
				t.Error("committed at once: that is a round trip for each batch")
			}
			time.Sleep(2 * commitEvery)
			if offset, times := l.kept(); offset != 2 || times > 1 {
				t.Errorf("committed %d, %d times, want 2 once", offset, times)
			}
			l.mark(boris, read(2))
		})
		want("boris read 2 to anna boris")
		if offset, _ := l.kept(); offset != 3 {
			t.Errorf("committed %d at the end of the claim, want 3", offset)
		}
		// The next one may not know whether the last record was told.
		l.committed = 2
		l.at(t, h, func() {})
		want("boris read 2 to anna boris")
		l.at(t, h, func() { l.mark(boris, read(2)) })
		want("")
	})
}

func TestReceiptsThatAreGoneAreLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, l := newHall(t), newLine()
		h.create(theGroup, chat.Group, anna, boris)
		for range 5 {
			h.say(theGroup, anna)
		}
		for seq := chat.Seq(2); seq <= 5; seq++ {
			l.mark(boris, read(seq))
		}
		l.committed = 1
		l.forget(3)
		l.at(t, h, func() {
			if got, want := l.said(), "boris read 5 to anna boris"; got != want {
				t.Errorf("told %q, want %q", got, want)
			}
			l.mu.Lock()
			l.first += 40 // While it waits, the log loses its place.
			l.records = nil
			l.mu.Unlock()
			l.mark(boris, read(6))
			if got, want := l.said(), "boris read 6 to anna boris"; got != want {
				t.Errorf("told %q, want %q", got, want)
			}
		})
		if offset, _ := l.kept(); offset != l.end() {
			t.Errorf("committed %d, want %d", offset, l.end())
		}
	})
}
