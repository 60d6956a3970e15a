package main

import (
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/bench/host"
	"switchboard/internal/metrics"
)

func TestClusterIsReadFromItsRunFolder(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("addresses.json", `{"rest":["http://a"],"ws":["ws://b"],"ops":{"router-1":"http://c"},"auth_keys":"keys","kafka":"d"}`)
	write("kafka.pid", "12\n")
	write("gateway-1.pid", "13")
	write("worker-1.hold", "")
	c, err := openCluster(filepath.Join(folder, "addresses.json"))
	if err != nil {
		t.Fatal(err)
	}
	if c.REST[0] != "http://a" || c.WS[0] != "ws://b" || c.Ops["router-1"] != "http://c" || c.AuthKeys != "keys" {
		t.Errorf("got %+v", c)
	}
	if got := c.processes(); len(got) != 2 || got[0] != (host.Process{Name: "gateway-1", PID: 13}) || got[1] != (host.Process{Name: "kafka", PID: 12}) {
		t.Errorf("got %v", got)
	}
	write("addresses.json", `{"rest":[],"ws":["ws://b"]}`)
	if _, err := openCluster(filepath.Join(folder, "addresses.json")); err == nil {
		t.Error("a cluster without REST was taken")
	}
}

// program serves the metrics of a set.
func program(t *testing.T, set *metrics.Set) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { set.Write(w) }))
	t.Cleanup(server.Close)
	return server.URL
}

func TestMetricsOfProgramsAddUp(t *testing.T) {
	one, two := metrics.New(), metrics.New()
	c := &cluster{Ops: map[string]string{"worker-1": program(t, one), "worker-2": program(t, two)}}
	statements := `switchboard_archive_statements_total{op="write",table="messages"}`
	one.Counter(statements).Add(5)
	before, err := c.scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one.Counter(statements).Add(3)
	two.Counter(statements).Add(4)
	for i := range 100 {
		set := one
		if i%2 == 0 {
			set = two
		}
		set.Histogram("switchboard_fold_write_seconds").Update(float64(i) / 1000)
	}
	after, err := c.scrape(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	added := after.Since(before)
	if got := added.Sum("switchboard_archive_statements_total", `op="write"`); got != 7 {
		t.Errorf("got %v statements, want 7", got)
	}
	if got := added.Sum("switchboard_archive_statements_total", `op="read"`); got != 0 {
		t.Errorf("got %v questions, want none", got)
	}
	h := added.Hop("rows", "switchboard_fold_write_seconds")
	if h.Count != 100 || math.Abs(h.Mean-49.5) > 1e-6 || math.Abs(h.P50-50) > 2 || h.P99 < 90 || h.P99 > 100 {
		t.Errorf("got %+v of 0 to 99 ms", h)
	}
	var table strings.Builder
	newInside(added, 7).write(&table)
	if !strings.Contains(table.String(), "CQL rows written                                 1.00") {
		t.Errorf("got\n%s", table.String())
	}
}
