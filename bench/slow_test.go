package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/live"
	"switchboard/bench/result"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
)

func TestSlowRunIsJudged(t *testing.T) {
	right := slowReport{Readers: 10, Closed: 10, Witnesses: 2, Saw: 1, Peak: weight{Queued: 600_000, Kernel: 300_000}}
	for name, tt := range map[string]struct {
		change func(r *slowReport)
		right  bool
	}{
		"all is well":                 {func(*slowReport) {}, true},
		"too much in the kernel":      {func(r *slowReport) { r.Peak.Kernel = 500_000 }, false},
		"much, but it was so before":  {func(r *slowReport) { r.Peak.Kernel, r.Before.Kernel = 500_000, 200_000 }, true},
		"too much of the process":     {func(r *slowReport) { r.Peak.PSS = 900_000 }, false},
		"one was not closed":          {func(r *slowReport) { r.Closed = 9 }, false},
		"one was closed for another":  {func(r *slowReport) { r.Closed, r.ClosedElse = 9, 1 }, false},
		"nobody read why":             {func(r *slowReport) { r.Saw = 0 }, false},
		"nobody was to read why":      {func(r *slowReport) { r.Saw, r.Witnesses = 0, 0 }, true},
		"somebody else missed a push": {func(r *slowReport) { r.Missed = 1 }, false},
	} {
		r := right
		tt.change(&r)
		if err := r.judge(100_000); (err == nil) != tt.right {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestMomentsBecomeAReport(t *testing.T) {
	start := time.Now()
	w := &watch{}
	for i, m := range []moment{
		{queued: 9000}, // not measured yet
		{queued: 100},  // all read
		{queued: 0},
		{queued: 5000, kernel: host.SocketMemory{Bytes: 700, Most: 30}},
		{queued: 6000, kernel: host.SocketMemory{Bytes: 600, Most: 40}, skipped: 2},
		{queued: 6000, skipped: 3, closed: 4},
		{queued: 10, skipped: 3, closed: 5, others: 1},
	} {
		m.at = start.Add(time.Duration(i) * 10 * time.Second)
		w.moments = append(w.moments, m)
	}
	var r slowReport
	w.sum(&r, start.Add(5*time.Second), start.Add(25*time.Second))
	if r.Before.Queued != 50 || r.Peak != (weight{Queued: 6000, Kernel: 700, Most: 40}) || r.After.Queued != 10 {
		t.Errorf("before %+v, peak %+v, after %+v", r.Before, r.Peak, r.After)
	}
	if r.StalledAfter != 15 || r.ClosedFrom != 10 || r.ClosedTo != 20 || r.Closed != 5 || r.ClosedElse != 1 {
		t.Errorf("got %+v", r)
	}
}

// A witness reads nothing while the valve is shut, and the code when it drips.
func TestWitnessReadsOnWhenOthersAreClosed(t *testing.T) {
	server, conn := net.Pipe()
	defer server.Close()
	shut, drip := make(chan struct{}), make(chan struct{})
	r := &reader{valve: valve{Conn: conn, shut: shut, drip: drip, witness: true}, done: make(chan struct{})}
	r.in = bufio.NewReaderSize(&r.valve, dripBytes)
	go r.listen()
	text := append([]byte{0x81, 126, 0, 200}, bytes.Repeat([]byte("x"), 200)...)
	if _, err := server.Write(text); err != nil {
		t.Fatal(err)
	}
	close(shut)
	written := make(chan error, 1)
	go func() {
		// One more is read, since the reader waits in the middle of reading.
		_, err := server.Write(bytes.Repeat(text, 2))
		if err == nil {
			_, err = server.Write([]byte{0x88, 2, 0x0f, 0xa3})
		}
		written <- err
	}()
	select {
	case <-r.done:
		t.Fatal("it reads although nothing drips")
	case err := <-written:
		t.Fatalf("everything was read, %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(drip)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	<-r.done
	if got := chat.CloseCode(r.code.Load()); got != chat.CloseSlowConsumer {
		t.Errorf("read code %d, want 4003", got)
	}
}

// No gateway closes anybody: the witnesses do not wait for that beyond the run.
func TestWitnessEndsWithTheRun(t *testing.T) {
	server, conn := net.Pipe()
	defer server.Close()
	s := &slow{shut: make(chan struct{}), watch: &watch{drip: make(chan struct{})}}
	close(s.shut)
	r := &reader{valve: valve{Conn: conn, shut: s.shut, drip: s.watch.drip, witness: true}, done: make(chan struct{})}
	r.in = bufio.NewReaderSize(&r.valve, dripBytes)
	s.idle = []*reader{r}
	go r.listen()
	s.release()
	s.release() // once more, as at the end of a run
	select {
	case <-r.done:
	case <-time.After(20 * time.Second):
		t.Error("it waits for a reader to be closed")
	}
}

func TestReaderAnswersPings(t *testing.T) {
	server, conn := net.Pipe()
	r := &reader{valve: valve{Conn: conn}, done: make(chan struct{})}
	r.in = bufio.NewReaderSize(&r.valve, dripBytes)
	go r.listen()
	if _, err := server.Write([]byte{0x89, 0}); err != nil {
		t.Fatal(err)
	}
	pong := make([]byte, 6)
	if _, err := io.ReadFull(server, pong); err != nil || pong[0] != 0x8a || pong[1] != 0x80 {
		t.Errorf("got %x, %v, want an empty masked pong", pong, err)
	}
	server.Close()
	<-r.done
}

// stalled is a run of the whole system, as one process that is taken for a cluster, in
// which readers stop. With what it says on stdout something is done.
func stalled(t *testing.T, what string, then func(cancel func())) *slowReport {
	t.Helper()
	urls, keys := system(t)
	dir := t.TempDir()
	addresses := filepath.Join(dir, "addresses.json")
	text := fmt.Sprintf(`{"rest":[%q],"ws":[%q],"ops":{"gateway-1":%q},"auth_keys":%q}`, urls.REST, urls.WebSocket, urls.Ops, keys)
	for name, text := range map[string]string{addresses: text, filepath.Join(dir, "gateway-1.pid"): strconv.Itoa(os.Getpid())} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &slow{
		others: &road{settle: 10 * time.Second, users: groupSize, rate: 20}, shut: make(chan struct{}), drip: make(chan struct{}),
		said: make(map[chat.Seq]int64), readers: 10, bytes: 2000, every: 100 * time.Millisecond, calm: 2 * time.Second, hold: time.Hour,
	}
	flags := daemon.NewFlags("bench slow", "")
	whom := newTargetFlags(flags)
	if err := flags.Parse([]string{"-cluster", addresses}); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.others.target, err = whom.open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &noticing{what: regexp.MustCompile(what), then: func() { then(cancel) }}
	report, err := s.run(ctx, live.Open(out, os.Getenv))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// A signal ends the run, and its report is of what was done: in four files, as those of
// all commands are, and with no figure that was not measured.
func TestASlowRunThatIsAbortedLeavesItsFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		what    string
		readers bool
	}{
		"while all read":                {"all read: .* [1-9][0-9]* sent, ", false},
		"while the readers do not read": {"the readers do not read: ", true},
	} {
		t.Run(name, func(t *testing.T) {
			report := stalled(t, tt.what, func(cancel func()) { cancel() })
			if report.Missed != 0 || report.Unseen != "" {
				t.Errorf("%d missed, not seen: %q", report.Missed, report.Unseen)
			}
			dir := t.TempDir()
			flags := daemon.NewFlags("bench slow", "")
			out := result.NewOutput(flags.FlagSet, slowMetrics()...)
			if err := flags.Parse([]string{"-out", dir}); err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			report.print(&said)
			if err := out.Finish(report.result(), &said); err == nil || err.Error() != "exit status 105" {
				t.Errorf("got %v, want exit status 105", err)
			}
			for _, name := range []string{"result.json", "series.csv", "latency.hlog", "report.html"} {
				if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
					t.Errorf("%s: %v", name, err)
				}
			}
			r, err := result.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			figures := make(map[string]float64)
			for _, m := range r.Metrics {
				figures[m.Name] = m.Value
				if !slices.Contains(slowMetrics(), m.Name) {
					t.Errorf("%s is no metric that a threshold may be on", m.Name)
				}
			}
			if !r.Aborted || figures["messages_before.count"] == 0 || figures["heads_before.count"] == 0 || len(r.Series) != 4 || len(r.Series[0].Values) == 0 {
				t.Errorf("got %+v", r)
			}
			if _, ok := figures["reader_bytes"]; ok != tt.readers {
				t.Errorf("what a reader costs is there: %t, want %t", ok, tt.readers)
			}
		})
	}
}

func TestASlowResultIsInTheWordsOfAll(t *testing.T) {
	at := time.Now()
	messages := result.NewTiming("messages", "")
	messages.Record(3, 7*time.Millisecond)
	report := &slowReport{
		Readers: 10, Rate: 20, Peak: weight{PSS: 1_800_000, Queued: 1_000_000, Kernel: 200_000}, Before: weight{PSS: 1_000_000}, Closed: 8, ClosedElse: 1,
		Saw: 2, Witnesses: 3, Missed: 4, Late: 2, StalledAfter: 5, ClosedFrom: 30, ClosedTo: 33, After: weight{PSS: 1_300_000},
		timings: []*result.Timing{messages, result.NewTiming("heads", "")}, course: course{start: at, from: at, shut: at, warm: 100, calm: 300, total: 500},
	}
	report.Calm.Messages.P99, report.Meanwhile.Messages.P99 = 4, 6
	r := report.result()
	got := make(map[string]float64)
	for _, m := range r.Metrics {
		got[m.Name] = m.Value
	}
	for name, want := range map[string]float64{
		"reader_bytes": 120_000, "reader_process": 80_000, "reader_queued": 100_000, "reader_kernel": 20_000, "left_bytes": 300_000, "closed": 8,
		"not_closed": 2, "closed_otherwise": 1, "saw_code": 2, "missed": 4, "late": 2, "stalled_after": 5, "closed_from": 30, "closed_to": 33,
		"p99_ratio": 1.5, "messages.count": 1,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	if _, ok := got["heads.p99"]; ok || r.Seconds != 20 || len(r.Invalid) != 0 {
		t.Errorf("got %+v", r)
	}
	if report.Late = 6; len(report.result().Invalid) != 1 {
		t.Error("a late generator is no reason")
	}
}

// The series of the gateways are by the second; what was not seen is as before.
func TestMomentsBecomeSeries(t *testing.T) {
	start := time.Now()
	w := &watch{moments: []moment{
		{at: start.Add(-time.Second), pss: 1, closed: 5},
		{at: start, pss: 2, queued: 9, closed: 5},
		{at: start.Add(900 * time.Millisecond), pss: 3, closed: 6},
		{at: start.Add(3 * time.Second), pss: 4, closed: 8},
	}}
	all := w.series(start)
	if got := all[0].Values; !slices.Equal(got, []float64{3, 3, 3, 4}) {
		t.Errorf("PSS is %v", got)
	}
	if got := all[3].Values; !slices.Equal(got, []float64{1, 1, 1, 3}) {
		t.Errorf("closed are %v", got)
	}
	if rows := w.rows(); rows != nil {
		t.Errorf("got %v of nothing seen", rows)
	}
}
