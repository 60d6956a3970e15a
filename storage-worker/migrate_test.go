package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gocql/gocql"
	"github.com/jackc/pgx/v5"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
)

// output is what a migration said, and when it said the first of it.
type output struct {
	begun func()

	mu   sync.Mutex
	text bytes.Buffer
}

func newOutput() (o *output, begun <-chan struct{}) {
	first := make(chan struct{})
	return &output{begun: sync.OnceFunc(func() { close(first) })}, first
}

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun()
	return o.text.Write(text)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func TestMigrateSaysWhatItDid(t *testing.T) {
	args := []string{"migrate", "-kafka", startKafka(t), "-partitions", "2", "-replication", "1", "-log-level", "error"}
	for _, want := range []string{"chat.inbound: created with 2 partitions, 1 replicas\n", "chat.inbound: was there\n"} {
		var out bytes.Buffer
		if err := run(t.Context(), args, &out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) || strings.Count(out.String(), "\n") != len(bus.Topics(1, 2)) {
			t.Errorf("got %s, want %s", out.String(), want)
		}
	}
	args[4] = "4"
	if err := run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), "2 partitions") {
		t.Errorf("another number of partitions: got %v", err)
	}
}

// With a number of partitions that is none of the others', no topic is made: it
// could not be taken back.
func TestMigrateMakesNothingBesideWhatDiffers(t *testing.T) {
	brokers := startKafka(t)
	args := []string{"migrate", "-kafka", brokers, "-partitions", "2", "-replication", "1", "-log-level", "error"}
	if err := run(t.Context(), args, io.Discard); err != nil {
		t.Fatal(err)
	}
	args[4] = "4"
	err := run(t.Context(), append(args, "-generation", "2"), io.Discard)
	if !errors.Is(err, bus.ErrUnsafe) || !strings.Contains(err.Error(), "2 partitions") {
		t.Errorf("got %v, want what differs", err)
	}
	client := kafka.Open(kafka.Config{Brokers: []string{brokers}, ClientID: "test", Log: slog.New(slog.DiscardHandler)})
	defer client.Close()
	for _, topic := range []string{bus.InboundTopic(2), bus.AcceptedTopic(2)} {
		if n, err := client.Admin().Partitions(t.Context(), topic); !errors.Is(err, bus.ErrUnknownTopic) {
			t.Errorf("%s was made with %d partitions (%v)", topic, n, err)
		}
	}
}

// stores returns flags for a keyspace and a schema that are not there yet, or
// skips the test.
func stores(t *testing.T) (flags []string, keyspace string) {
	t.Helper()
	cql, sql := os.Getenv("SWITCHBOARD_TEST_CQL"), os.Getenv("SWITCHBOARD_TEST_POSTGRES")
	if cql == "" || sql == "" {
		t.Skip("SWITCHBOARD_TEST_CQL or SWITCHBOARD_TEST_POSTGRES is not set: no stores to migrate")
	}
	name := "migrate_test_" + strings.ReplaceAll(chat.NewRequestID().String(), "-", "")[:12]
	cluster := gocql.NewCluster(cql)
	cluster.Timeout, cluster.ProtoVersion = 20*time.Second, 4
	session, err := cluster.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), sql)
	if err == nil {
		_, err = conn.Exec(t.Context(), "CREATE SCHEMA "+name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer session.Close()
		ctx := context.WithoutCancel(t.Context())
		defer conn.Close(ctx)
		if err := session.Query("DROP KEYSPACE IF EXISTS " + name).Exec(); err != nil {
			t.Error(err)
		}
		if _, err := conn.Exec(ctx, "DROP SCHEMA "+name+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	at, err := url.Parse(sql)
	if err != nil {
		t.Fatal(err)
	}
	query := at.Query()
	query.Set("search_path", name)
	at.RawQuery = query.Encode()
	return []string{"-cql", cql, "-cql-keyspace", name, "-cql-replication", "1", "-postgres", at.String()}, name
}

// Two begin at the same time: one works, the other says whom it waits for and
// then finds that everything is there.
func TestTwoMigrationsAtTheSameTime(t *testing.T) {
	flags, keyspace := stores(t)
	args := append([]string{"migrate", "-kafka", startKafka(t), "-partitions", "2", "-replication", "1", "-log-level", "error"}, flags...)
	first, begun := newOutput()
	second, _ := newOutput()
	var both sync.WaitGroup
	migrate := func(out *output) {
		if err := run(t.Context(), args, out); err != nil {
			t.Error(err)
		}
	}
	both.Go(func() { migrate(first) })
	<-begun // It holds the lock, and the tables are still to be made.
	both.Go(func() { migrate(second) })
	both.Wait()

	waits := fmt.Sprintf("lock: waits for another migrate: process %d on ", os.Getpid())
	for _, want := range []struct{ of, first, second string }{
		{"lock: ", "", waits},
		{"chat.inbound: ", "created with 2 partitions, 1 replicas\n", "was there\n"},
		{"cql: ", "made keyspace " + keyspace + " with 1 replicas in ", "the keyspace " + keyspace + " and its tables were there\n"},
		{"cql: made table ", "messages\n", ""},
		{"postgres: ", "made table ", "the tables of the roster were there\n"},
	} {
		for _, said := range []struct{ text, want string }{{first.String(), want.first}, {second.String(), want.second}} {
			if got := strings.Contains(said.text, want.of); got != (said.want != "") {
				t.Errorf("says %q: %v, in\n%s", want.of, got, said.text)
			}
			if !strings.Contains(said.text, said.want) {
				t.Errorf("got\n%s\nwant %s", said.text, said.want)
			}
		}
	}
}

// A keyspace that somebody made otherwise ends it with status 2.
func TestMigrateRefusesWhatDiffers(t *testing.T) {
	flags, _ := stores(t)
	args := append([]string{"migrate", "-kafka", startKafka(t), "-partitions", "2", "-replication", "1", "-log-level", "error"}, flags...)
	if err := run(t.Context(), args, io.Discard); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), append(args, "-cql-replication", "3"), io.Discard)
	if kind := fmt.Sprintf("%T", err); err == nil || !strings.Contains(err.Error(), "its replication is ") {
		t.Errorf("another replication: got a %s %v, want what differs", kind, err)
	}
}

// Neither does a worker wait until the tables of something else become ours.
func TestAWorkerRefusesTablesThatDiffer(t *testing.T) {
	flags, keyspace := stores(t)
	cluster := gocql.NewCluster(flags[1])
	cluster.Timeout, cluster.ProtoVersion = 20*time.Second, 4
	session, err := cluster.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for _, text := range []string{
		"CREATE KEYSPACE " + keyspace + " WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
		"CREATE TABLE " + keyspace + ".messages (conversation_id uuid PRIMARY KEY, content int)",
	} {
		if err := session.Query(text).Exec(); err != nil {
			t.Fatal(err)
		}
	}
	err = run(t.Context(), append([]string{
		"-serve", "fold", "-kafka", startKafka(t), "-ops-listen", "127.0.0.1:0", "-log-level", "error",
	}, flags[:4]...), io.Discard)
	if kind := fmt.Sprintf("%T", errors.Unwrap(err)); kind != "*daemon.usageError" || !strings.Contains(err.Error(), "table messages") {
		t.Errorf("got a %s (%v), want a usage error that names the table", kind, err)
	}
}
