package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"switchboard/internal/chat"
)

// rosterSchema makes a schema of the test's own in the PostgreSQL for tests and
// returns the URL of it, or skips the test.
func rosterSchema(t *testing.T) string {
	t.Helper()
	const address = "SWITCHBOARD_TEST_POSTGRES"
	server := os.Getenv(address)
	if server == "" {
		t.Skipf("%s is not set: no PostgreSQL to test with", address)
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	name := "test_" + strings.ReplaceAll(chat.NewRequestID().String(), "-", "")
	ask(t, server, "CREATE SCHEMA "+name)
	t.Cleanup(func() { ask(t, server, "DROP SCHEMA "+name+" CASCADE") })
	query := u.Query()
	query.Set("search_path", name)
	u.RawQuery = query.Encode()
	return u.String()
}

// ask runs one statement and returns its rows, values separated by blanks.
func ask(t *testing.T, server, text string) (lines []string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Trim(fmt.Sprint(values), "[]"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestAWorkerKeepsTheRoster(t *testing.T) {
	roster, brokers := rosterSchema(t), startKafka(t)
	migrate := []string{"migrate", "-kafka", brokers, "-partitions", "2", "-replication", "1", "-postgres", roster}
	if err := run(t.Context(), migrate, io.Discard); err != nil {
		t.Fatal(err)
	}
	p := startWorker(t, brokers, "", "-archive", filepath.Join(t.TempDir(), "archive.db"), "-postgres", roster)
	defer p.end()
	p.await(200, "ok")
	route(t, brokers, 2)
	group := fmt.Sprintf(`{"type":"group","name":"Friday","member_ids":[%q,%q]}`, chat.DemoUser("bob"), chat.DemoUser("carol"))
	if status, text := p.call("POST", "http://"+p.rest+"/api/v1/conversations", group); status != 201 {
		t.Fatalf("create: got %d %s", status, text)
	}
	const text = `SELECT c.type, c.name, m.role, count(*) FROM conversations c JOIN conversation_members m ON m.conversation_id = c.id
		GROUP BY 1, 2, 3 ORDER BY 3`
	want := "group Friday admin 1, group Friday member 2"
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := strings.Join(ask(t, roster, text), ", ")
		if got == want {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the roster has %q, want %q", got, want)
		}
	}
}

// Messages flow while PostgreSQL is away, and a process that has another part
// says so by being ready.
func TestOnlyAProcessThatProjectsAloneWaitsForPostgreSQL(t *testing.T) {
	brokers, nobody := startKafka(t), "postgres://app@127.0.0.1:1/app"
	if err := run(t.Context(), []string{"migrate", "-kafka", brokers, "-partitions", "2", "-replication", "1"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	all := startWorker(t, brokers, "", "-archive", filepath.Join(t.TempDir(), "archive.db"), "-postgres", nobody)
	all.await(200, "ok")
	all.end()
	alone := startWorker(t, brokers, "", "-archive", filepath.Join(t.TempDir(), "archive.db"), "-postgres", nobody, "-serve", "projection")
	alone.await(503, "projection: open the roster in PostgreSQL")
	alone.end()
}
