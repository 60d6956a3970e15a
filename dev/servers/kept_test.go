package servers

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// startKept starts a set on a run folder that outlives it.
func startKept(t *testing.T, cfg Config) *Set {
	t.Helper()
	cfg.Cache, cfg.Keep = cacheDir(t), true
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKeptSetFindsDataAndPortsAgain(t *testing.T) {
	needServers(t)
	run := t.TempDir()
	cfg := Config{Run: run, Kafka: 1, Cassandra: 1, Redis: true, Postgres: true}
	var env []string
	for life := range 3 {
		s := startKept(t, cfg)
		if life == 0 {
			env = s.Env()
			newTopic(t, variable(t, s, "KAFKA"), 1)
			count(t, variable(t, s, "CQL"), "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
			count(t, variable(t, s, "CQL"), "CREATE TABLE k.t (a int PRIMARY KEY)")
		}
		if got := s.Env(); !slices.Equal(got, env) {
			t.Errorf("life %d has the servers %v, the first had %v", life, got, env)
		}
		if got := produce(t, variable(t, s, "KAFKA")); got != int64(life) {
			t.Errorf("life %d: the next record has offset %d", life, got)
		}
		count(t, variable(t, s, "CQL"), "INSERT INTO k.t (a) VALUES ("+string(rune('0'+life))+")")
		if got := count(t, variable(t, s, "CQL"), "SELECT a FROM k.t"); got != life+1 {
			t.Errorf("life %d finds %d rows", life, got)
		}
		if err := s.Kill("redis"); err != nil { // a dead server does not spoil the end
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	other := cfg
	other.Cache, other.Keep, other.Kafka = cacheDir(t), true, 3
	if _, err := Start(t.Context(), other); err == nil || !strings.Contains(err.Error(), "is that of kafka, cassandra") {
		t.Errorf("three brokers on the data of one: %v", err)
	}
	if _, err := os.Stat(filepath.Join(run, "kafka", "data")); err != nil {
		t.Errorf("the refusal cost the data: %v", err)
	}
}

// The folder of an older release has no data of servers that came since.
func TestKeptSetTakesMoreServers(t *testing.T) {
	needServers(t)
	cfg := Config{Run: t.TempDir(), Redis: true}
	if err := startKept(t, cfg).Close(); err != nil {
		t.Fatal(err)
	}
	// A start that was killed before all were ready.
	half := filepath.Join(cfg.Run, "postgres", "data")
	if err := os.MkdirAll(half, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Postgres = true
	mark := filepath.Join(half, "mark")
	for life := range 2 {
		s := startKept(t, cfg)
		_, err := os.Stat(mark)
		if kept := err == nil; kept != (life == 1) {
			t.Errorf("life %d: data of before is there: %v", life, kept)
		}
		if err := errors.Join(os.WriteFile(mark, nil, 0o600), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Cache, cfg.Keep, cfg.Postgres = cacheDir(t), true, false
	if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "is that of postgres, redis: it cannot be used by redis") {
		t.Errorf("without the server whose data is there: %v", err)
	}
}

func TestRecallMakesRoomOnlyForServersWithoutData(t *testing.T) {
	f := &folder{path: t.TempDir()}
	if err := f.remember(kept{Servers: []string{"kafka", "redis"}, Block: 20000}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kafka", "redis", "s3"} {
		if err := os.MkdirAll(filepath.Join(f.path, name, "data"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, names := range [][]string{{"kafka"}, {"redis", "s3"}, {"kafka-1", "kafka-2", "kafka-3", "redis"}} {
		if err := f.recall(names, false); err == nil || f.data != nil {
			t.Errorf("%v take the data of kafka and redis: %v", names, err)
		}
	}
	if err := f.recall([]string{"kafka", "redis", "s3", "opensearch"}, false); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"kafka": true, "redis": true, "s3": false, "opensearch": false} {
		_, err := os.Stat(filepath.Join(f.path, name))
		if got := err == nil; got != want || f.data.has(name) != want {
			t.Errorf("%s: its folder is there: %v, its data: %v, want %v", name, got, f.data.has(name), want)
		}
	}
}

// A set that was never ready leaves nothing that the next one could mistake for
// whole data.
func TestHalfMadeDataIsNotKept(t *testing.T) {
	needServers(t)
	run := t.TempDir()
	if err := os.MkdirAll(filepath.Join(run, "postgres", "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(run, "postgres", "data", "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startKept(t, Config{Run: run, Postgres: true})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStartedHearsOfEveryProcess(t *testing.T) {
	needServers(t)
	pids := make(chan int, 2)
	logs := t.TempDir()
	s := startKept(t, Config{
		Run: t.TempDir(), Redis: true, Logs: logs, Mortal: true,
		Started: func(name string, pid int) {
			if name != "redis" {
				t.Errorf("%s was started", name)
			}
			pids <- pid
		},
	})
	defer s.Close()
	first := <-pids
	if first != s.PID("redis") {
		t.Errorf("redis has pid %d, and %d was said", s.PID("redis"), first)
	}
	if err := s.Kill("redis"); err != nil {
		t.Fatal(err)
	}
	if how, err := s.Wait(t.Context(), "redis"); err != nil || how != "signal: killed" {
		t.Errorf("waiting for the end of a dead server: %q, %v", how, err)
	}
	if err := s.Restart(t.Context(), "redis"); err != nil {
		t.Fatal(err)
	}
	if second := <-pids; second != s.PID("redis") || second == first {
		t.Errorf("redis has pid %d, and %d was said", s.PID("redis"), second)
	}
	if _, err := os.Stat(filepath.Join(logs, "redis.log")); err != nil {
		t.Errorf("the log is elsewhere: %v", err)
	}
}

// PostgreSQL does not start beside children of a life that was killed.
func TestServerWaitsForTheEndOfAnEarlierLife(t *testing.T) {
	needServers(t)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sh", "-c", "echo here; exec cat")
	child.Dir = data
	stay, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := said.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	n := &node{
		name: "redis", dir: dir, out: filepath.Join(dir, logFile), log: (&record{}).logger(),
		command: []string{"sleep", "600"},
		ready:   func(context.Context, bool) error { return nil },
	}
	ended := make(chan error, 1)
	go func() { ended <- n.again(t.Context()) }()
	if !inhabited(data) || n.pid() != 0 {
		t.Errorf("the server runs as %d beside its earlier life", n.pid())
	}
	if err := errors.Join(stay.Close(), child.Wait()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := n.end(); err != nil || inhabited(dir) {
		t.Errorf("somebody works in the folder after the end: %v", err)
	}
}
