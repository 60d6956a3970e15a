package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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

// awaitRows asks until the answer is what it should be.
func awaitRows(t *testing.T, server, text string, want ...string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := ask(t, server, text)
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the roster has %q, want %q", got, want)
		}
	}
}

// must makes a call that has to succeed.
func (p *program) must(method, path, body string) string {
	p.t.Helper()
	status, text := p.call(method, "http://"+p.rest+"/api/v1/conversations"+path, body)
	if status < 200 || status > 299 {
		p.t.Fatalf("%s %s: got %d %s", method, path, status, text)
	}
	return text
}

// Two rosters follow the same log: one from its beginning, with a pause in the
// middle; the other is told that the beginning is behind it, so that it has to
// take the group from the archive. They end alike.
func TestAWorkerKeepsTheRoster(t *testing.T) {
	first, second, brokers := rosterSchema(t), rosterSchema(t), startKafka(t)
	for _, roster := range []string{first, second} {
		migrate := []string{"migrate", "-kafka", brokers, "-partitions", "2", "-replication", "1", "-postgres", roster}
		if err := run(t.Context(), migrate, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	start := func(roster string) *program {
		p := startWorker(t, brokers, dir, "-archive", filepath.Join(dir, "archive.db"), "-postgres", roster)
		p.await(200, "ok")
		return p
	}
	route(t, brokers, 2)
	bob, carol, dave := chat.DemoUser("bob"), chat.DemoUser("carol"), chat.DemoUser("dave")
	const all = `SELECT c.type, c.name, c.created_at::text, m.user_id::text, m.role, m.joined_at::text
		FROM conversations c JOIN conversation_members m ON m.conversation_id = c.id ORDER BY m.user_id`
	const count = `SELECT c.name, m.role, count(*) FROM conversations c JOIN conversation_members m ON m.conversation_id = c.id
		GROUP BY 1, 2 ORDER BY 2`

	p := start(first)
	var made struct {
		ID string `json:"id"`
	}
	text := p.must("POST", "", fmt.Sprintf(`{"type":"group","name":"Friday","member_ids":[%q,%q]}`, bob, carol))
	if err := json.Unmarshal([]byte(text), &made); err != nil || made.ID == "" {
		t.Fatalf("created %s, %v", text, err)
	}
	group := "/" + made.ID
	p.must("DELETE", group+"/members/"+bob.String(), "")
	p.must("PUT", group+"/members/"+bob.String(), `{"role":"member"}`)
	p.must("PUT", group+"/members/"+dave.String(), `{"role":"admin"}`)
	p.must("PUT", group+"/members/"+dave.String(), `{"role":"member"}`)
	awaitRows(t, first, count, "Friday admin 1", "Friday member 3")
	p.end()

	ask(t, second, "INSERT INTO roster_progress SELECT * FROM "+schemaOf(t, first)+".roster_progress")
	p = start(second)
	p.must("PATCH", group, `{"name":"Saturday"}`)
	p.must("DELETE", group+"/members/"+chat.DemoUser("alice").String(), "") // And hands over.
	awaitRows(t, second, count, "Saturday admin 1", "Saturday member 2")
	p.end()

	p = start(first)
	defer p.end()
	awaitRows(t, first, all, ask(t, second, all)...)
}

// schemaOf returns the schema that a URL chooses.
func schemaOf(t *testing.T, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("search_path")
}

// Messages flow while PostgreSQL is away, and a process that has another part
// says so by being ready.
func TestOnlyAProcessThatProjectsAloneWaitsForPostgreSQL(t *testing.T) {
	brokers, nobody := startKafka(t), "postgres://app@127.0.0.1:1/app"
	if err := run(t.Context(), []string{"migrate", "-kafka", brokers, "-partitions", "2", "-replication", "1"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	all := startWorker(t, brokers, t.TempDir(), "-archive", filepath.Join(t.TempDir(), "archive.db"), "-postgres", nobody)
	all.await(200, "ok")
	all.end()
	alone := startWorker(t, brokers, t.TempDir(), "-archive", filepath.Join(t.TempDir(), "archive.db"), "-postgres", nobody, "-serve", "projection")
	alone.await(503, "projection: open the roster in PostgreSQL")
	alone.end()
}
