package crowd

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/live"
	"switchboard/bench/load"
	"switchboard/bench/result"
	"switchboard/bench/scrape"
	"switchboard/internal/daemon"
	"switchboard/internal/loopback"
)

// The test program is its own worker.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		if err := load.Work(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "switchboard-bench-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "gateway")
	status := m.Run()
	_ = os.RemoveAll(dir) // It is a temporary folder.
	os.Exit(status)
}

// program is where the gateway is built.
var program string

// gateway builds it once.
var gateway = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "build", "-o", program, "switchboard/gateway").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return program, err
})

// built is the gateway's program, which short tests do without.
func built(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a gateway")
	}
	program, err := gateway()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// command is one of this package.
type command func(ctx context.Context, args, worker []string, screen *live.Screen) error

// measured runs a command with real gateways and returns its result. That the
// generator was late is the machine's matter: tests are about whether, not when.
func measured(t *testing.T, run command, args ...string) *result.Result {
	t.Helper()
	program := built(t)
	dir := t.TempDir()
	args = append([]string{"-gateway", program, "-out", dir, "-open-rate", "1000"}, args...)
	if err := run(t.Context(), args, []string{os.Args[0], "worker"}, live.Open(t.Output(), os.Getenv)); err != nil && err.Error() != "exit status 4" {
		t.Fatal(err)
	}
	r, err := result.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// of returns a figure, NaN if there is none.
func of(r *result.Result, name string) float64 {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m.Value
		}
	}
	return math.NaN()
}

