package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for a process. It is no claim about speed.
const patience = time.Minute

// newCluster returns a cluster without servers, whose programs are scripts.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{
		cfg:   Config{Data: t.TempDir(), Log: slog.New(slog.DiscardHandler)},
		pause: 10 * time.Millisecond,
	}
	for _, dir := range []string{"logs", "run"} {
		if err := os.Mkdir(c.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// add plans a program that is a shell script.
func (c *cluster) add(kind, script string) *program {
	p := &program{
		name: fmt.Sprintf("%s-%d", kind, len(c.programs)+1), kind: kind, command: []string{"sh", "-c", script},
		dir: c.cfg.Data, run: c.path("run"), logs: c.path("logs"), limit: patience, log: c.cfg.Log,
	}
	c.programs = append(c.programs, p)
	return p
}

// start runs the programs until the returned stop, which says how it went.
func (c *cluster) start(t *testing.T) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	group := daemon.NewGroup(ctx)
	c.startPrograms(group)
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }()
	return func() error {
		cancel()
		return <-ended
	}
}

// poll waits for something that happens in another process.
func poll(t *testing.T, what string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ask(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// awaitPID waits until the pid file names a process other than old.
func (c *cluster) awaitPID(t *testing.T, name string, old int) int {
	t.Helper()
	pid := 0
	poll(t, name+" to be started", func() bool {
		pid = readPID(c.path("run", name+".pid"))
		return pid != 0 && pid != old
	})
	return pid
}

// readPID returns what a pid file says, or 0 if there is none. Half of a number
// would pass for a whole one, so the line must have its end.
func readPID(path string) int {
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(text), "\n") {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

func kill(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatalf("signal process %d: %v", pid, err)
	}
}

func (c *cluster) log(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(c.path("logs", name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestKilledProgramIsStartedAgain(t *testing.T) {
	c := newCluster(t)
	c.add("gateway", "echo hello; exec sleep 600")
	stop := c.start(t)
	first := c.awaitPID(t, "gateway-1", 0)
	kill(t, first, syscall.SIGKILL)
	second := c.awaitPID(t, "gateway-1", first)
	kill(t, second, syscall.SIGTERM) // not from us: also an accident
	third := c.awaitPID(t, "gateway-1", second)
	if err := stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if err := syscall.Kill(third, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d after the end: %v", third, err)
	}
	log := c.log(t, "gateway-1")
	for _, want := range []string{
		fmt.Sprintf("gateway-1 started, pid %d\n", first), "gateway-1 ended: signal: killed\n",
		fmt.Sprintf("gateway-1 started, pid %d\n", second), "gateway-1 ended: signal: terminated\n",
		fmt.Sprintf("gateway-1 started, pid %d\n", third),
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func TestHeldProgramStaysDead(t *testing.T) {
	c := newCluster(t)
	c.add("worker", "exec sleep 600")
	c.add("worker", "exec sleep 600")
	stop := c.start(t)
	held, free := c.awaitPID(t, "worker-1", 0), c.awaitPID(t, "worker-2", 0)
	hold := c.path("run", "worker-1.hold")
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kill(t, held, syscall.SIGKILL)
	// The other one dies later and comes back many times meanwhile.
	for range 5 {
		kill(t, free, syscall.SIGKILL)
		free = c.awaitPID(t, "worker-2", free)
	}
	if pid := readPID(c.path("run", "worker-1.pid")); pid != held {
		t.Errorf("the held program was started as %d", pid)
	}
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	c.awaitPID(t, "worker-1", held)
	if err := stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
}

func TestEndWhileHeld(t *testing.T) {
	c := newCluster(t)
	c.add("router", "exit 1")
	if err := os.WriteFile(c.path("run", "router-1.hold"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop := c.start(t)
	c.awaitPID(t, "router-1", 0)
	poll(t, "the end of the program", func() bool { return strings.Contains(c.log(t, "router-1"), "ended: exit status 1") })
	if err := stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
}

// Each script says that it drains and takes a while for it.
func TestProgramsStopInTheDirectionOfAMessage(t *testing.T) {
	c := newCluster(t)
	journal := c.path("journal")
	for _, kind := range []string{"gateway", "router", "worker", "gateway", "worker"} {
		p := c.add(kind, "")
		p.command[2] = fmt.Sprintf(
			`trap 'echo %[1]s drains >>%[2]s; sleep 0.1; echo %[1]s ends >>%[2]s; exit 0' TERM; echo %[1]s runs >>%[2]s; while :; do sleep 0.01; done`,
			kind, journal)
	}
	stop := c.start(t)
	read := func() []string {
		text, err := os.ReadFile(journal)
		if err != nil {
			return nil
		}
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	poll(t, "all programs to run", func() bool { return len(read()) == len(c.programs) })
	if err := stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
	got := read()[len(c.programs):]
	for _, together := range [][]string{got[:4], got[4:8]} { // two of a kind drain at the same time
		slices.SortFunc(together, func(a, b string) int { return strings.Compare(after(a), after(b)) })
	}
	want := []string{
		"gateway drains", "gateway drains", "gateway ends", "gateway ends",
		"worker drains", "worker drains", "worker ends", "worker ends",
		"router drains", "router ends",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func after(line string) string { return line[strings.Index(line, " "):] }

func TestFrozenProgramCanStop(t *testing.T) {
	c := newCluster(t)
	c.add("worker", "trap 'echo drained; exit 0' TERM; echo runs; while :; do sleep 0.01; done")
	stop := c.start(t)
	pid := c.awaitPID(t, "worker-1", 0)
	poll(t, "the program", func() bool { return strings.Contains(c.log(t, "worker-1"), "runs") })
	kill(t, pid, syscall.SIGSTOP)
	if err := stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if log := c.log(t, "worker-1"); !strings.Contains(log, "drained") {
		t.Errorf("it was killed:\n%s", log)
	}
}

func TestProgramThatWillNotStopIsKilled(t *testing.T) {
	c := newCluster(t)
	p := c.add("worker", "trap '' TERM; echo runs; while :; do sleep 0.01; done")
	p.limit = 50 * time.Millisecond
	stop := c.start(t)
	pid := c.awaitPID(t, "worker-1", 0)
	poll(t, "the program", func() bool { return strings.Contains(c.log(t, "worker-1"), "runs") })
	if err := stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d after the end: %v", pid, err)
	}
}

// One program that is missing ends the others; nobody waits for ready.
func TestProgramThatCannotBeStarted(t *testing.T) {
	c := newCluster(t)
	c.add("gateway", "exec sleep 600")
	c.add("gateway", "").command = []string{filepath.Join(t.TempDir(), "nothing")}
	group := daemon.NewGroup(t.Context())
	c.startPrograms(group)
	if err := group.Wait(); err == nil || !strings.Contains(err.Error(), "start gateway-2") {
		t.Errorf("the group returns %v", err)
	}
	if pid := readPID(c.path("run", "gateway-1.pid")); pid != 0 {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d after the end: %v", pid, err)
		}
	}
}

// A wrong flag is not healed by starting again: the person in front hears of it.
func TestProgramThatRefusesEndsTheStart(t *testing.T) {
	c := newCluster(t)
	p := c.add("router", "echo unsafe topic >&2; exit 2")
	p.ops = "http://" + closedPort(t)
	stop := c.start(t)
	err := c.await(t.Context())
	if err == nil || !strings.Contains(err.Error(), "router-1 will not run: exit status 2") || !strings.Contains(err.Error(), p.out()) {
		t.Errorf("await returns %v", err)
	}
	if err := stop(); err != nil {
		t.Errorf("the end: %v", err)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestReadyIsAskedOfEveryProgram(t *testing.T) {
	c := newCluster(t)
	var asked []string
	for _, kind := range kinds {
		calls := 0
		ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls++; calls < 3 {
				http.Error(w, "kafka: away", http.StatusServiceUnavailable)
				return
			}
			asked = append(asked, kind+r.URL.Path)
		}))
		defer ops.Close()
		c.add(kind, "").ops = ops.URL
	}
	if err := c.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"gateway/readyz", "router/readyz", "worker/readyz"}; !slices.Equal(asked, want) {
		t.Errorf("ready were %q, want %q", asked, want)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestWhoIsNotReadyIsNamed(t *testing.T) {
	c := newCluster(t)
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "kafka: away", http.StatusServiceUnavailable)
	}))
	defer ops.Close()
	c.add("gateway", "").ops = ops.URL
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.await(ctx); err == nil || !strings.Contains(err.Error(), "gateway-1") {
		t.Errorf("await returns %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}
