package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"switchboard/bench/result"
	"switchboard/dev/single"
	"switchboard/internal/chat"
)

// view makes what a member saw: the message numbers, at seq 2, 3, ….
func view(numbers ...int) []arrival {
	var seen []arrival
	for i, n := range numbers {
		seen = append(seen, arrival{seq: chat.Seq(i + 2), number: n})
	}
	return seen
}

func TestAuditNamesWhatWentWrong(t *testing.T) {
	order := map[chat.Seq]int{2: 10, 3: 11, 4: 12}
	swapped := view(10, 11, 12)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	tests := []struct {
		name string
		view []arrival
		want roadReport
	}{
		{"all, in order", view(10, 11, 12), roadReport{}},
		{"one not delivered", view(10, 11), roadReport{NotDelivered: 1}},
		{"one twice", append(view(10, 11, 12), arrival{seq: 4, number: 12}), roadReport{Repeated: 1}},
		{"two swapped", swapped, roadReport{Reordered: 1}},
		{"another place than in history", view(10, 12, 12), roadReport{Misplaced: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got roadReport
			compare(&got, order, test.view)
			got.Refused, got.CPU = nil, nil
			if a, b := encode(t, got), encode(t, test.want); a != b {
				t.Errorf("got %s, want %s", a, b)
			}
			if got.Complete() != (test.name == "all, in order") {
				t.Errorf("complete: %v", got.Complete())
			}
		})
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPayloadCarriesItsNumber(t *testing.T) {
	r, other := &road{run: chat.NewRequestID()}, &road{run: chat.NewRequestID()}
	for _, n := range []int{0, 7, 119_999} {
		if got := r.numberOf(r.payload(n)); got != n {
			t.Errorf("got %d, want %d", got, n)
		}
		if got := r.numberOfRequest(r.requestOf(n)); got != n {
			t.Errorf("request: got %d, want %d", got, n)
		}
	}
	for _, foreign := range []string{"", "hello", other.payload(1)} {
		if got := r.numberOf(foreign); got != -1 {
			t.Errorf("%q: got %d, want −1: it is none of this run's", foreign, got)
		}
	}
}

func TestProcessesAreNamed(t *testing.T) {
	if _, err := parseProcesses([]string{"dev=12", "router=13"}); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"dev", "dev=", "=x"} {
		if _, err := parseProcesses([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// embedded starts the whole system until the test ends, and returns the flags that
// lead there.
func embedded(t *testing.T) []string {
	t.Helper()
	urls, keys := system(t)
	return []string{"-rest", urls.REST, "-auth-keys", keys}
}

// system starts the whole system until the test ends, and returns where it answers and
// the file with its keys.
func system(t *testing.T) (urls single.URLs, keys string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the whole system")
	}
	data := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	system, err := single.Open(ctx, single.Config{
		Listen: "127.0.0.1:0", GatewayListen: "127.0.0.1:0", OpsListen: "127.0.0.1:0",
		Data: data, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- system.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the system ended with %v", err)
		}
		system.Close()
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.FailNow()
	}
	return system.URLs(), filepath.Join(data, "auth-keys.json")
}

// late reports whether a run was only invalid, as it is when the machine has other
// things to do: what tests are about is not when, but whether.
func late(err error) bool { return err.Error() == "exit status 4" }

// A short run against the whole system: everything arrives once and in order.
func TestRoadOnTheEmbeddedSystem(t *testing.T) {
	var out bytes.Buffer
	report := filepath.Join(t.TempDir(), "report.json")
	err := run(t.Context(), append([]string{"road"}, append(embedded(t),
		"-users", "40", "-groups", "5", "-rate", "200", "-warmup", "1s", "-duration", "2s", "-json", report)...), &out)
	if err != nil && !late(err) {
		t.Errorf("%v\n%s", err, &out)
	}
	if encoded, err := os.ReadFile(report); err != nil || !json.Valid(encoded) {
		t.Errorf("the report is no JSON: %v", err)
	}
}

// Results of two runs are compared as a script does it, by the exit status.
func TestRunsAreCompared(t *testing.T) {
	folder := func(wrong float64) string {
		r := result.New("road")
		r.Add("wrong", wrong, result.Count, result.Lower, "")
		dir := t.TempDir()
		if err := result.Write(dir, r); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	good, bad := folder(0), folder(3)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{good, good}, ""},
		{[]string{good, bad}, "exit status 99"},
		{[]string{good + "," + good, good, "-tolerance", "0"}, ""},
	} {
		got := ""
		if err := run(t.Context(), append([]string{"compare"}, tt.args...), io.Discard); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.args, got, tt.want)
		}
	}
	for _, args := range [][]string{{good}, {good, good, good}, {good, good, "-tolerance", "-1"}, {good, "nowhere"}} {
		if err := run(t.Context(), append([]string{"compare"}, args...), io.Discard); err == nil {
			t.Errorf("%q was compared", args)
		}
	}
}

// A signal in the middle of the load ends it, and what was sent is accounted for.
func TestRoadIsAborted(t *testing.T) {
	flags := embedded(t)
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	out := &noticing{what: regexp.MustCompile(`measured load: .* \d{3} sent, `), then: cancel}
	err := run(ctx, append([]string{"road"}, append(flags,
		"-users", "10", "-groups", "0", "-rate", "50", "-warmup", "0s", "-duration", "10m", "-out", dir)...), out)
	if err == nil || err.Error() != "exit status 105" {
		t.Errorf("got %v, want exit status 105", err)
	}
	r, err := result.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Metrics {
		if m.Name == "answer.count" && m.Value < 100 || m.Name == "wrong" && m.Value > 0 {
			t.Errorf("got %v of %s", m.Value, m.Name)
		}
	}
}

// noticing does something when something is written.
type noticing struct {
	what *regexp.Regexp
	then func()
}

func (n *noticing) Write(p []byte) (int, error) {
	if n.what.Match(p) {
		n.then()
	}
	return len(p), nil
}