// want holds figures to what they must be.
func want(t *testing.T, r *result.Result, figures map[string]float64) {
	t.Helper()
	for name, want := range figures {
		if got := of(r, name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestConnections(t *testing.T) {
	r := measured(t, Conn, "-gateways", "2", "-connections", "120", "-workers", "2", "-sources", "3", "-steps", "3", "-settle", "0s", "-idle", "200ms",
		"-hold", "100ms", "-echo", "300", "-duration", "1s", "-max-bytes", "0")
	want(t, r, map[string]float64{
		"connections": 120, "opened": 120, "open.count": 120, "failed": 0, "lost": 0, "sent": 300, "wrong": 0, "echo.count": 300,
	})
	seen(t, r, "heap_bytes", "after_bytes", "after_anon_bytes", "gateways.heap")
	// A slope of so few connections is noise; that it is there is all.
	if user := of(r, "user_bytes"); math.IsNaN(user) || math.IsNaN(of(r, "user_anon_bytes")) || math.IsNaN(of(r, "idle_cpu")) || of(r, "gateways.pss") < 1<<20 {
		t.Errorf("got %v user bytes, %v", user, r.Metrics)
	}
}

// seen wants figures, whatever they are: of so few connections they say nothing. The
// kernel's objects are for root's eyes.
func seen(t *testing.T, r *result.Result, names ...string) {
	t.Helper()
	for _, name := range names {
		if strings.HasSuffix(name, "kernel_bytes") && host.Slabs() == 0 {
			continue
		}
		if math.IsNaN(of(r, name)) {
			t.Errorf("%s is missing", name)
		}
	}
	if heap := of(r, "gateways.heap"); heap < 1<<20 {
		t.Errorf("got a heap of %v", heap)
	}
}

func TestPingsComeBack(t *testing.T) {
	r := measured(t, Echo, "-connections", "20", "-frame", "ping", "-rate", "400", "-duration", "1s")
	want(t, r, map[string]float64{"sent": 400, "wrong": 0, "echo.count": 400, "connections": 20})
	seen(t, r, "kernel_bytes")
	if r.Timings[0].Name != "echo" {
		t.Errorf("a percentile alone is that of %s", r.Timings[0].Name)
	}
}

// started starts a program of the test's own until it ends.
func started(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(program, args...)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // It says "killed", as it should.
	})
	return command
}

// Servers that echo text, such as those of others, want no token. Workers elsewhere are
// started by a command; here it starts them on this host.
func TestServersOfOthersAreMeasuredByAgents(t *testing.T) {
	program := built(t)
	addresses, err := loopback.Addresses(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	echo := started(t, program, "conformance", "-listen", addresses[0])
	for name, more := range map[string][]string{
		"by workers here": nil,
		"in their words":  {"-greeting", "good day", "-text", "number # of some"},
		"by agents":       {"-agents", os.Args[0] + " worker," + os.Args[0] + " worker"},
	} {
		t.Run(name, func(t *testing.T) {
			r := measured(t, Echo, append(more, "-target", addresses[0], "-path", "/", "-pids", fmt.Sprint(echo.Process.Pid),
				"-connections", "10", "-rate", "200", "-duration", "1s", "-bytes", "500")...)
			want(t, r, map[string]float64{"sent": 200, "wrong": 0, "echo.count": 200})
			if of(r, "gateways.pss") < 1<<20 {
				t.Errorf("got %v bytes of the process", of(r, "gateways.pss"))
			}
		})
	}
}

func TestEverybodyReadsEachMessage(t *testing.T) {
	// Records of 40 recipients, so that a message is several.
	r := measured(t, Fanout, "-connections", "100", "-messages", "5", "-every", "50ms", "-batch", "40", "-bytes", "1000")
	seen(t, r, "kernel_bytes")
	want(t, r, map[string]float64{"last.count": 5, "delivery.count": 500, "wrong": 0, "incomplete": 0})
}

func TestAKilledGatewaysClientsComeBack(t *testing.T) {
	r := measured(t, Storm, "-connections", "60", "-rate", "200", "-before", "1s")
	seen(t, r, "kernel_bytes")
	want(t, r, map[string]float64{"connections": 60, "lost": 20, "back.count": 20, "not_back": 0, "wrong": 0, "cut": 0, "asked": 0, "unsent": 0})
	if n := of(r, "echo_before.count"); n < 200 || of(r, "echo.count") == 0 || of(r, "echo.count")+n > of(r, "sent") {
		t.Errorf("got %v echoes before, %v meanwhile, of %v", n, of(r, "echo.count"), of(r, "sent"))
	}
	if of(r, "all_back") <= 0 || of(r, "all_back") > 30 {
		t.Errorf("all were back after %v s", of(r, "all_back"))
	}
}

func TestADrainingGatewaysClientsGoElsewhere(t *testing.T) {
	r := measured(t, Drain, "-connections", "60", "-rate", "200", "-before", "1s", "-drain-timeout", "2s")
	want(t, r, map[string]float64{"connections": 60, "asked": 20, "back.count": 20, "not_back": 0, "wrong": 0, "cut": 0})
	// On a machine that stands still for a while the gateway closes who is late.
	if moved, lost := of(r, "moved"), of(r, "lost"); moved == 0 || moved+lost != 20 {
		t.Errorf("%v left when they were asked to, %v were closed, want 20", moved, lost)
	}
}

func TestPhasesFollowAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plan.yaml")
	text := "# a small day\n- ramp: 1k/s to 40\n- hold: 100ms\n- rate: 200/s for 1s\n\n- churn: 600%/m for 2s # a tenth a second\n- drop: 50%\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := measured(t, Plan, "-file", file, "-gateways", "2")
	seen(t, r, "1-ramp.kernel_bytes", "5-drop.kernel_bytes")
	want(t, r, map[string]float64{"connections": 40, "lost": 0, "wrong": 0, "1-ramp.open.count": 40, "3-rate.echo.count": 200, "failed": 0})
	// Who was dropped by churn is back at the end of it, or soon after.
	if dropped, back := of(r, "dropped"), of(r, "back.count"); dropped < 24 || back != dropped || of(r, "5-drop.back.count") < 16 {
		t.Errorf("%v dropped, %v back, %v in the last phase", dropped, back, of(r, "5-drop.back.count"))
	}
	if len(r.Plan) == 0 || r.Plan[len(r.Plan)-1] != (result.Setting{Name: "phase 5", Value: "drop: 50%"}) {
		t.Errorf("the plan is %v", r.Plan)
	}
}

func TestWhatIsNoPlan(t *testing.T) {
	for _, text := range []string{
		"", "- hold: 5m", "ramp: 1/s to 5", "- ramp: 1 to 5", "- ramp: 1/s for 5", "- ramp: 1/s to 0", "- ramp: 0/s to 5", "- ramp: x/s to 5",
		"- ramp: 1/s to 5\n- rate: 5 for 1m", "- ramp: 1/s to 5\n- rate: 5/s for 0s", "- ramp: 1/s to 5\n- rate: 5/s msg/s", "- ramp: 1/s to 5\n- drop: 30",
		"- ramp: 1/s to 5\n- drop: 101%", "- ramp: 1/s to 5\n- churn: 1% for 1m", "- ramp: 1/s to 5\n- hold: 5", "- ramp: 1/s to 5\n- storm: 5%",
		"- ramp: 1/s to 5\n- rate: 5%/min", "- ramp: 1/s to 5\n- churn: 5 msg/s", "- ramp: 1/s to 5\n- hold: drop 5%", "- ramp: 1/s to 5\n- rate: 5 msg/sec",
	} {
		file := filepath.Join(t.TempDir(), "plan.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Plan(t.Context(), []string{"-file", file}, nil, live.Open(io.Discard, os.Getenv)); err == nil || !strings.Contains(err.Error(), "-file") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestPhasesHaveTwoSpellings(t *testing.T) {
	for line, want := range map[string]phase{
		"- ramp: 5k/s to 200k":         {kind: "ramp", amount: 5000, total: 200000},
		"- hold: 10m":                  {kind: "hold", amount: 1, time: 10 * time.Minute},
		"- rate: 50k msg/s":            {kind: "rate", amount: 50000, time: time.Minute},
		"- rate: 50k msg/s for 10s":    {kind: "rate", amount: 50000, time: 10 * time.Second},
		"- rate: 50k/s for 10s":        {kind: "rate", amount: 50000, time: 10 * time.Second},
		"- churn: 1%/min":              {kind: "churn", amount: 0.01, time: time.Minute},
		"- churn: 1%/m for 10m":        {kind: "churn", amount: 0.01, time: 10 * time.Minute},
		"- churn: 1.5%/min for 1m30s ": {kind: "churn", amount: 0.015, time: 90 * time.Second},
		"- storm: drop 30%":            {kind: "drop", amount: 0.3},
		"- drop: 30%":                  {kind: "drop", amount: 0.3},
	} {
		if got, err := parsePhase(line); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", line, got, err, want)
		}
	}
}

func TestPlansThatDoNotFitAreRefused(t *testing.T) {
	for name, run := range map[string]command{"conn": Conn, "storm": Storm} {
		var out strings.Builder
		err := run(t.Context(), []string{"-gateway", "none", "-gateways", "2", "-connections", "100000000", "-workers", "1000000"}, nil, live.Open(&out, os.Getenv))
		if err == nil || err.Error() != "exit status 3" || !strings.Contains(out.String(), "RLIMIT_NOFILE") {
			t.Errorf("%s: got %v, %q", name, err, out.String())
		}
	}
	for _, line := range []string{
		"-gateways 0", "-connections 0", "-open-rate 0", "-threshold nothing<1", "-steps 0", "-pids 1", "-target localhost:80", "-target [::1]:80",
		"-greeting x", "-text #", "-target 127.0.0.1:80 -text number", "-target 127.0.0.1:80 -text #0",
	} {
		args := strings.Fields(line)
		if err := Conn(t.Context(), args, nil, live.Open(io.Discard, os.Getenv)); err == nil || strings.HasPrefix(err.Error(), "exit status") {
			t.Errorf("%q: got %v", args, err)
		}
	}
	for _, line := range []string{"-gateways 1", "-rate 0", "-before 0s", "-workers 4"} {
		if err := Drain(t.Context(), strings.Fields(line), nil, live.Open(io.Discard, os.Getenv)); err == nil || strings.HasPrefix(err.Error(), "exit status") {
			t.Errorf("%q: got %v", line, err)
		}
	}
}

// A signal ends the load, and the report is of what was done.
func TestASignalLeavesAReport(t *testing.T) {
	program := built(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	out := &noticing{t: t, what: " sent ", then: cancel}
	err := Echo(ctx, []string{"-gateway", program, "-out", dir, "-connections", "10", "-rate", "100", "-duration", "10m"}, []string{os.Args[0], "worker"}, live.Open(out, os.Getenv))
	if err == nil || err.Error() != "exit status 105" {
		t.Errorf("got %v, want exit status 105", err)
	}
	r, err := result.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Aborted || of(r, "connections") != 10 || of(r, "echo.count") == 0 {
		t.Errorf("got %+v", r.Metrics)
	}
}

// noticing does something when something is written.
type noticing struct {
	t    *testing.T
	what string
	then func()
}

func (n *noticing) Write(p []byte) (int, error) {
	if strings.Contains(string(p), n.what) {
		n.then()
	}
	return n.t.Output().Write(p)
}

// What is looked at while a run lasts is what its view tells.
func TestAViewTellsHowARunStands(t *testing.T) {
	program := built(t)
	flags := daemon.NewFlags("bench echo", "")
	o := newOptions(flags, []string{os.Args[0], "worker"}, 1, 20)
	if err := flags.Parse([]string{"-gateway", program, "-open-rate", "1000"}); err != nil {
		t.Fatal(err)
	}
	r, err := begin(t.Context(), "echo", o, live.Open(t.Output(), os.Getenv), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.end()
	if err := r.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.view.now("echoes", time.Hour)
	if err := r.crew.Echo(t.Context(), load.Echo{Frame: load.Heartbeat, Rate: 200, Seconds: 2.5}); err != nil {
		t.Fatal(err)
	}
	r.still()
	s := r.stands(r.watch)
	if left := s.Ends - s.Passed; s.Title != "bench echo" || s.Phase != "echoes" || left <= 0 || left > time.Hour {
		t.Errorf("got %q, %q and %v left", s.Title, s.Phase, left)
	}
	var rows strings.Builder
	for _, row := range s.Rows {
		fmt.Fprintf(&rows, "%s: %s\n", row.Name, row.Text)
	}
	for _, pattern := range []string{
		"connections: 20 of 20 open, .*0 failed, 0 lost\n", "bytes: .*B/s out, .*B/s in\n", "messages: .*/s in; 500 sent, 500 back, 0 wrong\n",
		"echo: .*p50 .*, p99 .* in this phase\n", "open: p50", "generator: .* cores, loops late by p50 .* of 500 sends late", "gateways: .* cores, PSS .*MiB",
	} {
		if !regexp.MustCompile(pattern).MatchString(rows.String()) {
			t.Errorf("want %q in\n%s", pattern, rows.String())
		}
	}
	if !strings.HasPrefix(s.Line, "20 open  sent 500  back 500  wrong 0  late ") {
		t.Errorf("a log gets %q", s.Line)
	}
}

// Workers report every second, so rates are of some seconds.
func TestRatesAreOfTheLastLooks(t *testing.T) {
	var v view
	at := time.Now()
	for i, want := range []float64{0, 0, 10, 10, 10, 20} {
		n := []int{0, 0, 20, 30, 30, 80}[i]
		per := v.rates(look{at.Add(time.Duration(i) * time.Second), map[string]int{load.CountSent: n}})
		if got := per(load.CountSent, load.CountLost); got != want {
			t.Errorf("look %d: got %v a second, want %v", i, got, want)
		}
	}
}

// climbed is a climb in three steps, at 160 bytes a connection, 120 of them anonymous and
// 100 of the heap, and 8,000 of the kernel.
func climbed() (steps []step) {
	for _, n := range []int{1000, 2000, 3000} {
		b := int64(n)
		steps = append(steps, step{n, host.Memory{PSS: 50<<20 + 160*b, Anonymous: 9<<20 + 120*b}, 90<<20 + 8000*b, 5<<20 + 100*b})
	}
	return steps
}

func TestSlopeIgnoresWhatTheProcessWeighs(t *testing.T) {
	if got := slope(climbed(), func(s step) int64 { return s.user.PSS }); math.Abs(got-160) > 1e-6 {
		t.Errorf("got %v bytes per connection, want 160", got)
	}
}

// The kernel's memory is that of one end, wherever the other one is.
func TestKernelMemoryIsThatOfTheEndsHere(t *testing.T) {
	for name, tt := range map[string]struct {
		agents []string
		want   float64
	}{
		"clients here":      {nil, 4000},
		"clients elsewhere": {[]string{"ssh load-1 bench worker"}, 8000},
	} {
		c := &conn{options: &options{agents: tt.agents}}
		r := &result.Result{}
		c.weigh(r, climbed())
		if user, kernel := of(r, "user_bytes"), of(r, "kernel_bytes"); math.Abs(user-160) > 1e-6 || math.Abs(kernel-tt.want) > 1e-6 {
			t.Errorf("%s: got %v bytes and %v of the kernel, want 160 and %v", name, user, kernel, tt.want)
		}
		if anonymous, heap := of(r, "user_anon_bytes"), of(r, "heap_bytes"); math.Abs(anonymous-120) > 1e-6 || math.Abs(heap-100) > 1e-6 {
			t.Errorf("%s: got %v anonymous bytes and %v of the heap, want 120 and 100", name, anonymous, heap)
		}
	}
}

// What a connection keeps of its messages is what the gateways have more than before.
func TestMemoryAfterMessagesIsComparedWithThatBefore(t *testing.T) {
	c := &conn{options: &options{}}
	r := &result.Result{}
	steps := climbed()
	c.weigh(r, steps)
	last := steps[len(steps)-1].user
	c.addKept(r, host.Memory{PSS: last.PSS + 3000*9, Anonymous: last.Anonymous - 3000*2})
	want(t, r, map[string]float64{"after_bytes": 9, "after_anon_bytes": -2})
}

// A generator that cannot keep up says nothing of times, whatever they are of.
func TestALateGeneratorJudgesItself(t *testing.T) {
	lag := func(often time.Duration) *result.Timing {
		timing := result.NewTiming("lag", "")
		for i := range 100 {
			d := time.Millisecond
			if i%10 == 0 { // One time in ten.
				d = often
			}
			timing.Record(i, d)
		}
		return timing
	}
	for name, tt := range map[string]struct {
		bench          string
		late, sent     int
		lag            time.Duration
		invalid, noted int
	}{
		"in time":                   {"storm", 1, 100, 9 * time.Millisecond, 0, 0},
		"sends are late":            {"echo", 2, 100, 0, 1, 0},
		"clients come back late":    {"storm", 0, 100, 20 * time.Millisecond, 1, 0},
		"deliveries are read late":  {"fanout", 0, 0, 20 * time.Millisecond, 1, 0},
		"openings of a phase":       {"plan", 0, 0, 20 * time.Millisecond, 1, 0},
		"memory is what it is":      {"conn", 0, 0, 20 * time.Millisecond, 0, 1},
		"echoes of conn are judged": {"conn", 5, 100, 20 * time.Millisecond, 1, 1},
	} {
		r := &result.Result{Bench: tt.bench}
		if judgeGenerator(r, tt.late, tt.sent, lag(tt.lag)); len(r.Invalid) != tt.invalid || len(r.Notes) != tt.noted {
			t.Errorf("%s: got %q and %q", name, r.Invalid, r.Notes)
		}
	}
}

// A run shows itself to Prometheus while it lasts.
func TestPrometheusSeesARun(t *testing.T) {
	program := built(t)
	addresses, err := loopback.Addresses(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(scrape.Samples)
	out := &noticing{t: t, what: " sent ", then: func() {
		if ctx.Err() != nil {
			return
		}
		clear(seen)
		if err := seen.Read(ctx, "http://"+addresses[0]+"/metrics"); err != nil {
			t.Error(err)
		}
		if seen.Sum("switchboard_bench_echoed_total") > 0 {
			cancel()
		}
	}}
	err = Echo(ctx, []string{"-gateway", program, "-connections", "10", "-rate", "100", "-duration", "10m", "-ops-listen", addresses[0]},
		[]string{os.Args[0], "worker"}, live.Open(out, os.Getenv))
	if err == nil || err.Error() != "exit status 105" {
		t.Errorf("got %v, want exit status 105", err)
	}
	for name, want := range map[string]float64{
		`switchboard_bench_run{bench="echo"}`: 1, "switchboard_bench_connections": 10, "switchboard_bench_opened_total": 10,
		"switchboard_bench_wrong_total": 0, "switchboard_bench_failed_total": 0,
	} {
		if got, ok := seen[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{
		"switchboard_bench_gateways_cpu_seconds_total", "switchboard_bench_gateways_pss_bytes",
		`switchboard_bench_echo_seconds{quantile="0.99"}`, `switchboard_bench_open_seconds{quantile="1"}`,
	} {
		if seen[name] <= 0 {
			t.Errorf("%s is %v", name, seen[name])
		}
	}
	if err := make(scrape.Samples).Read(t.Context(), "http://"+addresses[0]+"/metrics"); err == nil {
		t.Error("it is served when the run is over")
	}
	if err := Echo(t.Context(), []string{"-gateway", program, "-connections", "10", "-ops-listen", "nowhere"}, []string{os.Args[0], "worker"}, live.Open(io.Discard, os.Getenv)); err == nil ||
		!strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v", err)
	}
}

func TestProcessesAreWeighedInTurn(t *testing.T) {
	t.Parallel()
	own := os.Getpid()
	pids, seen := []int{own}, map[int]int64{own: 7}
	for i := range looks {
		pids = append(pids, -1-i) // No process has such a number.
		seen[-1-i] = 1
	}
	if sum := weigh(pids, seen, 1); sum != 7+looks {
		t.Errorf("got %v when others have their turn", sum)
	}
	if sum := weigh(pids, seen, len(pids)); sum < 1<<20 {
		t.Errorf("got %v in its turn", sum)
	}
	delete(seen, own)
	if sum := weigh(pids, seen, 1); sum < 1<<20 {
		t.Errorf("got %v at the first sight", sum)
	}
}

func TestASecondThatWasMissedIsAsItWasAfterwards(t *testing.T) {
	t.Parallel()
	var series []float64
	put(&series, 0, 1)
	put(&series, 3, 2)
	put(&series, 3, 3)
	if want := []float64{1, 2, 2, 3}; !slices.Equal(series, want) {
		t.Errorf("got %v, want %v", series, want)
	}
}
