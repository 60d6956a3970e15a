package search_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/search"
	"switchboard/storage-worker/search/opensearch"
	"switchboard/storage-worker/search/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// generation is that of every log here.
const generation = 1

var (
	alice = chat.DemoUser("alice")
	bob   = chat.DemoUser("bob")
	carol = chat.DemoUser("carol")
)

// world is an indexer between an accepted log of one partition, an archive and an
// index, all of them the test's.
type world struct {
	t       *testing.T
	metrics *metrics.Set
	store   search.Store
	now     func() time.Time // when messages are sent, and looked for

	mu        sync.Mutex
	records   []bus.Record // of the accepted log
	start     int64        // the first offset that it still holds
	inbound   int64        // offset of the next outcome
	committed int64
	rows      map[chat.ConversationID][]archive.Row

	away   error // what the index answers instead
	deaf   error // what it answers after it has done what was asked
	gone   bool  // until somebody prepares it
	asked  int   // entries of the archive
	health []string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, metrics: metrics.New(), now: time.Now, committed: -1, rows: make(map[chat.ConversationID][]archive.Row)}
	w.dropIndex()
	return w
}

// dropIndex gives the world an empty index.
func (w *world) dropIndex() {
	store, err := sqlite.Open(w.t.Context(), filepath.Join(w.t.TempDir(), "search.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.store = store
}

// run runs an indexer on the world until what is on the log is in the index after
// each step, then ends it.
func (w *world) run(steps ...func()) {
	w.t.Helper()
	end := w.begin()
	synctest.Wait()
	for _, step := range steps {
		step()
		synctest.Wait()
	}
	end()
}

// begin starts an indexer on the world, which end ends.
func (w *world) begin() (end func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	x := search.NewIndexer(search.Config{
		Log: w, Accepted: w, Generation: generation, Store: moody{w}, Prepare: w.prepare, Archive: w, Metrics: w.metrics,
		Health: func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.health = append(w.health, map[bool]string{true: "well", false: "ill"}[err == nil])
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	ended := make(chan error)
	go func() { ended <- x.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("run: %v", err)
		}
	}
}

// moody is the index in its moods.
type moody struct{ w *world }

func (m moody) Apply(ctx context.Context, b *search.Batch) error {
	m.w.mu.Lock()
	store, away, deaf, gone := m.w.store, m.w.away, m.w.deaf, m.w.gone
	m.w.mu.Unlock()
	switch {
	case away != nil:
		return away
	case gone:
		return fmt.Errorf("write: %w", search.ErrGone)
	}
	return errors.Join(store.Apply(ctx, b), deaf)
}

func (m moody) Progress(ctx context.Context, generation uint32, partition int32) (search.Progress, bool, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return m.w.store.Progress(ctx, generation, partition)
}

func (m moody) Reached(ctx context.Context, conversations []chat.ConversationID) (map[chat.ConversationID]chat.Seq, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return m.w.store.Reached(ctx, conversations)
}

func (m moody) Match(context.Context, *search.Question) (search.Matches, error) {
	return search.Matches{}, errors.New("the indexer does not ask this")
}

// prepare gives the world an empty index for the one that is gone.
func (w *world) prepare(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if late, ok := w.store.(*opensearch.Store); ok {
		return late.Prepare(ctx)
	}
	w.dropIndex()
	w.gone = false
	return nil
}

// setAway and setDeaf are steps.
func (w *world) setAway(err error) func() { return w.locked(func() { w.away = err }) }
func (w *world) setDeaf(err error) func() { return w.locked(func() { w.deaf = err }) }

func (w *world) locked(step func()) func() {
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		step()
	}
}

func elapse(d time.Duration) func() { return func() { time.Sleep(d) } }

// say puts messages of a conversation into the archive and on the log.
func (w *world) say(c chat.ConversationID, sender chat.UserID, contents ...string) {
	for _, content := range contents {
		w.append(c, chat.Entry{Sender: sender, Kind: chat.KindText, Content: content})
	}
}

// event does the same with an event.
func (w *world) event(c chat.ConversationID, change chat.Change, user chat.UserID) {
	w.append(c, chat.Entry{Sender: alice, Kind: chat.KindEvent, Change: change, User: user})
}

func (w *world) append(c chat.ConversationID, e chat.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := chat.Position{Generation: generation, Offset: w.inbound}
	w.inbound++
	clock := chat.Clock(w.now().UnixMicro()) + chat.Clock(at.Offset)
	e.Conversation, e.Seq, e.ID = c, chat.Seq(len(w.rows[c])+1), chat.NewMessageID(clock, generation, 0)
	w.rows[c] = append(w.rows[c], archive.Row{Entry: e, Position: at})
	a := bus.Accepted{Outcome: bus.Stored, Position: at, Clock: clock, Conversation: c, Sender: e.Sender, Events: []bus.Event{{Entry: e}}}
	w.put(a.Append(nil))
}

// put appends a record; w.mu is held.
func (w *world) put(value []byte) {
	w.records = append(w.records, bus.Record{
		Topic: "chat.accepted", Offset: w.start + int64(len(w.records)), Millis: time.Now().UnixMilli(), Value: value,
	})
}

// forget deletes the first n records of the log.
func (w *world) forget(n int) func() {
	return w.locked(func() { w.records, w.start = w.records[n:], w.start+int64(n) })
}

// hits returns all that is found, the best of each window first.
func (w *world) hits(query string, scope search.Scope) (hits []search.Hit) {
	w.t.Helper()
	q, err := search.Parse(query, alice)
	if err != nil {
		w.t.Fatal(err)
	}
	finder := search.NewFinder(w.store, metrics.New())
	r := search.Request{Query: q, Scope: scope, Limit: search.LimitMax, Now: w.now()}
	for {
		page, err := finder.Find(w.t.Context(), &r)
		if err != nil {
			w.t.Fatal(err)
		}
		hits = append(hits, page.Hits...)
		if r.Cursor = page.Cursor; r.Cursor == "" {
			return hits
		}
	}
}

// find returns the contents of what is found, sorted.
func (w *world) find(query string, scope search.Scope) []string {
	w.t.Helper()
	contents := []string{}
	for _, h := range w.hits(query, scope) {
		contents = append(contents, h.Content)
	}
	slices.Sort(contents)
	return contents
}

func (w *world) finds(query string, scope search.Scope, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if got := w.find(query, scope); !slices.Equal(got, want) {
		w.t.Errorf("query %q finds %q, want %q", query, got, want)
	}
}

// everything is a scope of all that is in these conversations.
func everything(conversations ...chat.ConversationID) search.Scope {
	scope := make(search.Scope)
	for _, c := range conversations {
		scope[c] = []search.Span{{From: 1}}
	}
	return scope
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

// Entries makes the world an archive.
func (w *world) Entries(_ context.Context, c chat.ConversationID, from, to chat.Seq, limit int, _ bool) (rows []archive.Row, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	for _, row := range w.rows[c] {
		if from <= row.Seq && row.Seq <= to && len(rows) < limit {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// Bounds, Open and Last make the world a bus.Log.
func (w *world) Bounds(context.Context, string, int32) (start, end int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.start, w.start + int64(len(w.records)), nil
}

func (w *world) Open(_ string, _ int32, offset int64) bus.Reader { return &reader{w, offset} }

func (w *world) Last(context.Context, string, int32) (bus.Record, bool, error) {
	return bus.Record{}, false, errors.New("the indexer does not ask this")
}

type reader struct {
	w  *world
	at int64
}

func (r *reader) Next(ctx context.Context) ([]bus.Record, error) {
	for {
		r.w.mu.Lock()
		start, end := r.w.start, r.w.start+int64(len(r.w.records))
		records := slices.Clone(r.w.records)
		r.w.mu.Unlock()
		switch {
		case r.at < start || r.at > end:
			return nil, fmt.Errorf("%w: %d", bus.ErrOffsetOutOfRange, r.at)
		case r.at < end:
			records = records[r.at-start:]
			r.at = end
			return records, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *reader) Close() {}

// Run makes the world a bus.Group with one claim.
func (w *world) Run(ctx context.Context, handle func(ctx context.Context, claim bus.Claim) error) error {
	return handle(ctx, w)
}

func (w *world) Topic() string    { return "chat.accepted" }
func (w *world) Partition() int32 { return 0 }

func (w *world) Committed() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.committed
}

func (w *world) Commit(_ context.Context, offset int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committed = offset
	return nil
}

// conversations returns those of the world, in no order.
func (w *world) conversations() []chat.ConversationID { return slices.Collect(maps.Keys(w.rows)) }
