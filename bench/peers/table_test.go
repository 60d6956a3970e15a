package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// measured is a table of two servers and four rounds, in the second of which the
// machine was half as fast, and in the last too busy.
func measured() *table {
	return &table{
		base: "theirs", load: load{connections: 10, rate: 100},
		rows: []*row{
			{
				name: "ours",
				rounds: []figures{
					{"echo_cpu": 6e-6, "echo.p99": 1e-3},
					{"echo_cpu": 10e-6, "echo.p99": 9e-3},
					{"echo_cpu": 6.6e-6, "echo.p99": 2e-3},
					{"echo_cpu": 1e-6, "echo.p99": 1, "invalid": 1},
				},
				calls: figures{"syscalls": 2.5},
				idle:  figures{"user_bytes": 128},
			},
			{
				name: "theirs", version: "v1",
				rounds: []figures{{"echo_cpu": 5e-6}, {"echo_cpu": 10e-6}, {"echo_cpu": 6e-6}, {"echo_cpu": 6e-6}},
				idle:   figures{"user_bytes": 256},
			},
		},
	}
}

func TestRatiosAreThoseOfTheSameRound(t *testing.T) {
	m := measured()
	// 1.2, 1.0 and 1.1: the median of the figures by themselves would be 6.6 ÷ 6.
	if got := m.cpuRatio(m.rows[0]); got < 1.099 || got > 1.101 {
		t.Errorf("got %v, want 1.1", got)
	}
	m.rows[0].rounds = append(m.rows[0].rounds, figures{"echo_cpu": 99})
	if got := m.cpuRatio(m.rows[0]); got < 1.099 || got > 1.101 {
		t.Errorf("with a round that the base has not, got %v, want 1.1", got)
	}
	if got := m.memoryRatio(m.rows[0]); got != 0.5 {
		t.Errorf("of memory got %v, want 0.5", got)
	}
	for _, f := range m.rows[1].rounds {
		f["invalid"] = 1
	}
	if got := m.cpuRatio(m.rows[0]); got < 1.099 || got > 1.101 {
		t.Errorf("beside one whose rounds were all late, got %v, want 1.1", got)
	}
	m.base = "nobody"
	if a, b := m.cpuRatio(m.rows[0]), m.memoryRatio(m.rows[0]); a != 0 || b != 0 {
		t.Errorf("without a base got %v and %v, want none", a, b)
	}
}

func TestMedians(t *testing.T) {
	for _, tt := range []struct {
		all               []float64
		middle, low, high float64
	}{
		{nil, 0, 0, 0},
		{[]float64{3}, 3, 3, 3},
		{[]float64{4, 1}, 2.5, 1, 4},
		{[]float64{9, 1, 2}, 2, 1, 9},
	} {
		if middle, low, high := middleOf(tt.all); middle != tt.middle || low != tt.low || high != tt.high {
			t.Errorf("%v: got %v (%v to %v), want %v (%v to %v)", tt.all, middle, low, high, tt.middle, tt.low, tt.high)
		}
	}
}

func TestTheTableSaysWhatWasNotMeasured(t *testing.T) {
	text := measured().String()
	for _, want := range []string{
		"10 connections, 100 echoes a second for 0s, 4 rounds;",
		"| ours | 6.60 µs (6.00–10.00) | 1.10 | – | 2.00 ms | 2.50 | 128 B | 0.50 | – |\n",
		"| theirs v1 | 6.00 µs (5.00–10.00) | 1.00 | – | – | – | 256 B | 1.00 | – |\n",
		"The load was late in runs of ours, ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// Whoever lacks something reads all of it at once, before anything is built.
func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("UWEBSOCKETS", "")
	c, err := parse([]string{"-root", t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	err = c.prepare(t.Context(), t.Output())
	for _, want := range []string{"taskset", "ws needs the program node", "ws needs the program npm", "uwebsockets needs the program c++", "UWEBSOCKETS=FOLDER"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	t.Setenv("UWEBSOCKETS", t.TempDir())
	if _, _, err := sourcesOfUWebSockets(); err == nil || !strings.Contains(err.Error(), filepath.Join("src", "App.h")) {
		t.Errorf("of an empty folder got %v", err)
	}
	if _, err := os.Stat(c.building); err == nil {
		t.Error("something was built all the same")
	}
}

func TestFlags(t *testing.T) {
	for _, line := range []string{"-servers nobody", "-rounds 0", "-connections 0", "-rate 0", "-duration 1ms", "-many -1", "-no-such-flag"} {
		if _, err := parse(strings.Fields(line)); err == nil {
			t.Errorf("%s: is accepted", line)
		}
	}
	c, err := parse(strings.Fields("-servers gws,session -base gws"))
	if err != nil || len(c.servers) != 2 || c.servers[0].name != "gws" || c.servers[1].start != nil {
		t.Errorf("got %+v, %v", c, err)
	}
}

// That bench was late is a result; that it failed is none. Its lines are a second each.
func TestBenchIsHeard(t *testing.T) {
	for script, want := range map[string]struct {
		echoes float64
		said   string
	}{
		"echo sent 5 back 0; echo sent 9 back 7; echo sent 9 back 9; echo sent 20 back 17; echo sent 30 back 30; exit 4": {10, ""},
		"echo sent 9 back 7; echo sent 9 back 9; exit 0":                                                                 {0, ""},
		"echo sent 9 back 7; echo all lost >&2; exit 1":                                                                  {0, "all lost"},
	} {
		times := 0
		echoes, err := listen(exec.CommandContext(t.Context(), "sh", "-c", script), func() { times++ })
		if times != 1 || echoes != want.echoes {
			t.Errorf("%s: told %d times that echoes are under way, and of %v, want once and of %v", script, times, echoes, want.echoes)
		}
		if want.said == "" && err != nil || want.said != "" && (err == nil || !strings.Contains(err.Error(), want.said)) {
			t.Errorf("%s: got %v, want %q", script, err, want.said)
		}
	}
}

func TestResultsAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "result.json")
	text := `{"schema":1,"invalid":["the generator was late"],"metrics":[{"name":"echo_cpu","value":5e-6,"unit":"s"}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := readResult(file)
	if err != nil || f["echo_cpu"] != 5e-6 || f["invalid"] != 1 {
		t.Errorf("got %v, %v", f, err)
	}
	if _, err := readResult(file + "x"); err == nil {
		t.Error("no file is a result")
	}
}
