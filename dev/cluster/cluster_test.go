package cluster

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/dev/servers"
)

func TestNumbersAreChecked(t *testing.T) {
	good := Config{Gateways: 2, Routers: 1, Workers: MaxPrograms, Kafka: 1, Cassandra: 3, Partitions: 16}
	if err := good.check(); err != nil {
		t.Errorf("%+v: %v", good, err)
	}
	for flag, spoil := range map[string]func(*Config){
		"-gateways 0":        func(c *Config) { c.Gateways = 0 },
		"-routers 10":        func(c *Config) { c.Routers = MaxPrograms + 1 },
		"-workers -1":        func(c *Config) { c.Workers = -1 },
		"-kafka-brokers 2":   func(c *Config) { c.Kafka = 2 },
		"-cassandra-nodes 0": func(c *Config) { c.Cassandra = 0 },
		"-partitions":        func(c *Config) { c.Partitions = 0 },
	} {
		bad := good
		spoil(&bad)
		if err := bad.check(); err == nil || !strings.HasPrefix(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func TestPortsAreTheSameInTheNextLife(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ports.json")
	log := slog.New(slog.DiscardHandler)
	first, err := holdPorts(t.Context(), file, log)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]string)
	for _, kind := range kinds {
		for i := range MaxPrograms {
			for _, addr := range []string{first.public(kind, i), first.ops(kind, i)} {
				if other := seen[addr]; other != "" {
					t.Errorf("%s and %s share %s", kind, other, addr)
				}
				seen[addr] = kind
			}
		}
	}
	want := first.public("worker", 1)
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	second, err := holdPorts(t.Context(), file, log)
	if err != nil {
		t.Fatal(err)
	}
	if got := second.public("worker", 1); got != want {
		t.Errorf("the second worker moved from %s to %s", want, got)
	}
	if err := second.close(); err != nil {
		t.Fatal(err)
	}
}

// Ports of before that somebody else has by now are given up, and that is kept.
func TestPortsOfOthersAreGivenUp(t *testing.T) {
	other, err := servers.HoldPorts(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	file := filepath.Join(t.TempDir(), "ports.json")
	if err := writeJSON(file, map[string]int{"gateway": other.Block}); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	p, err := holdPorts(t.Context(), file, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if p.blocks["gateway"].Block == other.Block || !strings.Contains(said.String(), "kind=gateway") {
		t.Errorf("the gateways have block %d, others %d; said was %q", p.blocks["gateway"].Block, other.Block, said.String())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var kept map[string]int
	if err := json.Unmarshal(text, &kept); err != nil || kept["gateway"] != p.blocks["gateway"].Block || len(kept) != len(kinds) {
		t.Errorf("kept is %s, %v", text, err)
	}
}

func TestOneClusterAFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lock(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(t.Context(), path, time.Millisecond); err == nil || !strings.Contains(err.Error(), "another cluster runs there") {
		t.Errorf("a second cluster: %v", err)
	}
	// One that is just ending is waited for.
	gone := make(chan error, 1)
	go func() { gone <- first.Close() }()
	again, err := lock(t.Context(), path, patience)
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckoutIsFoundFromBelow(t *testing.T) {
	root, err := checkout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "storage-worker", "main.go")); err != nil {
		t.Errorf("the root is %s: %v", root, err)
	}
}

func TestMissingSourcesAndToolsAreNamed(t *testing.T) {
	t.Chdir("/") // folders for tests can be in the checkout
	if _, err := checkout(t.Context()); err == nil || !strings.Contains(err.Error(), "sources are not here") {
		t.Errorf("outside of any module: %v", err)
	}
	elsewhere := t.TempDir()
	t.Chdir(elsewhere)
	if err := os.WriteFile(filepath.Join(elsewhere, "go.mod"), []byte("module other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := checkout(t.Context()); err == nil || !strings.Contains(err.Error(), "sources are not here") {
		t.Errorf("in another module: %v", err)
	}
	t.Setenv("PATH", elsewhere)
	if _, err := checkout(t.Context()); err == nil || !strings.Contains(err.Error(), "no go tool") {
		t.Errorf("without Go: %v", err)
	}
}

// What a build says is for the person in front.
func TestFailedBuildSaysWhy(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module switchboard\n", "gateway/main.go": "package main\nfunc main() { nonsense }\n"} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := build(t.Context(), root, t.TempDir(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "build the programs") || !strings.Contains(err.Error(), "router") {
		t.Errorf("build returns %v", err)
	}
}

// Only what an outsider may see of a life that is over goes; data stays.
func TestCleanKeepsData(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"run/a.pid", "run/b.hold", "run/" + addressesFile, "logs/a.log"} {
		if err := os.WriteFile(c.path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.clean("*.pid"); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(c.path("*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{c.path("logs", "a.log"), c.path("run", addressesFile), c.path("run", "b.hold")}
	if slices.Sort(left); !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
}

func TestAddressesHaveTheirNames(t *testing.T) {
	text, err := json.Marshal(addresses{REST: []string{"r"}, WebSocket: []string{"w"}, Ops: map[string]string{"gateway-1": "o"}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"rest":["r"],"ws":["w"],"ops":{"gateway-1":"o"},"kafka":"","cql":"","redis":"","postgres":"","auth_keys":""}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if text, err = json.Marshal(addresses{Secure: &secrets{CA: "c"}}); err != nil {
		t.Fatal(err)
	}
	want = `"secure":{"ca":"c","kafka_credentials":"","cql_credentials":"","redis_credentials":"","postgres_password":""}}`
	if !strings.HasSuffix(string(text), want) {
		t.Errorf("got  %s\nwant … %s", text, want)
	}
}

func TestProgramsReachTheirServers(t *testing.T) {
	at := addresses{Kafka: "k:1,k:2", CQL: "c:1", Redis: "r:1", Postgres: "postgres://app@p:1/db"}
	want := []string{"-kafka", "k:1,k:2", "-redis", "r:1"}
	if got := at.reach("redis", "kafka"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	at.Secure = &secrets{CA: "ca", Kafka: "kc", CQL: "cc", Redis: "rc", Postgres: "pp"}
	want = []string{
		"-cql", "c:1", "-cql-credentials", "cc", "-cql-ca", "ca",
		"-postgres", "postgres://app@p:1/db", "-postgres-password", "pp", "-postgres-ca", "ca",
	}
	if got := at.reach("cql", "postgres"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
