// Command stages runs everything that must hold before a change goes in, one
// stage after another, and says how long each took. It goes on after a stage
// that fails, so that one run shows all that is wrong, and then ends with 1.
//
//	go run -C tools ./stages fast   what needs no race detector and no servers
//	go run -C tools ./stages all    everything, on real servers too
//	go run -C tools ./stages servers suites    these alone
//
// A stage can hold real servers up for those that follow it; they end when a
// stage does not need them, when something fails, and when we are told to end.
// Where servers are meant to be, a test that is skipped for want of one is a
// failure, and so is a process that a stage leaves behind.
//
// The race detector's run comes last: what is on the screen at the end are go
// test's own lines, and one line of ours.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// stageLimit is how long one stage may take before it counts as hung, unless it
	// says otherwise.
	stageLimit = 13 * time.Minute
	// goodbye is how long a command may take to end once it is told to.
	goodbye = 15 * time.Second
)

// stage is one command, run at the root of the repository.
type stage struct {
	name   string
	fast   bool
	silent bool // any output is a failure: gofmt reports so
	holds  bool // it starts servers, which stay up for the stages after it that are on them
	on     bool // it runs on the servers that are held up
	// asks makes it go test -json of all packages whose tests ask for one of these
	// servers, by the variable SWITCHBOARD_TEST_…: none may be skipped.
	asks []string
	// only is the one of those packages that the stage is about, and first the one
	// that takes longest: it is begun before the others.
	only, first string
	// done makes it go test all packages but those whose tests ask for one of these
	// servers: a stage before it has run them whole, in the same way.
	done  []string
	limit time.Duration // 0 = stageLimit
	env   []string
	args  []string
}

const (
	// suites are the servers on which a stage runs the suites of packages, and all
	// their other tests, with the race detector.
	suites = "S3 KAFKA CQL POSTGRES REDIS OPENSEARCH"
	// alone are the tests of dev/system that want the machine for themselves: how soon
	// messages are answered while PostgreSQL is away, and whether 5,000 people are
	// back before they count as gone, is also the machine's affair.
	alone = "^TestClusterKeepsWhatItPromises$|^TestGatewayWithFiveThousandRestarts$"
	// serverless are the longer tests of dev/system that start no servers: the race
	// detector's stage runs them.
	serverless = "KilledSystem|^TestReadersThatDoNotReadHoldUpNobody$|^TestTwoThousandMembersAreToldByTheHead$"
)

// stages are in the order in which they run: the quickest answer first.
func stages() []stage {
	return []stage{
		{name: "gofmt", fast: true, silent: true, args: words("gofmt -l .")},
		{name: "build", fast: true, args: words("go build -o bin/ ./...")},
		{name: "vet", fast: true, args: words("go vet ./...")},
		// Not from the cache: they look at files that are not of their module.
		{name: "tools", fast: true, args: words("go test -C tools -count=1 ./...")},
		// Without the servers of others beneath it, which nobody else need download.
		{name: "peers", fast: true, args: words("go test -C bench/peers .")},
		{name: "lint", fast: true, args: words("go tool -modfile=tools/go.mod golangci-lint run")},
		{name: "test", fast: true, args: words("go test -short ./...")},
		// Without Node it says that it is skipped: nothing else needs any.
		{name: "web", args: words("bash web/check.sh")},
		{name: "model", args: words("go test -count=1 -v -run ^TestModel$ ./storage-worker/fold -model.schedules 20000")},
		// One run wavers by a third, so this fails well above the budget of 300.
		{name: "memory", args: words("bin/bench conn -connections 8000 -idle 1s -max-bytes 450")},
		{name: "servers", holds: true, args: words("bin/dev servers")},
		{
			name: "suites", on: true, asks: words(suites),
			args: words("go test -json -race -count=1 -p 2 -parallel 16 -timeout 12m -skip ^TestAKilledServer|Secured"),
		},
		// Servers of their own, so that one that dies unasked is not overlooked elsewhere.
		{name: "mortals", holds: true, args: words("bin/dev servers -restart -only cassandra")},
		{name: "kills", on: true, asks: words("CQL_KILL"), args: words("go test -json -race -count=1 -timeout 5m -run ^TestAKilledServer")},
		{name: "locks", holds: true, args: words("bin/dev servers -secure")},
		{
			name: "secured", on: true, asks: words("KAFKA_CREDENTIALS KAFKA_GUEST_CREDENTIALS CQL_CREDENTIALS POSTGRES_PASSWORD REDIS_CREDENTIALS"),
			args: words("go test -json -race -count=1 -p 2 -parallel 16 -timeout 5m -run Secured"),
		},
		// These start servers of their own, two packages at a time, since most of it is
		// waiting for what a fault does. Two clusters and three nodes beside them take 5 GB.
		{
			name: "cluster", asks: words("SERVERS"), first: "./dev/system", limit: 70 * time.Minute, env: words("SWITCHBOARD_TEST_SERVERS=1"),
			args: words("go test -json -count=1 -p 2 -timeout 45m -skip " + alone + "|" + serverless),
		},
		{
			name: "alone", asks: words("SERVERS"), only: "./dev/system", limit: 30 * time.Minute, env: words("SWITCHBOARD_TEST_SERVERS=1"),
			args: words("go test -json -count=1 -timeout 25m -run " + alone),
		},
		{name: "race", done: words(suites), args: words("go test -race -count=1 -timeout 12m")},
	}
}

