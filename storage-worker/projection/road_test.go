package projection_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver

	"switchboard/internal/bus"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/roster"
	"switchboard/internal/roster/postgres"
	"switchboard/internal/roster/sqlite"
	"switchboard/storage-worker/archive/memory"
	"switchboard/storage-worker/projection"
)

const (
	partitions = 4
	// patience bounds the waiting for what must happen; it happens much sooner.
	patience = time.Minute
)

// log is an accepted log and what it must come to.
type log struct {
	client     *kafka.Client
	writer     *kafka.Producer
	generation uint32 // a new one, so that the topic is
	group      string

	inbound [partitions]int64
	users   []chat.UserID
	groups  []chat.ConversationID
	seqs    map[chat.ConversationID]chat.Seq
	want    map[chat.ConversationID]map[chat.UserID]chat.Role
}

// embeddedKafka starts a broker in this process.
func embeddedKafka(t *testing.T) string {
	t.Helper()
	cluster, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster.Addr()
}

// realKafka returns the broker for tests, or skips the test.
func realKafka(t *testing.T) string {
	t.Helper()
	broker := os.Getenv("SWITCHBOARD_TEST_KAFKA")
	if broker == "" {
		t.Skip("SWITCHBOARD_TEST_KAFKA is not set: no Kafka to test with")
	}
	return broker
}

