package servers

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// needServers skips a test unless SWITCHBOARD_TEST_SERVERS asks for these tests:
// they start real servers, which takes a while and may download them.
func needServers(t *testing.T) {
	t.Helper()
	if os.Getenv("SWITCHBOARD_TEST_SERVERS") == "" {
		t.Skip("SWITCHBOARD_TEST_SERVERS is not set: no real servers to be started")
	}
}

// cacheDir is the checkout's own, so that tests download nothing twice.
func cacheDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../.cache/servers")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// record is what a set logged.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *record) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// begin starts a set that ends with the test.
func begin(t *testing.T, cfg Config) (*Set, *record) {
	t.Helper()
	r := &record{}
	cfg.Cache, cfg.Log = cacheDir(t), r.logger()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, r)
	}
	t.Cleanup(func() {
		if t.Failed() {
			s.Keep()
			t.Logf("kept %s\n%s", s.folder.path, r)
		}
		if err := s.Close(); err != nil && !t.Failed() {
			t.Error(err)
		}
	})
	return s, r
}

// variable returns one line of Env without its name.
func variable(t *testing.T, s *Set, name string) string {
	t.Helper()
	for _, line := range s.Env() {
		if value, ok := strings.CutPrefix(line, "SWITCHBOARD_TEST_"+name+"="); ok {
			return value
		}
	}
	t.Fatalf("no %s in %v", name, s.Env())
	return ""
}

// redisSay sends a line to Redis and returns the first line of the answer.
func redisSay(t *testing.T, addr, command string) string {
	t.Helper()
	conn, err := dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 256)
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(answer[:n]), "\r\n")
	return line
}

