package projection

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/roster"
	"switchboard/storage-worker/archive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// generation is that of every log here.
const generation = 1

// world is a projection between an accepted log of one partition, an archive and
// a roster, all in memory.
type world struct {
	t       *testing.T
	metrics *metrics.Set

	mu        sync.Mutex
	records   []bus.Record // of the accepted log
	start     int64        // the first offset that it still holds
	inbound   int64        // offset of the next outcome
	committed int64
	commits   int

	infos map[chat.ConversationID]archive.Info
	spans map[chat.ConversationID][]archive.Span

	away     error // what the roster answers instead
	deaf     error // what it answers after it has done what was asked
	progress roster.Progress
	knows    map[chat.ConversationID]bool
	applied  []roster.Change
	batches  []int // how many changes each Apply had
	loaded   []roster.Snapshot
	health   []string
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, metrics: metrics.New(), committed: -1, knows: map[chat.ConversationID]bool{},
		infos: map[chat.ConversationID]archive.Info{}, spans: map[chat.ConversationID][]archive.Span{},
	}
}

// run runs a projection on the world until the bubble is idle after each step,
// then ends it.
func (w *world) run(steps ...func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	p := New(Config{
		Log: w, Accepted: w, Generation: generation, Roster: store{w}, Archive: w, Metrics: w.metrics,
		Health: func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.health = append(w.health, map[bool]string{true: "well", false: "ill"}[err == nil])
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	synctest.Wait()
	for _, step := range steps {
		step()
		synctest.Wait()
	}
	cancel()
	if err := <-ended; err != nil {
		w.t.Errorf("run: %v", err)
	}
}

// locked runs a step on the world's fields.
func (w *world) locked(step func()) func() {
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		step()
	}
}

// elapse lets virtual time go by.
func elapse(d time.Duration) func() {
	return func() { time.Sleep(d) }
}

// accept appends outcomes, numbering those that have no position.
func (w *world) accept(outcomes ...*bus.Accepted) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range outcomes {
		if a.Position == (chat.Position{}) {
			a.Position = chat.Position{Generation: generation, Offset: w.inbound}
			w.inbound++
		}
		w.append(a.Append(nil))
	}
}

func (w *world) append(value []byte) {
	w.records = append(w.records, bus.Record{
		Topic: "chat.accepted", Offset: w.start + int64(len(w.records)), Millis: time.Now().UnixMilli(), Value: value,
	})
}

// metric returns the value of a metric as text.
func (w *world) metric(name string) string {
	w.t.Helper()
	var b strings.Builder
	w.metrics.Write(&b)
	for line := range strings.Lines(b.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	w.t.Fatalf("there is no metric %s", name)
	return ""
}

// Bounds, Open and Last make the world a bus.Log.
func (w *world) Bounds(context.Context, string, int32) (start, end int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.start, w.start + int64(len(w.records)), nil
}

func (w *world) Open(_ string, _ int32, offset int64) bus.Reader { return &reader{w, offset} }

func (w *world) Last(context.Context, string, int32) (bus.Record, bool, error) {
	return bus.Record{}, false, errors.New("the projection does not ask this")
}

type reader struct {
	w  *world
	at int64
}

func (r *reader) Next(ctx context.Context) ([]bus.Record, error) {
	for {
		r.w.mu.Lock()
		have, start := r.w.records, r.w.start // What is there does not change.
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
	if err := handle(ctx, claim{w}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

type claim struct{ *world }

func (claim) Topic() string      { return "chat.accepted" }
func (claim) Partition() int32   { return 0 }
func (c claim) Committed() int64 { c.mu.Lock(); defer c.mu.Unlock(); return c.committed }
func (c claim) Commit(_ context.Context, offset int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if offset > c.progress.Next {
		c.t.Errorf("offset %d was committed when the roster had %d", offset, c.progress.Next)
	}
	c.committed, c.commits = offset, c.commits+1
	return nil
}

// Info and Spans make the world an archive.
func (w *world) Info(_ context.Context, c chat.ConversationID) (archive.Info, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	info, ok := w.infos[c]
	if !ok {
		return info, archive.ErrNotFound
	}
	return info, nil
}

func (w *world) Spans(_ context.Context, c chat.ConversationID) ([]archive.Span, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.spans[c], nil
}

// store is the world as a roster.
type store struct{ *world }

func (s store) Apply(_ context.Context, changes []roster.Change, at roster.Progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return s.away
	}
	known := map[chat.ConversationID]roster.Versions{}
	for c := range s.knows {
		known[c] = roster.Versions{}
	}
	for _, b := range roster.Created(changes) {
		known[b.ID] = roster.Versions{}
	}
	if _, err := roster.NewPlan(changes, known); err != nil {
		return err
	}
	for c := range known {
		s.knows[c] = true
	}
	s.applied, s.batches = append(s.applied, changes...), append(s.batches, len(changes))
	s.progress = at
	return s.deaf
}

func (s store) Load(_ context.Context, l roster.Snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return s.away
	}
	s.loaded, s.knows[l.Conversation] = append(s.loaded, l), true
	return nil
}

func (s store) Progress(context.Context, uint32, int32) (roster.Progress, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress, s.progress != (roster.Progress{}), s.away
}

var errUnasked = errors.New("the projection does not ask this")

func (s store) Members(context.Context, chat.ConversationID, chat.UserID, int) ([]roster.Member, error) {
	return nil, errUnasked
}

func (s store) List(context.Context, chat.ConversationID) ([]roster.Member, chat.Seq, error) {
	return nil, 0, errUnasked
}

func (s store) Peers(context.Context, chat.UserID, int) ([]chat.UserID, error) {
	return nil, errUnasked
}

func (s store) Sharing(context.Context, chat.UserID, []chat.UserID) ([]chat.UserID, error) {
	return nil, errUnasked
}