func newLog(t *testing.T, brokers string) *log {
	t.Helper()
	l := &log{
		client:     kafka.Open(kafka.Config{Brokers: strings.Split(brokers, ","), Log: slog.New(slog.DiscardHandler)}),
		generation: 2 + rand.Uint32N(1<<31), group: "test-" + chat.NewRequestID().String(),
		seqs: map[chat.ConversationID]chat.Seq{}, want: map[chat.ConversationID]map[chat.UserID]chat.Role{},
	}
	t.Cleanup(l.client.Close)
	topic := bus.Topic{Name: bus.AcceptedTopic(l.generation), Partitions: partitions, Retention: time.Hour}
	if _, err := l.client.Admin().Ensure(t.Context(), []bus.Topic{topic}, 1); err != nil {
		t.Fatal(err)
	}
	l.writer = l.client.Producer(kafka.ProducerConfig{})
	for i := range byte(20) {
		l.users = append(l.users, chat.UserID{i + 1})
		c := chat.ConversationID(chat.NewRequestID())
		for bus.PartitionOf(c, partitions) != int32(i)%partitions {
			c = chat.ConversationID(chat.NewRequestID())
		}
		l.groups = append(l.groups, c)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.writer.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return l
}

// write appends n outcomes of random groups and waits for the broker; some of
// them twice, as a zombie would.
func (l *log) write(t *testing.T, random *rand.Rand, n int) {
	t.Helper()
	var acks sync.WaitGroup
	for range n {
		c := l.groups[random.IntN(len(l.groups))]
		p := bus.PartitionOf(c, partitions)
		a := l.outcome(random, c)
		a.Position = chat.Position{Generation: l.generation, Offset: l.inbound[p]}
		l.inbound[p]++
		for range 1 + random.IntN(2) {
			acks.Add(1)
			m := bus.Message{Topic: bus.AcceptedTopic(l.generation), Partition: p, Key: c[:], Value: a.Append(nil)}
			if err := l.writer.Produce(m, func(int64, error) { acks.Done() }); err != nil {
				t.Fatal(err)
			}
		}
	}
	acks.Wait()
}

// outcome is the next event of a group.
func (l *log) outcome(random *rand.Rand, c chat.ConversationID) *bus.Accepted {
	l.seqs[c]++
	e := bus.Event{Entry: chat.Entry{Seq: l.seqs[c], Kind: chat.KindEvent, MembersVersion: l.seqs[c]}}
	e.ID = chat.NewMessageID(chat.ClockAt(1_800_000_000)+chat.Clock(e.Seq), l.generation, 0)
	e.User = l.users[1+random.IntN(len(l.users)-1)]
	members := l.want[c]
	switch role, in := members[e.User]; {
	case members == nil:
		e.Change, e.Type, e.Added = chat.Created, chat.Group, l.users[:1]
		e.User = chat.UserID{}
		l.want[c] = map[chat.UserID]chat.Role{l.users[0]: chat.Admin}
	case random.IntN(3) == 0:
		e.Kind, e.Content, e.User = chat.KindText, "hi", chat.UserID{}
	case !in:
		e.Change, e.Role = chat.MemberAdded, chat.Member
		members[e.User] = e.Role
	case role == chat.Member:
		e.Change, e.Role = chat.RoleChanged, chat.Admin
		members[e.User] = e.Role
	default:
		e.Change = chat.MemberRemoved
		delete(members, e.User)
	}
	return &bus.Accepted{
		Outcome: bus.Stored, Conversation: c, Sender: l.users[0], Request: chat.NewRequestID(), Events: []bus.Event{e},
	}
}

// project starts a projection and returns how to end it.
func (l *log) project(t *testing.T, store roster.Store, health func(error)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := projection.New(projection.Config{
		Log: l.client.Log(), Generation: l.generation, Roster: store, Archive: memory.New(), Health: health,
		Accepted: l.client.Group(bus.AcceptedTopic(l.generation), l.group, kafka.GroupConfig{
			Heartbeat: 100 * time.Millisecond, Session: 6 * time.Second, Rebalance: 6 * time.Second,
		}),
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	})
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// await waits until the roster has all that was written, and compares.
func (l *log) await(t *testing.T, store roster.Store) {
	t.Helper()
	limit := time.Now().Add(patience)
	for p := range int32(partitions) {
		for {
			got, _, err := store.Progress(t.Context(), l.generation, p)
			if err == nil && got.Last == l.inbound[p]-1 {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("partition %d: progress %v, %v, want inbound offset %d", p, got, err, l.inbound[p]-1)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	for c, want := range l.want {
		members, err := store.Members(t.Context(), c, chat.UserID{}, roster.PageMax)
		got := map[chat.UserID]chat.Role{}
		for _, m := range members {
			got[m.User] = m.Role
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("conversation %s: got %v, %v, want %v", c, got, err, want)
		}
	}
}

// flaky is a roster whose calls fail by chance: some before they do anything,
// some after all was done.
type flaky struct {
	roster.Store
	mu     sync.Mutex
	random *rand.Rand
}

var errFlaky = errors.New("the connection broke")

func (f *flaky) Apply(ctx context.Context, changes []roster.Change, at roster.Progress) error {
	f.mu.Lock()
	fate := f.random.IntN(6)
	f.mu.Unlock()
	if fate == 0 {
		return errFlaky
	}
	if err := f.Store.Apply(ctx, changes, at); err != nil {
		return err
	}
	if fate == 1 {
		return errFlaky
	}
	return nil
}

func TestProjectorsThatComeAndGoEndWithTheRowsOfTheLog(t *testing.T) {
	t.Run("on a broker in this process", func(t *testing.T) { comeAndGo(t, embeddedKafka(t)) })
	t.Run("on Kafka", func(t *testing.T) { comeAndGo(t, realKafka(t)) })
}

func comeAndGo(t *testing.T, brokers string) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "roster.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store, err := sqlite.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(t, brokers)
	random := rand.New(rand.NewPCG(1, 1))
	var stops []func()
	for range 4 {
		stops = append(stops, l.project(t, &flaky{Store: store, random: rand.New(rand.NewPCG(1, random.Uint64()))}, nil))
		l.write(t, random, 150)
		if len(stops) > 2 {
			stops[0]()
			stops = stops[1:]
		}
	}
	l.await(t, store)
	for _, stop := range slices.Backward(stops) {
		stop()
	}
}

// TestPostgreSQLIsAwayInBetween cuts the connections and lets none be made, as a
// server that was stopped does.
func TestPostgreSQLIsAwayInBetween(t *testing.T) {
	server := os.Getenv("SWITCHBOARD_TEST_POSTGRES")
	if server == "" {
		t.Skip("SWITCHBOARD_TEST_POSTGRES is not set: no PostgreSQL to test with")
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	schema := "test_" + strings.ReplaceAll(chat.NewRequestID().String(), "-", "")
	execute(t, server, "CREATE SCHEMA "+schema)
	t.Cleanup(func() { execute(t, server, "DROP SCHEMA "+schema+" CASCADE") })
	w := newWire(t, u.Host)
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery, u.Host = query.Encode(), w.listener.Addr().String()
	config := postgres.Config{URL: u.String(), Timeout: patience}
	if _, err := postgres.Migrate(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	store, err := postgres.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()

	l := newLog(t, embeddedKafka(t))
	random := rand.New(rand.NewPCG(2, 2))
	failed := make(chan struct{}, 1)
	stop := l.project(t, store, func(err error) {
		if err == nil {
			return
		}
		select {
		case failed <- struct{}{}:
		default:
		}
	})
	defer stop()
	for range 3 {
		l.write(t, random, 100)
		l.await(t, store)
		select {
		case <-failed: // Of the round before.
		default:
		}
		w.cut(true)
		l.write(t, random, 100) // The log takes what the roster does not.
		<-failed
		w.cut(false)
	}
	l.await(t, store)
}

// execute runs one statement, also in a cleanup.
func execute(t *testing.T, server, text string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, text); err != nil {
		t.Fatal(err)
	}
}

// wire is what lies between a client and its server.
type wire struct {
	listener net.Listener
	server   string
	all      sync.WaitGroup

	mu     sync.Mutex
	broken bool
	open   []net.Conn
}

func newWire(t *testing.T, server string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, server: server}
	w.all.Go(w.accept)
	t.Cleanup(func() {
		listener.Close()
		w.cut(true)
		w.all.Wait()
	})
	return w
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.server)
		w.mu.Lock()
		if err != nil || w.broken {
			client.Close()
			if err == nil {
				server.Close()
			}
			w.mu.Unlock()
			continue
		}
		w.open = append(w.open, client, server)
		w.mu.Unlock()
		for _, ends := range [][2]net.Conn{{client, server}, {server, client}} {
			w.all.Go(func() {
				_, _ = io.Copy(ends[0], ends[1])
				ends[0].Close()
				ends[1].Close()
			})
		}
	}
}

// cut breaks the wire, or mends it.
func (w *wire) cut(broken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = broken
	for _, c := range w.open {
		c.Close()
	}
	w.open = nil
}