func words(command string) []string { return strings.Fields(command) }

func main() {
	chosen, err := choose(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// Children that shall die with us die with the thread that started them.
	runtime.LockOSThread()
	if err := adopt(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root, err := filepath.Abs("..") // go run -C tools starts us in tools
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	r := &runner{root: root, out: os.Stdout, lingering: lingering}
	os.Exit(r.run(ctx, chosen))
}

// choose returns the stages that the command line means.
func choose(args []string) ([]stage, error) {
	var names []string
	chosen := stages()
	for _, s := range chosen {
		names = append(names, s.name)
	}
	switch {
	case slices.Equal(args, []string{"all"}):
		return chosen, nil
	case slices.Equal(args, []string{"fast"}):
		return slices.DeleteFunc(chosen, func(s stage) bool { return !s.fast }), nil
	}
	chosen = slices.DeleteFunc(chosen, func(s stage) bool { return !slices.Contains(args, s.name) })
	if len(args) == 0 || len(chosen) < len(args) {
		return nil, fmt.Errorf("usage: stages fast|all|NAME… of %s", strings.Join(names, ", "))
	}
	return chosen, nil
}

// runner runs stages.
type runner struct {
	root      string // of the repository
	out       io.Writer
	lingering time.Duration // how long what a stage leaves may take to end by itself

	servers *servers // held up for the stages that are on them, else nil
	took    []string
	failed  []string
}

// run runs all of the stages and returns the exit status.
func (r *runner) run(ctx context.Context, all []stage) int {
	begun := time.Now()
	for _, s := range all {
		if !s.on {
			r.release()
		}
		if ctx.Err() != nil {
			r.fail(s.name, fmt.Errorf("not run: %w", ctx.Err()))
			break
		}
		fmt.Fprintf(r.out, "== %s: %s\n", s.name, strings.Join(s.args, " "))
		started := time.Now()
		err := r.one(ctx, s)
		took := fmt.Sprintf("%.1f s", time.Since(started).Seconds())
		r.took = append(r.took, s.name+" "+took)
		if err != nil {
			r.fail(s.name, fmt.Errorf("after %s: %w", took, err))
			continue
		}
		fmt.Fprintf(r.out, "== %s: ok, %s\n", s.name, took)
	}
	r.release()
	verdict, status := "all passed", 0
	if len(r.failed) > 0 {
		verdict, status = "FAILED: "+strings.Join(r.failed, ", "), 1
	}
	fmt.Fprintf(r.out, "== %s, in %.0f s: %s\n", verdict, time.Since(begun).Seconds(), strings.Join(r.took, ", "))
	return status
}

func (r *runner) fail(name string, err error) {
	r.failed = append(r.failed, name)
	fmt.Fprintf(r.out, "== %s: FAILED: %v\n", name, err)
}

// release ends the servers that are held up, if any.
func (r *runner) release() {
	if r.servers == nil {
		return
	}
	if err := errors.Join(r.servers.end(), sweep(0, r.lingering)); err != nil {
		fmt.Fprint(r.out, r.servers.log)
		r.fail("end of "+r.servers.name, err)
	}
	r.servers = nil
}

// one runs one stage to its end, and ends what it left.
func (r *runner) one(ctx context.Context, s stage) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.limit, stageLimit))
	defer cancel()
	var err error
	switch {
	case s.on && r.servers == nil:
		return errors.New("not run: it needs servers, and none are up")
	case s.holds:
		r.servers, err = hold(ctx, r.root, s, r.out)
	case len(s.asks) > 0:
		err = r.tests(ctx, s)
	case len(s.done) > 0:
		err = r.rest(ctx, s)
	default:
		err = r.command(ctx, s, r.out)
	}
	ours := 0
	if r.servers != nil {
		ours = r.servers.cmd.Process.Pid
	}
	err = errors.Join(err, sweep(ours, r.lingering))
	if err != nil && s.on {
		fmt.Fprintf(r.out, "== what the servers logged\n%s", r.servers.log)
	}
	return err
}