func TestKilledServerComesBackOnItsPort(t *testing.T) {
	needServers(t)
	s, _ := begin(t, Config{Run: t.TempDir(), Redis: true, Postgres: true})
	for _, name := range s.Names() {
		old := s.PID(name)
		if err := s.Kill(name); err != nil {
			t.Fatal(err)
		}
		if s.PID(name) != 0 || worksIn(old, s.folder.path) {
			t.Errorf("%s still runs after Kill", name)
		}
		if err := s.Restart(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if pid := s.PID(name); pid == 0 || pid == old {
			t.Errorf("%s has pid %d after its restart, before it was %d", name, pid, old)
		}
	}
	if got := redisSay(t, variable(t, s, "REDIS"), "PING"); got != "+PONG" {
		t.Errorf("Redis answers %q", got)
	}
	if err := s.Kill("oracle"); err == nil {
		t.Error("a server that is not in the set can be killed")
	}
	if pid := s.PID("oracle"); pid != 0 {
		t.Errorf("a server that is not in the set has pid %d", pid)
	}
}

// Restart without Kill before: the server is not started beside itself.
func TestRestartOfRunningServer(t *testing.T) {
	needServers(t)
	s, r := begin(t, Config{Run: t.TempDir(), Redis: true})
	addr := variable(t, s, "REDIS")
	redisSay(t, addr, "SET k v")
	if err := s.Restart(t.Context(), "redis"); err != nil {
		t.Fatal(err)
	}
	if got := redisSay(t, addr, "GET k"); got != "$-1" {
		t.Errorf("Redis remembers %q over its restart", got)
	}
	if strings.Contains(r.String(), "ended by itself") {
		t.Errorf("the restart was taken for an accident:\n%s", r)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	needServers(t)
	run := t.TempDir()
	r := &record{}
	s, err := Start(t.Context(), Config{Cache: cacheDir(t), Run: run, Redis: true, Postgres: true, Log: r.logger()})
	if err != nil {
		t.Fatal(err)
	}
	pids := []int{s.PID("redis"), s.PID("postgres")}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if worksIn(pid, run) {
			t.Errorf("process %d still runs", pid)
		}
	}
	if got := entries(t, run); !slices.Equal(got, []string{"lock"}) {
		t.Errorf("Close left %v", got)
	}
}

func TestKeptFolderStays(t *testing.T) {
	needServers(t)
	run := t.TempDir()
	s, err := Start(t.Context(), Config{Cache: cacheDir(t), Run: run, Redis: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Keep()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, filepath.Join(run, "redis")); !slices.Contains(got, logFile) {
		t.Errorf("Close kept %v, without the log", got)
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// A server that dies while nobody looks makes Close fail and keep its log.
func TestAccidentIsReported(t *testing.T) {
	needServers(t)
	run := t.TempDir()
	r := &record{}
	s, err := Start(t.Context(), Config{Cache: cacheDir(t), Run: run, Redis: true, Log: r.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.PID("redis"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !poll(t.Context(), time.Minute, func() bool { return s.PID("redis") == 0 }) {
		t.Fatal("nobody noticed the end of Redis")
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "redis ended by itself: signal: killed") {
		t.Errorf("Close returns %v", err)
	}
	if !strings.Contains(r.String(), "a server ended by itself") {
		t.Errorf("the log says nothing:\n%s", r)
	}
	if _, err := os.Stat(filepath.Join(run, "redis", logFile)); err != nil {
		t.Errorf("the log of Redis is lost: %v", err)
	}
}

func TestTwoSetsDoNotMeet(t *testing.T) {
	needServers(t)
	one, _ := begin(t, Config{Redis: true})
	two, _ := begin(t, Config{Redis: true})
	if one.folder.path == two.folder.path {
		t.Errorf("both run in %s", one.folder.path)
	}
	first, second := variable(t, one, "REDIS"), variable(t, two, "REDIS")
	redisSay(t, first, "SET k v")
	if got := redisSay(t, second, "GET k"); first == second || got != "$-1" {
		t.Errorf("Redis at %s knows %q, which Redis at %s was told", second, got, first)
	}
	_, err := Start(t.Context(), Config{Cache: cacheDir(t), Run: one.folder.path, Redis: true})
	if !errors.Is(err, errHeld) {
		t.Errorf("a third set in the folder of the first: %v", err)
	}
	if got := redisSay(t, first, "GET k"); got != "$1" {
		t.Errorf("the first Redis says %q after that", got)
	}
}

// orphans is set in a second process of this test, which starts servers and is
// then killed.
const orphans = "SWITCHBOARD_TEST_SERVERS_ORPHANS"

func TestServersOfKilledProcessAreEnded(t *testing.T) {
	needServers(t)
	if run := os.Getenv(orphans); run != "" {
		s, err := Start(t.Context(), Config{Cache: cacheDir(t), Run: run, Redis: true, Postgres: true})
		if err != nil {
			t.Fatal(err)
		}
		err = os.WriteFile(filepath.Join(run, "pids"), []byte(strconv.Itoa(s.PID("redis"))+" "+strconv.Itoa(s.PID("postgres"))), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		select {} // until it is killed
	}
	run := t.TempDir()
	harness := exec.Command(os.Args[0], "-test.run=^TestServersOfKilledProcessAreEnded$")
	harness.Env = append(os.Environ(), orphans+"="+run)
	if err := harness.Start(); err != nil {
		t.Fatal(err)
	}
	var left []string
	if !poll(t.Context(), patience, func() bool {
		text, err := os.ReadFile(filepath.Join(run, "pids"))
		left = strings.Fields(string(text))
		return err == nil && len(left) == 2
	}) {
		t.Fatal("the other process does not start its servers")
	}
	if err := harness.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = harness.Wait() // it was killed
	for _, name := range left {
		if pid, _ := strconv.Atoi(name); !worksIn(pid, run) {
			t.Errorf("server %d ended with its harness: this test proves nothing", pid)
		}
	}
	s, r := begin(t, Config{Run: run, Redis: true})
	for _, name := range left {
		if pid, _ := strconv.Atoi(name); worksIn(pid, run) {
			t.Errorf("server %d still runs", pid)
		}
		if !strings.Contains(r.String(), "pid="+name) {
			t.Errorf("nothing is said about the end of %s:\n%s", name, r)
		}
	}
	if s.PID("redis") == 0 {
		t.Error("the new set has no Redis")
	}
}

// The number in a pid file can belong to somebody else by the time it is read.
func TestProcessOfOthersIsLeftAlone(t *testing.T) {
	needServers(t)
	other := exec.Command("sleep", "600")
	other.Dir = t.TempDir()
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, pidFile), []byte(strconv.Itoa(other.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	ended, err := endLeftover(t.Context(), dir, farewell("redis"))
	if ended != 0 || err != nil {
		t.Fatalf("ended %d, %v", ended, err)
	}
	if !worksIn(other.Process.Pid, other.Dir) {
		t.Error("the process of somebody else was ended")
	}
}

func TestServerThatDiesAtOnceFailsAtOnce(t *testing.T) {
	needServers(t)
	r := &record{}
	dir := filepath.Join(t.TempDir(), "redis")
	n := &node{
		name: "redis", dir: dir, out: filepath.Join(dir, logFile), log: r.logger(),
		command: []string{"sh", "-c", "for i in $(seq 60); do echo line $i; done; exit 3"},
		ready:   func(context.Context, bool) error { return errors.New("no") },
	}
	begun := time.Now()
	err := n.begin(t.Context(), true)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), n.path(logFile)) {
		t.Errorf("begin returns %v", err)
	}
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("it took %s to notice", took)
	}
	said := r.String()
	if strings.Contains(said, "line 10\"") || !strings.Contains(said, "line 11\"") || !strings.Contains(said, "line 60\"") {
		t.Errorf("not the last %d lines:\n%s", tailLines, said)
	}
}

// The end of the context ends the start, and everything it has begun.
func TestStartThatIsGivenUpLeavesNoServer(t *testing.T) {
	needServers(t)
	ctx, cancel := context.WithCancel(t.Context())
	dir := filepath.Join(t.TempDir(), "redis")
	n := &node{
		name: "redis", dir: dir, out: filepath.Join(dir, logFile), log: (&record{}).logger(),
		command: []string{"sleep", "600"},
		ready: func(context.Context, bool) error {
			cancel()
			return errors.New("no")
		},
	}
	if err := n.begin(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("begin returns %v", err)
	}
	pid := n.pid()
	if err := n.end(); err != nil || worksIn(pid, n.dir) {
		t.Errorf("process %d after the end: %v", pid, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	needServers(t)
	for _, cfg := range []Config{{Kafka: 2}, {Cassandra: 4}, {Kafka: -1}} {
		if s, err := Start(t.Context(), cfg); err == nil {
			t.Errorf("%+v starts %v", cfg, s.Names())
		}
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	needServers(t)
	none := func() string { return "" }
	programs, packages := missing([]need{
		{"sh", "dash", func() string { return findProgram("sh") }},
		{"warp", "warp-server", none},
		{"weft", "weft-server", none},
	})
	if !slices.Equal(programs, []string{"warp", "weft"}) || !slices.Equal(packages, []string{"warp-server", "weft-server"}) {
		t.Errorf("missing are %v of %v", programs, packages)
	}
	if err := provide(t.Context(), []need{{"sh", "dash", func() string { return findProgram("sh") }}}, nil); err != nil {
		t.Errorf("nothing is missing, but %v", err)
	}
}

func TestPortsStayHeld(t *testing.T) {
	needServers(t)
	holder, ports, err := freePorts(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	first := holder.Addr().(*net.TCPAddr).Port
	if len(ports) != 10 || ports[0] != first+1 || ports[0] < firstPort || ports[9] >= lastPort {
		t.Errorf("block %d has ports %v", first, ports)
	}
	if again, _, err := holdBlock(t.Context(), first, 10); err == nil {
		again.Close()
		t.Error("the block is given twice")
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	// A server that lives longer than its harness has no block, but its port.
	var listen net.ListenConfig
	left, err := listen.Listen(t.Context(), "tcp4", address("127.0.0.3", ports[4]))
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	if again, _, err := holdBlock(t.Context(), first, 10); err == nil {
		again.Close()
		t.Error("a block with a server in it is given")
	}
}