// tests runs go test -json on the packages that ask for the stage's servers, and
// makes of what it says what go test prints.
func (r *runner) tests(ctx context.Context, s stage) error {
	packages, err := s.packages(os.DirFS(r.root))
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "== %s: packages %s\n", s.name, strings.Join(packages, " "))
	s.args = slices.Concat(s.args, packages)
	cache := filepath.Join(r.root, ".cache")
	err = os.MkdirAll(cache, 0o755)
	scratch := ""
	if err == nil {
		scratch, err = os.MkdirTemp(cache, "tmp-") // tests that are killed do not tidy up
	}
	if err != nil {
		return fmt.Errorf("make a folder for what tests write: %w", err)
	}
	defer os.RemoveAll(scratch)
	s.env = append(slices.Clone(s.env), "TMPDIR="+scratch)
	if s.on {
		s.env = append(s.env, r.servers.env()...)
	}
	v := newVerdicts(r.out)
	err = r.command(ctx, s, v)
	for _, line := range v.slowest() {
		fmt.Fprintf(r.out, "== %s: %s\n", s.name, line)
	}
	if err != nil {
		return err
	}
	return v.verdict()
}

// rest runs the command on all packages but those that are done.
func (r *runner) rest(ctx context.Context, s stage) error {
	list := exec.CommandContext(ctx, "go", "list", "-f", ".{{slice .ImportPath (len .Module.Path)}}", "./...")
	list.Dir, list.Stderr = r.root, r.out
	all, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the packages: %w", err)
	}
	done, err := asking(os.DirFS(r.root), s.done)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(words(string(all)), func(name string) bool { return slices.Contains(done, name) })
	s.args = slices.Concat(s.args, left)
	fmt.Fprintf(r.out, "== %s: all packages but %s\n", s.name, strings.Join(done, " "))
	return r.command(ctx, s, r.out)
}

// command runs the command with no input and an end; what it says goes to out.
func (r *runner) command(ctx context.Context, s stage, out io.Writer) error {
	cmd := exec.CommandContext(ctx, s.args[0], s.args[1:]...)
	// Its children are told to end as well, and it need not listen to Ctrl-C
	// while we do.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = goodbye // and a child that holds our output must not hold us for longer
	cmd.Dir = r.root
	cmd.Env = append(environment(), s.env...)
	cmd.Stderr = r.out
	if !s.silent {
		cmd.Stdout = out
		return cmd.Run()
	}
	said, err := cmd.Output()
	if err == nil && len(said) > 0 {
		err = fmt.Errorf("it should say nothing but said:\n%s", said)
	}
	return err
}

// environment is ours, except for servers that somebody holds up elsewhere: a
// stage runs on those that it names, or on none.
func environment() []string {
	var kept []string
	for _, line := range os.Environ() {
		if strings.HasPrefix(line, serverVariable) && !strings.HasPrefix(line, "SWITCHBOARD_TEST_PYTHON=") {
			continue
		}
		kept = append(kept, line)
	}
	return kept
}
